import { isGateVerb } from '../../domain/approval/decision.js';
import type { Verb } from '../../domain/approval/decision.js';
import { isFinal } from '../../domain/rollout.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import { rolloutIdFor } from '../../domain/release.js';
import { randomUUID } from 'node:crypto';
import { CliError, EXIT } from '../exit-codes.js';
import type { Rollouts } from '../rollouts.js';
import { newDecision, Slipway } from '../slipway.js';
import type { Found } from '../slipway.js';
import { actorFrom } from './actor.js';
import type { ActorOptions } from './actor.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { documentOf, follow, neverRanText, queuedText } from './follow.js';
import { parseDurationOption, waitOptions } from './options.js';
import type { WaitFlags } from './options.js';
import { painter, plain, timelineLine, viewTree } from './render.js';
import { refuseName, serverOf, withRollouts } from './rollouts.js';
import type { WhereFlags } from './rollouts.js';
import { start, startRemote } from './start.js';

export interface VerbOptions extends ActorOptions, WhereFlags {
  readonly reason?: string;
  readonly gate?: string;
  readonly full?: boolean;
  /** Digest of the plan that was looked at; the current one when absent. */
  readonly plan?: string;
  /** The same id for each try of one decision. */
  readonly id?: string;
}

/** Opens a connection for the length of a command. */
export async function withSlipway<T>(context: CliContext, work: (slipway: Slipway) => Promise<T>): Promise<T> {
  const slipway = await Slipway.connect(context.env);
  try {
    return await work(slipway);
  } finally {
    await slipway.close();
  }
}

/** `approve`, `reject`, `break-glass`, `pause`, `resume`, `promote`, `abort`: one decision of one person. */
export async function decide(
  context: CliContext,
  verb: Verb,
  rollout: string,
  options: VerbOptions,
): Promise<CommandResult> {
  const server = await serverOf(context, options);
  refuseName(server, options);
  return withRollouts(context, options, async (rollouts) => {
    const ref = await rollouts.resolve(rollout);
    const actor = await actorFrom(context, options);
    const atGate = isGateVerb(verb);
    const found = await rollouts.find(ref);
    // In the queue there is no gate, no stage and no traffic yet: all that can be said is that it is not wanted.
    const view = verb === 'abort' && found.kind === 'queued' ? null : running(found);
    if (view !== null && isFinal(view.phase))
      throw new CliError(
        EXIT.usage,
        `rollout ${ref.rolloutId} is over (${view.phase}): there is nothing to ${verb} any more`,
        `slipway status ${ref.rolloutId}`,
      );
    const gate = atGate ? (options.gate ?? view?.approvals?.gate ?? null) : null;
    const planDigest = atGate ? (options.plan ?? view?.approvals?.planDigest ?? null) : null;
    const decision = newDecision(verb, actor, {
      gate,
      planDigest,
      reason: options.reason ?? null,
      full: options.full === true,
      ...(options.id === undefined ? {} : { id: options.id }),
    });
    const receipt = await rollouts.decide(ref, decision);
    if (receipt.kind === 'refused') {
      const whoCan = receipt.whoCan ? `${receipt.whoCan} could; ` : '';
      throw new CliError(
        EXIT.usage,
        `refused: ${plain(receipt.text)}`,
        `${plain(whoCan)}${receipt.next ?? ''}${receipt.next === undefined ? '' : '; '}slipway status ${ref.rolloutId}`,
      );
    }
    if (!context.json) context.out(plain(receipt.text));
    // Through a server it is the decision of whoever the token is, not of this machine's user.
    const { actor: here, ...said } = decision;
    return done({ rolloutId: ref.rolloutId, decision: server === null ? { ...said, actor: here } : said, receipt });
  });
}

/** `slipway status`. */
export async function status(
  context: CliContext,
  rollout: string,
  options: WhereFlags,
  recorded: (rolloutId: string) => Promise<RolloutView | null>,
): Promise<CommandResult> {
  return withRollouts(context, options, async (rollouts) => {
    const found = await findOrRemember(rollouts, rollout, recorded);
    if (context.json) return done(documentOf(found));
    const paint = painter(context.color);
    if (found.kind === 'running') {
      for (const line of viewTree(found, Date.now(), paint)) context.out(line);
      context.out('');
      for (const entry of found.view.timeline) context.out(timelineLine(entry, paint));
    } else if (found.kind === 'queued') {
      context.out(queuedText(found));
    } else {
      context.out(neverRanText(found));
    }
    return done(documentOf(found));
  });
}

/** Where it stands; of a rollout that Temporal has forgotten, where it stood when it ended. */
async function findOrRemember(
  rollouts: Rollouts,
  rollout: string,
  recorded: (rolloutId: string) => Promise<RolloutView | null>,
): Promise<Found> {
  const remembered = async (): Promise<Found | null> => {
    const view = await recorded(rollout.split('/').at(-1) ?? rollout);
    return view === null ? null : { kind: 'running', view };
  };
  try {
    const found = await rollouts.find(await rollouts.resolve(rollout));
    // The lane still knows how it ended, the record knows all of it.
    return found.kind === 'never-ran' ? ((await remembered()) ?? found) : found;
  } catch (error) {
    if (!(error instanceof CliError) || error.exitCode !== EXIT.usage) throw error;
    const found = await remembered();
    if (found === null) throw error;
    return found;
  }
}

/** `slipway watch`. */
export async function watch(
  context: CliContext,
  rollout: string,
  options: WhereFlags & WaitFlags & { readonly timeout?: string; readonly untilHeld?: boolean },
): Promise<CommandResult> {
  const timeoutMs = options.timeout === undefined ? null : parseDurationOption('--timeout', options.timeout);
  const waiting = { ...waitOptions({ ...options, wait: options.untilHeld === true ? 'held' : true }), timeoutMs };
  return withRollouts(context, options, async (rollouts) =>
    follow(context, rollouts, await rollouts.resolve(rollout), waiting),
  );
}

/** `slipway retry`: a new rollout of the same release under the same policy; the old run is never revived. */
export async function retry(
  context: CliContext,
  rollout: string,
  options: ActorOptions & WhereFlags & WaitFlags & { readonly key?: string },
): Promise<CommandResult> {
  const waiting = waitOptions(options);
  const server = await serverOf(context, options);
  refuseName(server, options);
  if (server !== null) {
    const { lane, rolloutId } = await withRollouts(context, options, (rollouts) => rollouts.resolve(rollout));
    const key = options.key ?? randomUUID();
    return startRemote(context, server, lane, (remote) => remote.retry(rolloutId, key), waiting);
  }
  const request = await withSlipway(context, async (slipway): Promise<RolloutRequest> => {
    const view = running(await slipway.find(await slipway.resolve(rollout)));
    if (!isFinal(view.phase))
      throw usage(
        `rollout ${view.rolloutId} is not over: ${view.phase}`,
        `slipway abort ${view.rolloutId} first, or wait for it`,
      );
    if (view.outcome === 'completed')
      throw usage(
        `rollout ${view.rolloutId} was shipped: there is nothing to try again`,
        'slipway deploy ships the release once more',
      );
    const tenant = context.env['SLIPWAY_TENANT'] || 'default';
    return {
      rolloutId: rolloutIdFor({ ...view.lane, tenant, key: options.key ?? randomUUID() }),
      tenant,
      actor: await actorFrom(context, options),
      release: view.release,
      policy: view.policy,
      priority: 'normal',
      retryOf: view.rolloutId,
      requestedAt: new Date().toISOString(),
    };
  });
  return start(context, request, waiting);
}

function running(found: Found): Extract<Found, { kind: 'running' }>['view'] {
  if (found.kind === 'running') return found.view;
  const text =
    found.kind === 'queued'
      ? 'still waits in its lane'
      : `is over, and its history is not kept any more (${found.entry.outcome ?? 'ended'}: ${found.entry.reason ?? ''})`;
  const id = found.ref.rolloutId;
  throw new CliError(EXIT.usage, `rollout ${id} ${text}`, `slipway status ${id}`);
}
