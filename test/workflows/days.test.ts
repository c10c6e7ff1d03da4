/** Waits of days, on Temporal's time-skipping test server: what a deadline does when it comes, and when it does not. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import type { Decision } from '../../domain/approval/decision.js';
import {
  enqueueUpdate,
  decideUpdate,
  LANE_WORKFLOW,
  laneQuery,
  laneWorkflowId,
  ROLLOUT_WORKFLOW,
  rolloutWorkflowId,
  searchAttributes,
  unblockUpdate,
  viewQuery,
} from '../../workflows/messages.js';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutResult } from '../../domain/rollout.js';
import { findTemporalTestServer, reasonToSkip } from '../../tools/toolbox.js';
import { until } from '../support/drive.js';
import { createFakeActivities, Worlds } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { FAKE_TASK_QUEUE, quiet, startFakeWorker, wakeLane } from '../support/fake-env.js';
import { stage, testRequest } from '../support/request.js';

const HOUR = 3600_000;
const skip = await reasonToSkip(findTemporalTestServer);

let env: TestWorkflowEnvironment;
let stopWorker = async (): Promise<void> => undefined;
const worlds = new Worlds();
before(async () => {
  if (skip !== false) return;
  quiet();
  const { path } = await findTemporalTestServer();
  env = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable: { type: 'existing-path', path } } });
  // This server can add search attributes, but not list them: so not by the worker's own set-up.
  const types: Readonly<Record<string, number>> = { KEYWORD: 2, DOUBLE: 4, DATETIME: 6 };
  await env.connection.operatorService.addSearchAttributes({
    namespace: 'default',
    searchAttributes: Object.fromEntries(
      Object.values(searchAttributes).map(({ name, type }) => [name, types[type] ?? 2]),
    ),
  });
  stopWorker = await startFakeWorker({
    connection: env.nativeConnection,
    namespace: 'default',
    activities: createFakeActivities(worlds, wakeLane),
  });
});
after(async () => {
  await stopWorker();
  if (skip === false) await env.teardown();
});

function patient(world: World, waits: Partial<Policy['waits']>): Policy {
  const policy = world.policy();
  return {
    ...policy,
    approval: { ...policy.approval, required: 'always' },
    waits: { ...policy.waits, approvalMs: 72 * HOUR, ...waits },
  };
}

async function begin(request: RolloutRequest) {
  return env.client.workflow.start(ROLLOUT_WORKFLOW, {
    workflowId: rolloutWorkflowId(request.policy.lane, request.rolloutId),
    taskQueue: FAKE_TASK_QUEUE,
    args: [{ request, laneGeneration: 1, lastRollbackAtMs: null }],
  });
}
type Handle = Awaited<ReturnType<typeof begin>>;

async function awaitingApproval(handle: Handle) {
  return until('it waits for approval', async () => {
    const view = await handle.query(viewQuery);
    return view.wait?.kind === 'approval' ? view : null;
  });
}

async function approve(handle: Handle): Promise<void> {
  const { approvals } = await handle.query(viewQuery);
  const actor = { subject: 'approver@example.com', groups: [], verified: false };
  const decision: Decision = {
    id: randomUUID(),
    verb: 'approve',
    gate: approvals?.gate ?? null,
    planDigest: approvals?.planDigest ?? null,
    actor,
    reason: null,
    full: false,
    at: '',
  };
  assert.equal((await handle.executeUpdate(decideUpdate, { args: [decision] })).kind, 'accepted');
}

async function seeded(): Promise<World> {
  const world = worlds.add();
  await world.seed('v1');
  return world;
}

test('an approval after nearly three days counts, and the rollout completes', { skip }, async () => {
  const world = await seeded();
  const handle = await begin(testRequest({ policy: patient(world, {}), tag: 'v2' }));
  const asked = await awaitingApproval(handle);
  const begunMs = await env.currentTimeMs();
  await env.sleep(71 * HOUR);
  assert.ok((await env.currentTimeMs()) - begunMs >= 71 * HOUR);
  const still = await handle.query(viewQuery);
  assert.deepEqual([still.phase, still.wait], ['awaiting-approval', asked.wait]);
  await approve(handle);
  const result = (await handle.result()) as RolloutResult;
  assert.equal(result.outcome, 'completed');
  assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
});

test('after three days without an approval it is rejected, and nothing was touched', { skip }, async () => {
  const world = await seeded();
  const written = world.gateway.journal.length;
  const handle = await begin(testRequest({ policy: patient(world, {}), tag: 'v2' }));
  const { wait } = await awaitingApproval(handle);
  const result = (await handle.result()) as RolloutResult;
  assert.deepEqual([result.outcome, result.reason.code], ['rejected', 'approval-expired']);
  assert.ok(Date.parse(result.endedAt) >= Date.parse(wait?.deadline ?? ''), 'it gave up before the deadline');
  assert.ok(Date.parse(result.endedAt) - Date.parse(wait?.since ?? '') < 73 * HOUR);
  assert.equal(world.gateway.journal.length, written);
});

test('a plan that was approved for a stable that has changed since waits a full term again', { skip }, async () => {
  const world = await seeded();
  const handle = await begin(testRequest({ policy: patient(world, {}), tag: 'v2' }));
  await awaitingApproval(handle);
  await env.sleep(70 * HOUR);
  world.gateway.meddle('arm', 'stable', (spec: { template: object }) => ({
    ...spec,
    template: { ...spec.template, env: { HOT: 'fix' } },
  }));
  await approve(handle);
  const again = await until('it asks again', async () => {
    const view = await handle.query(viewQuery);
    return view.wait?.kind === 'approval' && view.approvals?.approvedBy.length === 0 ? view : null;
  });
  assert.ok(Date.parse(again.wait?.deadline ?? '') - (await env.currentTimeMs()) > 71 * HOUR);
  await env.sleep(60 * HOUR);
  await approve(handle);
  const result = (await handle.result()) as RolloutResult;
  // The second approval counted; but what somebody else did to stable is still refused, before anything is touched.
  assert.deepEqual([result.outcome, result.reason.code], ['rejected', 'preflight'], result.reason.text);
  assert.match(result.reason.text, /stable was changed since Slipway wrote it/);
});

test('an approval of yesterday is asked for again as the canary begins', { skip }, async () => {
  const world = await seeded();
  const policy = patient(world, { heldMs: 24 * HOUR });
  const stages = [stage(25, 1, true), stage(50, 1)];
  const request = testRequest({
    policy: {
      ...policy,
      approval: { ...policy.approval, validForMs: 12 * HOUR },
      stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages },
    },
    tag: 'v2',
  });
  const handle = await begin(request);
  const atGate = (gate: string, changed: number) =>
    until(`it waits at ${gate}`, async () => {
      const view = await handle.query(viewQuery);
      return view.wait?.gate === gate && view.approvals?.changed.length === changed ? view : null;
    });
  await awaitingApproval(handle);
  await approve(handle);
  await atGate('stage-1', 0);
  await env.sleep(13 * HOUR);
  const reminders = world.notifications.filter(({ kind }) => kind === 'approval-reminder');
  assert.deepEqual(
    reminders.map(({ text }) => text.slice(0, 9)),
    ['12 h left'],
  );
  await approve(handle);
  const again = await atGate('release', 1);
  assert.deepEqual(again.approvals?.changed, ['the approval is 13 h old, and counts for 12 h']);
  assert.deepEqual(again.approvals?.approvedBy, []);
  assert.equal(again.wait?.atDeadline, 'rolled back');
  assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
  await approve(handle);
  const result = (await handle.result()) as RolloutResult;
  assert.equal(result.outcome, 'completed', result.reason.text);
});

test('what waits in the queue of a blocked lane for a day is rejected without having run', { skip }, async () => {
  const world = await seeded();
  const handle = await env.client.workflow.start(LANE_WORKFLOW, {
    workflowId: laneWorkflowId(world.lane),
    taskQueue: FAKE_TASK_QUEUE,
    args: [
      {
        lane: world.lane,
        state: {
          lane: world.lane,
          generation: 1,
          queue: [],
          running: null,
          remembered: [],
          blocked: { rolloutId: 'x', reason: 'a test', sinceMs: 0 },
        },
      },
    ],
  });
  const early = testRequest({ policy: patient(world, { queueMs: 24 * HOUR }), tag: 'v2' });
  const late = testRequest({
    policy: world.policy({ waits: { ...world.policy().waits, queueMs: 24 * HOUR } }),
    tag: 'v3',
  });
  assert.equal((await handle.executeUpdate(enqueueUpdate, { args: [early] })).kind, 'accepted');
  await env.sleep(23 * HOUR);
  assert.equal((await handle.query(laneQuery)).queue.length, 1);
  assert.equal((await handle.executeUpdate(enqueueUpdate, { args: [late] })).kind, 'accepted');
  await env.sleep(2 * HOUR);
  const view = await handle.query(laneQuery);
  assert.deepEqual(
    view.queue.map(({ rolloutId }) => rolloutId),
    [late.rolloutId],
  );
  const entry = view.remembered.find(({ rolloutId }) => rolloutId === early.rolloutId);
  assert.deepEqual([entry?.outcome, entry?.reason], ['rejected', 'waited in the queue for too long (waits.queue)']);
  await handle.executeUpdate(unblockUpdate, { args: [{ subject: 'admin', reason: 'a test' }] });
  await until(
    'the other one ships',
    () => world.arms['stable'] === `${world.lane.service}:v3 x2` && world.holder === null,
  );
  await handle.terminate('the test is over');
});
