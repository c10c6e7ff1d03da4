import { addPairs, sharesOf } from './counts.js';
import { compareCounts } from './compare-counts.js';
import { PROOF_AT_END } from './early-promotion.js';
import { noiseRatios } from './noise-floor.js';
import { errorPair } from './series.js';
import type { Block } from './series.js';
import type { AnalysisPolicy, MetricFinding } from './types.js';
import { apart, count, percent, points, probability, times } from '../words.js';

/** Arms that are equal differ by this much for reasons that no model knows. */
export const TOLERANCE_RATIO = 1.15;
/** Where errors are common the margin grows with them: this part of the comparison's rate. */
export const MARGIN_OF_RATE = 0.35;
const COARSEST_RESOLUTION = 0.1;

/**
 * Error counts of both arms over blocks of one window (`where` says which, as "over the last 5 min"). ROLLBACK: more
 * than chance and tolerance explain, and enough to matter. PROMOTE: not worse by more than the margin.
 */
export function compareErrors(
  blocks: readonly Block[],
  policy: AnalysisPolicy,
  alpha: number,
  where: string,
  proof = PROOF_AT_END,
): MetricFinding {
  const strata = blocks.map(errorPair);
  const base = sharesOf(addPairs(strata)).comparison;
  const noise = noiseRatios(policy).errors;
  const minRatio = Math.max(policy.minErrorRatio, noise);
  const margin = Math.max(policy.errorMargin, Math.max(MARGIN_OF_RATE, noise - 1) * (Number.isFinite(base) ? base : 0));
  const found = compareCounts(strata, {
    alpha,
    toleranceRatio: TOLERANCE_RATIO,
    minDifference: policy.minErrorIncrease,
    minRatio,
    margin,
    coarsest: COARSEST_RESOLUTION,
    proof,
  });
  const common = { metric: 'error-rate', unit: 'ratio', alpha, threshold: policy.minErrorIncrease };
  if (found === null) {
    const none = { canary: null, comparison: null, canaryN: 0, comparisonN: 0, statistic: null, p: null, effect: null };
    const why = `Error rates can't be compared ${where}: no requests were seen on both arms at the same time.`;
    return { ...common, ...none, verdict: 'HOLD', test: 'fisher-exact', why };
  }
  const { pair, difference, p } = found;
  const rollback = found.significant && found.matters;
  const against =
    `Error rate ${apart(percent, found.canary, found.comparison).join(' against ')} ${where} ` +
    `(n = ${count(pair.canaryTotal)} and ${count(pair.comparisonTotal)}, p = ${probability(p)})`;
  return {
    ...common,
    verdict: rollback ? 'ROLLBACK' : found.nonInferior ? 'PROMOTE' : 'HOLD',
    canary: found.canary,
    comparison: found.comparison,
    canaryN: pair.canaryTotal,
    comparisonN: pair.comparisonTotal,
    test: found.test,
    statistic: found.z,
    p,
    effect: difference,
    why: `${against}: ${reason()}.`,
  };

  function reason(): string {
    const [rise, least] = apart(points, difference, policy.minErrorIncrease);
    const limit = `the limit of ${least} and ${times(minRatio)} the comparison`;
    if (rollback) {
      return `${rise} more, ${difference > policy.minErrorIncrease ? 'above' : 'at'} ${limit}, and p is below ${probability(alpha)}`;
    }
    if (found!.nonInferior) {
      const unseen = `of more than ${points(found!.unseenRise)} would have been seen`;
      return difference > 0
        ? `${points(difference)} more, as chance or the margin allows; a rise ${unseen}`
        : `no rise; one ${unseen}`;
    }
    const [upTo, remains] = apart(points, found!.upperBound, margin);
    const open = `a rise of up to ${upTo} can't be ruled out, where ${remains} may remain`;
    if (found!.onlyBurst) return `${points(difference)} more, but in a burst, not in most of the time; ${open}`;
    if (found!.matters) return `${points(difference)} more, but p is not below ${probability(alpha)}; ${open}`;
    return `below ${limit}; ${open}`;
  }
}
