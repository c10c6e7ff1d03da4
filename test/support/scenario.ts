import { seededRandom } from '../../bench/canary/random.js';
import { scrape } from '../domain/canary/simulate.js';

/** A canary of 30 minutes at 20 requests/s against a baseline with 0.2 % errors, as a line for `judge --jsonl`. */
export function scenarioLine(id: string, errorRate: number): string {
  const random = seededRandom(11);
  const arm = (rate: number) => {
    const times = { startMs: 0, scrapes: 120, intervalMs: 15_000 };
    return scrape({ requestsPerSecond: 20, errorRate: rate }, times, random);
  };
  const [canary, baseline] = [arm(errorRate), arm(0.002)];
  const counters = ({ series: [series] }: typeof canary) => ({
    requests_total: series?.requests,
    errors_total: series?.errors,
    latency_bucket_total: series?.buckets,
  });
  return JSON.stringify({
    id,
    scrape_interval_s: 15,
    horizon_s: 1800,
    t_s: canary.timesMs.map((time) => time / 1000),
    le_ms: canary.leSeconds.map((bound) => (bound === null ? '+Inf' : bound * 1000)),
    canary: counters(canary),
    baseline: counters(baseline),
  });
}
