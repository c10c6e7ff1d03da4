import { randomUUID } from 'node:crypto';
import { rolloutIdFor } from '../../domain/release.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { actorFrom } from './actor.js';
import type { ActorOptions } from './actor.js';
import type { CliContext, CommandResult } from './context.js';
import { refuseName, serverOf } from './rollouts.js';
import type { WhereFlags } from './rollouts.js';
import { waitOptions } from './options.js';
import type { WaitFlags } from './options.js';
import { describeRelease } from './release.js';
import type { ReleaseOptions } from './release.js';

export interface DeployOptions extends ReleaseOptions, ActorOptions, WhereFlags, WaitFlags {
  readonly key?: string;
  readonly hotfix?: boolean;
}

/** `slipway deploy`: asks for a rollout, and with `--wait` stays until its end. */
export async function deploy(
  context: CliContext,
  service: string | undefined,
  options: DeployOptions,
): Promise<CommandResult> {
  const waiting = waitOptions(options);
  const { policy, release, text } = await describeRelease(context, service, options);
  const server = await serverOf(context, options);
  refuseName(server, options);
  const actor = await actorFrom(context, options);
  const tenant = context.env['SLIPWAY_TENANT'] || 'default';
  const key = options.key ?? randomUUID();
  const request: RolloutRequest = {
    rolloutId: rolloutIdFor({ ...policy.lane, tenant, key }),
    tenant,
    actor,
    release,
    policy,
    priority: options.hotfix === true ? 'hotfix' : 'normal',
    retryOf: null,
    requestedAt: new Date().toISOString(),
  };
  // Loaded now: what is wrong with the input is said without Temporal's client, which takes long to load.
  const { start, startRemote, startRunOf } = await import('./start.js');
  if (server === null) return start(context, request, waiting);
  const run = startRunOf(request, key, text);
  return startRemote(context, server, policy.lane, (remote) => remote.start(run), waiting);
}
