import { BUILT_IN_METRICS } from './types.js';
import type { AnalysisPolicy, KayentaMetric, MetricPolicy } from './types.js';

/** Scrapes that are left out as warm-up; a comparison that is long warm does not share the canary's cold start. */
const WARM_UP_SCRAPES = { baseline: 4, stable: 8 } as const;

/**
 * The analysis policy that counts where nothing else is said: the defaults that `types.ts` names, for samples that come
 * every `scrapeIntervalMs`.
 *
 * @param compareWith `baseline`: a fresh copy, as cold as the canary; `stable`: what has long been serving.
 * @throws RangeError when the interval is not a positive number.
 */
export function defaultAnalysis(
  scrapeIntervalMs = 15_000,
  compareWith: keyof typeof WARM_UP_SCRAPES = 'baseline',
): AnalysisPolicy {
  if (!(scrapeIntervalMs > 0 && Number.isFinite(scrapeIntervalMs))) {
    throw new RangeError(`the scrape interval must be a positive number of ms, not ${scrapeIntervalMs}`);
  }
  return {
    judge: 'sequential',
    scrapeIntervalMs,
    warmUpMs: WARM_UP_SCRAPES[compareWith] * scrapeIntervalMs,
    lookEveryMs: 4 * scrapeIntervalMs,
    errorBudget: 0.01,
    minErrorIncrease: 0.002,
    minErrorRatio: 1.4,
    minLatencyRatio: 1.18,
    errorMargin: 0.004,
    latencyMargin: 1.2,
    minRequests: 100,
    noiseFloor: null,
    limits: {
      maxErrorRate: null,
      maxP99Seconds: null,
      catastrophicErrorRate: 0.5,
      minRequests: 20,
      windowMs: Math.max(2 * scrapeIntervalMs, 5_000),
    },
    metrics: [],
    threshold: {
      counting: 'flagger',
      initialDelayMs: 0,
      intervalMs: 60_000,
      windowMs: 60_000,
      failureLimit: 5,
      consecutiveErrorLimit: 4,
      count: null,
      minSuccessRate: 0.99,
      maxP99Seconds: 0.5,
    },
    kayenta: {
      confidenceLevel: 0.98,
      tolerance: 0.25,
      delayMs: 0,
      intervalMs: 300_000,
      stepMs: null,
      lookbackMs: null,
      passScore: 95,
      marginalScore: 75,
      metrics: BUILT_IN_METRICS.map((name) => ({ ...kayentaMetric(name), direction: 'increase' })),
      groupWeights: {},
    },
    mannWhitney: {
      windowMs: 900_000,
      checkEveryMs: 300_000,
      checks: 3,
      rollbackP: 0.05,
      promoteP: 0.3,
      maxErrorIncrease: 0.05,
      maxLatencyRatio: 1.3,
      minSuccessRate: 0.995,
    },
  };
}

/** The further metrics of a policy: none where it is of a record that is older than they are. */
export function furtherMetrics({
  metrics,
}: {
  readonly metrics?: AnalysisPolicy['metrics'];
}): AnalysisPolicy['metrics'] {
  return metrics ?? [];
}

/** A further metric of which only the name is said. */
export function metricPolicy(name: string): MetricPolicy {
  const tolerance = { kind: 'ratio', ratio: 1.2 } as const;
  return { name, direction: 'increase', critical: true, weight: 1, tolerance, min: null, max: null };
}

/** Effects of `kayenta` from which a change counts, where nothing is said: from any change on. */
const NO_EFFECT = { meanRatio: 1, cles: 0.5 } as const;

/** The effects that a metric of `kayenta` must reach where nothing is said: none. */
export function kayentaEffect(measure: KayentaMetric['effect']['measure'] = 'meanRatio'): KayentaMetric['effect'] {
  const none = NO_EFFECT[measure];
  return {
    measure,
    allowedIncrease: none,
    allowedDecrease: none,
    criticalIncrease: none,
    criticalDecrease: none,
  };
}

/** A metric of `kayenta` of which only the name is said, with Kayenta's own defaults. */
export function kayentaMetric(name: string): KayentaMetric {
  return {
    name,
    groups: ['all'],
    weight: 1,
    direction: 'either',
    critical: false,
    mustHaveData: false,
    nanStrategy: 'remove',
    outliers: { strategy: 'keep', factor: 3 },
    effect: kayentaEffect(),
  };
}
