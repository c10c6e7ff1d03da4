import { formatFence } from '../../domain/fence.js';
import { creditOf, settle, staleAgainst, untilSettled } from './fenced-write.js';
import { ANNOTATION, LANE, laneAnchorOf, readLane } from './lane-view.js';
import type { Permit } from '../../domain/fence.js';
import type { AnchorHolder, ClaimResult, EffectResult } from '../../domain/target.js';
import type { ClaimRequest, PlatformScope } from '../platform.js';
import type { Attempt } from './fenced-write.js';
import type { Held, LaneSpec, LaneView, RolloutSpec } from './lane-view.js';
import type { LaneStore, ObjectWrite, PlatformTypes, WriteCredit } from './store.js';

/** How many ended rollouts a lane's anchor remembers. */
const ENDED_KEPT = 50;

/** Grants a generation: see `Platform.claim`. */
export function claimLane<P extends PlatformTypes>(
  store: LaneStore<P>,
  request: ClaimRequest,
  signal?: AbortSignal,
): Promise<ClaimResult> {
  return untilSettled(store.where, signal, async (): Promise<Attempt<ClaimResult>> => {
    const view = await readLane(store, request.rolloutId, signal);
    if (!(await finishEnded(store, view, signal))) return null;
    const lane = view.lane?.spec ?? { generation: 0, current: null, ended: [], target: request.target };
    const reason = denialOf(lane, view, request);
    if (reason !== null) return { kind: 'denied', reason, anchor: laneAnchorOf(request.lane, lane) };

    const { rolloutId, claimant, laneGeneration } = request;
    const generation = Math.max(laneGeneration, lane.generation) + 1;
    const spec: LaneSpec = { ...lane, generation, current: { rolloutId, claimant }, target: request.target };
    const credit = {
      key: `${rolloutId}/claim/${claimant}/lane/${generation}`,
      fence: formatFence({ generation, step: 0 }),
    };
    const outcome = await writeLane(store, view, spec, credit, signal);
    if (outcome.kind === 'conflict') return null;
    if (outcome.kind === 'refused') return outcome;
    return { kind: 'granted', generation };
  });
}

function denialOf(
  { current, ended }: LaneSpec,
  view: LaneView<PlatformTypes>,
  { rolloutId, claimant }: ClaimRequest,
): string | null {
  const outcome = ended.find((each) => each.rolloutId === rolloutId)?.outcome;
  if (outcome !== undefined) return `rollout ${rolloutId} has ended already: ${outcome}`;
  if (current === null) {
    if (claimant === 'rollout' || view.rollout !== null) return null;
    return `nothing to recover: rollout ${rolloutId} neither holds the lane nor has an anchor`;
  }
  if (current.rolloutId !== rolloutId) return `the lane is held by ${describeHolder(current)}`;
  if (current.claimant === 'recover' && claimant === 'rollout') return `a recovery acts for rollout ${rolloutId}`;
  return null;
}

export function describeHolder({ rolloutId, claimant }: AnchorHolder): string {
  return claimant === 'recover' ? `the recovery of rollout ${rolloutId}` : `rollout ${rolloutId}`;
}

/**
 * The last effect: the outcome into the lane's anchor, then the rollout's anchor away. A crash between the two is made
 * good by the same effect again, or by the lane's next claim.
 */
export async function finishRollout<P extends PlatformTypes>(
  context: { store: LaneStore<P>; scope: PlatformScope; permit: Permit; signal: AbortSignal | undefined },
  view: LaneView<P>,
  outcome: string,
  written: { any: boolean },
): Promise<Attempt<EffectResult>> {
  const { store, scope, permit, signal } = context;
  const { lane, rollout } = view;
  const credit = creditOf(permit);
  const stale = rollout && staleAgainst(rollout.object, permit);
  if (stale) return stale;
  const hasEnded = lane?.spec.ended.some(({ rolloutId }) => rolloutId === scope.rolloutId) ?? false;
  if (!hasEnded) {
    // Somebody deleted it. Nobody can have claimed the lane since, or it would be there again.
    const { generation: own } = permit.fence;
    const before: LaneSpec = lane?.spec ?? { generation: own, current: null, ended: [], target: scope.target };
    const { generation, current } = before;
    if (generation > permit.fence.generation) return { kind: 'stale', object: LANE, held: { generation, step: 0 } };
    if (current !== null && current.rolloutId !== scope.rolloutId) {
      return { kind: 'refused', object: LANE, reason: `the lane is held by ${describeHolder(current)}` };
    }
    const ended = [...before.ended, { rolloutId: scope.rolloutId, outcome }].slice(-ENDED_KEPT);
    const result = settle(LANE, await writeLane(store, view, { ...before, current: null, ended }, credit, signal));
    if (result?.kind !== 'applied') return result;
    written.any = true;
  }
  if (rollout === null) return { kind: 'already' };
  if (!(await dissolve(store, view, rollout, credit, signal))) return null;
  written.any = true;
  return { kind: 'already' };
}

/** Takes away the anchors of rollouts whose end is recorded; false after a conflict. */
async function finishEnded<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const outcomes = new Map(view.lane?.spec.ended.map(({ rolloutId, outcome }) => [rolloutId, outcome]));
  for (const rollout of view.rollout === null ? view.others : [view.rollout, ...view.others]) {
    const { rolloutId } = rollout.spec;
    if (!outcomes.has(rolloutId)) continue;
    const generation = view.lane?.spec.generation ?? 0;
    const credit = { key: `${rolloutId}/claim/finish/anchor/1`, fence: formatFence({ generation, step: 0 }) };
    if (!(await dissolve(store, view, rollout, credit, signal))) return false;
  }
  return true;
}

/** Deletes a rollout's anchor, and with it what it owns, but for stable and route; false after a conflict. */
async function dissolve<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  { object }: Held<P, RolloutSpec<P>>,
  credit: WriteCredit,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  // A first release creates them as the rollout's, so that a late creation after its rollback is collected. Now they stay.
  for (const survivor of [view.arms.stable, view.route]) {
    if (survivor == null || survivor.owner !== object.uid) continue;
    const body = { spec: survivor.spec, annotations: survivor.annotations, owner: null };
    if ((await store.replace(survivor, body, credit, signal)).kind !== 'written') return false;
  }
  return (await store.remove(object, credit, signal)).kind === 'written';
}

function writeLane<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  spec: LaneSpec,
  credit: WriteCredit,
  signal: AbortSignal | undefined,
) {
  const before = view.lane?.object ?? null;
  const annotations = { ...before?.annotations, [ANNOTATION.fence]: credit.fence, [ANNOTATION.key]: credit.key };
  const body: ObjectWrite = { spec, annotations, owner: null };
  if (before !== null) return store.replace(before, body, credit, signal);
  return store.create({ kind: 'anchor', name: LANE }, body, credit, signal);
}
