import type { Readable } from 'node:stream';
import type { CliContext } from '../../client/cli/context.js';

/** A command's outside with this as its standard input; what it writes is kept. */
export function jsonlContext(
  input: Readable,
  signal: AbortSignal = new AbortController().signal,
): CliContext & { readonly written: readonly string[] } {
  const written: string[] = [];
  return {
    env: {},
    cwd: '.',
    json: false,
    terminal: false,
    size: () => ({ columns: 80, rows: 24 }),
    color: false,
    input,
    write: async (text) => written.push(text) > 0,
    out: (text) => written.push(text),
    note: () => undefined,
    signal,
    written,
  };
}
