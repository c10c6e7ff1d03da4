/**
 * The whole of Slipway on Kubernetes: API server and controllers, pods that are real processes, Traefik, Prometheus,
 * Temporal, two workers, and steady traffic whose errors are counted where users would see them.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Slipway } from '../../client/slipway.js';
import type { Policy } from '../../domain/policy.js';
import type { KubernetesTarget } from '../../domain/target.js';
import { appliedWrites } from '../../tools/audit.js';
import { KUBE_STACK_PARTS, startKubeStack } from '../../tools/kube-stack.js';
import type { KubeStack } from '../../tools/kube-stack.js';
import { enterNetworkNamespace } from '../../tools/network-namespace.js';
import { reasonToSkip } from '../../tools/toolbox.js';
import type { Server } from '../../tools/supervise.js';
import { startTraffic } from '../../tools/traffic.js';
import type { Traffic } from '../../tools/traffic.js';
import { applyService } from '../activities/kubernetes/kube-support.js';
import { Pilot, until } from '../support/drive.js';
import { stage, testPolicy, testRequest } from '../support/request.js';

/** All is fetched before the namespace is entered, from where nothing can be. */
async function obstacle(): Promise<string | false> {
  for (const part of KUBE_STACK_PARTS) {
    const reason = await reasonToSkip(part);
    if (reason !== false) return reason;
  }
  const reason = await enterNetworkNamespace();
  return reason === undefined ? false : `needs a network namespace: ${reason}`;
}

const SERVICES = ['good', 'errors', 'slow', 'crash', 'killed'] as const;
const PER_SECOND = 50;

describe('a release on Kubernetes', { skip: await obstacle(), concurrency: 5 }, () => {
  let stack: KubeStack;
  let slipway: Slipway;
  let pilot: Pilot;
  let workers: readonly Server[] = [];
  const stops: (() => Promise<unknown>)[] = [];

  before(async () => {
    stack = await startKubeStack({ namespaces: SERVICES });
    stops.push(() => stack.stop());
    workers = await Promise.all([stack.startWorker(), stack.startWorker()]);
    slipway = await Slipway.connect(stack.env);
    stops.push(() => slipway.close());
    pilot = new Pilot(slipway);
  });
  after(async () => {
    for (const stop of stops.toReversed()) await stop();
  });

  function policyOf(namespace: string): Policy {
    const target: KubernetesTarget = {
      platform: 'kubernetes',
      context: 'slipway',
      namespace,
      deployment: 'hello',
      service: 'hello',
      route: { kind: 'HTTPRoute', name: 'hello' },
    };
    const base = testPolicy({ gateway: 'http://unused', stages: [stage(25, 8), stage(50, 8)] });
    return {
      ...base,
      lane: { environment: 'prod', service: namespace },
      target,
      verifyMs: 4000,
      metrics: { source: 'prometheus', url: stack.prometheus.url, queries: 'traefik', authorization: null },
    };
  }

  /** The service under traffic, as it is before a release. */
  async function serve(namespace: string): Promise<Traffic> {
    await applyService(stack.plane, { namespace, replicas: 2, rights: false });
    const host = `${namespace}.example.com`;
    await until('v1 serves', async () => {
      const probe = startTraffic({ url: stack.traefik.url, host, perSecond: 20 });
      await new Promise((resolve) => setTimeout(resolve, 500));
      await probe.stop();
      return probe.answers.length > 0 && probe.answers.every(({ ok, version }) => ok && version !== null);
    });
    return startTraffic({ url: stack.traefik.url, host, perSecond: PER_SECOND });
  }

  function failed({ answers }: Traffic): readonly string[] {
    return answers
      .filter(({ ok }) => !ok)
      .map(({ version, atMs }) => version ?? `no answer at ${new Date(atMs).toISOString()}`);
  }

  async function appliedTwice(namespace: string): Promise<readonly string[]> {
    const done = (await appliedWrites(stack.plane.auditLog, namespace))
      .filter(({ key }) => key !== null)
      .map(({ key, object }) => `${key} ${object}`);
    return done.filter((each, index) => done.indexOf(each) !== index);
  }

  test('a good one is promoted, and nobody sees an error', async () => {
    const traffic = await serve('good');
    const request = testRequest({ policy: policyOf('good'), tag: 'v2' });
    const view = await pilot.ship(request, 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(failed(traffic), []);
    assert.equal(traffic.answers.at(-1)?.version?.endsWith(':v2'), true);
    assert.deepEqual(await appliedTwice('good'), []);
    // The shares that users got are those that were asked for.
    const stages = view.timeline.filter(({ text }) => text.startsWith('traffic: '));
    const [from, to] = [stages[0]?.at, stages[1]?.at].map((at) => Date.parse(at ?? ''));
    const seen = traffic.answers.filter(({ atMs }) => atMs > (from ?? 0) + 500 && atMs < (to ?? 0));
    const share = seen.filter(({ version }) => version?.endsWith(':v2')).length / seen.length;
    assert.ok(Math.abs(share - 0.25) < 0.05, `${share} of ${seen.length} requests went to the canary`);
  });

  test('one with 5 % errors is rolled back, and all errors are its own', async () => {
    const traffic = await serve('errors');
    const policy = policyOf('errors');
    // Statistics need their time at a small difference; a verdict comes long before the stage's end.
    const stages = [stage(50, 60)];
    const patient = { ...policy, stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } };
    const request = testRequest({ policy: patient, tag: 'v2', env: { DEMO_ERROR_RATE: '0.05' } });
    const view = await pilot.ship(request, 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.equal(view.reason?.code, 'verdict');
    const others = failed(traffic).filter((version) => !version.endsWith(':v2'));
    assert.deepEqual(others, []);
    assert.equal(traffic.answers.at(-1)?.version?.endsWith(':v1'), true);
    assert.deepEqual(await appliedTwice('errors'), []);
  });

  test('one that is slow is rolled back, and nobody sees an error', async () => {
    const traffic = await serve('slow');
    const request = testRequest({ policy: policyOf('slow'), tag: 'v2', env: { DEMO_LATENCY_MS: '300' } });
    const view = await pilot.ship(request, 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.match(view.reason?.text ?? '', /took longer than/);
    assert.deepEqual(failed(traffic), []);
  });

  test('one whose pods never become ready gets no traffic at all', async () => {
    const traffic = await serve('crash');
    const base = policyOf('crash');
    const policy = { ...base, waits: { ...base.waits, progressMs: 6000 } };
    const view = await pilot.ship(testRequest({ policy, tag: 'v2', env: { DEMO_UNHEALTHY: '1' } }), 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.match(view.reason?.text ?? '', /canary did not become ready/);
    assert.deepEqual(failed(traffic), []);
    assert.ok(traffic.answers.every(({ version }) => version?.endsWith(':v1')));
  });

  test('both workers are killed in the middle, one after the other: others go on, and nothing is done twice', async () => {
    const traffic = await serve('killed');
    const request = await pilot.deploy(testRequest({ policy: policyOf('killed'), tag: 'v2' }));
    await pilot.until(request, 'the canary has traffic', ({ weights }) => (weights?.canary ?? 0) > 0);
    for (const worker of workers) {
      await worker.kill('SIGKILL');
      await stack.startWorker();
    }
    const view = await pilot.ended(request, 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(failed(traffic), []);
    assert.deepEqual(await appliedTwice('killed'), []);
  });
});
