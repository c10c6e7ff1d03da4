import { digestOf } from './canonical.js';
import type { Digest } from './canonical.js';
import type { Policy, StagePolicy, Strategy } from './policy.js';
import type { HashedRelease } from './release.js';
import { trafficSplitOf } from './target.js';
import type { PlannedNeeds, PreflightFinding, Target, TargetSnapshot, TrafficSplit, Weights } from './target.js';

/** One stage as it will be done. */
export interface PlannedStage extends StagePolicy {
  /** 1-based, for people and for keys. */
  readonly number: number;
  readonly weights: Weights;
  /** Replicas of the canary, and of the baseline where there is one. */
  readonly canaryReplicas: number;
  readonly baselineReplicas: number;
  /** Share of the rollout's error budget that this stage may spend. */
  readonly budgetShare: number;
}

/** All that a rollout will do, decided before it touches anything; the approval is bound to its digest. */
export interface Plan {
  /** `first`: nothing serves yet, so there is nothing to compare with and nothing to go back to. */
  readonly kind: 'first' | 'update';
  readonly strategy: Strategy;
  readonly release: HashedRelease;
  /** Stable's template when the plan was made; null for a first release. */
  readonly stableDigest: Digest | null;
  readonly stableVersion: string | null;
  readonly stableReplicas: number;
  /** An autoscaler may make stable another size on the way. */
  readonly autoscaled: boolean;
  /** How the new version comes to stand in stable's place: as the policy asks, where the traffic can be split so. */
  readonly promote: Policy['promote'];
  readonly stages: readonly PlannedStage[];
  /** Largest number of additional replicas that exist at one moment, at the size that stable had when the plan was made. */
  readonly peakExtraReplicas: number;
  /** What whoever approves it should know of the release: images that are not bound to their bytes, and why. */
  readonly warnings: readonly PreflightFinding[];
  /** Covers release, policy, stages, target and stable's template; never replica counts, times, metrics or warnings. */
  readonly digest: Digest;
}

export interface PlanRequest {
  readonly policy: Policy;
  readonly release: HashedRelease;
  readonly strategy: Strategy;
  readonly snapshot: TargetSnapshot;
  /** @see {@link Plan.warnings} */
  readonly warnings?: readonly PreflightFinding[];
}

/** The plan for a release, from what stands now. */
export function makePlan({ policy, release, strategy, snapshot, warnings = [] }: PlanRequest): Plan {
  const stable = snapshot.arms.stable ?? null;
  const size = stable?.replicas ?? firstSize(policy.target);
  const stagePolicies = stable === null ? [] : policy.stages[strategy];
  const split = trafficSplitOf(policy.target);
  const promote = split.byReplicas ? 'in-place' : policy.promote;
  const stages = stagePolicies.map((stage, index): PlannedStage => ({
    ...stage,
    number: index + 1,
    ...(split.byReplicas ? byReplicas(size, stage) : byWeights(policy, split, size, stage)),
    budgetShare: 1 / stagePolicies.length,
  }));
  const { surge = 0 } = snapshot;
  return {
    kind: stable === null ? 'first' : 'update',
    strategy,
    release,
    stableDigest: stable?.templateDigest ?? null,
    stableVersion: stable?.version ?? null,
    stableReplicas: size,
    autoscaled: snapshot.autoscaled,
    promote,
    stages,
    peakExtraReplicas: stable === null ? size : peakOf({ stages, promote, size, surge }),
    warnings,
    digest: digestOf({
      release: release.digest,
      policy,
      strategy,
      stages: stages.map(({ weights, durationMs, approval }) => ({ weights, durationMs, approval })),
      target: policy.target,
      stable: stable?.templateDigest ?? null,
    }),
  };
}

/** What preflight has to see to. */
export function plannedNeeds({ peakExtraReplicas, stages, release, promote }: Plan): PlannedNeeds {
  const inPlace = promote === 'in-place';
  const canary = stages.length > 0 || !inPlace;
  const baseline = stages.some(({ baselineReplicas }) => baselineReplicas > 0);
  return {
    replicas: peakExtraReplicas,
    shares: stages.map(({ weightPercent, weights }) => ({ asked: weightPercent, given: weights.canary })),
    release,
    siblings: [...(canary ? (['canary'] as const) : []), ...(baseline ? (['baseline'] as const) : [])],
    inPlace,
  };
}

/** The sizes of the siblings. */
type Siblings = Pick<PlannedStage, 'canaryReplicas' | 'baselineReplicas'>;

/** Before the first stage, and all the way of a plan without any. */
const NO_SIBLINGS: Siblings = { canaryReplicas: 0, baselineReplicas: 0 };

interface Sizing extends Pick<Plan, 'stages' | 'promote'> {
  /** Stable's. */
  readonly size: number;
  readonly surge: number;
}

/**
 * The most replicas beside stable's own at any moment. A sibling grows, or is removed, only once what was there before has
 * no traffic any more, and all siblings stay until stable runs the new template. A person may promote from any stage.
 */
function peakOf({ stages, promote, size, surge }: Sizing): number {
  const both = (one: Siblings, other: Siblings): number =>
    Math.max(one.canaryReplicas, other.canaryReplicas) + Math.max(one.baselineReplicas, other.baselineReplicas);
  const starting = stages.map((stage, index) => both(stages[index - 1] ?? NO_SIBLINGS, stage));
  const full: Siblings = { canaryReplicas: promote === 'verified' ? size : 0, baselineReplicas: 0 };
  const promoting = (stages.length === 0 ? [NO_SIBLINGS] : stages).map((stage) => both(stage, full) + surge);
  return Math.max(...starting, ...promoting);
}

type Sizes = Pick<PlannedStage, 'weights' | 'canaryReplicas' | 'baselineReplicas'>;

function byWeights(policy: Policy, split: TrafficSplit, size: number, { weightPercent }: StagePolicy): Sizes {
  const baseline = split.baseline ? baselineWeight(policy, weightPercent) : 0;
  return {
    weights: { stable: 100 - weightPercent - baseline, canary: weightPercent, baseline },
    canaryReplicas: share(size, weightPercent),
    baselineReplicas: baseline === 0 ? 0 : share(size, baseline),
  };
}

/**
 * The number of pods whose share comes nearest to the stage's weight: what they get is what there is to be approved. Never
 * more than stable has: nine times its size for 90 % is what nobody expects.
 */
function byReplicas(size: number, { weightPercent }: StagePolicy): Sizes {
  const nearest = Math.round((size * weightPercent) / (100 - weightPercent));
  const replicas = Math.min(Math.max(1, nearest), Math.max(1, size));
  const canary = Math.round((replicas / (size + replicas)) * 100_000) / 1000;
  return {
    weights: { stable: Math.round((100 - canary) * 1000) / 1000, canary, baseline: 0 },
    canaryReplicas: replicas,
    baselineReplicas: 0,
  };
}

/** Replicas of an arm that shall carry this share of the traffic of a stable that has another size by now. */
export function resized(replicas: number, plannedSize: number, size: number): number {
  return Math.max(replicas, Math.ceil((replicas * size) / Math.max(1, plannedSize)));
}

/** How large stable may be before what was {@link resized} for `size` is too small for its share. */
export function fitsUpTo(replicas: number, plannedSize: number, size: number): number {
  return Math.floor((resized(replicas, plannedSize, size) * Math.max(1, plannedSize)) / replicas);
}

/** A baseline gets the canary's weight up to 25 %, is kept at 25 while it fits, and is gone above 75 (semantics.md). */
function baselineWeight(policy: Policy, canary: number): number {
  if (policy.compareWith === 'stable' || canary > 75) return 0;
  return Math.min(canary, 25, 100 - canary);
}

/** Size of a service that does not exist yet. On Kubernetes it must exist: preflight says so. */
function firstSize(target: Target): number {
  return target.platform === 'local' ? target.run.replicas : 1;
}

/** Replicas that carry a share of the traffic that `size` replicas carry whole: rounded up, one at least. */
function share(size: number, percent: number): number {
  return Math.max(1, Math.ceil((size * percent) / 100));
}
