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

/** The full run as a Markdown page. */
export function markdownReport(results: readonly FileResult[], started: Date): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  const [cpu] = cpus();
  const rows = results.map((result) => {
    const { passed, failed, skipped } = totalsOf([result]);
    return `| ${result.name} | ${passed} | ${failed} | ${skipped} | ${result.seconds.toFixed(1)} |`;
  });
  const said = results
    .filter((result) => result.diagnostics.length > 0)
    .flatMap((result) => [`### ${result.name}`, '', ...result.diagnostics.map((message) => `- ${message}`), '']);
  const failures = results.flatMap((result) =>
    result.failures.map(({ name, error }) => `### ${result.name}: ${name}\n\n${indent(error, 4)}\n`),
  );
  const skips = results.flatMap((result) =>
    result.skips.map(({ name, reason }) => `- ${result.name}: ${name}: ${reason}`),
  );
  return [
    '# The full test run',
    '',
    'Written by `npm run test:full`.',
    '',
    `- Date: ${started.toISOString()}`,
    `- Machine: ${cpus().length} cores (${cpu?.model.trim() ?? 'unknown'}), ${memory} GiB of memory, ${process.platform} ${process.arch}`,
    `- Node.js: ${process.versions.node}`,
    `- Result: ${closingLine(totalsOf(results))}, in ${Math.round((Date.now() - started.getTime()) / 1000)} s`,
    '',
    '| tests | passed | failed | skipped | seconds |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...rows,
    '',
    ...section('## What the tests measured', said),
    ...section('## Failures', failures),
    ...section('## Skipped', [...skips, '']),
  ].join('\n');
}

function section(heading: string, lines: readonly string[]): string[] {
  return lines.some((line) => line !== '') ? [heading, '', ...lines] : [];
}

function indent(text: string, by: number): string {
  return text.replaceAll(/^(?=.)/gm, ' '.repeat(by));
}
