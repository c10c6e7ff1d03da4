import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { defaultAnalysis, kayentaEffect, kayentaMetric, metricPolicy } from '../../../domain/canary/defaults.js';
import { hodgesLehmannShift, normalIntervalRank, normalShiftInterval } from '../../../domain/canary/hodges-lehmann.js';
import { judge } from '../../../domain/canary/judge.js';
import { classify, scoreOf } from '../../../domain/canary/kayenta.js';
import type { Classified, KayentaLabel } from '../../../domain/canary/kayenta.js';
import { sorted } from '../../../domain/canary/median.js';
import { normalQuantile } from '../../../domain/canary/normal.js';
import { rankTogether } from '../../../domain/canary/rank-sums.js';
import type { KayentaMetric, KayentaPolicy, Verdict } from '../../../domain/canary/types.js';
import { inputOf, normalSample, scrape, startMs } from './simulate.js';
import { seededRandom } from '../../../bench/canary/random.js';
import type { Service } from './simulate.js';

const usual = defaultAnalysis(5000);
const metric = kayentaMetric('m');

function found(x: readonly (number | null)[], y: readonly (number | null)[], change: Partial<KayentaMetric> = {}) {
  return classify({ ...metric, ...change }, { canary: x, comparison: y }, usual.kayenta);
}

function around(centre: number, spread: number, n = 60, seed = 1): readonly number[] {
  return normalSample(n, seededRandom(seed)).map((z) => centre + spread * z);
}

describe('classification', () => {
  it('passes equal arms, whatever the order of their values', () => {
    const equal = found([3, 1, 2], [1, 2, 3]);
    assert.deepEqual([equal.label, equal.shift], ['Pass', null]);
    assert.equal(found([4, 4], [4, 4, 4, 4]).label, 'Pass');
  });

  it('tells arms that are each constant apart without random noise: the interval is the difference', () => {
    const high = found([5, 5, 5], [3, 3, 3, 3]);
    assert.deepEqual([high.label, high.shift], ['High', { estimate: 2, lower: 2, upper: 2 }]);
    assert.equal(found([3, 3], [5, 5]).label, 'Low');
    assert.equal(found([5, 5, 5], [3, 3, 3, 3], { direction: 'decrease' }).label, 'Pass');
  });

  it('needs an interval that stays clear of 0 by a quarter of the estimate', () => {
    const base = around(100, 10);
    assert.equal(found(around(101, 10, 60, 2), base).label, 'Pass');
    assert.equal(found(around(120, 10, 60, 2), base).label, 'High');
    assert.equal(found(around(80, 10, 60, 2), base).label, 'Low');
    const { lower, upper, estimate } = found(around(120, 10, 60, 2), base).shift!;
    assert.ok(0.25 * estimate < lower && lower < estimate && estimate < upper, `${lower} ${estimate} ${upper}`);
  });

  it('is blind to a change of scatter, as every test of location is', () => {
    assert.equal(found(around(100, 40, 60, 2), around(100, 2)).label, 'Pass');
  });

  it('looks in the direction that is asked for', () => {
    const [worse, base] = [around(120, 5, 60, 2), around(100, 5)];
    assert.equal(found(worse, base, { direction: 'increase' }).label, 'High');
    assert.equal(found(worse, base, { direction: 'decrease' }).label, 'Pass');
    assert.equal(found(base, worse, { direction: 'decrease' }).label, 'Low');
    assert.equal(found(base, worse, { direction: 'increase' }).label, 'Pass');
  });

  it('asks for the effect that is said, by either measure', () => {
    const [worse, base] = [around(120, 5, 60, 2), around(100, 5)];
    const at = (effect: Partial<KayentaMetric['effect']>) =>
      found(worse, base, { effect: { ...kayentaEffect(effect.measure), ...effect } }).label;
    assert.deepEqual([at({ allowedIncrease: 1.1 }), at({ allowedIncrease: 1.3 })], ['High', 'Pass']);
    assert.deepEqual(
      [at({ measure: 'cles', allowedIncrease: 0.9 }), at({ measure: 'cles', allowedIncrease: 1.01 })],
      ['High', 'Pass'],
    );
    const down = { effect: { ...kayentaEffect(), allowedDecrease: 0.7 } };
    assert.equal(found(base, worse, down).label, 'Pass');
  });

  it('skips the effect where a mean is 0, and there is no ratio', () => {
    const none = found([1, 1, 1], [0, 0, 0], { effect: { ...kayentaEffect(), allowedIncrease: 100 } });
    assert.deepEqual([none.label, none.effect], ['High', null]);
  });

  it('leaves out what is missing, or takes it for 0', () => {
    const x = [null, 7, null, 7];
    assert.equal(found(x, [7, 7]).canaryN, 2);
    const replaced = found(x, [7, 7], { nanStrategy: 'replace' });
    assert.deepEqual([replaced.canaryN, replaced.canaryMean], [4, 3.5]);
  });

  it('tells missing data from data that must be there', () => {
    const label = (change: Partial<KayentaMetric>): KayentaLabel => found([null], [1, 2], change).label;
    assert.equal(label({}), 'Nodata');
    assert.equal(label({ mustHaveData: true }), 'NodataFailMetric');
    const critical = found([], [1, 2], { mustHaveData: true, critical: true });
    assert.deepEqual([critical.label, critical.critical], ['Nodata', true]);
    assert.equal(found([], [1], { nanStrategy: 'replace', critical: true }).label, 'Pass');
  });

  it('removes outliers of each arm by itself, and none within the middle 98 %', () => {
    const base = Array.from({ length: 200 }, (_, i) => i % 10);
    const remove = { outliers: { strategy: 'remove', factor: 3 } } as const;
    assert.equal(found([...base, 1e6], base, remove).canaryN, 200);
    assert.equal(found([...base, 1e6], base).canaryN, 201);
    // Quartiles 2 and 7, so the fence is at 7 + 3 * 5 = 22: what lies on it is kept.
    assert.equal(found([...base, 22], base, remove).canaryN, 201);
    assert.equal(found([...base, 22.1], base, remove).canaryN, 200);
    const zeros = Array.from({ length: 95 }, () => 0);
    // The quartiles are both 0: without the middle 98 % all of the others would be outliers.
    assert.equal(found([...zeros, 1, 1, 1, 1, 1], base, remove).canaryN, 100);
  });

  it('is critical beyond the critical effect only', () => {
    const [worse, base] = [around(120, 5, 60, 2), around(100, 5)];
    const at = (criticalIncrease: number) =>
      found(worse, base, { critical: true, effect: { ...kayentaEffect(), criticalIncrease } });
    assert.deepEqual([at(1.1).critical, at(1.5).critical, at(1.5).label], [true, false, 'High']);
    assert.equal(found(worse, base).critical, false);
  });
});

describe('a label without the details', () => {
  it('is the same', () => {
    const values = fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 14 });
    const labels = new Set<KayentaLabel>();
    fc.assert(
      fc.property(values, values, fc.constantFrom('either', 'increase', 'decrease'), (x, y, direction) => {
        const of = (detail: 'all' | 'label') =>
          classify({ ...metric, direction, critical: true }, { canary: x, comparison: y }, usual.kayenta, detail);
        assert.deepEqual([of('label').label, of('label').critical], [of('all').label, of('all').critical]);
        labels.add(of('all').label);
      }),
      { numRuns: 500 },
    );
    assert.ok(labels.size > 2, [...labels].join());
  });
});

describe('the interval', () => {
  /** The statistic of R's wilcox.test at a shift, minus z: what its root finder looks for the roots of. */
  function atShift(x: readonly number[], y: readonly number[], shift: number, z: number): number {
    const xs = sorted(x.map((value) => value - shift));
    const ranks = rankTogether(xs, sorted(y));
    const [n, m, all] = [x.length, y.length, x.length + y.length];
    const dz = ranks.doubledSumX / 2 - (n * (n + 1)) / 2 - (n * m) / 2;
    const sigma = Math.sqrt(((n * m) / 12) * (all + 1 - ranks.tieTerm / (all * (all - 1))));
    return (dz - Math.sign(dz) * 0.5) / sigma - z;
  }

  it('ends exactly where R looks for its ends', () => {
    const values = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 3, maxLength: 12 });
    fc.assert(
      fc.property(values, values, fc.constantFrom(0.8, 0.95, 0.98), (x, y, level) => {
        fc.pre(new Set(x).size > 1 || new Set(y).size > 1);
        const { lower, upper } = normalShiftInterval(sorted(x), sorted(y), level);
        const z = -normalQuantile((1 - level) / 2);
        const [lowest, highest] = [Math.min(...x) - Math.max(...y), Math.max(...x) - Math.min(...y)];
        // Differences of whole numbers: halfway between two of them the statistic stands still.
        assert.ok(lower === lowest || atShift(x, y, lower - 0.5, z) > 0);
        assert.ok(atShift(x, y, lower + 0.5, z) <= 0);
        assert.ok(upper === highest || atShift(x, y, upper + 0.5, -z) < 0);
        assert.ok(atShift(x, y, upper - 0.5, -z) >= 0);
      }),
    );
  });

  it('is the same where the differences are too many to be listed', () => {
    const [x, y] = [around(3, 1, 210, 1), around(0, 1, 210, 2)].map((values) => sorted(values));
    const { estimate, lower, upper } = normalShiftInterval(x!, y!, 0.98);
    const all = [...x!].flatMap((a) => [...y!].map((b) => a - b)).sort((a, b) => a - b);
    const k = normalIntervalRank(x!, y!, 0.98);
    assert.deepEqual([lower, upper], [all[k - 1], all[all.length - k]]);
    assert.equal(estimate, hodgesLehmannShift(x!, y!));
  });

  it('holds the estimate, follows a shift and a scale, and mirrors', () => {
    const values = fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 2, maxLength: 15 });
    fc.assert(
      fc.property(values, values, fc.integer({ min: -9, max: 9 }), (x, y, by) => {
        const of = (a: readonly number[], b: readonly number[]) => normalShiftInterval(sorted(a), sorted(b), 0.98);
        const { estimate, lower, upper } = of(x, y);
        assert.equal(estimate, hodgesLehmannShift(sorted(x), sorted(y)));
        assert.ok(lower <= estimate && estimate <= upper);
        assert.deepEqual(
          of(
            x.map((v) => v + by),
            y,
          ),
          { estimate: estimate + by, lower: lower + by, upper: upper + by },
        );
        assert.deepEqual(
          of(
            x.map((v) => 2 * v),
            y.map((v) => 2 * v),
          ),
          { estimate: 2 * estimate, lower: 2 * lower, upper: 2 * upper },
        );
        const mirrored = of(y, x);
        assert.ok(mirrored.lower === -upper || (mirrored.lower === 0 && upper === 0));
      }),
    );
  });
});

describe('the score', () => {
  const pass = found([1], [1]);
  function one(label: KayentaLabel, change: Partial<KayentaMetric> = {}, critical = false): Classified {
    return { metric: { ...metric, name: label, ...change }, found: { ...pass, label, critical } };
  }

  it('is the part that passed, rounded to two decimals', () => {
    assert.equal(scoreOf([one('Pass'), one('Pass'), one('High')], {}).score, 66.67);
    assert.equal(scoreOf([one('Pass'), one('Low'), one('High')], {}).score, 33.33);
    assert.equal(scoreOf([one('Pass'), one('NodataFailMetric')], {}).score, 50);
    assert.equal(scoreOf([one('Pass', { weight: 3 }), one('High')], {}).score, 75);
  });

  it('weighs groups: those that are not named share what is left', () => {
    const metrics = [
      one('Pass', { groups: ['a'] }),
      one('High', { groups: ['b'] }),
      one('Pass', { groups: ['c'] }),
      one('High', { groups: ['c'] }),
    ];
    const { score, groups } = scoreOf(metrics, { a: 50 });
    assert.equal(score, 50 + 0 + 12.5);
    assert.deepEqual(
      groups.map(({ weight }) => weight),
      [50, 25, 25],
    );
    assert.equal(scoreOf([one('High', { groups: ['a', 'b'] }), one('Pass', { groups: ['b'] })], {}).score, 25);
  });

  it('counts a group without data as 100, and does not count single metrics without', () => {
    const metrics = [one('Pass', { groups: ['a'] }), one('High', { groups: ['a'] }), one('Nodata', { groups: ['b'] })];
    assert.deepEqual(scoreOf(metrics, {}).groups, [
      { name: 'a', score: 50, weight: 50 },
      { name: 'b', score: null, weight: 50 },
    ]);
    assert.equal(scoreOf(metrics, {}).score, 75);
    assert.equal(scoreOf([one('Pass'), one('Pass'), one('Nodata')], {}).score, 100);
  });

  it('is 0 when half of the metrics have no data', () => {
    const half = scoreOf([one('Pass'), one('Nodata')], {});
    assert.deepEqual([half.score, half.tooLittleData], [0, true]);
  });

  it('is 0 when a critical metric fails or has no data', () => {
    const others = [one('Pass'), one('Pass'), one('Pass')];
    assert.deepEqual(scoreOf([...others, one('High', {}, true)], {}).criticalFailures, ['High']);
    assert.equal(scoreOf([...others, one('High', {}, true)], {}).score, 0);
    assert.equal(scoreOf([...others, one('Nodata', {}, true)], {}).score, 0);
    assert.equal(scoreOf([...others, one('Pass', {}, true)], {}).score, 100);
  });
});

describe('kayenta', () => {
  const healthy: Service = { requestsPerSecond: 40, errorRate: 0.002 };
  const stage = {
    policy: { ...usual, judge: 'kayenta' as const, kayenta: { ...usual.kayenta, intervalMs: 60_000 } },
    durationMs: 180_000,
  };

  function judged(canary: Service, atS: number, change: Partial<KayentaPolicy> = {}, intoS = atS): Verdict {
    const of = (service: Service, seed: number) =>
      scrape(service, { startMs, scrapes: Math.floor(intoS / 5), intervalMs: 5000 }, seededRandom(seed));
    const policy = { ...stage.policy, kayenta: { ...stage.policy.kayenta, ...change } };
    return judge(inputOf({ ...stage, policy }, of(canary, 1), of(healthy, 2), startMs + atS * 1000));
  }

  it('watches until its first run, and promotes on the score of the last', () => {
    assert.equal(judged(healthy, 55).summary, 'Watching: the first run is due 1 min after the start.');
    const first = judged(healthy, 60);
    assert.deepEqual([first.kind, first.hold, first.look], ['HOLD', 'watching', 1]);
    const done = judged(healthy, 180);
    assert.deepEqual([done.kind, done.look], ['PROMOTE', 3]);
    assert.match(
      done.summary,
      /^The last run scored 100, not below the pass score of 95 \(2 of 2 metrics passed; all 100 at 100 %\)/,
    );
  });

  it('rolls back below the marginal score at any run, with the arithmetic', () => {
    const verdict = judged({ ...healthy, latencyFactor: 2 }, 60);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.match(
      verdict.summary,
      /^Run 1 scored 50, below the marginal score of 75 \(1 of 2 metrics passed; all 50 at 100 %\)\. /,
    );
    assert.match(
      verdict.summary,
      /Metric latency-p99 is High: the 98 % interval of the shift, \d+ ms to \d+ ms, lies above [\d.]+ ms, 0\.25 of the estimate \d+ ms \(means \d+ ms against \d+ ms, n = 12 and 12, fewer than 50 advised; [\d.]+ times the mean, allowed 1 to 1\)\./,
    );
  });

  it('lets a marginal score pass at a run, and not at the last', () => {
    const worse = { ...healthy, latencyFactor: 2 };
    assert.equal(judged(worse, 120, { marginalScore: 40 }).hold, 'watching');
    const last = judged(worse, 180, { marginalScore: 40 });
    assert.equal(last.kind, 'ROLLBACK');
    assert.match(last.summary, /^The last run scored 50, below the pass score of 95/);
    assert.equal(judged(worse, 180, { marginalScore: 40, passScore: 50 }).kind, 'PROMOTE');
  });

  it('does not forget a run that failed', () => {
    const worse = { ...healthy, latencyFactor: 2 };
    assert.deepEqual([judged(worse, 175).kind, judged(worse, 175).look], ['ROLLBACK', 1]);
  });

  it('looks back and waits as it is told to', () => {
    const n = (change: Partial<KayentaPolicy>) => judged(healthy, 180, change).findings[0]?.canaryN;
    assert.equal(n({}), 36);
    assert.equal(n({ lookbackMs: 60_000 }), 12);
    assert.equal(n({ delayMs: 30_000 }), 30);
    assert.equal(n({ stepMs: 30_000 }), 6);
  });

  it('holds where too little is known, says what, and follows a policy that calls that a failure', () => {
    const metrics = [kayentaMetric('error-rate'), kayentaMetric('queue-depth')];
    const input = (more: Partial<KayentaMetric>) => {
      const further = { ...stage.policy, metrics: [metricPolicy('queue-depth')] };
      const kayenta = { ...stage.policy.kayenta, metrics: [metrics[0]!, { ...metrics[1]!, ...more }] };
      const arm = (seed: number) => scrape(healthy, { startMs, scrapes: 36, intervalMs: 5000 }, seededRandom(seed));
      return inputOf({ ...stage, policy: { ...further, kayenta } }, arm(1), arm(2), startMs + 180_000);
    };
    const held = judge(input({}));
    assert.deepEqual([held.kind, held.hold], ['HOLD', 'insufficient-data']);
    assert.match(
      held.summary,
      /half of the metrics or more have no data.*Metric queue-depth is Nodata: no values on the canary and the comparison\./,
    );
    assert.match(judge(input({ critical: true })).summary, /scored 0, below .* \(critical: queue-depth;/);
    assert.equal(judge(input({ critical: true })).kind, 'ROLLBACK');
    assert.equal(judge(input({ mustHaveData: true })).kind, 'ROLLBACK');
  });

  it('names a metric that it does not know', () => {
    assert.throws(
      () => judged(healthy, 60, { metrics: [kayentaMetric('cpu')] }),
      /kayenta\.metrics names cpu, which is no metric: there are error-rate, latency-p99/,
    );
  });

  it('judges a service without histograms on errors alone', () => {
    const bare = (seed: number) => {
      const arm = scrape(healthy, { startMs, scrapes: 36, intervalMs: 5000 }, seededRandom(seed));
      return { ...arm, leSeconds: [], series: arm.series.map((series) => ({ ...series, buckets: [] })) };
    };
    const verdict = judge(inputOf(stage, bare(1), bare(2), startMs + 180_000));
    assert.equal(verdict.kind, 'PROMOTE', verdict.summary);
  });
});
