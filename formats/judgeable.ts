import { z } from 'zod';
import { faultText, sampleFault, storedNames } from '../domain/canary/check-samples.js';
import { defaultAnalysis } from '../domain/canary/defaults.js';
import { evidenceOf } from '../domain/canary/series.js';
import { JUDGES } from '../domain/canary/types.js';
import type { AnalysisPolicy, ArmSamples, JudgeInput, JudgeName, Verdict } from '../domain/canary/types.js';
import { firstProblem } from './jsonl.js';
import { parseScenario } from './scenario.js';
import type { ScenarioRecording } from './scenario.js';

const Times = z.number().nonnegative();
const Counter = z.array(z.number().nullable());

/** Loose: what a later version keeps of an arm is part of what its digest names. */
const Arm = z.looseObject({
  timesMs: z.array(z.number()),
  leSeconds: z.array(z.number().nullable()),
  series: z.array(
    z.looseObject({
      instance: z.string(),
      requests: Counter,
      errors: Counter,
      buckets: z.array(z.array(z.number()).nullable()),
    }),
  ),
  values: z.record(z.string(), Counter).exactOptional(),
});

/** A stored policy may be older or newer than this program: what it lacks has the default, what is new is kept. */
const StoredPolicy = z.looseObject({
  judge: z.enum(JUDGES),
  scrapeIntervalMs: z.number().positive(),
  warmUpMs: Times.optional(),
  lookEveryMs: Times.optional(),
  errorBudget: z.number().min(0).max(1).optional(),
  earlyPromotion: z.looseObject({ afterMs: Times }).optional(),
  limits: z.looseObject({}).optional(),
  mannWhitney: z.looseObject({}).optional(),
});

const StoredInput = z.looseObject({
  policy: StoredPolicy,
  startMs: z.number(),
  atMs: z.number(),
  durationMs: Times,
  budgetShare: z.number().min(0).max(1),
  expectedShare: z.number().min(0).max(1).nullable(),
  canary: Arm,
  comparison: Arm.nullable(),
});

const Number_ = z.number().nullable();
const Finding = z.looseObject({
  metric: z.string(),
  verdict: z.enum(['PROMOTE', 'HOLD', 'ROLLBACK']),
  canary: Number_,
  comparison: Number_,
  unit: z.string(),
  canaryN: z.number(),
  comparisonN: z.number(),
  test: z.string(),
  statistic: Number_,
  p: Number_,
  alpha: Number_,
  effect: Number_,
  threshold: Number_,
  why: z.string(),
});

const StoredVerdict = z.looseObject({
  kind: z.enum(['PROMOTE', 'HOLD', 'ROLLBACK']),
  hold: z.string().nullable(),
  summary: z.string(),
  findings: z.array(Finding),
  atMs: z.number(),
  look: z.number(),
  judge: z.string(),
  judgeVersion: z.string(),
  inputDigest: z.string(),
});

const Record_ = z.object({
  view: z.object({
    rolloutId: z.string(),
    lane: z.object({ environment: z.string(), service: z.string() }),
    releaseName: z.string().default(''),
    outcome: z.string().nullable().default(null),
    startedAt: z.string().default(''),
    verdicts: z.array(z.object({ stage: z.string(), verdict: StoredVerdict, evidence: z.string().nullable() })),
  }),
});

/** A verdict that was recorded, and where the samples behind it are. */
export interface RecordedVerdict {
  readonly stage: string;
  readonly verdict: Verdict;
  /** Digest in the evidence folder; `null` where it could not be stored. */
  readonly evidence: string | null;
}

/** What of a rollout's decision record judging needs. */
export interface RecordedRollout {
  readonly rolloutId: string;
  readonly service: string;
  readonly environment: string;
  readonly releaseName: string;
  readonly outcome: string | null;
  readonly verdicts: readonly RecordedVerdict[];
}

/** A document that can be judged, or why it can't. `other`: it is none of the three kinds, as far as its shape tells. */
export type Judgeable =
  | { readonly kind: 'record'; readonly record: RecordedRollout }
  | { readonly kind: 'input'; readonly input: JudgeInput }
  | { readonly kind: 'scenario'; readonly id: string | null; readonly scenario: ScenarioRecording }
  | { readonly kind: 'other'; readonly problem: string }
  | { readonly kind: 'faulty'; readonly problem: string };

/**
 * Reads a stored decision record, a stored question to the judge (evidence), or a scenario, whichever it is.
 *
 * @param judge judges scenarios, which name none
 */
export function parseJudgeable(document: unknown, judge: JudgeName = 'sequential'): Judgeable {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    return { kind: 'other', problem: 'not an object' };
  }
  if ('view' in document && holdsVerdicts(document.view)) return recordOf(document);
  if ('policy' in document && 'canary' in document && 'startMs' in document) return inputOf(document);
  if ('t_s' in document || ('canary' in document && 'baseline' in document)) {
    const scenario = parseScenario(document, judge);
    if ('problem' in scenario) return { kind: 'faulty', problem: scenario.problem };
    const id = 'id' in document && typeof document.id === 'string' ? document.id : null;
    return { kind: 'scenario', id, scenario };
  }
  const keys = Object.keys(document).slice(0, 5).join(', ');
  return {
    kind: 'other',
    problem: `neither a decision record (view.verdicts), nor stored evidence (policy, canary, startMs …), nor a scenario (t_s, canary, baseline); its keys: ${keys || 'none'}`,
  };
}

function holdsVerdicts(view: unknown): boolean {
  return typeof view === 'object' && view !== null && 'verdicts' in view;
}

function recordOf(document: object): Judgeable {
  const read = Record_.safeParse(document);
  if (!read.success) return { kind: 'faulty', problem: `a decision record, but ${firstProblem(read.error)}` };
  const { rolloutId, lane, releaseName, outcome, verdicts } = read.data.view;
  const recorded = verdicts.map(({ stage, verdict, evidence }) => ({ stage, verdict: verdict as Verdict, evidence }));
  return { kind: 'record', record: { rolloutId, ...lane, releaseName, outcome, verdicts: recorded } };
}

function inputOf(document: object): Judgeable {
  const read = StoredInput.safeParse(document);
  if (!read.success) return { kind: 'faulty', problem: `stored evidence, but ${firstProblem(read.error)}` };
  const { policy } = read.data;
  for (const name of ['canary', 'comparison'] as const) {
    const problem = whyUnjudged(read.data[name], name);
    if (problem !== null) return { kind: 'faulty', problem };
  }
  const input = { ...read.data, policy: completed(policy) };
  return { kind: 'input', input: input satisfies Omit<JudgeInput, 'canary' | 'comparison'> & ArmsOf };
}

/** Why the judge would refuse an arm. What it has judged once, however odd, it judges again. */
function whyUnjudged(arm: ArmSamples | null, name: 'canary' | 'comparison'): string | null {
  try {
    if (arm !== null) evidenceOf(arm, Infinity);
    return null;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const fault = arm === null ? null : sampleFault(arm, storedNames(name));
    return fault === null ? `${name}: ${error.message}` : faultText(fault);
  }
}

interface ArmsOf {
  readonly canary: ArmSamples;
  readonly comparison: ArmSamples | null;
}

function completed(policy: z.infer<typeof StoredPolicy>): AnalysisPolicy {
  const usual = defaultAnalysis(policy.scrapeIntervalMs);
  return {
    ...usual,
    ...policy,
    limits: { ...usual.limits, ...policy.limits },
    mannWhitney: { ...usual.mannWhitney, ...policy.mannWhitney },
  } as AnalysisPolicy;
}
