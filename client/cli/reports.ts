import { randomUUID } from 'node:crypto';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import { dotenvOutputs, githubOutputs, markdownSummary, summaryOutputs } from '../report/summary.js';
import type { SummaryLinks } from '../report/summary.js';
import type { Found } from '../slipway.js';
import { usage } from './context.js';
import type { CliContext } from './context.js';

/** Files that a CI system reads: each is added to. */
export interface ReportFlags {
  /** A Markdown page: GitHub's `$GITHUB_STEP_SUMMARY`. */
  readonly summary?: string;
  /** `name<<delimiter` values: GitHub's `$GITHUB_OUTPUT`. */
  readonly outputs?: string;
  /** `SLIPWAY_NAME=value` lines: a dotenv report of GitLab. */
  readonly dotenv?: string;
}

/** Writes what was asked for. A rollout that still waits in its lane, or never ran, has no story: its id is an output. */
export async function writeReports(
  context: CliContext,
  flags: ReportFlags,
  { found, exitCode, links }: { readonly found: Found | null; readonly exitCode: number; readonly links: SummaryLinks },
): Promise<void> {
  if (found === null) return;
  const values =
    found.kind === 'running'
      ? summaryOutputs(found.view, exitCode, links)
      : { 'rollout-id': found.ref.rolloutId, outcome: outcomeOf(found), 'exit-code': String(exitCode) };
  if (found.kind === 'running')
    await write(context, '--summary', flags.summary, () => markdownSummary(found.view, links));
  await write(context, '--outputs', flags.outputs, () => githubOutputs(values, `slipway-${randomUUID()}`));
  await write(context, '--dotenv', flags.dotenv, () => dotenvOutputs(values));
}

function outcomeOf(found: Exclude<Found, { kind: 'running' }>): string {
  return found.kind === 'queued' ? 'queued' : (found.entry.outcome ?? 'ended');
}

async function write(context: CliContext, flag: string, file: string | undefined, text: () => string): Promise<void> {
  if (file === undefined) return;
  try {
    await appendFile(path.resolve(context.cwd, file), text());
  } catch (error) {
    throw usage(
      `${flag} ${file} can't be written: ${error instanceof Error ? error.message : String(error)}`,
      'name a file in a folder that is there; the rollout itself is not touched by this',
    );
  }
}
