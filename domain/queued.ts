import type { QueuePlace } from './lane.js';
import { releaseName } from './release.js';
import type { RolloutRequest, RolloutView } from './rollout.js';

/** A rollout that waits in its lane, in the shape of one that runs: nothing of it has begun. */
export function queuedView(request: RolloutRequest, { ahead, behind, blocked }: QueuePlace): RolloutView {
  const { rolloutId, policy, release, actor, requestedAt } = request;
  const place: QueuePlace = { ahead, behind, blocked };
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
    breakGlass: null,
    decisions: [],
    verdicts: [],
    queue: place,
    timeline: [
      { at: requestedAt, phase: 'accepted', text: placeText(place), tone: blocked === null ? 'neutral' : 'bad' },
    ],
    warnings: [],
  };
}

/** `queued: 2 ahead, 3f2a9c1e5b7d8f00 has the lane`. */
export function placeText({ ahead, behind, blocked }: QueuePlace): string {
  const holder = behind === null ? '' : `, ${behind} has the lane`;
  const place = ahead === 0 ? 'next in its lane' : `queued: ${ahead} ahead${holder}`;
  return `${place}${blocked === null ? '' : `; the lane is blocked: ${blocked}`}`;
}
