import type { AnalysisPolicy, Verdict } from '../domain/canary/types.js';
import type { Decision } from '../domain/approval/decision.js';
import type {
  EffectOf,
  EffectOp,
  Arm,
  ArmsReadiness,
  ClaimResult,
  Disturbance,
  EffectResult,
  LaneAnchor,
  LaneRef,
  StableReadiness,
} from '../domain/target.js';
import type { PlannedNeeds, PreflightFinding, SizedArm, Target, TargetSnapshot } from '../domain/target.js';
import type { ImageResolution } from '../domain/image-binding.js';
import type { MetricsPolicy } from '../domain/policy.js';
import type { Permit } from '../domain/fence.js';
import type { Assessment } from '../domain/risk.js';
import type { RolloutRequest, RolloutResult, RolloutView } from '../domain/rollout.js';
import type { Verification } from '../formats/decision-token.js';
import type { TrailEntry } from '../domain/trail.js';
import type { Notification } from './notify/notifier.js';
import type { SlackCall, SlackPosted } from './slack/slack-message.js';
import type { AnchorSweep, ClaimRequest, PlatformScope } from './platform.js';

/** One effect, with the permit that makes it exactly-once. */
export interface EffectCall<Op extends EffectOp = EffectOp> {
  readonly scope: PlatformScope;
  readonly effect: EffectOf<Op>;
  readonly permit: Permit;
}

/**
 * What a watch is for. `watch`: until a verdict, or a HOLD when the stage's time is up. `overtime`: the same after such
 * a HOLD, until the evidence suffices. `guard`: only a ROLLBACK or an outage ends it, while a person is waited for.
 * `blind`: until the metrics are back.
 */
export type WatchMode = 'watch' | 'overtime' | 'guard' | 'blind';

export interface WatchCall {
  readonly scope: PlatformScope;
  /** `stage-2`, `verify`: for records. */
  readonly stage: string;
  readonly mode: WatchMode;
  readonly analysis: AnalysisPolicy;
  readonly metrics: MetricsPolicy;
  readonly canary: { readonly arm: Arm; readonly version: string };
  /** Null where nothing is left to compare with. */
  readonly comparison: { readonly arm: Arm; readonly version: string } | null;
  /** ms since the epoch; fixed by the workflow, so that a restarted watch judges the same window. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly budgetShare: number;
  /** The canary's share of the requests of both arms, 0 to 1. */
  readonly expectedShare: number | null;
  /** The watch returns `tick` after so long, so that a lost one is noticed. */
  readonly maxMs: number;
  /** A person has been told of a drift already: only what harms users is told of. */
  readonly heldOnDrift: boolean;
  /**
   * What lets the watch send all users back to stable as soon as it sees harm, without asking anybody first: the key and
   * the fence that the way back would do it with. None where that is not one write.
   */
  readonly cut?: Permit | null;
  /** How large stable may become before what is watched is too small beside it; no limit where absent. */
  readonly fitsUpTo?: number;
}

/** What ends a watch. */
export type Sight =
  | { readonly kind: 'verdict'; readonly verdict: Verdict; readonly evidence: string | null }
  /** The stage's time is up and the evidence does not suffice. */
  | { readonly kind: 'held'; readonly verdict: Verdict; readonly evidence: string | null }
  /** No samples of the canary, or no answer, three times in a row. */
  | { readonly kind: 'blind'; readonly reason: string }
  | { readonly kind: 'sighted' }
  /** Somebody else changed what the rollout has set. */
  | { readonly kind: 'disturbed'; readonly disturbance: Disturbance }
  /** Stable is larger than what is watched was made for. */
  | { readonly kind: 'outgrown'; readonly stableReplicas: number }
  | { readonly kind: 'tick'; readonly verdict: Verdict | null };

/** What a watch has seen, and done about it. */
export type WatchResult = Sight & {
  /**
   * What came of sending users back at once. Absent where there was no harm or no permit, or no answer came: what was
   * written all the same is then found by its key.
   */
  readonly cut?: EffectResult;
};

export type GateResult =
  /** `evidence`: digests of what was read, so that an approval is bound to it. */
  | { readonly kind: 'pass'; readonly text: string; readonly evidence?: readonly string[] }
  | { readonly kind: 'hold'; readonly text: string }
  | { readonly kind: 'fail'; readonly text: string };

export type RunState =
  | { readonly kind: 'none' }
  | { readonly kind: 'open' }
  /** `result` is null where the run closed without a recorded outcome. */
  | { readonly kind: 'closed'; readonly status: string; readonly result: RolloutResult | null };

type EffectActivity<Op extends EffectOp> = (call: EffectCall<Op>) => Promise<EffectResult>;

/** The outside world, as workflows see it. Names and shapes are public API from v0.1. */
export interface Activities {
  /** Reads arms, weights, anchor and record of a target. */
  describeTarget(scope: PlatformScope): Promise<TargetSnapshot>;
  /** Asks whether every write would be allowed and would fit; touches nothing. */
  preflight(call: { scope: PlatformScope; needs: PlannedNeeds }): Promise<readonly PreflightFinding[]>;
  /** Takes a new generation from the lane's anchor. */
  claimLane(request: ClaimRequest): Promise<ClaimResult>;
  openRollout: EffectActivity<'open-rollout'>;
  recordConfiguration: EffectActivity<'record-configuration'>;
  raiseFence: EffectActivity<'raise-fence'>;
  startArm: EffectActivity<'start-arm'>;
  setWeights: EffectActivity<'set-weights'>;
  cutTraffic: EffectActivity<'cut-traffic'>;
  setStableTemplate: EffectActivity<'set-stable-template'>;
  removeArm: EffectActivity<'remove-arm'>;
  removeStable: EffectActivity<'remove-stable'>;
  closeRollout: EffectActivity<'close-rollout'>;
  /**
   * Waits (read-only, heartbeating) until all arms can serve, one never will, or `untilMs` (epoch) has passed; with
   * `guard` also until somebody else harms users meanwhile.
   */
  awaitReady(call: {
    scope: PlatformScope;
    arms: readonly SizedArm[];
    untilMs: number;
    guard: boolean;
  }): Promise<ArmsReadiness>;
  /**
   * Waits (read-only, heartbeating) until a restored stable can serve with so many replicas, or `untilMs` (epoch) has
   * passed; with `away`, for users are elsewhere, also until they have nothing to lose by going to it as it is.
   */
  awaitStable(call: {
    scope: PlatformScope;
    replicas: number;
    untilMs: number;
    away: boolean;
  }): Promise<StableReadiness>;
  /** Looks at metrics and platform until there is something to say (heartbeating). Writes nothing but its `cut`. */
  watch(call: WatchCall): Promise<WatchResult>;
  /** Asks registries which bytes the tags name now, by container; images by digest are left out. What can't be told is an answer. */
  resolveImages(call: {
    readonly images: Readonly<Record<string, string>>;
  }): Promise<Readonly<Record<string, ImageResolution>>>;
  /** The floor, and a model's opinion above it. Never fails because of the model. */
  assessRisk(call: { request: RolloutRequest; nowMs: number; lastRollbackAtMs: number | null }): Promise<Assessment>;
  /** The evidence gates of the policy. */
  checkEvidence(call: { request: RolloutRequest; assessment: Assessment }): Promise<GateResult>;
  /** Whether a server that the worker trusts has signed this very decision on this very rollout. */
  verifyDecision(call: { readonly rolloutId: string; readonly decision: Decision }): Promise<Verification>;
  notify(notification: Notification): Promise<void>;
  /**
   * Keeps entries of a trail, each once whatever is retried. `closes`: they are the last ones, and its head goes into the log of
   * heads. Fails for good (`TrailConflict`) where something else is kept under their numbers.
   */
  appendTrail(call: {
    readonly lane: LaneRef;
    readonly rolloutId: string;
    readonly entries: readonly TrailEntry[];
    readonly closes: boolean;
  }): Promise<void>;
  /** Brings the rollout's one message in Slack, and its thread, up to date (heartbeating). */
  slackMessage(call: SlackCall): Promise<SlackPosted>;
  /** Keeps the decision record; gives its digest. */
  recordRollout(record: RolloutRecord): Promise<{ readonly digest: string }>;
  /** The lane's anchor; never throws: a platform that can't be reached, or won't let it be read, is an answer here. */
  readAnchor(call: {
    lane: LaneRef;
    target: Target;
  }): Promise<{ kind: 'read'; anchor: LaneAnchor | null } | { kind: 'unreachable'; reason: string }>;
  inspectRun(call: { workflowId: string }): Promise<RunState>;
  /** Waits (heartbeating) for a run that is not a child of the caller. */
  followRun(call: { workflowId: string }): Promise<RunState>;
  /** Anchors with a rollout in flight, over all platforms that the worker looks after. */
  listAnchors(): Promise<AnchorSweep>;
  /** Wakes the lane of an anchor (starts it if need be), so that it settles what is there. */
  wakeLane(call: { lane: LaneRef; target: Target }): Promise<void>;
}

/** What is kept of a rollout for ever. */
export interface RolloutRecord {
  readonly version: 1;
  readonly view: RolloutView;
  readonly decisions: readonly Decision[];
  readonly slipway: { readonly version: string };
}
