import { parseDuration } from '../../formats/duration.js';
import { usage } from './context.js';
import type { ReportFlags } from './reports.js';

/** A duration given as a flag, ms. */
export function parseDurationOption(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === null) throw usage(`${flag} "${text}" is no duration`, 'write it with a unit: 90s, 15m, 24h');
  return ms;
}

/** A whole number given as a flag. */
export function parseCountOption(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw usage(`${flag} "${text}" is not accepted`, `write a whole number from 1 to ${most}`);
  return value;
}

/** The flags of commands that can stay until a rollout is over. */
export interface WaitFlags extends ReportFlags {
  /** `--wait`, or `--wait=held`. */
  readonly wait?: boolean | string;
  readonly waitTimeout?: string;
  readonly onCancel?: 'leave' | 'abort';
}

export interface Waiting {
  readonly wait: boolean;
  /** Stop as soon as a person is needed, exit code 4. */
  readonly untilHeld: boolean;
  /** Stop waiting after so long, exit code 4. Null: as long as it takes. */
  readonly timeoutMs: number | null;
  /** What a signal to stop (Ctrl-C, a cancelled job) does to the rollout. @default 'leave' */
  readonly onCancel: 'leave' | 'abort';
  readonly reports: ReportFlags;
}

export function waitOptions(options: WaitFlags): Waiting {
  const { wait } = options;
  if (typeof wait === 'string' && wait !== 'held')
    throw usage(`--wait=${wait} is not known`, 'use --wait, or --wait=held to return as soon as a person is needed');
  if (options.waitTimeout !== undefined && wait === undefined)
    throw usage('--wait-timeout needs --wait', 'add --wait, or leave --wait-timeout out');
  const waits = wait !== undefined && wait !== false;
  if (options.onCancel !== undefined && !waits)
    throw usage('--on-cancel needs --wait', 'add --wait, or leave --on-cancel out');
  return {
    wait: waits,
    untilHeld: wait === 'held',
    timeoutMs: options.waitTimeout === undefined ? null : parseDurationOption('--wait-timeout', options.waitTimeout),
    onCancel: options.onCancel ?? 'leave',
    reports: reportFlags(options),
  };
}

function reportFlags({ summary, outputs, dotenv }: ReportFlags): ReportFlags {
  return {
    ...(summary === undefined ? {} : { summary }),
    ...(outputs === undefined ? {} : { outputs }),
    ...(dotenv === undefined ? {} : { dotenv }),
  };
}
