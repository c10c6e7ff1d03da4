import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { LIVE_CHARACTERS, LIVE_LOOKS, LIVE_POINTS, liveStage, withLook } from '../../domain/live.js';
import type { LiveInput, LiveLook } from '../../domain/live.js';
import type { ArmSamples, Verdict } from '../../domain/canary/types.js';
import { parseLive } from '../../formats/live.js';

const START = Date.parse('2026-11-21T20:00:00Z');
const SCRAPE_MS = 5000;

/** An arm that is asked `perScrape` times between two scrapes, 1 in 10 of which fails; `missing` scrapes had no answer. */
function arm(
  scrapes: number,
  { perScrape = 100, pods = 1, missing = [] as readonly number[], from = 0 } = {},
): ArmSamples {
  const timesMs = Array.from({ length: scrapes }, (_, i) => START + (from + i) * SCRAPE_MS);
  const counter = (step: number) => timesMs.map((_, i) => (missing.includes(i) ? null : i * step));
  return {
    timesMs,
    leSeconds: [0.1, 0.2, null],
    series: Array.from({ length: pods }, (_, pod) => ({
      instance: `pod-${pod}`,
      requests: counter(perScrape),
      errors: counter(perScrape / 10),
      buckets: timesMs.map((_, i) =>
        missing.includes(i) ? null : [i * perScrape * 0.9, i * perScrape, i * perScrape],
      ),
    })),
  };
}

function input(change: Partial<LiveInput> = {}): LiveInput {
  return {
    stage: 'stage-1',
    startMs: START,
    durationMs: 600_000,
    scrapeIntervalMs: SCRAPE_MS,
    canary: arm(13),
    comparison: null,
    looks: [],
    ...change,
  };
}

test('each scrape is a point while there are few', () => {
  const { points } = liveStage(input({ comparison: arm(13, { pods: 2 }) }));
  assert.equal(points.length, 12);
  assert.deepEqual(points[0], {
    atMs: START + SCRAPE_MS,
    canary: { requests: 100, errors: 10, p99Ms: 190 },
    comparison: { requests: 200, errors: 20, p99Ms: 190 },
  });
});

test('nothing seen is no point, and a missing scrape belongs to the next', () => {
  assert.deepEqual(liveStage(input({ canary: null })).points, []);
  const { points } = liveStage(input({ canary: arm(5, { missing: [2] }) }));
  assert.deepEqual(
    points.map(({ atMs, canary }) => [(atMs - START) / SCRAPE_MS, canary.requests]),
    [
      [1, 100],
      [3, 200],
      [4, 100],
    ],
  );
});

test('no request and no histogram has no p99', () => {
  const idle = liveStage(input({ canary: arm(3, { perScrape: 0 }) })).points[0];
  assert.deepEqual(idle?.canary, { requests: 0, errors: 0, p99Ms: null });
  const bare = arm(3);
  const plain = { ...bare, leSeconds: [], series: bare.series.map((series) => ({ ...series, buckets: [] })) };
  assert.equal(liveStage(input({ canary: plain })).points[0]?.canary.p99Ms, null);
});

test('no request is lost, whatever is joined', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 5 }), (scrapes, pods) => {
      const live = liveStage(input({ canary: arm(scrapes, { pods }) }));
      assert.ok(live.points.length <= LIVE_POINTS);
      const requests = live.points.reduce((sum, { canary }) => sum + canary.requests, 0);
      assert.equal(requests, (scrapes - 1) * 100 * pods);
      if (scrapes > 1) assert.equal(live.points.at(-1)?.atMs, START + (scrapes - 1) * SCRAPE_MS);
    }),
    { numRuns: 60 },
  );
});

test('a point that is over stays as it is until points are joined', () => {
  const before = liveStage(input({ canary: arm(41) })).points;
  const after = liveStage(input({ canary: arm(47) })).points;
  assert.deepEqual(after.slice(0, 40), before);
});

test('it stays small: the longest stage, the longest summaries, the largest numbers', () => {
  const looks: LiveLook[] = Array.from({ length: 50 }, (_, i) => ({
    atMs: START + i * 60_000,
    kind: 'HOLD',
    summary: `${i} ${'größer '.repeat(60)}`,
  }));
  for (const scrapes of [2, 60, 61, 120, 5000]) {
    const big = { perScrape: 1_000_000, pods: 3 };
    const live = liveStage(input({ canary: arm(scrapes, big), comparison: arm(scrapes, big), looks }));
    const size = JSON.stringify(live).length;
    assert.ok(size <= LIVE_CHARACTERS, `${size} characters at ${scrapes} scrapes`);
    assert.ok(scrapes < 3 || live.points.length >= 10, `${live.points.length} points at ${scrapes} scrapes`);
    assert.equal(live.looks.length, LIVE_LOOKS);
    assert.equal(live.looks.at(-1)?.atMs, START + 49 * 60_000);
    assert.deepEqual(parseLive(JSON.parse(JSON.stringify(live))), live);
  }
});

test('a look that says the same takes the place of the one before', () => {
  const look = (n: number, kind: Verdict['kind'], summary: string) => ({ atMs: n, kind, summary, look: n }) as Verdict;
  const looks = [look(1, 'HOLD', 'a'), look(2, 'HOLD', 'a'), look(3, 'HOLD', 'b'), look(4, 'PROMOTE', 'b')].reduce(
    withLook,
    [] as readonly LiveLook[],
  );
  assert.deepEqual(
    looks.map(({ atMs, kind, summary }) => [atMs, kind, summary]),
    [
      [2, 'HOLD', 'a'],
      [3, 'HOLD', 'b'],
      [4, 'PROMOTE', 'b'],
    ],
  );
});

test('what is no live stage is null', () => {
  for (const other of [undefined, null, {}, [], 'text', { ...liveStage(input()), points: 3 }])
    assert.equal(parseLive(other), null);
});
