import { CliError, EXIT } from '../exit-codes.js';
import type { CliContext, CommandResult } from './context.js';

/** Runs a command and turns whatever comes of it into output and an exit code. */
export async function runCommand(context: CliContext, work: () => Promise<CommandResult>): Promise<number> {
  try {
    const { exitCode, document } = await work();
    if (context.json) context.out(JSON.stringify(document, null, 2));
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
      context.out(
        JSON.stringify({ error: { message: known.message, remedy: known.remedy, exitCode: known.exitCode } }, null, 2),
      );
    context.note(`slipway: ${known.message}`);
    if (known.remedy !== null) context.note(`  → ${known.remedy}`);
    if (context.env['SLIPWAY_DEBUG'] && error instanceof Error) context.note(error.stack ?? '');
    return known.exitCode;
  }
}

function text(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
