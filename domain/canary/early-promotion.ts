import { normalQuantile, Z_95 } from './normal.js';
import type { AnalysisPolicy } from './types.js';
import { durationText } from '../words.js';

/** Probability that a metric which is worse than its margin passes as "not worse", over all looks of a stage that may promote. */
export const PROMOTION_BUDGET = 0.05;
/** The part of it that looks before the stage's end may spend; the end has the rest. */
const EARLY_SHARE = 0.2;

/** How sure it must be, at a look, that a metric is not worse than its margin. */
export interface Proof {
  /** The test of "worse by the margin or more" must be below this p. */
  readonly p: number;
  /** z of a one-sided bound with that p. */
  readonly z: number;
  /**
   * Whether less will do where there is too little traffic for proof: that the canary is not visibly worse where not even
   * equal arms could show more, and the share of slow requests where p99 can't be compared by ranks.
   */
  readonly makeshift: boolean;
}

/** What a PROMOTE takes at the stage's end where that is the only time for one. */
export const PROOF_AT_END: Proof = { p: PROMOTION_BUDGET, z: Z_95, makeshift: true };

/** The looks of a stage at which it may be promoted before its end. */
export interface EarlyLooks {
  /** Number of the first, 1 for the stage's first look. */
  readonly first: number;
  /** One or more. */
  readonly count: number;
  /** When the first is due, ms after the stage's start. */
  readonly fromMs: number;
}

type Times = Pick<AnalysisPolicy, 'earlyPromotion' | 'lookEveryMs' | 'warmUpMs'>;

/** The looks between `earlyPromotion.afterMs` and the stage's end that see more than the warm-up; `null` where there is none. */
export function earlyLooks({ earlyPromotion, lookEveryMs, warmUpMs }: Times, durationMs: number): EarlyLooks | null {
  if (earlyPromotion === undefined) return null;
  const first = Math.max(1, Math.ceil(earlyPromotion.afterMs / lookEveryMs), Math.floor(warmUpMs / lookEveryMs) + 1);
  const count = Math.ceil(durationMs / lookEveryMs) - first;
  return count > 0 ? { first, count, fromMs: first * lookEveryMs } : null;
}

/**
 * When a stage of this length may end at the earliest, ms after its start; `null` where it lasts as long as it is planned.
 * Only `sequential` promotes early.
 */
export function earliestEndMs(policy: AnalysisPolicy, durationMs: number): number | null {
  return policy.judge === 'sequential' ? (earlyLooks(policy, durationMs)?.fromMs ?? null) : null;
}

/** `15 min`, or `15 min (may end after 3 min at the earliest)`. */
export function stageTimeText(policy: AnalysisPolicy, durationMs: number): string {
  const earliestMs = earliestEndMs(policy, durationMs);
  const early = earliestMs === null ? '' : ` (may end after ${durationText(earliestMs)} at the earliest)`;
  return `${durationText(durationMs)}${early}`;
}

/**
 * What the n-th look may spend on a PROMOTE, a probability: the early looks share their part of the budget evenly, by the
 * union bound (Bonferroni), which needs no joint law of the looks. 0 for the other looks.
 */
export function earlySpending(early: EarlyLooks | null, look: number): number {
  if (early === null || look < early.first || look >= early.first + early.count) return 0;
  return (EARLY_SHARE * PROMOTION_BUDGET) / early.count;
}

/** What a PROMOTE takes at a look that may spend `spending` on an early one. */
export function proofAt(early: EarlyLooks | null, spending: number): Proof {
  if (early === null) return PROOF_AT_END;
  const p = spending > 0 ? spending : (1 - EARLY_SHARE) * PROMOTION_BUDGET;
  return { p, z: normalQuantile(1 - p), makeshift: !(spending > 0) };
}
