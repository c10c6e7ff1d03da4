import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { binomial, poisson, seededRandom } from '../../../bench/canary/random.js';
import { compareCounts } from '../../../domain/canary/compare-counts.js';
import type { CountPair } from '../../../domain/canary/counts.js';
import { compareLatency } from '../../../domain/canary/compare-latency.js';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { histogramQuantile, tailQuantile } from '../../../domain/canary/series.js';
import type { Block } from '../../../domain/canary/series.js';
import type { AnalysisPolicy } from '../../../domain/canary/types.js';

const BOUNDS = [0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** Of requests whose share above a latency falls with this power of it, from 20 ms on, times a factor. */
function histogram(total: number, power: number, factor = 1): readonly number[] {
  const slower = (bound: number): number => Math.min(1, (bound / (0.02 * factor)) ** -power);
  return [...BOUNDS.map((bound) => Math.round(total * (1 - slower(bound)))), total];
}

describe('a p99 within a bucket', () => {
  it('is read exactly where the share of slower requests falls as a power of the latency', () => {
    for (const power of [1.5, 2, 3]) {
      const read = tailQuantile(0.99, BOUNDS, histogram(1_000_000, power));
      const exact = 0.02 * 100 ** (1 / power);
      assert.ok(read !== null && Math.abs(read.seconds / exact - 1) < 0.001, `${power}: ${read?.seconds}`);
    }
  });

  it('that rises by 30 % is seen to do so, where a straight line shows a part of it', () => {
    const ratio = (read: typeof tailQuantile) =>
      read(0.99, BOUNDS, histogram(1_000_000, 4, 1.3))!.seconds / read(0.99, BOUNDS, histogram(1_000_000, 4))!.seconds;
    assert.ok(Math.abs(ratio(tailQuantile) - 1.3) < 0.01, String(ratio(tailQuantile)));
    assert.ok(Math.abs(ratio(histogramQuantile) - 1.3) > 0.05, String(ratio(histogramQuantile)));
  });

  it('stays within its bucket, also where nobody was slower', () => {
    assert.equal(tailQuantile(0.99, BOUNDS, [0, 0, 0, 0, 0, 0, 0]), null);
    const all = tailQuantile(0.99, BOUNDS, [0, 0, 90, 100, 100, 100, 100]);
    assert.ok(all !== null && all.seconds > 0.1 && all.seconds <= 0.25, String(all?.seconds));
    assert.deepEqual(tailQuantile(0.99, BOUNDS, [0, 0, 0, 0, 0, 0, 100]), { seconds: 1, saturated: true });
  });
});

describe('a share of slow requests', () => {
  const policy = defaultAnalysis(15_000);
  const slow = (power: number, factor: number, change: Partial<AnalysisPolicy> = {}) => {
    const arm = (by: number) => ({ requests: 2000, errors: 0, histogram: histogram(2000, power, by) });
    const block: Block = { fromMs: 0, toMs: 60_000, canary: arm(factor), comparison: arm(1) };
    const window = { blocks: [block], boundsSeconds: BOUNDS, where: 'here', recent: false };
    return compareLatency(window, { ...policy, ...change }, 0.001);
  };

  it('is held against what 1.3 times the latency would make of it: more, the narrower latencies are', () => {
    // 15 % slower: 2.3 times as many slow requests where latencies are narrow, and yet it is but 15 %.
    assert.notEqual(slow(6, 1.15).verdict, 'ROLLBACK', slow(6, 1.15).why);
    assert.equal(slow(6, 1.6).verdict, 'ROLLBACK', slow(6, 1.6).why);
    assert.equal(slow(2, 1.6).verdict, 'ROLLBACK', slow(2, 1.6).why);
    assert.ok((slow(6, 1).threshold ?? 0) > 1.5 * (slow(2, 1).threshold ?? 0));
  });

  it('is held against what the policy tolerates, where that is more', () => {
    assert.equal(slow(2, 1.6).verdict, 'ROLLBACK');
    const tolerated = slow(2, 1.6, { minLatencyRatio: 2, latencyMargin: 2 });
    assert.equal(tolerated.verdict, 'PROMOTE', tolerated.why);
    assert.equal(slow(2, 4, { minLatencyRatio: 2, latencyMargin: 2 }).verdict, 'ROLLBACK');
    // 27 of 240 and 3 of 240: nine times as many by chance, where half as slow again makes four times as many.
    const arm = (beyond: number) => ({
      requests: 240,
      errors: 0,
      histogram: [0, 0, 120, ...[0, 0, 0, 0].map(() => 240 - beyond).slice(1), 240],
    });
    const block: Block = { fromMs: 0, toMs: 60_000, canary: arm(27), comparison: arm(3) };
    const window = { blocks: [block], boundsSeconds: BOUNDS, where: 'here', recent: false };
    const minding = (minLatencyRatio: number) => compareLatency(window, { ...policy, minLatencyRatio }, 3e-4).verdict;
    assert.equal(minding(1.18), 'ROLLBACK');
    assert.notEqual(minding(2), 'ROLLBACK');
  });

  it('is no proof where most requests are above the largest bucket', () => {
    const arm = (beyond: number) => ({
      requests: 2000,
      errors: 0,
      histogram: [...BOUNDS.map(() => 2000 - beyond), 2000],
    });
    const share = (canary: number, comparison: number) => {
      const block: Block = { fromMs: 0, toMs: 60_000, canary: arm(canary), comparison: arm(comparison) };
      const window = { blocks: [block], boundsSeconds: BOUNDS, where: 'here', recent: false };
      return compareLatency(window, policy, 0.001);
    };
    assert.equal(share(1980, 1760).verdict, 'HOLD');
    assert.match(
      share(1980, 1760).why,
      /^99 % against 88 % of requests took longer than 1 s here .*: that is above the largest bucket, .*; give the histogram buckets above 1 s\.$/,
    );
    assert.equal(share(800, 800).verdict, 'PROMOTE');
    assert.equal(share(1980, 1020).verdict, 'ROLLBACK', 'more than ever can be told is told');
  });

  it('is none of what the policy says of errors', () => {
    const errors = { minErrorIncrease: 0.5, errorMargin: 0.5 };
    assert.deepEqual(slow(2, 1.6, errors), slow(2, 1.6));
    assert.deepEqual(slow(2, 1.2, errors), slow(2, 1.2));
  });
});

describe('errors that come in runs', () => {
  const rule = {
    alpha: 1e-3,
    toleranceRatio: 1.15,
    minDifference: 0.002,
    minRatio: 1.4,
    margin: 0.004,
    coarsest: 0.1,
  };
  /** How many of 200 comparisons find the canary worse: 40 blocks of 100 requests, errors in runs of so many. */
  const worse = (runsOf: number, own: number, other: number): number => {
    const random = seededRandom(5);
    const events = (rate: number): number =>
      runsOf === 1 ? binomial(100, rate, random) : Math.min(100, runsOf * poisson((100 * rate) / runsOf, random));
    const found = Array.from({ length: 200 }, () => {
      const strata = Array.from({ length: 40 }, (): CountPair => ({
        canaryEvents: events(own),
        canaryTotal: 100,
        comparisonEvents: events(other),
        comparisonTotal: 100,
      }));
      return compareCounts(strata, rule);
    });
    return found.filter((one) => one?.significant === true && one.matters).length;
  };

  it('are no reason to roll back, and errors that do not are found as before', () => {
    assert.ok(worse(8, 0.015, 0.015) <= 4, `in runs: ${worse(8, 0.015, 0.015)}`);
    assert.ok(worse(1, 0.015, 0.015) <= 1, `one by one: ${worse(1, 0.015, 0.015)}`);
    assert.ok(worse(1, 0.03, 0.005) >= 195, `a rise: ${worse(1, 0.03, 0.005)}`);
    assert.ok(worse(1, 0.02, 0) >= 195, `a rise from nothing: ${worse(1, 0.02, 0)}`);
  });
});
