import { formatFence } from '../../domain/fence.js';
import { creditOf, settle, staleAgainst, untilSettled } from './fenced-write.js';
import { ANNOTATION, LANE, laneAnchorOf, readLane } from './lane-view.js';
import type { Permit } from '../../domain/fence.js';
import type { AnchorHolder, ClaimResult, EffectResult } from '../../domain/target.js';
import type { GatewayWrite } from '../../formats/gateway.js';
import type { ClaimRequest, PlatformScope } from '../platform.js';
import type { Attempt } from './fenced-write.js';
import type { GatewayClient, WriteCredit } from './gateway-client.js';
import type { Held, LaneSpec, LaneView, RolloutSpec } from './lane-view.js';

/** How many ended rollouts a lane's anchor remembers. */
const ENDED_KEPT = 50;

/** Grants a generation: see `Platform.claim`. */
export function claimLane(client: GatewayClient, request: ClaimRequest, signal?: AbortSignal): Promise<ClaimResult> {
  return untilSettled(client, signal, async (): Promise<Attempt<ClaimResult>> => {
    const view = await readLane(client, request, signal);
    if (!(await finishEnded(client, view, signal))) return null;
    const lane = view.lane?.spec ?? { generation: 0, current: null, ended: [], target: copyOf(request) };
    const reason = denialOf(lane, view, request);
    if (reason !== null) return { kind: 'denied', reason, anchor: laneAnchorOf(request.lane, lane) };

    const { rolloutId, claimant, laneGeneration } = request;
    const generation = Math.max(laneGeneration, lane.generation) + 1;
    const spec: LaneSpec = { ...lane, generation, current: { rolloutId, claimant }, target: copyOf(request) };
    const credit = {
      key: `${rolloutId}/claim/${claimant}/lane/${generation}`,
      fence: formatFence({ generation, step: 0 }),
    };
    const outcome = await writeLane(client, request, view, spec, credit, signal);
    if (outcome.kind === 'conflict') return null;
    if (outcome.kind === 'refused')
      return { kind: 'denied', reason: outcome.reason, anchor: laneAnchorOf(request.lane, lane) };
    return { kind: 'granted', generation };
  });
}

function denialOf({ current, ended }: LaneSpec, view: LaneView, { rolloutId, claimant }: ClaimRequest): string | null {
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
export async function finishRollout(
  context: { client: GatewayClient; scope: PlatformScope; permit: Permit; signal: AbortSignal | undefined },
  view: LaneView,
  outcome: string,
  written: { any: boolean },
): Promise<Attempt<EffectResult>> {
  const { client, scope, permit, signal } = context;
  const { lane, rollout } = view;
  const credit = creditOf(permit);
  const stale = rollout && staleAgainst(rollout.object, permit);
  if (stale) return stale;
  const hasEnded = lane?.spec.ended.some(({ rolloutId }) => rolloutId === scope.rolloutId) ?? false;
  if (!hasEnded) {
    if (lane === null) return { kind: 'refused', object: LANE, reason: "the lane's anchor is gone" };
    const { generation, current } = lane.spec;
    if (generation > permit.fence.generation) return { kind: 'stale', object: LANE, held: { generation, step: 0 } };
    if (current !== null && current.rolloutId !== scope.rolloutId) {
      return { kind: 'refused', object: LANE, reason: `the lane is held by ${describeHolder(current)}` };
    }
    const ended = [...lane.spec.ended, { rolloutId: scope.rolloutId, outcome }].slice(-ENDED_KEPT);
    const result = settle(
      LANE,
      await writeLane(client, scope, view, { ...lane.spec, current: null, ended }, credit, signal),
    );
    if (result?.kind !== 'applied') return result;
    written.any = true;
  }
  if (rollout === null) return { kind: 'already' };
  if (!(await dissolve(client, view, rollout, credit, signal))) return null;
  written.any = true;
  return { kind: 'already' };
}

/** Takes away the anchors of rollouts whose end is recorded; false after a conflict. */
async function finishEnded(client: GatewayClient, view: LaneView, signal: AbortSignal | undefined): Promise<boolean> {
  const outcomes = new Map(view.lane?.spec.ended.map(({ rolloutId, outcome }) => [rolloutId, outcome]));
  for (const rollout of view.rollout === null ? view.others : [view.rollout, ...view.others]) {
    const { rolloutId } = rollout.spec;
    if (!outcomes.has(rolloutId)) continue;
    const generation = view.lane?.spec.generation ?? 0;
    const credit = { key: `${rolloutId}/claim/finish/anchor/1`, fence: formatFence({ generation, step: 0 }) };
    if (!(await dissolve(client, view, rollout, credit, signal))) return false;
  }
  return true;
}

/** Deletes a rollout's anchor, and with it what it owns, but for stable and route; false after a conflict. */
async function dissolve(
  client: GatewayClient,
  view: LaneView,
  { object }: Held<RolloutSpec>,
  credit: WriteCredit,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  // A first release creates them as the rollout's, so that a late creation after its rollback is collected. Now they stay.
  for (const survivor of [view.arms.stable, view.route]) {
    if (survivor == null || survivor.owner !== object.uid) continue;
    const body = { spec: survivor.spec, annotations: survivor.annotations, owner: null };
    if ((await client.replace(survivor, body, credit, signal)).kind !== 'written') return false;
  }
  return (await client.remove(object, credit, signal)).kind === 'written';
}

function writeLane(
  client: GatewayClient,
  { lane }: Pick<PlatformScope, 'lane'>,
  view: LaneView,
  spec: LaneSpec,
  credit: WriteCredit,
  signal: AbortSignal | undefined,
) {
  const before = view.lane?.object ?? null;
  const annotations = { ...before?.annotations, [ANNOTATION.fence]: credit.fence, [ANNOTATION.key]: credit.key };
  const body: GatewayWrite = { spec, annotations, owner: null };
  if (before !== null) return client.replace(before, body, credit, signal);
  const { environment, service } = lane;
  return client.create({ environment, service, kind: 'anchor', name: LANE }, body, credit, signal);
}

function copyOf({ target }: Pick<PlatformScope, 'target'>): LaneSpec['target'] {
  const { run } = target;
  return { ...target, run: { ...run, command: [...run.command], env: { ...run.env } } };
}
