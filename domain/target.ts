import type { Digest } from './canonical.js';
import type { Fence } from './fence.js';
import type { HashedRelease } from './release.js';

/** The three arms of a rollout: the serving version, the new one, and a fresh copy of the serving one. */
export type Arm = 'stable' | 'canary' | 'baseline';

/** The name of an arm's own object, where stable's is `name`. */
export function armName(name: string, arm: Arm): string {
  return arm === 'stable' ? name : `${name}-${arm}`;
}

/** Shares of traffic in percent; they sum to 100. */
export interface Weights {
  readonly stable: number;
  readonly canary: number;
  readonly baseline: number;
}

export const ALL_STABLE: Weights = { stable: 100, canary: 0, baseline: 0 };

/** One service in one environment: what has one lane. */
export interface LaneRef {
  readonly environment: string;
  readonly service: string;
}

/** How the embedded platform runs a service: processes behind the weighted gateway. */
export interface LocalTarget {
  readonly platform: 'local';
  /** Base URL of the gateway's admin API. */
  readonly gateway: string;
  readonly run: LocalRun;
}

/** The process that serves one replica. */
export interface LocalRun {
  /** Program and arguments; `{image}`, `{tag}` and `{port}` are filled in. */
  readonly command: readonly string[];
  /** Working directory; the gateway's own when null. */
  readonly cwd: string | null;
  readonly env: Readonly<Record<string, string>>;
  /** Path that answers 2xx once a replica can serve. @default /healthz */
  readonly healthPath: string;
  /** Processes of stable at full size. @default 1 */
  readonly replicas: number;
}

/** A service that runs as a plain Deployment on Kubernetes. */
export interface KubernetesTarget {
  readonly platform: 'kubernetes';
  /** Context of the worker's kubeconfig; null for the worker's own service account, or the current context. */
  readonly context: string | null;
  readonly namespace: string;
  /** The Deployment that serves now: stable. */
  readonly deployment: string;
  /** The Service that the route sends traffic to. */
  readonly service: string;
  readonly route: KubernetesRoute;
}

/** The objects that can split a Service's traffic by weights. */
export const ROUTE_KINDS = ['HTTPRoute', 'GRPCRoute', 'VirtualService', 'Ingress'] as const;
export type RouteKind = (typeof ROUTE_KINDS)[number];

/** The object whose rules name the Service. */
export interface NamedRoute<Kind extends RouteKind = RouteKind> {
  readonly kind: Kind;
  readonly name: string;
  /** Further routes of this kind that send traffic to the Service get the same weights; without it they are refused. */
  readonly multiRoute?: 'allow';
  /** For so long after a change of the shares requests may still come to who lost them, ms; absent: by who routes. */
  readonly drainMs?: number;
}

/** How a Service's traffic is split. */
export type KubernetesRoute =
  | { readonly [Kind in RouteKind]: NamedRoute<Kind> }[RouteKind]
  /** By the number of replicas: the Service sends to the pods of all arms alike. */
  | {
      readonly kind: 'none';
      /** By how much a canary's share may exceed what its stage asks for, percentage points: one pod of four is 25 %. */
      readonly maxExcessPoints: number;
    };

/** Where a rollout acts. One more platform is one more member, and a folder in `activities/`. */
export type Target = LocalTarget | KubernetesTarget;

/** What the way in which a target's traffic is split can do. */
export interface TrafficSplit {
  /** Shares follow from the numbers of replicas: they can't be set to any value, nor to 100 % while stable stands. */
  readonly byReplicas: boolean;
  /** Whether there can be a third arm. */
  readonly baseline: boolean;
}

export function trafficSplitOf(target: Target): TrafficSplit {
  const kind = target.platform === 'kubernetes' ? target.route.kind : null;
  // A baseline beside a canary would make the smallest step twice as large; ingress-nginx knows one canary only.
  return { byReplicas: kind === 'none', baseline: kind !== 'none' && kind !== 'Ingress' };
}

/** One arm as the platform reports it. */
export interface ArmState {
  /** Digest of the complete template (image, command, environment …) that the arm is told to run. */
  readonly templateDigest: Digest;
  /** What the arm runs, for people: `hello:v2`. */
  readonly version: string;
  readonly replicas: number;
  /** Replicas of the *current* template that can serve. */
  readonly ready: number;
  /** The platform has not looked at what was written last, if only a fence: `ready` is 0, and not known. */
  readonly unseen?: true;
  /** Why it is not ready, in the platform's words. */
  readonly message: string | null;
}

/** A lane's anchor: what is left when Temporal is not. */
export interface LaneAnchor {
  readonly lane: LaneRef;
  readonly target: Target;
  readonly generation: number;
  /** The rollout that may change the target, and who acts for it. */
  readonly current: AnchorHolder | null;
  /** Outcomes of the last rollouts, newest last. */
  readonly ended: readonly { readonly rolloutId: string; readonly outcome: string }[];
}

export interface AnchorHolder {
  readonly rolloutId: string;
  /** `recover` takes over from a rollout whose run is gone; the rollout itself is then refused. */
  readonly claimant: Claimant;
}

export type Claimant = 'rollout' | 'recover';

/** All that a rollout needs to know of its target, read in one go. */
export interface TargetSnapshot {
  readonly arms: Readonly<Partial<Record<Arm, ArmState>>>;
  /** Null where the service has never been deployed. */
  readonly weights: Weights | null;
  /** Replicas that could still be started; null where the platform can't tell. */
  readonly freeReplicas: number | null;
  /** Whether an autoscaler sets the size of stable: then it may be another one at any time. */
  readonly autoscaled: boolean;
  /**
   * Replicas that stable has above its size while its template is replaced: no fewer, where it has more if there is room.
   * @default 0
   */
  readonly surge?: number;
  /** How long stable may take to come up before its platform gives it up; absent where that is not known. */
  readonly progressMs?: number;
  readonly anchor: LaneAnchor | null;
  /** What stable was when the current rollout opened; null outside a rollout. */
  readonly recorded: RecordedStable | null;
  /** The rollout has written stable, and what stable was before is not recorded any more: it can't be restored. */
  readonly recordLost: boolean;
}

/** Stable as it was before a rollout touched anything: what a rollback restores. The template itself stays in the anchor. */
export interface RecordedStable {
  readonly rolloutId: string;
  readonly templateDigest: Digest | null;
  readonly version: string | null;
  readonly replicas: number;
}

/** Which template an arm shall run; the platform holds the bytes. */
export type TemplateSource =
  /** The recorded template with the release's images and patch. */
  | { readonly from: 'release'; readonly release: HashedRelease }
  /** Stable's template as recorded when the rollout opened. */
  | { readonly from: 'recorded' };

/**
 * What stands behind the names by which templates refer to configuration: `sha256:…` of a ConfigMap's content, `version …`
 * of a Secret, `none` where there is no such object; by `ConfigMap app-config`. Without what may not be read.
 */
export type Configuration = Readonly<Record<string, string>>;

/** How a change of it is called where other changes are called by the object that was changed. */
export const CONFIGURATION = 'configuration';

/** What somebody else made of an object, for people. */
export function changeText(
  object: string,
  { found, expected }: { readonly found: string; readonly expected: string },
): string {
  return object === CONFIGURATION
    ? `it is ${found}, and was ${expected} when it was recorded; pods read it when they start, and from volumes at any time`
    : `it is ${found}, Slipway had left ${expected}`;
}

/** A change of the outside world. Each is one activity, carries a permit, and is applied exactly once. */
export type Effect =
  /**
   * Creates the rollout's anchor with stable's recorded template, and the configuration that it and the release's refer
   * to: the first effect of a rollout.
   */
  | { readonly op: 'open-rollout'; readonly release?: HashedRelease }
  /** Records the configuration anew, where a person has let a change of it be. */
  | { readonly op: 'record-configuration' }
  /** Writes the new fence on every object of the rollout, so that earlier writers are refused from then on. */
  | { readonly op: 'raise-fence' }
  /** Creates an arm, or brings it to this template and size. */
  | {
      readonly op: 'start-arm';
      readonly arm: 'canary' | 'baseline';
      readonly template: TemplateSource;
      readonly replicas: number;
    }
  | { readonly op: 'set-weights'; readonly weights: Weights }
  /**
   * All traffic to stable with as few questions as can be, before anything else is done; declined where stable is not
   * known to be what it was, or can't serve. Only where nothing that may still be under way changes stable.
   */
  | { readonly op: 'cut-traffic' }
  /** Promotion step 4, and its way back. */
  | { readonly op: 'set-stable-template'; readonly template: TemplateSource; readonly replicas: number }
  | { readonly op: 'remove-arm'; readonly arm: 'canary' | 'baseline' }
  /** Only in the rollback of a service's very first release: there is nothing to go back to. */
  | { readonly op: 'remove-stable' }
  /** Records the outcome in the lane's anchor and deletes the rollout's anchor: the last effect. */
  | { readonly op: 'close-rollout'; readonly outcome: string };

export type EffectOp = Effect['op'];
export type EffectOf<Op extends EffectOp> = Extract<Effect, { op: Op }>;

/** The object that an effect is about, as it stands in its idempotency key. */
export function effectObject(effect: Effect): string {
  switch (effect.op) {
    case 'start-arm':
    case 'remove-arm':
      return effect.arm;
    case 'set-weights':
    case 'cut-traffic':
      return 'route';
    case 'set-stable-template':
    case 'remove-stable':
      return 'stable';
    case 'raise-fence':
      return 'all';
    case 'open-rollout':
    case 'record-configuration':
    case 'close-rollout':
      return 'anchor';
  }
}

/** What came of an effect. Failures that a retry may cure are thrown instead. */
export type EffectResult =
  | {
      readonly kind: 'applied';
      readonly drift: readonly string[];
      /** What was recorded; absent where there is none. */
      readonly configuration?: Configuration;
    }
  | { readonly kind: 'already'; readonly configuration?: Configuration }
  | { readonly kind: 'stale'; readonly object: string; readonly held: Fence }
  | { readonly kind: 'drift'; readonly object: string; readonly found: string; readonly expected: string }
  /** Nothing was written: it is not the time for it, and another way must be taken. */
  | { readonly kind: 'declined'; readonly reason: string }
  /** The platform says no for good: forbidden, gone, invalid, or no room. */
  | { readonly kind: 'refused'; readonly object: string; readonly reason: string };

/** What a rollout will need, for preflight. */
export interface PlannedNeeds {
  /** Largest number of additional replicas that exist at one moment. */
  readonly replicas: number;
  /** The canary's share in each stage, percent: as the policy asks for it, and as it can be had. */
  readonly shares: readonly { readonly asked: number; readonly given: number }[];
  /** What the release changes in stable's template. */
  readonly release?: HashedRelease;
  /** Arms beside stable that there are at any time of it. */
  readonly siblings?: readonly Exclude<Arm, 'stable'>[];
  /** Stable's template is replaced while it serves. */
  readonly inPlace?: boolean;
}

/** What preflight finds. A `refuse` stops the rollout before it touches anything. */
export interface PreflightFinding {
  readonly severity: 'refuse' | 'warn';
  readonly problem: string;
  readonly remedy: string;
}

export type ClaimResult =
  | { readonly kind: 'granted'; readonly generation: number }
  /** The anchor belongs to another rollout, or this one has already ended, or `recover` acts for it. */
  | { readonly kind: 'denied'; readonly reason: string; readonly anchor: LaneAnchor }
  /** The platform says no for good. Nobody else acts for this rollout because of it. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Whether an arm can serve. `failed` will not get better by waiting. */
export type ArmReadiness =
  | { readonly kind: 'ready'; readonly replicas: number }
  | { readonly kind: 'waiting'; readonly ready: number; readonly wanted: number; readonly message: string | null }
  | { readonly kind: 'failed'; readonly message: string };

/** What somebody else did to the objects of a rollout that is under way. */
export interface Disturbance {
  /**
   * `harm`: users are sent to what can't answer, or to what nobody has approved, and a rollback ends that. `drift`: any
   * other change: a person says what it was meant for.
   */
  readonly kind: 'harm' | 'drift';
  /** `canary`, `route` … */
  readonly object: string;
  readonly text: string;
  /** It may be the state of a moment, and counts when it is seen again. */
  readonly passing: boolean;
}

/** What is seen of a target while a rollout only watches. */
export interface Inspection {
  readonly disturbances: readonly Disturbance[];
  /** How large stable is; null where that is not known. */
  readonly stableReplicas: number | null;
}

/** An arm and how many replicas of it are wanted. */
export interface SizedArm {
  readonly arm: Arm;
  readonly replicas: number;
}

/** Whether stable, of which a rollback has restored what was recorded, can serve again. */
export type StableReadiness =
  | { readonly kind: 'ready' }
  /** It is not all there, and users lose nothing by going to it all the same. */
  | { readonly kind: 'nothing-to-lose'; readonly text: string }
  | { readonly kind: 'waiting'; readonly ready: number; readonly wanted: number; readonly message: string | null };

/** Whether several arms can serve; where not, the arm that stands for it, or another object that harms users meanwhile. */
export type ArmsReadiness =
  { readonly kind: 'ready' } | (Exclude<ArmReadiness, { readonly kind: 'ready' }> & { readonly arm: string });
