/**
 * Workers that remember no workflow, as if each task came after a crash: all of history is replayed for each, and what
 * Temporal's core joins in one replay and not in the next must make no difference.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { laneWorkflowId, rolloutWorkflowId } from '../../workflows/messages.js';
import { allIsWell } from '../support/fake-activities.js';
import { until } from '../support/drive.js';
import { startFakeEnv, wakeLane } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { stage, testRequest } from '../support/request.js';

let env: FakeEnv;
before(async () => {
  env = await startFakeEnv({}, { maxCachedWorkflows: 0 });
});
after(() => env.stop());

/** What tasks of a workflow failed of, in the order of history. */
async function failuresOf(workflowId: string): Promise<readonly string[]> {
  const { events } = await env.slipway.client.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ workflowTaskFailedEventAttributes: failed }) =>
    failed == null ? [] : [failed.failure?.message ?? 'failed'],
  );
}

/** Nothing is under way, and the last task of it has been done. */
async function isIdle(workflowId: string): Promise<boolean> {
  const described = await env.slipway.client.workflow.getHandle(workflowId).describe();
  const { pendingActivities, pendingChildren, pendingWorkflowTask } = described.raw;
  return !pendingActivities?.length && !pendingChildren?.length && pendingWorkflowTask == null;
}

describe('a workflow that is replayed for each task', { concurrency: 2 }, () => {
  test('a lane that has seen the end of one release takes the next', async () => {
    const { pilot } = env;
    const world = await env.worldWithV1();
    for (const tag of ['v2', 'v3']) {
      assert.equal((await pilot.ship(testRequest({ policy: world.policy(), tag }))).outcome, 'completed');
      await until('the lane is free', async () => (await env.slipway.lane(world.lane))?.running === null);
    }
    assert.deepEqual(await failuresOf(laneWorkflowId(world.lane)), []);
  });

  test('a lane that was told to look, and found nothing to do, takes the next release', async () => {
    const { pilot } = env;
    const world = await env.worldWithV1();
    for (const tag of ['v2', 'v3']) {
      await wakeLane(env.slipway.client, { lane: world.lane, target: world.policy().target });
      await until('it has looked', async () => isIdle(laneWorkflowId(world.lane)));
      assert.equal((await pilot.ship(testRequest({ policy: world.policy(), tag }))).outcome, 'completed');
    }
    assert.deepEqual(await failuresOf(laneWorkflowId(world.lane)), []);
  });

  test('decisions reach a rollout whose trail was kept, and messages were sent, the moment before', async () => {
    const { pilot } = env;
    const world = await env.worldWithV1();
    world.watch = allIsWell;
    const stages = [stage(25, 1), stage(50, 1, true)];
    const policy = world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } });
    const request = testRequest({ policy, tag: 'v2' });
    await pilot.deploy(request);
    await pilot.until(request, 'it waits at the gate', ({ wait }) => wait?.kind === 'gate');
    for (const verb of ['pause', 'resume', 'pause', 'resume'] as const)
      assert.equal((await pilot.decide(request, verb)).kind, 'accepted');
    assert.equal((await pilot.decide(request, 'approve', { gate: 'stage-2' })).kind, 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    assert.deepEqual(await failuresOf(rolloutWorkflowId(world.lane, request.rolloutId)), []);
  });
});
