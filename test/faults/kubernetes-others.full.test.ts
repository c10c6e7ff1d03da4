/** All that somebody else may change in mid-canary, and what can only be held or said. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Resource } from '../../activities/kubernetes/resources.js';
import { until } from '../support/drive.js';
import { asBefore, kubeFaultsObstacle, startKubeFaults } from '../support/kube-faults.js';
import type { KubeFaults, KubeLane } from '../support/kube-faults.js';
import { drifted, DRIFTS, goOn, harmed, HARMS, held, inCanary, SOON_MS, weights } from '../support/kube-others.js';
import { testRequest } from '../support/request.js';

const HARMFUL = Object.keys(HARMS) as (keyof typeof HARMS)[];
const DRIFTING = Object.keys(DRIFTS) as (keyof typeof DRIFTS)[];
const OTHERS = [
  'route-deleted',
  'service-deleted',
  'lane-anchor-deleted',
  'settling',
  'guarded',
  'lost-record',
  'scaled',
];

describe('somebody else', { skip: await kubeFaultsObstacle(), concurrency: 6 }, () => {
  let it: KubeFaults;
  before(async () => {
    it = await startKubeFaults([...HARMFUL, ...DRIFTING, ...OTHERS]);
  });
  after(() => it?.stop());

  for (const name of HARMFUL)
    test(`${name} in mid-canary: users are sent to stable by the next look`, () => harmed(it, name));

  for (const name of DRIFTING)
    test(`${name} in mid-canary: held, and told; resumed it is written over, and it goes on`, () => drifted(it, name));

  async function specOf(lane: KubeLane, resource: Resource): Promise<Readonly<Record<string, object>>> {
    const found = await lane.object(resource, 'hello');
    assert.ok(found !== null);
    return found['spec'] as Readonly<Record<string, object>>;
  }

  /** An object as its owner would apply it once more. */
  async function putBack(lane: KubeLane, kind: 'Service' | 'HTTPRoute', spec: object): Promise<void> {
    const apiVersion = kind === 'Service' ? 'v1' : 'gateway.networking.k8s.io/v1';
    await it.plane.apply([{ apiVersion, kind, metadata: { name: 'hello', namespace: lane.namespace }, spec }]);
  }

  test('the route deleted: held; put back by its owner and resumed, it goes on', async () => {
    const { lane, request } = await inCanary(it, 'route-deleted');
    const { parentRefs } = await specOf(lane, 'httproutes');
    await lane.meddle('httproutes', 'hello', null);
    assert.match((await held(it, request)).wait?.reason ?? '', /route .*it is gone/);
    await putBack(lane, 'HTTPRoute', { parentRefs, ...weights(1, 0).spec });
    assert.equal((await goOn(it, request)).outcome, 'completed');
    await asBefore(lane, 'v2');
  });

  test('the Service of stable deleted: held where it is, for stable could not take its traffic back', async () => {
    const { lane, request } = await inCanary(it, 'service-deleted');
    const { selector, ports } = await specOf(lane, 'services');
    await lane.meddle('services', 'hello', null);
    assert.match((await held(it, request)).wait?.reason ?? '', /Service service-deleted\/hello is gone/);
    assert.equal((await lane.weights())?.canary, 25);
    await putBack(lane, 'Service', { selector, ports });
    assert.equal((await goOn(it, request)).outcome, 'completed');
    await asBefore(lane, 'v2');
  });

  test('stable made larger in mid-canary: it goes on, and the size is kept', async () => {
    const { lane, request } = await inCanary(it, 'scaled');
    await lane.meddle('deployments', 'hello', { spec: { replicas: 3 } });
    await it.pilot.decide(request, 'promote', { full: true });
    const view = await it.pilot.ended(request);
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(await lane.deployments(), ['hello: v2 x3']);
  });

  test('the anchor of the lane deleted: it goes on, the lane has an anchor again, and the next one is served', async () => {
    const { lane, request } = await inCanary(it, 'lane-anchor-deleted');
    await lane.meddle('configmaps', lane.anchor(null), null);
    await it.pilot.decide(request, 'promote');
    assert.equal((await it.pilot.ended(request)).outcome, 'completed');
    await asBefore(lane, 'v2');
    const next = await it.pilot.ship(testRequest({ policy: lane.policy(), tag: 'bad' }));
    assert.equal(next.outcome, 'rolled-back');
    await asBefore(lane, 'v2');
  });

  test('the canary deleted while it has all traffic and stable is not ready: users are sent to stable at once', async () => {
    const lane = await it.serve('settling');
    const request = await it.pilot.deploy(testRequest({ policy: lane.policy(), tag: 'slow-v2' }));
    await it.pilot.until(request, 'it settles', ({ phase }) => phase === 'settling', 120_000);
    await lane.meddle('deployments', 'hello-canary', null);
    await until('users are sent to stable', async () => (await lane.weights())?.stable === 100, SOON_MS);
    const { outcome } = await it.pilot.ended(request);
    await asBefore(lane, outcome === 'completed' ? 'slow-v2' : 'v1');
  });

  test('a canary that is deleted while a drift is held: the guard is on, and users are sent to stable', async () => {
    const { lane, request } = await inCanary(it, 'guarded');
    await lane.meddle('httproutes', 'hello', weights(60, 40));
    await held(it, request);
    await lane.meddle('deployments', 'hello-canary', null);
    const view = await it.pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'disturbed'], JSON.stringify(view.reason));
    await asBefore(lane, 'v1');
  });

  test('the anchor of the rollout deleted once stable was written: a rollback says that it can not restore it', async () => {
    const lane = await it.serve('lost-record');
    const request = await it.pilot.deploy(testRequest({ policy: lane.policy(), tag: 'slow-v2' }));
    await it.pilot.until(request, 'it settles', ({ phase }) => phase === 'settling', 120_000);
    const stableVersion = async () => (await lane.deployments()).find((each) => each.startsWith('hello:'));
    await until('stable is written', async () => (await stableVersion()) === 'hello: slow-v2 x2');
    await lane.meddle('configmaps', lane.anchor(request.rolloutId), null);
    await it.pilot.decide(request, 'abort');
    const view = await it.pilot.ended(request);
    assert.equal(view.outcome, 'rollback-failed', JSON.stringify(view.reason));
    assert.match(view.reason?.text ?? '', /not recorded any more .*:slow-v2/);
    assert.deepEqual(await lane.weights(), { stable: 100, canary: 0, baseline: 0 });
  });
});
