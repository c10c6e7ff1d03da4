/** The canary can't be seen, or turns bad while people are waited for. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import type { FaultStack } from '../support/faults.js';
import { startFaultyServer } from '../support/faulty-server.js';
import type { FaultRule } from '../support/faulty-server.js';
import { stage, testRequest } from '../support/request.js';

const NO_METRICS: FaultRule = ({ path: asked }) => (asked === '/metrics' ? { kind: 'cut' } : null);
/** How long the metrics are away; the ten minutes of the requirement are in metrics.full.test.ts. */
const DOWN_MS = 8000;

let it: FaultStack;
before(async () => {
  it = await startFaultStack();
});
after(() => it.stop());

async function alerts(): Promise<string> {
  return readFile(path.join(it.stack.folder, 'worker-1.log'), 'utf8');
}

describe('metrics', { concurrency: 4 }, () => {
  test('down in mid-canary: HOLD and an alert, no step either way; back again, it goes on by itself', async () => {
    const gateway = await startFaultyServer(it.stack.adminUrl);
    try {
      const { pilot } = it;
      const policy = it.policy('blind', { gateway: gateway.url, stages: [stage(25, 6), stage(50, 3)] });
      await it.serve(policy);
      const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
      await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
      gateway.rule = NO_METRICS;
      const held = await pilot.until(request, 'it is blind', ({ wait }) => wait?.kind === 'blind');
      assert.equal(held.stage, 1);
      assert.ok(gateway.hits >= 4, `called an outage after ${gateway.hits} failed looks`);
      await until('somebody is paged', async () => (await alerts()).includes("the canary can't be seen"));
      const sinceMs = Date.now();
      while (Date.now() - sinceMs < DOWN_MS) {
        const view = await pilot.view(request);
        assert.deepEqual([view?.phase, view?.stage, view?.wait?.kind], ['canary', 1, 'blind']);
        assert.deepEqual(await it.weights(policy.lane), { stable: 50, canary: 25, baseline: 25 });
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      gateway.rule = null;
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'completed', view.reason?.text);
      assert.ok(view.timeline.some(({ text }) => text.startsWith('metrics are back after')));
      assert.deepEqual(await it.arms(policy.lane), { stable: 'blind:v2 x1' });
    } finally {
      await gateway.close();
    }
  });

  test('down for longer than the policy allows: rolled back', async () => {
    const gateway = await startFaultyServer(it.stack.adminUrl);
    try {
      const { pilot } = it;
      const policy = it.policy('dark', { gateway: gateway.url });
      await it.serve(policy);
      gateway.rule = NO_METRICS;
      const view = await pilot.ship(
        testRequest({ policy: { ...policy, waits: { ...policy.waits, blindMs: 3000 } }, tag: 'v2' }),
        60_000,
      );
      assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'wait-expired']);
      assert.deepEqual(view.verdicts, []);
      assert.deepEqual(await it.arms(policy.lane), { stable: 'dark:v1 x1' });
    } finally {
      await gateway.close();
    }
  });

  test('a canary that turns bad while people are waited for between stages is rolled back', async () => {
    const { pilot } = it;
    const { policy, traffic, request, turnBad } = await it.serveSwitchable('turns', [stage(25, 3), stage(50, 3, true)]);
    const waits = await pilot.until(request, 'it waits at the gate', ({ wait }) => wait?.kind === 'gate');
    assert.equal(waits.verdicts.at(-1)?.verdict.kind, 'PROMOTE');
    await turnBad();
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'verdict'], view.reason?.text);
    assert.deepEqual(await it.arms(policy.lane), { stable: 'turns:v1 x1' });
    assert.deepEqual(
      traffic.answers.filter(({ ok, version }) => !ok && version !== 'turns:v2'),
      [],
    );
    const late = await pilot.decide(request, 'approve', { gate: 'stage-2' });
    assert.equal(late.kind === 'refused' && late.code, 'finished');
  });
});
