import { cpus, totalmem } from 'node:os';

import type { FileResult } from './test-file.js';

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The sums over all files. */
export function totalsOf(results: readonly FileResult[]): Totals {
  const sum = (count: (result: FileResult) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  return {
    passed: sum((result) => result.passed),
    failed: sum((result) => result.failures.length),
    skipped: sum((result) => result.skips.length),
  };
}

/** The run's last line, in the form that CI systems read. */
export function closingLine({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** One file's result for the terminal: a line, what the tests said, and what went wrong. */
export function describe(result: FileResult): string {
  const count = result.passed + result.failures.length + result.skips.length;
  const tests = count === 1 ? '1 test' : `${count} tests`;
  const mark = result.failures.length === 0 ? 'ok   ' : 'FAIL ';
  const lines = [`${mark} ${result.name} (${tests}, ${result.seconds.toFixed(1)} s)`];
  lines.push(...result.diagnostics.map((message) => indent(message, 6)));
  lines.push(...result.skips.map(({ name, reason }) => indent(`skipped: ${name}: ${reason}`, 6)));
  for (const { name, error } of result.failures) lines.push(indent(`✗ ${name}`, 6), indent(error, 8));
  if (result.failures.length > 0 && result.output.trim() !== '') {
    lines.push(indent('output:', 6), indent(result.output.trim(), 8));
  }
  return lines.join('\n');
}

/** When and of what a file's result is. */
export interface Occasion {
  readonly commit: string;
  readonly at: Date;
}

/**
 * `docs/test-full-report.md`: the last result of each test file, with its commit and day, for all of them together take
 * hours. Rows of the page before are kept for files that did not run now, and are still there.
 */
export function markdownReport(
  results: readonly FileResult[],
  { commit, at }: Occasion,
  before: { readonly page: string; readonly isThere: (name: string) => boolean } = { page: '', isThere: () => false },
): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  const [cpu] = cpus();
  const machine = `${cpus().length} cores (${cpu?.model.trim() ?? 'unknown'}), ${memory} GiB, Node.js ${process.versions.node}`;
  const ran = new Set(results.map(({ name }) => name));
  const isKept = (name: string): boolean => !ran.has(name) && before.isThere(name);
  const rows = [
    ...rowsOf(before.page).filter(({ name }) => isKept(name)),
    ...results.map((result): Row => {
      const { passed, failed, skipped } = totalsOf([result]);
      const numbers = [passed, failed, skipped] as const;
      return {
        name: result.name,
        numbers,
        rest: `${result.seconds.toFixed(1)} | ${commit} | ${at.toISOString().slice(0, 10)}`,
      };
    }),
  ].toSorted((one, other) => one.name.localeCompare(other.name));
  const details = [
    ...detailsOf(before.page).filter(({ name }) => isKept(name)),
    ...results.flatMap((result) => {
      const text = [
        ...result.diagnostics.map((message) => `- ${message}`),
        ...result.skips.map(({ name, reason }) => `- skipped: ${name}: ${reason}`),
        ...result.failures.map(({ name, error }) => `- failed: ${name}\n\n${indent(error, 6)}`),
      ].join('\n');
      return text === '' ? [] : [{ name: result.name, text }];
    }),
  ].toSorted((one, other) => one.name.localeCompare(other.name));
  const sum = (which: 0 | 1 | 2): number => rows.reduce((total, { numbers }) => total + numbers[which], 0);
  return [
    '# The full test runs',
    '',
    'The last result of each test file, written by `npm run test:full [-- WORDS]`.',
    '',
    `- Result: ${closingLine({ passed: sum(0), failed: sum(1), skipped: sum(2) })}`,
    `- Machine of the last run: ${machine}, ${process.platform} ${process.arch}`,
    '',
    '| tests | passed | failed | skipped | seconds | commit | day |',
    '| --- | ---: | ---: | ---: | ---: | --- | --- |',
    ...rows.map(({ name, numbers, rest }) => `| ${name} | ${numbers.join(' | ')} | ${rest} |`),
    '',
    '## What the tests said',
    '',
    ...details.flatMap(({ name, text }) => [`### ${name}`, '', text, '']),
  ].join('\n');
}

interface Row {
  readonly name: string;
  /** Passed, failed, skipped. */
  readonly numbers: readonly [number, number, number];
  readonly rest: string;
}

function rowsOf(page: string): readonly Row[] {
  return [...page.matchAll(/^\| (\S+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+ \| \w+ \| [\d-]+) \|$/gm)].map(
    ([, name = '', passed, failed, skipped, rest = '']) => ({
      name,
      numbers: [Number(passed), Number(failed), Number(skipped)] as const,
      rest,
    }),
  );
}

function detailsOf(page: string): readonly { readonly name: string; readonly text: string }[] {
  return page
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const end = section.indexOf('\n');
      return { name: section.slice(0, end), text: section.slice(end).trim() };
    });
}

function indent(text: string, by: number): string {
  return text.replaceAll(/^(?=.)/gm, ' '.repeat(by));
}
