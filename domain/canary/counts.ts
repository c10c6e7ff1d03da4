import { normalUpperTail, Z_95 } from './normal.js';

/** Events (errors, slow requests) among the requests of two arms in the same stretch of time. */
export interface CountPair {
  readonly canaryEvents: number;
  readonly canaryTotal: number;
  readonly comparisonEvents: number;
  readonly comparisonTotal: number;
}

/** The pairs of several stretches of time added up. */
export function addPairs(pairs: readonly CountPair[]): CountPair {
  const sum = { canaryEvents: 0, canaryTotal: 0, comparisonEvents: 0, comparisonTotal: 0 };
  for (const pair of pairs) {
    sum.canaryEvents += pair.canaryEvents;
    sum.canaryTotal += pair.canaryTotal;
    sum.comparisonEvents += pair.comparisonEvents;
    sum.comparisonTotal += pair.comparisonTotal;
  }
  return sum;
}

/** Events per request on either arm; NaN where there were no requests. */
export function sharesOf(pair: CountPair): { readonly canary: number; readonly comparison: number } {
  return {
    canary: pair.canaryEvents / pair.canaryTotal,
    comparison: pair.comparisonEvents / pair.comparisonTotal,
  };
}

/**
 * Fisher's exact test, one-sided: the probability of at least this many of all events on the canary if its odds are
 * `oddsRatio` times the comparison's. With another ratio than 1 this is Fisher's noncentral hypergeometric distribution;
 * at the small rates that it is used for, odds and rates are alike.
 *
 * @throws RangeError when counts are not whole numbers, or events are more than requests.
 */
export function fisherGreater(pair: CountPair, oddsRatio = 1): number {
  checkPair(pair);
  const { canaryEvents, canaryTotal, comparisonTotal } = pair;
  const events = canaryEvents + pair.comparisonEvents;
  const lowest = Math.max(0, events - comparisonTotal);
  const highest = Math.min(events, canaryTotal);
  return upperTail(canaryEvents, lowest, highest, (k) =>
    Math.log((oddsRatio * (canaryTotal - k) * (events - k)) / ((k + 1) * (comparisonTotal - events + k + 1))),
  );
}

/**
 * The exact binomial test, one-sided: the probability of at least `events` in `total` trials at `share` each.
 *
 * @throws RangeError when the counts are no counts, or the share is not between 0 and 1.
 */
export function binomialGreater(events: number, total: number, share: number): number {
  checkBinomial(events, total, share);
  if (share === 0) return events === 0 ? 1 : 0;
  if (share === 1) return 1;
  return upperTail(events, 0, total, (k) => Math.log(((total - k) * share) / ((k + 1) * (1 - share))));
}

const BINOMIAL_EXACT_UP_TO = 10_000;

/**
 * The binomial test, two-sided: twice the smaller tail. Exact up to 10,000 trials, above that the normal approximation
 * with continuity correction.
 *
 * @throws RangeError as `binomialGreater`.
 */
export function binomialTwoSided(events: number, total: number, share: number): number {
  checkBinomial(events, total, share);
  if (total > BINOMIAL_EXACT_UP_TO && share > 0 && share < 1) {
    const distance = Math.abs(events - total * share) - 0.5;
    return Math.min(1, 2 * normalUpperTail(distance / Math.sqrt(total * share * (1 - share))));
  }
  const above = binomialGreater(events, total, share);
  const below = binomialGreater(total - events, total, 1 - share);
  return Math.min(1, 2 * Math.min(above, below));
}

/**
 * P(K >= observed) of a distribution on lowest..highest that is given by the logarithms of the ratios of neighbouring
 * weights, w(k+1) / w(k). Ratios need no factorials, and so lose no digits at large counts.
 */
function upperTail(observed: number, lowest: number, highest: number, logStep: (k: number) => number): number {
  if (observed <= lowest) return 1;
  const logs = new Float64Array(highest - lowest + 1);
  let largest = 0;
  for (let k = lowest; k < highest; k++) {
    const next = logs[k - lowest]! + logStep(k);
    logs[k - lowest + 1] = next;
    if (next > largest) largest = next;
  }
  let all = 0;
  let tail = 0;
  // From the far end on, so that small weights are not added to large ones.
  for (let k = highest; k >= lowest; k--) {
    all += Math.exp(logs[k - lowest]! - largest);
    if (k === observed) tail = all;
  }
  return Math.min(1, tail / all);
}

/** What the stratified score test found. */
export interface ScoreResult {
  readonly z: number;
  readonly p: number;
  /** The canary's rate divided by the comparison's, fitted over all strata. */
  readonly ratio: number;
  /** How much more the strata scatter than independent events would: 1 or more. */
  readonly dispersion: number;
}

/**
 * Score test of "the canary's rate is at most `ratio` times the comparison's", stratified over stretches of time so that
 * what hurts both arms at once cancels. Within a stratum the events are split between the arms, given their sum, as
 * Binomial(sum, r n1 / (r n1 + n2)) (conditional Poisson; Przyborowski and Wilenski, 1940). The variance is multiplied by
 * the Pearson dispersion around the *fitted* ratio: around the null ratio a real effect would inflate its own variance.
 */
export function stratifiedScore(strata: readonly CountPair[], ratio: number): ScoreResult {
  const used = strata.filter((pair) => pair.canaryTotal > 0 && pair.comparisonTotal > 0);
  const fitted = fittedRatio(used);
  const dispersion = dispersionAround(used, fitted);
  let difference = 0;
  let variance = 0;
  for (const pair of used) {
    const events = pair.canaryEvents + pair.comparisonEvents;
    const share = canaryShare(pair, ratio);
    difference += pair.canaryEvents - events * share;
    variance += events * share * (1 - share);
  }
  const z = variance === 0 ? 0 : difference / Math.sqrt(dispersion * variance);
  return { z, p: normalUpperTail(z), ratio: fitted, dispersion };
}

function canaryShare(pair: CountPair, ratio: number): number {
  return (ratio * pair.canaryTotal) / (ratio * pair.canaryTotal + pair.comparisonTotal);
}

/** The ratio at which the expected events on the canary are the observed ones; by bisection, as they grow with it. */
function fittedRatio(strata: readonly CountPair[]): number {
  const { canaryEvents, comparisonEvents } = addPairs(strata);
  if (comparisonEvents === 0) return canaryEvents === 0 ? 1 : Infinity;
  if (canaryEvents === 0) return 0;
  let low = Math.log(1e-6);
  let high = Math.log(1e6);
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    let expected = 0;
    for (const pair of strata) {
      expected += (pair.canaryEvents + pair.comparisonEvents) * canaryShare(pair, Math.exp(middle));
    }
    if (expected < canaryEvents) low = middle;
    else high = middle;
  }
  return Math.exp((low + high) / 2);
}

function dispersionAround(strata: readonly CountPair[], ratio: number): number {
  let sum = 0;
  let used = 0;
  for (const pair of strata) {
    const events = pair.canaryEvents + pair.comparisonEvents;
    const share = Number.isFinite(ratio) ? canaryShare(pair, ratio) : 1;
    const variance = events * share * (1 - share);
    if (variance === 0) continue;
    sum += (pair.canaryEvents - events * share) ** 2 / variance;
    used++;
  }
  return used < 2 ? 1 : Math.max(1, sum / (used - 1));
}

/**
 * The upper end of the one-sided interval of the difference of two shares (canary minus comparison), by Newcombe's
 * hybrid of two Wilson intervals (1998, method 10), which is sound at zero events too. Dispersion widens it.
 *
 * @param z says how sure it is. @default one-sided 95 %
 */
export function differenceUpperBound(pair: CountPair, dispersion = 1, z = Z_95): number {
  const shares = sharesOf(pair);
  const above = wilson(shares.canary, pair.canaryTotal / dispersion, z).upper - shares.canary;
  const below = shares.comparison - wilson(shares.comparison, pair.comparisonTotal / dispersion, z).lower;
  return shares.canary - shares.comparison + Math.hypot(above, below);
}

/**
 * The difference of shares that this much traffic can rule out if both arms are alike: the upper bound that equal arms
 * stay below in all but 2.5 % of cases. Smaller differences can't be ruled out, however good the canary is.
 */
export function resolvableDifference(pair: CountPair, dispersion = 1): number {
  const { canaryTotal, comparisonTotal } = pair;
  const share = (pair.canaryEvents + pair.comparisonEvents) / (canaryTotal + comparisonTotal);
  const above = wilson(share, canaryTotal / dispersion).upper - share;
  const below = share - wilson(share, comparisonTotal / dispersion).lower;
  const deviation = Math.sqrt(dispersion * share * (1 - share) * (1 / canaryTotal + 1 / comparisonTotal));
  return Math.hypot(above, below) + 1.96 * deviation;
}

/** Wilson's score interval of a share of 0 to 1 (1927); `z` says how sure it is. @default one-sided 95 % */
export function wilson(share: number, total: number, z = Z_95): { readonly lower: number; readonly upper: number } {
  const square = z * z;
  const centre = share + square / (2 * total);
  const half = z * Math.sqrt((share * (1 - share)) / total + square / (4 * total * total));
  const scale = 1 + square / total;
  return { lower: Math.max(0, (centre - half) / scale), upper: Math.min(1, (centre + half) / scale) };
}

function checkPair(pair: CountPair): void {
  checkCounts(pair.canaryEvents, pair.canaryTotal);
  checkCounts(pair.comparisonEvents, pair.comparisonTotal);
}

function checkBinomial(events: number, total: number, share: number): void {
  checkCounts(events, total);
  if (!(share >= 0 && share <= 1)) throw new RangeError(`a share must be between 0 and 1, not ${share}`);
}

function checkCounts(events: number, total: number): void {
  if (Number.isSafeInteger(events) && Number.isSafeInteger(total) && events >= 0 && events <= total) return;
  throw new RangeError(
    `${events} of ${total} are no counts: whole numbers are needed, and no more events than requests`,
  );
}
