import { binomialTwoSided } from './counts.js';
import { countsWithin } from './series.js';
import type { ArmEvidence } from './series.js';
import type { JudgeInput, MetricFinding } from './types.js';
import { count, percent, probability } from '../words.js';

/** Below this a split is not a mismatch (semantics.md, "Arms on Kubernetes"). */
const MISMATCH_P = 1e-4;
/** Requests of both arms together below which nothing is said. */
const MIN_REQUESTS = 100;
/** With very many requests any small deviation is significant: connections that are kept open suffice for that. */
const MIN_RELATIVE_DEVIATION = 0.15;
/** Requests by which the arms may be apart because they are not scraped at one instant, beyond one scrape's worth. */
const LAG_REQUESTS = 5;

/**
 * Sample-ratio test: are the requests of both arms since the weight was set split as it says? An exact binomial test,
 * after the deviation was lowered by one scrape interval's requests, which may be missing on one arm.
 *
 * @returns `null` where there is no split to test, or too few requests.
 */
export function trafficSplitFinding(
  input: JudgeInput,
  canary: ArmEvidence,
  comparison: ArmEvidence | null,
): MetricFinding | null {
  const expected = input.expectedShare;
  if (expected === null || comparison === null) return null;
  const own = countsWithin(canary, input.startMs, input.atMs, input.startMs).requests;
  const total = own + countsWithin(comparison, input.startMs, input.atMs, input.startMs).requests;
  if (total < MIN_REQUESTS) return null;
  const scrapes = Math.max(1, (input.atMs - input.startMs) / input.policy.scrapeIntervalMs);
  const smallerShare = Math.min(expected, 1 - expected);
  const lag = Math.ceil((total * smallerShare) / scrapes) + LAG_REQUESTS;
  const deviation = own - total * expected;
  const beyondLag = Math.max(0, Math.abs(deviation) - lag);
  const counted = Math.round(total * expected + Math.sign(deviation) * beyondLag);
  const p = beyondLag === 0 ? 1 : binomialTwoSided(counted, total, expected);
  const matters = Math.abs(deviation) > MIN_RELATIVE_DEVIATION * smallerShare * total;
  const mismatch = p < MISMATCH_P && matters;
  const share = own / total;
  return {
    metric: 'traffic-split',
    verdict: mismatch ? 'HOLD' : 'PROMOTE',
    canary: share,
    comparison: 1 - share,
    unit: 'share',
    canaryN: own,
    comparisonN: total - own,
    test: 'binomial',
    statistic: null,
    p,
    alpha: MISMATCH_P,
    effect: share - expected,
    threshold: MIN_RELATIVE_DEVIATION * smallerShare,
    why:
      `The canary got ${percent(share)} of ${count(total)} requests where ${percent(expected)} were set ` +
      `(p = ${probability(p)}): traffic is ${mismatch ? 'not ' : ''}split as set.`,
  };
}
