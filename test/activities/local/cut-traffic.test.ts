/** The first write of most rollbacks, on a real gateway: when it is done, and when it must not be. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Permit } from '../../../domain/fence.js';
import { ALL_STABLE } from '../../../domain/target.js';
import type { Effect, EffectResult, LocalTarget } from '../../../domain/target.js';
import type { Gateway } from '../../../gateway/gateway.js';
import { admin, gatewayFor, journalOf, write } from '../../gateway/gateway-support.js';
import type { Rollout } from '../../support/rollout-steps.js';
import { APPLIED, fromRelease, rolloutFor, ship } from './rollout-support.js';

const ROUTE = 'objects/prod/hello/route/route';

describe('a cut of traffic', () => {
  const CANARY_25 = { stable: 75, canary: 25, baseline: 0 };
  const CUT: Effect = { op: 'cut-traffic' };

  /** A canary with a quarter of the traffic. */
  async function inCanary(t: TestContext): Promise<{ gateway: Gateway; rollout: Rollout<LocalTarget> }> {
    const gateway = await gatewayFor(t);
    await ship(gateway, 'r1', 'v1');
    const rollout = rolloutFor(gateway, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 1 });
    await rollout.ready('canary', 1);
    assert.deepEqual(await rollout.apply({ op: 'set-weights', weights: CANARY_25 }), APPLIED);
    return { gateway, rollout };
  }

  async function weights({ platform, scope }: Rollout<LocalTarget>): Promise<unknown> {
    return (await platform.describe(scope)).weights;
  }

  test('is one write, done once for its key', async (t) => {
    const { gateway, rollout } = await inCanary(t);
    const begun = (await journalOf(gateway)).length;
    const permit = rollout.permit(CUT, 'overwrite');
    const apply = (): Promise<EffectResult> => rollout.platform.apply(rollout.scope, CUT, permit);
    const kinds = (await Promise.all([apply(), apply(), apply()])).map(({ kind }) => kind).toSorted();
    assert.deepEqual(kinds, ['already', 'already', 'applied']);
    assert.deepEqual(
      (await journalOf(gateway)).slice(begun).map(({ verb, kind, name }) => `${verb} ${kind}/${name}`),
      ['replace route/route'],
    );
    assert.deepEqual(await weights(rollout), ALL_STABLE);
  });

  test('of a watch that was lost is harm to whoever watches next, and nothing of the version is begun after it', async (t) => {
    const { rollout } = await inCanary(t);
    const inspect = async () => (await rollout.platform.inspect(rollout.scope)).disturbances;
    assert.deepEqual(await inspect(), []);
    assert.deepEqual(await rollout.apply(CUT, 'overwrite'), APPLIED);
    const [found, ...more] = await inspect();
    assert.deepEqual(more, []);
    assert.equal(found?.kind, 'harm');
    assert.equal(found?.object, 'route');
    assert.match(found?.text ?? '', /sent users back to stable/);
    const full = { stable: 0, canary: 100, baseline: 0 };
    for (const forward of [
      { op: 'set-weights', weights: CANARY_25 },
      { op: 'set-weights', weights: full },
      { op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 2 },
      { op: 'set-stable-template', template: fromRelease('v2'), replicas: 1 },
    ] as const) {
      for (const onDrift of ['hold', 'overwrite'] as const) {
        const refused = await rollout.apply(forward, onDrift);
        assert.equal(refused.kind, 'refused', `${forward.op} ${onDrift}: ${JSON.stringify(refused)}`);
      }
    }
    assert.deepEqual(await weights(rollout), ALL_STABLE);
    // The way back goes on from there.
    await rollout.apply({ op: 'raise-fence' });
    assert.deepEqual(await rollout.apply({ op: 'set-weights', weights: ALL_STABLE }), APPLIED);
    assert.deepEqual(await rollout.apply({ op: 'remove-arm', arm: 'canary' }), APPLIED);
  });

  test('of a watch that was thought dead comes to nothing: not in a later stage, not after the end, not in the next rollout', async (t) => {
    const { gateway, rollout } = await inCanary(t);
    const permit = rollout.permit(CUT, 'overwrite');
    const late = (): Promise<EffectResult> => rollout.platform.apply(rollout.scope, CUT, permit);
    const half = { stable: 50, canary: 50, baseline: 0 };
    await rollout.apply({ op: 'set-weights', weights: half });
    assert.equal((await late()).kind, 'stale');
    assert.deepEqual(await weights(rollout), half);

    await rollout.apply({ op: 'set-weights', weights: ALL_STABLE });
    await rollout.apply({ op: 'remove-arm', arm: 'canary' });
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' });
    const begun = (await journalOf(gateway)).length;
    assert.equal((await late()).kind, 'declined');
    assert.equal((await journalOf(gateway)).length, begun);

    const next = rolloutFor(gateway, 'r3');
    await next.claim();
    await next.apply({ op: 'open-rollout' });
    await next.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v3'), replicas: 1 });
    await next.ready('canary', 1);
    await next.apply({ op: 'set-weights', weights: CANARY_25 });
    assert.ok(['stale', 'declined'].includes((await late()).kind));
    assert.deepEqual(await weights(next), CANARY_25);
  });

  test('refuses late writers of the route, and the fence that follows those of all else', async (t) => {
    const { rollout } = await inCanary(t);
    const late: readonly Effect[] = [
      { op: 'set-weights', weights: { stable: 50, canary: 50, baseline: 0 } },
      { op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 2 },
      { op: 'set-stable-template', template: fromRelease('v2'), replicas: 1 },
    ];
    const permits = late.map((effect) => rollout.permit(effect));
    const tryLate = (index: number): Promise<EffectResult> =>
      rollout.platform.apply(rollout.scope, late[index] as Effect, permits[index] as Permit);
    assert.deepEqual(await rollout.apply(CUT, 'overwrite'), APPLIED);
    assert.equal((await tryLate(0)).kind, 'stale');
    assert.deepEqual(await rollout.apply({ op: 'raise-fence' }, 'overwrite'), APPLIED);
    for (const index of late.keys()) assert.equal((await tryLate(index)).kind, 'stale');
    assert.deepEqual(await weights(rollout), ALL_STABLE);
  });

  test('where the value is right already, it still leaves its fence and its key', async (t) => {
    const { rollout } = await inCanary(t);
    const late = rollout.permit({ op: 'set-weights', weights: CANARY_25 });
    await rollout.apply({ op: 'set-weights', weights: ALL_STABLE });
    assert.deepEqual(await rollout.apply(CUT, 'overwrite'), APPLIED);
    const result = await rollout.platform.apply(rollout.scope, { op: 'set-weights', weights: CANARY_25 }, late);
    assert.equal(result.kind, 'stale');
  });

  test('of a run that somebody else has taken over is refused, also where the route was not fenced yet', async (t) => {
    const { gateway, rollout } = await inCanary(t);
    const late = rollout.permit(CUT, 'overwrite');
    const { body: route } = await admin(gateway, 'GET', ROUTE);
    await rollout.claim('recover');
    await rollout.apply({ op: 'raise-fence' }, 'overwrite');
    // The anchor is the first object that is fenced: as if the others were still to come.
    const { body: fenced } = await admin(gateway, 'GET', ROUTE);
    await admin(gateway, 'PUT', `${ROUTE}?revision=${fenced.revision}`, write(route.spec, null, route.annotations));
    const result = await rollout.platform.apply(rollout.scope, CUT, late);
    assert.deepEqual([result.kind, 'object' in result && result.object], ['stale', 'rollout-r2']);
  });

  test('declines, and writes nothing, where stable is not what it was or can’t serve', async (t) => {
    const { gateway, rollout } = await inCanary(t);
    const declined = async (why: RegExp): Promise<void> => {
      const begun = (await journalOf(gateway)).length;
      const result = await rollout.apply(CUT, 'overwrite');
      assert.equal(result.kind, 'declined', JSON.stringify(result));
      assert.match(result.kind === 'declined' ? result.reason : '', why);
      assert.equal((await journalOf(gateway)).length, begun);
    };
    await rollout.apply({ op: 'set-stable-template', template: fromRelease('v2'), replicas: 1 });
    await declined(/stable runs template \w+, it ran \w+/);
    await rollout.apply({ op: 'set-stable-template', template: { from: 'recorded' }, replicas: 1 });
    await rollout.ready('stable', 1);
    assert.deepEqual(await rollout.apply(CUT, 'overwrite'), APPLIED, 'as it was recorded it may be again');

    const { body: route } = await admin(gateway, 'GET', ROUTE);
    await admin(gateway, 'DELETE', `${ROUTE}?revision=${route.revision}`);
    await declined(/there is no route/);
    const anchor = 'objects/prod/hello/anchor/rollout-r2';
    const { body: held } = await admin(gateway, 'GET', anchor);
    await admin(gateway, 'DELETE', `${anchor}?revision=${held.revision}`);
    await declined(/the rollout's anchor is gone/);
  });

  test('declines for a first release: nothing served before', async (t) => {
    const gateway = await gatewayFor(t);
    const rollout = rolloutFor(gateway, 'r1');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'set-stable-template', template: fromRelease('v1'), replicas: 1 });
    await rollout.apply({ op: 'set-weights', weights: ALL_STABLE });
    assert.deepEqual(await rollout.apply(CUT, 'overwrite'), { kind: 'declined', reason: 'nothing served before' });
  });
});
