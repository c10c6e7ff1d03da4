import { z } from 'zod';
import { faultText, sampleFault } from '../domain/canary/check-samples.js';
import type { FieldNames } from '../domain/canary/check-samples.js';
import { defaultAnalysis } from '../domain/canary/defaults.js';
import type { Recording } from '../domain/canary/replay.js';
import type { ArmSamples, JudgeName } from '../domain/canary/types.js';
import { firstProblem } from './jsonl.js';

/** The stage that a scenario is judged as: its share of the rollout's error budget is all of it. */
const STAGE_MS = 15 * 60_000;

const Counter = z.array(z.number().nullable());

/** Raw counters of one arm, one value a scrape; `null` is a scrape that is missing. */
const Arm = z.object({
  requests_total: Counter,
  errors_total: Counter,
  /** Cumulative in time, as all counters, and from bucket to bucket. */
  latency_bucket_total: z.array(z.array(z.number()).nullable()).default([]),
});

/** A recorded canary of one stage, as one line of JSON. */
const Scenario = z.object({
  scrape_interval_s: z.number().positive({ error: 'must be more than 0 seconds' }),
  horizon_s: z.number().positive({ error: 'must be more than 0 seconds' }),
  /** Upper bounds of the latency buckets, ms. */
  le_ms: z.array(z.union([z.number(), z.literal('+Inf')])).default([]),
  /** `fresh`: as new as the canary; `primary`: has long been serving. */
  baseline_kind: z.enum(['fresh', 'primary']).default('fresh'),
  /** Instants of the scrapes, s since the canary was ready. */
  t_s: z.array(z.number()).min(1),
  canary: Arm,
  baseline: Arm,
});

/** A scenario as the judge sees it. */
export interface ScenarioRecording {
  readonly recording: Recording;
  /** Until when it may be looked at, ms since the start. */
  readonly horizonMs: number;
}

/** Reads a scenario, or says what is wrong with it. It is judged under the default policy of its scrape interval. */
export function parseScenario(
  document: unknown,
  judgeName: JudgeName,
): ScenarioRecording | { readonly problem: string } {
  const read = Scenario.safeParse(document);
  if (!read.success) return { problem: firstProblem(read.error) };
  const scenario = read.data;
  const armOf = (arm: z.infer<typeof Arm>): ArmSamples => ({
    timesMs: scenario.t_s.map((time) => time * 1000),
    leSeconds: scenario.le_ms.map((bound) => (bound === '+Inf' ? null : bound / 1000)),
    series: [
      {
        instance: 'all',
        requests: arm.requests_total,
        errors: arm.errors_total,
        buckets: arm.latency_bucket_total,
      },
    ],
  });
  const [canary, comparison] = [armOf(scenario.canary), armOf(scenario.baseline)];
  const fault = sampleFault(canary, fieldsOf('canary')) ?? sampleFault(comparison, fieldsOf('baseline'));
  if (fault !== null) return { problem: faultText(fault) };
  const horizonMs = scenario.horizon_s * 1000;
  const compareWith = scenario.baseline_kind === 'fresh' ? 'baseline' : 'stable';
  const policy = defaultAnalysis(scenario.scrape_interval_s * 1000, compareWith);
  return {
    horizonMs,
    recording: {
      policy: { ...policy, judge: judgeName },
      startMs: 0,
      durationMs: Math.min(STAGE_MS, horizonMs),
      budgetShare: 1,
      expectedShare: null,
      canary,
      comparison,
    },
  };
}

function fieldsOf(arm: string): FieldNames {
  return {
    times: 't_s',
    bounds: 'le_ms',
    requests: () => `${arm}.requests_total`,
    errors: () => `${arm}.errors_total`,
    buckets: () => `${arm}.latency_bucket_total`,
  };
}
