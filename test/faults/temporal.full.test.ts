/** Temporal loses all its data in mid-canary, and nobody does anything: workers and schedule make it good. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import { testRequest } from '../support/request.js';

test('an emptied Temporal database is set up again and the canary rolled back within three minutes, by itself', async () => {
  const it = await startFaultStack();
  try {
    const { pilot, stack } = it;
    const policy = it.policy('hello', { stages: [{ weightPercent: 25, durationMs: 600_000, approval: false }] });
    await it.serve(policy);
    const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
    await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
    await stack.temporal.kill9();
    await stack.temporal.restart();
    await until('traffic is back on stable', async () => (await it.weights(policy.lane))?.stable === 100, 180_000);
    await until('the siblings are gone', async () => Object.keys(await it.arms(policy.lane)).length === 1);
    assert.deepEqual(await it.arms(policy.lane), { stable: 'hello:v1 x1' });
    assert.equal(await pilot.remembered(request, 30_000), 'rolled-back');
  } finally {
    await it.stop();
  }
});
