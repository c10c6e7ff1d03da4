import { digestOf } from './canonical.js';
import type { BreakGlass } from './approval/decision.js';
import { releaseName } from './release.js';
import type { Outcome, RolloutRequest } from './rollout.js';
import type { LaneRef } from './target.js';

/** Keys are remembered for so long: the same key then still gives the same rollout. */
export const REMEMBER_MS = 30 * 24 * 3600_000;

export interface QueuedRollout {
  readonly request: RolloutRequest;
  /** ms since the epoch. */
  readonly queuedAtMs: number;
  readonly expiresAtMs: number;
}

export interface RememberedRollout {
  readonly rolloutId: string;
  readonly payloadDigest: string;
  readonly atMs: number;
  /** Null while it is queued or runs. */
  readonly outcome: Outcome | null;
  readonly reason: string | null;
  /** Id of the decision that took it out of the queue: said again, it is a duplicate. */
  readonly withdrawnBy?: string;
}

/** A rollout of this service in which somebody went past a gate or a HOLD alone. */
export interface BrokenGlass extends BreakGlass {
  readonly rolloutId: string;
}

/** All that a lane keeps, also over continue-as-new. Plain data: every rule below is a function from state to state. */
export interface LaneState {
  readonly lane: LaneRef;
  /** Last generation that this lane knows of; the anchor may know a higher one. */
  readonly generation: number;
  readonly queue: readonly QueuedRollout[];
  readonly running: string | null;
  readonly remembered: readonly RememberedRollout[];
  /** Why nothing is started until an admin unblocks the lane. */
  readonly blocked: { readonly rolloutId: string; readonly reason: string; readonly sinceMs: number } | null;
  /** The service's record of break-glass, oldest first: kept for ever, the last hundred of them. @default [] */
  readonly brokenGlass?: readonly BrokenGlass[];
}

const BROKEN_GLASS_KEPT = 100;

export function newLane(lane: LaneRef): LaneState {
  return { lane, generation: 0, queue: [], running: null, remembered: [], blocked: null };
}

/** Answer to a request to roll out. */
export type EnqueueReceipt =
  | { readonly kind: 'accepted'; readonly rolloutId: string; readonly ahead: number; readonly blocked: string | null }
  | { readonly kind: 'duplicate'; readonly rolloutId: string; readonly outcome: Outcome | null }
  /** The key was used for another payload. */
  | { readonly kind: 'conflict'; readonly rolloutId: string; readonly text: string }
  | { readonly kind: 'busy'; readonly running: string; readonly text: string };

export interface EnqueueResult {
  readonly state: LaneState;
  readonly receipt: EnqueueReceipt;
  /** The running rollout must be told to give way. */
  readonly tellRunning: 'superseded' | 'pre-empted' | null;
}

/** What is compared when a key comes again: what would be shipped and how, never who asks or when. */
export function payloadDigest(request: RolloutRequest): string {
  return digestOf({
    images: request.release.images,
    env: request.release.env,
    ...(request.release.config === undefined ? {} : { config: request.release.config }),
    commit: request.release.change.commit,
    policy: request.policy,
  });
}

export function enqueue(state: LaneState, request: RolloutRequest, nowMs: number): EnqueueResult {
  const payload = payloadDigest(request);
  const known = state.remembered.find((entry) => entry.rolloutId === request.rolloutId);
  if (known !== undefined) {
    const receipt: EnqueueReceipt =
      known.payloadDigest === payload
        ? { kind: 'duplicate', rolloutId: known.rolloutId, outcome: known.outcome }
        : { kind: 'conflict', rolloutId: known.rolloutId, text: conflictText(known, payload) };
    return { state, receipt, tellRunning: null };
  }
  const busy = state.running !== null || state.queue.length > 0;
  const { whenBusy } = request.policy;
  if (busy && whenBusy === 'reject' && request.priority === 'normal') {
    const running = state.running ?? state.queue[0]?.request.rolloutId ?? '';
    return {
      state,
      receipt: { kind: 'busy', running, text: `rollout ${running} has the lane, and the policy says whenBusy: reject` },
      tellRunning: null,
    };
  }
  const entry: QueuedRollout = { request, queuedAtMs: nowMs, expiresAtMs: nowMs + request.policy.waits.queueMs };
  const supersedes = busy && whenBusy === 'supersede';
  const dropped = supersedes ? state.queue.map((item) => item.request.rolloutId as string) : [];
  const kept = supersedes ? [] : state.queue;
  const hotfixes = kept.filter((item) => item.request.priority === 'hotfix').length;
  const place = request.priority === 'hotfix' ? hotfixes : kept.length;
  const queue = [...kept.slice(0, place), entry, ...kept.slice(place)];
  const remembered = [
    ...dropped.reduce(
      (list, id) => remember(list, id, 'superseded', `superseded by ${request.rolloutId}`),
      prune(state.remembered, nowMs),
    ),
    { rolloutId: request.rolloutId, payloadDigest: payload, atMs: nowMs, outcome: null, reason: null },
  ];
  return {
    state: { ...state, queue, remembered },
    receipt: {
      kind: 'accepted',
      rolloutId: request.rolloutId,
      ahead: place + (state.running === null ? 0 : 1),
      blocked: state.blocked?.reason ?? null,
    },
    tellRunning:
      state.running === null ? null : supersedes ? 'superseded' : request.priority === 'hotfix' ? 'pre-empted' : null,
  };
}

function conflictText({ payloadDigest: before, outcome }: RememberedRollout, now: string): string {
  const remedy = 'use a new key for a new release';
  if (before !== '')
    return `this idempotency key was used for another payload (${before.slice(7, 19)}, now ${now.slice(7, 19)}): ${remedy}`;
  // The lane that had the request is gone: what was asked for then is not known any more.
  return `this idempotency key was used for a rollout that had to be recovered (${outcome ?? 'not ended'}): ${remedy}`;
}

/** Ends what has waited too long. */
export function expireQueued(state: LaneState, nowMs: number): LaneState {
  const late = state.queue.filter((item) => item.expiresAtMs <= nowMs);
  if (late.length === 0) return state;
  const remembered = late.reduce(
    (list, item) =>
      remember(list, item.request.rolloutId, 'rejected', 'waited in the queue for too long (waits.queue)'),
    state.remembered,
  );
  return { ...state, queue: state.queue.filter((item) => item.expiresAtMs > nowMs), remembered };
}

/** Ends a rollout that waits in the queue. Null: it does not (any more). */
export function withdraw(
  state: LaneState,
  rolloutId: string,
  { id, reason }: { readonly id: string; readonly reason: string },
): LaneState | null {
  const queue = state.queue.filter((item) => item.request.rolloutId !== rolloutId);
  if (queue.length === state.queue.length) return null;
  const remembered = remember(state.remembered, rolloutId, 'aborted', reason).map((entry) =>
    entry.rolloutId === rolloutId ? { ...entry, withdrawnBy: id } : entry,
  );
  return { ...state, queue, remembered };
}

/** Whether this very decision has taken the rollout out of the queue before. */
export function wasWithdrawnBy(state: LaneState, rolloutId: string, id: string): boolean {
  return state.remembered.some((entry) => entry.rolloutId === rolloutId && entry.withdrawnBy === id);
}

/** Takes the next rollout; the lane must be free. */
export function takeNext(state: LaneState): { state: LaneState; request: RolloutRequest } | null {
  const [next, ...queue] = state.queue;
  if (next === undefined || state.running !== null || state.blocked !== null) return null;
  return { state: { ...state, queue, running: next.request.rolloutId }, request: next.request };
}

/** Records how a rollout ended, and frees the lane. `rollback-failed` blocks it until an admin has looked. */
export function finish(
  state: LaneState,
  ended: {
    readonly rolloutId: string;
    readonly outcome: Outcome;
    readonly reason: string;
    readonly breakGlass?: BreakGlass | null;
  },
  nowMs: number,
): LaneState {
  const { rolloutId, outcome, reason, breakGlass = null } = ended;
  const known = state.remembered.some((entry) => entry.rolloutId === rolloutId);
  const list = known
    ? state.remembered
    : [...state.remembered, { rolloutId, payloadDigest: '', atMs: nowMs, outcome: null, reason: null }];
  return {
    ...state,
    running: state.running === rolloutId ? null : state.running,
    remembered: remember(list, rolloutId, outcome, reason),
    blocked:
      outcome === 'rollback-failed'
        ? { rolloutId, reason: `rollback of ${rolloutId} failed: ${reason}`, sinceMs: nowMs }
        : state.blocked,
    ...(breakGlass === null
      ? {}
      : { brokenGlass: [...(state.brokenGlass ?? []), { ...breakGlass, rolloutId }].slice(-BROKEN_GLASS_KEPT) }),
  };
}

function remember(
  list: readonly RememberedRollout[],
  rolloutId: string,
  outcome: Outcome,
  reason: string,
): readonly RememberedRollout[] {
  return list.map((entry) => (entry.rolloutId === rolloutId ? { ...entry, outcome, reason } : entry));
}

function prune(list: readonly RememberedRollout[], nowMs: number): readonly RememberedRollout[] {
  return list.filter((entry) => entry.outcome === null || entry.atMs + REMEMBER_MS > nowMs);
}

/** Where a rollout stands in its lane's queue. */
export interface QueuePlace {
  /** Rollouts of the lane that come before it, the one that has the lane included. */
  readonly ahead: number;
  /** The rollout that has the lane; null: none has. */
  readonly behind: string | null;
  /** Why the lane starts nothing; null: it does. */
  readonly blocked: string | null;
}

/** What the lane tells search of those that wait in it: lists show them by this alone. */
export interface QueueNotice extends Omit<QueuePlace, 'ahead'> {
  /** In their order; the first {@link QUEUE_TOLD} of them. */
  readonly queue: readonly { readonly rolloutId: string; readonly release: string; readonly queuedAt: string }[];
}

/** Each change of the queue writes all that is told into the lane's history. */
export const QUEUE_TOLD = 50;

/** Null: nobody waits. The first in the queue of a lane that is free does not: it is about to run. */
export function queueNotice({ running, queue, blocked }: LaneState): QueueNotice | null {
  const starts = running === null && blocked === null;
  const waiting = starts ? queue.slice(1) : queue;
  if (waiting.length === 0) return null;
  return {
    behind: starts ? (queue[0]?.request.rolloutId ?? null) : running,
    blocked: blocked?.reason.slice(0, 500) ?? null,
    queue: waiting.slice(0, QUEUE_TOLD).map(({ request, queuedAtMs }) => ({
      rolloutId: request.rolloutId,
      release: releaseName(request.release.images).slice(0, 200),
      queuedAt: new Date(queuedAtMs).toISOString(),
    })),
  };
}

/** The place of the one at an index of the queue. */
export function placeAt({ behind, blocked }: Omit<QueuePlace, 'ahead'>, index: number): QueuePlace {
  return { ahead: index + (behind === null ? 0 : 1), behind, blocked };
}

/** What the lane's query answers. */
export interface LaneView {
  readonly lane: LaneRef;
  readonly running: string | null;
  readonly queue: readonly {
    readonly rolloutId: string;
    readonly release: Readonly<Record<string, string>>;
    readonly queuedAt: string;
    readonly expiresAt: string;
  }[];
  readonly blocked: LaneState['blocked'];
  readonly remembered: readonly RememberedRollout[];
  /** @see {@link LaneState.brokenGlass} */
  readonly brokenGlass: readonly BrokenGlass[];
}

export function laneView(state: LaneState): LaneView {
  return {
    lane: state.lane,
    running: state.running,
    queue: state.queue.map((item) => ({
      rolloutId: item.request.rolloutId,
      release: item.request.release.images,
      queuedAt: new Date(item.queuedAtMs).toISOString(),
      expiresAt: new Date(item.expiresAtMs).toISOString(),
    })),
    blocked: state.blocked,
    remembered: state.remembered.slice(-50),
    brokenGlass: state.brokenGlass ?? [],
  };
}
