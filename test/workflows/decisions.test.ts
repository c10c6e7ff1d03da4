/** What people may say to a rollout, when it counts, and what it does. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { stage, testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

function withApproval(world: World, change: Partial<Policy['approval']> = {}): Policy {
  const policy = world.policy();
  return { ...policy, approval: { ...policy.approval, required: 'always', ...change } };
}

async function awaitingApproval(world: World, change: Partial<Policy['approval']> = {}): Promise<RolloutRequest> {
  const request = await pilot.deploy(testRequest({ policy: withApproval(world, change), tag: 'v2' }));
  await pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
  return request;
}

/** Two stages, the second behind a gate; it stands at that gate. */
async function atStageGate(world: World): Promise<RolloutRequest> {
  const stages = [stage(25, 1), stage(50, 1, true)];
  const request = testRequest({
    policy: world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } }),
    tag: 'v2',
  });
  await pilot.deploy(request);
  const view = await pilot.until(request, 'it waits at the gate', ({ wait }) => wait?.kind === 'gate');
  assert.equal(view.wait?.gate, 'stage-2');
  assert.equal(view.status, 'held');
  return request;
}

async function code(answer: ReturnType<Pilot['decide']>): Promise<string> {
  const receipt = await answer;
  return receipt.kind === 'refused' ? receipt.code : receipt.kind;
}

describe('decisions', { concurrency: 6 }, () => {
  test('an approval counts once, from one who may, on the plan that stands', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2, groups: ['release'] });
    const groups = ['release'];
    assert.equal(await code(pilot.decide(request, 'approve', { by: 'author@example.com', groups })), 'excluded');
    assert.equal(await code(pilot.decide(request, 'approve', { by: 'starter@example.com', groups })), 'excluded');
    assert.equal(await code(pilot.decide(request, 'approve', { by: 'anna@example.com' })), 'not-in-group');
    assert.equal(
      await code(pilot.decide(request, 'approve', { by: 'anna@example.com', groups, planDigest: 'sha256:other' })),
      'other-plan',
    );
    assert.equal(
      await code(pilot.decide(request, 'approve', { by: 'anna@example.com', groups, gate: 'stage-2' })),
      'no-such-gate',
    );
    assert.equal(await code(pilot.decide(request, 'promote')), 'not-now');
    assert.equal((await pilot.view(request))?.decisions.length, 0, 'a refused decision left a trace');

    assert.equal(
      await code(pilot.decide(request, 'approve', { by: 'anna@example.com', groups, id: 'click-1' })),
      'accepted',
    );
    // The same click comes again (the same id: Temporal gives the first answer), then the same person with another one.
    assert.equal(
      await code(pilot.decide(request, 'approve', { by: 'anna@example.com', groups, id: 'click-1' })),
      'accepted',
    );
    assert.equal(
      await code(pilot.decide(request, 'approve', { by: 'anna@example.com', groups, id: 'click-2' })),
      'accepted',
    );
    const view = await pilot.view(request);
    assert.deepEqual(view?.approvals?.approvedBy, ['anna@example.com']);
    assert.deepEqual(
      view?.decisions.map(({ id }) => id),
      ['click-1', 'click-2'],
    );
    assert.equal(view?.phase, 'awaiting-approval');

    assert.equal(await code(pilot.decide(request, 'approve', { by: 'bert@example.com', groups })), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    assert.equal(await code(pilot.decide(request, 'abort')), 'finished');
    assert.equal(await code(pilot.decide(request, 'approve', { gate: 'release' })), 'finished');
  });

  test('a decision that comes as a signal and as an update counts once', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2 });
    const plan = (await pilot.view(request))?.approvals?.planDigest ?? null;
    const actor = { subject: 'anna@example.com', groups: [], verified: true };
    const decision = {
      id: 'click',
      verb: 'approve',
      gate: 'release',
      planDigest: plan,
      actor,
      reason: null,
      full: false,
      at: '',
    } as const;
    await pilot.handle(request).signal('decision', decision);
    await pilot.until(request, 'the signal counts', ({ decisions }) => decisions.length === 1);
    assert.equal(
      await code(env.slipway.decide({ lane: world.lane, rolloutId: request.rolloutId }, decision)),
      'duplicate',
    );
    const view = await pilot.view(request);
    assert.equal(view?.decisions.length, 1);
    assert.equal(view?.decisions[0]?.actor.verified, false, 'the caller’s own word made it verified');
    await pilot.decide(request, 'reject');
    await pilot.ended(request);
  });

  test('an unsigned decision does not count where the policy wants signatures', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { allowUnverified: false });
    assert.equal(await code(pilot.decide(request, 'approve')), 'unverified');
    await pilot.decide(request, 'abort');
    assert.equal((await pilot.ended(request)).outcome, 'aborted');
  });

  test('a rejection ends it, and nothing was touched', async () => {
    const world = await env.worldWithV1();
    const before = world.gateway.journal.length;
    const request = await awaitingApproval(world, { quorum: 2 });
    await pilot.decide(request, 'approve', { by: 'anna@example.com' });
    assert.equal(
      await code(pilot.decide(request, 'reject', { by: 'author@example.com', reason: 'my own mistake' })),
      'accepted',
    );
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rejected', 'approval-rejected']);
    assert.match(view.reason?.text ?? '', /my own mistake/);
    assert.equal(world.gateway.journal.length, before);
  });

  test('stable that changed since the approval needs another one', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    const approved = (await pilot.view(request))?.approvals;
    world.gateway.meddle('arm', 'stable', (spec: { template: object; replicas: number }) => ({
      ...spec,
      template: { ...spec.template, env: { HOT: 'fix' } },
    }));
    await pilot.decide(request, 'approve');
    const view = await pilot.until(
      request,
      'it asks again',
      ({ approvals, wait }) => wait?.kind === 'approval' && approvals?.planDigest !== approved?.planDigest,
    );
    assert.deepEqual(view.approvals?.approvedBy, []);
    assert.match(view.approvals?.changed.join() ?? '', /stable’s template is \w+, and was \w+: somebody changed it/);
    await until('people are told why', () =>
      world.notifications.some(({ kind, text }) => kind === 'approval-required' && /asked again: stable/.test(text)),
    );
    const void_ = await pilot.decide(request, 'approve', { planDigest: approved?.planDigest ?? '' });
    assert.ok(void_.kind === 'refused' && void_.code === 'other-plan', JSON.stringify(void_));
    assert.match(void_.text, /somebody changed it/, 'the refusal does not say what changed');
    await pilot.decide(request, 'reject');
    await pilot.ended(request);
  });

  test('paused it does not advance, the guard goes on; resumed it goes on', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.equal(await code(pilot.decide(request, 'pause')), 'accepted');
    assert.equal(await code(pilot.decide(request, 'pause')), 'not-now');
    await pilot.until(request, 'it is held', ({ wait, status }) => wait?.kind === 'paused' && status === 'held');
    await until('the guard watches', () =>
      world.watches.some(({ mode, scope }) => mode === 'guard' && scope.rolloutId === request.rolloutId),
    );
    // All would be well, but it is paused: only a guard asks, and a guard never promotes.
    world.watch = allIsWell;
    assert.equal(world.weights?.canary, 25);
    assert.equal(await code(pilot.decide(request, 'resume')), 'accepted');
    assert.equal(await code(pilot.decide(request, 'resume')), 'not-now');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('a canary that turns bad while paused is rolled back', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await pilot.decide(request, 'pause');
    world.watch = ({ mode }) =>
      mode === 'guard' ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'it burns'), evidence: null } : 'wait';
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code, view.reason?.text], ['rolled-back', 'verdict', 'it burns']);
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });

  test('promote skips the rest of a stage, promote --full the rest of all', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.equal(await code(pilot.decide(request, 'promote')), 'accepted');
    const second = await pilot.until(
      request,
      'it is in the second stage',
      ({ stage: number, weights }) => number === 2 && weights?.canary === 50,
    );
    assert.equal(second.verdicts.length, 0);
    assert.equal(await code(pilot.decide(request, 'promote', { full: true })), 'accepted');
    world.watch = allIsWell;
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');

    const full = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v3' }));
    await pilot.decide(full, 'promote', { full: true });
    world.watch = allIsWell;
    const skipped = await pilot.ended(full);
    assert.equal(skipped.outcome, 'completed');
    assert.ok(!skipped.timeline.some(({ text }) => text.includes('stage 2 of 2')), 'the second stage was not skipped');
  });

  test('promote --full goes past no gate: each that is left is asked for', async () => {
    const world = await env.worldWithV1();
    const stages = [stage(25, 600), stage(30, 600), stage(50, 600, true), stage(75, 600), stage(90, 600, true)];
    const policy = world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } });
    const request = await env.inCanary(world, testRequest({ policy, tag: 'v2' }));
    assert.equal(await code(pilot.decide(request, 'promote', { full: true })), 'accepted');
    for (const [gate, canary] of [
      ['stage-3', 30],
      ['stage-5', 75],
    ] as const) {
      const asked = await pilot.until(request, `gate ${gate}`, ({ wait }) => wait?.gate === gate);
      assert.equal(asked.weights?.canary, canary);
      assert.equal(await code(pilot.decide(request, 'approve', { gate })), 'accepted');
    }
    world.watch = allIsWell;
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(
      !view.timeline.some(({ text }) => text.includes('stage 5 of 5')),
      'what is left after the last gate is skipped',
    );
  });

  test('promote needs the approver’s role, and over a HOLD a reason', async () => {
    const world = await env.worldWithV1();
    const policy = world.policy();
    const request = testRequest({
      policy: { ...policy, approval: { ...policy.approval, groups: ['release'] } },
      tag: 'v2',
    });
    await env.inCanary(world, request);
    assert.equal(await code(pilot.decide(request, 'promote')), 'not-in-group');
    world.watch = ({ mode }) =>
      mode === 'watch' ? { kind: 'held', verdict: verdict('HOLD', 'who knows'), evidence: null } : 'wait';
    const held = await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'inconclusive');
    assert.equal(held.weights?.canary, 25);
    await until('somebody is told', () => world.notifications.some(({ kind }) => kind === 'held'));
    assert.equal(await code(pilot.decide(request, 'promote', { groups: ['release'] })), 'not-now');
    assert.equal(
      await code(pilot.decide(request, 'promote', { groups: ['release'], reason: 'I looked at the traces' })),
      'accepted',
    );
    world.watch = allIsWell;
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(view.timeline.some(({ text }) => text.includes('break-glass')));
  });

  test('drift is a HOLD with nothing written over; resume writes over it and says so', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.meddle('route', 'route', () => ({ weights: { stable: 90, canary: 10, baseline: 0 } }));
    world.watch = allIsWell;
    const held = await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    assert.equal(held.status, 'held');
    assert.match(held.wait?.reason ?? '', /"canary":10/);
    assert.deepEqual(world.weights, { stable: 90, canary: 10, baseline: 0 }, 'it wrote over a change by somebody else');
    await until('somebody is told', () =>
      world.notifications.some(({ kind, title }) => kind === 'held' && title.includes('drift')),
    );
    assert.equal(await code(pilot.decide(request, 'resume')), 'accepted');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(
      view.warnings.some((text) => text.includes('wrote over')),
      view.warnings.join('\n'),
    );
  });

  test('abort over a drift rolls back, and writes over it', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.meddle('route', 'route', () => ({ weights: { stable: 0, canary: 100, baseline: 0 } }));
    world.watch = allIsWell;
    await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    await pilot.decide(request, 'abort', { reason: 'who was that?' });
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'aborted');
    assert.ok(
      view.warnings.some((text) => text.includes('wrote over')),
      view.warnings.join('\n'),
    );
    assert.equal(world.weights?.stable, 100);
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });

  test('over a drift the guard is on, and so it is for what somebody else does to the canary', async () => {
    for (const result of [
      { kind: 'verdict', verdict: verdict('ROLLBACK', 'it burns'), evidence: null },
      { kind: 'disturbed', disturbance: { kind: 'harm', object: 'canary', text: 'it burns', passing: false } },
    ] as const) {
      const world = await env.worldWithV1();
      const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
      world.gateway.meddle('route', 'route', () => ({ weights: { stable: 90, canary: 10, baseline: 0 } }));
      world.watch = allIsWell;
      await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
      world.watch = ({ heldOnDrift }) => (heldOnDrift ? result : 'wait');
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'rolled-back');
      assert.match(view.reason?.text ?? '', /it burns/);
      assert.equal(world.weights?.stable, 100);
    }
  });

  test('what a watch sees of a drift is a HOLD; resumed the stage is set up again', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const disturbance = { kind: 'drift', object: 'stable', text: 'it is 3, not 2', passing: false } as const;
    world.gateway.meddle('arm', 'stable', (spec: { template: object }) => ({ ...spec, replicas: 3 }));
    world.watch = ({ heldOnDrift }) => (heldOnDrift ? 'wait' : { kind: 'disturbed', disturbance });
    const held = await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    assert.match(held.wait?.reason ?? '', /stable was changed by somebody else: it is 3, not 2/);
    world.watch = allIsWell;
    await pilot.decide(request, 'resume');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.ok(view.warnings.join('\n').includes('wrote over'), view.warnings.join('\n'));
    assert.equal(view.timeline.filter(({ text }) => text.startsWith('traffic: stable 50 %')).length, 2);
  });

  test('configuration that changed under a watch is a HOLD; resumed it is recorded anew, and nothing written over', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const disturbance = { kind: 'drift', object: 'configuration', text: 'it is b, and was a', passing: false } as const;
    world.watch = ({ heldOnDrift }) => (heldOnDrift ? 'wait' : { kind: 'disturbed', disturbance });
    const held = await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    assert.match(held.wait?.reason ?? '', /configuration was changed by somebody else: it is b, and was a/);
    world.watch = allIsWell;
    await pilot.decide(request, 'resume');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
    assert.deepEqual(view.warnings, []);
    const recorded = world.gateway.journal.filter(({ key }) => key?.includes('/record-configuration/'));
    assert.equal(recorded.length, 1);
  });

  test('a gate between stages: approved it goes on', async () => {
    const world = await env.worldWithV1();
    const request = await atStageGate(world);
    assert.equal(world.weights?.canary, 25);
    assert.equal(await code(pilot.decide(request, 'promote', { reason: 'hurry' })), 'not-now');
    assert.equal(await code(pilot.decide(request, 'approve', { by: 'author@example.com' })), 'excluded');
    assert.equal(await code(pilot.decide(request, 'approve')), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('a gate between stages: rejected it goes back', async () => {
    const world = await env.worldWithV1();
    const request = await atStageGate(world);
    assert.equal(await code(pilot.decide(request, 'reject')), 'accepted');
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'approval-rejected']);
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });

  test('a canary that turns bad while people are waited for is rolled back', async () => {
    const world = await env.worldWithV1();
    const request = await atStageGate(world);
    world.watch = ({ mode }) =>
      mode === 'guard' ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'it burns'), evidence: null } : 'wait';
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.text], ['rolled-back', 'it burns']);
    assert.equal(await code(pilot.decide(request, 'approve', { gate: 'stage-2' })), 'finished');
    assert.equal(world.weights?.stable, 100);
  });

  test('a gate before the first stage is a plain wait', async () => {
    const world = await env.worldWithV1();
    const stages = [stage(25, 1, true)];
    const request = await pilot.deploy(
      testRequest({
        policy: world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } }),
        tag: 'v2',
      }),
    );
    await pilot.until(request, 'it waits at the first gate', ({ wait }) => wait?.gate === 'stage-1');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
    assert.equal(await code(pilot.decide(request, 'approve')), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });
});
