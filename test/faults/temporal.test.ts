/** Temporal fails in mid-rollout: killed and restarted with its data. With its data gone: see lost-runs.test.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { appliedTwice, until } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import { stage, testRequest } from '../support/request.js';

describe('Temporal', { concurrency: 2 }, () => {
  test('Temporal is killed and restarted in mid-rollout: it goes on, and each effect was applied once', async () => {
    const it = await startFaultStack({ durable: true });
    try {
      const { pilot, stack } = it;
      const policy = it.policy('hello');
      const traffic = await it.serve(policy);
      const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
      await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
      await stack.temporal.kill9();
      await assert.rejects(it.slipway.lane(policy.lane), 'Temporal still answers');
      assert.deepEqual(await it.weights(policy.lane), { stable: 50, canary: 25, baseline: 25 });
      await stack.temporal.restart();
      const second = await pilot.until(
        request,
        'it is in the second stage',
        ({ weights }) => weights?.canary === 50,
        60_000,
      );
      assert.equal(second.outcome, null);
      await stack.temporal.kill9();
      await stack.temporal.restart();
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'completed', view.reason?.text);
      assert.deepEqual(await it.arms(policy.lane), { stable: 'hello:v2 x1' });
      assert.deepEqual(appliedTwice(await it.journal(policy.lane)), []);
      assert.deepEqual(
        traffic.answers.filter(({ ok }) => !ok),
        [],
      );
    } finally {
      await it.stop();
    }
  });

  test('a canary turns bad while Temporal is away: its watch sends users back, and the rest follows once', async () => {
    const it = await startFaultStack({ durable: true });
    try {
      const { pilot, stack } = it;
      const { policy, request, turnBad } = await it.serveSwitchable('alone', [stage(25, 600)]);
      await it.loseTemporal(request);
      assert.deepEqual(await it.weights(policy.lane), { stable: 50, canary: 25, baseline: 25 });
      await turnBad();
      try {
        await until('the canary gets no traffic', async () => (await it.weights(policy.lane))?.canary === 0);
      } catch (error) {
        throw new Error(`the guard is gone\n${await it.worker.logTail()}`, { cause: error });
      }
      await stack.temporal.restart();
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'rolled-back', view.reason?.text);
      assert.deepEqual(await it.arms(policy.lane), { stable: 'alone:v1 x1' });
      assert.deepEqual(appliedTwice(await it.journal(policy.lane)), []);
    } finally {
      await it.stop();
    }
  });
});
