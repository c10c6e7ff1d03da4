import { blockP99s } from './compare-latency.js';
import { valuesShown } from './compare-values.js';
import { addPairs, stratifiedScore } from './counts.js';
import { hodgesLehmannShift } from './hodges-lehmann.js';
import { furtherMetrics } from './defaults.js';
import { sorted, spread } from './median.js';
import { bothArms, latencyObstacle } from './opinion.js';
import type { Recording } from './replay.js';
import { errorPair } from './series.js';
import type { Block } from './series.js';
import { stageBlocks } from './stage-blocks.js';
import type { ArmSamples, MetricNoise, MetricPolicy, NoiseFloor } from './types.js';

/** Of fewer pairs nothing can be said. */
const MIN_PAIRS = 5;
/** Nor of the ratio of p99 of fewer blocks. */
const MIN_BLOCKS = 5;
/** With fewer events on an arm, the ratio of error rates is all chance. */
const MIN_EVENTS = 10;

/** How far apart equal arms were (ln of a ratio, or a difference), and the part of its variance that chance within the arms explains. */
interface Shown {
  readonly apart: number;
  readonly variance: number;
}

/**
 * Learns how far apart arms of one version are, from stages of past rollouts that were promoted and proved good, or from
 * halves of one arm (`halvesOf`): the scatter of the ratios of p99 and of error rate, and of each further metric of the
 * latest stage, less what chance within the arms explains. Around 0, not around their mean: a canary that is always a little slower than what it replaces belongs to the
 * noise too. `null`: fewer than five pairs could be compared.
 */
export function learnNoiseFloor(past: readonly Recording[]): NoiseFloor | null {
  const shown = past.map(shownBy);
  const latency = shown.flatMap((pair) => pair.latency ?? []);
  const errors = shown.flatMap((pair) => pair.errors ?? []);
  const metrics = metricNoise(past, shown);
  // Both are widened for so few pairs: by the smaller number, or one that was seldom seen would pass for well known.
  const known = [latency.length, errors.length].filter((pairs) => pairs >= MIN_PAIRS);
  const others = Object.values(metrics).map((noise) => noise.pairs);
  if (known.length + others.length === 0) return null;
  const pairs = Math.min(...(known.length > 0 ? known : others));
  const floor = { pairs, latencyLogSd: scatter(latency), errorLogSd: scatter(errors) };
  return Object.keys(metrics).length === 0 ? floor : { ...floor, metrics };
}

/** What stages of past rollouts say of each further metric that the latest of them was judged by. */
function metricNoise(past: readonly Recording[], shown: readonly ShownBy[]): Readonly<Record<string, MetricNoise>> {
  const latest = past.findLast(({ policy }) => furtherMetrics(policy).length > 0);
  const learned = (latest === undefined ? [] : furtherMetrics(latest.policy)).flatMap(({ name, tolerance }) => {
    const pairs = shown.flatMap(({ metric }) => metric({ name, tolerance }) ?? []);
    if (pairs.length < MIN_PAIRS) return [];
    return [[name, { pairs: pairs.length, kind: tolerance.kind, sd: scatter(pairs) }] as const];
  });
  return Object.fromEntries(learned);
}

interface ShownBy {
  readonly latency: Shown | null;
  readonly errors: Shown | null;
  readonly metric: (metric: Pick<MetricPolicy, 'name' | 'tolerance'>) => Shown | null;
}

function shownBy(recording: Recording): ShownBy {
  const { startMs, durationMs, comparison } = recording;
  if (comparison === null) return { latency: null, errors: null, metric: () => null };
  const toMs = startMs + durationMs;
  const evidence = bothArms(recording, toMs);
  const blocks = stageBlocks(evidence, recording, toMs);
  const obstacle = latencyObstacle(evidence);
  return {
    latency: obstacle === null ? latencyShown(blocks, evidence.comparison.boundsSeconds) : null,
    errors: errorsShown(blocks),
    metric: (metric) => {
      const found = valuesShown(metric, evidence, blocks);
      return found === null || found.blocks < MIN_BLOCKS ? null : found;
    },
  };
}

function latencyShown(blocks: readonly Block[], boundsSeconds: readonly number[]): Shown | null {
  const { canary, comparison, saturated } = blockP99s(blocks, boundsSeconds);
  if (canary.length < MIN_BLOCKS || saturated > 0) return null;
  const variance = (spread(canary) ** 2 + spread(comparison) ** 2) / canary.length;
  return { apart: hodgesLehmannShift(sorted(canary), sorted(comparison)), variance };
}

function errorsShown(blocks: readonly Block[]): Shown | null {
  const strata = blocks.map(errorPair);
  const { canaryEvents, comparisonEvents } = addPairs(strata);
  if (Math.min(canaryEvents, comparisonEvents) < MIN_EVENTS) return null;
  const { ratio, dispersion } = stratifiedScore(strata, 1);
  return { apart: Math.log(ratio), variance: dispersion * (1 / canaryEvents + 1 / comparisonEvents) };
}

/** The standard deviation between arms; 0 where there was nothing to see, or chance explains all of it. */
function scatter(shown: readonly Shown[]): number {
  if (shown.length < MIN_PAIRS) return 0;
  const total = shown.reduce((sum, { apart, variance }) => sum + apart ** 2 - variance, 0);
  return Math.sqrt(Math.max(0, total / shown.length));
}

/**
 * A recording of one arm against itself: its pods, every other one, against the rest; `null` with fewer than two. Each half
 * has half of the pods, so that their noise is somewhat more than that of whole arms: the floor errs on the safe side.
 * Further metrics are of an arm as a whole: of its halves they say nothing, and are left out.
 */
export function halvesOf(recording: Recording): Recording | null {
  const whole = recording.comparison;
  if (whole === null || whole.series.length < 2) return null;
  const { values: _, ...counters } = whole;
  const half = (rest: number): ArmSamples => ({ ...counters, series: whole.series.filter((_, i) => i % 2 === rest) });
  return { ...recording, canary: half(0), comparison: half(1) };
}
