import type { AnalysisPolicy } from './types.js';

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
