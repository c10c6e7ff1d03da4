/** Somebody else changes what a rollout has set, while it only watches. More of it is in kubernetes-others.full.test.ts. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { asBefore, kubeFaultsObstacle, startKubeFaults } from '../support/kube-faults.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { until } from '../support/drive.js';
import type { KubeFaults, KubeLane } from '../support/kube-faults.js';
import { stage, testRequest } from '../support/request.js';
import { drifted, harmed, held, image, inCanary, weights } from '../support/kube-others.js';

const HARMFUL = ['canary-service'] as const;
const DRIFTING = ['weights-changed'] as const;

describe('somebody else', { skip: await kubeFaultsObstacle(), concurrency: 20 }, () => {
  let it: KubeFaults;
  before(async () => {
    it = await startKubeFaults([...HARMFUL, ...DRIFTING, 'drift-in-rollback', 'config-watched', 'config-stepped']);
  });
  after(() => it?.stop());

  for (const name of HARMFUL)
    test(`${name} in mid-canary: users are sent to stable by the next look`, () => harmed(it, name));

  for (const name of DRIFTING)
    test(`${name} in mid-canary: held, and told; resumed it is written over, and it goes on`, () => drifted(it, name));

  test('drift-in-rollback: weights and template are written over, and told', async () => {
    const { lane, request } = await inCanary(it, 'drift-in-rollback');
    await lane.meddle('httproutes', 'hello', weights(0, 100));
    await lane.meddle('deployments', 'hello', image('hack'));
    assert.equal((await it.pilot.decide(request, 'abort')).kind, 'accepted');
    const view = await it.pilot.ended(request);
    assert.equal(view.outcome, 'aborted');
    const told = view.warnings.filter((text) => text.includes('wrote over')).join('\n');
    assert.match(told, /route: found .*"canary":100/);
    assert.match(told, /stable: found .*hello:hack/);
    await asBefore(lane, 'v1');
  });

  /** A rollout whose canary has traffic, and refers to ConfigMap `settings-2` where stable refers to `settings-1`. */
  async function reconfigured(namespace: string): Promise<{ lane: KubeLane; request: RolloutRequest }> {
    const lane = await it.serve(namespace);
    await it.plane.apply(
      ['settings-1', 'settings-2'].map((name) => ({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace },
        data: { level: name },
      })),
    );
    await lane.meddle('deployments', 'hello', refersTo('settings-1'));
    await until('stable is at rest', async () => {
      const status = (await lane.object('deployments', 'hello'))?.['status'] as Record<string, number> | undefined;
      return status?.['updatedReplicas'] === 2 && status['readyReplicas'] === 2 && status['replicas'] === 2;
    });
    const made = testRequest({ policy: lane.policy({ stages: [stage(25, 600)] }), tag: 'v2' });
    const config = { configMaps: { settings: 'settings-2' }, secrets: {} };
    const request = await it.pilot.deploy({ ...made, release: { ...made.release, config } });
    await it.pilot.until(request, 'the canary has traffic', (view) => view.weights?.canary === 25);
    assert.equal(await settingsOf(lane, 'hello-canary'), 'settings-2');
    return { lane, request };
  }

  const refersTo = (name: string): object => ({
    spec: { template: { spec: { containers: [{ name: 'app', envFrom: [{ configMapRef: { name } }] }] } } },
  });

  async function settingsOf(lane: KubeLane, deployment: string): Promise<string | undefined> {
    const spec = (await lane.object('deployments', deployment))?.['spec'] as {
      template: { spec: { containers: { envFrom?: { configMapRef: { name: string } }[] }[] } };
    };
    return spec.template.spec.containers[0]?.envFrom?.[0]?.configMapRef.name;
  }

  const SAYS =
    /configuration was changed by somebody else: it is ConfigMap settings-2 sha256:\w{12}, and was ConfigMap/;

  test('a ConfigMap of the release changed in mid-canary: held; aborted, stable refers to its own', async () => {
    const { lane, request } = await reconfigured('config-watched');
    await lane.meddle('configmaps', 'settings-2', { data: { level: 'hacked' } });
    assert.match((await held(it, request)).wait?.reason ?? '', SAYS);
    assert.equal((await lane.weights())?.canary, 25);
    assert.equal((await it.pilot.decide(request, 'abort')).kind, 'accepted');
    assert.equal((await it.pilot.ended(request)).outcome, 'aborted');
    assert.equal(await settingsOf(lane, 'hello'), 'settings-1');
    await asBefore(lane, 'v1');
  });

  test('sent on by a person who does not know: held before more users get it; resumed, stable refers to it', async () => {
    const { lane, request } = await reconfigured('config-stepped');
    await lane.meddle('configmaps', 'settings-2', { data: { level: 'hacked' } });
    await it.pilot.decide(request, 'promote');
    assert.match((await held(it, request)).wait?.reason ?? '', SAYS);
    assert.equal((await lane.weights())?.canary, 25);
    await it.pilot.decide(request, 'resume');
    const skipped = await it.pilot.until(request, 'it goes on', ({ wait }) => wait === null);
    // A watch may have been the first to see it: then the stage was begun again.
    if (skipped.phase === 'canary') await it.pilot.decide(request, 'promote');
    const view = await it.pilot.ended(request);
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(view.warnings, [], 'nothing was written over');
    assert.equal(await settingsOf(lane, 'hello'), 'settings-2');
    await asBefore(lane, 'v2');
  });
});
