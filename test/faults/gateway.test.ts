/** The platform refuses, is slow, loses answers, answers 409 and 5xx: a rollout gets through, each effect once, or goes back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { appliedTwice, until } from '../support/drive.js';
import { startFaultStack } from '../support/faults.js';
import type { FaultStack } from '../support/faults.js';
import { atEachWrite, eachNth, startFaultyServer } from '../support/faulty-server.js';
import type { Fault, FaultRule } from '../support/faulty-server.js';
import { testRequest } from '../support/request.js';

let it: FaultStack;
before(async () => {
  it = await startFaultStack({ maxReplicas: 64 });
});
after(() => it.stop());

const CONFLICT: Fault = { kind: 'answer', status: 409, reason: 'Conflict' };
const PASSING: Readonly<Record<string, FaultRule>> = {
  'cut-writes': atEachWrite({ kind: 'cut' }),
  'lost-answers': atEachWrite({ kind: 'cut', after: true }),
  conflicts: atEachWrite(CONFLICT, CONFLICT, CONFLICT),
  'server-errors': eachNth(3, { kind: 'answer', status: 503, reason: 'Internal' }),
  'slow-answers': eachNth(3, { kind: 'slow', ms: 1500 }),
};

describe('the gateway', { concurrency: 4 }, () => {
  for (const [name, rule] of Object.entries(PASSING)) {
    test(`${name}: the rollout completes, and each effect was applied once`, async () => {
      const gateway = await startFaultyServer(it.stack.adminUrl);
      try {
        const policy = it.policy(name, { gateway: gateway.url });
        const traffic = await it.serve(policy);
        gateway.rule = rule;
        const view = await it.pilot.ship(testRequest({ policy, tag: 'v2' }));
        assert.equal(view.outcome, 'completed', view.reason?.text);
        assert.ok(gateway.hits >= 8, `only ${gateway.hits} requests failed`);
        assert.deepEqual(await it.arms(policy.lane), { stable: `${name}:v2 x1` });
        assert.deepEqual(appliedTwice(await it.journal(policy.lane)), []);
        assert.deepEqual(
          traffic.answers.filter(({ ok }) => !ok),
          [],
        );
      } finally {
        await gateway.close();
      }
    });
  }

  test('refusing everything in mid-canary: the abort goes on trying, and is done when the gateway is back', async () => {
    const gateway = await startFaultyServer(it.stack.adminUrl);
    try {
      const { pilot } = it;
      const policy = it.policy('unreachable', {
        gateway: gateway.url,
        stages: [{ weightPercent: 25, durationMs: 600_000, approval: false }],
      });
      await it.serve(policy);
      const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
      await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
      gateway.rule = () => ({ kind: 'cut' });
      assert.equal((await pilot.decide(request, 'abort')).kind, 'accepted');
      const hits = gateway.hits;
      await until('it tries again and again', () => gateway.hits > hits + 8);
      const view = await pilot.view(request);
      assert.deepEqual([view?.phase, view?.outcome], ['rolling-back', null]);
      assert.equal((await it.weights(policy.lane))?.canary, 25);
      gateway.rule = null;
      assert.equal((await pilot.ended(request)).outcome, 'aborted');
      assert.deepEqual(await it.arms(policy.lane), { stable: 'unreachable:v1 x1' });
      assert.equal((await it.weights(policy.lane))?.stable, 100);
    } finally {
      await gateway.close();
    }
  });

  test('forbidding writes: rollback-failed blocks the lane; unblocked, it is recovered, and the next one ships', async () => {
    const gateway = await startFaultyServer(it.stack.adminUrl);
    try {
      const { pilot, slipway } = it;
      const policy = it.policy('forbidden', { gateway: gateway.url });
      await it.serve(policy);
      const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
      await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
      gateway.rule = ({ method }) =>
        method === 'GET' ? null : { kind: 'answer', status: 403, reason: 'Forbidden', message: 'read-only today' };
      await pilot.decide(request, 'abort');
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'rollback-failed');
      assert.match(view.reason?.text ?? '', /read-only today/);
      // The run says so first; its lane is told by its end.
      await until('the lane is blocked', async () => (await slipway.lane(policy.lane))?.blocked != null);
      const next = testRequest({ policy, tag: 'v3' });
      const receipt = await slipway.enqueue(next);
      assert.match((receipt.kind === 'accepted' && receipt.blocked) || '', /read-only today/);
      gateway.rule = null;
      await slipway.unblock(policy.lane, { subject: 'admin@example.com', reason: 'writes are back' });
      assert.equal((await pilot.ended(next)).outcome, 'completed');
      assert.equal(await pilot.remembered(request), 'rolled-back');
      assert.deepEqual(await it.arms(policy.lane), { stable: 'forbidden:v3 x1' });
    } finally {
      await gateway.close();
    }
  });
});
