/** The trail of a rollout: all that counts is in it, in order, kept in time, and no trouble with it stops a rollout. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { RolloutRequest, RolloutResult } from '../../domain/rollout.js';
import { HEADS_LOG } from '../../domain/trail.js';
import type { TrailEntry, TrailType } from '../../domain/trail.js';
import { readTrail } from '../../formats/trail-file.js';
import { decisionSignal, recoverWorkflowId, rolloutWorkflowId } from '../../workflows/messages.js';
import { until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { testRequest } from '../support/request.js';
import { currentRun, resetRun } from '../support/reset.js';

/** Temporal's replays stay quick below this. */
const EVENTS_LIMIT = 400;

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

function logOf({ policy, rolloutId }: RolloutRequest): string {
  return rolloutWorkflowId(policy.lane, rolloutId);
}

async function resultOf(request: RolloutRequest): Promise<RolloutResult> {
  return (await pilot.handle(request).result()) as RolloutResult;
}

/** The entries that are kept of a run; fails where one is damaged. */
async function kept(world: World, log: string, run?: string): Promise<readonly TrailEntry[]> {
  const stored = await world.trails.read(log);
  const found = run === undefined ? stored[0] : stored.find((each) => each.run === run);
  if (found === undefined) return [];
  const { damages, entries } = readTrail(found.bytes);
  assert.deepEqual(damages, []);
  return entries;
}

function textsOf(entries: readonly TrailEntry[], type: TrailType): readonly string[] {
  return entries.filter((entry) => entry.type === type).map(({ text }) => text);
}

function withApproval(world: World) {
  const policy = world.policy();
  return { ...policy, approval: { ...policy.approval, required: 'always' as const } };
}

describe('the trail', { concurrency: 5 }, () => {
  test('of a good rollout tells all of it, and costs few events', async () => {
    const world = await env.worldWithV1();
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    await pilot.ship(request);
    const result = await resultOf(request);
    const entries = await kept(world, logOf(request));
    const last = entries.at(-1);
    assert.deepEqual(result.trail, { log: logOf(request), size: entries.length, hash: last?.hash });
    assert.deepEqual(textsOf(entries, 'weights'), [
      'traffic: stable 50 %, canary 25 %, baseline 25 %',
      'traffic: stable 25 %, canary 50 %, baseline 25 %',
      'traffic: stable 0 %, canary 100 %, baseline 0 %',
      'traffic: stable 100 %, canary 0 %, baseline 0 %',
    ]);
    assert.deepEqual(
      entries.filter(({ type }) => type === 'verdict').map(({ data }) => [data['stage'], data['kind']]),
      [
        ['stage-1', 'PROMOTE'],
        ['stage-2', 'PROMOTE'],
        ['verify', 'PROMOTE'],
      ],
    );
    assert.deepEqual(
      entries.flatMap(({ type, data }) => (type === 'phase' ? [data['to']] : [])),
      ['assessing', 'gating', 'preflight', 'canary', 'canary', 'promoting', 'verifying', 'settling', 'completed'],
    );
    const [first] = entries;
    assert.deepEqual(
      [first?.type, first?.actor, first?.data['rolloutId']],
      ['request', 'starter@example.com', request.rolloutId],
    );
    assert.deepEqual(
      [last?.type, last?.data['outcome'], last?.data['record']],
      ['outcome', 'completed', result.record],
    );

    const { events } = await pilot.handle(request).fetchHistory();
    const flushes = (events ?? []).filter(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'appendTrail',
    );
    // Three verdicts and the end.
    assert.equal(flushes.length, 4);
    assert.ok((events ?? []).length < EVENTS_LIMIT, `${events?.length} events`);

    const heads = await kept(world, HEADS_LOG);
    const { runId } = await pilot.handle(request).describe();
    assert.deepEqual(
      heads.map(({ data }) => data),
      [{ ...result.trail, run: runId }],
    );
  });

  test('is kept when a person is waited for, and after each decision; a refused signal is in it', async () => {
    const world = await env.worldWithV1();
    const request = await pilot.deploy(testRequest({ policy: withApproval(world), tag: 'v2' }));
    const view = await pilot.until(request, 'it waits', ({ wait }) => wait?.kind === 'approval');
    const asked = await until('the gate is kept', async () => {
      const entries = await kept(world, logOf(request));
      return entries.at(-1)?.type === 'wait' ? entries : null;
    });
    assert.deepEqual(asked.find(({ type }) => type === 'gate')?.data['planDigest'], view.approvals?.planDigest);
    assert.deepEqual(view.trail, { log: logOf(request), size: asked.length, hash: asked.at(-1)?.hash });

    await pilot.handle(request).signal(decisionSignal, {
      id: randomUUID(),
      verb: 'approve',
      gate: 'release',
      planDigest: 'sha256:other',
      actor: { subject: 'eve@example.com', groups: [], verified: false },
      reason: null,
      full: false,
      at: new Date().toISOString(),
    });
    await pilot.until(request, 'it was refused', ({ warnings }) => warnings.length > 0);
    await pilot.decide(request, 'approve', { by: 'anna@example.com', id: 'click-1', reason: 'read the diff' });
    const entries = await until('the decision is kept', async () => {
      const now = await kept(world, logOf(request));
      return now.some(({ type }) => type === 'decision') ? now : null;
    });
    const refusal = entries.find(({ type }) => type === 'refusal');
    assert.deepEqual([refusal?.actor, refusal?.data['code']], ['eve@example.com', 'other-plan']);
    const decision = entries.find(({ type }) => type === 'decision');
    assert.deepEqual(
      [decision?.actor, decision?.data['id'], decision?.data['verb'], decision?.data['gate'], decision?.data['reason']],
      ['anna@example.com', 'click-1', 'approve', 'release', 'read the diff'],
    );
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    assert.deepEqual(textsOf(await kept(world, logOf(request)), 'warning'), []);
  });

  test('of a rollback is kept as soon as traffic is back, whatever comes after', async () => {
    const world = await env.worldWithV1();
    world.watch = (call) =>
      call.stage === 'stage-2'
        ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'worse'), evidence: 'sha256:e' }
        : allIsWell(call);
    const hold = world.hold('closeRollout');
    const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    const entries = await until('the end of the traffic is kept', async () => {
      const now = await kept(world, logOf(request));
      return textsOf(now, 'weights').at(-1)?.includes('stable 100 %') ? now : null;
    });
    assert.deepEqual(entries.findLast(({ type }) => type === 'verdict')?.data['evidence'], 'sha256:e');
    await hold.release();
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    assert.equal((await kept(world, logOf(request))).at(-1)?.data['rolledBack'], true);
  });

  test('that can not be kept stops nothing, and is kept with the next', async () => {
    const world = await env.worldWithV1();
    const hold = world.hold('appendTrail');
    const request = testRequest({ policy: withApproval(world), tag: 'v2' });
    await pilot.deploy(request);
    await until('it stands still', () => hold.entered > 0);
    await pilot.until(request, 'it waits', ({ wait }) => wait?.kind === 'approval');
    await pilot.decide(request, 'approve');
    await pilot.until(
      request,
      'it goes on all the same',
      ({ phase, outcome }) => phase === 'settling' || outcome !== null,
    );
    assert.equal((await world.trails.read(logOf(request))).length, 0);
    await hold.release();
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    const entries = await kept(world, logOf(request));
    assert.deepEqual((await resultOf(request)).trail, {
      log: logOf(request),
      size: entries.length,
      hash: entries.at(-1)?.hash,
    });
  });

  test('a store that is away when it ends: it ends all the same within about a minute', async () => {
    const world = await env.worldWithV1();
    world.objects.away = true;
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    const begun = Date.now();
    const view = await pilot.ship(request, 120_000);
    assert.equal(view.outcome, 'completed');
    const tookMs = Date.now() - begun;
    assert.ok(tookMs > 50_000 && tookMs < 110_000, `${tookMs} ms`);
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x2` });
    assert.equal(typeof (await resultOf(request)).trail?.hash, 'string');
  });

  test('something else in its place pages a person, and stops nothing', async () => {
    const world = await env.worldWithV1();
    const request = await pilot.deploy(testRequest({ policy: withApproval(world), tag: 'v2' }));
    const entries = await until('the gate is kept', async () => {
      const now = await kept(world, logOf(request));
      return now.at(-1)?.type === 'wait' ? now : null;
    });
    // Somebody else has put something where the next entries belong.
    const [key = ''] = world.objects.objects.keys();
    world.objects.objects.set(
      key.replace('00000000', String(entries.length).padStart(8, '0')),
      Buffer.from('rubbish\n'),
    );
    await pilot.decide(request, 'approve');
    const page = await until('a page', () => world.notifications.find(({ severity }) => severity === 'page') ?? null);
    assert.match(page.title, /its trail is not what was kept/);
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(
      view.warnings.some((text) => text.includes('entries of the trail could not be kept')),
      view.warnings.join(),
    );
  });

  test('of a run that was reset goes on beside the first, from where they part', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await pilot.decide(request, 'pause');
    await until('the pause is kept', async () =>
      (await kept(world, logOf(request))).some(({ type }) => type === 'decision'),
    );
    const run = await currentRun(env.slipway, request);
    const runId = await resetRun(env.slipway, request, run, 5);
    await pilot.until(
      request,
      'the new run is in the canary',
      ({ phase, weights }) => phase === 'canary' && weights?.canary === 25,
    );
    // Temporal gives the new run what was said to the first.
    await pilot.decide(request, 'resume');
    world.watch = allIsWell;
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    const accounts = await world.trails.read(logOf(request));
    assert.deepEqual(accounts.map((each) => each.run).toSorted(), [run.runId, runId].toSorted());
    const second = await kept(world, logOf(request), runId);
    const { trail } = await resultOf(request);
    assert.deepEqual([second.length, second.at(-1)?.hash, second.at(-1)?.type], [trail?.size, trail?.hash, 'outcome']);
    assert.ok((await kept(world, logOf(request), run.runId)).length > 0);
  });

  test('of a rollout whose run was lost is told on by its recovery', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await pilot.handle(request).terminate('a test');
    assert.equal(await pilot.remembered(request), 'rolled-back');
    const log = recoverWorkflowId(request.policy.lane, request.rolloutId);
    const entries = await kept(world, log);
    assert.equal(entries[0]?.data['rolloutId'], request.rolloutId);
    assert.ok(textsOf(entries, 'weights').length === 1, JSON.stringify(entries));
    assert.deepEqual([entries.at(-1)?.type, entries.at(-1)?.data['outcome']], ['outcome', 'rolled-back']);
    assert.ok((await kept(world, HEADS_LOG)).some(({ data }) => data['log'] === log));
  });
});
