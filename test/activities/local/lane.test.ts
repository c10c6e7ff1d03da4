import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { describe, test } from 'node:test';
import { PlatformUnavailable } from '../../../activities/local/errors.js';
import { createLocalPlatform } from '../../../activities/local/local-platform.js';
import { compareFences, parseFence } from '../../../domain/fence.js';
import { ALL_STABLE } from '../../../domain/target.js';
import { admin, eventually, gatewayFor, journalOf } from '../../gateway/gateway-support.js';
import { ALREADY, APPLIED, fromRelease, rolloutFor, scopeFor, ship } from './rollout-support.js';
import type { AddressInfo } from 'node:net';
import type { IdempotencyKey } from '../../../domain/fence.js';

describe('lanes on the local platform', () => {
  test('generations are granted once each, whoever asks at the same time', async (t) => {
    const gateway = await gatewayFor(t);
    const claims = await Promise.all(Array.from({ length: 12 }, () => rolloutFor(gateway, 'r1').claim()));
    const generations = claims.map((claim) => (claim.kind === 'granted' ? claim.generation : -1));
    assert.deepEqual(
      generations.toSorted((a, b) => a - b),
      Array.from({ length: 12 }, (_, index) => index + 1),
    );
  });

  test('a grant is above what the lane and the anchor have seen', async (t) => {
    const gateway = await gatewayFor(t);
    const { platform, scope } = rolloutFor(gateway, 'r1');
    const claim = { ...scope, claimant: 'rollout' } as const;
    assert.deepEqual(await platform.claim({ ...claim, laneGeneration: 7 }), { kind: 'granted', generation: 8 });
    assert.deepEqual(await platform.claim({ ...claim, laneGeneration: 0 }), { kind: 'granted', generation: 9 });
  });

  test('a lane belongs to one rollout, until it has ended or is recovered', async (t) => {
    const gateway = await gatewayFor(t);
    const [first, second] = [rolloutFor(gateway, 'r1'), rolloutFor(gateway, 'r2')];
    async function denied(claim: ReturnType<typeof first.claim>): Promise<string> {
      const result = await claim;
      assert.equal(result.kind, 'denied');
      return result.kind === 'denied' ? result.reason : '';
    }
    assert.match(await denied(first.claim('recover')), /nothing to recover/);
    await first.claim();
    await first.apply({ op: 'open-rollout' });
    assert.match(await denied(second.claim()), /held by rollout r1/);
    assert.match(await denied(second.claim('recover')), /held by rollout r1/);
    assert.equal((await second.apply({ op: 'open-rollout' })).kind, 'stale', 'without a grant');
    assert.equal((await second.platform.anchors()).anchors.length, 1);

    assert.equal((await first.claim('recover')).kind, 'granted');
    assert.equal((await first.claim('recover')).kind, 'granted');
    assert.match(await denied(first.claim('rollout')), /a recovery acts for rollout r1/);
    await first.apply({ op: 'close-rollout', outcome: 'rolled-back' });
    assert.match(await denied(first.claim('rollout')), /r1 has ended already: rolled-back/);
    assert.match(await denied(first.claim('recover')), /r1 has ended already/);
    assert.deepEqual(await second.platform.anchors(), { anchors: [], unreachable: [] });
    assert.equal((await second.claim()).kind, 'granted');
  });

  test('a recovery is granted when the lane lost its holder but the rollout’s anchor is there', async (t) => {
    const gateway = await gatewayFor(t);
    const rollout = rolloutFor(gateway, 'r1');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    const { body } = await admin(gateway, 'GET', 'objects/prod/hello/anchor/lane');
    const { spec, annotations } = body;
    const path = `objects/prod/hello/anchor/lane?revision=${body.revision}`;
    await admin(gateway, 'PUT', path, { spec: { ...spec, current: null }, annotations, owner: null });
    assert.equal((await rollout.claim('recover')).kind, 'granted');
  });

  test('a close that was cut off between its steps is finished by itself, or by the next claim', async (t) => {
    const gateway = await gatewayFor(t);
    for (const way of ['again', 'next claim'] as const) {
      const service = way.replace(' ', '-');
      const rollout = rolloutFor(gateway, 'r1', service);
      await rollout.claim();
      await rollout.apply({ op: 'open-rollout' });
      await rollout.apply({ op: 'set-stable-template', template: fromRelease('v1'), replicas: 1 });
      const dying = createLocalPlatform({
        gateways: [],
        fetch: (input, init) =>
          init?.method === 'DELETE' ? Promise.reject(new Error('power cut')) : fetch(input, init),
      });
      const close = { op: 'close-rollout', outcome: 'completed' } as const;
      const permit = rollout.permit(close);
      await assert.rejects(dying.apply(rollout.scope, close, permit), PlatformUnavailable);
      if (way === 'again') {
        assert.deepEqual(await rollout.platform.apply(rollout.scope, close, permit), APPLIED);
      } else {
        assert.equal((await rolloutFor(gateway, 'r2', service).claim()).kind, 'granted');
      }
      assert.deepEqual(await rollout.platform.apply(rollout.scope, close, permit), ALREADY);
      const { arms, recorded, anchor } = await rollout.platform.describe(rollout.scope);
      assert.deepEqual([Object.keys(arms), recorded, anchor?.ended.length], [['stable'], null, 1]);
    }
  });

  test('sixty racing writers with shuffled fences: the fence never goes backwards, the newest wins', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const rollout = rolloutFor(gateway, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 1 });
    const since = (await journalOf(gateway)).length;

    const steps = Array.from({ length: 60 }, (_, index) => 100 + index).toSorted(() => Math.random() - 0.5);
    const results = await Promise.all(
      steps.map(async (step) => {
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
        const weights = { stable: 200 - step, canary: step - 100, baseline: 0 };
        const permit = {
          key: `r2/race/${step}` as IdempotencyKey,
          fence: { generation: 2, step },
          onDrift: 'hold',
        } as const;
        // A storm that outlasts the attempts inside is retried as Temporal would.
        const apply = () => rollout.platform.apply(rollout.scope, { op: 'set-weights', weights }, permit);
        return apply().catch((error: unknown) =>
          error instanceof PlatformUnavailable ? apply() : Promise.reject(error),
        );
      }),
    );
    assert.ok(
      results.every(({ kind }) => kind === 'applied' || kind === 'stale'),
      JSON.stringify(results),
    );
    const fences = (await journalOf(gateway, since)).map(({ fence }) => parseFence(fence));
    for (const [index, fence] of fences.entries()) {
      const before = fences[index - 1];
      assert.ok(fence && (!before || compareFences(before, fence) < 0), `fence went backwards at ${index}`);
    }
    assert.equal(fences.at(-1)?.step, 159);
    assert.deepEqual((await rollout.platform.describe(rollout.scope)).weights, { stable: 41, canary: 59, baseline: 0 });
  });

  test('preflight finds what would stop the rollout, and says what to do', async (t) => {
    const gateway = await gatewayFor(t, { maxReplicas: 3 });
    await ship(gateway, 'r1', 'v1');
    const stuck = rolloutFor(gateway, 'r2');
    await stuck.claim();
    await stuck.apply({ op: 'open-rollout' });
    await stuck.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2', { UNREADY: '1' }), replicas: 1 });
    await stuck.apply({ op: 'set-stable-template', template: fromRelease('v2', { UNREADY: '1' }), replicas: 1 });
    const own = await stuck.platform.preflight(stuck.scope, { replicas: 1, shares: [] });
    assert.equal(own.length, 1, 'its own canary is neither a leftover nor in its way');
    assert.match(own[0]?.problem ?? '', /^stable has 0 of 1 replicas ready/);

    const found = await eventually(async () => {
      const next = rolloutFor(gateway, 'r3');
      const findings = await next.platform.preflight(next.scope, { replicas: 3, shares: [] });
      return findings.length >= 4 ? findings : null;
    });
    const text = found.map(({ severity, problem, remedy }) => `${severity}: ${problem} -> ${remedy}`).join('\n');
    assert.match(text, /refuse: the lane is held by rollout r2 -> wait for it/);
    assert.match(
      text,
      /there is a canary that is of rollout r2, with 0 % of the traffic -> let that rollout be recovered first/,
    );
    assert.match(text, /stable has 0 of 1 replicas ready/);
    assert.match(
      text,
      /no room: the rollout needs 3 more replicas, \d of 3 are free -> start the gateway with --max-replicas/,
    );
  });

  test('readiness tells ready, waiting and failed apart', async (t) => {
    const gateway = await gatewayFor(t, { progressDeadlineMs: 300 });
    const rollout = rolloutFor(gateway, 'r1');
    const { platform, scope } = rollout;
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    assert.deepEqual(await platform.readiness(scope, 'canary', 1), {
      kind: 'failed',
      message: 'there is no arm canary',
    });
    await rollout.apply({
      op: 'start-arm',
      arm: 'canary',
      template: fromRelease('v1', { START_MS: '60000' }),
      replicas: 2,
    });
    const waiting = await platform.readiness(scope, 'canary', 2);
    assert.deepEqual([waiting.kind, waiting.kind === 'waiting' && waiting.wanted], ['waiting', 2]);
    const failed = await eventually(async () => {
      const readiness = await platform.readiness(scope, 'canary', 2);
      return readiness.kind === 'failed' ? readiness : null;
    });
    assert.match(failed.message, /does not answer/);
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 2 });
    await rollout.ready('canary', 2);
    assert.deepEqual(await platform.readiness(scope, 'canary', 2), { kind: 'ready', replicas: 2 });
    assert.deepEqual(await rollout.apply({ op: 'remove-arm', arm: 'canary' }), APPLIED);
    assert.deepEqual(await rollout.apply({ op: 'remove-arm', arm: 'canary' }), ALREADY);
  });

  test('a gateway that is down, slow or beside itself is thrown, with its address', async (t) => {
    const server = createServer((request, response) => {
      if (request.url?.startsWith('/v1/capacity')) return;
      response.writeHead(503).end('busy');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    t.after(() => server.closeAllConnections());
    const adminUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const platform = createLocalPlatform({ gateways: [adminUrl], timeoutMs: 200 });
    const scope = scopeFor({ adminUrl }, 'r1');
    const permit = { key: 'k' as IdempotencyKey, fence: { generation: 1, step: 1 }, onDrift: 'hold' } as const;
    await assert.rejects(
      platform.apply(scope, { op: 'set-weights', weights: ALL_STABLE }, permit),
      (error: unknown) => {
        assert.ok(error instanceof PlatformUnavailable);
        assert.match(error.message, new RegExp(`^local gateway at ${adminUrl}/v1/objects.*answered 503: busy$`));
        return true;
      },
    );
    // A gateway that is away hides nothing of the others.
    const other = await gatewayFor(t);
    await rolloutFor(other, 'r7').claim();
    const both = createLocalPlatform({ gateways: [adminUrl, other.adminUrl], timeoutMs: 1000 });
    const { anchors, unreachable } = await both.anchors();
    assert.deepEqual(
      anchors.map(({ current }) => current?.rolloutId),
      ['r7'],
    );
    assert.match(unreachable.join(), /answered 503: busy$/);
    const down = scopeFor({ adminUrl: 'http://127.0.0.1:1' }, 'r1');
    await assert.rejects(platform.readiness(down, 'stable', 1), /http:\/\/127\.0\.0\.1:1.*can't be reached/);
    const mute = createLocalPlatform({
      gateways: [],
      timeoutMs: 100,
      fetch: (_, init) => fetch(`${adminUrl}/v1/capacity`, init),
    });
    await assert.rejects(mute.readiness(scope, 'stable', 1), /no answer within 100 ms/);

    const abort = new AbortController();
    abort.abort(new Error('cancelled'));
    await assert.rejects(platform.describe(scope, abort.signal), /cancelled/);
  });
});
