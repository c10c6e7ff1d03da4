import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import type { ReportLine } from './test-reporter.js';

export interface Failure {
  readonly name: string;
  readonly error: string;
}

export interface Skip {
  readonly name: string;
  readonly reason: string;
}

/** What came of one test file, or of a build step that counts as one. */
export interface FileResult {
  readonly name: string;
  readonly seconds: number;
  readonly passed: number;
  readonly failures: readonly Failure[];
  readonly skips: readonly Skip[];
  readonly diagnostics: readonly string[];
  /** The end of what the process itself wrote. */
  readonly output: string;
}

export interface ProcessOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

interface ProcessEnd {
  readonly failure: string | undefined;
  readonly output: string;
}

const REPORTER = fileURLToPath(new URL('test-reporter.js', import.meta.url));
const OUTPUT_KEPT = 32_000;
/** How long the output may still flow once its process is gone. */
const DRAIN_MS = 500;

/** The process groups that run now. */
const groups = new Set<number>();

/** Runs one built test file in a process of its own. */
export async function runTestFile(file: string, name: string, options: ProcessOptions): Promise<FileResult> {
  const started = performance.now();
  const folder = await mkdtemp(join(tmpdir(), 'slipway-test-'));
  const reportFile = join(folder, 'report');
  try {
    const reporterArgs = [`--test-reporter=${REPORTER}`, `--test-reporter-destination=${reportFile}`];
    const args = ['--enable-source-maps', ...reporterArgs, file];
    const { failure, output } = await runToEnd(process.execPath, args, options);
    const lines = parse(await readFile(reportFile, 'utf8').catch(() => ''));

    const failures = lines.filter((line) => line.kind === 'fail');
    const skips = lines.filter((line) => line.kind === 'skip');
    const passed = lines.filter((line) => line.kind === 'pass').length;
    const ranNone = passed + failures.length + skips.length === 0;
    const fault = failures.length > 0 ? undefined : (failure ?? (ranNone ? 'it ran no test' : undefined));
    return {
      name,
      seconds: (performance.now() - started) / 1000,
      passed,
      failures: fault === undefined ? failures : [{ name: 'the file as a whole', error: fault }],
      skips,
      diagnostics: lines.filter((line) => line.kind === 'diagnostic').map((line) => line.message),
      output,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Runs a command that counts as one test. */
export async function runStep(
  name: string,
  command: string,
  args: string[],
  options: ProcessOptions,
): Promise<FileResult> {
  const started = performance.now();
  const { failure, output } = await runToEnd(command, args, options);
  return {
    name,
    seconds: (performance.now() - started) / 1000,
    passed: failure === undefined ? 1 : 0,
    failures: failure === undefined ? [] : [{ name, error: failure }],
    skips: [],
    diagnostics: [],
    output,
  };
}

/** Kills all that {@link runTestFile} and {@link runStep} run now. */
export function killAll(): void {
  for (const pid of groups) killGroup(pid);
}

async function runToEnd(command: string, args: readonly string[], options: ProcessOptions): Promise<ProcessEnd> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Leads a group of its own, so that a timeout ends whatever it started too.
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    return { failure: error.message, output: '' };
  }

  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_KEPT);
    });
  }
  groups.add(pid);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(pid);
  }, options.timeoutMs);
  const closed = once(child, 'close');
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  killGroup(pid);
  groups.delete(pid);
  await Promise.race([closed, sleep(DRAIN_MS)]);

  if (timedOut) return { failure: `it was still running after ${options.timeoutMs / 60_000} minutes`, output };
  if (code === 0) return { failure: undefined, output };
  return { failure: `its process ended with ${signal ?? `code ${code}`}`, output };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A killed process may have left half a line. */
function parse(report: string): ReportLine[] {
  return report
    .slice(0, report.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ReportLine);
}
