import { medianOfSorted, midpoint, sorted } from './median.js';
import { normalCdf, normalQuantile } from './normal.js';
import { lowerTailOfU, rankTogether } from './rank-sums.js';

/** Up to so many values in both samples together the distribution of U is counted, above it is taken as normal. */
const EXACT_UP_TO = 100;

/** So few differences are sorted rather than counted. */
const SORT_UP_TO = 2000;

/** An interval of the shift between two samples, in their unit. */
export interface ShiftInterval {
  readonly lower: number;
  readonly upper: number;
  /**
   * The confidence that it truly has, 0 to 1: at least the one asked for, unless the samples are so small that even all
   * differences don't reach it.
   */
  readonly level: number;
}

/**
 * The Hodges-Lehmann shift: the median of all differences x - y, without listing them: there may be hundreds of
 * millions. Exact: no root finder, no tolerance. Both samples must ascend.
 */
export function hodgesLehmannShift(xs: Float64Array, ys: Float64Array): number {
  const pairs = xs.length * ys.length;
  const lower = smallestDifference(xs, ys, Math.ceil(pairs / 2));
  if (pairs % 2 === 1 || differencesUpTo(xs, ys, lower) > pairs / 2) return lower;
  return midpoint(lower, nextDifference(xs, ys, lower));
}

/**
 * The confidence interval of the Hodges-Lehmann shift (Moses; Hollander and Wolfe, section 4.3): from the k-th smallest
 * to the k-th largest difference x - y, with the largest k for which P(U < k) is at most (1 - level) / 2. With ties it
 * is conservative. Up to 100 values in both samples together P is exact, above it is normal with continuity correction.
 *
 * @param level confidence, between 0 and 1
 * @throws RangeError when a sample is empty, holds a value that is not finite, or the level is not between 0 and 1.
 */
export function hodgesLehmannInterval(x: readonly number[], y: readonly number[], level = 0.95): ShiftInterval {
  if (!(level > 0 && level < 1)) throw new RangeError(`a confidence level is between 0 and 1, not ${level}`);
  if (x.length === 0 || y.length === 0 || ![...x, ...y].every(Number.isFinite))
    throw new RangeError('the interval of a shift needs two samples of finite numbers');
  const [xs, ys] = [sorted(x), sorted(y)];
  const pairs = xs.length * ys.length;
  const below = tailBelow(xs.length, ys.length);
  // Halving, as the tail rises with k. P(U < 1) may already be too much: then the interval is of all differences.
  let k = 1;
  for (let end = Math.floor(pairs / 2) + 1; end - k > 1;) {
    const middle = (k + end) >> 1;
    if (below(middle) <= (1 - level) / 2) k = middle;
    else end = middle;
  }
  return {
    lower: smallestDifference(xs, ys, k),
    upper: smallestDifference(xs, ys, pairs + 1 - k),
    level: Math.max(0, 1 - 2 * below(k)),
  };
}

/** Up to so many differences are sorted once where several of them are asked for. */
const SORT_ONCE_UP_TO = 40_000;

/**
 * The Hodges-Lehmann shift, and its interval as R's `wilcox.test(exact = FALSE, conf.int = TRUE)` has it: by the normal
 * approximation at any size, with continuity correction and with the variance corrected for ties within a sample. R looks
 * for the ends with a root finder whose tolerance is 1e-4 of whatever unit; the ends lie where the statistic jumps, at
 * differences x - y, and these are found exactly. Both samples must ascend.
 *
 * @param level confidence, between 0 and 1
 */
export function normalShiftInterval(
  xs: Float64Array,
  ys: Float64Array,
  level: number,
): { readonly estimate: number; readonly lower: number; readonly upper: number } {
  const pairs = xs.length * ys.length;
  const k = normalIntervalRank(xs, ys, level);
  if (pairs > SORT_ONCE_UP_TO) {
    const [lower, upper] = [smallestDifference(xs, ys, k), smallestDifference(xs, ys, pairs + 1 - k)];
    return { estimate: hodgesLehmannShift(xs, ys), lower, upper };
  }
  const differences = new Float64Array(pairs);
  for (let i = 0; i < xs.length; i++) {
    for (let j = 0; j < ys.length; j++) differences[i * ys.length + j] = xs[i]! - ys[j]!;
  }
  differences.sort();
  return { estimate: medianOfSorted(differences), lower: differences[k - 1]!, upper: differences[pairs - k]! };
}

/** The k for which `normalShiftInterval` goes from the k-th smallest to the k-th largest difference. */
export function normalIntervalRank(xs: Float64Array, ys: Float64Array, level: number): number {
  const [n1, n2] = [xs.length, ys.length];
  const [pairs, total] = [n1 * n2, n1 + n2];
  const none = new Float64Array();
  // Values of one sample are tied with the other's only at the very shifts at which the statistic jumps.
  const tieTerm = rankTogether(xs, none).tieTerm + rankTogether(none, ys).tieTerm;
  const sigma = Math.sqrt((pairs / 12) * (total + 1 - tieTerm / (total * (total - 1))));
  return Math.max(1, Math.ceil(pairs / 2 - 0.5 + normalQuantile((1 - level) / 2) * sigma));
}

/** P(U < k) for samples of these sizes without ties. */
function tailBelow(n1: number, n2: number): (k: number) => number {
  if (n1 + n2 <= EXACT_UP_TO) return (k) => lowerTailOfU(n1, n2, k - 1);
  const sigma = Math.sqrt((n1 * n2 * (n1 + n2 + 1)) / 12);
  return (k) => normalCdf((k - 0.5 - (n1 * n2) / 2) / sigma);
}

/**
 * The k-th smallest difference (from 1). Between its bounds a guess is made, as if differences were spread evenly there,
 * once from either side; where that leads nowhere (ties, outliers) the doubles themselves are halved, which needs no
 * tolerance and at most 64 steps. As soon as few differences are left between the bounds they are sorted.
 */
function smallestDifference(xs: Float64Array, ys: Float64Array, k: number): number {
  // The k-th is above `low` and at most `high`; `below` differences are at most `low`.
  let low = positionOf(xs[0]! - ys[ys.length - 1]!) - 1n;
  let high = positionOf(xs[xs.length - 1]! - ys[0]!);
  let below = 0;
  let left = xs.length * ys.length;
  for (let step = 0; left > SORT_UP_TO && high - low > 1n; step++) {
    const middle = guessBetween(low, high, (k - below) / left, step) ?? (low + high) >> 1n;
    const found = differencesUpTo(xs, ys, doubleAt(middle));
    left = found >= k ? found - below : below + left - found;
    if (found >= k) high = middle;
    else {
      low = middle;
      below = found;
    }
  }
  if (high - low === 1n) return doubleAt(high);
  return differencesBetween(xs, ys, doubleAt(low), doubleAt(high)).sort()[k - below - 1]!;
}

/** A little to the left and to the right of where the k-th is expected, in turn; every third step is none. */
const GUESSES = [-0.02, 0.02, null] as const;

function guessBetween(low: bigint, high: bigint, share: number, step: number): bigint | null {
  const offset = GUESSES[step % GUESSES.length] ?? null;
  if (offset === null) return null;
  const [from, to] = [doubleAt(low), doubleAt(high)];
  const position = positionOf(from + (to - from) * Math.min(1, Math.max(0, share + offset)));
  return Number.isFinite(to - from) && position > low && position < high ? position : null;
}

/** The smallest difference above `limit`; there must be one. */
function nextDifference(xs: Float64Array, ys: Float64Array, limit: number): number {
  let next = Infinity;
  let j = 0;
  for (const value of xs) {
    while (j < ys.length && value - ys[j]! > limit) j++;
    if (j > 0) next = Math.min(next, value - ys[j - 1]!);
  }
  return next;
}

/** The differences above `low` and up to `high`, in no order. */
function differencesBetween(xs: Float64Array, ys: Float64Array, low: number, high: number): Float64Array {
  const found: number[] = [];
  let first = 0;
  for (const value of xs) {
    while (first < ys.length && value - ys[first]! > high) first++;
    // Not `> low`: the place before -Infinity is NaN, and nothing is at most that.
    for (let j = first; j < ys.length && !(value - ys[j]! <= low); j++) found.push(value - ys[j]!);
  }
  return Float64Array.from(found);
}

/** How many differences are at most `limit`. Both samples ascend, so one walk over each suffices. */
function differencesUpTo(xs: Float64Array, ys: Float64Array, limit: number): number {
  let found = 0;
  let j = 0;
  // By index: of typed arrays that takes half as long, and this is where the time goes.
  for (let i = 0; i < xs.length; i++) {
    const value = xs[i]!;
    while (j < ys.length && value - ys[j]! > limit) j++;
    found += ys.length - j;
  }
  return found;
}

const asDouble = new Float64Array(1);
const asBits = new BigInt64Array(asDouble.buffer);
const SIGN = 1n << 63n;

/** The place of a double among all doubles: their bits are in order, but for the sign. */
function positionOf(value: number): bigint {
  asDouble[0] = value;
  const bits = asBits[0]!;
  return bits < 0n ? -(bits + SIGN) : bits;
}

function doubleAt(position: bigint): number {
  asBits[0] = position < 0n ? -position - SIGN : position;
  return asDouble[0]!;
}
