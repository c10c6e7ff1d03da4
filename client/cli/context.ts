import type { Readable } from 'node:stream';
import { CliError, EXIT } from '../exit-codes.js';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** What a command has of the outside: handed in by `bin/slipway`, so that nothing else reads the process. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** One JSON document on standard output, and nothing else. */
  readonly json: boolean;
  /** Standard output is a terminal that can be redrawn. */
  readonly terminal: boolean;
  /** How large that terminal is now; it may change. */
  size(): TerminalSize;
  readonly color: boolean;
  /** Standard input, as text. */
  readonly input: Readable;
  /** Writes to standard output and waits until more can be taken; false once nobody reads it any more. */
  write(text: string): Promise<boolean>;
  /** A line on standard output. */
  out(text: string): void;
  /** A line on standard error: progress, and what to do next. */
  note(text: string): void;
  /** Aborted by Ctrl-C: a command that waits stops waiting, the rollout goes on. */
  readonly signal: AbortSignal;
}

/** What a command came to: its exit code, and the JSON document of `--json`. */
export interface CommandResult {
  readonly exitCode: number;
  readonly document: unknown;
}

export function done(document: unknown, exitCode: number = EXIT.completed): CommandResult {
  return { exitCode, document };
}

/** The options of commands that are about a service's file. */
export interface FileOptions {
  readonly file?: string;
  readonly env?: string;
}

export function usage(message: string, remedy: string | null = null): CliError {
  return new CliError(EXIT.usage, message, remedy);
}
