/** From what a watch tells while it looks, or has stored, to what is plotted: pure, so that it is tested without a browser. */
import { differenceInterval } from '../../domain/canary/effects.js';
import { looksOf } from '../../domain/canary/looks.js';
import { portraitOf } from '../../domain/canary/portrait.js';
import type { ArmMoment } from '../../domain/canary/portrait.js';
import type { JudgeInput } from '../../domain/canary/types.js';
import { hodgesLehmannInterval, hodgesLehmannShift } from '../../domain/canary/hodges-lehmann.js';
import type { LiveArm, LivePoint, LiveStage } from '../../domain/live.js';
import { percent, points as pointsText, seconds, times } from '../../domain/words.js';

/** A line of a plot; as long as the plot's times, null where there is nothing. */
export type Line = readonly (number | null)[];

/** Two arms over time. */
export interface ArmLines {
  readonly canary: Line;
  readonly comparison: Line;
}

/** An effect over time, of all that was seen up to each moment, with its 95 % interval. */
export interface EffectLines {
  readonly value: Line;
  readonly lower: Line;
  readonly upper: Line;
}

export interface StageLines {
  /** Seconds since the epoch, as plots have them. */
  readonly times: readonly number[];
  /** Shares, 0 to 1. */
  readonly errorRate: ArmLines;
  readonly p99Ms: ArmLines;
  /** Canary minus comparison; Newcombe's interval, as the judge's reports have it. */
  readonly errorDifference: EffectLines;
  /** Canary / comparison, from the p99 of each moment; the Hodges-Lehmann interval of their logarithms. */
  readonly p99Ratio: EffectLines;
}

/** The interval of a ratio says nothing of fewer moments than this. */
const MIN_MOMENTS = 4;

export function stageLines({ points }: Pick<LiveStage, 'points'>): StageLines {
  return {
    times: points.map(({ atMs }) => atMs / 1000),
    errorRate: arms(points, ({ requests, errors }) => (requests === 0 ? null : errors / requests)),
    p99Ms: arms(points, ({ p99Ms }) => p99Ms),
    errorDifference: errorDifference(points),
    p99Ratio: p99Ratio(points),
  };
}

function arms(points: readonly LivePoint[], value: (arm: LiveArm) => number | null): ArmLines {
  return {
    canary: points.map(({ canary }) => value(canary)),
    comparison: points.map(({ comparison }) => (comparison === null ? null : value(comparison))),
  };
}

interface EffectPoint {
  readonly value: number;
  readonly lower: number;
  readonly upper: number;
}

function lines(found: readonly (EffectPoint | null)[]): EffectLines {
  return {
    value: found.map((point) => point?.value ?? null),
    lower: found.map((point) => point?.lower ?? null),
    upper: found.map((point) => point?.upper ?? null),
  };
}

function errorDifference(points: readonly LivePoint[]): EffectLines {
  const sum = { canaryEvents: 0, canaryTotal: 0, comparisonEvents: 0, comparisonTotal: 0 };
  return lines(
    points.map(({ canary, comparison }) => {
      if (comparison === null) return null;
      sum.canaryEvents += canary.errors;
      sum.canaryTotal += canary.requests;
      sum.comparisonEvents += comparison.errors;
      sum.comparisonTotal += comparison.requests;
      if (sum.canaryTotal === 0 || sum.comparisonTotal === 0) return null;
      const value = sum.canaryEvents / sum.canaryTotal - sum.comparisonEvents / sum.comparisonTotal;
      return { value, ...differenceInterval(sum) };
    }),
  );
}

function p99Ratio(points: readonly LivePoint[]): EffectLines {
  const canary: number[] = [];
  const comparison: number[] = [];
  return lines(
    points.map((point) => {
      const [one, other] = [point.canary.p99Ms, point.comparison?.p99Ms ?? null];
      if (one !== null && one > 0) canary.push(Math.log(one));
      if (other !== null && other > 0) comparison.push(Math.log(other));
      if (canary.length < MIN_MOMENTS || comparison.length < MIN_MOMENTS) return null;
      const shift = hodgesLehmannShift(Float64Array.from(canary).toSorted(), Float64Array.from(comparison).toSorted());
      const interval = hodgesLehmannInterval(canary, comparison);
      return { value: Math.exp(shift), lower: Math.exp(interval.lower), upper: Math.exp(interval.upper) };
    }),
  );
}

/** Both arms' sums so far, in a sentence: what a plot says to whoever does not see it. */
export function errorSentence({ points }: Pick<LiveStage, 'points'>): string {
  const total = (arm: (point: LivePoint) => LiveArm | null) => {
    const seen = points.map(arm).filter((one) => one !== null);
    const requests = seen.reduce((sum, one) => sum + one.requests, 0);
    const errors = seen.reduce((sum, one) => sum + one.errors, 0);
    return requests === 0 ? 'no requests' : `${percent(errors / requests)} (${errors} of ${requests} requests)`;
  };
  const compared = points.some(({ comparison }) => comparison !== null);
  const other = compared ? `, comparison ${total(({ comparison }) => comparison)}` : '';
  return `Errors so far: canary ${total(({ canary }) => canary)}${other}.`;
}

/** The last p99 of both arms, in a sentence. */
export function p99Sentence({ p99Ms }: Pick<StageLines, 'p99Ms'>): string {
  const last = (line: Line): string => {
    const value = line.findLast((one) => one !== null);
    return value == null ? 'not known' : seconds(value / 1000);
  };
  const compared = p99Ms.comparison.some((value) => value !== null);
  return `p99 now: canary ${last(p99Ms.canary)}${compared ? `, comparison ${last(p99Ms.comparison)}` : ''}.`;
}

/** The effect so far with its interval, in a sentence; null where there is none yet. */
export function effectSentence(effect: EffectLines, kind: 'difference' | 'ratio'): string | null {
  const at = effect.value.findLastIndex((value) => value !== null);
  const [value, lower, upper] = [effect.value[at], effect.lower[at], effect.upper[at]];
  if (value == null || lower == null || upper == null) return null;
  if (kind === 'ratio')
    return `${times(value)}, 95 % interval ${times(lower).replace(' times', '')} to ${times(upper)}`;
  const signed = (share: number): string => `${share > 0 ? '+' : ''}${pointsText(share)}`;
  return `${signed(value)}, 95 % interval ${signed(lower).replace(' points', '')} to ${signed(upper)}`;
}

/** What a watch had seen when its verdict fell, from the samples that it has stored. */
export function stageOf({ atMs, ...recording }: JudgeInput, stage: string): LiveStage {
  const arm = ({ requests, errorRate, p99 }: ArmMoment): LiveArm => ({
    requests,
    errors: Math.round((errorRate ?? 0) * requests),
    p99Ms: p99 === null ? null : 1000 * p99.seconds,
  });
  return {
    stage,
    startMs: recording.startMs,
    durationMs: recording.durationMs,
    points: portraitOf(recording, atMs).moments.map(({ toMs, canary, comparison }) => ({
      atMs: toMs,
      canary: arm(canary),
      comparison: comparison === null ? null : arm(comparison),
    })),
    looks: looksOf(recording, atMs).map(({ atMs: lookMs, verdict }) => ({
      atMs: lookMs,
      kind: verdict.kind,
      summary: verdict.summary,
    })),
  };
}
