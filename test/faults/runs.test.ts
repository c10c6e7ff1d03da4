/** Workers are replaced, a run is reset, two releases want one lane: with real processes throughout. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { appliedTwice } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import type { FaultStack } from '../support/faults.js';
import { stage, testRequest } from '../support/request.js';
import { currentRun, resetRun } from '../support/reset.js';

let it: FaultStack;
before(async () => {
  it = await startFaultStack({ maxReplicas: 64 });
});
after(() => it.stop());

const LONG = [{ weightPercent: 25, durationMs: 600_000, approval: false }];

describe('runs', { concurrency: 4 }, () => {
  test('reset in mid-canary to its begin: it goes on under a new generation, and completes', async () => {
    const { pilot, slipway } = it;
    const policy = it.policy('reset', { stages: [stage(25, 4)] });
    const traffic = await it.serve(policy);
    const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
    const before = await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
    await resetRun(slipway, request, await currentRun(slipway, request), 0);
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', view.reason?.text);
    assert.ok((view.generation ?? 0) > (before.generation ?? 0), 'it kept its generation');
    assert.equal(await pilot.remembered(request), 'completed');
    assert.deepEqual(await it.arms(policy.lane), { stable: 'reset:v2 x1' });
    assert.deepEqual(
      traffic.answers.filter(({ ok }) => !ok),
      [],
    );
  });

  test('superseded in mid-canary: rolled back first, then the newer one ships', async () => {
    const { pilot } = it;
    const policy = it.policy('superseded', { stages: LONG });
    const traffic = await it.serve(policy);
    const first = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
    await pilot.until(first, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
    const second = testRequest({ policy: it.policy('superseded', { change: { whenBusy: 'supersede' } }), tag: 'v3' });
    const view = await pilot.ship(second);
    assert.equal(view.outcome, 'completed', view.reason?.text);
    assert.equal((await pilot.ended(first)).outcome, 'superseded');
    assert.deepEqual(await it.arms(policy.lane), { stable: 'superseded:v3 x1' });
    assert.deepEqual(
      traffic.answers.filter(({ ok }) => !ok),
      [],
    );
  });
});

test('all workers are replaced, one by one, in mid-canary: it completes, each effect applied once', async () => {
  const { pilot, stack } = it;
  const policy = it.policy('rolling', { stages: [stage(25, 5), stage(50, 4)] });
  const traffic = await it.serve(policy);
  const second = await stack.startWorker();
  const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
  await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
  const third = await stack.startWorker();
  await it.worker.stop();
  await second.stop();
  await pilot.until(request, 'it is in the second stage', ({ weights }) => weights?.canary === 50);
  await stack.startWorker();
  await third.stop();
  const view = await pilot.ended(request);
  assert.equal(view.outcome, 'completed', view.reason?.text);
  assert.deepEqual(await it.arms(policy.lane), { stable: 'rolling:v2 x1' });
  assert.deepEqual(appliedTwice(await it.journal(policy.lane)), []);
  assert.deepEqual(
    traffic.answers.filter(({ ok }) => !ok),
    [],
  );
});
