import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultAnalysis, metricPolicy } from '../../../domain/canary/defaults.js';
import { halvesOf, learnNoiseFloor } from '../../../domain/canary/learn-noise.js';
import { noiseRatios, withNoise } from '../../../domain/canary/noise-floor.js';
import { replay } from '../../../domain/canary/replay.js';
import type { Recording } from '../../../domain/canary/replay.js';
import type { ArmSamples, MetricPolicy, NoiseFloor } from '../../../domain/canary/types.js';
import { seededRandom } from '../../../bench/canary/random.js';
import { inputOf, normalSample, scrape, startMs } from './simulate.js';

const stage = { policy: defaultAnalysis(15_000), durationMs: 600_000 };
const times = { startMs, scrapes: 40, intervalMs: 15_000 };

/** Equal arms, but for factors of their own on p99 and error rate: normal logarithms of this standard deviation. */
function pairs(count: number, logSd: { readonly latency: number; readonly errors: number }): readonly Recording[] {
  const random = seededRandom(7);
  return Array.from({ length: count }, () => {
    const arm = () => {
      const [latency = 0, errors = 0] = normalSample(2, random);
      const latencyFactor = Math.exp((logSd.latency * latency) / Math.SQRT2);
      const errorRate = 0.03 * Math.exp((logSd.errors * errors) / Math.SQRT2);
      return scrape({ requestsPerSecond: 40, errorRate, latencyFactor }, times, random);
    };
    const { atMs: _, ...recording } = inputOf(stage, arm(), arm(), startMs);
    return recording;
  });
}

describe('the noise floor', () => {
  it('is learned from pairs of equal arms: what chance explains is not in it', () => {
    const quiet = learnNoiseFloor(pairs(20, { latency: 0, errors: 0 }));
    assert.equal(quiet?.pairs, 20);
    assert.ok((quiet?.latencyLogSd ?? 1) < 0.02 && (quiet?.errorLogSd ?? 1) < 0.06, JSON.stringify(quiet));
    const noisy = learnNoiseFloor(pairs(40, { latency: 0.085, errors: 0.3 }));
    assert.ok(noisy !== null && noisy.latencyLogSd > 0.06 && noisy.latencyLogSd < 0.11, JSON.stringify(noisy));
    assert.ok(noisy.errorLogSd > 0.2 && noisy.errorLogSd < 0.4, JSON.stringify(noisy));
  });

  it('is widened for the fewer pairs of the two that it was learned from', () => {
    const all = pairs(20, { latency: 0, errors: 0 });
    const flawless = (arm: ArmSamples | null) => ({
      ...arm!,
      series: arm!.series.map((one) => ({ ...one, errors: one.errors.map(() => 0) })),
    });
    const failing = (count: number) =>
      all.map((pair, i) =>
        i < count ? pair : { ...pair, canary: flawless(pair.canary), comparison: flawless(pair.comparison) },
      );
    assert.equal(learnNoiseFloor(failing(6))?.pairs, 6);
    // Of four nothing is said of errors, so that they don't make p99 less sure either.
    assert.deepEqual([learnNoiseFloor(failing(4))?.pairs, learnNoiseFloor(failing(4))?.errorLogSd], [20, 0]);
  });

  it('is not learned from fewer than five pairs, nor from stages without a comparison', () => {
    assert.equal(learnNoiseFloor(pairs(4, { latency: 0, errors: 0 })), null);
    const alone = pairs(8, { latency: 0, errors: 0 }).map((recording) => ({ ...recording, comparison: null }));
    assert.equal(learnNoiseFloor(alone), null);
  });

  it('is learned from the halves of an arm of several pods', () => {
    const random = seededRandom(3);
    const pods = [1, 1.2, 1, 1.2].map((latencyFactor) =>
      scrape({ requestsPerSecond: 30, errorRate: 0.01, latencyFactor }, times, random),
    );
    const [first] = pods;
    assert.ok(first);
    const arm = {
      ...first,
      series: pods.flatMap(({ series }, pod) => series.map((one) => ({ ...one, instance: `${pod}` }))),
    };
    const { atMs: _, ...recording } = inputOf(stage, arm, arm, startMs);
    const halves = halvesOf(recording);
    assert.deepEqual(
      [halves?.canary, halves?.comparison].map((half) => half?.series.map(({ instance }) => instance)),
      [
        ['0', '2'],
        ['1', '3'],
      ],
    );
    const floor = learnNoiseFloor(Array.from({ length: 5 }, () => halves ?? recording));
    assert.ok(floor !== null && Math.abs(floor.latencyLogSd - Math.log(1.2)) < 0.05, JSON.stringify(floor));
    assert.equal(halvesOf({ ...recording, comparison: first }), null);
  });

  /** Pairs as above, each arm with a gauge around 50 that is its own by a factor of this log sd, and by chance by 4 %. */
  function withGauge(pair: readonly Recording[], logSd: number, metric: MetricPolicy): readonly Recording[] {
    const random = seededRandom(23);
    const gauge = (arm: ArmSamples): ArmSamples => {
      const [own = 0, ...chance] = normalSample(arm.timesMs.length + 1, random);
      const level = 50 * Math.exp((logSd * own) / Math.SQRT2);
      return { ...arm, values: { depth: chance.map((z) => level * Math.exp(0.04 * z)) } };
    };
    return pair.map((recording) => ({
      ...recording,
      policy: { ...recording.policy, metrics: [metric] },
      canary: gauge(recording.canary),
      comparison: gauge(recording.comparison!),
    }));
  }

  it('is learned of further metrics too, as their tolerance is, and not from halves, which have none', () => {
    const alike = pairs(40, { latency: 0, errors: 0 });
    const depth = metricPolicy('depth');
    const quiet = learnNoiseFloor(withGauge(alike, 0, depth))?.metrics?.['depth'];
    assert.ok(quiet?.pairs === 40 && quiet.kind === 'ratio' && quiet.sd < 0.01, JSON.stringify(quiet));
    const noisy = learnNoiseFloor(withGauge(alike, 0.12, depth))?.metrics?.['depth'];
    assert.ok(noisy !== undefined && noisy.sd > 0.09 && noisy.sd < 0.15, JSON.stringify(noisy));
    const absolute: MetricPolicy = { ...depth, tolerance: { kind: 'difference', difference: 5 } };
    const difference = learnNoiseFloor(withGauge(alike, 0.12, absolute))?.metrics?.['depth'];
    assert.ok(
      difference?.kind === 'difference' && difference.sd > 4.5 && difference.sd < 7.5,
      JSON.stringify(difference),
    );
    assert.equal(learnNoiseFloor(alike)?.metrics, undefined);
    const few = [...alike.slice(4), ...withGauge(alike.slice(0, 4), 0, depth)];
    assert.equal(learnNoiseFloor(few)?.metrics, undefined);
    const [first] = withGauge(alike, 0, depth);
    const pods = first!.comparison!.series.flatMap((one) => [one, { ...one, instance: 'another' }]);
    const halves = halvesOf({ ...first!, comparison: { ...first!.comparison!, series: pods } });
    assert.deepEqual([halves?.canary.values, halves?.comparison?.values], [undefined, undefined]);
  });

  it('keeps a further metric that differs as it does between equal arms from a rollback, and no other', () => {
    const [pair] = pairs(1, { latency: 0, errors: 0 });
    const judged = (factor: number, metric: MetricPolicy, metrics: NoiseFloor['metrics']) => {
      const [recording] = withGauge([pair!], 0, metric);
      const { canary } = recording!;
      const higher = { ...canary, values: { depth: canary.values!['depth']!.map((value) => value! * factor) } };
      const noiseFloor = { pairs: 30, latencyLogSd: 0, errorLogSd: 0, ...(metrics === undefined ? {} : { metrics }) };
      const policy = { ...recording!.policy, noiseFloor };
      return replay({ ...recording!, canary: higher, policy }, startMs + stage.durationMs);
    };
    const depth = metricPolicy('depth');
    const noise = { depth: { pairs: 30, kind: 'ratio', sd: 0.14 } } as const;
    assert.equal(judged(1.35, depth, undefined).kind, 'ROLLBACK');
    assert.equal(judged(1.35, depth, { other: noise.depth }).kind, 'ROLLBACK');
    const kept = judged(1.3, depth, noise);
    assert.equal(kept.kind, 'PROMOTE', kept.summary);
    // exp(2.457 * 0.14): Student's t at 99 % with 30 degrees of freedom.
    assert.match(kept.summary, /Metric depth: .* within the limit; 1\.41 times the comparison would have been seen/);
    const worse = judged(1.8, depth, noise);
    assert.equal(worse.kind, 'ROLLBACK');
    assert.match(worse.summary, /limit of 1\.41 times/);
    // What was learned as a ratio says nothing of a difference.
    const absolute: MetricPolicy = { ...depth, tolerance: { kind: 'difference', difference: 8 } };
    assert.equal(judged(1.35, absolute, { depth: { pairs: 30, kind: 'ratio', sd: 10 } }).kind, 'ROLLBACK');
    const own = { depth: { pairs: 30, kind: 'difference', sd: 10 } } as const;
    assert.equal(judged(1.35, absolute, own).kind, 'PROMOTE');
  });

  it('asks more of a metric that may be worse on either side', () => {
    const noiseFloor = {
      pairs: 20,
      latencyLogSd: 0,
      errorLogSd: 0,
      metrics: { depth: { pairs: 20, kind: 'ratio', sd: 0.1 } },
    } as const;
    const ratio = (change: Partial<MetricPolicy>) => {
      const { tolerance } = withNoise({ ...metricPolicy('depth'), ...change }, { noiseFloor, errorBudget: 0.01 });
      return tolerance.kind === 'ratio' ? tolerance.ratio : NaN;
    };
    // Student's t with 20 degrees of freedom: 2.528 at 99 %, 2.845 at 99.5 %.
    assert.ok(Math.abs(ratio({}) - Math.exp(0.2528)) < 0.01, String(ratio({})));
    assert.ok(
      Math.abs(ratio({ direction: 'either' }) - Math.exp(0.2845)) < 0.01,
      String(ratio({ direction: 'either' })),
    );
    assert.equal(ratio({ tolerance: { kind: 'ratio', ratio: 2 } }), 2);
    assert.equal(ratio({ name: '__proto__' }), 1.2);
  });

  it('leaves room for the next pair: the less, the more pairs were seen', () => {
    const of = (pairs: number) =>
      noiseRatios({ errorBudget: 0.01, noiseFloor: { pairs, latencyLogSd: 0.1, errorLogSd: 0 } });
    // Student's t at 99 %: 3.365, 2.528 and 2.326 for 5, 20 and endless degrees of freedom.
    for (const [pairs, t] of [
      [5, 3.365],
      [20, 2.528],
      [1_000_000, 2.326],
    ] as const)
      assert.ok(Math.abs(of(pairs).latency - Math.exp(0.1 * t)) < 0.01, `${pairs}: ${of(pairs).latency}`);
    assert.equal(of(20).errors, 1);
    assert.deepEqual(noiseRatios({ errorBudget: 0.01, noiseFloor: null }), { latency: 1, errors: 1 });
  });

  it('keeps a canary that is no slower than pods are from being rolled back, and no other', () => {
    const random = seededRandom(11);
    const judged = (latencyFactor: number, noiseFloor: NoiseFloor | null) => {
      const slower = scrape({ requestsPerSecond: 40, errorRate: 0.01, latencyFactor }, times, random);
      const usual = scrape({ requestsPerSecond: 40, errorRate: 0.01 }, times, random);
      const { atMs: _, ...recording } = inputOf(
        { ...stage, policy: { ...stage.policy, noiseFloor } },
        slower,
        usual,
        startMs,
      );
      return replay(recording, startMs + stage.durationMs);
    };
    const floor = { pairs: 30, latencyLogSd: 0.12, errorLogSd: 0.1 };
    assert.equal(judged(1.24, null).kind, 'ROLLBACK');
    const kept = judged(1.24, floor);
    assert.notEqual(kept.kind, 'ROLLBACK', kept.summary);
    assert.equal(judged(1.8, floor).kind, 'ROLLBACK');
  });
});
