import { blockP99s, spread } from './compare-latency.js';
import { addPairs, stratifiedScore } from './counts.js';
import { hodgesLehmannShift } from './hodges-lehmann.js';
import { sorted } from './median.js';
import { bothArms, latencyObstacle } from './opinion.js';
import type { Recording } from './replay.js';
import { errorPair } from './series.js';
import type { Block } from './series.js';
import { stageBlocks } from './stage-blocks.js';
import type { ArmSamples, NoiseFloor } from './types.js';

/** Of fewer pairs nothing can be said. */
const MIN_PAIRS = 5;
/** Nor of the ratio of p99 of fewer blocks. */
const MIN_BLOCKS = 5;
/** With fewer events on an arm, the ratio of error rates is all chance. */
const MIN_EVENTS = 10;

/** ln of a ratio that equal arms showed, and the part of its variance that chance within the arms explains. */
interface Shown {
  readonly logRatio: number;
  readonly variance: number;
}

/**
 * Learns how far apart arms of one version are, from stages of past rollouts that were promoted and proved good, or from
 * halves of one arm (`halvesOf`): the scatter of the ratios of p99 and of error rate, less what chance within the arms
 * explains. Around 0, not around their mean: a canary that is always a little slower than what it replaces belongs to the
 * noise too. `null`: fewer than five pairs could be compared.
 */
export function learnNoiseFloor(past: readonly Recording[]): NoiseFloor | null {
  const shown = past.map(shownBy);
  const latency = shown.flatMap((pair) => pair.latency ?? []);
  const errors = shown.flatMap((pair) => pair.errors ?? []);
  const pairs = Math.max(latency.length, errors.length);
  if (pairs < MIN_PAIRS) return null;
  return { pairs, latencyLogSd: scatter(latency), errorLogSd: scatter(errors) };
}

function shownBy(recording: Recording): { readonly latency: Shown | null; readonly errors: Shown | null } {
  const { startMs, durationMs, comparison } = recording;
  if (comparison === null) return { latency: null, errors: null };
  const toMs = startMs + durationMs;
  const evidence = bothArms(recording, toMs);
  const blocks = stageBlocks(evidence, recording, toMs);
  const obstacle = latencyObstacle(evidence);
  return {
    latency: obstacle === null ? latencyShown(blocks, evidence.comparison.boundsSeconds) : null,
    errors: errorsShown(blocks),
  };
}

function latencyShown(blocks: readonly Block[], boundsSeconds: readonly number[]): Shown | null {
  const { canary, comparison, saturated } = blockP99s(blocks, boundsSeconds);
  if (canary.length < MIN_BLOCKS || saturated > 0) return null;
  const variance = (spread(canary) ** 2 + spread(comparison) ** 2) / canary.length;
  return { logRatio: hodgesLehmannShift(sorted(canary), sorted(comparison)), variance };
}

function errorsShown(blocks: readonly Block[]): Shown | null {
  const strata = blocks.map(errorPair);
  const { canaryEvents, comparisonEvents } = addPairs(strata);
  if (Math.min(canaryEvents, comparisonEvents) < MIN_EVENTS) return null;
  const { ratio, dispersion } = stratifiedScore(strata, 1);
  return { logRatio: Math.log(ratio), variance: dispersion * (1 / canaryEvents + 1 / comparisonEvents) };
}

/** The standard deviation between arms; 0 where there was nothing to see, or chance explains all of it. */
function scatter(shown: readonly Shown[]): number {
  if (shown.length < MIN_PAIRS) return 0;
  const total = shown.reduce((sum, { logRatio, variance }) => sum + logRatio ** 2 - variance, 0);
  return Math.sqrt(Math.max(0, total / shown.length));
}

/**
 * A recording of one arm against itself: its pods, every other one, against the rest; `null` with fewer than two. Each half
 * has half of the pods, so that their noise is somewhat more than that of whole arms: the floor errs on the safe side.
 */
export function halvesOf(recording: Recording): Recording | null {
  const whole = recording.comparison;
  if (whole === null || whole.series.length < 2) return null;
  const half = (rest: number): ArmSamples => ({ ...whole, series: whole.series.filter((_, i) => i % 2 === rest) });
  return { ...recording, canary: half(0), comparison: half(1) };
}
