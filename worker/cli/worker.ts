import { fileURLToPath } from 'node:url';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done } from '../../client/cli/context.js';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { ConfigError, loadWorkerConfig } from '../config.js';
import { runWorker } from '../worker.js';

/** The bundle that `npm run build` made beside the compiled code. */
export const BUNDLE_PATH = fileURLToPath(new URL('../../workflow-bundle.js', import.meta.url));

/** `slipway worker`: runs until SIGINT or SIGTERM. */
export async function worker(context: CliContext): Promise<CommandResult> {
  try {
    const config = loadWorkerConfig(context.env);
    await runWorker({ config, env: context.env, bundlePath: BUNDLE_PATH });
    return done({ stopped: true });
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(EXIT.usage, error.message);
    if (
      error instanceof Error &&
      /ECONNREFUSED|UNAVAILABLE|tcp connect|connection (refused|error)|transport error/i.test(
        `${error.message} ${String(error.cause)}`,
      )
    ) {
      throw new CliError(
        EXIT.unavailable,
        `Temporal can't be reached: ${error.message}`,
        'start it, or set TEMPORAL_ADDRESS; `npm run doctor` tells what is there',
      );
    }
    throw error;
  }
}
