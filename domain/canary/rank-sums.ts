/** Mid-ranks of two samples together. */
export interface Ranks {
  /** Mid-ranks of all values in ascending order, doubled so that they are integers. */
  readonly doubled: Float64Array;
  readonly doubledSumX: number;
  /** Sum of t^3 - t over the groups of equal values. */
  readonly tieTerm: number;
}

/** Ranks two samples together. Both must ascend. */
export function rankTogether(xs: Float64Array, ys: Float64Array): Ranks {
  const doubled = new Float64Array(xs.length + ys.length);
  let doubledSumX = 0;
  let tieTerm = 0;
  let i = 0;
  let j = 0;
  while (i < xs.length || j < ys.length) {
    const value = j >= ys.length || (i < xs.length && xs[i]! < ys[j]!) ? xs[i]! : ys[j]!;
    const [firstX, first] = [i, i + j];
    // `===` and not Object.is: -0 and 0 are the same measurement.
    while (i < xs.length && xs[i] === value) i++;
    while (j < ys.length && ys[j] === value) j++;
    const end = i + j;
    const doubledRank = first + 1 + end;
    for (let at = first; at < end; at++) doubled[at] = doubledRank;
    doubledSumX += (i - firstX) * doubledRank;
    tieTerm += (end - first) ** 3 - (end - first);
  }
  return { doubled, doubledSumX, tieTerm };
}

/** U of the first sample, which has so many values: pairs in which it is the larger one, ties half. */
export function uOf({ doubledSumX }: Ranks, n1: number): number {
  return (doubledSumX - n1 * (n1 + 1)) / 2;
}

/**
 * The share of all ways to give n1 of the ranks to x whose rank sum is at most (at least) the observed one: the
 * conditional permutation distribution given the ties (Streitberg and Röhmel, 1986). Counted by dynamic programming over
 * the ranks, always for the smaller sample and from the lower end: mirrored ranks turn an upper tail into a lower one, so
 * that no small tail is found as one minus a large one.
 */
export function shareOfRankSums(ranks: Ranks, n1: number, tail: 'at-most' | 'at-least'): number {
  const total = ranks.doubled.length;
  const n2 = total - n1;
  if (ranks.tieTerm === 0) {
    const u1 = uOf(ranks, n1);
    return lowerTailOfU(n1, n2, tail === 'at-most' ? u1 : n1 * n2 - u1);
  }
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
  // Often all doubled ranks are even: halve them, and the table.
  const unit = values.every((value) => value % 2 === 0) ? 2 : 1;
  const counts = subsetSums(
    values.map((value) => value / unit),
    size,
    Math.floor(counted / unit),
  );
  const share = counts.reduce((sum, ways) => sum + ways, 0) / choose(total, size);
  return beyondMiddle ? 1 - share : Math.min(1, share);
}

/** P(U <= u) for samples without ties. */
export function lowerTailOfU(n1: number, n2: number, u: number): number {
  const pairs = n1 * n2;
  if (u < 0) return 0;
  // The distribution is symmetric; a tail beyond the middle is what is not in the other one.
  if (2 * u >= pairs) return u >= pairs ? 1 : 1 - lowerTailOfU(n1, n2, pairs - 1 - u);
  const ways = countsOfU(n1, n2, u).reduce((sum, count) => sum + count, 0);
  return ways / choose(n1 + n2, Math.min(n1, n2));
}

/**
 * In how many of all rankings without ties U is 0, 1, … `limit`: the coefficients of the Gaussian binomial, the product
 * of (1 - q^(n + i)) / (1 - q^i) for i = 1 … m (Mann and Whitney, 1947; Harding, 1984). Each coefficient rests on lower
 * ones only, so that small counts are exact.
 */
function countsOfU(n1: number, n2: number, limit: number): Float64Array {
  const [m, n] = [Math.min(n1, n2), Math.max(n1, n2)];
  const counts = new Float64Array(limit + 1);
  counts[0] = 1;
  for (let i = 1; i <= m; i++) {
    for (let u = limit; u >= n + i; u--) counts[u]! -= counts[u - n - i]!;
    for (let u = i; u <= limit; u++) counts[u]! += counts[u - i]!;
  }
  return counts;
}

/** How many subsets of the given size have which sum, from 0 to `limit`. The values are positive integers that ascend. */
function subsetSums(values: Float64Array, size: number, limit: number): Float64Array {
  const width = limit + 1;
  const counts = new Float64Array((size + 1) * width);
  counts[0] = 1;
  // The smallest sum of so many values: what is below it is empty, and need not be walked.
  const smallest = new Float64Array(size + 1);
  for (let taken = 1; taken <= size; taken++) smallest[taken] = smallest[taken - 1]! + values[taken - 1]!;
  for (const [seen, value] of values.entries()) {
    for (let taken = Math.min(size, seen + 1); taken >= 1; taken--) {
      const row = taken * width;
      const below = row - width - value;
      // What is still to be taken is no smaller than this value: a sum that leaves no room for it is never completed.
      const highest = limit - (size - taken) * value;
      for (let sum = smallest[taken - 1]! + value; sum <= highest; sum++) counts[row + sum]! += counts[below + sum]!;
    }
  }
  return counts.subarray(size * width);
}

/** n over k, exact to rounding; k at most n / 2. */
export function choose(n: number, k: number): number {
  let product = 1;
  for (let i = 1; i <= k; i++) product *= (n - k + i) / i;
  return product;
}
