import { CliError, EXIT } from '../exit-codes.js';
import type { CliContext, CommandResult } from './context.js';
import { plainLines } from './render.js';

/** Runs a command and turns whatever comes of it into output and an exit code. */
export async function runCommand(context: CliContext, work: () => Promise<CommandResult>): Promise<number> {
  try {
    const { exitCode, document } = await work();
    if (context.json) context.out(jsonText(document));
    return exitCode;
  } catch (error) {
    const known =
      error instanceof CliError
        ? error
        : new CliError(
            EXIT.internal,
            `internal error: ${text(error)}`,
            'please report it; SLIPWAY_DEBUG=1 shows where',
          );
    if (context.json)
      context.out(jsonText({ error: { message: known.message, remedy: known.remedy, exitCode: known.exitCode } }));
    context.note(`slipway: ${plainLines(known.message)}`);
    if (known.remedy !== null) context.note(`  → ${plainLines(known.remedy)}`);
    if (context.env['SLIPWAY_DEBUG'] && error instanceof Error) context.note(error.stack ?? '');
    return known.exitCode;
  }
}

/** JSON whose strings can't command a terminal either: what JSON itself leaves as it is is written as an escape. */
function jsonText(document: unknown): string {
  return JSON.stringify(document, null, 2).replace(
    /[\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function text(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
