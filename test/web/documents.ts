/** What a server would say of rollouts in several states: for the page's tests, and for the pictures in docs/page. */
import type { Me, Offer, RunDocument, RunList, RunSummary } from '../../client/server/contract.js';
import type { Decision } from '../../domain/approval/decision.js';
import { applyToGate, openGate } from '../../domain/approval/gate.js';
import { judge } from '../../domain/canary/judge.js';
import { portraitOf } from '../../domain/canary/portrait.js';
import type { ArmMoment } from '../../domain/canary/portrait.js';
import type { JudgeInput } from '../../domain/canary/types.js';
import type { LiveArm, LiveStage } from '../../domain/live.js';
import { makePlan } from '../../domain/plan.js';
import { hashRelease } from '../../domain/release.js';
import type { Assessment } from '../../domain/risk.js';
import type { Actor, RolloutView, TimelineEntry } from '../../domain/rollout.js';
import { stage, testPolicy, testRequest } from '../support/request.js';
import { ARMS, recordedInput } from '../support/recorded.js';

export const ID = '3f2a9c1e5b7d8f00';

const POLICY = {
  ...testPolicy({
    gateway: 'http://127.0.0.1:7700',
    service: 'checkout',
    stages: [stage(10, 900), stage(50, 900, true)],
  }),
  lane: { environment: 'production', service: 'checkout' },
  verifyMs: 600_000,
};
const REQUEST = testRequest({
  policy: POLICY,
  tag: 'v1.9.0',
  env: { FEATURE_ONE_CLICK: 'on' },
  key: 'page',
  change: {
    commit: '9c1e5b7d8f003f2a9c1e5b7d8f003f2a9c1e5b7d',
    author: 'ada@example.com',
    message: 'Pay with one click\n\nBehind a flag.',
    files: [
      { path: 'src/pay/one-click.ts', added: 212, deleted: 14 },
      { path: 'db/migrations/0042_add_tokens.sql', added: 18, deleted: 0 },
      { path: 'config/production.yaml', added: 2, deleted: 1 },
    ],
    truncated: false,
  },
});

const stable = {
  templateDigest: hashRelease(REQUEST.release).digest,
  version: 'checkout:v1.8.0',
  replicas: 10,
  ready: 10,
  message: null,
};
export const PLAN = makePlan({
  policy: POLICY,
  release: hashRelease(REQUEST.release),
  strategy: 'canary_10',
  snapshot: {
    arms: { stable },
    weights: { stable: 100, canary: 0, baseline: 0 },
    freeReplicas: 40,
    autoscaled: false,
    anchor: null,
    recorded: null,
    recordLost: false,
  },
});

const RISK = {
  score: 0.46,
  level: 'medium',
  factors: [
    { id: 'migration', weight: 0.3, reason: 'db/migrations/0042_add_tokens.sql changes the schema' },
    { id: 'configuration', weight: 0.16, reason: 'config/production.yaml is configuration' },
  ],
  strategy: 'canary_10',
  approval: true,
} as const;
const ASSESSMENT: Assessment = {
  risk: RISK,
  floor: RISK,
  model: {
    kind: 'answered',
    model: 'gpt-5-mini',
    score: 0.4,
    strategy: 'canary_10',
    approval: true,
    factors: [],
    summary:
      'Adds a payment path behind a flag. The migration only adds a table; the flag is switched on by this release.',
  },
  rulesVersion: '3',
};

/** Times are relative to now, so that what ticks makes sense. */
export function ago(seconds: number): string {
  return new Date(Date.now() - 1000 * seconds).toISOString();
}

const ADA: Actor = { subject: 'ada@example.com', name: 'Ada', groups: [], verified: true, via: 'oidc' };
const GRACE: Actor = {
  subject: 'grace@example.com',
  name: 'Grace',
  groups: ['payments'],
  verified: true,
  via: 'slack',
};

function decision(change: Partial<Decision>): Decision {
  return {
    id: 'd1',
    verb: 'approve',
    gate: 'release',
    planDigest: PLAN.digest,
    actor: GRACE,
    reason: 'read the migration; it only adds',
    full: false,
    at: ago(240),
    signature: 'x.y.z',
    ...change,
  };
}

const STORY: readonly [number, TimelineEntry['phase'], TimelineEntry['tone'], string][] = [
  [900, 'accepted', 'neutral', 'accepted: checkout:v1.9.0, asked for by ada@example.com'],
  [898, 'assessing', 'neutral', 'risk 0.46 (medium): a migration, and configuration of production'],
  [895, 'awaiting-approval', 'neutral', 'plan canary_10: 10 % for 15 min, 50 % for 15 min (after approval), then all'],
  [640, 'awaiting-approval', 'person', 'grace@example.com approved gate "release": read the migration; it only adds'],
  [420, 'awaiting-approval', 'person', 'linus@example.com approved gate "release"'],
  [418, 'preflight', 'good', 'preflight: room for 2 more replicas, stable is healthy, nothing has drifted'],
  [410, 'canary', 'good', 'stage 1 of 2: canary 10 %, baseline 10 %'],
];

function story(count: number): readonly TimelineEntry[] {
  return STORY.slice(0, count).map(([seconds, phase, tone, text]) => ({ at: ago(seconds), phase, tone, text }));
}

function view(change: Partial<RolloutView>): RolloutView {
  return {
    version: 1,
    rolloutId: ID as RolloutView['rolloutId'],
    lane: POLICY.lane,
    release: REQUEST.release,
    releaseName: 'checkout:v1.9.0',
    actor: ADA,
    policy: POLICY,
    phase: 'canary',
    status: 'canary',
    outcome: null,
    reason: null,
    startedAt: ago(900),
    endedAt: null,
    assessment: ASSESSMENT,
    plan: PLAN,
    stage: null,
    weights: { stable: 100, canary: 0, baseline: 0 },
    generation: 12,
    paused: false,
    wait: null,
    approvals: null,
    breakGlass: null,
    decisions: [],
    verdicts: [],
    timeline: story(3),
    warnings: [],
    ...change,
  };
}

function summaryOf(found: RolloutView, waitsForMe: boolean): RunSummary {
  return {
    rolloutId: found.rolloutId,
    service: found.lane.service,
    environment: found.lane.environment,
    release: found.releaseName,
    status: found.status,
    waitsFor: found.wait?.kind ?? null,
    outcome: found.outcome,
    risk: found.assessment?.risk.score ?? null,
    weightPercent: found.weights?.canary ?? null,
    startedAt: found.startedAt,
    endedAt: found.endedAt,
    waitsForMe,
    queue: found.queue ?? null,
  };
}

export function documentOf(found: RolloutView, change: Partial<RunDocument> = {}): RunDocument {
  return {
    summary: summaryOf(
      found,
      (change.offers ?? []).some(({ verb, allowed }) => verb === 'approve' && allowed),
    ),
    view: found,
    offers: [],
    remarks: [],
    live: null,
    links: {
      page: `http://127.0.0.1/rollouts/${ID}`,
      temporalWeb: 'http://127.0.0.1:8233/namespaces/default/workflows/rollout',
      record: found.outcome === null ? null : `/runs/${ID}/record`,
    },
    asOf: new Date().toISOString(),
    ...change,
  };
}

const DOES: Readonly<Record<Offer['verb'], string>> = {
  approve: 'counts as 1 more of the 2 approvals that it needs; with the second the canary gets 10 % of the traffic',
  reject: 'ends the rollout; nothing has been touched',
  pause: 'no further stage until resumed; the canary is still guarded',
  resume: 'goes on where it was paused',
  promote: 'skips the rest of this stage: 50 % next',
  abort: 'all traffic back to checkout:v1.8.0; the canary is removed',
  'break-glass': 'opens the gate past everybody who is asked; all of them are told',
  retry: 'asks for a new rollout of the same release',
};

export function offer(verb: Offer['verb'], why: string | null = null, needsReason = false): Offer {
  const command = `npx slipway ${verb} ${ID}`;
  return { verb, allowed: why === null, why, does: DOES[verb], command, needsReason };
}

const GATE = openGate({
  gate: 'release',
  planDigest: PLAN.digest,
  policy: { ...POLICY.approval, quorum: 2, groups: ['payments', 'sre'] },
  involved: ['ada@example.com'],
});

/** Waits for its second approval. */
export function waiting(change: Partial<RolloutView> = {}): RunDocument {
  const found = view({
    phase: 'awaiting-approval',
    status: 'awaiting-approval',
    approvals: applyToGate(GATE, decision({}), Date.now()),
    decisions: [decision({})],
    timeline: story(4),
    wait: {
      kind: 'approval',
      since: ago(895),
      deadline: new Date(Date.now() + 71.75 * 3_600_000).toISOString(),
      atDeadline: 'rejected',
      reason: 'risk 0.46 is over 0.4, so the policy asks for 2 approvals; there is 1',
      who: 'anybody in payments or sre, but ada@example.com, who wrote it',
      commands: [`slipway approve ${ID}`],
      gate: 'release',
    },
    ...change,
  });
  return documentOf(found, {
    offers: [
      offer('approve'),
      offer('reject', null, true),
      offer('pause', 'there is nothing to pause before the canary'),
      offer('abort'),
    ],
  });
}

/** In its first stage, some way through what was recorded. */
export function inCanary(upToShare = 0.6, change: Partial<RolloutView> = {}): RunDocument {
  const found = view({
    stage: 1,
    weights: { stable: 80, canary: 10, baseline: 10 },
    decisions: [
      decision({}),
      decision({
        id: 'd2',
        actor: { ...GRACE, subject: 'linus@example.com', name: 'Linus', via: 'oidc' },
        reason: null,
        at: ago(420),
      }),
    ],
    timeline: story(7),
    ...change,
  });
  return documentOf(found, {
    offers: [offer('pause'), offer('promote', null, true), offer('abort')],
    live: liveOf(recordedInput(ARMS.good), 'stage-1', upToShare),
  });
}

/** Rolled back by the judge. */
export function rolledBack(change: Partial<RolloutView> = {}): RunDocument {
  const input = recordedInput(ARMS.bad);
  const verdict = { ...judge(input), atMs: Date.now() - 60_000 };
  const found = view({
    phase: 'rolled-back',
    status: 'rolled-back',
    outcome: 'rolled-back',
    stage: 1,
    weights: { stable: 100, canary: 0, baseline: 0 },
    reason: { code: 'verdict', text: `stage 1: ${verdict.summary}` },
    endedAt: ago(40),
    verdicts: [{ stage: 'stage-1', verdict, evidence: verdict.inputDigest }],
    decisions: [decision({})],
    timeline: [
      ...story(7),
      { at: ago(60), phase: 'rolling-back', tone: 'bad', text: `ROLLBACK at stage 1: ${verdict.summary}` },
      { at: ago(58), phase: 'rolling-back', tone: 'neutral', text: 'all traffic is back on checkout:v1.8.0' },
      { at: ago(40), phase: 'rolled-back', tone: 'bad', text: 'rolled back' },
    ],
    ...change,
  });
  return documentOf(found, { offers: [offer('retry')], live: liveOf(input, 'stage-1', 1) });
}

/** As a watch tells of what it has seen up to a share of it, moved so that it is seen now. */
export function liveOf(input: JudgeInput, name: string, upToShare: number): LiveStage {
  const { atMs, ...recording } = input;
  const { moments } = portraitOf(recording, atMs);
  const seen = moments.slice(0, Math.max(1, Math.round(moments.length * upToShare)));
  const offset = Date.now() - (seen.at(-1)?.toMs ?? atMs);
  const arm = ({ requests, errorRate, p99 }: ArmMoment): LiveArm => ({
    requests,
    errors: Math.round((errorRate ?? 0) * requests),
    p99Ms: p99 === null ? null : 1000 * p99.seconds,
  });
  return {
    stage: name,
    startMs: recording.startMs + offset,
    durationMs: recording.durationMs,
    points: seen.map(({ toMs, canary, comparison }) => ({
      atMs: toMs + offset,
      canary: arm(canary),
      comparison: comparison === null ? null : arm(comparison),
    })),
    looks: [2, 4, 6, 8, 10, 12]
      .map((minutes) => recording.startMs + minutes * 60_000)
      .filter((lookMs) => lookMs <= (seen.at(-1)?.toMs ?? 0))
      .map((lookMs) => ({
        atMs: lookMs + offset,
        kind: 'HOLD' as const,
        summary: 'the stage is not over yet and nothing is wrong: error rate 0.21 % against 0.19 % (p = 0.4)',
      })),
  };
}

export function me(change: Partial<Me> = {}): Me {
  return {
    identity: {
      subject: 'linus@example.com',
      name: 'Linus',
      kind: 'person',
      via: 'oidc',
      groups: ['sre'],
      aliases: [],
      grants: [{ role: 'approver', services: ['*'], environments: ['*'] }],
      authenticatedAtMs: Date.now(),
    },
    csrf: 'csrf-of-this-session',
    local: false,
    until: new Date(Date.now() + 8 * 3_600_000).toISOString(),
    rights: ['view', 'approve', 'reject', 'pause', 'resume', 'abort', 'promote'],
    ...change,
  };
}

export function summary(rolloutId: string, change: Partial<RunSummary>): RunSummary {
  return {
    rolloutId,
    service: 'checkout',
    environment: 'production',
    release: 'checkout:v1.9.0',
    status: 'canary',
    waitsFor: null,
    outcome: null,
    risk: 0.2,
    weightPercent: 10,
    startedAt: ago(300),
    endedAt: null,
    waitsForMe: false,
    queue: null,
    ...change,
  };
}

/** What a busy afternoon looks like. */
export function runsInFlight(): RunList {
  return {
    runs: [
      waiting().summary,
      summary('a1', {
        service: 'search',
        release: 'search:2026.11.3',
        status: 'held',
        waitsFor: 'inconclusive',
        risk: 0.31,
        weightPercent: 25,
        startedAt: ago(5400),
        waitsForMe: true,
      }),
      summary('a2', { service: 'catalog', release: 'catalog:v41', weightPercent: 50, startedAt: ago(2100) }),
      summary('a3', {
        service: 'mailer',
        environment: 'staging',
        release: 'mailer:0c4f1e',
        status: 'verifying',
        weightPercent: 100,
        risk: 0.05,
        startedAt: ago(610),
      }),
      summary('a4', {
        service: 'images',
        release: 'images:v7.2',
        status: 'canary',
        waitsFor: 'blind',
        weightPercent: 5,
        risk: 0.62,
        startedAt: ago(1450),
      }),
      summary('a5', {
        service: 'catalog',
        release: 'catalog:v42',
        status: 'queued',
        weightPercent: null,
        risk: null,
        startedAt: ago(95),
        queue: { ahead: 1, behind: 'a2', blocked: null },
      }),
    ],
    next: null,
    asOf: new Date().toISOString(),
  };
}

export function runsEnded(): RunList {
  const ended = (id: string, seconds: number, change: Partial<RunSummary>): RunSummary =>
    summary(id, { endedAt: ago(seconds), startedAt: ago(seconds + 2400), weightPercent: 0, ...change });
  return {
    runs: [
      ended('b1', 300, {
        service: 'mailer',
        environment: 'production',
        release: 'mailer:0b77aa',
        status: 'completed',
        outcome: 'completed',
        risk: 0.05,
      }),
      ended('b2', 1900, { release: 'checkout:v1.8.1', status: 'rolled-back', outcome: 'rolled-back', risk: 0.44 }),
      ended('b3', 6200, {
        service: 'search',
        release: 'search:2026.11.2',
        status: 'completed',
        outcome: 'completed',
        risk: 0.18,
      }),
      ended('b4', 90_000, {
        service: 'images',
        release: 'images:v7.1',
        status: 'rejected',
        outcome: 'rejected',
        risk: 0.71,
      }),
      ended('b5', 95_000, {
        service: 'catalog',
        release: 'catalog:v40',
        status: 'superseded',
        outcome: 'superseded',
        risk: 0.1,
      }),
    ],
    next: 'more',
    asOf: new Date().toISOString(),
  };
}
