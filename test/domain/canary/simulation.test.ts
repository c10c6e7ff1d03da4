import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import type { Verdict } from '../../../domain/canary/types.js';
import { demoStage, startMs, watch } from './simulate.js';
import type { Service, Stage } from './simulate.js';

function verdicts(runs: number, stage: Stage, canary: Service, comparison: Service): readonly Verdict[] {
  return Array.from({ length: runs }, (_, seed) => watch(stage, canary, comparison, 1000 + seed));
}

function share(all: readonly Verdict[], kind: Verdict['kind']): number {
  return all.filter((verdict) => verdict.kind === kind).length / all.length;
}

function tell(all: readonly Verdict[]): string {
  const odd = all.slice(0, 3).map(({ kind, hold, summary }) => `${kind} ${hold}: ${summary}`);
  return `PROMOTE ${share(all, 'PROMOTE')}, ROLLBACK ${share(all, 'ROLLBACK')}; ${odd.join('\n')}`;
}

const minuteStage: Stage = { policy: defaultAnalysis(15_000), durationMs: 900_000 };

describe('a canary that is as good as stable', () => {
  const demos = [
    { weight: 10, errorRate: 0.002 },
    { weight: 25, errorRate: 0.01 },
    { weight: 50, errorRate: 0.002 },
  ];
  for (const { weight, errorRate } of demos) {
    it(`passes the demo's 20 s at ${weight} % of 40 requests/s`, () => {
      const own = { requestsPerSecond: (40 * weight) / 100, errorRate };
      const all = verdicts(200, demoStage(), own, { requestsPerSecond: 40 - own.requestsPerSecond, errorRate });
      assert.ok(share(all, 'ROLLBACK') <= 0.02, tell(all));
      assert.ok(share(all, 'PROMOTE') >= 0.9, tell(all.filter(({ kind }) => kind !== 'PROMOTE')));
    });
  }

  it('passes 15 minutes of 15 s samples', () => {
    const service = { requestsPerSecond: 6, errorRate: 0.01 };
    const all = verdicts(100, minuteStage, service, service);
    assert.ok(share(all, 'ROLLBACK') <= 0.02, tell(all));
    assert.ok(share(all, 'PROMOTE') >= 0.9, tell(all.filter(({ kind }) => kind !== 'PROMOTE')));
  });
});

describe('a canary that is worse', () => {
  const stable = { requestsPerSecond: 20, errorRate: 0.002 };

  it('is rolled back within a few looks at 5 % errors and 100 requests/s', () => {
    const stage = { policy: defaultAnalysis(5000), durationMs: 300_000, budgetShare: 0.25 };
    const own = { requestsPerSecond: 100, errorRate: 0.05 };
    const all = verdicts(20, stage, own, { ...own, errorRate: 0.002 });
    assert.equal(share(all, 'ROLLBACK'), 1, tell(all));
    assert.ok(all.every(({ atMs }) => atMs - startMs <= 60_000));
  });

  it('is mostly rolled back at 10 % errors in the 20 s of the demo, and hardly ever promoted', () => {
    const all = verdicts(100, demoStage(), { ...stable, errorRate: 0.1 }, stable);
    assert.ok(share(all, 'ROLLBACK') >= 0.9, tell(all));
    assert.ok(share(all, 'PROMOTE') <= 0.01, tell(all));
  });

  it('is never promoted with a p99 twice as long, and rolled back', () => {
    const quick = verdicts(100, demoStage(), { ...stable, latencyFactor: 2 }, stable);
    assert.ok(share(quick, 'ROLLBACK') >= 0.95, tell(quick));
    const low = { requestsPerSecond: 4, errorRate: 0.002 };
    const long = verdicts(40, minuteStage, { ...low, latencyFactor: 2 }, low);
    assert.equal(share(long, 'ROLLBACK'), 1, tell(long));
  });

  it('is rolled back at 5 % errors over 15 minutes of 15 s samples', () => {
    const all = verdicts(
      40,
      minuteStage,
      { requestsPerSecond: 4, errorRate: 0.05 },
      { requestsPerSecond: 4, errorRate: 0.002 },
    );
    assert.equal(share(all, 'ROLLBACK'), 1, tell(all));
  });

  it('is stopped at 50 % errors by the catastrophic limit at the first call with enough requests', () => {
    const all = verdicts(20, demoStage(), { ...stable, errorRate: 0.7 }, stable);
    assert.ok(all.every(({ kind, atMs }) => kind === 'ROLLBACK' && atMs === startMs + 4000));
    assert.ok(all.every(({ findings }) => findings[0]?.metric === 'hard-limit'));
  });
});
