import type { Verdict } from './canary/types.js';
import type { Approvals, BreakGlass, Decision } from './approval/decision.js';
import type { QueuePlace } from './lane.js';
import type { Role, Via } from './people.js';
import type { Plan } from './plan.js';
import type { Policy } from './policy.js';
import type { Release, RolloutId } from './release.js';
import type { Assessment } from './risk.js';
import type { LaneRef, Weights } from './target.js';
import type { TrailHead } from './trail.js';

/** Who asks, as far as known. `verified` is set by our server after it has checked a signature, never by a caller. */
export interface Actor {
  readonly subject: string;
  readonly groups: readonly string[];
  readonly verified: boolean;
  /** For people to read; never compared. */
  readonly name?: string;
  /** What the server lets this person do for this service in this environment. */
  readonly roles?: readonly Role[];
  /** Other names of the same person (`Identity.aliases`). */
  readonly aliases?: readonly string[];
  readonly via?: Via;
  /** Somebody else whom the caller named: a word of the caller's, proved by nobody. */
  readonly onBehalfOf?: string;
}

/** What a lane is given: everything that a rollout needs, fixed when it was asked for. */
export interface RolloutRequest {
  readonly rolloutId: RolloutId;
  readonly tenant: string;
  readonly actor: Actor;
  readonly release: Release;
  readonly policy: Policy;
  /** Goes ahead of the queue and of a rollout that is still before its canary. */
  readonly priority: 'normal' | 'hotfix';
  /** The rollout that this one tries again. */
  readonly retryOf: RolloutId | null;
  /** ISO 8601. */
  readonly requestedAt: string;
}

export const PHASES = [
  'accepted',
  'assessing',
  'gating',
  'awaiting-approval',
  'preflight',
  'canary',
  'promoting',
  'verifying',
  'settling',
  'completed',
  'rolling-back',
  'rolled-back',
  'rejected',
  'aborted',
  'superseded',
  'rollback-failed',
] as const;

/**
 * Where a rollout is. `settling` is the tail of a promotion: the template is copied to stable, traffic goes back to it,
 * the siblings go; from then on a rollback has to restore stable's template.
 */
export type Phase = (typeof PHASES)[number];

/** How a rollout can end. */
export type Outcome = 'completed' | 'rolled-back' | 'rejected' | 'aborted' | 'superseded' | 'rollback-failed';

/**
 * `aborted` without going back: only where the lane's anchor was lost to somebody else, who then goes back. Back before
 * anything was touched: only in a run that was reset, for what it did before.
 */
const NEXT: Readonly<Record<Phase, readonly Phase[]>> = {
  accepted: ['assessing', 'rejected', 'aborted', 'superseded'],
  assessing: ['gating', 'rejected', 'aborted', 'superseded'],
  gating: ['awaiting-approval', 'preflight', 'rolling-back', 'rejected', 'aborted', 'superseded'],
  'awaiting-approval': ['preflight', 'rolling-back', 'rejected', 'aborted', 'superseded'],
  preflight: ['canary', 'promoting', 'rolling-back', 'rejected', 'aborted', 'superseded'],
  canary: ['canary', 'promoting', 'rolling-back', 'aborted'],
  promoting: ['verifying', 'settling', 'rolling-back', 'aborted'],
  verifying: ['settling', 'rolling-back', 'aborted'],
  settling: ['completed', 'rolling-back', 'aborted'],
  'rolling-back': ['rolled-back', 'aborted', 'superseded', 'rollback-failed'],
  completed: [],
  'rolled-back': [],
  rejected: [],
  aborted: [],
  superseded: [],
  'rollback-failed': [],
};

/** Whether the state machine knows this step. */
export function mayFollow(from: Phase, to: Phase): boolean {
  return NEXT[from].includes(to);
}

/** Whether nothing follows any more. */
export function isFinal(phase: Phase): phase is Phase & Outcome {
  return NEXT[phase].length === 0;
}

/** Phases in which nothing has been touched yet. */
export function isBeforeCanary(phase: Phase): boolean {
  return ['accepted', 'assessing', 'gating', 'awaiting-approval', 'preflight'].includes(phase);
}

/** What a rollout waits for, if it does not just work. */
export interface Wait {
  readonly kind:
    'approval' | 'evidence' | 'blind' | 'inconclusive' | 'paused' | 'gate' | 'drift' | 'platform' | 'not-ready';
  /** ISO 8601. */
  readonly since: string;
  /** ISO 8601; what happens then is in `atDeadline`. Null: it goes on for as long as it takes. */
  readonly deadline: string | null;
  readonly atDeadline: 'rejected' | 'rolled back' | null;
  /** What is waited for and why, for people. */
  readonly reason: string;
  /** Who can act. Empty: nobody needs to, it goes on by itself. */
  readonly who: string;
  /** The commands that end the wait. */
  readonly commands: readonly string[];
  /** The gate that a decision must name; null where no decision is asked for. */
  readonly gate: string | null;
}

/** Waits that only a person ends: DESIGN.md's `held`, and approvals. */
export function needsPerson(wait: Wait | null): boolean {
  return (
    wait !== null &&
    wait.kind !== 'blind' &&
    wait.kind !== 'platform' &&
    wait.kind !== 'not-ready' &&
    wait.kind !== 'evidence'
  );
}

/** Why a rollout ended or went back. `code` decides, `text` is for people. */
export interface Reason {
  readonly code:
    | 'verified'
    | 'verdict'
    | 'approval-rejected'
    | 'approval-expired'
    | 'wait-expired'
    | 'preflight'
    | 'not-ready'
    | 'disturbed'
    | 'refused'
    | 'platform-unreachable'
    | 'aborted'
    | 'cancelled'
    | 'superseded'
    | 'pre-empted'
    | 'queue-expired'
    | 'lane-busy'
    | 'lost-claim'
    | 'lost-run'
    | 'controls';
  readonly text: string;
}

/** One line of the story that a rollout tells. */
export interface TimelineEntry {
  /** ISO 8601. */
  readonly at: string;
  readonly phase: Phase;
  readonly text: string;
  /** `bad`: something went wrong; `person`: somebody did it; `good`: a step was reached. */
  readonly tone: 'neutral' | 'good' | 'bad' | 'person';
}

/** A verdict of record: the numbers, and where the samples behind them are kept. */
export interface StageVerdict {
  readonly stage: string;
  readonly verdict: Verdict;
  /** Digest in the evidence store; null where it could not be stored. */
  readonly evidence: string | null;
}

/** What `view` answers: all that the CLI, the page and the API show of a rollout. */
export interface RolloutView {
  readonly version: 1;
  readonly rolloutId: RolloutId;
  readonly lane: LaneRef;
  readonly release: Release;
  readonly releaseName: string;
  readonly actor: Actor;
  /** The policy that holds for this rollout, whatever the file says by now. */
  readonly policy: Policy;
  readonly phase: Phase;
  /** `phase`, or `held` while only a person can end the wait, or `queued`. */
  readonly status: Phase | 'held' | 'queued';
  readonly outcome: Outcome | null;
  readonly reason: Reason | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
  readonly assessment: Assessment | null;
  readonly plan: Plan | null;
  /** Number of the current canary stage, 1-based. */
  readonly stage: number | null;
  /** Traffic as last set and acknowledged. */
  readonly weights: Weights | null;
  readonly generation: number | null;
  readonly paused: boolean;
  readonly wait: Wait | null;
  /** Its place while it waits in its lane; absent as soon as it runs. */
  readonly queue?: QueuePlace;
  readonly approvals: Approvals | null;
  /** That somebody went past a gate or a HOLD alone: the first time, and for ever. */
  readonly breakGlass: BreakGlass | null;
  readonly decisions: readonly Decision[];
  readonly verdicts: readonly StageVerdict[];
  readonly timeline: readonly TimelineEntry[];
  /** Messages that could not be delivered, drift written over, and the like. */
  readonly warnings: readonly string[];
  /** How far its trail goes; absent in views of versions that kept none. */
  readonly trail?: TrailHead;
}

/** What a closed run returns: the recorded outcome. A run that closes without it is recovered. */
export interface RolloutResult {
  readonly rolloutId: RolloutId;
  readonly outcome: Outcome;
  readonly reason: Reason;
  /** Whether traffic had to be taken back. */
  readonly rolledBack: boolean;
  readonly endedAt: string;
  /** Digest of the decision record in the evidence store; null where it could not be stored. */
  readonly record: string | null;
  readonly breakGlass?: BreakGlass | null;
  /** Where its trail ended: Temporal's history vouches for it. Absent in results of versions that kept none. */
  readonly trail?: TrailHead;
}

/** R1.1's words for a phase. */
export function requestedPhase(view: Pick<RolloutView, 'phase' | 'stage'>): string {
  switch (view.phase) {
    case 'accepted':
    case 'assessing':
    case 'gating':
    case 'awaiting-approval':
    case 'preflight':
      return 'risk assessment';
    case 'canary':
      return (view.stage ?? 1) <= 1 ? 'canary' : 'progressive rollout';
    case 'promoting':
      return 'full rollout';
    case 'verifying':
    case 'settling':
      return 'verification';
    case 'completed':
      return 'complete';
    case 'rolling-back':
    case 'rolled-back':
    case 'rejected':
    case 'aborted':
    case 'superseded':
    case 'rollback-failed':
      return 'rolled back';
  }
}
