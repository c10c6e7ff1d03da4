import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createLocalPlatform } from '../../../activities/local/local-platform.js';
import { canonicalJson, digestOf } from '../../../domain/canonical.js';
import { ALL_STABLE } from '../../../domain/target.js';
import { admin, gatewayFor, journalOf, request, write } from '../../gateway/gateway-support.js';
import { ALREADY, APPLIED, fromRelease, rolloutFor, scopeFor, ship } from './rollout-support.js';
import type { Effect, EffectResult } from '../../../domain/target.js';

const ROUTE = 'objects/prod/hello/route/route';
const TO_CANARY = { stable: 90, canary: 10, baseline: 0 };

/** A whole rollout with everything that it may do. */
const LIFE: readonly Effect[] = [
  { op: 'open-rollout' },
  { op: 'raise-fence' },
  { op: 'start-arm', arm: 'canary', template: fromRelease('v2', { FLAG: 'on' }), replicas: 1 },
  { op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 },
  { op: 'set-weights', weights: { stable: 80, canary: 10, baseline: 10 } },
  { op: 'set-weights', weights: { stable: 0, canary: 100, baseline: 0 } },
  { op: 'remove-arm', arm: 'baseline' },
  { op: 'set-stable-template', template: fromRelease('v2', { FLAG: 'on' }), replicas: 2 },
  { op: 'set-weights', weights: ALL_STABLE },
  { op: 'remove-arm', arm: 'canary' },
  { op: 'close-rollout', outcome: 'completed' },
];

describe('effects on the local platform', () => {
  test('each effect of a rollout is done once, though two workers do each twice', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const since = (await journalOf(gateway)).length;
    const rollout = rolloutFor(gateway, 'r2');
    assert.deepEqual(await rollout.claim(), { kind: 'granted', generation: 2 });
    const twin = createLocalPlatform({ gateways: [] });

    for (const effect of LIFE) {
      const permit = rollout.permit(effect);
      const results = await Promise.all(
        [rollout.platform, twin, rollout.platform, twin].map((platform) =>
          platform.apply(rollout.scope, effect, permit),
        ),
      );
      results.push(await rollout.platform.apply(rollout.scope, effect, permit));
      const kinds = results.map(({ kind }) => kind);
      assert.ok(kinds.includes('applied'), `${effect.op}: ${JSON.stringify(results)}`);
      assert.ok(
        kinds.every((kind) => kind === 'applied' || kind === 'already'),
        `${effect.op}: ${JSON.stringify(results)}`,
      );
    }

    const entries = (await journalOf(gateway, since)).filter(({ key }) => key?.startsWith('r2/test/'));
    const done = entries.map(({ key, kind, name }) => `${key} ${kind}/${name}`);
    assert.equal(new Set(done).size, done.length, done.join('\n'));
    const single = entries.filter(({ key }) => !/raise-fence|close-rollout/.test(key ?? ''));
    assert.equal(single.length, LIFE.length - 2, 'one write for each effect that is about one object');
    assert.equal(new Set(single.map(({ key }) => key)).size, LIFE.length - 2);

    const after = await rollout.platform.describe(rollout.scope);
    assert.deepEqual(Object.keys(after.arms), ['stable']);
    assert.equal(after.arms.stable?.version, 'hello:v2');
    assert.equal(after.arms.stable?.replicas, 2);
    assert.deepEqual(after.weights, ALL_STABLE);
    assert.equal(after.recorded, null);
    assert.deepEqual(after.anchor?.ended, [
      { rolloutId: 'r1', outcome: 'completed' },
      { rolloutId: 'r2', outcome: 'completed' },
    ]);
  });

  test('a rollback restores the recorded template to the byte', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const rollout = rolloutFor(gateway, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    const before = await rollout.platform.describe(rollout.scope);
    assert.deepEqual(before.recorded, {
      rolloutId: 'r2',
      templateDigest: before.arms.stable?.templateDigest,
      version: 'hello:v1',
      replicas: 1,
    });
    await rollout.apply({ op: 'set-stable-template', template: fromRelease('v2'), replicas: 1 });
    const between = await rollout.platform.describe(rollout.scope);
    assert.notEqual(between.arms.stable?.templateDigest, before.arms.stable?.templateDigest);
    assert.deepEqual(between.recorded, before.recorded);

    await rollout.claim();
    assert.deepEqual(await rollout.apply({ op: 'raise-fence' }), APPLIED);
    assert.deepEqual(
      await rollout.apply({ op: 'set-stable-template', template: { from: 'recorded' }, replicas: 1 }),
      APPLIED,
    );
    await rollout.ready('stable', 1);
    const after = await rollout.platform.describe(rollout.scope);
    assert.equal(after.arms.stable?.templateDigest, before.arms.stable?.templateDigest);
    const { body } = await admin(gateway, 'GET', 'objects/prod/hello/arm/stable');
    assert.equal(digestOf(body.spec.template), before.recorded?.templateDigest);
  });

  test('after the fence was raised no late attempt writes, not even where it had nothing to wait for', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const rollout = rolloutFor(gateway, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 1 });
    const late: readonly Effect[] = [
      { op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 },
      { op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 2 },
      { op: 'set-weights', weights: TO_CANARY },
      { op: 'set-stable-template', template: fromRelease('v2'), replicas: 1 },
      { op: 'raise-fence' },
      { op: 'remove-arm', arm: 'canary' },
      { op: 'remove-stable' },
      { op: 'open-rollout' },
      { op: 'close-rollout', outcome: 'completed' },
    ];
    const permits = late.map((effect) => rollout.permit(effect, 'overwrite'));
    await rollout.claim('recover');
    await rollout.apply({ op: 'raise-fence' });
    const raised = (await journalOf(gateway)).length;
    for (const [index, effect] of late.entries()) {
      const result = await rollout.platform.apply(rollout.scope, effect, permits[index] as (typeof permits)[number]);
      assert.equal(result.kind, 'stale', `${effect.op}: ${JSON.stringify(result)}`);
    }
    assert.equal((await journalOf(gateway)).length, raised);

    await rollout.apply({ op: 'remove-arm', arm: 'canary' });
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' });
    const closed = (await journalOf(gateway)).length;
    for (const [index, effect] of late.entries()) {
      const result = await rollout.platform.apply(rollout.scope, effect, permits[index] as (typeof permits)[number]);
      assert.notEqual(result.kind, 'applied', `${effect.op}: ${JSON.stringify(result)}`);
    }
    assert.equal((await journalOf(gateway)).length, closed);
  });

  test('a create that was decided before the rollback and arrives after it is collected', async (t) => {
    const gateway = await gatewayFor(t);
    const rollout = rolloutFor(gateway, 'r1');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });

    // A worker that is frozen between its read and its write.
    let thaw = (): void => undefined;
    const frozen = new Promise<void>((resolve) => (thaw = resolve));
    let reached = (): void => undefined;
    const atWrite = new Promise<void>((resolve) => (reached = resolve));
    const slow = createLocalPlatform({
      gateways: [],
      timeoutMs: 60_000,
      fetch: async (input, init) => {
        if (init?.method === 'POST') {
          reached();
          await frozen;
        }
        return fetch(input, init);
      },
    });
    const effect: Effect = { op: 'set-stable-template', template: fromRelease('v1'), replicas: 1 };
    const zombie = slow.apply(rollout.scope, effect, rollout.permit(effect));
    await atWrite;
    await rollout.claim('recover');
    for (const next of [
      { op: 'raise-fence' },
      { op: 'remove-stable' },
      { op: 'close-rollout', outcome: 'rolled-back' },
    ] as const) {
      await rollout.apply(next, 'overwrite');
    }
    thaw();
    await zombie;
    assert.deepEqual((await rollout.platform.describe(rollout.scope)).arms, {});
    assert.deepEqual(
      (await journalOf(gateway)).slice(-2).map(({ verb, name }) => `${verb} ${name}`),
      ['create stable', 'collect stable'],
    );
  });

  test('a value that someone else changed holds a rollout, and is written over and told in a rollback', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const rollout = rolloutFor(gateway, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 1 });
    const forward: Effect = { op: 'set-weights', weights: TO_CANARY };
    const permit = rollout.permit(forward);
    assert.deepEqual(await rollout.platform.apply(rollout.scope, forward, permit), APPLIED);

    const { body: route } = await admin(gateway, 'GET', ROUTE);
    const foreign = { weights: { stable: 50, canary: 50, baseline: 0 } };
    await admin(gateway, 'PUT', `${ROUTE}?revision=${route.revision}`, write(foreign, null, route.annotations));
    const held: EffectResult = {
      kind: 'drift',
      object: 'route',
      found: canonicalJson(foreign),
      expected: canonicalJson({ weights: TO_CANARY }),
    };
    assert.deepEqual(await rollout.platform.apply(rollout.scope, forward, permit), held, 'own key, foreign value');
    assert.deepEqual(
      await rollout.apply({ op: 'set-weights', weights: { stable: 75, canary: 25, baseline: 0 } }),
      held,
    );
    assert.deepEqual(
      await rollout.platform.preflight(rollout.scope, { replicas: 1, shares: [] }).then((found) => found.length),
      1,
    );

    const back = await rollout.apply({ op: 'set-weights', weights: ALL_STABLE }, 'overwrite');
    assert.equal(back.kind, 'applied');
    assert.match(back.kind === 'applied' ? back.drift.join() : '', /route: found .*50.* where Slipway had left .*90/);
    assert.deepEqual((await rollout.platform.describe(rollout.scope)).weights, ALL_STABLE);

    // Without its fence an object has lost the order of writes.
    const { body: bare } = await admin(gateway, 'GET', ROUTE);
    const { 'slipway.dev/fence': _, ...rest } = bare.annotations;
    await admin(gateway, 'PUT', `${ROUTE}?revision=${bare.revision}`, write(bare.spec, null, rest));
    assert.equal((await rollout.apply({ op: 'set-weights', weights: TO_CANARY })).kind, 'drift');
    assert.equal((await rollout.apply({ op: 'raise-fence' })).kind, 'drift');
    const raised = await rollout.apply({ op: 'raise-fence' }, 'overwrite');
    assert.match(raised.kind === 'applied' ? raised.drift.join() : '', /route: found no slipway.dev\/fence/);
  });

  test('a first release serves, and its rollback leaves nothing', async (t) => {
    const gateway = await gatewayFor(t);
    const rollout = rolloutFor(gateway, 'r1');
    const { platform, scope } = rollout;
    assert.deepEqual(await platform.preflight(scope, { replicas: 1, shares: [] }), []);
    assert.deepEqual(await platform.describe(scope), {
      arms: {},
      weights: null,
      freeReplicas: 32,
      surge: 1,
      autoscaled: false,
      anchor: null,
      recorded: null,
      recordLost: false,
    });
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    assert.equal((await platform.describe(scope)).recorded?.templateDigest, null);
    assert.equal(
      (await rollout.apply({ op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 })).kind,
      'refused',
    );
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v1', { EXTRA: 'x' }), replicas: 1 });
    await rollout.ready('canary', 1);
    await rollout.apply({ op: 'set-weights', weights: { stable: 0, canary: 100, baseline: 0 } });
    const seen = JSON.parse((await request(gateway)).text);
    assert.deepEqual([seen.arm, seen.version, seen.greeting], ['canary', 'hello:v1', 'hi']);
    await rollout.apply({ op: 'set-stable-template', template: fromRelease('v1'), replicas: 1 });

    await rollout.claim();
    await rollout.apply({ op: 'raise-fence' }, 'overwrite');
    assert.deepEqual(await rollout.apply({ op: 'remove-stable' }, 'overwrite'), APPLIED);
    assert.deepEqual(await rollout.apply({ op: 'remove-stable' }, 'overwrite'), ALREADY);
    await rollout.apply({ op: 'remove-arm', arm: 'canary' }, 'overwrite');
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' });
    const { arms, weights, recorded } = await platform.describe(scope);
    assert.deepEqual({ arms, weights, recorded }, { arms: {}, weights: null, recorded: null });
    assert.equal((await request(gateway)).status, 404);
  });

  test('after a first release stable and route belong to nobody, and outlive its anchor', async (t) => {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    for (const path of ['objects/prod/hello/arm/stable', ROUTE]) {
      const { status, body } = await admin(gateway, 'GET', path);
      assert.deepEqual([status, body.owner], [200, null]);
    }
    assert.equal((await admin(gateway, 'GET', 'objects/prod/hello/anchor/rollout-r1')).status, 404);
  });

  test('what the gateway refuses for good is a value', async (t) => {
    const gateway = await gatewayFor(t);
    const rollout = rolloutFor(gateway, 'r1');
    await rollout.claim();
    assert.equal(
      (await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v1'), replicas: 1 })).kind,
      'refused',
    );
    await rollout.apply({ op: 'open-rollout' });
    const result = await rollout.apply({ op: 'set-weights', weights: TO_CANARY });
    assert.equal(result.kind, 'refused');
    assert.match(result.kind === 'refused' ? result.reason : '', /there is no arm stable/);
    const odd = { ...scopeFor(gateway, 'r1'), lane: { environment: 'Not A Name', service: 'hello' } };
    const claim = await rollout.platform.claim({ ...odd, claimant: 'rollout', laneGeneration: 0 });
    assert.equal(claim.kind, 'refused');
  });
});
