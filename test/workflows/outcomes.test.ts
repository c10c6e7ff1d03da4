/** How a rollout ends, whatever the platform and the metrics do. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { judge } from '../../domain/canary/judge.js';
import type { Policy } from '../../domain/policy.js';
import { appliedTwice, until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { refusal } from '../support/memory-gateway.js';
import { stage, testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

function waits(world: World, change: Partial<Policy['waits']>): Policy {
  const policy = world.policy();
  return { ...policy, waits: { ...policy.waits, ...change } };
}

function assertBackOnV1(world: World): void {
  assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
  assert.equal(world.holder, null);
  assert.deepEqual(appliedTwice(world.gateway.journal), []);
}

describe('outcomes', { concurrency: 6 }, () => {
  test('promoted: each effect once, in the order of the plan', async () => {
    const world = await env.worldWithV1();
    const begun = world.gateway.journal.length;
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.equal(view.outcome, 'completed');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
    assert.equal(world.holder, null);
    const weights = world.gateway.journal
      .slice(begun)
      .flatMap(({ kind, change, key }) => (kind === 'route' && key?.includes('set-weights') ? [change] : []));
    assert.deepEqual(weights, ['weights 50/25/25', 'weights 25/50/25', 'weights 0/100/0', 'weights 100/0/0']);
    assert.deepEqual(appliedTwice(world.gateway.journal), []);
    await until('its record is kept', () =>
      world.records.some(({ view: kept }) => kept.rolloutId === view.rolloutId && kept.outcome === 'completed'),
    );
  });

  test('a stage ends early once the judge has seen enough, where the policy allows it, and no sooner', async () => {
    const world = await env.worldWithV1();
    const policy = world.policy({ stages: { ...world.policy().stages, canary_25: [stage(25, 600), stage(50, 600)] } });
    const analysis = { ...policy.analysis, lookEveryMs: 1000, warmUpMs: 1000, earlyPromotion: { afterMs: 3000 } };
    // The real judge, on an arm that answers 5,000 requests a second without an error.
    world.watch = (call) => {
      if (call.mode === 'guard' || call.stage === 'verify') return allIsWell(call);
      const atMs = Date.now();
      const timesMs = Array.from(
        { length: Math.floor((atMs - call.startMs) / 1000) + 1 },
        (_, i) => call.startMs + i * 1000,
      );
      const requests = timesMs.map((_, i) => i * 5000);
      const series = [{ instance: 'all', requests, errors: requests.map(() => 0), buckets: [] }];
      const arm = { timesMs, leSeconds: [], series };
      const { startMs, durationMs, budgetShare } = call;
      const asked = { startMs, durationMs, budgetShare, expectedShare: null, atMs, canary: arm, comparison: arm };
      const said = judge({ ...asked, policy: call.analysis });
      return said.kind === 'HOLD' ? 'wait' : { kind: 'verdict', verdict: said, evidence: null };
    };
    const view = await pilot.ship(testRequest({ policy: { ...policy, analysis }, tag: 'v2' }));
    assert.equal(view.outcome, 'completed');
    const stages = world.watches.filter(({ stage: name, mode }) => name.startsWith('stage-') && mode === 'watch');
    for (const label of ['stage-1', 'stage-2']) {
      const call = stages.find(({ stage: name }) => name === label);
      const said = view.verdicts.find(({ stage: name }) => name === label)?.verdict;
      assert.ok(call !== undefined && said?.kind === 'PROMOTE', label);
      const tookMs = said.atMs - call.startMs;
      assert.ok(tookMs >= 3000 && tookMs < 30_000, `${label} took ${tookMs} ms of 600 s`);
      assert.match(said.summary, /^Not worse than the comparison after \d+ s of 10 min, early as the policy allows/);
    }
    assert.ok(Date.parse(view.endedAt ?? '') - Date.parse(view.startedAt) < 120_000);
  });

  test('a verdict rolls back', async () => {
    const world = await env.worldWithV1();
    world.watch = (call) =>
      call.stage === 'stage-2'
        ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'worse'), evidence: 'sha256:e' }
        : allIsWell(call);
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'verdict']);
    assert.deepEqual(
      view.verdicts.map(({ stage, verdict: { kind }, evidence }) => [stage, kind, evidence]),
      [
        ['stage-1', 'PROMOTE', null],
        ['stage-2', 'ROLLBACK', 'sha256:e'],
      ],
    );
    assertBackOnV1(world);
  });

  test('a verdict in the verification at 100 % rolls back', async () => {
    const world = await env.worldWithV1();
    world.watch = (call) =>
      call.stage === 'verify'
        ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'it fails alone'), evidence: null }
        : allIsWell(call);
    const view = await pilot.ship(testRequest({ policy: world.policy({ verifyMs: 5000 }), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.text], ['rolled-back', 'it fails alone']);
    assertBackOnV1(world);
  });

  test('a canary that never becomes ready is rolled back and got no traffic', async () => {
    const world = await env.worldWithV1();
    world.gateway.neverReady.add(`${world.lane.service}:v2`);
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'not-ready']);
    assert.match(view.reason?.text ?? '', /exited with code 1/);
    assert.ok(
      !world.gateway.journal.some(
        ({ change }) => change.startsWith('weights') && !change.startsWith('weights 100/0/0'),
      ),
      'it got traffic',
    );
    assertBackOnV1(world);
  });

  test('a first release that fails is removed', async () => {
    const world = env.worlds.add();
    world.gateway.neverReady.add(`${world.lane.service}:v1`);
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v1' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'not-ready']);
    assert.deepEqual(world.arms, {});
    assert.equal(world.weights, null);
    assert.equal(world.holder, null);
    world.gateway.neverReady.clear();
    assert.equal((await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }))).outcome, 'completed');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
  });

  test('stable that does not come up with the new version gets its old template back', async () => {
    const world = await env.worldWithV1();
    // It breaks in the moment in which the template is copied to stable.
    world.gateway.fault = ({ method, path }) => {
      if (method === 'PUT' && path.endsWith('/arm/stable') && world.weights?.canary === 100)
        world.gateway.neverReady.add(`${world.lane.service}:v2`);
      return null;
    };
    const view = await pilot.ship(testRequest({ policy: world.policy({ verifyMs: 0 }), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'not-ready']);
    assertBackOnV1(world);
  });

  test('stopped while it is copied to stable, users stay on the full canary until stable can serve again, whatever is said of it', async () => {
    const world = await env.worldWithV1();
    let copied = false;
    world.gateway.fault = ({ method, path }) => {
      if (method !== 'PUT' || !path.endsWith('/arm/stable') || world.weights?.canary !== 100 || copied) return null;
      copied = true;
      world.hold('awaitReady');
      return null;
    };
    const request = await pilot.deploy(testRequest({ policy: world.policy({ verifyMs: 0 }), tag: 'v2' }));
    await until('it is copied', () => copied && world.arms['stable'] === `${world.lane.service}:v2 x2`);
    world.gateway.neverReady.add(`${world.lane.service}:v1`);
    await pilot.decide(request, 'abort');
    await until('stable is restored', () => world.arms['stable'] === `${world.lane.service}:v1 x2`);
    // As long as it would have taken to send them to what can't answer.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal(world.weights?.canary, 100);
    world.gateway.neverReady.clear();
    assert.equal((await pilot.ended(request)).outcome, 'aborted');
    assertBackOnV1(world);
  });

  test('no metrics: HOLD and an alert, never a rollback nor a promotion; back again, it goes on by itself', async () => {
    const world = await env.worldWithV1();
    let down = true;
    world.watch = (call) => {
      if (!down) return allIsWell(call);
      return call.mode === 'blind' ? 'wait' : { kind: 'blind', reason: 'connection refused' };
    };
    const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    const held = await pilot.until(request, 'it is blind', ({ wait }) => wait?.kind === 'blind');
    assert.equal(held.weights?.canary, 25);
    assert.equal(held.wait?.who, '');
    assert.equal(held.wait?.atDeadline, 'rolled back');
    const alert = await until('an alert', () => world.notifications.find(({ kind }) => kind === 'alert') ?? null);
    assert.equal(alert.severity, 'page');
    assert.equal((await pilot.view(request))?.outcome, null);
    down = false;
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(world.notifications.some(({ kind }) => kind === 'resolved'));
    assert.deepEqual(view.verdicts.map(({ verdict: { kind } }) => kind).slice(0, 2), ['PROMOTE', 'PROMOTE']);
  });

  test('no metrics for longer than the policy allows: rolled back', async () => {
    const world = await env.worldWithV1();
    world.watch = ({ mode }) => (mode === 'blind' ? 'wait' : { kind: 'blind', reason: 'connection refused' });
    const view = await pilot.ship(testRequest({ policy: waits(world, { blindMs: 300 }), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'wait-expired']);
    assertBackOnV1(world);
  });

  test('held for longer than the policy allows: rolled back', async () => {
    const world = await env.worldWithV1();
    world.watch = ({ mode }) =>
      mode === 'watch' ? { kind: 'held', verdict: verdict('HOLD'), evidence: null } : 'wait';
    const view = await pilot.ship(testRequest({ policy: waits(world, { heldMs: 300 }), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'wait-expired']);
    assertBackOnV1(world);
  });

  test('held, then sure in overtime: it goes on by itself', async () => {
    const world = await env.worldWithV1();
    world.watch = (call) =>
      call.mode === 'watch' && call.stage === 'stage-1'
        ? { kind: 'held', verdict: verdict('HOLD'), evidence: null }
        : allIsWell(call);
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.equal(view.outcome, 'completed');
    assert.deepEqual(
      view.verdicts.slice(0, 2).map(({ verdict: { kind } }) => kind),
      ['HOLD', 'PROMOTE'],
    );
  });

  test('no room: rejected before anything is touched', async () => {
    const world = await env.worldWithV1();
    const begun = world.gateway.journal.length;
    world.gateway.maxReplicas = 3;
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rejected', 'preflight']);
    assert.equal(world.gateway.journal.length, begun);
  });

  test('a platform that refuses a write for good: rolled back, with its words', async () => {
    const world = await env.worldWithV1();
    world.gateway.fault = ({ method, path }) =>
      method === 'POST' && path.endsWith('/arm/canary') ? refusal(403, 'Forbidden', 'no canaries on Fridays') : null;
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }));
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'refused']);
    assert.match(view.reason?.text ?? '', /no canaries on Fridays/);
    assertBackOnV1(world);
  });

  test('an answer that is lost after the write was done: the write counts once', async () => {
    const world = await env.worldWithV1();
    const lost = new Set<string>();
    const { fetch } = world.gateway;
    Object.assign(world.gateway, {
      fetch: (async (input, init) => {
        const answer = await fetch(input, init);
        const what = `${init?.method ?? 'GET'} ${new URL(input as string).pathname}`;
        if (what.startsWith('GET') || lost.has(what)) return answer;
        lost.add(what);
        throw new TypeError('fetch failed', { cause: new Error('socket hang up') });
      }) satisfies typeof globalThis.fetch,
    });
    const view = await pilot.ship(testRequest({ policy: world.policy(), tag: 'v2' }), 60_000);
    assert.equal(view.outcome, 'completed');
    assert.ok(lost.size >= 8, `only ${lost.size} answers were lost`);
    assert.deepEqual(appliedTwice(world.gateway.journal), []);
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
  });
});
