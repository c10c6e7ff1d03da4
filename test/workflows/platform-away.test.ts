/** Platforms that can't be asked: what that does to a rollout, and to those that wait behind it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connectKube } from '../../activities/kubernetes/kube-client.js';
import { createKubernetesPlatform } from '../../activities/kubernetes/kubernetes-platform.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { refusal } from '../support/memory-gateway.js';
import { kubeTarget, testRequest } from '../support/request.js';

/** More attempts than what is asked before anything is touched gets. */
const ATTEMPTS = 10;

let env: FakeEnv;
let pilot: Pilot;
let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-away-'));
  const kubeconfig = path.join(folder, 'config');
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'here', cluster: { server: 'http://127.0.0.1:9' } }],
      users: [{ name: 'here', user: {} }],
      contexts: [{ name: 'staging', context: { cluster: 'here', user: 'here' } }],
    }),
  );
  const source = { kubeconfig: [kubeconfig], own: null };
  const kubernetes = createKubernetesPlatform({
    clientFor: async (context) => connectKube({ context, source, timeoutMs: 1000 }),
    places: [],
    warn: () => undefined,
  });
  env = await startFakeEnv({ platforms: { kubernetes } });
  pilot = env.pilot;
});
after(async () => {
  await env.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('a platform that can’t be asked', { concurrency: 4 }, () => {
  test('one that no worker knows: the rollout is rejected and says so, and the next one ships', async () => {
    const world = await env.worldWithV1();
    const target = kubeTarget({ context: 'prod-eu' });
    const wrong = await pilot.deploy(testRequest({ policy: { ...world.policy(), target }, tag: 'v2' }));
    const right = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    const rejected = await pilot.ended(wrong, 30_000);
    assert.deepEqual([rejected.outcome, rejected.reason?.code], ['rejected', 'preflight']);
    assert.match(rejected.reason?.text ?? '', /no context "prod-eu": it has staging: put the target right/);
    assert.equal((await pilot.ended(right)).outcome, 'completed');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
  });

  test('one that is away between two stages is waited for, also where stable’s size is to be read there', async () => {
    const world = await env.worldWithV1();
    let asked = 0;
    world.describe = async (look) => {
      if (world.weights?.canary === 25 && asked++ < ATTEMPTS) throw new Error('the API server is away');
      return { ...(await look()), autoscaled: true };
    };
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.ok(asked > ATTEMPTS, `it was asked ${asked} times`);
  });

  test('one that is away when its newer fence asks for another generation is waited for as well', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    // As a run that was reset leaves it: its former self went on, and wrote newer fences.
    const route = world.gateway.object('route', 'route');
    assert.ok(route !== null);
    const annotations = { ...route.annotations, 'slipway.dev/fence': '2.900' };
    await world.gateway.fetch(
      `${world.gateway.url}/v1/objects/test/${world.lane.service}/route/route?revision=${route.revision}`,
      { method: 'PUT', body: JSON.stringify({ spec: route.spec, annotations, owner: route.owner }) },
    );
    let asked = 0;
    world.gateway.fault = ({ method, path: at }) =>
      method === 'PUT' && at.includes('/anchor/lane') && asked++ < ATTEMPTS
        ? refusal(503, 'Internal', 'the API server is away')
        : null;
    world.watch = allIsWell;
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.ok(asked > ATTEMPTS, `it was asked ${asked} times`);
  });
});
