/** Shares of traffic, whatever the objects are in which they stand: pure functions. */
import type { Arm, Weights } from '../../../domain/target.js';

export const ARMS: readonly Arm[] = ['stable', 'canary', 'baseline'];

/** The weights of the rules that name the Service, in percent. */
export interface RouteWeights {
  readonly weights: Weights;
  /** Where the rules differ among each other: those of each. */
  readonly rules?: readonly Weights[];
}

/** What a rule gives to an arm, in parts of whatever all its backends get. */
export interface Part {
  readonly arm: Arm;
  readonly weight: number;
}

/** Parts in percent of what the arms get together. */
export function sharesOf(parts: readonly Part[]): Weights {
  const weightOf = (arm: Arm): number =>
    parts.filter((part) => part.arm === arm).reduce((sum, { weight }) => sum + weight, 0);
  const sum = ARMS.reduce((total, arm) => total + weightOf(arm), 0);
  const share = (arm: Arm): number => (sum === 0 ? 0 : rounded((weightOf(arm) / sum) * 100));
  return { stable: share('stable'), canary: share('canary'), baseline: share('baseline') };
}

/** The weights of all rules as one. Null: there is no rule. */
export function agreedOf(rules: readonly Weights[]): RouteWeights | null {
  const [first] = rules;
  if (first === undefined) return null;
  const same = rules.every((one) => ARMS.every((arm) => one[arm] === first[arm]));
  return same ? { weights: first } : { weights: first, rules };
}

/** As weights are read back, so that what shall be can be compared with what is. */
export function comparableWeights({ weights, ...rest }: RouteWeights): RouteWeights {
  const { stable, canary, baseline } = weights;
  return { ...rest, weights: { stable: rounded(stable), canary: rounded(canary), baseline: rounded(baseline) } };
}

/** Weights are whole numbers: thousandths of a percent are told apart, and rounded to in both directions. */
const SCALE = 1000;

function rounded(percent: number): number {
  return Math.round(percent * SCALE) / SCALE;
}

/** Whole numbers in the proportions of the weights, and what they add up to. */
export function wholeParts(weights: Weights): { readonly parts: Readonly<Weights>; readonly total: number } {
  const scale = ARMS.every((arm) => Number.isInteger(weights[arm])) ? 1 : SCALE;
  const { stable, canary, baseline } = weights;
  return {
    parts: {
      stable: Math.round(stable * scale),
      canary: Math.round(canary * scale),
      baseline: Math.round(baseline * scale),
    },
    total: 100 * scale,
  };
}

/**
 * The backends of a rule with these weights: stable's own entry, and behind it one like it for each sibling with a share.
 * @param alone stable's entry where it gets everything: as it would stand there without us
 */
export function spread<Backend>(
  weights: Weights,
  alone: Backend,
  entry: (arm: Arm, weight: number) => Backend,
): readonly Backend[] {
  if (weights.canary === 0 && weights.baseline === 0) return [alone];
  const { parts } = wholeParts(weights);
  return ARMS.filter((arm) => arm === 'stable' || weights[arm] > 0).map((arm) => entry(arm, parts[arm]));
}
