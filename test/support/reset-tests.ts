/**
 * `temporal workflow reset` to each checkpoint of a rollout's history: the new run goes on under a new generation, the
 * lane goes on waiting for it, and a rollback works from wherever it was reset to.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import { until } from './drive.js';
import type { Pilot } from './drive.js';
import { allIsWell } from './fake-activities.js';
import type { Hold, World } from './fake-activities.js';
import { startFakeEnv } from './fake-env.js';
import type { FakeEnv } from './fake-env.js';
import { testRequest } from './request.js';
import { currentRun, resetRun } from './reset.js';
import type { Run } from './reset.js';

/** As many as a rollout has at least; those that have more are reset to their last. */
const CHECKPOINTS_IN_CANARY = 12;
const CHECKPOINTS_IN_SETTLING = 25;
/** Of a rollout that has completed, about. */
const CHECKPOINTS_IN_ALL = 31;

let env: FakeEnv;
let pilot: Pilot;

function reset(request: RolloutRequest, run: Run, checkpoint: number): Promise<string> {
  return resetRun(env.slipway, request, run, checkpoint);
}

/** The lane must go on waiting for the rollout, not send a recovery after it. */
async function assertLaneWaits(world: World, request: RolloutRequest): Promise<void> {
  assert.equal((await pilot.lane(world.lane))?.running, request.rolloutId, 'the lane has let go of it');
  await assert.rejects(pilot.recovery(request), WorkflowNotFoundError, 'a recovery was started against it');
}

async function assertNextShips(world: World): Promise<void> {
  world.watch = allIsWell;
  const next = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v3' }));
  assert.equal(next.outcome, 'completed');
  assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
  assert.equal(world.holder, null);
}

/** A rollout that stands in the tail of its promotion: stable runs the new version. */
async function inSettling(world: World): Promise<{ request: RolloutRequest; hold: Hold }> {
  const hold = world.hold('removeArm', { only: 'settle' });
  const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
  await until('it removes the siblings', () => hold.entered > 0);
  return { request, hold };
}

/** A rollout that was reset to before its approval, when its canary had traffic already. */
async function askedAgain(): Promise<{ world: World; request: RolloutRequest; asked: RolloutView }> {
  const world = await env.worldWithV1();
  const approval = { ...world.policy().approval, required: 'always' as const };
  const request = testRequest({ policy: world.policy({ approval }), tag: 'v2' });
  world.watch = () => 'wait';
  await pilot.deploy(request);
  await pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
  await pilot.decide(request, 'approve', { id: 'click-1' });
  await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
  await reset(request, await currentRun(env.slipway, request), 2);
  const asked = await pilot.until(request, 'the new run asks again', ({ wait }) => wait?.kind === 'approval');
  return { world, request, asked };
}

/** The tests themselves: `every` 1 takes each checkpoint, 3 each third. */
export function resetTests(every: number): void {
  before(async () => {
    env = await startFakeEnv();
    pilot = env.pilot;
  });
  after(() => env.stop());

  describe('reset in the canary, then abort', { concurrency: 6 }, () => {
    for (let checkpoint = 0; checkpoint < CHECKPOINTS_IN_CANARY; checkpoint += every) {
      test(`to checkpoint ${checkpoint + 1}`, async () => {
        const world = await env.worldWithV1();
        const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
        const run = await currentRun(env.slipway, request);
        assert.ok(run.checkpoints.length >= CHECKPOINTS_IN_CANARY, `it has only ${run.checkpoints.length} checkpoints`);
        const runId = await reset(request, run, checkpoint);
        await pilot.until(
          request,
          'the new run is in the canary',
          ({ phase, weights }) => phase === 'canary' && weights?.canary === 25,
        );
        assert.equal((await pilot.handle(request).describe()).runId, runId);
        await assertLaneWaits(world, request);
        await pilot.decide(request, 'abort');
        assert.equal((await pilot.ended(request)).outcome, 'aborted');
        assert.equal(await pilot.remembered(request), 'aborted');
        assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
        assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
        await assertNextShips(world);
      });
    }
  });

  describe('reset in the tail of a promotion, then terminate', { concurrency: 6 }, () => {
    for (let checkpoint = 0; checkpoint < CHECKPOINTS_IN_SETTLING; checkpoint += every) {
      test(`to checkpoint ${checkpoint + 1}`, async () => {
        const world = await env.worldWithV1();
        const { request, hold } = await inSettling(world);
        const run = await currentRun(env.slipway, request);
        assert.ok(
          run.checkpoints.length >= CHECKPOINTS_IN_SETTLING,
          `it has only ${run.checkpoints.length} checkpoints`,
        );
        const before = hold.entered;
        await reset(request, run, checkpoint);
        await until('the new run has come as far', () => hold.entered > before);
        await assertLaneWaits(world, request);
        await pilot.handle(request).terminate('a test');
        assert.equal(await pilot.remembered(request), 'rolled-back');
        await hold.release();
        assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
        assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
        assert.equal(world.holder, null);
      });
    }
  });

  describe('reset', { concurrency: 6 }, () => {
    test('again and again, and it completes', async () => {
      const world = await env.worldWithV1();
      const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
      for (const checkpoint of [9, 4, 7]) {
        await reset(request, await currentRun(env.slipway, request), checkpoint);
        await pilot.until(
          request,
          'the new run is in the canary',
          ({ phase, weights }) => phase === 'canary' && weights?.canary === 25,
        );
      }
      await assertLaneWaits(world, request);
      world.watch = allIsWell;
      assert.equal((await pilot.ended(request)).outcome, 'completed');
      assert.equal(await pilot.remembered(request), 'completed');
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
    });

    test('to before a gate: what was approved there must be approved again, by a click of one’s own', async () => {
      const { world, request, asked } = await askedAgain();
      assert.deepEqual(asked.approvals?.approvedBy, []);
      assert.equal((await pilot.decide(request, 'approve', { id: 'click-2' })).kind, 'accepted');
      await pilot.until(request, 'the new run is in the canary', ({ weights }) => weights?.canary === 25);
      await pilot.decide(request, 'abort');
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
    });

    test('to before a gate, and rejected there: what was done before goes back', async () => {
      const { world, request } = await askedAgain();
      assert.equal((await pilot.decide(request, 'reject', { id: 'click-2' })).kind, 'accepted');
      assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
      assert.equal(await pilot.remembered(request), 'rolled-back');
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
      assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
      assert.equal(world.holder, null);
    });

    for (let checkpoint = 2; checkpoint < CHECKPOINTS_IN_ALL; checkpoint += 3 * every) {
      test(`of a rollout that has completed, to checkpoint ${checkpoint + 1}: it writes nothing, whoever has the lane`, async () => {
        const world = await env.worldWithV1();
        const done = testRequest({ policy: world.policy(), tag: 'v2' });
        assert.equal((await pilot.ship(done)).outcome, 'completed');
        const next = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v3' }));
        const run = await currentRun(env.slipway, done);
        const written = world.gateway.journal.length;
        const runId = await reset(done, run, checkpoint);
        await until('the new run is over', async () => {
          const { status, runId: current } = await pilot.handle(done).describe();
          return current === runId && status.name === 'COMPLETED';
        });
        assert.equal(world.gateway.journal.length, written, JSON.stringify(world.gateway.journal.slice(written)));
        world.watch = allIsWell;
        assert.equal((await pilot.ended(next)).outcome, 'completed');
        assert.equal(await pilot.remembered(done), 'completed');
        assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
      });
    }
  });
}
