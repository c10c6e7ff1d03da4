import type { Rollouts } from '../rollouts.js';
import { readCredentials } from '../remote/tokens.js';
import type { ActorOptions } from './actor.js';
import { usage } from './context.js';
import type { CliContext } from './context.js';

export interface WhereFlags {
  /** Speak to Temporal itself, whatever server is known: for the demo, and for when the server is down. */
  readonly direct?: boolean;
}

/** The server that commands go through: `SLIPWAY_SERVER`, else where `slipway login` was last; null: Temporal itself. */
export async function serverOf(context: CliContext, { direct }: WhereFlags): Promise<string | null> {
  if (direct === true) return null;
  return context.env['SLIPWAY_SERVER'] || (await readCredentials(context.env)).current;
}

/** Opens whatever answers for rollouts, for the length of a command. */
export async function withRollouts<T>(
  context: CliContext,
  flags: WhereFlags,
  work: (rollouts: Rollouts) => Promise<T>,
): Promise<T> {
  const server = await serverOf(context, flags);
  const rollouts = server === null ? await direct(context) : await remote(context, server);
  try {
    return await work(rollouts);
  } finally {
    await rollouts.close();
  }
}

/** Through the server everybody is who they logged in as: a name that is given would mean nothing. */
export function refuseName(server: string | null, { as, group }: ActorOptions): void {
  const given = as !== undefined ? '--as' : group !== undefined ? '--group' : null;
  if (server !== null && given !== null)
    throw usage(
      `${given} means nothing to the server at ${server}: it knows by your token who you are`,
      `leave ${given} out (\`slipway whoami\` tells who you are there), or add --direct to speak to Temporal itself`,
    );
}

// Temporal's client takes long to load: only who needs it waits for it.
async function direct(context: CliContext): Promise<Rollouts> {
  return (await import('../slipway.js')).Slipway.connect(context.env);
}

async function remote(context: CliContext, server: string): Promise<Rollouts> {
  return (await import('../remote/remote.js')).Remote.connect(context.env, server);
}
