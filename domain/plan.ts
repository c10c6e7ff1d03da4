import { digestOf } from './canonical.js';
import type { Digest } from './canonical.js';
import type { Policy, StagePolicy, Strategy } from './policy.js';
import type { HashedRelease } from './release.js';
import type { TargetSnapshot, Weights, Target } from './target.js';

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
  readonly stages: readonly PlannedStage[];
  /** Largest number of additional replicas that exist at one moment. */
  readonly peakExtraReplicas: number;
  /** Covers release, policy, stages, target and stable's template; never replica counts, times or metrics. */
  readonly digest: Digest;
}

export interface PlanRequest {
  readonly policy: Policy;
  readonly release: HashedRelease;
  readonly strategy: Strategy;
  readonly snapshot: TargetSnapshot;
}

/** The plan for a release, from what stands now. */
export function makePlan({ policy, release, strategy, snapshot }: PlanRequest): Plan {
  const stable = snapshot.arms.stable ?? null;
  const size = stable?.replicas ?? firstSize(policy.target);
  const stagePolicies = stable === null ? [] : policy.stages[strategy];
  const stages = stagePolicies.map((stage, index): PlannedStage => {
    const baseline = baselineWeight(policy, stage.weightPercent);
    const canaryReplicas = share(size, stage.weightPercent);
    return {
      ...stage,
      number: index + 1,
      weights: { stable: 100 - stage.weightPercent - baseline, canary: stage.weightPercent, baseline },
      canaryReplicas,
      baselineReplicas: baseline === 0 ? 0 : share(size, baseline),
      budgetShare: 1 / stagePolicies.length,
    };
  });
  const staged = Math.max(0, ...stages.map((stage) => stage.canaryReplicas + stage.baselineReplicas));
  return {
    kind: stable === null ? 'first' : 'update',
    strategy,
    release,
    stableDigest: stable?.templateDigest ?? null,
    stableVersion: stable?.version ?? null,
    stableReplicas: size,
    stages,
    peakExtraReplicas: stable === null ? size : Math.max(staged, policy.promote === 'verified' ? size : 0),
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
