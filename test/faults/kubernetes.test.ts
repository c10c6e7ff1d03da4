/**
 * The API server refuses, throttles, is slow, loses answers, and is away: a rollout gets through, each effect once by the
 * audit log, or goes back. Each fault alone,
 * five minutes of it, and a store that hangs, are in kubernetes.full.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { atEachWrite, awayAt, inTurn } from '../support/faulty-server.js';
import type { FaultRule, Occasion } from '../support/faulty-server.js';
import { asBefore, getsThrough, kubeFaultsObstacle, startKubeFaults } from '../support/kube-faults.js';
import type { KubeFaults } from '../support/kube-faults.js';
import { BACK, FORWARD, KUBE_FAULTS } from '../support/kube-occasions.js';
import { testRequest } from '../support/request.js';

const CONFLICTS = atEachWrite(...KUBE_FAULTS.conflicts);
const STORM = atEachWrite(...KUBE_FAULTS.storm);
const { throttled, failed, late, slow, cut, lost, lateDone } = KUBE_FAULTS;

const FAULTS: Readonly<Record<string, FaultRule>> = {
  // Where traffic moves it is a storm.
  conflicts: (request) => (request.path.includes('httproutes') ? STORM(request) : CONFLICTS(request)),
  refusals: inTurn(...throttled, ...failed, ...late, ...slow),
  'lost-answers': inTurn(...lost, ...lateDone, ...cut),
};
const AWAY_MS = 4000;
/** Which phases share a rollout: all of them, one after the other, would take a minute. */
const AWAY: Readonly<Record<string, readonly (keyof typeof FORWARD)[]>> = {
  one: ['claiming', 'starting', 'shifting', 'promoting', 'returning', 'closing'],
  other: ['opening', 'getting-ready', 'scaling', 'copying', 'clearing', 'dissolving'],
};

describe('the API server', { skip: await kubeFaultsObstacle(), concurrency: 20 }, () => {
  let it: KubeFaults;
  before(async () => {
    it = await startKubeFaults([...Object.keys(FAULTS), ...Object.keys(AWAY), 'back']);
  });
  after(() => it?.stop());

  for (const [name, rule] of Object.entries(FAULTS)) {
    test(`${name} at each write: a good release completes, a bad one is rolled back, and each effect is applied once`, async () => {
      await getsThrough(it, name, rule);
    });
  }

  for (const [name, phases] of Object.entries(AWAY)) {
    test(`away for ${AWAY_MS / 1000} s while ${phases.join(', ')}: the rollout waits, and completes`, async () => {
      const lane = await it.serve(name);
      lane.api.rule = awayAt(
        phases.map((phase) => FORWARD[phase] as Occasion),
        AWAY_MS,
      );
      const view = await it.pilot.ship(testRequest({ policy: lane.policy(), tag: 'v2' }));
      assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
      assert.ok(lane.api.hits >= phases.length * 3, `only ${lane.api.hits} requests failed`);
      await asBefore(lane, 'v2');
    });
  }

  test(`away for ${AWAY_MS / 1000} s in each step of a rollback: it goes on trying, and goes back`, async () => {
    const lane = await it.serve('back');
    lane.api.rule = awayAt(Object.values(BACK), AWAY_MS);
    const view = await it.pilot.ship(testRequest({ policy: lane.policy(), tag: 'bad' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'verdict'], JSON.stringify(view.reason));
    assert.ok(lane.api.hits >= 20, `only ${lane.api.hits} requests failed`);
    await asBefore(lane, 'v1');
  });
});
