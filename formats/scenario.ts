import { z } from 'zod';
import { faultText, sampleFault } from '../domain/canary/check-samples.js';
import type { FieldNames } from '../domain/canary/check-samples.js';
import { defaultAnalysis } from '../domain/canary/defaults.js';
import type { Recording } from '../domain/canary/replay.js';
import { BUILT_IN_METRICS, DIRECTIONS } from '../domain/canary/types.js';
import type { ArmSamples, JudgeName, MetricPolicy } from '../domain/canary/types.js';
import { firstProblem } from './jsonl.js';
import { metricPolicyOf } from './metric-policies.js';

/** The stage that a scenario is judged as: its share of the rollout's error budget is all of it. */
const STAGE_MS = 15 * 60_000;
/** As many as `analysis.metrics` may have. */
const MOST_METRICS = 100;

const Counter = z.array(z.number().nullable());
const Values = z.array(z.number({ error: 'must be a number, or null where nothing was measured' }).nullable());
const METRIC_NAME = /^\S(.{0,98}\S)?$/;

/** Raw counters of one arm, one value a scrape; `null` is a scrape that is missing. */
const Arm = z.object({
  requests_total: Counter,
  errors_total: Counter,
  /** Cumulative in time, as all counters, and from bucket to bucket. */
  latency_bucket_total: z.array(z.array(z.number()).nullable()).default([]),
  /** Values of further metrics by name, one a scrape; `null` where nothing was measured. */
  metrics: z.record(z.string(), Values).default({}),
});

/** How a further metric is judged: as `analysis.metrics` of `slipway.yaml`, without a query. */
const Metric = z.strictObject({
  name: z.string(),
  direction: z.enum(DIRECTIONS).optional(),
  critical: z.boolean().optional(),
  weight: z.number().positive({ error: 'must be above 0' }).optional(),
  tolerance: z
    .union(
      [
        z.strictObject({ ratio: z.number().gt(1, { error: 'must be above 1' }) }),
        z.strictObject({ difference: z.number().nonnegative({ error: 'must be 0 or more' }) }),
      ],
      {
        error: 'write { "ratio": 1.2 }, above 1, or { "difference": 5 }, 0 or more',
      },
    )
    .optional(),
  min: z.number().optional(),
  max: z.number().optional(),
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
  /** How further metrics are judged, where the defaults of `MetricPolicy` won't do. */
  metrics: z.array(Metric).default([]),
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
    ...(Object.keys(arm.metrics).length === 0 ? {} : { values: arm.metrics }),
  });
  const [canary, comparison] = [armOf(scenario.canary), armOf(scenario.baseline)];
  const fault = sampleFault(canary, fieldsOf('canary')) ?? sampleFault(comparison, fieldsOf('baseline'));
  if (fault !== null) return { problem: faultText(fault) };
  const metrics = metricsOf(scenario);
  if ('problem' in metrics) return metrics;
  const horizonMs = scenario.horizon_s * 1000;
  const compareWith = scenario.baseline_kind === 'fresh' ? 'baseline' : 'stable';
  const policy = defaultAnalysis(scenario.scrape_interval_s * 1000, compareWith);
  return {
    horizonMs,
    recording: {
      policy: { ...policy, judge: judgeName, metrics: metrics.policies },
      startMs: 0,
      durationMs: Math.min(STAGE_MS, horizonMs),
      budgetShare: 1,
      expectedShare: null,
      canary,
      comparison,
    },
  };
}

/** How each metric is judged of which an arm has values: as it is said, or by the defaults. */
function metricsOf({
  canary,
  baseline,
  metrics,
}: z.infer<typeof Scenario>): { readonly policies: readonly MetricPolicy[] } | { readonly problem: string } {
  const known = [...new Set([...Object.keys(canary.metrics), ...Object.keys(baseline.metrics)])];
  const odd = known.find((name) => !METRIC_NAME.test(name));
  if (odd !== undefined)
    return { problem: `metrics: ${JSON.stringify(odd)} is no name; write 1 to 100 characters, no line breaks` };
  const taken = known.find((name) => (BUILT_IN_METRICS as readonly string[]).includes(name));
  if (taken !== undefined) {
    const arm = Object.hasOwn(canary.metrics, taken) ? 'canary' : 'baseline';
    return { problem: `${arm}.metrics.${taken}: ${taken} is read from the counters; give it another name` };
  }
  if (known.length > MOST_METRICS)
    return { problem: `the arms have ${known.length} metrics; give ${MOST_METRICS} at most` };
  for (const [index, { name }] of metrics.entries()) {
    const field = `metrics[${index}].name`;
    if (!known.includes(name))
      return { problem: `${field}: no arm has values of "${name}"; there are ${known.join(', ') || 'none'}` };
    if (metrics.findIndex((other) => other.name === name) < index)
      return { problem: `${field}: "${name}" is there twice; name each metric once` };
  }
  const said = new Map(metrics.map((metric) => [metric.name, metric]));
  return { policies: known.map((name) => metricPolicyOf(said.get(name) ?? { name })) };
}

function fieldsOf(arm: string): FieldNames {
  return {
    times: 't_s',
    bounds: 'le_ms',
    requests: () => `${arm}.requests_total`,
    errors: () => `${arm}.errors_total`,
    buckets: () => `${arm}.latency_bucket_total`,
    values: (metric) => `${arm}.metrics.${metric}`,
  };
}
