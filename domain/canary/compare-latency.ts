import { compareCounts } from './compare-counts.js';
import { PROOF_AT_END } from './early-promotion.js';
import type { Proof } from './early-promotion.js';
import { mannWhitney, rankTest, smallestMannWhitneyP } from './mann-whitney.js';
import type { MannWhitneyInput } from './mann-whitney.js';
import { median, spread } from './median.js';
import { Z_95 } from './normal.js';
import { addHistograms, histogramQuantile, slowerThan, tailQuantile, totalOf } from './series.js';
import type { Block, Histogram } from './series.js';
import type { AnalysisPolicy, MetricFinding } from './types.js';
import { noiseRatios } from './noise-floor.js';
import { REQUESTS_PER_BLOCK } from './stage-blocks.js';
import { apart, count, halves, percent, plural, probability, seconds, times } from '../words.js';

/** Arms that are equal differ by this much for reasons that no model knows. */
const TOLERANCE_RATIO = 1.12;
/**
 * Where the policy tolerates more, this part of it (of the logarithm) is what the test of counts starts from: a ratio of a
 * few slow requests scatters so much that it is above any limit now and then. At the default it is no more than the above.
 */
const NULL_PART = 2 / 3;
/** Over a short window a ratio scatters more: the guard is raised by this factor. */
const SHORT_WINDOW_GUARD = 1.06;
/** A p99 ratio that nobody could see must not be larger than this, or there is too little data to promote on. */
const COARSEST_RESOLUTION = 1.5;
const WORSE_P = 0.02;

/**
 * Shares of slow requests stand in for p99 where ranks can't be used: how much more of them a ratio of latencies makes
 * follows from the comparison's own histogram. `minRatio` is the least ratio that matters there, as counts of few slow
 * requests are coarser than a p99; a policy may tolerate more. `minDifference` and `marginShare` keep a share that is next
 * to nothing from growing to something that matters: what a policy says of errors is said of failed requests, not of
 * slow ones. A share that is larger by `coarsest` must be seen, or there is too little data to promote on.
 */
const SLOW = { minRatio: 1.3, baseShare: 0.1, minDifference: 0.002, marginShare: 0.004, coarsest: 0.25 } as const;
/**
 * Where more of the comparison's requests than this are above the largest bound, hardly more can be, however much slower
 * the canary is.
 */
const MOST_BEYOND = 0.5;
/**
 * By which power of a latency the share of slower requests falls, where nothing is known of its shape: of log-normal
 * latencies (sigma 0.6) x 1.12 makes 10 % slow requests 14 %, x 2 45 %. What is read counts as so many requests more.
 */
const USUAL_POWER = { power: 3, requests: 10 } as const;
const POWERS = { least: 1.5, most: 10 } as const;

export interface LatencyWindow {
  readonly blocks: readonly Block[];
  readonly boundsSeconds: readonly number[];
  readonly where: string;
  /** The window is only the last part of the stage. */
  readonly recent: boolean;
}

/**
 * Latency of both arms over blocks of one window. A rank test on the blocks' p99 where there are enough blocks of enough
 * requests for it to speak at this alpha; else the share of requests above a bucket bound that few of the comparison's
 * requests exceed.
 */
export function compareLatency(
  window: LatencyWindow,
  policy: AnalysisPolicy,
  alpha: number,
  proof = PROOF_AT_END,
): MetricFinding {
  const samples = blockP99s(window.blocks, window.boundsSeconds);
  const n = samples.canary.length;
  if (n > 0 && smallestMannWhitneyP(n, n) < alpha && samples.saturated === 0)
    return byRanks(samples, window, policy, alpha, proof);
  return bySlowShare(window, policy, alpha, proof);
}

export interface BlockP99s {
  readonly canary: readonly number[];
  readonly comparison: readonly number[];
  /** Blocks in which a p99 lies above the largest bound, so that ranks can't tell how far. */
  readonly saturated: number;
}

/** How the p99 of a block is read, and how many requests both arms need in it. */
export interface P99Reading {
  readonly quantile: typeof tailQuantile;
  readonly minRequests: number;
}

export const BY_TAIL: P99Reading = { quantile: tailQuantile, minRequests: REQUESTS_PER_BLOCK / 2 };
/** Of every block, as the dashboards of most people show it. */
export const AS_PROMETHEUS: P99Reading = { quantile: histogramQuantile, minRequests: 1 };

/** The p99 of each block that has enough requests on both arms, as logarithms of seconds. */
export function blockP99s(
  blocks: readonly Block[],
  boundsSeconds: readonly number[],
  { quantile, minRequests } = BY_TAIL,
): BlockP99s {
  const canary: number[] = [];
  const comparison: number[] = [];
  let saturated = 0;
  for (const block of blocks) {
    const [a, b] = [block.canary.histogram, block.comparison.histogram];
    if (a === null || b === null || Math.min(totalOf(a), totalOf(b)) < minRequests) continue;
    const [p, q] = [quantile(0.99, boundsSeconds, a), quantile(0.99, boundsSeconds, b)];
    if (p === null || q === null || p.seconds <= 0 || q.seconds <= 0) continue;
    if (p.saturated || q.saturated) saturated++;
    canary.push(Math.log(p.seconds));
    comparison.push(Math.log(q.seconds));
  }
  return { canary, comparison, saturated };
}

function byRanks(
  samples: BlockP99s,
  window: LatencyWindow,
  policy: AnalysisPolicy,
  alpha: number,
  proof: Proof,
): MetricFinding {
  const { canary, comparison } = samples;
  const worse = mannWhitney(shifted(samples, TOLERANCE_RATIO, 'greater'));
  const ratio = TOLERANCE_RATIO * Math.exp(worse.hodgesLehmann);
  const noise = noiseRatios(policy).latency;
  const threshold = Math.max(policy.minLatencyRatio, noise) * (window.recent ? SHORT_WINDOW_GUARD : 1);
  const margin = Math.max(policy.latencyMargin, noise);
  const rollback = worse.p < alpha && ratio >= threshold;
  const within = rankTest(shifted(samples, margin, 'less')).p < proof.p;
  const resolution = resolvableRatio(samples);
  const coarse = proof.makeshift && resolution > margin && resolution <= COARSEST_RESOLUTION;
  const nonInferior = within || (coarse && rankTest(shifted(samples, 1, 'greater')).p >= WORSE_P);
  const unseen = within ? margin : Math.max(margin, resolution);
  const values = { canary: typical(canary), comparison: typical(comparison) };
  const [own, other] = apart(seconds, values.canary, values.comparison);
  const [longer, limit] = apart(times, ratio, threshold);
  const n = canary.length;
  return {
    metric: 'latency-p99',
    verdict: rollback ? 'ROLLBACK' : nonInferior ? 'PROMOTE' : 'HOLD',
    ...values,
    unit: 'seconds',
    canaryN: n,
    comparisonN: comparison.length,
    test: 'mann-whitney',
    statistic: worse.u1,
    p: worse.p,
    alpha,
    effect: ratio,
    threshold,
    why:
      `p99 ${own} against ${other} ${window.where} ` +
      `(${plural(n, 'block')} each, U = ${halves(worse.u1)} against ${times(TOLERANCE_RATIO)} the comparison, ` +
      `p = ${probability(worse.p)}): ${longer} as long, ${reason()}.`,
  };

  function reason(): string {
    if (rollback)
      return `${ratio > threshold ? 'above' : 'at'} the limit of ${limit}, and p is below ${probability(alpha)}`;
    if (nonInferior) return `within the limit; more than ${times(unseen)} would have been seen`;
    if (ratio >= threshold)
      return `${ratio > threshold ? 'above' : 'at'} the limit of ${limit}, but p is not below ${probability(alpha)}`;
    return `below the limit of ${limit}, but ${times(margin)} can't be ruled out yet`;
  }
}

/** The question whether the canary's p99 is more (less) than so many times the comparison's. */
function shifted(samples: BlockP99s, ratio: number, alternative: 'greater' | 'less'): MannWhitneyInput {
  return { x: samples.canary, y: samples.comparison.map((value) => value + Math.log(ratio)), alternative };
}

/** The ratio of p99 that so many blocks of such scatter can rule out if both arms are alike, in all but 2.5 % of cases. */
function resolvableRatio({ canary, comparison }: BlockP99s): number {
  const variance = spread(canary) ** 2 / canary.length + spread(comparison) ** 2 / comparison.length;
  return Math.exp((Z_95 + 1.96) * Math.sqrt(variance));
}

function typical(logs: readonly number[]): number {
  return Math.exp(median(logs));
}

function bySlowShare(window: LatencyWindow, policy: AnalysisPolicy, alpha: number, proof: Proof): MetricFinding {
  const { blocks, boundsSeconds, where } = window;
  const canary = addHistograms(blocks.map((block) => block.canary.histogram));
  const comparison = addHistograms(blocks.map((block) => block.comparison.histogram));
  const common = { metric: 'latency-p99', unit: 'share', alpha, threshold: null };
  const none = { canary: null, comparison: null, canaryN: 0, comparisonN: 0, statistic: null, p: null, effect: null };
  if (canary === null || comparison === null) {
    const why = `Latencies can't be compared ${where}: no requests were measured on both arms.`;
    return { ...common, ...none, verdict: 'HOLD', test: 'fisher-exact', why };
  }
  const edge = edgeOf(comparison, boundsSeconds);
  const power = powerAt(edge, comparison, boundsSeconds);
  const noise = noiseRatios(policy).latency;
  const minRatio = Math.max(SLOW.minRatio, policy.minLatencyRatio, noise) ** power;
  const toleranceRatio = Math.max(TOLERANCE_RATIO, policy.minLatencyRatio ** NULL_PART) ** power;
  const margin = Math.max(policy.latencyMargin, noise) ** power - 1;
  const strata = blocks.flatMap(({ canary: a, comparison: b }) =>
    a.histogram === null || b.histogram === null
      ? []
      : [
          {
            canaryEvents: slowerThan(a.histogram, edge),
            canaryTotal: totalOf(a.histogram),
            comparisonEvents: slowerThan(b.histogram, edge),
            comparisonTotal: totalOf(b.histogram),
          },
        ],
  );
  const base = slowerThan(comparison, edge) / totalOf(comparison);
  const found = compareCounts(strata, {
    alpha,
    toleranceRatio,
    minDifference: SLOW.minDifference,
    minRatio,
    margin: margin * Math.max(base, SLOW.marginShare),
    coarsest: SLOW.coarsest,
    proof,
  });
  if (found === null) {
    const why = `Latencies can't be compared ${where}: no requests were measured on both arms at the same time.`;
    return { ...common, ...none, verdict: 'HOLD', test: 'fisher-exact', why };
  }
  const rollback = found.significant && found.matters;
  const beyond = base > MOST_BEYOND;
  return {
    ...common,
    threshold: minRatio,
    verdict: rollback ? 'ROLLBACK' : found.nonInferior && proof.makeshift && !beyond ? 'PROMOTE' : 'HOLD',
    canary: found.canary,
    comparison: found.comparison,
    canaryN: found.pair.canaryTotal,
    comparisonN: found.pair.comparisonTotal,
    test: found.test,
    statistic: found.z,
    p: found.p,
    effect: Number.isFinite(found.ratio) ? found.ratio : null,
    why:
      `${apart(percent, found.canary, found.comparison).join(' against ')} of requests took longer than ` +
      `${seconds(boundsSeconds[edge] ?? 0)} ${where} (n = ${count(found.pair.canaryTotal)} and ` +
      `${count(found.pair.comparisonTotal)}, p = ${probability(found.p)}): ${reason()}.`,
  };

  function reason(): string {
    const [more, limit] = apart(times, found!.ratio, minRatio);
    const ratio = `${more} as many`;
    if (rollback) return `${ratio}, above the limit of ${limit}, and p is below ${probability(alpha)}`;
    if (beyond)
      return `that is above the largest bucket, so how much slower the canary is can't be told; give the histogram buckets above ${seconds(boundsSeconds[edge] ?? 0)}`;
    if (found!.nonInferior)
      return `no more than chance explains${proof.makeshift ? '' : ', but that does not prove that p99 is the same'}`;
    if (found!.onlyBurst) return `${ratio}, but in a burst, not in most of the time; too many to call them equal`;
    if (found!.matters) return `${ratio}, above the limit of ${limit}, but p is not below ${probability(alpha)}`;
    return `${ratio}: below the limit of ${limit}, but too many to call them equal`;
  }
}

/** The smallest bound that at most a tenth of the comparison's requests exceed; the largest bound if none is. */
function edgeOf(comparison: Histogram, boundsSeconds: readonly number[]): number {
  const limit = SLOW.baseShare * totalOf(comparison);
  const edge = boundsSeconds.findIndex((_, i) => slowerThan(comparison, i) <= limit);
  return edge < 0 ? boundsSeconds.length - 1 : edge;
}

/** By which power of the latency the share of slower requests falls around an edge: read between it and the bound below. */
function powerAt(edge: number, comparison: Histogram, boundsSeconds: readonly number[]): number {
  const [lower, upper] = [boundsSeconds[edge - 1] ?? 0, boundsSeconds[edge]!];
  const [above, slower] = [slowerThan(comparison, edge), edge === 0 ? 0 : slowerThan(comparison, edge - 1)];
  if (lower <= 0 || above === 0) return USUAL_POWER.power;
  const read = Math.log(slower / above) / Math.log(upper / lower);
  const power = (above * read + USUAL_POWER.requests * USUAL_POWER.power) / (above + USUAL_POWER.requests);
  return Math.min(POWERS.most, Math.max(POWERS.least, power));
}
