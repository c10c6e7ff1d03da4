import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { blocksOf, countsWithin, evidenceOf, histogramQuantile, requestsBy } from '../../../domain/canary/series.js';
import type { ArmSamples, CounterSeries } from '../../../domain/canary/types.js';

type Row = number | null;

function series(instance: string, requests: readonly Row[], errors: readonly Row[]): CounterSeries {
  return { instance, requests, errors, buckets: [] };
}

function arm(...all: readonly CounterSeries[]): ArmSamples {
  return { timesMs: all[0]!.requests.map((_, i) => 1000 * i), leSeconds: [], series: all };
}

function total(samples: ArmSamples, fromMs = 0, toMs = 1e9) {
  return countsWithin(evidenceOf(samples, 1e9), fromMs, toMs, fromMs);
}

describe('evidenceOf', () => {
  it('adds up increases, and takes what a restarted process shows as new', () => {
    assert.deepEqual(total(arm(series('a', [100, 110, 3, 8], [5, 6, 1, 1]))), { requests: 18, errors: 2 });
  });

  it('sees a restart that only the errors show', () => {
    assert.deepEqual(total(arm(series('a', [10, 12], [9, 1]))), { requests: 12, errors: 1 });
  });

  it('counts a process that appears late from its first scrape on', () => {
    const late = series('b', [null, null, 500, 504], [null, null, 50, 50]);
    assert.deepEqual(total(arm(series('a', [0, 1, 2, 3], [0, 0, 0, 0]), late)), { requests: 7, errors: 0 });
  });

  it('bridges a missing scrape, and leaves out what came later than asked', () => {
    const samples = arm(series('a', [0, null, 20, 30], [0, null, 2, 3]));
    assert.deepEqual(total(samples), { requests: 30, errors: 3 });
    const early = evidenceOf(samples, 2500);
    assert.deepEqual(countsWithin(early, 0, 1e9, 0), { requests: 20, errors: 2 });
    assert.equal(early.lastSampleMs, 2000);
  });

  it('leaves out spans that began before the window may begin', () => {
    const samples = arm(series('a', [0, 100, 101, 102], [0, 0, 0, 0]));
    assert.equal(countsWithin(evidenceOf(samples, 1e9), 500, 3000, 500).requests, 2);
  });

  it('adds up requests by an instant as over a window, and goes through the spans once however often it is asked', () => {
    const rows = Array.from({ length: 200 }, (_, i): Row => (i % 7 === 3 ? null : i % 50 === 49 ? 1 : i * i));
    const evidence = evidenceOf(arm(series('a', rows, rows), series('b', rows.toReversed(), rows)), 1e9);
    let reads = 0;
    const counts = evidence.counts.map(({ fromMs, toMs, increases }) => ({
      fromMs,
      increases,
      get toMs() {
        reads++;
        return toMs;
      },
    }));
    const by = requestsBy({ ...evidence, counts }, 2500);
    const sorting = reads;
    for (let atMs = 0; atMs < 210_000; atMs += 500)
      assert.equal(by(atMs), countsWithin(evidence, 2500, atMs, 2500).requests, String(atMs));
    assert.ok(reads - sorting < 420 * 10, `${reads - sorting} reads for 420 looks at ${counts.length} spans`);
  });

  it('refuses malformed samples', () => {
    assert.throws(() => evidenceOf({ timesMs: [2, 1], leSeconds: [], series: [] }, 9), /must ascend/);
    assert.throws(() => evidenceOf({ timesMs: [1], leSeconds: [null, 1], series: [] }, 9), /must ascend/);
    assert.throws(() => evidenceOf({ timesMs: [1, 2], leSeconds: [], series: [series('a', [1], [0])] }, 9), /1 values/);
  });

  it('counts requests beyond the last bound where +Inf was not exported', () => {
    const slow = { ...series('a', [0, 10], [0, 0]), buckets: [[0], [4]] };
    const { histograms } = evidenceOf({ timesMs: [0, 1], leSeconds: [0.1], series: [slow] }, 9);
    assert.deepEqual(histograms[0]?.increases, [4, 10]);
  });
});

describe('blocksOf', () => {
  const nine = Array.from({ length: 9 }, () => 0);
  const grid = { fromMs: 0, toMs: 8000, blockMs: 2000, scrapeIntervalMs: 1000 };
  const steady = evidenceOf(arm(series('a', [0, 1, 2, 3, 4, 5, 6, 7, 8], nine)), 1e9);

  it('counts every increase once', () => {
    const blocks = blocksOf(steady, steady, grid);
    assert.deepEqual(
      blocks.map(({ fromMs, canary }) => [fromMs, canary.requests]),
      [
        [0, 2],
        [2000, 2],
        [4000, 2],
        [6000, 2],
      ],
    );
  });

  it('drops a gap over the edge of a block in both arms, and keeps one inside', () => {
    const across = evidenceOf(arm(series('a', [0, 1, null, 3, 4, 5, 6, null, 8], nine)), 1e9);
    const blocks = blocksOf(steady, across, grid);
    assert.deepEqual(
      blocks.map(({ comparison }) => comparison.requests),
      [1, 1, 2, 2],
    );
    const single = blocksOf(steady, across, { ...grid, blockMs: 1000 });
    assert.deepEqual(
      single.map(({ fromMs }) => fromMs),
      [0, 3000, 4000, 5000],
    );
  });
});

describe('histogramQuantile', () => {
  const bounds = [0.1, 0.2, 0.4];

  it('is linear inside a bucket, from 0 in the first, as in Prometheus', () => {
    assert.deepEqual(histogramQuantile(0.5, bounds, [100, 100, 100, 100]), { seconds: 0.05, saturated: false });
    const { seconds } = histogramQuantile(0.99, bounds, [0, 90, 100, 100])!;
    assert.ok(Math.abs(seconds - 0.38) < 1e-12);
  });

  it('flags a quantile above the largest bound', () => {
    assert.deepEqual(histogramQuantile(0.99, bounds, [0, 50, 90, 100]), { seconds: 0.4, saturated: true });
  });

  it('has no answer without observations or bounds', () => {
    assert.equal(histogramQuantile(0.99, bounds, [0, 0, 0, 0]), null);
    assert.equal(histogramQuantile(0.99, [], [7]), null);
  });
});
