/**
 * A rollout that is stopped, in every phase and in each way, goes back to what served before; and what was begun when
 * it was stopped, and comes late, changes nothing any more.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Activities } from '../../activities/contract.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import type { World } from '../support/fake-activities.js';
import { testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

/** Where a rollout can be stopped: an activity that stands still, in the stage that means it. */
interface Moment {
  readonly activity: keyof Activities;
  readonly only?: string;
  /** Whether the lane's anchor may name the rollout by then. */
  readonly touched: boolean;
}

const MOMENTS: Readonly<Record<string, Moment>> = {
  assessing: { activity: 'assessRisk', touched: false },
  'gating on evidence': { activity: 'checkEvidence', touched: false },
  'looking at the target': { activity: 'describeTarget', touched: false },
  'preflight: asking': { activity: 'preflight', touched: false },
  'preflight: recording stable': { activity: 'openRollout', touched: true },
  'preflight: fencing': { activity: 'raiseFence', only: 'preflight', touched: true },
  'canary: starting arms': { activity: 'startArm', only: 'stage-1', touched: true },
  'canary: moving traffic': { activity: 'setWeights', only: 'stage-1', touched: true },
  'canary: watching': { activity: 'watch', only: 'stage-1', touched: true },
  'second stage: moving traffic': { activity: 'setWeights', only: 'stage-2', touched: true },
  'promoting: growing the canary': { activity: 'startArm', only: 'promote', touched: true },
  'promoting: moving all traffic': { activity: 'setWeights', only: 'promote', touched: true },
  verifying: { activity: 'watch', only: 'verify', touched: true },
  'settling: copying to stable': { activity: 'setStableTemplate', only: 'settle', touched: true },
  'settling: moving traffic back': { activity: 'setWeights', only: 'settle', touched: true },
  'settling: removing siblings': { activity: 'removeArm', only: 'settle', touched: true },
};

type Stop = (request: RolloutRequest) => Promise<void>;

/** Begins a rollout, stops it at the moment, and waits for the lane to be free again; then lets the late call go on. */
async function stopAt(moment: Moment, stop: Stop): Promise<{ world: World; request: RolloutRequest; outcome: string }> {
  const world = await env.worldWithV1();
  const hold = world.hold(moment.activity, moment.only === undefined ? {} : { only: moment.only });
  const request = await pilot.deploy(testRequest({ policy: world.policy({ verifyMs: 20_000 }), tag: 'v2' }));
  await until('the moment has come', () => hold.entered > 0);
  await stop(request);
  const outcome = await pilot.remembered(request);
  await until('the lane is free', async () => (await pilot.lane(world.lane))?.running === null);
  const settled = snapshot(world);
  await hold.release();
  assert.deepEqual(snapshot(world), settled, 'a late call changed something');
  assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
  assert.equal(world.holder, null);
  return { world, request, outcome };
}

function snapshot(world: World): unknown {
  return { arms: world.arms, weights: world.weights, holder: world.holder, writes: world.gateway.journal.length };
}

describe('abort', { concurrency: 6 }, () => {
  for (const [name, moment] of Object.entries(MOMENTS)) {
    test(`abort: ${name}`, async () => {
      const { request, outcome } = await stopAt(moment, async (asked) => {
        assert.equal((await pilot.decide(asked, 'abort', { reason: 'a test' })).kind, 'accepted');
        const again = await pilot.decide(asked, 'abort');
        assert.equal(again.kind, 'refused', 'a second abort counted');
      });
      assert.equal(outcome, 'aborted');
      const view = await pilot.ended(request);
      assert.deepEqual([view.reason?.code, view.reason?.text], ['aborted', 'aborted by approver@example.com: a test']);
    });
  }
});

describe('cancel', { concurrency: 6 }, () => {
  for (const [name, moment] of Object.entries(MOMENTS)) {
    test(`cancel: ${name}`, async () => {
      const { request, outcome } = await stopAt(moment, async (asked) => void (await pilot.handle(asked).cancel()));
      assert.equal(outcome, 'aborted');
      assert.equal((await pilot.ended(request)).reason?.code, 'cancelled');
    });
  }
});

describe('terminate', { concurrency: 6 }, () => {
  for (const [name, moment] of Object.entries(MOMENTS)) {
    test(`terminate: ${name}`, async () => {
      // Reads stand still for the recovery too, so it is let go by then: what counts is that nothing is written late.
      const { outcome } = await stopAt(moment, async (asked) => void (await pilot.handle(asked).terminate('a test')));
      assert.equal(outcome, moment.touched ? 'rolled-back' : 'aborted');
    });
  }
});

describe('the edges', { concurrency: 8 }, () => {
  for (const how of ['abort', 'cancel'] as const) {
    test(`${how} while it waits for approval touches nothing`, async () => {
      const world = await env.worldWithV1();
      const written = world.gateway.journal.length;
      const approval = { ...world.policy().approval, required: 'always' as const };
      const request = await pilot.deploy(testRequest({ policy: world.policy({ approval }), tag: 'v2' }));
      await pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
      if (how === 'abort') await pilot.decide(request, 'abort');
      else await pilot.handle(request).cancel();
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      assert.equal(world.gateway.journal.length, written);
    });

    test(`${how} while the lane is claimed gives it back`, async () => {
      const world = await env.worldWithV1();
      const hold = world.hold('claimLane');
      const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
      await until('it claims', () => hold.entered > 0);
      if (how === 'abort') await pilot.decide(request, 'abort');
      else await pilot.handle(request).cancel();
      await until('it claims for its way back', () => hold.entered > 1);
      await hold.release();
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
      assert.equal(world.holder, null);
    });

    test(`${how} of a first release while the lane is claimed ends it`, async () => {
      const world = env.worlds.add();
      const hold = world.hold('claimLane', { first: 1 });
      const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v1' }));
      await until('it claims', () => hold.entered > 0);
      if (how === 'abort') await pilot.decide(request, 'abort');
      else await pilot.handle(request).cancel();
      // The first claim stands still all the while, and comes only when all is over.
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      await hold.release();
      assert.deepEqual(world.arms, {});
      assert.equal((await pilot.lane(world.lane))?.blocked, null);
      assert.equal(world.holder, null);
      assert.equal((await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }))).outcome, 'completed');
    });

    test(`${how} when the outcome is being recorded comes too late`, async () => {
      const world = await env.worldWithV1();
      const hold = world.hold('closeRollout');
      const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
      await until('it records the outcome', () => hold.entered > 0);
      if (how === 'abort') {
        const receipt = await pilot.decide(request, 'abort');
        assert.equal(receipt.kind === 'refused' && receipt.code, 'finished');
      } else {
        await pilot.handle(request).cancel();
      }
      await hold.release();
      assert.equal((await pilot.ended(request)).outcome, 'completed');
      assert.equal(await pilot.remembered(request), 'completed');
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
      assert.equal(world.holder, null);
    });

    test(`${how} of a first release in its verification removes it`, async () => {
      const world = env.worlds.add();
      const request = await pilot.deploy(testRequest({ policy: world.policy({ verifyMs: 20_000 }), tag: 'v1' }));
      await pilot.until(request, 'it verifies', ({ phase }) => phase === 'verifying');
      if (how === 'abort') await pilot.decide(request, 'abort');
      else await pilot.handle(request).cancel();
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      assert.deepEqual(world.arms, {});
      assert.equal(world.weights, null);
    });
  }

  test('terminated when the outcome was recorded but the run not closed: the lane finds nothing to recover', async () => {
    const world = await env.worldWithV1();
    const hold = world.hold('recordRollout');
    const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    await until('it keeps its record', () => hold.entered > 0);
    await pilot.handle(request).terminate('a test');
    assert.equal(await pilot.remembered(request), 'completed');
    await hold.release();
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
    assert.equal((await pilot.lane(world.lane))?.blocked, null);
    const next = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v3' }));
    assert.equal(next.outcome, 'completed');
  });
});
