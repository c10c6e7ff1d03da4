import { createMetricsFactory } from '../../activities/metrics/metrics-for.js';
import { foresightMs, timeToSee } from '../../domain/canary/foresight.js';
import type { ExpectedTraffic } from '../../domain/canary/foresight.js';
import { countsWithin, evidenceOf } from '../../domain/canary/series.js';
import type { Plan } from '../../domain/plan.js';
import type { Policy } from '../../domain/policy.js';
import { durationText, percent, points } from '../../domain/words.js';

/** What stable had lately says what the stages will have. */
const LOOK_BACK_MS = 15 * 60_000;
const LIMIT_MS = 5000;
/** Rises of the error rate whose time is told. */
const RISES = [0.02, 0.1] as const;

/** What stable's traffic is now; or why that is not known. */
export type TrafficNow =
  | { readonly kind: 'known'; readonly perSecond: number; readonly errorRate: number }
  | { readonly kind: 'unknown'; readonly why: string };

/** Asks the policy's Prometheus for stable's last 15 minutes. */
export async function trafficNow(
  policy: Policy,
  stableVersion: string | null,
  secrets: Readonly<Record<string, string>>,
): Promise<TrafficNow> {
  if (stableVersion === null) return { kind: 'unknown', why: 'nothing serves yet' };
  if (policy.metrics.source === 'gateway') return { kind: 'unknown', why: 'the gateway keeps no past' };
  const toMs = Date.now();
  const fromMs = toMs - LOOK_BACK_MS;
  const source = createMetricsFactory({ scrapeDir: '', secrets })(policy.metrics);
  const query = {
    lane: policy.lane,
    target: policy.target,
    arms: [{ arm: 'stable' as const, version: stableVersion }],
    fromMs,
    toMs,
    stepMs: policy.analysis.scrapeIntervalMs,
    originMs: fromMs,
  };
  const answer = await source.samples(query, AbortSignal.timeout(LIMIT_MS));
  if (answer.kind !== 'value')
    return { kind: 'unknown', why: answer.kind === 'no-data' ? answer.detail : answer.reason };
  if (answer.unfit !== undefined) return { kind: 'unknown', why: answer.unfit };
  const seen = answer.arms.stable;
  const firstMs = seen?.timesMs[0];
  const lastMs = seen?.timesMs.at(-1);
  if (seen === undefined || firstMs === undefined || lastMs === undefined || lastMs <= firstMs)
    return { kind: 'unknown', why: 'Prometheus has fewer than two samples of stable' };
  const { requests, errors } = countsWithin(evidenceOf(seen, toMs), firstMs, lastMs, firstMs);
  if (requests === 0) return { kind: 'unknown', why: 'stable had no requests in the last 15 min' };
  return { kind: 'known', perSecond: (requests * 1000) / (lastMs - firstMs), errorRate: errors / requests };
}

/** For each stage: what its traffic lets the judge see, and when. */
export function foreseen(policy: Policy, plan: Plan, traffic: TrafficNow): readonly string[] {
  if (plan.stages.length === 0) return [];
  if (traffic.kind === 'unknown') return [`how soon a bad release would be seen is not known (${traffic.why})`];
  const { analysis } = policy;
  return plan.stages.map(({ number, weights, durationMs, budgetShare }) => {
    const share = (percentage: number): number => (traffic.perSecond * percentage) / 100;
    const expected: ExpectedTraffic = {
      canaryPerSecond: share(weights.canary),
      comparisonPerSecond: share(weights.baseline > 0 ? weights.baseline : weights.stable),
      errorRate: traffic.errorRate,
    };
    const stage = { policy: analysis, durationMs, budgetShare };
    const times = RISES.map((rise) => {
      const ms = expected.comparisonPerSecond > 0 ? timeToSee(stage, expected, rise) : null;
      return ms === null
        ? `one of ${points(rise)} would not be seen within ${durationText(foresightMs(stage))}`
        : `one of ${points(rise)} needs about ${durationText(ms)} to be seen`;
    });
    const rate = Number(expected.canaryPerSecond.toPrecision(2));
    const enoughMs = (analysis.minRequests * 1000) / Math.min(expected.canaryPerSecond, expected.comparisonPerSecond);
    const short =
      enoughMs + analysis.warmUpMs > durationMs && Number.isFinite(enoughMs)
        ? `; the ${analysis.minRequests} requests that a promotion takes are there after about ${durationText(enoughMs + analysis.warmUpMs)}, and the stage lasts ${durationText(durationMs)}`
        : '';
    return `stage ${number} at ${rate} requests/s (errors now ${percent(traffic.errorRate)}): of rises of the error rate, ${times.join(', ')}${short}`;
  });
}
