/**
 * `npm test [-- WORD…]`: builds, lints, fetches the real servers, then runs every test file in a process of its own.
 * With words, only the files whose path contains one of them run, and there is no lint.
 * `--full` adds the `*.full.test.ts` files and writes what came of each file to `docs/test-full-report.md`;
 * `--timeout=MINUTES` is per file.
 */
import { existsSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

import { find, PartUnavailable } from './part.js';
import { killAll, runStep, runTestFile, type FileResult, type ProcessOptions } from './test-file.js';
import { closingLine, describe, markdownReport, totalsOf } from './test-report.js';
import { parts } from './toolbox.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const AT_ONCE = 2;
const DEFAULT_TIMEOUT_MINUTES = 10;
const FULL_TIMEOUT_MINUTES = 60;
/** Parts of the names of files that take long, the longest first; they start first. */
const SLOW = ['crash', 'faults', 'demo', 'e2e'];

interface TestFile {
  /** Such as `test/domain/fence`. */
  readonly name: string;
  readonly path: string;
}

/** Test files whose source still exists, in the order in which they start. */
async function discover(words: readonly string[], full: boolean): Promise<TestFile[]> {
  const built = join(ROOT, 'dist', 'test');
  const found = existsSync(built) ? await readdir(built, { recursive: true }) : [];
  return found
    .filter((path) => path.endsWith('.test.js'))
    .map((path) => ({ name: join('test', path).replace(/\.test\.js$/, ''), path: join(built, path) }))
    .filter(({ name }) => existsSync(join(ROOT, `${name}.test.ts`)))
    .filter(({ name }) => full || !name.endsWith('.full'))
    .filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
    .toSorted((one, other) => slowness(one) - slowness(other) || one.name.localeCompare(other.name));
}

function slowness({ name }: TestFile): number {
  const place = SLOW.findIndex((word) => name.includes(word));
  return place === -1 ? SLOW.length : place;
}

/** Finds or fetches every real server once; the test processes are told the paths and fetch nothing. */
async function prepareParts(): Promise<Record<string, string>> {
  const env: Record<string, string> = { SLIPWAY_NO_FETCH: '1' };
  for (const part of parts) {
    try {
      env[part.variable] = (await find(part)).path;
    } catch (error) {
      if (!(error instanceof PartUnavailable)) throw error;
      print(`slipway: ${error.message}`);
    }
  }
  return env;
}

type Job = () => Promise<FileResult>;

/** @param before what goes on beside the first files */
async function runFiles(
  files: readonly TestFile[],
  options: ProcessOptions,
  before: readonly Job[],
): Promise<FileResult[]> {
  const results: FileResult[] = [];
  const runNext = async (queue: Job[]): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) results.push(announce(await job()));
  };
  const isSerial = ({ name }: TestFile): boolean => `${name}.`.includes('.serial.');
  const jobOf =
    ({ path, name }: TestFile): Job =>
    () =>
      runTestFile(path, name, options);
  const sideBySide = [...before, ...files.filter((file) => !isSerial(file)).map(jobOf)];
  await Promise.all(Array.from({ length: AT_ONCE }, () => runNext(sideBySide)));
  await runNext(files.filter(isSerial).map(jobOf));
  return results;
}

function announce(result: FileResult): FileResult {
  print(describe(result));
  return result;
}

async function report(results: readonly FileResult[], at: Date): Promise<void> {
  const file = join(ROOT, 'docs', 'test-full-report.md');
  await mkdir(dirname(file), { recursive: true });
  const page = existsSync(file) ? await readFile(file, 'utf8') : '';
  const { stdout } = await promisify(execFile)('git', ['describe', '--always', '--dirty=x', '--abbrev=8'], {
    cwd: ROOT,
  });
  const isThere = (name: string): boolean => existsSync(join(ROOT, `${name}.test.ts`));
  await writeFile(file, markdownReport(results, { commit: stdout.trim(), at }, { page, isThere }));
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function main(): Promise<void> {
  const started = new Date();
  const { values, positionals: words } = parseArgs({
    allowPositionals: true,
    options: {
      full: { type: 'boolean', default: false },
      timeout: { type: 'string' },
    },
  });
  const minutes = Number(values.timeout ?? (values.full ? FULL_TIMEOUT_MINUTES : DEFAULT_TIMEOUT_MINUTES));
  const step: ProcessOptions = { cwd: ROOT, env: {}, timeoutMs: minutes * 60_000 };

  const results = [announce(await runStep('build', 'npm', ['run', '--silent', 'build'], step))];
  const lint = words.length === 0 ? [() => runStep('lint', 'npm', ['run', '--silent', 'lint'], step)] : [];
  const files = await discover(words, values.full);
  if (files.length === 0) print('No test file matches.');
  else results.push(...(await runFiles(files, { ...step, env: await prepareParts() }, lint)));

  if (values.full) await report(results, started);

  const unserved = results.flatMap((result) => result.skips).filter(({ reason }) => reason.startsWith('needs '));
  const isCi = process.env['CI'] === 'true';
  if (isCi && unserved.length > 0)
    print(`In CI a missing real server is a failure: ${unserved.length} skipped for one.`);
  const totals = totalsOf(results);
  if (totals.failed > 0 || files.length === 0 || (isCi && unserved.length > 0)) process.exitCode = 1;
  print(closingLine(totals));
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.on(signal, () => {
    killAll();
    process.exit(code);
  });
}
await main();
