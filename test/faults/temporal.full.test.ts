/** Temporal loses all its data in mid-canary, and nobody does anything: workers and schedule make it good. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { until } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import { stage, testRequest } from '../support/request.js';
import { freePort } from '../../tools/supervise.js';

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

test('a watch goes on while Temporal is away; there is one when it is back, and what it says is heard', async () => {
  const it = await startFaultStack({ durable: true });
  try {
    const { pilot, stack } = it;
    await it.worker.stop();
    const port = await freePort();
    await stack.startWorker({ SLIPWAY_HTTP_PORT: String(port) });
    const { request, turnBad } = await it.serveSwitchable('hello', [stage(25, 600)]);
    await it.loseTemporal(request);
    assert.equal(await watches(port), 1);
    await stack.temporal.restart();
    // Whether the SDK gave it up depends on how long its own tries took: it is still wanted, or another attempt has taken
    // its place, and never are there both for longer than a question takes.
    await sleep(15_000);
    assert.equal(await watches(port), 1);
    await turnBad();
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'verdict'], view.reason?.text);
  } finally {
    await it.stop();
  }
});

test('a stage that ends while Temporal is away, before the SDK gives its watch up: the guard goes on', async () => {
  const it = await startFaultStack({ durable: true });
  try {
    const { pilot, stack } = it;
    const { policy, request, turnBad } = await it.serveSwitchable('hello', [stage(25, 8), stage(50, 600)]);
    await it.loseTemporal(request);
    assert.deepEqual(await it.weights(policy.lane), { stable: 50, canary: 25, baseline: 25 });
    await turnBad();
    await until('the canary gets no traffic', async () => (await it.weights(policy.lane))?.canary === 0);
    await stack.temporal.restart();
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'rolled-back', view.reason?.text);
    // The next watch sees the evidence once more, or finds that users were sent back: by when it begins.
    assert.match(view.reason?.code ?? '', /^(verdict|disturbed)$/, view.reason?.text);
  } finally {
    await it.stop();
  }
});

/** Activities that this worker has under way on the queue of those that wait. */
async function watches(port: number): Promise<number | null> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const used =
    /^temporal_worker_task_slots_used\{[^}]*task_queue="[^"]*waits"[^}]*worker_type="ActivityWorker"[^}]*\} (\d+)/m;
  const found = used.exec(text);
  return found === null ? null : Number(found[1]);
}
