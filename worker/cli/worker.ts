import { fileURLToPath } from 'node:url';
import type { CliContext, CommandResult } from '../../client/cli/context.js';
import { done } from '../../client/cli/context.js';
import { EvidenceUnusable } from '../../activities/evidence/evidence-store.js';
import { ObjectStoreUnusable } from '../../activities/objects/object-store.js';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { noNamespace, readConnectConfig } from '../../client/slipway.js';
import { ConfigError, loadWorkerConfig } from '../config.js';
import { runWorker } from '../worker.js';

/** The bundle that `npm run build` made beside the compiled code. */
export const BUNDLE_PATH = fileURLToPath(new URL('../../workflow-bundle.js', import.meta.url));

/** `slipway worker`: runs until SIGINT or SIGTERM. */
export async function worker(context: CliContext): Promise<CommandResult> {
  const { address, namespace } = readConnectConfig(context.env);
  try {
    const config = loadWorkerConfig(context.env);
    await runWorker({ config, env: context.env, bundlePath: BUNDLE_PATH });
    return done({ stopped: true });
  } catch (error) {
    throw explained(error, address, namespace) ?? error;
  }
}

/** What a person can put right, said so; null for anything else. */
function explained(error: unknown, address: string, namespace: string): CliError | null {
  if (error instanceof ConfigError || error instanceof EvidenceUnusable || error instanceof ObjectStoreUnusable)
    return new CliError(EXIT.usage, error.message, 'correct the setting, then start the worker again');
  if (!(error instanceof Error)) return null;
  const text = `${error.message} ${String(error.cause)}`;
  if ('code' in error && error.code === 'EADDRINUSE')
    return new CliError(
      EXIT.usage,
      `the port of /metrics, /healthz and /readyz is taken (${error.message})`,
      'stop what listens there (another worker?), or set SLIPWAY_HTTP_PORT; 0 takes a free one',
    );
  if (/ECONNREFUSED|UNAVAILABLE|tcp connect|connection (refused|error)|transport error|dns error/i.test(text))
    return new CliError(
      EXIT.unavailable,
      // The SDK's text is its own data structure; the system's words are in it.
      `Temporal can't be reached at ${address} (${/message: "([^"]+)"/.exec(error.message)?.[1] ?? error.message})`,
      'start it, or set TEMPORAL_ADDRESS; `npm run doctor` tells what is there',
    );
  if (/targetUrl|invalid (international|uri|url)/i.test(text))
    return new CliError(EXIT.usage, `"${address}" is no address of Temporal`, 'set TEMPORAL_ADDRESS to host:port');
  return /namespace .* (is )?not found/i.test(text) ? noNamespace(namespace, address) : null;
}
