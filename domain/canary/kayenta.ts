import { normalIntervalRank, normalShiftInterval } from './hodges-lehmann.js';
import { quantileOfSorted, sorted } from './median.js';
import { rankTogether, uOf } from './rank-sums.js';
import type { KayentaMetric, KayentaPolicy } from './types.js';

/**
 * The classification and the score of NetflixACAJudge-v1.0, the judge of Spinnaker's Kayenta, as pure functions. Where its
 * root finder or its noise only blur what it means to compute, this is what it means: exact ends of the interval, an exact
 * Hodges-Lehmann estimate, and no random numbers.
 */

/** What a metric is found to be. `NodataFailMetric`: without data, which it must have. */
export type KayentaLabel = 'Pass' | 'High' | 'Low' | 'Nodata' | 'NodataFailMetric';

export interface KayentaClass {
  readonly label: KayentaLabel;
  /** It makes the whole score 0. */
  readonly critical: boolean;
  /** Values of each arm after NaN and outlier handling. */
  readonly canaryN: number;
  readonly comparisonN: number;
  /** Means of these; `null` without any. */
  readonly canaryMean: number | null;
  readonly comparisonMean: number | null;
  /** The shift; `null` where it was not needed: without data, or where both arms are the same. */
  readonly shift: { readonly estimate: number; readonly lower: number; readonly upper: number } | null;
  /** By the metric's measure; `null` where it can't be had (a mean of 0), and then it is not looked at either. */
  readonly effect: number | null;
}

/** Values of both arms, one a scrape; `null` for a missing one. */
export interface KayentaValues {
  readonly canary: readonly (number | null)[];
  readonly comparison: readonly (number | null)[];
}

/**
 * Classifies one metric.
 *
 * @param detail `label`: without shift and effect where the label needs neither, which is much quicker.
 */
export function classify(
  metric: KayentaMetric,
  values: KayentaValues,
  { confidenceLevel, tolerance }: Pick<KayentaPolicy, 'confidenceLevel' | 'tolerance'>,
  detail: 'all' | 'label' = 'all',
): KayentaClass {
  // Each arm is cleaned by itself.
  const xs = cleaned(metric, values.canary);
  const ys = cleaned(metric, values.comparison);
  const sizes = {
    canaryN: xs.length,
    comparisonN: ys.length,
    canaryMean: meanOf(xs),
    comparisonMean: meanOf(ys),
  };
  const pass = { ...sizes, label: 'Pass', critical: false, shift: null, effect: null } as const;
  if (xs.length === 0 || ys.length === 0) {
    if (metric.nanStrategy === 'replace') return pass;
    const label = metric.mustHaveData && !metric.critical ? 'NodataFailMetric' : 'Nodata';
    return { ...pass, label, critical: metric.critical };
  }
  if (xs.length === ys.length && xs.every((value, i) => value === ys[i])) return pass;
  if (xs[0] === ys[0] && xs.at(-1) === ys.at(-1) && xs[0] === xs.at(-1)) return pass;
  if (detail === 'label' && holdsZero(xs, ys, confidenceLevel)) return pass;
  // Of arms that are each constant all differences are the same: that is the shift, and both ends of its interval. (There
  // Kayenta adds random noise, so that its test has something to rank.)
  const shift = normalShiftInterval(xs, ys, confidenceLevel);
  const effect = effectOf(metric, xs, ys);
  const bound = tolerance * Math.abs(shift.estimate);
  const { allowedIncrease, allowedDecrease, criticalIncrease, criticalDecrease } = metric.effect;
  const found = { ...sizes, shift, effect };
  if (metric.direction !== 'decrease' && shift.lower > bound && (effect === null || effect >= allowedIncrease)) {
    const critical = metric.critical && (effect === null || effect >= criticalIncrease);
    return { ...found, label: 'High', critical };
  }
  if (metric.direction !== 'increase' && shift.upper < -bound && (effect === null || effect <= allowedDecrease)) {
    const critical = metric.critical && (effect === null || effect <= criticalDecrease);
    return { ...found, label: 'Low', critical };
  }
  return { ...found, label: 'Pass', critical: false };
}

/** Whether the interval of the shift surely reaches over 0: by counts of differences alone, without looking for its ends. */
function holdsZero(xs: Float64Array, ys: Float64Array, level: number): boolean {
  // Differences above 0, ties half: at least so many are not below 0, and at least the others are not above it.
  const above = uOf(rankTogether(xs, ys), xs.length);
  return Math.min(above, xs.length * ys.length - above) >= normalIntervalRank(xs, ys, level);
}

/** An arm's values in ascending order, without what is missing and, where asked for, without outliers. */
function cleaned({ nanStrategy, outliers }: KayentaMetric, values: readonly (number | null)[]): Float64Array {
  const present =
    nanStrategy === 'replace' ? values.map((value) => value ?? 0) : values.filter((value) => value !== null);
  const all = sorted(present);
  if (outliers.strategy === 'keep' || all.length === 0) return all;
  const [q1, q3] = [quantileOfSorted(all, 0.25), quantileOfSorted(all, 0.75)];
  const beyond = outliers.factor * (q3 - q1);
  // Never within the middle 98 %: where most values are equal the quartiles are too, and all others would be outliers.
  const low = Math.min(quantileOfSorted(all, 0.01), q1 - beyond);
  const high = Math.max(quantileOfSorted(all, 0.99), q3 + beyond);
  return all.filter((value) => value >= low && value <= high);
}

function meanOf(values: Float64Array): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function effectOf({ effect }: KayentaMetric, xs: Float64Array, ys: Float64Array): number | null {
  if (effect.measure === 'cles') return uOf(rankTogether(xs, ys), xs.length) / (xs.length * ys.length);
  const [own, other] = [meanOf(xs), meanOf(ys)];
  return own === null || other === null || own === 0 || other === 0 ? null : own / other;
}

/** A metric with what was found of it. */
export interface Classified {
  readonly metric: KayentaMetric;
  readonly found: KayentaClass;
}

export interface GroupScore {
  readonly name: string;
  /** 0 to 100; `null`: none of its metrics has data. */
  readonly score: number | null;
  /** Percent of the summary score. */
  readonly weight: number;
}

export interface KayentaScore {
  /** 0 to 100, rounded to two decimals. */
  readonly score: number;
  readonly groups: readonly GroupScore[];
  /** Names of the critical metrics that made it 0. */
  readonly criticalFailures: readonly string[];
  /** Half of the metrics or more have no data, which made it 0. */
  readonly tooLittleData: boolean;
}

/** The summary score of all metrics. */
export function scoreOf(metrics: readonly Classified[], groupWeights: KayentaPolicy['groupWeights']): KayentaScore {
  const names = [...new Set(metrics.flatMap(({ metric }) => metric.groups))];
  const said = Object.values(groupWeights).reduce((sum, weight) => sum + weight, 0);
  const silent = names.filter((name) => !Object.hasOwn(groupWeights, name));
  const groups = names.map((name) => ({
    name,
    score: groupScore(metrics.filter(({ metric }) => metric.groups.includes(name))),
    weight: Object.hasOwn(groupWeights, name) ? groupWeights[name]! : (100 - said) / silent.length,
  }));
  const criticalFailures = metrics
    .filter(({ found }) => found.critical && found.label !== 'Pass')
    .map(({ metric }) => metric.name);
  const without = metrics.filter(({ found }) => found.label === 'Nodata').length;
  const tooLittleData = metrics.length === 0 || without >= metrics.length / 2;
  const sum = groups.reduce((sum, { score, weight }) => sum + ((score ?? 100) * weight) / 100, 0);
  // 100 times a sum of weights that are no binary fractions may fall just short of what it is.
  const rounded = Math.round(Number((100 * sum).toPrecision(12))) / 100;
  return { score: criticalFailures.length > 0 || tooLittleData ? 0 : rounded, groups, criticalFailures, tooLittleData };
}

/** The part that passed of what has data, or must have. */
function groupScore(members: readonly Classified[]): number | null {
  let passed = 0;
  let counted = 0;
  for (const { metric, found } of members) {
    if (found.label === 'Nodata') continue;
    counted += metric.weight;
    if (found.label === 'Pass') passed += metric.weight;
  }
  return counted === 0 ? null : (100 * passed) / counted;
}
