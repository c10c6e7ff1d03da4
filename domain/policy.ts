import type { AnalysisPolicy } from './canary/types.js';
import type { LaneRef, Target } from './target.js';

/** How much care a change gets, least first. The order is the order of care: a model may only move to the right. */
export const STRATEGIES = ['direct', 'canary_25', 'canary_10', 'canary_5'] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** One step of a plan. */
export interface StagePolicy {
  /** Share of the traffic that the canary gets, percent, above 0 and below 100; it rises from stage to stage. */
  readonly weightPercent: number;
  /** How long the stage lasts at least, ms. */
  readonly durationMs: number;
  /** A person must approve before the stage begins. */
  readonly approval: boolean;
}

export interface ApprovalPolicy {
  /** `risk`: when the assessment asks for it. */
  readonly required: 'always' | 'risk' | 'never';
  /** Approvals that are needed. */
  readonly quorum: number;
  /** Groups whose members may approve; empty: anyone who is not excluded. */
  readonly groups: readonly string[];
  /** The author of the change, and whoever started the rollout, may not approve it. */
  readonly excludeAuthor: boolean;
  /** Decisions without the server's signature count. Meant for the demo and for one machine. */
  readonly allowUnverified: boolean;
}

/** `rollback`: at once; `hold`: it is paused, and the guard goes on; `ignore`: nothing. */
export const ON_ALERT = ['rollback', 'hold', 'ignore'] as const;
export type OnAlert = (typeof ON_ALERT)[number];

/** Deadlines of waits, ms (semantics.md, "Waits and verbs"). At the end of each the rollout is rejected or rolled back. */
export interface WaitPolicy {
  readonly approvalMs: number;
  readonly evidenceMs: number;
  readonly queueMs: number;
  /** No data, or metrics out of reach. */
  readonly blindMs: number;
  /** Inconclusive, paused, or a gate between stages. */
  readonly heldMs: number;
  /** An arm that does not become ready. */
  readonly progressMs: number;
}

/** Where metrics come from. */
export type MetricsPolicy =
  /** The local gateway's own `/metrics`, read by the watch itself. */
  | { readonly source: 'gateway' }
  | {
      readonly source: 'prometheus';
      readonly url: string;
      /** A ready-made template, or PromQL of one's own. */
      readonly queries: PrometheusTemplate | CustomQueries;
      /** Name of the worker's secret that holds the `Authorization` header; never the header itself. */
      readonly authorization: string | null;
      /** PromQL of further metrics by name: one value an instant and arm. Filled in as `CustomQueries` are. @default {} */
      readonly values?: Readonly<Record<string, string>>;
    };

export const PROMETHEUS_TEMPLATES = [
  'slipway-gateway',
  'traefik',
  'istio',
  'ingress-nginx',
  'opentelemetry-http',
] as const;
export type PrometheusTemplate = (typeof PROMETHEUS_TEMPLATES)[number];

/**
 * PromQL that gives raw counters, one series per pod. `{{arm}}`, `{{service}}`, `{{environment}}`, `{{version}}` are filled in.
 */
export interface CustomQueries {
  readonly requests: string;
  readonly errors: string;
  /** Cumulative buckets with the label `le`, in seconds; null where there is no histogram. */
  readonly latencyBuckets: string | null;
}

/** A service in one environment, as its owners' reviewed `slipway.yaml` says. */
export interface Policy {
  readonly lane: LaneRef;
  readonly target: Target;
  /** 0 is the most critical tier. */
  readonly tier: 0 | 1 | 2 | 3;
  /** Team or person to turn to. */
  readonly owner: string | null;
  /** What a second release does while the lane is busy. */
  readonly whenBusy: 'queue' | 'supersede' | 'reject';
  /** `auto`: as risk says. A fixed strategy is used unless risk asks for more care. */
  readonly strategy: Strategy | 'auto';
  readonly stages: Readonly<Record<Strategy, readonly StagePolicy[]>>;
  /** What the canary is compared with. */
  readonly compareWith: 'baseline' | 'stable';
  /** `verified`: full canary, verify, then copy to stable. `in-place`: copy at once, for those without the capacity. */
  readonly promote: 'verified' | 'in-place';
  /** How long the new version is watched at 100 % while going back is still one write, ms. */
  readonly verifyMs: number;
  /**
   * Whether the tags of a release on Kubernetes are resolved to digests before anything else. `best-effort`: where that
   * can't be done the plan says so; `required`: the rollout is then rejected; `off`: nobody is asked.
   */
  readonly resolveTags: 'best-effort' | 'required' | 'off';
  readonly approval: ApprovalPolicy;
  readonly analysis: AnalysisPolicy;
  readonly metrics: MetricsPolicy;
  readonly waits: WaitPolicy;
  readonly risk: RiskPolicy;
  /** What a firing alert that names the service does to a canary of it under traffic. @default rollback */
  readonly onAlert?: OnAlert;
  /** URLs that get notifications, besides the worker's log. Names of the worker's webhooks, never URLs with secrets. */
  readonly notify: readonly string[];
}

/** How risk is turned into care; tunable per team. */
export interface RiskPolicy {
  /** `off`: the deterministic floor alone. */
  readonly model: 'on' | 'off';
  /** Score from which a person must approve, 0 to 1. */
  readonly approvalFrom: number;
  /** Scores from which the strategy gets more careful, 0 to 1, rising. */
  readonly canary25From: number;
  readonly canary10From: number;
  readonly canary5From: number;
  /** Zone of the service's people, for "Friday evening". IANA name. */
  readonly timeZone: string;
}

export function moreCareful(a: Strategy, b: Strategy): Strategy {
  return STRATEGIES.indexOf(a) >= STRATEGIES.indexOf(b) ? a : b;
}

/** Whether registries are asked about a release's tags: on the local platform images are names of nothing. */
export function resolvesTags({ resolveTags, target }: Policy): boolean {
  return resolveTags !== 'off' && target.platform === 'kubernetes';
}

/** The strategy of a rollout: what the policy fixes can be made more careful by the risk, never less. */
export function strategyUnder({ strategy }: Policy, byRisk: Strategy): Strategy {
  return strategy === 'auto' ? byRisk : moreCareful(strategy, byRisk);
}

/** Whether a person must approve the release before anything is touched. */
export function needsApproval({ approval }: Policy, byRisk: boolean): boolean {
  return approval.required === 'always' || (approval.required === 'risk' && byRisk);
}
