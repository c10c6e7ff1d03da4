import { patched } from '@temporalio/workflow';
import type { PlatformScope } from '../activities/platform.js';
import type { Outcome } from '../domain/rollout.js';
import type { IdempotencyKey } from '../domain/fence.js';
import { isAway, lackOf, leastFor, nothingToLose, sharesOf } from '../domain/capacity.js';
import { ALL_STABLE } from '../domain/target.js';
import type { Effect, EffectResult, StableReadiness, TargetSnapshot } from '../domain/target.js';
import { durationText } from '../domain/words.js';
import { rollbackEffects, waits } from './activity-profiles.js';
import { unreachable, with_ } from './effects.js';
import type { EffectOutcome, EffectRequest, EffectRunner } from './effects.js';

/** Sends users back to stable in one write. Also what a watch is permitted to do by itself. */
export const CUT: EffectRequest = {
  effect: { op: 'cut-traffic' },
  stage: 'rollback',
  direction: 'back',
  summary: 'all traffic to stable, if it can serve',
};

/**
 * How long a restored stable is waited for at least, and no longer while users are on a version that is known to harm
 * them.
 */
const RESTORE_DEADLINE_MS = 120_000;
/** No longer at once, whatever its platform allows it: some Deployments have no limit at all. */
const RESTORE_MAX_MS = 60 * 60_000;

/** A cut that was given its key when users were sent away from stable. */
export interface MeantCut {
  readonly key: IdempotencyKey;
  /** What came of it where a watch has done it; null: it is still to be done. */
  readonly result: EffectResult | null;
}

export interface RollBackRequest {
  readonly scope: PlatformScope;
  readonly runner: EffectRunner;
  /** What is recorded in the lane's anchor. */
  readonly outcome: Outcome;
  /** Part of the keys: `rollback`, `recover`. */
  readonly stage: string;
  /**
   * Where users may have been sent away from stable by a route while nothing that this rollout has begun changes stable:
   * then traffic goes back before anything else is done, unless a watch has done that. Null elsewhere.
   */
  readonly cut: MeantCut | null;
  /** The new version is known to harm its users: a stable that is only half there is better for them. */
  readonly harmful: boolean;
  readonly say: (text: string) => void;
  readonly warn: (text: string) => void;
  /** Where it is not recorded any more what stable ran before: whether that is a failure, or a person knows. */
  readonly onLostRecord: 'fail' | 'warn';
  /** Called once traffic is back where it was. */
  readonly onTrafficBack: () => void;
}

export type RollBackResult =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly reason: string }
  /** Somebody else acts for this rollout now. */
  | { readonly kind: 'denied'; readonly reason: string; readonly ended: string | null };

/**
 * Goes back: traffic first where that is one write, then the fence on all objects, then traffic once more or as soon as
 * stable can serve, then workloads, then the anchor. Depends on nothing but the platform, and tries for as long as it
 * takes; only a refusal for good (forbidden, gone) makes it fail.
 */
export async function rollBack(request: RollBackRequest): Promise<RollBackResult> {
  const { scope, runner, stage, outcome, say } = request;
  if (!runner.claimed) {
    // It was stopped while its claim was under way: only a grant of its own settles whether the anchor names it.
    const claimed = await runner.claim('back');
    if (claimed.kind !== 'done') return failure(claimed);
  }
  const lost = await cutTraffic(request);
  if (lost !== null) return lost;
  const fenced = await runner.raiseFence(stage, 'back');
  if (fenced.kind !== 'done') return failure(fenced);

  const snapshot = await describe(scope);
  if ('kind' in snapshot) return { kind: 'failed', reason: snapshot.reason };
  // Before it, stable had to have its size for the first step, and was waited for 2 min at most.
  const byCapacity = patched('roll-back-by-capacity');
  const steps = planRollBack(snapshot, byCapacity);
  for (const step of steps) {
    if (step.kind === 'await-stable') {
      await (byCapacity ? awaitStable(request, step, snapshot.progressMs) : awaitSize(request, step.replicas));
      continue;
    }
    const done = await runner.perform({ effect: step.effect, stage, direction: 'back', summary: step.text });
    if (done.kind !== 'done') return failure(done);
    for (const drift of done.drift) request.warn(`wrote over a change by somebody else: ${drift}`);
    say(step.text);
    if (step.effect.op === 'set-weights') request.onTrafficBack();
  }
  if (snapshot.recordLost) {
    const reason = `what stable ran before is not recorded any more (the rollout's anchor is gone): it runs ${snapshot.arms.stable?.version ?? 'nothing'} now, see that this is right`;
    if (request.onLostRecord === 'fail') return { kind: 'failed', reason };
    request.warn(reason);
  }
  const closed = await runner.perform({
    effect: { op: 'close-rollout', outcome },
    stage,
    direction: 'back',
    summary: `record the outcome: ${outcome}`,
  });
  return closed.kind === 'done' ? { kind: 'done' } : failure(closed);
}

/**
 * Sends users back to stable at once. Whatever comes of it, all of the way back follows, and what could not be written
 * here is written, or fails, there. Null, unless somebody else acts for this rollout.
 */
async function cutTraffic(request: RollBackRequest): Promise<RollBackResult | null> {
  const { runner, say, warn } = request;
  if (request.cut === null) return null;
  const cut = await runner.performMeant(CUT, request.cut.key, request.cut.result);
  switch (cut.kind) {
    case 'done':
      for (const drift of cut.drift) warn(`wrote over a change by somebody else: ${drift}`);
      say('no more traffic for the canary');
      request.onTrafficBack();
      return null;
    case 'denied':
      return failure(cut);
    case 'declined':
      say(`traffic can't go back before anything else: ${cut.reason}`);
      return null;
    case 'drift':
    case 'refused':
    case 'unreachable': {
      const why = failure(cut);
      warn(`traffic could not go back at once: ${'reason' in why ? why.reason : why.kind}`);
      return null;
    }
  }
}

/** Tried for as long as it takes; only an answer that no retry can change ends it. */
async function describe(scope: PlatformScope): Promise<TargetSnapshot | ReturnType<typeof unreachable>> {
  try {
    return await rollbackEffects().describeTarget(scope);
  } catch (error) {
    return unreachable(error);
  }
}

type RollBackStep =
  | { readonly kind: 'effect'; readonly effect: Effect; readonly text: string }
  /** `away`: users are elsewhere until then. */
  | { readonly kind: 'await-stable'; readonly replicas: number; readonly away: boolean };

/**
 * What a rollback has to do, from what stands now. Pure: the same snapshot gives the same steps.
 *
 * @param byCapacity what can serve is weighed, not the size; false only in runs that were under way before it was
 */
export function planRollBack(snapshot: TargetSnapshot, byCapacity = true): readonly RollBackStep[] {
  const { recorded, arms, weights } = snapshot;
  const siblings: RollBackStep[] = (['canary', 'baseline'] as const)
    .filter((arm) => arms[arm] !== undefined)
    .map((arm) => ({ kind: 'effect', effect: { op: 'remove-arm', arm }, text: `removed ${arm}` }));
  const withTraffic = (['canary', 'baseline'] as const).filter((arm) => (weights?.[arm] ?? 0) > 0);
  const toStable: RollBackStep = {
    kind: 'effect',
    effect: { op: 'set-weights', weights: ALL_STABLE },
    text: 'all traffic back on stable',
  };
  if (recorded === null)
    return withTraffic.length > 0 && arms.stable !== undefined ? [toStable, ...siblings] : siblings;
  if (recorded.templateDigest === null) {
    // A first release: there is nothing to go back to.
    return [
      ...siblings,
      { kind: 'effect', effect: { op: 'remove-stable' }, text: 'removed the first release: nothing served before it' },
    ];
  }
  const { stable } = arms;
  const isOld = stable !== undefined && stable.templateDigest === recorded.templateDigest;
  const isWhole = isOld && stable.replicas >= recorded.replicas;
  const restore: readonly RollBackStep[] = isWhole
    ? []
    : [
        {
          kind: 'effect',
          effect: { op: 'set-stable-template', template: { from: 'recorded' }, replicas: recorded.replicas },
          text: `restored stable to ${recorded.version ?? recorded.templateDigest}`,
        },
      ];
  // What it lacks of its size is given back to it once no user is on the new version any more.
  if (byCapacity ? isOld && lackOf(stable, recorded, sharesOf(snapshot)) === null : isWhole && stable.ready > 0)
    return [toStable, ...restore, ...siblings];
  const awaiting = (away: boolean): RollBackStep => ({ kind: 'await-stable', replicas: recorded.replicas, away });
  const atOnce = byCapacity
    ? nothingToLose(snapshot) !== null
    : withTraffic.every((arm) => (arms[arm]?.ready ?? 0) === 0);
  if (withTraffic.length > 0 && atOnce) return [toStable, ...restore, awaiting(false), ...siblings];
  // Traffic stays where it is until the old version can serve again (semantics.md, "Promotion and rollback").
  return [...restore, awaiting(isAway(snapshot)), toStable, ...siblings];
}

/**
 * Waits for a stable that was restored. Users who are elsewhere stay there until it can take them, or they have nothing to
 * lose by going to it; those of a version that harms them, until the time is up and any of it can serve.
 */
async function awaitStable(
  { scope, harmful, say, warn }: RollBackRequest,
  { replicas, away }: Extract<RollBackStep, { kind: 'await-stable' }>,
  progressMs = RESTORE_DEADLINE_MS,
): Promise<void> {
  const limitMs = harmful ? RESTORE_DEADLINE_MS : Math.min(Math.max(progressMs, RESTORE_DEADLINE_MS), RESTORE_MAX_MS);
  const wanted = harmful ? leastFor(replicas) : replicas;
  for (let isFirst = true; ; isFirst = false) {
    const stable = await stableWithin(scope, { replicas: wanted, untilMs: Date.now() + limitMs, away }, limitMs);
    if (stable.kind === 'ready') return;
    if (stable.kind !== 'waiting') return warn(`${stable.text}: traffic goes to stable all the same`);
    const { ready, message } = stable;
    const found = `${ready} of stable's ${stable.wanted} replicas can serve after ${durationText(limitMs)} (${message ?? 'no reason given'})`;
    if (!away) return warn(found);
    if (harmful && ready > 0) return warn(`${found}: traffic goes to them, for the new version harms its users`);
    // What waits for the canary's room on the nodes would else be waited for by the canary.
    if (ready >= leastFor(replicas)) return warn(`${found}: traffic goes to them, for they can take all users`);
    if (isFirst) say(`${found}: traffic stays where more can serve until then; see why its pods don't come up`);
  }
}

async function stableWithin(
  scope: PlatformScope,
  wanted: { readonly replicas: number; readonly untilMs: number; readonly away: boolean },
  limitMs: number,
): Promise<StableReadiness> {
  const summary = 'wait until stable can serve again';
  try {
    return await with_(waits(limitMs), 'awaitStable', { summary }, { scope, ...wanted });
  } catch (error) {
    return {
      kind: 'nothing-to-lose',
      text: `stable can't be looked at, nor what has traffic instead (${unreachable(error).reason})`,
    };
  }
}

/** As runs waited that were under way before capacity was weighed. */
async function awaitSize({ scope, warn }: RollBackRequest, replicas: number): Promise<void> {
  const call = {
    scope,
    arms: [{ arm: 'stable' as const, replicas }],
    untilMs: Date.now() + RESTORE_DEADLINE_MS,
    guard: false,
  };
  try {
    const ready = await with_(
      waits(RESTORE_DEADLINE_MS),
      'awaitReady',
      { summary: 'wait until stable can serve again' },
      call,
    );
    if (ready.kind !== 'ready')
      warn(`stable is not fully ready (${ready.message ?? 'no reason given'}): traffic goes to it all the same`);
  } catch (error) {
    warn(`could not see whether stable is ready (${unreachable(error).reason}): traffic goes to it all the same`);
  }
}

function failure(outcome: Exclude<EffectOutcome, { kind: 'done' }>): RollBackResult {
  switch (outcome.kind) {
    case 'denied':
      return outcome;
    case 'drift':
      return { kind: 'failed', reason: `${outcome.object} is ${outcome.found}, not ${outcome.expected}` };
    case 'refused':
    case 'declined':
    case 'unreachable':
      return { kind: 'failed', reason: outcome.reason };
  }
}
