import { metricOver } from './compare-values.js';
import { furtherMetrics } from './defaults.js';
import { latencyObstacle } from './opinion.js';
import { blocksOf, evidenceOf, histogramQuantile, histogramWithin } from './series.js';
import type { ArmBlock, ArmHistory, Histogram, Quantile } from './series.js';
import { stageBlocks } from './stage-blocks.js';
import type { Recording } from './replay.js';

/** An arm over one stretch of time. */
export interface ArmMoment {
  readonly requests: number;
  /** Share of failed requests, 0 to 1; `null` without requests. */
  readonly errorRate: number | null;
  /** `null` without a histogram, or without observations. */
  readonly p99: Quantile | null;
  /** Mean of each further metric of the policy; `null` where nothing was measured. */
  readonly metrics: ReadonlyMap<string, number | null>;
}

/** Both arms over one stretch of time; ms since the epoch. */
export interface Moment {
  readonly fromMs: number;
  readonly toMs: number;
  readonly canary: ArmMoment;
  readonly comparison: ArmMoment | null;
}

/** How the requests of each arm since the warm-up fell into the latency buckets: shares of 0 to 1, as in `boundsSeconds`, then +Inf. */
export interface LatencyShares {
  readonly boundsSeconds: readonly number[];
  readonly canary: readonly number[];
  readonly comparison: readonly number[] | null;
}

/** A recording as a plot shows it. */
export interface Portrait {
  readonly moments: readonly Moment[];
  readonly latency: LatencyShares | null;
}

/** More points than this can't be told apart on a screen. */
const MOST_MOMENTS = 90;

/**
 * Error rate and p99 of both arms over time, from the start (warm-up included) to `untilMs`, over blocks that are as
 * short as the judge's own or longer, and where the latencies fell.
 *
 * @throws RangeError when samples are malformed.
 */
export function portraitOf(recording: Recording, untilMs: number): Portrait {
  const { policy, startMs } = recording;
  const { scrapeIntervalMs } = policy;
  const canary = evidenceOf(recording.canary, untilMs);
  const comparison = recording.comparison === null ? null : evidenceOf(recording.comparison, untilMs);
  const other = comparison ?? canary;
  const input = { ...recording, atMs: untilMs };
  const [first] = untilMs > startMs + policy.warmUpMs ? stageBlocks({ canary, comparison: other }, input, untilMs) : [];
  const judgedMs = first === undefined ? scrapeIntervalMs : first.toMs - first.fromMs;
  const longestMs = Math.ceil((untilMs - startMs) / MOST_MOMENTS / scrapeIntervalMs) * scrapeIntervalMs;
  const blockMs = Math.max(scrapeIntervalMs, Math.ceil(judgedMs / scrapeIntervalMs) * scrapeIntervalMs, longestMs);
  const blocks = blocksOf(canary, other, { fromMs: startMs, toMs: untilMs, blockMs, scrapeIntervalMs });
  const names = furtherMetrics(policy).map(({ name }) => name);
  const valuesOf = (arm: ArmHistory) => {
    const means = new Map(names.map((name) => [name, metricOver(name, arm, blocks)]));
    return (i: number) => new Map(names.map((name) => [name, means.get(name)?.[i] ?? null]));
  };
  const [ownValues, otherValues] = [valuesOf(canary), valuesOf(other)];
  const moments = blocks.map((block, i) => ({
    fromMs: block.fromMs,
    toMs: block.toMs,
    canary: momentOf(block.canary, canary.boundsSeconds, ownValues(i)),
    comparison: comparison === null ? null : momentOf(block.comparison, comparison.boundsSeconds, otherValues(i)),
  }));
  const fromMs = startMs + policy.warmUpMs;
  const own = histogramWithin(canary, fromMs, untilMs, fromMs);
  const others = comparison === null ? null : histogramWithin(comparison, fromMs, untilMs, fromMs);
  const comparable = comparison !== null && latencyObstacle({ canary, comparison }) === null;
  return {
    moments,
    latency:
      own === null
        ? null
        : {
            boundsSeconds: canary.boundsSeconds,
            canary: sharesIn(own),
            comparison: others === null || !comparable ? null : sharesIn(others),
          },
  };
}

function momentOf(arm: ArmBlock, boundsSeconds: readonly number[], metrics: ArmMoment['metrics']): ArmMoment {
  return {
    requests: arm.requests,
    errorRate: arm.requests === 0 ? null : arm.errors / arm.requests,
    p99: arm.histogram === null ? null : histogramQuantile(0.99, boundsSeconds, arm.histogram),
    metrics,
  };
}

/** Cumulative counts as the share in each bucket. */
function sharesIn(histogram: Histogram): readonly number[] {
  const total = histogram.at(-1) ?? 0;
  return histogram.map((value, i) => (total === 0 ? 0 : (value - (histogram[i - 1] ?? 0)) / total));
}
