/** Each fault of the API server at every write; away for five minutes in each phase; and its store that hangs. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { atEachWrite, awayAt } from '../support/faulty-server.js';
import { asBefore, getsThrough, kubeFaultsObstacle, startKubeFaults } from '../support/kube-faults.js';
import type { KubeFaults } from '../support/kube-faults.js';
import { BACK, FORWARD, KUBE_FAULTS } from '../support/kube-occasions.js';
import { testRequest } from '../support/request.js';

const AWAY_MS = 5 * 60_000;
const LIMIT_MS = AWAY_MS + 240_000;
/** Before anything was touched nobody waits so long: it is said within about 15 s that the platform can't be reached. */
const { claiming, ...WAITING } = FORWARD;

describe('the API server away for five minutes', { skip: await kubeFaultsObstacle(), concurrency: 20 }, () => {
  let it: KubeFaults;
  before(async () => {
    const back = Object.keys(BACK).map((phase) => `${phase}-back`);
    it = await startKubeFaults([...Object.keys(FORWARD), ...back]);
  });
  after(() => it?.stop());

  test('while claiming: rejected, for nothing was touched; the next one ships', async () => {
    const lane = await it.serve('claiming');
    if (claiming !== undefined) lane.api.rule = awayAt([claiming], AWAY_MS);
    const policy = lane.policy();
    const view = await it.pilot.ship(testRequest({ policy, tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rejected', 'platform-unreachable']);
    lane.api.rule = null;
    assert.equal((await it.pilot.ship(testRequest({ policy, tag: 'v3' }))).outcome, 'completed');
    await asBefore(lane, 'v3');
  });

  for (const [phase, occasion] of Object.entries(WAITING)) {
    test(`while ${phase}: the rollout waits, and completes`, async () => {
      const lane = await it.serve(phase);
      lane.api.rule = awayAt([occasion], AWAY_MS);
      const policy = lane.policy();
      const waits = { ...policy.waits, progressMs: 2 * AWAY_MS };
      const view = await it.pilot.ship(testRequest({ policy: { ...policy, waits }, tag: 'v2' }), LIMIT_MS);
      assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
      await asBefore(lane, 'v2');
    });
  }

  for (const [phase, occasion] of Object.entries(BACK)) {
    test(`in a rollback while ${phase}: it goes on trying, and goes back`, async () => {
      const lane = await it.serve(`${phase}-back`);
      lane.api.rule = awayAt([occasion], AWAY_MS);
      const view = await it.pilot.ship(testRequest({ policy: lane.policy(), tag: 'bad' }), LIMIT_MS);
      assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
      await asBefore(lane, 'v1');
    });
  }
});

describe('each fault at each write', { skip: await kubeFaultsObstacle(), concurrency: 3 }, () => {
  let it: KubeFaults;
  before(async () => {
    it = await startKubeFaults(Object.keys(KUBE_FAULTS).map((name) => name.toLowerCase()));
  });
  after(() => it?.stop());

  for (const [name, faults] of Object.entries(KUBE_FAULTS))
    test(`${name}: a good release completes, a bad one is rolled back, and each effect is applied once`, () =>
      getsThrough(it, name.toLowerCase(), atEachWrite(...faults)));
});

describe('the store of the API server', { skip: await kubeFaultsObstacle() }, () => {
  test('hangs for 2 s of each 5: a good release completes, a bad one is rolled back', async () => {
    const it = await startKubeFaults(['slow-store']);
    const lane = await it.serve('slow-store');
    const { etcd } = it.plane;
    const hang = setInterval(() => {
      void etcd.kill('SIGSTOP');
      setTimeout(() => void etcd.kill('SIGCONT'), 2000);
    }, 5000);
    try {
      const policy = lane.policy();
      const good = await it.pilot.ship(testRequest({ policy, tag: 'v2' }), LIMIT_MS);
      assert.equal(good.outcome, 'completed', JSON.stringify(good.reason));
      const bad = await it.pilot.ship(testRequest({ policy, tag: 'bad' }), LIMIT_MS);
      assert.equal(bad.outcome, 'rolled-back', JSON.stringify(bad.reason));
      await asBefore(lane, 'v2');
    } finally {
      clearInterval(hang);
      await etcd.kill('SIGCONT');
      await it.stop();
    }
  });
});
