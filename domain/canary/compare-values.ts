import { PROMOTION_BUDGET, PROOF_AT_END } from './early-promotion.js';
import type { Proof } from './early-promotion.js';
import { hodgesLehmannInterval, hodgesLehmannShift } from './hodges-lehmann.js';
import { rankTestOfSorted, smallestMannWhitneyP } from './mann-whitney.js';
import { medianOfSorted, sorted, spread } from './median.js';
import { normalCdf, normalQuantile } from './normal.js';
import type { ArmHistory, Block, Measured } from './series.js';
import type { Evidence } from './opinion.js';
import type { Direction, MetricFinding, MetricPolicy, Tolerance, VerdictKind } from './types.js';
import { amount, apart, plural, probability, times } from '../words.js';

/**
 * The null hypothesis of a rollback is a change by this part of the tolerance: with latencies it is 1.12 times for a limit
 * of 1.18 times. At the whole tolerance a change just beyond it could hardly ever be seen.
 */
const NULL_PART = 2 / 3;

/**
 * Up to so many values of both arms together p is exact. Gauges are full of ties, of which the exact distribution takes
 * long to count, and there may be many metrics to look at every few seconds.
 */
const EXACT_UP_TO = 60;

/** Values that follow each other more closely than this are as good as one value. */
const HIGHEST_CORRELATION = 0.95;
/** Smaller probabilities have no z that a double can tell. */
const SMALLEST_P = 1e-300;

/** The values of both arms over one window. */
interface Samples {
  readonly canary: readonly number[];
  readonly comparison: readonly number[];
  /** The same in ascending order. */
  readonly ordered: { readonly canary: Float64Array; readonly comparison: Float64Array };
}

/**
 * A further metric of both arms over blocks of one window (`where` says which, as "over the last 5 min"): one value a block,
 * the mean of what was measured in it, so that values that share their data count once. ROLLBACK: worse by two thirds of the
 * tolerance beyond chance, and typically by the whole of it. PROMOTE: worse by less than the tolerance beyond chance. HOLD
 * where that can't be said, or not asked. Values that follow each other closely, as gauges do, count for fewer.
 */
export function compareValues(
  metric: MetricPolicy,
  evidence: Evidence,
  blocks: readonly Block[],
  alpha: number,
  where: string,
  proof = PROOF_AT_END,
): MetricFinding {
  const samples = blockValues(metric.name, evidence, blocks);
  const problem = missingValues(metric.name, evidence) ?? obstacle(metric, samples, where);
  if (problem !== null) return valuesNotJudged(metric, problem);
  const sides = metric.direction === 'either' ? (['increase', 'decrease'] as const) : [metric.direction];
  // Of two sides each may spend half, and both must be good enough for a PROMOTE.
  const found = sides.map((side) => oneSide(metric, samples, side, alpha / sides.length, proof));
  const worst = found.reduce((worst, one) => (RANK[one.verdict] > RANK[worst.verdict] ? one : worst));
  const [own, other] = [medianOfSorted(samples.ordered.canary), medianOfSorted(samples.ordered.comparison)];
  const n = samples.canary.length;
  return {
    metric: metric.name,
    verdict: worst.verdict,
    canary: own,
    comparison: other,
    unit: 'value',
    canaryN: n,
    comparisonN: n,
    test: 'mann-whitney',
    statistic: worst.u,
    p: worst.p,
    alpha: worst.alpha,
    effect: metric.tolerance.kind === 'difference' ? own - other : other === 0 ? null : own / other,
    threshold: metric.tolerance.kind === 'difference' ? metric.tolerance.difference : metric.tolerance.ratio,
    why:
      `Metric ${metric.name}${standing(metric)}: ${apart(amount, own, other).join(' against ')} ${where} (${plural(n, 'block')} each, ` +
      `p = ${probability(worst.p)}): ${worst.reason}.`,
    ...advice(metric),
  };
}

const RANK: Readonly<Record<VerdictKind, number>> = { PROMOTE: 0, HOLD: 1, ROLLBACK: 2 };

/**
 * Whether a window has blocks enough for the test of a further metric to show that it is within its tolerance, were there
 * values in each of them. In a short window of long blocks, as low traffic asks for, it never could.
 */
export function canShowValues(blocks: readonly Block[]): boolean {
  return blocks.length > 0 && smallestMannWhitneyP(blocks.length, blocks.length) < PROMOTION_BUDGET;
}

/** Whether any of these blocks has values of the metric on both arms. */
export function hasValues(metric: string, evidence: Evidence, blocks: readonly Block[]): boolean {
  return blockValues(metric, evidence, blocks).canary.length > 0;
}

/** The mark of a metric whose verdict is shown and not followed. */
export function advice({ critical }: MetricPolicy): { readonly advisory?: true } {
  return critical ? {} : { advisory: true };
}

/** What is said of a metric beside its name. */
export function standing({ critical }: MetricPolicy): string {
  return critical ? '' : ' (advisory)';
}

/** Why a metric can't be compared at all, as one arm has no values of it; `null` where both have. */
export function missingValues(name: string, { canary, comparison }: Evidence): string | null {
  const has = [canary, comparison].map(({ values }) => (values.get(name) ?? []).length > 0);
  if (has[0] === true && has[1] === true) return null;
  const known = [...new Set([...canary.values.keys(), ...comparison.values.keys()])];
  const arms = has[0] === true ? 'the comparison' : has[1] === true ? 'the canary' : 'either arm';
  const others = known.includes(name) || known.length === 0 ? '' : `; there are values of ${known.join(', ')}`;
  return `metric ${name}: no values on ${arms}${others}`;
}

/** A finding without numbers, which stands in the way of a PROMOTE unless the metric is advisory. */
export function valuesNotJudged(metric: MetricPolicy, problem: string): MetricFinding {
  const none = { canary: null, comparison: null, canaryN: 0, comparisonN: 0, statistic: null, p: null, alpha: null };
  return {
    metric: metric.name,
    verdict: 'HOLD',
    ...none,
    unit: 'value',
    test: 'none',
    effect: null,
    threshold: null,
    why: `${problem[0]!.toUpperCase()}${problem.slice(1)}.`,
    ...advice(metric),
  };
}

/**
 * How far apart the values of both arms are, as the metric's tolerance has it: a ratio, or a difference in its own unit.
 * The Hodges-Lehmann estimate and its 95 % interval (of the logarithms, for a ratio), widened as the tests are where values
 * follow each other closely. `null` where no ratio can be told, or no block has values of both arms.
 */
export function valuesApart(metric: MetricPolicy, evidence: Evidence, blocks: readonly Block[]): Apart | null {
  const shift = shiftOf(metric, evidence, blocks);
  if (shift === null) return null;
  const { x, y, wide, isRatio, value: middle } = shift;
  const { lower, upper, level } = hodgesLehmannInterval(x, y);
  // So few blocks can't bound it: all their differences together are less sure than that.
  if (level < 0.95) return null;
  const ends = [middle, middle + wide * (lower - middle), middle + wide * (upper - middle)] as const;
  const [value, from, to] = isRatio ? ends.map(Math.exp) : ends;
  return { kind: isRatio ? 'ratio' : 'difference', value: value!, lower: from!, upper: to! };
}

/** See `valuesApart`. */
export interface Apart {
  readonly kind: Tolerance['kind'];
  readonly value: number;
  readonly lower: number;
  readonly upper: number;
}

/** The shift between the arms' values, or between their logarithms. */
interface Shift {
  /** The blocks' values of the canary and of the comparison, or their logarithms. */
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly isRatio: boolean;
  /** The Hodges-Lehmann estimate. */
  readonly value: number;
  /** By how much its standard error is larger than that of independent values. */
  readonly wide: number;
}

function shiftOf(
  { name, tolerance }: Pick<MetricPolicy, 'name' | 'tolerance'>,
  evidence: Evidence,
  blocks: readonly Block[],
): Shift | null {
  const { canary, comparison } = blockValues(name, evidence, blocks);
  const isRatio = tolerance.kind === 'ratio';
  if (canary.length === 0 || (isRatio && ![...canary, ...comparison].every((value) => value > 0))) return null;
  const scaled = (values: readonly number[]) => (isRatio ? values.map(Math.log) : values);
  const [x, y] = [scaled(canary), scaled(comparison)];
  const correlation = correlationBetween(canary, comparison);
  const wide = Math.sqrt((1 + correlation) / (1 - correlation));
  return { x, y, isRatio, value: hodgesLehmannShift(sorted(x), sorted(y)), wide };
}

/**
 * What equal arms showed of a metric: how far apart they were (of the logarithms, where the tolerance is a ratio), and the
 * part of its variance that chance within the arms explains. `null` where it can't be told.
 */
export function valuesShown(
  metric: Pick<MetricPolicy, 'name' | 'tolerance'>,
  evidence: Evidence,
  blocks: readonly Block[],
): { readonly apart: number; readonly variance: number; readonly blocks: number } | null {
  const shift = shiftOf(metric, evidence, blocks);
  if (shift === null) return null;
  const { x, y, wide, value } = shift;
  return { apart: value, variance: (wide ** 2 * (spread(x) ** 2 + spread(y) ** 2)) / x.length, blocks: x.length };
}

/** The mean of a further metric in each block; `null` where nothing was measured. */
export function metricOver(name: string, arm: ArmHistory, blocks: readonly Block[]): readonly (number | null)[] {
  return blockMeans(arm.values.get(name) ?? [], blocks);
}

/** One value a block and arm, of the blocks in which both arms were measured. */
function blockValues(name: string, evidence: Evidence, blocks: readonly Block[]): Samples {
  const own = metricOver(name, evidence.canary, blocks);
  const other = metricOver(name, evidence.comparison, blocks);
  const canary: number[] = [];
  const comparison: number[] = [];
  for (const [i, value] of own.entries()) {
    const beside = other[i] ?? null;
    if (value === null || beside === null) continue;
    canary.push(value);
    comparison.push(beside);
  }
  return { canary, comparison, ordered: { canary: sorted(canary), comparison: sorted(comparison) } };
}

/** The mean of what was measured in each block; `null` for nothing. One walk over both, which are in order of time. */
function blockMeans(measured: readonly Measured[], blocks: readonly Block[]): readonly (number | null)[] {
  let next = 0;
  return blocks.map(({ fromMs, toMs }) => {
    while (next < measured.length && measured[next]!.atMs <= fromMs) next++;
    let sum = 0;
    let count = 0;
    for (; next < measured.length && measured[next]!.atMs <= toMs; next++) {
      sum += measured[next]!.value;
      count++;
    }
    return count === 0 ? null : sum / count;
  });
}

function obstacle(
  { name, tolerance }: MetricPolicy,
  { canary, comparison, ordered }: Samples,
  where: string,
): string | null {
  const n = canary.length;
  if (n === 0) return `metric ${name}: no values on both arms at the same time ${where}`;
  const smallest = smallestMannWhitneyP(n, n);
  if (smallest >= PROMOTION_BUDGET) {
    let needed = n;
    while (smallestMannWhitneyP(needed, needed) >= PROMOTION_BUDGET) needed++;
    return `metric ${name}: ${plural(n, 'block')} with values on both arms ${where}, and ${plural(needed - n, 'more block')} needed`;
  }
  if (tolerance.kind === 'difference') return null;
  const all = [...canary, ...comparison];
  const negative = all.find((value) => value < 0);
  const remedy = 'give its tolerance as a difference';
  if (negative !== undefined)
    return `metric ${name}: ${amount(negative)} is below 0, where ratios say nothing; ${remedy}`;
  if (medianOfSorted(ordered.comparison) === 0 && all.some((value) => value !== 0))
    return `metric ${name}: the comparison is at 0, of which no ratio can be told; ${remedy}`;
  return null;
}

interface Side {
  readonly verdict: VerdictKind;
  readonly u: number;
  readonly p: number;
  readonly alpha: number;
  readonly reason: string;
}

function oneSide(
  { tolerance }: MetricPolicy,
  { canary, comparison, ordered }: Samples,
  side: Exclude<Direction, 'either'>,
  alpha: number,
  proof: Proof,
): Side {
  // Moving keeps the order: it multiplies values that are not below 0, or adds.
  const shifted = (part: number) => ordered.comparison.map(mover(tolerance, side, part));
  const [worseSide, betterSide] = side === 'increase' ? (['greater', 'less'] as const) : (['less', 'greater'] as const);
  const method = canary.length + comparison.length <= EXACT_UP_TO ? 'exact' : 'asymptotic';
  const correlation = correlationBetween(canary, comparison);
  const test = (part: number, alternative: 'greater' | 'less') => {
    const found = rankTestOfSorted(ordered.canary, shifted(part), alternative, method);
    return { ...found, p: widened(found.p, correlation) };
  };
  const worse = test(NULL_PART, worseSide);
  const whole = test(1, betterSide);
  // Half of the pairs or more are apart by the whole tolerance, so the median of their differences is.
  const matters = side === 'increase' ? whole.u1 >= whole.u2 : whole.u1 <= whole.u2;
  // Arms that are both at 0 all the time are alike, and no ratio moves 0.
  const same = [...canary, ...comparison].every((value) => value === canary[0]);
  const values = { u: worse.u1, p: worse.p, alpha };
  const limit = limitText(tolerance, side);
  if (worse.p < alpha && matters && !same)
    return {
      ...values,
      verdict: 'ROLLBACK',
      reason: `at or beyond the limit of ${limit}, and p is below ${probability(alpha)}`,
    };
  // So few of them could as well be the same by chance.
  if (same && smallestMannWhitneyP(canary.length, comparison.length) < proof.p)
    return { ...values, verdict: 'PROMOTE', reason: 'all values are the same' };
  if (whole.p < proof.p)
    return {
      ...values,
      verdict: 'PROMOTE',
      reason: `within the limit; ${limit} would have been seen (p = ${probability(whole.p)})`,
    };
  const reason = matters
    ? `at or beyond the limit of ${limit}, but p is not below ${probability(alpha)}`
    : `${limit} can't be ruled out yet (p = ${probability(whole.p)})`;
  return { ...values, verdict: 'HOLD', reason };
}

/** How closely values follow each other, on average over both arms; 0 where they alternate, which is no reason for more trust. */
function correlationBetween(canary: readonly number[], comparison: readonly number[]): number {
  return Math.max(0, (correlationOf(canary) + correlationOf(comparison)) / 2);
}

/**
 * How closely a value follows the one before it, -1 to 1: the correlation of neighbours, with what it is too low by in short
 * series (Kendall, 1954). 0 where all values are the same.
 */
function correlationOf(values: readonly number[]): number {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  if (squares === 0) return 0;
  const products = values.slice(1).reduce((sum, value, i) => sum + (value - mean) * (values[i]! - mean), 0);
  const r = products / squares;
  return Math.min(HIGHEST_CORRELATION, r + (1 + 3 * r) / n);
}

/** The p of a test whose variance is (1 + r) / (1 - r) times as large: gauges drift, and n of their values are not n. */
function widened(p: number, correlation: number): number {
  if (correlation === 0 || p >= 0.5) return p;
  const z = normalQuantile(Math.max(SMALLEST_P, p));
  return normalCdf(z * Math.sqrt((1 - correlation) / (1 + correlation)));
}

/** Makes a value worse by a part of the tolerance. */
function mover(tolerance: Tolerance, side: Exclude<Direction, 'either'>, part: number): (value: number) => number {
  const sign = side === 'increase' ? 1 : -1;
  if (tolerance.kind === 'difference') {
    const by = sign * part * tolerance.difference;
    return (value) => value + by;
  }
  const by = tolerance.ratio ** (sign * part);
  return (value) => value * by;
}

function limitText(tolerance: Tolerance, side: Exclude<Direction, 'either'>): string {
  if (tolerance.kind === 'difference')
    return `${amount(tolerance.difference)} ${side === 'increase' ? 'more' : 'less'} than the comparison`;
  return `${times(side === 'increase' ? tolerance.ratio : 1 / tolerance.ratio)} the comparison`;
}
