import {
  addPairs,
  differenceUpperBound,
  fisherGreater,
  resolvableDifference,
  sharesOf,
  stratifiedScore,
} from './counts.js';
import type { CountPair } from './counts.js';
import { PROOF_AT_END } from './early-promotion.js';
import type { Proof } from './early-promotion.js';

/** Up to this many events an exact test is used; above, the score test, which knows of scatter between blocks. */
const EXACT_UP_TO_EVENTS = 200;
/**
 * Where the margin is finer than the traffic can show, equal arms fail with this probability: they are looked at again,
 * while of what is worse hardly anything gets through.
 */
const WORSE_P = 0.1;
/**
 * One burst is a blip, not a release: the rise must matter without the canary's worst quarter of the blocks too. That is
 * most of a minute in the recent window.
 */
const BURST_SHARE = 0.25;
/** With fewer blocks than this a burst can't be told from a rise. */
const BLOCKS_FOR_BURSTS = 4;
/** With fewer events in a block, the worst blocks are those that chance was hardest on: then a burst is a run of blocks. */
const EVENTS_PER_BLOCK = 8;

/** Scatter between blocks is read from parts of the window with so many events each, and no fewer parts than this. */
const EVENTS_PER_PART = 5;
const PARTS_FOR_SCATTER = 4;

/** What is worth acting on. */
export interface CountRule {
  readonly alpha: number;
  /** The canary's rate may be this many times the comparison's before it counts as worse at all. */
  readonly toleranceRatio: number;
  /** Smallest difference and smallest ratio that matter; both must be reached. */
  readonly minDifference: number;
  readonly minRatio: number;
  /** Difference that may remain undetected in a PROMOTE. */
  readonly margin: number;
  /** A rise that the traffic can't show must not be larger than this, or there is too little data to promote on. */
  readonly coarsest: number;
  /** What a PROMOTE takes. @default PROOF_AT_END */
  readonly proof?: Proof;
}

/** What counts of events say. Rates are shares of 0 to 1. */
export interface CountComparison {
  readonly pair: CountPair;
  readonly canary: number;
  readonly comparison: number;
  readonly difference: number;
  readonly ratio: number;
  readonly test: 'fisher-exact' | 'score';
  readonly z: number | null;
  readonly p: number;
  readonly significant: boolean;
  readonly matters: boolean;
  /** It would matter, but for a burst: the rest of the blocks shows no such thing. */
  readonly onlyBurst: boolean;
  readonly nonInferior: boolean;
  /** Upper end of the interval of the difference, as sure as `CountRule.proof` asks. */
  readonly upperBound: number;
  /** The rise that may have stayed unseen: the margin, or more where the traffic can't show as little. */
  readonly unseenRise: number;
}

/**
 * Compares the events of two arms over the same blocks of time. `null` when one of them had no requests.
 *
 * Non-inferior: the upper bound of the difference is within the margin. Where even equal arms could not show that
 * with so few requests, it must do, if the proof allows it, that the canary is not visibly worse (p >= 0.1), as long as the
 * rise that could stay unseen is at most `coarsest`.
 */
export function compareCounts(strata: readonly CountPair[], rule: CountRule): CountComparison | null {
  const { proof = PROOF_AT_END } = rule;
  const used = strata.filter((pair) => pair.canaryTotal > 0 && pair.comparisonTotal > 0);
  if (used.length === 0) return null;
  const pair = addPairs(used);
  const { canary, comparison } = sharesOf(pair);
  const score = stratifiedScore(used, rule.toleranceRatio);
  const exact = pair.canaryEvents + pair.comparisonEvents < EXACT_UP_TO_EVENTS;
  const asCounted = exact ? fisherGreater(pair, rule.toleranceRatio) : score.p;
  // Scatter is a reason to doubt that the canary is worse, never one to believe that it is not.
  const p = exact ? fisherGreater(thinned(pair, scatterOf(used)), rule.toleranceRatio) : score.p;
  const difference = canary - comparison;
  const upperBound = differenceUpperBound(pair, score.dispersion, proof.z);
  const resolution = resolvableDifference(pair, score.dispersion);
  const within = upperBound <= rule.margin;
  const coarse = proof.makeshift && resolution > rule.margin && resolution <= rule.coarsest;
  const large = matters(pair, rule);
  const onlyBurst = large && !matters(addPairs(withoutBursts(used)), rule);
  return {
    pair,
    canary,
    comparison,
    difference,
    ratio: ratioOf(pair),
    test: exact ? 'fisher-exact' : 'score',
    z: exact ? null : score.z,
    p,
    significant: p < rule.alpha,
    matters: large && !onlyBurst,
    onlyBurst,
    nonInferior: within || (coarse && asCounted >= WORSE_P),
    upperBound,
    unseenRise: within ? rule.margin : Math.max(rule.margin, resolution),
  };
}

/**
 * How much more the blocks scatter than independent events would, for few events: 1 unless it is certain, as every bit of
 * it costs power. Blocks are added up until they have enough events for it.
 */
function scatterOf(strata: readonly CountPair[]): number {
  const { canaryEvents, comparisonEvents } = addPairs(strata);
  const parts = Math.min(strata.length, Math.floor((canaryEvents + comparisonEvents) / EVENTS_PER_PART));
  if (parts < PARTS_FOR_SCATTER) return 1;
  const merged = inParts(strata, parts);
  // Where the comparison has next to no events, there is no ratio between the arms that could scatter.
  const dispersion =
    comparisonEvents < EVENTS_PER_PART
      ? scatterInTime(merged.map(({ canaryEvents: events }) => events))
      : stratifiedScore(merged, 1).dispersion;
  // Pearson's statistic has a variance of 2 for each degree of freedom.
  return dispersion > 1 + 2 * Math.sqrt(2 / (parts - 1)) ? dispersion : 1;
}

/** The variance of counts that follow each other, over their mean; by their differences, so that a trend is no scatter (von Neumann, 1941). */
function scatterInTime(counts: readonly number[]): number {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const squares = counts.slice(1).map((count, i) => (count - counts[i]!) ** 2);
  return squares.reduce((sum, square) => sum + square, 0) / (2 * squares.length * mean);
}

/** Events that come in runs, as so many fewer that are independent. */
function thinned(pair: CountPair, by: number): CountPair {
  const part = (value: number): number => Math.round(value / by);
  return {
    canaryEvents: part(pair.canaryEvents),
    canaryTotal: part(pair.canaryTotal),
    comparisonEvents: part(pair.comparisonEvents),
    comparisonTotal: part(pair.comparisonTotal),
  };
}

/** Neighbours added up, so that so many are left. */
function inParts(strata: readonly CountPair[], parts: number): readonly CountPair[] {
  const edge = (part: number): number => Math.round((part * strata.length) / parts);
  return Array.from({ length: parts }, (_, part) => addPairs(strata.slice(edge(part), edge(part + 1))));
}

function matters(pair: CountPair, rule: CountRule): boolean {
  const { canary, comparison } = sharesOf(pair);
  return canary - comparison >= rule.minDifference && ratioOf(pair) >= rule.minRatio;
}

function ratioOf(pair: CountPair): number {
  const { canary, comparison } = sharesOf(pair);
  if (comparison === 0) return canary === 0 ? 1 : Infinity;
  return canary / comparison;
}

function withoutBursts(strata: readonly CountPair[]): readonly CountPair[] {
  if (strata.length < BLOCKS_FOR_BURSTS) return strata;
  const longest = Math.ceil(BURST_SHARE * strata.length);
  const { canaryEvents, comparisonEvents } = addPairs(strata);
  if (canaryEvents + comparisonEvents < EVENTS_PER_BLOCK * strata.length) return withoutWorstRun(strata, longest);
  const worstLast = [...strata].sort((a, b) => sharesOf(a).canary - sharesOf(b).canary);
  return worstLast.slice(0, -longest);
}

/** Without the run of so many blocks in which the canary had the most events. */
function withoutWorstRun(strata: readonly CountPair[], length: number): readonly CountPair[] {
  const eventsFrom = (from: number): number => addPairs(strata.slice(from, from + length)).canaryEvents;
  let worst = 0;
  for (let from = 1; from + length <= strata.length; from++) if (eventsFrom(from) > eventsFrom(worst)) worst = from;
  return [...strata.slice(0, worst), ...strata.slice(worst + length)];
}
