import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { digestOf } from '../../domain/canonical.js';
import { defaultAnalysis } from '../../domain/canary/defaults.js';
import { makePlan } from '../../domain/plan.js';
import type { Policy } from '../../domain/policy.js';
import { hashRelease } from '../../domain/release.js';
import { foreseen, trafficNow } from '../../worker/cli/foresee.js';
import { startPrometheusStandin } from '../support/prometheus-standin.js';
import { kubeTarget, SMALL_CHANGE, stage, testPolicy } from '../support/request.js';

const base = testPolicy({ gateway: 'http://unused', stages: [stage(5, 900), stage(50, 900)] });
const policy: Policy = { ...base, target: kubeTarget(), analysis: defaultAnalysis(15_000) };
const arms = {
  stable: { templateDigest: digestOf('v1'), version: 'hello:v1', replicas: 4, ready: 4, message: null },
};
const snapshot = {
  arms,
  weights: { stable: 100, canary: 0, baseline: 0 },
  freeReplicas: 20,
  autoscaled: false,
  anchor: null,
  recorded: null,
  recordLost: false,
};
const release = hashRelease({ images: { app: 'hello:v2' }, env: {}, change: SMALL_CHANGE });
const plan = makePlan({ policy, release, strategy: 'canary_10', snapshot });

describe('what a plan foresees', () => {
  test('counts with the traffic that stable had, asked of Prometheus', async (t) => {
    const prometheus = await startPrometheusStandin();
    t.after(() => prometheus.close());
    const { url, queries } = prometheus;
    const metrics = { source: 'prometheus' as const, url, queries, authorization: null };
    const traffic = await trafficNow({ ...policy, metrics }, 'hello:v1', {});
    assert.ok(traffic.kind === 'known', JSON.stringify(traffic));
    assert.ok(Math.abs(traffic.perSecond - 50) < 1 && traffic.errorRate === 0, JSON.stringify(traffic));
    const [small, large] = foreseen(policy, plan, traffic);
    assert.match(small ?? '', /^stage 1 at 2\.5 requests\/s .*one of 2 points needs about \d+ min to be seen/);
    assert.match(large ?? '', /^stage 2 at 25 requests\/s .*one of 10 points needs about 30 s to be seen/);
  });

  test('says what little traffic will not show, and when there is enough to promote on', () => {
    const [line] = foreseen(policy, plan, { kind: 'known', perSecond: 1, errorRate: 0.001 });
    assert.match(line ?? '', /one of 2 points would not be seen within 30 min/);
    assert.match(line ?? '', /the 100 requests that a promotion takes are there after about 34 min/);
  });

  test('says why where the traffic is not known', async () => {
    const metrics = {
      source: 'prometheus' as const,
      url: 'http://127.0.0.1:1',
      queries: { requests: 'r', errors: 'e', latencyBuckets: null },
      authorization: null,
    };
    const away = await trafficNow({ ...policy, metrics }, 'hello:v1', {});
    assert.match(foreseen(policy, plan, away).join(), /not known \(Prometheus at http:\/\/127.0.0.1:1/);
    const gateway = await trafficNow(policy, 'hello:v1', {});
    assert.deepEqual(gateway, { kind: 'unknown', why: 'the gateway keeps no past' });
    assert.deepEqual(foreseen(policy, { ...plan, stages: [] }, gateway), []);
  });
});
