import { normalUpperTail } from './normal.js';

/** What is claimed of x against y: `greater` means that x tends to be larger. */
export type Alternative = 'two-sided' | 'greater' | 'less';

export interface MannWhitneyInput {
  readonly x: readonly number[];
  readonly y: readonly number[];
  /** @default 'two-sided' */
  readonly alternative?: Alternative;
  /** `auto`: exact up to 100 values in both samples together, asymptotic above. @default 'auto' */
  readonly method?: 'auto' | 'exact' | 'asymptotic';
}

export interface MannWhitneyResult {
  /** Pairs (x, y) with x > y; a tie counts one half. */
  readonly u1: number;
  /** Pairs with y > x: `n1 * n2 - u1`. */
  readonly u2: number;
  readonly p: number;
  readonly method: 'exact' | 'asymptotic';
  /** Common-language effect size: P(x > y) + P(x = y) / 2. */
  readonly cles: number;
  /** Cliff's delta: P(x > y) - P(x < y), from -1 to 1. */
  readonly cliffsDelta: number;
  /** Hodges-Lehmann shift: the median of all differences x - y, in the unit of the samples. */
  readonly hodgesLehmann: number;
}

const AUTO_EXACT_UP_TO = 100;
/** Above this the exact distribution takes seconds, and the normal one is as good. */
const EXACT_UP_TO = 300;

/**
 * The Mann-Whitney U test (Wilcoxon rank sum), with mid-ranks for ties.
 *
 * `exact` is the conditional permutation distribution given the ties (Streitberg and Röhmel, 1986), as R >= 4.6 has it;
 * `asymptotic` is the normal approximation with the tie-corrected variance and the continuity correction, as R's
 * `wilcox.test` and SciPy's `mannwhitneyu` have it. If all values are equal, p is 1.
 *
 * @throws RangeError for an empty sample, for NaN and infinities, and for `exact` with more than 300 values.
 */
export function mannWhitney(input: MannWhitneyInput): MannWhitneyResult {
  const { x, y, alternative = 'two-sided', method = 'auto' } = input;
  checkSample('x', x);
  checkSample('y', y);
  const total = x.length + y.length;
  if (method === 'exact' && total > EXACT_UP_TO) {
    throw new RangeError(`${total} values are too many for the exact test (at most ${EXACT_UP_TO}): use 'asymptotic'`);
  }
  const pairs = x.length * y.length;
  const ranks = rank(x, y);
  const u1 = (ranks.doubledSumX - x.length * (x.length + 1)) / 2;
  const exact = method === 'exact' || (method === 'auto' && total <= AUTO_EXACT_UP_TO);
  const p = exact ? exactP(ranks, x.length, alternative) : asymptoticP(ranks, u1, x.length, y.length, alternative);
  return {
    u1,
    u2: pairs - u1,
    p,
    method: exact ? 'exact' : 'asymptotic',
    cles: u1 / pairs,
    cliffsDelta: (2 * u1) / pairs - 1,
    hodgesLehmann: medianDifference(x, y),
  };
}

/** The smallest one-sided p that samples of these sizes can give: all of one above all of the other, without ties. */
export function smallestMannWhitneyP(n1: number, n2: number): number {
  return 1 / choose(n1 + n2, Math.min(n1, n2));
}

function checkSample(name: string, values: readonly number[]): void {
  if (values.length === 0)
    throw new RangeError(`sample ${name} is empty: a rank test needs at least one value in each`);
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) {
    throw new RangeError(`sample ${name} has ${values[index]} at index ${index}: leave out what was not measured`);
  }
}

interface Ranks {
  /** Mid-ranks of all values in ascending order, doubled so that they are integers. */
  readonly doubled: readonly number[];
  readonly doubledSumX: number;
  /** Sum of t^3 - t over the groups of equal values. */
  readonly tieTerm: number;
}

function rank(x: readonly number[], y: readonly number[]): Ranks {
  const all = [...x.map((value) => ({ value, ofX: true })), ...y.map((value) => ({ value, ofX: false }))];
  all.sort((a, b) => a.value - b.value || 0);
  const doubled: number[] = [];
  let doubledSumX = 0;
  let tieTerm = 0;
  for (let first = 0; first < all.length;) {
    let end = first + 1;
    // `===` and not Object.is: -0 and 0 are the same measurement.
    while (end < all.length && all[end]?.value === all[first]?.value) end++;
    const doubledRank = first + 1 + end;
    for (const item of all.slice(first, end)) {
      doubled.push(doubledRank);
      if (item.ofX) doubledSumX += doubledRank;
    }
    const ties = end - first;
    tieTerm += ties ** 3 - ties;
    first = end;
  }
  return { doubled, doubledSumX, tieTerm };
}

function exactP(ranks: Ranks, n1: number, alternative: Alternative): number {
  if (alternative === 'less') return shareOfRankSums(ranks, n1, 'at-most');
  if (alternative === 'greater') return shareOfRankSums(ranks, n1, 'at-least');
  return Math.min(1, 2 * Math.min(shareOfRankSums(ranks, n1, 'at-most'), shareOfRankSums(ranks, n1, 'at-least')));
}

/**
 * The share of all ways to give n1 of the ranks to x whose rank sum is at most (at least) the observed one. Counted by
 * dynamic programming over the ranks, always for the smaller sample and from the lower end: mirrored ranks turn an upper
 * tail into a lower one, so that no small tail is found as one minus a large one.
 */
function shareOfRankSums(ranks: Ranks, n1: number, tail: 'at-most' | 'at-least'): number {
  const total = ranks.doubled.length;
  const n2 = total - n1;
  const xIsSmaller = n1 <= n2;
  const size = xIsSmaller ? n1 : n2;
  const sumOfAll = total * (total + 1);
  const sum = xIsSmaller ? ranks.doubledSumX : sumOfAll - ranks.doubledSumX;
  const top = 2 * (total + 1);
  const mirrored = (tail === 'at-least') === xIsSmaller;
  const limit = mirrored ? size * top - sum : sum;
  // Of a tail beyond the middle it is quicker, and as accurate, to count what is not in it.
  const beyondMiddle = 2 * limit > size * top;
  const counted = beyondMiddle ? size * top - limit - 1 : limit;
  const values = mirrored !== beyondMiddle ? ranks.doubled.map((value) => top - value).reverse() : ranks.doubled;
  // Without ties all doubled ranks are even: halve them, and the table.
  const unit = values.every((value) => value % 2 === 0) ? 2 : 1;
  const ways = waysUpTo(
    values.map((value) => value / unit),
    size,
    Math.floor(counted / unit),
  );
  const share = ways / choose(total, size);
  return beyondMiddle ? 1 - share : Math.min(1, share);
}

/** How many subsets of the given size have a sum of at most `limit`. The values ascend. */
function waysUpTo(values: readonly number[], size: number, limit: number): number {
  const width = limit + 1;
  const counts = new Float64Array((size + 1) * width);
  counts[0] = 1;
  let seen = 0;
  let sumSeen = 0;
  for (const value of values) {
    seen++;
    sumSeen += value;
    const highest = Math.min(limit, sumSeen);
    for (let taken = Math.min(size, seen); taken >= 1; taken--) {
      const row = taken * width;
      const below = row - width - value;
      for (let sum = value; sum <= highest; sum++) counts[row + sum]! += counts[below + sum]!;
    }
  }
  let ways = 0;
  for (let sum = 0; sum <= limit; sum++) ways += counts[size * width + sum]!;
  return ways;
}

/** n over k, exact to rounding; k at most n / 2. */
function choose(n: number, k: number): number {
  let product = 1;
  for (let i = 1; i <= k; i++) product *= (n - k + i) / i;
  return product;
}

function asymptoticP(ranks: Ranks, u1: number, n1: number, n2: number, alternative: Alternative): number {
  const total = n1 + n2;
  const variance = ((n1 * n2) / 12) * (total + 1 - ranks.tieTerm / (total * (total - 1)));
  // All values equal: nothing speaks against the null hypothesis. (Rounding may leave a variance just above 0.)
  if (ranks.tieTerm === total ** 3 - total) return 1;
  const sigma = Math.sqrt(variance);
  const distance = u1 - (n1 * n2) / 2;
  if (alternative === 'greater') return normalUpperTail((distance - 0.5) / sigma);
  if (alternative === 'less') return normalUpperTail((-distance - 0.5) / sigma);
  return Math.min(1, 2 * normalUpperTail((Math.abs(distance) - 0.5) / sigma));
}

/** The median of all differences x - y, without listing them: there may be hundreds of millions. */
function medianDifference(x: readonly number[], y: readonly number[]): number {
  const [xs, ys] = [Float64Array.from(x).sort(), Float64Array.from(y).sort()];
  const pairs = xs.length * ys.length;
  const lower = smallestDifference(xs, ys, Math.ceil(pairs / 2));
  if (pairs % 2 === 1 || differencesUpTo(xs, ys, lower) > pairs / 2) return lower;
  return midpoint(lower, smallestDifference(xs, ys, pairs / 2 + 1));
}

/** The k-th smallest difference (from 1), by bisection over the doubles themselves: 64 steps, and no rounding. */
function smallestDifference(xs: Float64Array, ys: Float64Array, k: number): number {
  let low = positionOf(xs[0]! - ys[ys.length - 1]!);
  let high = positionOf(xs[xs.length - 1]! - ys[0]!);
  while (low < high) {
    const middle = (low + high) >> 1n;
    if (differencesUpTo(xs, ys, doubleAt(middle)) >= k) high = middle;
    else low = middle + 1n;
  }
  return doubleAt(low);
}

/** How many differences are at most `limit`. Both samples ascend, so one walk over each suffices. */
function differencesUpTo(xs: Float64Array, ys: Float64Array, limit: number): number {
  let found = 0;
  let j = 0;
  for (const value of xs) {
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

/** The median of values in ascending order; NaN for none. */
export function medianOfSorted(sorted: ArrayLike<number>): number {
  const upper = sorted[sorted.length >> 1] ?? NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? NaN;
  return midpoint(lower, upper);
}

/** Not (lower + upper) / 2: that overflows for values near the largest double. */
function midpoint(lower: number, upper: number): number {
  return lower + (upper - lower) / 2;
}
