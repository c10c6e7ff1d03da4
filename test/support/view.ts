import { openGate } from '../../domain/approval/gate.js';
import type { Verdict } from '../../domain/canary/types.js';
import { makePlan } from '../../domain/plan.js';
import { hashRelease } from '../../domain/release.js';
import type { Assessment } from '../../domain/risk.js';
import type { RolloutView } from '../../domain/rollout.js';
import { stage, testPolicy, testRequest } from './request.js';

const POLICY = testPolicy({ gateway: 'http://127.0.0.1:7700', stages: [stage(10, 900), stage(50, 900, true)] });
const REQUEST = testRequest({ policy: POLICY, tag: 'v2', key: 'view' });

/** Stable with two replicas of v1, and nothing else. */
const SNAPSHOT = {
  arms: {
    stable: {
      templateDigest: hashRelease(REQUEST.release).digest,
      version: 'hello:v1',
      replicas: 2,
      ready: 2,
      message: null,
    },
  },
  weights: { stable: 100, canary: 0, baseline: 0 },
  freeReplicas: 8,
  autoscaled: false,
  anchor: null,
  recorded: null,
  recordLost: false,
} as const;

export const PLAN = makePlan({
  policy: POLICY,
  release: hashRelease(REQUEST.release),
  strategy: 'canary_10',
  snapshot: SNAPSHOT,
});

const RISK = {
  score: 0.32,
  level: 'medium',
  factors: [{ id: 'configuration', weight: 0.3, reason: 'config/prod.yaml is configuration' }],
  strategy: 'canary_10',
  approval: true,
} as const;
export const ASSESSMENT: Assessment = { risk: RISK, floor: RISK, model: { kind: 'off' }, rulesVersion: '1' };

/** A rollout in its first canary stage, as `view` answers; what a test is about is changed. */
export function testView(change: Partial<RolloutView> = {}): RolloutView {
  return {
    version: 1,
    rolloutId: REQUEST.rolloutId,
    lane: POLICY.lane,
    release: REQUEST.release,
    releaseName: 'hello:v2',
    actor: REQUEST.actor,
    policy: POLICY,
    phase: 'canary',
    status: 'canary',
    outcome: null,
    reason: null,
    startedAt: '2026-07-01T12:00:00.000Z',
    endedAt: null,
    assessment: ASSESSMENT,
    plan: PLAN,
    stage: 1,
    weights: { stable: 80, canary: 10, baseline: 10 },
    generation: 3,
    paused: false,
    wait: null,
    approvals: null,
    breakGlass: null,
    decisions: [],
    verdicts: [],
    timeline: [],
    warnings: [],
    ...change,
  };
}

/** The gate of the release, open. */
export function openRelease(): NonNullable<RolloutView['approvals']> {
  const policy = { ...POLICY.approval, quorum: 2 };
  return openGate({ gate: 'release', planDigest: PLAN.digest, policy, involved: ['author@example.com'] });
}

export function testVerdict(kind: Verdict['kind'], summary: string): Verdict {
  return {
    kind,
    hold: kind === 'HOLD' ? 'inconclusive' : null,
    summary,
    findings: [],
    atMs: 0,
    look: 1,
    judge: 'sequential',
    judgeVersion: 'test',
    inputDigest: 'sha256:0',
  };
}
