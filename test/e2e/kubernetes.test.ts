/**
 * The whole of Slipway on Kubernetes: API server and controllers, pods that are real processes, Traefik, Prometheus,
 * Temporal, two workers, and steady traffic whose errors are counted where users would see them. Many releases, with
 * workers that are killed on the way, are in kubernetes.full.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { failedAnswers, kubeObstacle, startKubeWorld } from '../support/kube-world.js';
import type { KubeWorld } from '../support/kube-world.js';
import { testRequest } from '../support/request.js';

const PER_SECOND = 50;

describe('a release on Kubernetes', { skip: await kubeObstacle(), concurrency: 3 }, () => {
  let world: KubeWorld;
  before(async () => {
    world = await startKubeWorld(['good', 'crash']);
  });
  after(() => world?.stop());

  test('a good one is promoted, and nobody sees an error', async () => {
    const traffic = await world.serve('good', PER_SECOND);
    const view = await world.pilot.ship(testRequest({ policy: world.policy('good'), tag: 'v2' }), 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(failedAnswers(traffic), []);
    assert.equal(traffic.answers.at(-1)?.version?.endsWith(':v2'), true);
    assert.deepEqual(await world.appliedTwice('good'), []);
    // The shares that users got are those that were asked for.
    const stages = view.timeline.filter(({ text }) => text.startsWith('traffic: '));
    const [from, to] = [stages[0]?.at, stages[1]?.at].map((at) => Date.parse(at ?? ''));
    const seen = traffic.answers.filter(({ atMs }) => atMs > (from ?? 0) + 500 && atMs < (to ?? 0));
    const share = seen.filter(({ version }) => version?.endsWith(':v2')).length / seen.length;
    assert.ok(Math.abs(share - 0.25) < 0.05, `${share} of ${seen.length} requests went to the canary`);
  });

  test('one whose pods never become ready gets no traffic at all', async () => {
    const traffic = await world.serve('crash', PER_SECOND);
    const base = world.policy('crash');
    const policy = { ...base, waits: { ...base.waits, progressMs: 6000 } };
    const view = await world.pilot.ship(testRequest({ policy, tag: 'v2', env: { DEMO_UNHEALTHY: '1' } }), 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.match(view.reason?.text ?? '', /canary did not become ready/);
    assert.deepEqual(failedAnswers(traffic), []);
    assert.ok(traffic.answers.every(({ version }) => version?.endsWith(':v1')));
  });
});
