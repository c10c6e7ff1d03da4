import { quantileOfSorted, sorted } from '../domain/canary/median.js';

/** The q-quantile by linear interpolation (R's type 7). @throws RangeError for an empty list */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError('no values');
  return quantileOfSorted(sorted(values), q);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function seconds(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}
