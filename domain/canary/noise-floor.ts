import { normalQuantile } from './normal.js';
import type { AnalysisPolicy, MetricPolicy } from './types.js';

/** A budget of nothing would ask for an endless interval. */
const SMALLEST_BUDGET = 1e-6;

/**
 * How far apart two arms of the same version may be by their noise alone, as ratios, 1 or more: what is less is no reason
 * to roll back, and can't be ruled out either. The noise of pods, nodes and users is drawn once for a rollout, not anew at
 * each look, so the policy's error budget is spent on it once, for each metric: the ratio is the upper end of the
 * prediction interval for the next pair of equal arms, given as many as were seen.
 *
 * @see Hahn and Meeker, Statistical Intervals (1991), section 4.8: mean + t(n) s sqrt(1 + 1/n); here the mean is known, as
 *   equal arms differ by nothing on average.
 */
export function noiseRatios({ noiseFloor, errorBudget }: Pick<AnalysisPolicy, 'noiseFloor' | 'errorBudget'>): {
  readonly latency: number;
  readonly errors: number;
} {
  if (noiseFloor === null) return { latency: 1, errors: 1 };
  const t = studentQuantile(1 - Math.max(SMALLEST_BUDGET, errorBudget), noiseFloor.pairs);
  return { latency: Math.exp(t * noiseFloor.latencyLogSd), errors: Math.exp(t * noiseFloor.errorLogSd) };
}

/**
 * A further metric with a tolerance that leaves room for the noise of equal arms, as `noiseRatios` does; as it is where
 * nothing was learned of it, or something of another kind. A metric for which either change is for the worse may be told
 * apart by noise on two sides: each has half of the budget.
 */
export function withNoise(
  metric: MetricPolicy,
  { noiseFloor, errorBudget }: Pick<AnalysisPolicy, 'noiseFloor' | 'errorBudget'>,
): MetricPolicy {
  const { name, tolerance, direction } = metric;
  const learned = noiseFloor?.metrics;
  const noise = learned !== undefined && Object.hasOwn(learned, name) ? learned[name] : undefined;
  if (noise === undefined || noise.kind !== tolerance.kind) return metric;
  const budget = Math.max(SMALLEST_BUDGET, errorBudget / (direction === 'either' ? 2 : 1));
  const apart = studentQuantile(1 - budget, noise.pairs) * noise.sd;
  return tolerance.kind === 'ratio'
    ? { ...metric, tolerance: { kind: 'ratio', ratio: Math.max(tolerance.ratio, Math.exp(apart)) } }
    : { ...metric, tolerance: { kind: 'difference', difference: Math.max(tolerance.difference, apart) } };
}

/** Student's t, by its expansion around the normal quantile (Abramowitz and Stegun, 26.7.5): to 1 % from 5 degrees on. */
function studentQuantile(probability: number, degrees: number): number {
  const z = normalQuantile(probability);
  return (
    z +
    (z ** 3 + z) / (4 * degrees) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * degrees ** 3)
  );
}
