/** A sample in ascending order. */
export function sorted(values: readonly number[]): Float64Array {
  return new Float64Array(values).sort();
}

/** The median of values in ascending order; NaN for none. */
export function medianOfSorted(sorted: ArrayLike<number>): number {
  const upper = sorted[sorted.length >> 1] ?? NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? NaN;
  return midpoint(lower, upper);
}

/** The median of values in any order; NaN for none. */
export function median(values: readonly number[]): number {
  return medianOfSorted(sorted(values));
}

/** Standard deviation by the median absolute deviation, which single outliers don't move. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return 1.4826 * median(values.map((value) => Math.abs(value - middle)));
}

/** A quantile of values in ascending order by linear interpolation, as R's type 7; NaN for none. */
export function quantileOfSorted(sorted: ArrayLike<number>, q: number): number {
  const place = q * (sorted.length - 1);
  const below = sorted[Math.floor(place)] ?? NaN;
  const above = sorted[Math.ceil(place)] ?? NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/** The middle between two values, also where their sum is beyond the largest double. */
export function midpoint(lower: number, upper: number): number {
  const sum = lower + upper;
  return Number.isFinite(sum) ? sum / 2 : lower / 2 + upper / 2;
}
