/** Metrics down for ten minutes: HOLD and an alert, never a rollback, never a promotion; then it goes on by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startFaultStack } from '../support/faults.js';
import { startFaultyServer } from '../support/faulty-server.js';
import { stage, testRequest } from '../support/request.js';

const DOWN_MS = 10 * 60_000;

test('metrics down for ten minutes', { timeout: DOWN_MS + 240_000 }, async () => {
  const it = await startFaultStack();
  const gateway = await startFaultyServer(it.stack.adminUrl);
  try {
    const { pilot } = it;
    const base = it.policy('blind', { gateway: gateway.url, stages: [stage(25, 10), stage(50, 5)] });
    const policy = { ...base, waits: { ...base.waits, blindMs: 3_600_000 } };
    await it.serve(policy);
    const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
    await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
    gateway.rule = ({ path }) => (path === '/metrics' ? { kind: 'answer', status: 503, reason: 'Internal' } : null);
    await pilot.until(request, 'it is blind', ({ wait }) => wait?.kind === 'blind', 60_000);
    const sinceMs = Date.now();
    while (Date.now() - sinceMs < DOWN_MS) {
      const view = await pilot.view(request);
      assert.deepEqual([view?.phase, view?.stage, view?.wait?.kind], ['canary', 1, 'blind']);
      assert.deepEqual(await it.weights(policy.lane), { stable: 50, canary: 25, baseline: 25 });
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
    gateway.rule = null;
    const view = await pilot.ended(request, 120_000);
    assert.equal(view.outcome, 'completed', view.reason?.text);
  } finally {
    await gateway.close();
    await it.stop();
  }
});
