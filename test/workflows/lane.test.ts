/** The lane: one rollout at a time, in the order that the policy says, and never stuck by what happens to a run. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { RolloutSummary } from '../../client/slipway.js';
import { enqueue, newLane } from '../../domain/lane.js';
import type { LaneRef } from '../../domain/target.js';
import type { lane } from '../../workflows/lane.js';
import { LANE_WORKFLOW, laneWorkflowId, recoverWorkflowId, searchAttributes } from '../../workflows/messages.js';
import { appliedTwice, until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { FAKE_TASK_QUEUE, startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { allIsWell } from '../support/fake-activities.js';
import { refusal } from '../support/memory-gateway.js';
import { testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

async function waitingIn({ environment, service }: LaneRef): Promise<readonly RolloutSummary[]> {
  const { service: s, environment: e } = searchAttributes;
  return env.slipway.waiting(`${s.name} = '${service}' AND ${e.name} = '${environment}'`);
}

describe('the lane', { concurrency: 6 }, () => {
  test('that goes on for a run before it tells search of its queue again', async () => {
    const world = env.worlds.add();
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    const blocked = { rolloutId: 'f'.repeat(16), reason: 'the last rollback failed', sinceMs: Date.now() };
    const { state } = enqueue({ ...newLane(world.lane), blocked }, request, Date.now());
    await env.slipway.client.workflow.start<typeof lane>(LANE_WORKFLOW, {
      workflowId: laneWorkflowId(world.lane),
      taskQueue: FAKE_TASK_QUEUE,
      args: [{ lane: world.lane, state }],
    });
    const waits = await until('search knows of it', async () => (await waitingIn(world.lane))[0] ?? null);
    assert.deepEqual(waits.queue, { ahead: 0, behind: null, blocked: 'the last rollback failed' });
  });

  test('the same key gives the same rollout for the same payload, and a conflict for another', async () => {
    const world = await env.worldWithV1();
    const key = randomUUID();
    const request = testRequest({ policy: world.policy(), tag: 'v2', key });
    await env.inCanary(world, request);
    assert.deepEqual(
      await env.slipway.enqueue({
        ...request,
        actor: { ...request.actor, subject: 'else@example.com' },
        requestedAt: new Date().toISOString(),
      }),
      {
        kind: 'duplicate',
        rolloutId: request.rolloutId,
        outcome: null,
      },
    );
    const other = await env.slipway.enqueue(testRequest({ policy: world.policy(), tag: 'v3', key }));
    assert.equal(other.kind, 'conflict');
    assert.equal(other.rolloutId, request.rolloutId);

    world.watch = allIsWell;
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    await pilot.remembered(request);
    assert.deepEqual(await env.slipway.enqueue(request), {
      kind: 'duplicate',
      rolloutId: request.rolloutId,
      outcome: 'completed',
    });
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
  });

  test('eight askers with one key at once start one rollout', async () => {
    const world = await env.worldWithV1();
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    const receipts = await Promise.all(Array.from({ length: 8 }, () => env.slipway.enqueue(request)));
    assert.deepEqual(receipts.map(({ kind }) => kind).toSorted(), [
      'accepted',
      ...Array.from({ length: 7 }, () => 'duplicate'),
    ]);
    await pilot.ended(request);
    assert.deepEqual(appliedTwice(world.gateway.journal), []);
  });

  test('a second release waits for the first, and then ships', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const second = testRequest({ policy: world.policy(), tag: 'v3' });
    assert.deepEqual(await env.slipway.enqueue(second), {
      kind: 'accepted',
      rolloutId: second.rolloutId,
      ahead: 1,
      blocked: null,
    });
    assert.equal(await pilot.view(second), null, 'it runs although the lane is taken');
    const waits = await until('search knows of it', async () => (await waitingIn(world.lane))[0] ?? null);
    assert.deepEqual(
      [waits.rolloutId, waits.queue],
      [second.rolloutId, { ahead: 1, behind: first.rolloutId, blocked: null }],
    );
    world.watch = allIsWell;
    assert.equal((await pilot.ended(first)).outcome, 'completed');
    assert.equal((await pilot.ended(second)).outcome, 'completed');
    await until('search knows that nobody waits', async () =>
      (await waitingIn(world.lane)).length === 0 ? true : null,
    );
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
    assert.deepEqual(appliedTwice(world.gateway.journal), []);
  });

  test('superseding rolls the running one back, drops what waits, and ships', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const waiting = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    const last = await pilot.deploy(testRequest({ policy: world.policy({ whenBusy: 'supersede' }), tag: 'v4' }));
    const ended = await pilot.ended(first);
    assert.deepEqual([ended.outcome, ended.reason?.code], ['superseded', 'superseded']);
    assert.equal((await pilot.ended(last)).outcome, 'completed');
    assert.equal(await pilot.remembered(waiting), 'superseded');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v4 x2` });
  });

  test('a rollout that copies its template to stable is not superseded any more', async () => {
    const world = await env.worldWithV1();
    const settling = world.hold('setStableTemplate');
    const first = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    await pilot.until(first, 'it settles', ({ phase }) => phase === 'settling');
    const second = await pilot.deploy(testRequest({ policy: world.policy({ whenBusy: 'supersede' }), tag: 'v3' }));
    await pilot.until(first, 'it has heard of the other', ({ timeline }) =>
      timeline.some(({ text }) => text.includes('too late')),
    );
    await settling.release();
    assert.equal((await pilot.ended(first)).outcome, 'completed');
    assert.equal((await pilot.ended(second)).outcome, 'completed');
  });

  test('a busy lane refuses where the policy says so', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const refused = await env.slipway.enqueue(testRequest({ policy: world.policy({ whenBusy: 'reject' }), tag: 'v3' }));
    assert.equal(refused.kind, 'busy');
    assert.equal(refused.kind === 'busy' && refused.running, first.rolloutId);
    world.watch = allIsWell;
    assert.equal((await pilot.ended(first)).outcome, 'completed');
    assert.deepEqual((await pilot.lane(world.lane))?.queue, []);
  });

  test('a hotfix goes ahead of one that waits for approval, and of the queue', async () => {
    const world = await env.worldWithV1();
    const approval = { ...world.policy().approval, required: 'always' as const };
    const first = await pilot.deploy(testRequest({ policy: world.policy({ approval }), tag: 'v2' }));
    await pilot.until(first, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    const queued = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    const hotfix = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v4', priority: 'hotfix' }));
    assert.equal((await pilot.ended(first)).reason?.code, 'pre-empted');
    const fixed = await pilot.ended(hotfix);
    assert.equal(fixed.outcome, 'completed');
    const last = await pilot.ended(queued);
    assert.equal(last.outcome, 'completed');
    assert.ok(
      Date.parse(last.startedAt) >= Date.parse(fixed.endedAt ?? ''),
      'the queued one ran before the hotfix was done',
    );
  });

  test('a hotfix waits for one whose canary has traffic', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const queued = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    const hotfix = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v4', priority: 'hotfix' }));
    await pilot.until(first, 'it has heard of the hotfix', ({ timeline }) =>
      timeline.some(({ text }) => text.includes('too late')),
    );
    world.watch = allIsWell;
    assert.equal((await pilot.ended(first)).outcome, 'completed');
    const [fixed, last] = [await pilot.ended(hotfix), await pilot.ended(queued)];
    assert.ok(Date.parse(last.startedAt) >= Date.parse(fixed.endedAt ?? ''), 'the queue went before the hotfix');
  });

  test('a failed rollback blocks the lane until somebody unblocks it; then it is recovered first', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.fault = ({ method, path }) =>
      method !== 'GET' && path.includes('/route/') ? refusal(403, 'Forbidden', 'the route is read-only today') : null;
    assert.equal((await pilot.decide(first, 'abort')).kind, 'accepted');
    const ended = await pilot.ended(first);
    assert.equal(ended.outcome, 'rollback-failed');
    assert.match(ended.reason?.text ?? '', /read-only today/);
    await until('somebody is paged', () =>
      world.notifications.some(({ kind, severity }) => kind === 'rollout-ended' && severity === 'page'),
    );

    const second = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    assert.match((await pilot.lane(world.lane))?.blocked?.reason ?? '', /read-only today/);
    const waits = await env.slipway.find({ lane: world.lane, rolloutId: second.rolloutId });
    assert.equal(waits.kind, 'queued');
    assert.match((waits.kind === 'queued' && waits.blocked) || '', /read-only today/);

    // Unblocked too early: the recovery fails as well, and blocks again.
    const said = await env.slipway.unblock(world.lane, {
      subject: 'admin@example.com',
      reason: 'I think it works again',
    });
    assert.match(said, /unblocked the lane/);
    await until(
      'the recovery has failed too',
      async () => (await pilot.lane(world.lane))?.blocked?.reason.includes('recovery failed') ?? false,
    );
    assert.equal(await pilot.view(second), null);
    assert.equal(world.weights?.canary, 25);
    const pages = () => world.notifications.filter(({ severity }) => severity === 'page');
    await until('somebody is paged again', () => pages().some(({ text }) => text.includes('recovery failed')));

    // As where all changes are forbidden for a while: not even the claim is granted, and nobody else acts for it.
    world.gateway.fault = ({ method }) => (method === 'GET' ? null : refusal(403, 'Forbidden', 'nothing may change'));
    await env.slipway.unblock(world.lane, { subject: 'admin@example.com', reason: 'once more' });
    await until(
      'it is blocked for another reason',
      async () => (await pilot.lane(world.lane))?.blocked?.reason.includes('nothing may change') ?? false,
    );
    assert.equal(await pilot.remembered(first), 'rollback-failed');
    await until('somebody is paged', () => pages().some(({ text }) => text.includes('nothing may change')));

    world.gateway.fault = null;
    world.watch = allIsWell;
    await env.slipway.unblock(world.lane, { subject: 'admin@example.com', reason: 'now it does' });
    assert.equal((await pilot.ended(second)).outcome, 'completed');
    assert.equal(await pilot.remembered(first), 'rolled-back');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
    assert.equal(world.holder, null);
  });

  test('a lane that was terminated follows the rollout that runs, then goes on', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.slipway.client.workflow.getHandle(laneWorkflowId(world.lane)).terminate('a test');
    const second = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    await until(
      'the new lane follows the first',
      async () => (await pilot.lane(world.lane))?.running === first.rolloutId,
    );
    assert.equal(await pilot.view(second), null, 'two rollouts at once');
    world.watch = allIsWell;
    assert.equal((await pilot.ended(first)).outcome, 'completed');
    assert.equal((await pilot.ended(second)).outcome, 'completed');
    assert.equal(await pilot.remembered(first), 'completed');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v3 x2` });
  });

  test('lane and run terminated: waking the lane recovers what the anchor names', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await env.slipway.client.workflow.getHandle(laneWorkflowId(world.lane)).terminate('a test');
    await pilot.handle(first).terminate('a test');
    assert.deepEqual(world.weights, { stable: 50, canary: 25, baseline: 25 });
    await pilot.wakeLane(world.lane, world.policy().target);
    assert.equal(await pilot.remembered(first), 'rolled-back');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
    assert.equal(world.weights?.stable, 100);
    assert.equal(world.holder, null);
  });

  test('a recovery that is terminated blocks the lane; unblocked, it is recovered again', async () => {
    const world = await env.worldWithV1();
    const first = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const fencing = world.hold('raiseFence');
    await pilot.handle(first).terminate('a test');
    await until('the recovery is at work', () => fencing.entered > 0);
    await env.slipway.client.workflow.getHandle(recoverWorkflowId(world.lane, first.rolloutId)).terminate('a test');
    await until('the lane is blocked', async () => (await pilot.lane(world.lane))?.blocked != null);
    await fencing.release();
    await env.slipway.unblock(world.lane, { subject: 'admin@example.com', reason: 'again' });
    await pilot.wakeLane(world.lane, world.policy().target);
    await until(
      'it is recovered',
      async () => world.holder === null && (await pilot.remembered(first)) === 'rolled-back',
    );
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });
});
