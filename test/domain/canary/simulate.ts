import { normal, poisson, seededRandom } from '../../../bench/canary/random.js';
import type { Random } from '../../../bench/canary/random.js';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { judge } from '../../../domain/canary/judge.js';
import type { AnalysisPolicy, ArmSamples, JudgeInput, Verdict } from '../../../domain/canary/types.js';

export const bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5] as const;

/** An arm as a service would behave: log-normal latencies with a median of 50 ms, independent errors. */
export interface Service {
  readonly requestsPerSecond: number;
  readonly errorRate: number;
  readonly latencyFactor?: number;
  /** 10 points more errors from this second on. */
  readonly failsFromS?: number;
}

/** Scrapes of one process from `startMs` on, the first at `startMs` itself. */
export function scrape(
  service: Service,
  times: { readonly startMs: number; readonly scrapes: number; readonly intervalMs: number },
  random: Random,
): ArmSamples {
  const { startMs, scrapes, intervalMs } = times;
  const requests = [0];
  const errors = [0];
  const buckets = [Array.from({ length: bounds.length + 1 }, () => 0)];
  for (let i = 1; i <= scrapes; i++) {
    const row = [...buckets[i - 1]!];
    let failed = errors[i - 1]!;
    const answered = poisson((service.requestsPerSecond * intervalMs) / 1000, random);
    const failingMs = Math.min(intervalMs, Math.max(0, i * intervalMs - (service.failsFromS ?? Infinity) * 1000));
    const errorRate = service.errorRate + (0.1 * failingMs) / intervalMs;
    for (let k = 0; k < answered; k++) {
      if (random() < errorRate) failed++;
      const latency = 0.05 * (service.latencyFactor ?? 1) * Math.exp(0.6 * normal(random));
      const first = bounds.findIndex((bound) => latency <= bound);
      for (let b = first < 0 ? bounds.length : first; b <= bounds.length; b++) row[b]!++;
    }
    requests.push(requests[i - 1]! + answered);
    errors.push(failed);
    buckets.push(row);
  }
  return {
    timesMs: requests.map((_, i) => startMs + i * intervalMs),
    leSeconds: [...bounds, null],
    series: [{ instance: 'pod-0', requests, errors, buckets }],
  };
}

/** Independent values of the standard normal distribution. */
export function normalSample(n: number, random: Random): readonly number[] {
  return Array.from({ length: n }, () => normal(random));
}

export interface Stage {
  readonly policy: AnalysisPolicy;
  readonly durationMs: number;
  readonly budgetShare?: number;
  readonly expectedShare?: number | null;
}

/** The short stages of the demo: samples every second, a look every 4 s, 2 s of warm-up, 20 s in all. */
export function demoStage(): Stage {
  const policy = { ...defaultAnalysis(1000), lookEveryMs: 4000, warmUpMs: 2000, minRequests: 40 };
  return { policy, durationMs: 20_000, budgetShare: 0.25 };
}

export const startMs = 1_790_000_000_000;

export function inputOf(stage: Stage, canary: ArmSamples, comparison: ArmSamples | null, atMs: number): JudgeInput {
  const { policy, durationMs, budgetShare = 1, expectedShare = null } = stage;
  return { policy, durationMs, budgetShare, expectedShare, startMs, atMs, canary, comparison };
}

/** Watches a stage as a worker would, at every look, and returns the first verdict that is not a HOLD, or the last. */
export function watch(stage: Stage, canary: Service, comparison: Service, seed: number): Verdict {
  const { policy, durationMs } = stage;
  const random = seededRandom(seed);
  const intervalMs = policy.scrapeIntervalMs;
  const times = { startMs, scrapes: Math.ceil(durationMs / intervalMs), intervalMs };
  const [own, other] = [scrape(canary, times, random), scrape(comparison, times, random)];
  for (let atMs = startMs + policy.lookEveryMs; ; atMs = Math.min(atMs + policy.lookEveryMs, startMs + durationMs)) {
    const verdict = judge(inputOf(stage, own, other, atMs));
    if (verdict.kind !== 'HOLD' || atMs >= startMs + durationMs) return verdict;
  }
}
