import { randomUUID } from 'node:crypto';
import { defaultAnalysis } from '../../domain/canary/defaults.js';
import type { Policy, StagePolicy } from '../../domain/policy.js';
import { rolloutIdFor } from '../../domain/release.js';
import type { Change } from '../../domain/release.js';
import { DEFAULT_RISK_POLICY } from '../../domain/risk-floor.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { KubernetesTarget, LocalTarget } from '../../domain/target.js';

/** A change that no rule minds. */
export const SMALL_CHANGE: Change = {
  commit: 'a'.repeat(40),
  author: 'author@example.com',
  message: 'a small change',
  files: [{ path: 'src/hello.ts', added: 3, deleted: 1 }],
  truncated: false,
};

export interface PolicyOptions {
  readonly gateway: string;
  readonly service?: string;
  readonly stages?: readonly StagePolicy[];
  readonly replicas?: number;
  readonly change?: Partial<Omit<Policy, 'target'>> & { readonly target?: LocalTarget };
  readonly scrapeIntervalMs?: number;
  readonly command?: readonly string[];
}

/** A stage of a test: short, without approval. */
export function stage(weightPercent: number, seconds: number, approval = false): StagePolicy {
  return { weightPercent, durationMs: seconds * 1000, approval };
}

/** A policy for tests on the local platform: short times, no model, no approval. */
export function testPolicy(options: PolicyOptions): Policy & { readonly target: LocalTarget } {
  const stages = options.stages ?? [stage(25, 6), stage(50, 6)];
  const analysis = defaultAnalysis(options.scrapeIntervalMs ?? 1000);
  const target: LocalTarget = {
    platform: 'local',
    gateway: options.gateway,
    run: {
      command: options.command ?? ['node', 'service.mjs'],
      cwd: `${process.cwd()}/demo`,
      env: {},
      healthPath: '/healthz',
      replicas: options.replicas ?? 2,
    },
  };
  return {
    lane: { environment: 'test', service: options.service ?? 'hello' },
    target,
    tier: 2,
    owner: 'team-hello',
    whenBusy: 'queue',
    resolveTags: 'off',
    strategy: 'canary_25',
    stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages },
    compareWith: 'baseline',
    promote: 'verified',
    verifyMs: 3000,
    approval: { required: 'never', quorum: 1, groups: [], excludeAuthor: true, allowUnverified: true },
    analysis: { ...analysis, minRequests: 20 },
    metrics: { source: 'gateway' },
    waits: {
      approvalMs: 60_000,
      evidenceMs: 60_000,
      queueMs: 600_000,
      blindMs: 600_000,
      heldMs: 600_000,
      progressMs: 15_000,
    },
    risk: { ...DEFAULT_RISK_POLICY, model: 'off' },
    notify: [],
    ...options.change,
  };
}

/** A service named `hello` on Kubernetes, in the namespace `shop`, unless said otherwise. */
export function kubeTarget(change: Partial<KubernetesTarget> = {}): KubernetesTarget {
  return {
    platform: 'kubernetes',
    context: null,
    namespace: 'shop',
    deployment: 'hello',
    service: 'hello',
    route: { kind: 'HTTPRoute', name: 'hello' },
    ...change,
  };
}

export interface RequestOptions {
  readonly policy: Policy;
  readonly tag: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly key?: string;
  readonly change?: Change;
  readonly priority?: RolloutRequest['priority'];
}

/** A request to roll out `<service>:<tag>`, as `slipway deploy` makes it. */
export function testRequest({
  policy,
  tag,
  env = {},
  key = randomUUID(),
  change = SMALL_CHANGE,
  priority = 'normal',
}: RequestOptions): RolloutRequest {
  return {
    rolloutId: rolloutIdFor({ ...policy.lane, tenant: 'default', key }),
    tenant: 'default',
    actor: { subject: 'starter@example.com', groups: [], verified: false },
    release: { images: { app: `${policy.lane.service}:${tag}` }, env, change },
    policy,
    priority,
    retryOf: null,
    requestedAt: new Date().toISOString(),
  };
}
