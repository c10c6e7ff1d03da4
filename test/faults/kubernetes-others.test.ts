/** Somebody else changes what a rollout has set, while it only watches. More of it is in kubernetes-others.full.test.ts. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { asBefore, kubeFaultsObstacle, startKubeFaults } from '../support/kube-faults.js';
import type { KubeFaults } from '../support/kube-faults.js';
import { drifted, harmed, image, inCanary, weights } from '../support/kube-others.js';

const HARMFUL = ['canary-service'] as const;
const DRIFTING = ['weights-changed'] as const;

describe('somebody else', { skip: await kubeFaultsObstacle(), concurrency: 20 }, () => {
  let it: KubeFaults;
  before(async () => {
    it = await startKubeFaults([...HARMFUL, ...DRIFTING, 'drift-in-rollback']);
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
});
