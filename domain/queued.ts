import { releaseName } from './release.js';
import type { RolloutRequest, RolloutView } from './rollout.js';

/** A rollout that waits in its lane, in the shape of one that runs: nothing of it has begun. */
export function queuedView(
  request: RolloutRequest,
  place: { readonly ahead: number; readonly blocked: string | null },
): RolloutView {
  const { rolloutId, policy, release, actor, requestedAt } = request;
  const { ahead, blocked } = place;
  const text = `${ahead === 0 ? 'next in its lane' : `queued: ${ahead} ahead`}${blocked === null ? '' : `; the lane is blocked: ${blocked}`}`;
  return {
    version: 1,
    rolloutId,
    lane: policy.lane,
    release,
    releaseName: releaseName(release.images),
    actor,
    policy,
    phase: 'accepted',
    status: 'queued',
    outcome: null,
    reason: null,
    startedAt: requestedAt,
    endedAt: null,
    assessment: null,
    plan: null,
    stage: null,
    weights: null,
    generation: null,
    paused: false,
    wait: null,
    approvals: null,
    decisions: [],
    verdicts: [],
    timeline: [{ at: requestedAt, phase: 'accepted', text, tone: blocked === null ? 'neutral' : 'bad' }],
    warnings: [],
  };
}
