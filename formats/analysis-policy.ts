import { defaultAnalysis } from '../domain/canary/defaults.js';
import type {
  AnalysisPolicy,
  KayentaPolicy,
  MetricNoise,
  NoiseFloor,
  ThresholdPolicy,
} from '../domain/canary/types.js';
import type { Policy } from '../domain/policy.js';
import { kayentaMetricOf, metricPolicyOf } from './metric-policies.js';
import type { Analysis } from './slipway-schema.js';

/** What is known of samples that were taken already, where a policy to judge them by leaves it open. */
export interface Sampled {
  readonly scrapeIntervalMs: number;
  readonly compareWith: Policy['compareWith'];
  readonly noiseFloor: AnalysisPolicy['noiseFloor'];
}

/** A way to judge that somebody wrote down, for any samples. */
export type AnalysisFor = (sampled: Sampled) => AnalysisPolicy;

/**
 * The interval of samples that were taken is a fact, whatever the file says: times that are not written scale with it.
 * What was learned of the service holds too, unless the file says otherwise.
 */
export function sampledAnalysis(
  written: Analysis,
  { scrapeIntervalMs, compareWith, noiseFloor }: Sampled,
): AnalysisPolicy {
  const analysis = analysisOf({ ...written, scrapeInterval: scrapeIntervalMs }, compareWith);
  return written.noiseFloor === undefined ? { ...analysis, noiseFloor } : analysis;
}

export function analysisOf(written: Analysis, compareWith: Policy['compareWith']): AnalysisPolicy {
  const usual = defaultAnalysis(written.scrapeInterval, compareWith);
  const { limits = {}, mannWhitney = {} } = written;
  return {
    judge: written.judge ?? usual.judge,
    scrapeIntervalMs: usual.scrapeIntervalMs,
    warmUpMs: written.warmUp ?? usual.warmUpMs,
    lookEveryMs: written.lookEvery ?? usual.lookEveryMs,
    errorBudget: written.errorBudget ?? usual.errorBudget,
    minErrorIncrease: written.minErrorIncrease ?? usual.minErrorIncrease,
    minErrorRatio: written.minErrorRatio ?? usual.minErrorRatio,
    minLatencyRatio: written.minLatencyRatio ?? usual.minLatencyRatio,
    errorMargin: written.errorMargin ?? usual.errorMargin,
    latencyMargin: written.latencyMargin ?? usual.latencyMargin,
    minRequests: written.minRequests ?? usual.minRequests,
    // Without it the key is not there, as in policies that are older than it: what is judged keeps its digest.
    ...(written.earlyPromotion == null ? {} : { earlyPromotion: { afterMs: written.earlyPromotion.after } }),
    noiseFloor: written.noiseFloor === undefined ? usual.noiseFloor : noiseFloorOf(written.noiseFloor),
    limits: {
      // Null says "no limit"; only what is not written has a default.
      maxErrorRate: limits.maxErrorRate === undefined ? usual.limits.maxErrorRate : limits.maxErrorRate,
      maxP99Seconds: limits.maxP99 === undefined ? usual.limits.maxP99Seconds : inSeconds(limits.maxP99),
      catastrophicErrorRate: limits.catastrophicErrorRate ?? usual.limits.catastrophicErrorRate,
      minRequests: limits.minRequests ?? usual.limits.minRequests,
      windowMs: limits.window ?? usual.limits.windowMs,
    },
    metrics: (written.metrics ?? []).map(metricPolicyOf),
    threshold: thresholdOf(written.threshold ?? {}, usual.threshold),
    kayenta: kayentaOf(written.kayenta ?? {}, usual.kayenta),
    mannWhitney: {
      windowMs: mannWhitney.window ?? usual.mannWhitney.windowMs,
      checkEveryMs: mannWhitney.checkEvery ?? usual.mannWhitney.checkEveryMs,
      checks: mannWhitney.checks ?? usual.mannWhitney.checks,
      rollbackP: mannWhitney.rollbackP ?? usual.mannWhitney.rollbackP,
      promoteP: mannWhitney.promoteP ?? usual.mannWhitney.promoteP,
      maxErrorIncrease: mannWhitney.maxErrorIncrease ?? usual.mannWhitney.maxErrorIncrease,
      maxLatencyRatio: mannWhitney.maxLatencyRatio ?? usual.mannWhitney.maxLatencyRatio,
      minSuccessRate: mannWhitney.minSuccessRate ?? usual.mannWhitney.minSuccessRate,
    },
  };
}

function noiseFloorOf({ pairs, p99, errorRate, metrics }: NonNullable<Analysis['noiseFloor']>): NoiseFloor {
  const floor = { pairs, latencyLogSd: p99, errorLogSd: errorRate };
  if (metrics === undefined) return floor;
  const learned = Object.entries(metrics).map(([name, { pairs, ratio, difference }]): [string, MetricNoise] => [
    name,
    ratio === undefined ? { pairs, kind: 'difference', sd: difference ?? 0 } : { pairs, kind: 'ratio', sd: ratio },
  ]);
  return { ...floor, metrics: Object.fromEntries(learned) };
}

function thresholdOf(written: NonNullable<Analysis['threshold']>, usual: ThresholdPolicy): ThresholdPolicy {
  return {
    counting: written.counting ?? usual.counting,
    initialDelayMs: written.initialDelay ?? usual.initialDelayMs,
    intervalMs: written.interval ?? usual.intervalMs,
    windowMs: written.window ?? usual.windowMs,
    failureLimit: written.failureLimit ?? usual.failureLimit,
    consecutiveErrorLimit: written.consecutiveErrorLimit ?? usual.consecutiveErrorLimit,
    count: written.count ?? usual.count,
    // Null says "no limit"; only what is not written has a default.
    minSuccessRate: written.minSuccessRate === undefined ? usual.minSuccessRate : written.minSuccessRate,
    maxP99Seconds: written.maxP99 === undefined ? usual.maxP99Seconds : inSeconds(written.maxP99),
  };
}

function kayentaOf(written: NonNullable<Analysis['kayenta']>, usual: KayentaPolicy): KayentaPolicy {
  return {
    confidenceLevel: written.confidenceLevel ?? usual.confidenceLevel,
    tolerance: written.tolerance ?? usual.tolerance,
    delayMs: written.delay ?? usual.delayMs,
    intervalMs: written.interval ?? usual.intervalMs,
    stepMs: written.step ?? usual.stepMs,
    lookbackMs: written.lookback ?? usual.lookbackMs,
    passScore: written.pass ?? usual.passScore,
    marginalScore: written.marginal ?? Math.min(usual.marginalScore, written.pass ?? usual.passScore),
    metrics: written.metrics?.map(kayentaMetricOf) ?? usual.metrics,
    groupWeights: written.groupWeights ?? usual.groupWeights,
  };
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}
