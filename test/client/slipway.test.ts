import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Slipway } from '../../client/slipway.js';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { LANE_WORKFLOW, laneWorkflowId } from '../../workflows/messages.js';
import { FAKE_TASK_QUEUE, startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { testRequest } from '../support/request.js';

let env: FakeEnv;
before(async () => {
  env = await startFakeEnv();
});
after(() => env.stop());

test('a lane whose workflow tasks keep failing is said to be that, and nothing else', async () => {
  const { temporal } = env;
  const world = env.worlds.add();
  const request = testRequest({ policy: world.policy(), tag: 'v1' });
  // No lane is ever started with such an input: its first task fails, and goes on failing.
  await env.slipway.client.workflow.start(LANE_WORKFLOW, {
    workflowId: laneWorkflowId(world.lane),
    taskQueue: FAKE_TASK_QUEUE,
    workflowTaskTimeout: '3s',
    args: [null],
  });
  const client = await Slipway.connect(
    { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: temporal.namespace, SLIPWAY_TASK_QUEUE: FAKE_TASK_QUEUE },
    { updateMs: 15_000 },
  );
  try {
    await assert.rejects(client.enqueue(request), (error: unknown) => {
      assert.ok(error instanceof CliError, String(error));
      assert.equal(error.exitCode, EXIT.unavailable);
      assert.match(error.message, /workflow tasks fail, or time out/);
      return true;
    });
  } finally {
    await client.close();
  }
});
