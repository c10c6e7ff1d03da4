import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { compareValues } from '../../../domain/canary/compare-values.js';
import { defaultAnalysis, metricPolicy } from '../../../domain/canary/defaults.js';
import { judge } from '../../../domain/canary/judge.js';
import { whatWouldChange } from '../../../domain/canary/what-would-change.js';
import { blocksOf, evidenceOf } from '../../../domain/canary/series.js';
import type { AnalysisPolicy, ArmSamples, JudgeInput, MetricPolicy, Verdict } from '../../../domain/canary/types.js';
import { inputOf, normalSample, scrape, startMs } from './simulate.js';
import { seededRandom } from '../../../bench/canary/random.js';

const scrapes = 60;
const policy = defaultAnalysis(5000);
const durationMs = scrapes * 5000;
const healthy = { requestsPerSecond: 60, errorRate: 0.002 };
const depth = metricPolicy('queue-depth');

type Values = readonly (number | null)[];

function around(centre: number, spread: number, seed: number): Values {
  return normalSample(scrapes + 1, seededRandom(seed)).map((z) => Math.max(0, centre + spread * z));
}

function armOf(seed: number, values: ArmSamples['values']): ArmSamples {
  const arm = scrape(healthy, { startMs, scrapes, intervalMs: 5000 }, seededRandom(seed));
  return values === undefined ? arm : { ...arm, values };
}

function inputFor(
  canary: Values | null,
  comparison: Values | null,
  metrics: readonly MetricPolicy[] = [depth],
  change: Partial<AnalysisPolicy> = {},
): JudgeInput {
  const of = (seed: number, values: Values | null) => armOf(seed, values === null ? {} : { 'queue-depth': values });
  const stage = { policy: { ...policy, ...change, metrics }, durationMs };
  return inputOf(stage, of(1, canary), of(2, comparison), startMs + durationMs);
}

function judged(...input: Parameters<typeof inputFor>): Verdict {
  return judge(inputFor(...input));
}

const base = around(50, 4, 3);
const alike = around(50, 4, 4);
const higher = around(80, 4, 5);
const lower = around(25, 4, 6);

describe('sequential, with further metrics', () => {
  it('promotes where the metric is alike, and rolls back where it is worse, with the arithmetic', () => {
    const good = judged(alike, base);
    assert.equal(good.kind, 'PROMOTE', good.summary);
    assert.match(
      good.summary,
      /Metric queue-depth: [\d.]+ against [\d.]+ since the warm-up \(\d+ blocks each, p = [\d.e-]+\): within the limit; 1\.2 times the comparison would have been seen/,
    );
    const bad = judged(higher, base);
    assert.equal(bad.kind, 'ROLLBACK');
    assert.match(
      bad.summary,
      /^Metric queue-depth: 81 against 49\.1 since the warm-up .*: at or beyond the limit of 1\.2 times the comparison, and p is below /,
    );
  });

  it('says what would have changed a rollback or a hold by such a metric', () => {
    const change = (canary: Values, metric = depth) =>
      whatWouldChange(judged(canary, base, [metric]), inputFor(canary, base, [metric])).join('\n');
    assert.match(
      change(higher),
      /^A value nearer to the comparison's \(it was 81 against 49\.1\), or a p of [\de.-]+ or more \(it was [\de.-]+\), would not have been a rollback by queue-depth\./,
    );
    const near = { ...depth, tolerance: { kind: 'difference', difference: 32.5 } } as const;
    assert.equal(judged(higher, base, [near]).hold, 'inconclusive');
    assert.match(
      change(higher, near),
      /^For a PROMOTE by queue-depth: more time, or values nearer to the comparison's \([\d.]+ against [\d.]+\)\. A ROLLBACK takes p below [\de.-]+ \(now p = [\de.-]+\)\.$/,
    );
    assert.match(change(base.map(() => -3)), /^For a PROMOTE by queue-depth: Metric queue-depth: -3 is below 0/);
  });

  it('looks in the direction that is for the worse', () => {
    const kinds = (metric: Partial<MetricPolicy>) =>
      [higher, lower].map((canary) => judged(canary, base, [{ ...depth, ...metric }]).kind);
    assert.deepEqual(kinds({ direction: 'increase' }), ['ROLLBACK', 'PROMOTE']);
    assert.deepEqual(kinds({ direction: 'decrease' }), ['PROMOTE', 'ROLLBACK']);
    assert.deepEqual(kinds({ direction: 'either' }), ['ROLLBACK', 'ROLLBACK']);
  });

  it('does not act on what is below the tolerance, however sure it is', () => {
    const tolerance = { kind: 'difference', difference: 50 } as const;
    assert.equal(judged(higher, base, [{ ...depth, tolerance }]).kind, 'PROMOTE');
    const near = { kind: 'ratio', ratio: 1.7 } as const;
    assert.notEqual(judged(higher, base, [{ ...depth, tolerance: near }]).kind, 'ROLLBACK');
  });

  it('shows an advisory metric and does not follow it', () => {
    const verdict = judged(higher, base, [{ ...depth, critical: false }]);
    assert.equal(verdict.kind, 'PROMOTE');
    const own = verdict.findings.filter(({ metric }) => metric === 'queue-depth');
    assert.deepEqual([own[0]?.verdict, own[0]?.advisory], ['ROLLBACK', true]);
    assert.match(verdict.summary, /Metric queue-depth \(advisory\): 81 against/);
    const unknown = judged(null, base, [{ ...depth, critical: false }]);
    assert.equal(unknown.kind, 'PROMOTE');
    assert.match(unknown.summary, /Metric queue-depth: no values on the canary\./);
  });

  it('says what is missing, and holds', () => {
    const missing: readonly (readonly [Values | null, Values | null, RegExp])[] = [
      [null, base, /Metric queue-depth: no values on the canary\./],
      [base, null, /Metric queue-depth: no values on the comparison\./],
      [null, null, /Metric queue-depth: no values on either arm\./],
      [
        base.map((value, i) => (i > 57 ? value : null)),
        base,
        /Metric queue-depth: \d blocks? with values on both arms .* and \d more blocks? needed/,
      ],
      [
        base.map(() => 3),
        base.map(() => 0),
        /Metric queue-depth: the comparison is at 0, of which no ratio can be told; give its tolerance as a difference\./,
      ],
      [
        base.map(() => -3),
        base,
        /Metric queue-depth: -3 is below 0, where ratios say nothing; give its tolerance as a difference\./,
      ],
    ];
    for (const [canary, comparison, why] of missing) {
      const verdict = judged(canary, comparison);
      assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'inconclusive'], verdict.summary);
      assert.match(verdict.summary, why);
    }
  });

  it('promotes at low traffic too, whose recent window has too few blocks for ranks', () => {
    const quiet = { requestsPerSecond: 4, errorRate: 0.002 };
    const arm = (seed: number, values: Values) => ({
      ...scrape(quiet, { startMs, scrapes, intervalMs: 5000 }, seededRandom(seed)),
      values: { 'queue-depth': values },
    });
    const of = (canary: Values) =>
      judge(
        inputOf(
          { policy: { ...policy, metrics: [depth] }, durationMs },
          arm(1, canary),
          arm(2, base),
          startMs + durationMs,
        ),
      );
    assert.equal(of(alike).kind, 'PROMOTE', of(alike).summary);
    assert.equal(of(higher).kind, 'ROLLBACK');
    // What is measured no more is not promoted on what was measured before.
    const silent = of(alike.map((value, i) => (i > scrapes - 14 ? null : value)));
    assert.match(silent.summary, /Metric queue-depth: no values on both arms at the same time over the last 1 min\./);
  });

  it('names the metrics that there are where the policy asks for another', () => {
    const verdict = judged(base, base, [metricPolicy('queue-dpeth')]);
    assert.match(verdict.summary, /Metric queue-dpeth: no values on either arm; there are values of queue-depth\./);
  });

  it('takes values that are all the same for equal, and constants that differ for different', () => {
    const constant = (value: number): Values => base.map(() => value);
    assert.equal(judged(constant(0), constant(0)).kind, 'PROMOTE');
    assert.equal(judged(constant(7), constant(7)).kind, 'PROMOTE');
    assert.equal(judged(constant(9), constant(7)).kind, 'ROLLBACK');
    const difference = { ...depth, tolerance: { kind: 'difference', difference: 2 } as const };
    assert.equal(judged(constant(3), constant(0), [difference]).kind, 'ROLLBACK');
    assert.equal(judged(constant(1), constant(0), [difference]).kind, 'PROMOTE');
    assert.equal(judged(constant(-1), constant(-4), [difference]).kind, 'ROLLBACK');
  });

  it('shares the error budget of a look over all that may roll back', () => {
    const alphas = (metrics: readonly MetricPolicy[]) => {
      const { findings } = judged(alike, base, metrics);
      return findings.find(({ metric }) => metric === 'error-rate')?.alpha ?? 0;
    };
    const alone = alphas([]);
    const close = (value: number, expected: number) => assert.ok(Math.abs(value / expected - 1) < 1e-12);
    close(alphas([depth]), (alone * 2) / 3);
    close(alphas([{ ...depth, critical: false }]), alone);
  });

  it('takes one value a block, the mean of what was measured in it', () => {
    const grid = { fromMs: startMs, toMs: startMs + 60_000, blockMs: 10_000, scrapeIntervalMs: 5000 };
    const values = Array.from({ length: scrapes + 1 }, (_, i) => i);
    const evidence = {
      canary: evidenceOf(armOf(1, { 'queue-depth': values }), grid.toMs),
      comparison: evidenceOf(armOf(2, { 'queue-depth': values }), grid.toMs),
    };
    const finding = compareValues(depth, evidence, blocksOf(evidence.canary, evidence.comparison, grid), 0.01, 'here');
    // Blocks of scrapes 1 and 2, 3 and 4, … 11 and 12.
    assert.deepEqual([finding.canaryN, finding.canary], [6, 6.5]);
  });

  it('judges a rise as it judges the mirrored fall', () => {
    const values = fc.array(fc.integer({ min: -20, max: 20 }), { minLength: scrapes + 1, maxLength: scrapes + 1 });
    const tolerance = { kind: 'difference', difference: 3 } as const;
    fc.assert(
      fc.property(values, values, (x, y) => {
        const of = (direction: 'increase' | 'decrease', sign: number) => {
          const moved = (all: readonly number[]) => all.map((value) => sign * value + 0);
          const { findings } = judged(moved(x), moved(y), [{ ...depth, direction, tolerance }]);
          return findings
            .filter(({ metric }) => metric === 'queue-depth')
            .map(({ verdict, p }) => [verdict, p?.toPrecision(9)]);
        };
        assert.deepEqual(of('increase', 1), of('decrease', -1));
      }),
      { numRuns: 25 },
    );
  });

  it('rolls back few releases that are alike, and finds those that are worse', () => {
    let falseRollbacks = 0;
    let found = 0;
    for (let seed = 100; seed < 200; seed++) {
      if (judged(around(50, 8, seed), around(50, 8, seed + 1000)).kind === 'ROLLBACK') falseRollbacks++;
      if (judged(around(75, 8, seed), around(50, 8, seed + 1000)).kind === 'ROLLBACK') found++;
    }
    assert.deepEqual([falseRollbacks, found], [0, 100]);
  });
});

describe('sequential, with metrics that drift', () => {
  /** A gauge whose value follows the one before it: an autoregressive series of lag-1 correlation 0.9. */
  function drifting(centre: number, seed: number): Values {
    let z = 0;
    return normalSample(scrapes + 1, seededRandom(seed)).map((e, i) => {
      z = i === 0 ? e : 0.9 * z + Math.sqrt(1 - 0.9 ** 2) * e;
      return centre * (1 + 0.15 * z);
    });
  }

  it('rolls back few releases that are alike: many values that depend on each other are but a few', () => {
    let falseRollbacks = 0;
    for (let seed = 300; seed < 400; seed++) {
      if (judged(drifting(50, seed), drifting(50, seed + 1000)).kind === 'ROLLBACK') falseRollbacks++;
    }
    assert.ok(falseRollbacks <= 2, `${falseRollbacks}`);
  });
});

describe('mann-whitney, with further metrics', () => {
  const rule = { judge: 'mann-whitney', mannWhitney: { ...policy.mannWhitney, checkEveryMs: 20_000 } } as const;
  const kind = (canary: Values | null, metric: Partial<MetricPolicy> = {}) => {
    const verdict = judged(canary, base, [{ ...depth, ...metric }], rule);
    return verdict.findings.find(({ metric }) => metric === 'queue-depth')!;
  };

  it('judges each by its direction', () => {
    assert.equal(kind(higher).verdict, 'ROLLBACK');
    assert.equal(kind(lower).verdict, 'PROMOTE');
    assert.equal(kind(lower, { direction: 'decrease' }).verdict, 'ROLLBACK');
    assert.equal(kind(lower, { direction: 'either' }).verdict, 'ROLLBACK');
    assert.match(
      kind(higher).why,
      /^Metric queue-depth: [\d.]+ against [\d.]+ \(U = [\d,]+ of [\d,]+, p = [\d.e-]+\): p is below 0\.05\.$/,
    );
  });

  it('does not follow an advisory metric, and says what is missing', () => {
    assert.equal(judged(higher, base, [depth], rule).kind, 'ROLLBACK');
    assert.notEqual(judged(higher, base, [{ ...depth, critical: false }], rule).kind, 'ROLLBACK');
    assert.equal(kind(null).why, 'Metric queue-depth: no values on the canary.');
    const few = base.map((value, i) => (i === 9 ? value : null));
    // One value of 13 is the largest by chance once in 13 times.
    assert.match(kind(few).why, /^Metric queue-depth: 1 and \d+ values are too few for a p below 0\.05\.$/);
  });
});

describe('kayenta, with further metrics', () => {
  it('scores them beside the others, each by its own settings', () => {
    const rule = { judge: 'kayenta' } as const;
    const { findings } = judged(higher, base, [{ ...depth, critical: false, weight: 2 }], rule);
    assert.deepEqual(
      findings.map(({ metric }) => metric),
      ['error-rate', 'latency-p99', 'queue-depth', 'score'],
    );
    // Two of four parts failed.
    assert.equal(findings.at(-1)?.canary, 50);
    const critical = judged(higher, base, [depth], rule);
    assert.match(critical.summary, /scored 0, .* \(critical: queue-depth; 2 of 3 metrics passed;/);
  });
});

describe('metrics that make no sense', () => {
  it('are refused with what is wrong', () => {
    const refuses = (input: JudgeInput, message: RegExp) =>
      assert.throws(() => judge(input), { name: 'RangeError', message });
    refuses(inputFor([1, 2], base), /metric queue-depth: 2 values for 61 scrapes/);
    refuses(
      inputFor(
        base.map(() => NaN),
        base,
      ),
      /metric queue-depth: NaN at scrape 0 is no measurement: give null/,
    );
    refuses(inputFor(base, base, [depth, depth]), /there is another metric queue-depth; each needs a name of its own/);
    refuses(inputFor(base, base, [metricPolicy('error-rate')]), /there is another metric error-rate/);
    refuses(inputFor(base, base, [{ ...depth, weight: 0 }]), /metric queue-depth: its weight must be above 0, not 0/);
    refuses(inputFor(base, base, [{ ...depth, tolerance: { kind: 'ratio', ratio: 1 } }]), /a ratio above 1, not 1/);
    refuses(
      inputFor(base, base, [{ ...depth, tolerance: { kind: 'difference', difference: -1 } }]),
      /0 or more, not -1/,
    );
  });
});

describe('a policy from before further metrics', () => {
  it('is judged as it was', () => {
    const { metrics: _, threshold: __, kayenta: ___, ...older } = policy;
    for (const judgeName of ['sequential', 'mann-whitney'] as const) {
      const stage = { policy: { ...older, judge: judgeName } as AnalysisPolicy, durationMs };
      const old = inputOf(stage, armOf(1, undefined), armOf(2, undefined), startMs + durationMs);
      const { inputDigest: _, ...verdict } = judge(old);
      const { inputDigest: __, ...today } = judge({ ...old, policy: { ...policy, judge: judgeName } });
      assert.deepEqual(verdict, today);
    }
  });
});
