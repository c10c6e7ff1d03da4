import { binomialGreater } from './counts.js';
import { countsWithin, histogramQuantile, histogramWithin, isAbove, slowerThan, totalOf } from './series.js';
import type { ArmEvidence } from './series.js';
import type { JudgeInput, MetricFinding } from './types.js';
import { apart, count, durationText, percent, probability, seconds } from '../words.js';

/**
 * Limits are looked at every few seconds, all through a rollout, on few requests: one failure in 20 must not cross a
 * limit of 0.5 %. So a limit counts as crossed only when chance alone would do that less often than this.
 */
const CHANCE_OF_CROSSING = 1e-4;

/**
 * What the hard limits say of the last `limits.windowMs`; at every call, whatever the judge. Empty when the canary had
 * fewer than `limits.minRequests` requests in it.
 *
 * ROLLBACK: the canary crosses a limit that the comparison keeps, or has failed catastrophically. HOLD: both cross it,
 * which is a shared incident and not the canary's fault. PROMOTE, which is not followed: a limit that can't be checked.
 */
export function hardLimitFindings(
  input: JudgeInput,
  canary: ArmEvidence,
  comparison: ArmEvidence | null,
): MetricFinding[] {
  const findings = [
    catastrophe(input, canary, comparison),
    errorLimit(input, canary, comparison),
    latencyLimit(input, canary, comparison),
  ];
  return findings.filter((finding) => finding !== null);
}

function catastrophe(input: JudgeInput, canary: ArmEvidence, comparison: ArmEvidence | null): MetricFinding | null {
  const { scrapeIntervalMs } = input.policy;
  const { catastrophicErrorRate, minRequests, windowMs } = input.policy.limits;
  // From the very start, warm-up included: caches that are cold slow requests down, they don't fail half of them.
  const from = input.startMs;
  // The newest scrape alone first: good requests of the moment before must not hide that all fail now. A little less
  // than an interval, so that the scrape before it is not in it.
  for (const lengthMs of [Math.min(windowMs, 0.95 * scrapeIntervalMs), windowMs]) {
    const own = countsWithin(canary, input.atMs - lengthMs, input.atMs, from);
    const rate = rateOf(own);
    if (rate === null || own.requests < minRequests || rate < catastrophicErrorRate) continue;
    const other = comparison === null ? null : countsWithin(comparison, input.atMs - lengthMs, input.atMs, from);
    const [failing, limit] = apart(percent, rate, catastrophicErrorRate);
    return {
      ...limitFinding('ratio', rate, rateOf(other), own.requests, other?.requests ?? 0),
      verdict: 'ROLLBACK',
      effect: rate - catastrophicErrorRate,
      threshold: catastrophicErrorRate,
      why:
        `${failing} of the canary's ${count(own.requests)} requests of the last ${durationText(lengthMs)} failed: at ` +
        `or above the catastrophic limit of ${limit}, whatever the comparison does.`,
    };
  }
  return null;
}

function errorLimit(input: JudgeInput, canary: ArmEvidence, comparison: ArmEvidence | null): MetricFinding | null {
  const { maxErrorRate, minRequests, windowMs } = input.policy.limits;
  const from = input.startMs + input.policy.warmUpMs;
  const own = countsWithin(canary, input.atMs - windowMs, input.atMs, from);
  if (maxErrorRate === null || own.requests < Math.max(1, minRequests)) return null;
  const rate = own.errors / own.requests;
  const p = binomialGreater(own.errors, own.requests, maxErrorRate);
  if (rate <= maxErrorRate || p >= CHANCE_OF_CROSSING) return null;
  const other = comparison === null ? null : countsWithin(comparison, input.atMs - windowMs, input.atMs, from);
  const otherRate = rateOf(other);
  const shared = otherRate !== null && otherRate > maxErrorRate;
  const [failing, limit] = apart(percent, rate, maxErrorRate);
  return {
    ...limitFinding('ratio', rate, otherRate, own.requests, other?.requests ?? 0),
    verdict: shared ? 'HOLD' : 'ROLLBACK',
    p,
    alpha: CHANCE_OF_CROSSING,
    effect: rate - maxErrorRate,
    threshold: maxErrorRate,
    why:
      `The canary's error rate of the last ${durationText(windowMs)} is ${failing} (n = ${count(own.requests)}, ` +
      `p = ${probability(p)}): above the limit of ${limit}, ` +
      `${sharedOrNot(shared, otherRate === null ? null : percent(otherRate), other?.requests ?? 0)}.`,
  };
}

function latencyLimit(input: JudgeInput, canary: ArmEvidence, comparison: ArmEvidence | null): MetricFinding | null {
  const { maxP99Seconds, minRequests, windowMs } = input.policy.limits;
  if (maxP99Seconds === null) return null;
  const from = input.startMs + input.policy.warmUpMs;
  const own = histogramWithin(canary, input.atMs - windowMs, input.atMs, from);
  // Requests above the next bound are surely above the limit; of those in the limit's own bucket nobody knows.
  const edge = canary.boundsSeconds.findIndex((bound) => bound >= maxP99Seconds);
  if (edge < 0) return uncheckedLatency(input, canary, maxP99Seconds);
  if (own === null || totalOf(own) < Math.max(1, minRequests)) return null;
  const quantile = histogramQuantile(0.99, canary.boundsSeconds, own);
  const p = binomialGreater(slowerThan(own, edge), totalOf(own), 0.01);
  if (quantile === null || !isAbove(quantile, maxP99Seconds) || p >= CHANCE_OF_CROSSING) return null;
  const other = comparison === null ? null : histogramWithin(comparison, input.atMs - windowMs, input.atMs, from);
  const otherP99 =
    other === null || comparison === null ? null : histogramQuantile(0.99, comparison.boundsSeconds, other);
  const shared = otherP99 !== null && isAbove(otherP99, maxP99Seconds);
  const otherN = other === null ? 0 : totalOf(other);
  const [slow, limit] = apart(seconds, quantile.seconds, maxP99Seconds);
  return {
    ...limitFinding('seconds', quantile.seconds, otherP99?.seconds ?? null, totalOf(own), otherN),
    verdict: shared ? 'HOLD' : 'ROLLBACK',
    p,
    alpha: CHANCE_OF_CROSSING,
    effect: quantile.seconds / maxP99Seconds,
    threshold: maxP99Seconds,
    why:
      `The canary's p99 of the last ${durationText(windowMs)} is ${quantile.saturated ? 'at least ' : ''}` +
      `${slow} (n = ${count(totalOf(own))}, p = ${probability(p)}): above the limit of ` +
      `${limit}, ${sharedOrNot(shared, otherP99 === null ? null : seconds(otherP99.seconds), otherN)}.`,
  };
}

/** A limit that no bucket can show as crossed must not pass for one that is kept. */
function uncheckedLatency(input: JudgeInput, canary: ArmEvidence, maxP99Seconds: number): MetricFinding | null {
  const { minRequests, windowMs } = input.policy.limits;
  const from = input.startMs + input.policy.warmUpMs;
  const { requests } = countsWithin(canary, input.atMs - windowMs, input.atMs, from);
  if (requests < Math.max(1, minRequests)) return null;
  const largest = canary.boundsSeconds.at(-1);
  const reason =
    largest === undefined
      ? 'the canary has no latency histogram; give it one, or write maxP99: off'
      : `the largest bucket of the canary's histogram ends at ${seconds(largest)}; give it larger buckets, or write ${seconds(largest)} or less`;
  return {
    ...limitFinding('seconds', null, null, requests, 0),
    verdict: 'PROMOTE',
    effect: null,
    threshold: maxP99Seconds,
    why: `The limit of ${seconds(maxP99Seconds)} on the canary's p99 (limits.maxP99) can't be checked: ${reason}.`,
    advisory: true,
  };
}

function rateOf(counts: { readonly requests: number; readonly errors: number } | null): number | null {
  return counts === null || counts.requests === 0 ? null : counts.errors / counts.requests;
}

function sharedOrNot(shared: boolean, other: string | null, n: number): string {
  if (other === null) return 'and there is no comparison to share it';
  if (shared) return `but so is the comparison's, at ${other} (n = ${count(n)}): a shared incident`;
  return `which the comparison keeps at ${other} (n = ${count(n)})`;
}

function limitFinding(
  unit: string,
  canary: number | null,
  comparison: number | null,
  canaryN: number,
  comparisonN: number,
): Omit<MetricFinding, 'verdict' | 'effect' | 'threshold' | 'why'> {
  const test = { test: 'limit', statistic: null, p: null, alpha: null };
  return { metric: 'hard-limit', canary, comparison, unit, canaryN, comparisonN, ...test };
}
