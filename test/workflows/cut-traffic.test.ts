/** A rollback sends users back to stable before anything else, wherever that is one write and stable can serve. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { WatchCall } from '../../activities/contract.js';
import { createLocalPlatform } from '../../activities/local/local-platform.js';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { LocalTarget } from '../../domain/target.js';
import { until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { refusal } from '../support/memory-gateway.js';
import { kubeTarget, testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

/** What the way back has written, in order: `cut-traffic route weights 100/0/0`. */
function wayBack(world: World, { rolloutId }: RolloutRequest): readonly string[] {
  const prefix = `${rolloutId}/rollback/`;
  return world.gateway.journal.flatMap(({ key, name, change }) =>
    key?.startsWith(prefix) === true ? [`${key.slice(prefix.length).split('/')[0]} ${name} ${change}`] : [],
  );
}

/** Those of them that cut the traffic. */
function cutsOf(world: World, request: RolloutRequest): readonly string[] {
  return wayBack(world, request).filter((write) => write.includes('cut-traffic'));
}

/** The new version is worse, in the stage that is named. */
function badIn(world: World, label: string): void {
  world.watch = (call: WatchCall) =>
    call.stage === label ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'worse'), evidence: null } : allIsWell(call);
}

const CUT = 'cut-traffic route weights 100/0/0';

describe('the way back', { concurrency: 6 }, () => {
  for (const [label, watchesCut] of [
    ['stage-1', true],
    ['stage-2', true],
    ['verify', true],
    ['stage-1', false],
    ['verify', false],
  ] as const) {
    test(`after ROLLBACK in ${label}, the first write is the weight, and there is one${watchesCut ? '' : '; also where the watch got no answer'}`, async () => {
      const world = await env.worldWithV1();
      world.watchesCut = watchesCut;
      badIn(world, label);
      const request = testRequest({ policy: world.policy({ verifyMs: 5000 }), tag: 'v2' });
      const view = await pilot.ship(request);
      assert.equal(view.outcome, 'rolled-back');
      const writes = wayBack(world, request);
      assert.deepEqual(cutsOf(world, request), [CUT]);
      assert.equal(writes[0], CUT);
      assert.match(writes[1] ?? '', /^raise-fence rollout-/, 'and then all objects are fenced, the anchor first');
      const fenced = writes.filter((write) => write.startsWith('raise-fence')).map((write) => write.split(' ')[1]);
      assert.ok(
        ['route', 'canary', 'stable'].every((name) => fenced.includes(name)),
        fenced.join(),
      );
      assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
      assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
    });
  }

  for (const watchesCut of [true, false])
    test(`its first activity is ${watchesCut ? 'the fence, for the watch has made the cut' : 'the cut'}`, async () => {
      const world = await env.worldWithV1();
      world.watchesCut = watchesCut;
      const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
      badIn(world, 'stage-1');
      await pilot.ended(request);
      const { events } = await pilot.handle(request).fetchHistory();
      const called = (events ?? []).flatMap(
        ({ activityTaskScheduledEventAttributes: scheduled }) => scheduled?.activityType?.name ?? [],
      );
      const effects = called
        .slice(called.lastIndexOf('watch') + 1)
        .filter((name) => !['notify', 'appendTrail'].includes(name));
      const cut = watchesCut ? [] : ['cutTraffic'];
      assert.deepEqual(effects.slice(0, cut.length + 3), [...cut, 'raiseFence', 'describeTarget', 'setWeights']);
      // Nothing at all is before it, not even the trail's account of the verdict.
      if (!watchesCut) assert.equal(called[called.lastIndexOf('watch') + 1], 'cutTraffic');
    });

  test('harm that the platform shows goes the same way, and a person who stops the rollout', async () => {
    const harmed = await env.worldWithV1();
    harmed.watch = () => ({
      kind: 'disturbed',
      disturbance: { kind: 'harm', object: 'canary', text: 'it has traffic, and it is gone', passing: false },
    });
    const request = testRequest({ policy: harmed.policy(), tag: 'v2' });
    assert.equal((await pilot.ship(request)).outcome, 'rolled-back');
    assert.equal(wayBack(harmed, request)[0], CUT);

    const calm = await env.worldWithV1();
    const stopped = await env.inCanary(calm, testRequest({ policy: calm.policy(), tag: 'v2' }));
    await pilot.decide(stopped, 'abort');
    assert.equal((await pilot.ended(stopped)).outcome, 'aborted');
    assert.deepEqual(cutsOf(calm, stopped), [CUT]);
  });

  test('a watch that has sent users back and is stopped before its word came is not cut a second time', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    await until('it is watched', () => world.watches.length > 0);
    const [call] = world.watches.slice(-1);
    assert.ok(call?.cut != null);
    const platform = createLocalPlatform({ gateways: [], fetch: world.gateway.fetch });
    const scope = { ...call.scope, target: request.policy.target as LocalTarget };
    const cut = await platform.apply(scope, { op: 'cut-traffic' }, call.cut);
    assert.equal(cut.kind, 'applied');
    await pilot.decide(request, 'abort');
    assert.equal((await pilot.ended(request)).outcome, 'aborted');
    assert.deepEqual(cutsOf(world, request), [CUT]);
  });

  for (const verb of ['promote', 'resume'] as const) {
    test(`a person who says ${verb} in the moment in which a watch sends users back does not bring them to the bad version again`, async () => {
      const world = await env.worldWithV1();
      const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
      if (verb === 'resume') await pilot.decide(request, 'pause');
      const mode = verb === 'resume' ? 'guard' : 'watch';
      await until('it is watched', () => world.watches.at(-1)?.mode === mode);
      const call = world.watches.at(-1);
      assert.ok(call?.cut != null);
      const platform = createLocalPlatform({ gateways: [], fetch: world.gateway.fetch });
      const scope = { ...call.scope, target: request.policy.target as LocalTarget };
      assert.equal((await platform.apply(scope, { op: 'cut-traffic' }, call.cut)).kind, 'applied');
      world.watch = ({ stage: name }) =>
        name === 'stage-1' && verb === 'resume'
          ? { kind: 'verdict', verdict: verdict('PROMOTE', 'all is well'), evidence: null }
          : 'wait';
      await pilot.decide(request, verb);
      const view = await pilot.ended(request);
      assert.equal(view.outcome, 'rolled-back', view.reason?.text);
      assert.match(view.reason?.text ?? '', /a watch that saw harm has sent users back to stable/);
      assert.deepEqual(cutsOf(world, request), [CUT]);
      assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
    });
  }

  test('where no replica of stable can serve, traffic stays until one can', async () => {
    const world = await env.worldWithV1();
    const stable = `${world.lane.service}:v1`;
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.neverReady.add(stable);
    const waiting = world.hold('awaitStable');
    badIn(world, 'stage-1');
    await until('it waits for stable', () => waiting.entered > 0);
    assert.equal(world.weights?.canary, 25, 'users are not sent to what can’t answer');
    assert.deepEqual(
      wayBack(world, request).filter((write) => !write.startsWith('raise-fence')),
      [],
    );
    world.gateway.neverReady.delete(stable);
    await waiting.release();
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'rolled-back');
    assert.deepEqual(world.weights, { stable: 100, canary: 0, baseline: 0 });
    const said = view.timeline.find(({ text }) => text.startsWith("traffic can't go back"));
    assert.match(said?.text ?? '', /stable: none of its replicas can serve/);
  });

  test('where stable runs something else, it is restored before traffic goes there', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const hotfix = (spec: object): object => ({ ...spec, template: { ...templateOf(spec), version: 'hello:hotfix' } });
    world.gateway.meddle('arm', 'stable', hotfix);
    badIn(world, 'stage-1');
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    const writes = wayBack(world, request).filter((write) => !write.startsWith('raise-fence'));
    assert.deepEqual(writes.slice(0, 2), ['set-stable-template stable replace', 'set-weights route weights 100/0/0']);
  });

  test('where stable was made one smaller, traffic goes first and its size is given back afterwards', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.meddle('arm', 'stable', (spec: object) => ({ ...spec, replicas: 1 }));
    badIn(world, 'stage-1');
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    const writes = wayBack(world, request).filter((write) => !write.startsWith('raise-fence'));
    assert.equal(writes[0], CUT);
    assert.ok(writes.includes('set-stable-template stable replace'), writes.join());
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });

  test('a cut that is refused for good leaves the rest of the way back to be tried', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    let refused = 0;
    world.gateway.fault = ({ method, path }) =>
      method === 'PUT' && path.endsWith('/route/route') && refused++ === 0
        ? refusal(403, 'Forbidden', 'not on Fridays')
        : null;
    badIn(world, 'stage-1');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'rolled-back');
    assert.ok(view.warnings.some((text) => /traffic could not go back at once: .*not on Fridays/.test(text)));
    assert.match(wayBack(world, request)[0] ?? '', /^raise-fence/);
  });

  test('drift of the weights is written over at once, and told', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    world.gateway.meddle('route', 'route', () => ({ weights: { stable: 10, canary: 90, baseline: 0 } }));
    badIn(world, 'stage-1');
    const view = await pilot.ended(request);
    assert.equal(wayBack(world, request)[0], CUT);
    assert.ok(view.warnings.some((text) => /wrote over a change by somebody else: route: found .*90/.test(text)));
  });

  test('a claim that was lost to a newer generation is taken again, and the fence is raised before the cut', async () => {
    const world = await env.worldWithV1();
    const request = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const cutting = world.hold('cutTraffic', { first: 1 });
    badIn(world, 'stage-1');
    await until('it cuts', () => cutting.entered > 0);
    // As a run that was reset leaves it: its former self went on, and wrote newer fences.
    const route = world.gateway.object('route', 'route');
    assert.ok(route !== null);
    const annotations = { ...route.annotations, 'slipway.dev/fence': '2.900' };
    const answer = await world.gateway.fetch(
      `${world.gateway.url}/v1/objects/test/${world.lane.service}/route/route?revision=${route.revision}`,
      { method: 'PUT', body: JSON.stringify({ spec: route.spec, annotations, owner: route.owner }) },
    );
    assert.equal(answer.status, 200);
    await cutting.release();
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    const writes = wayBack(world, request);
    assert.match(writes[0] ?? '', /^raise-fence rollout-/);
    assert.ok(writes.includes(CUT));
    assert.ok(writes.indexOf(CUT) < writes.findIndex((write) => write.startsWith('remove-arm')));
  });
});

describe('no cut is even tried', { concurrency: 6 }, () => {
  /** Ships what goes back, and says how often a cut was begun. */
  async function cuts(world: World, request: RolloutRequest): Promise<number> {
    const hold = world.hold('cutTraffic');
    await pilot.deploy(request);
    await until('it ends, or cuts', async () => hold.entered > 0 || (await pilot.view(request))?.outcome != null);
    await hold.release();
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    return hold.entered;
  }

  test('before any user was sent to the new version', async () => {
    const world = await env.worldWithV1();
    world.gateway.neverReady.add(`${world.lane.service}:v2`);
    assert.equal(await cuts(world, testRequest({ policy: world.policy(), tag: 'v2' })), 0);
  });

  test('once the new version is copied to stable', async () => {
    const world = await env.worldWithV1();
    world.gateway.fault = ({ method, path }) => {
      if (method === 'PUT' && path.endsWith('/arm/stable') && world.weights?.canary === 100)
        world.gateway.neverReady.add(`${world.lane.service}:v2`);
      return null;
    };
    assert.equal(await cuts(world, testRequest({ policy: world.policy({ verifyMs: 0 }), tag: 'v2' })), 0);
  });

  test('of a promotion in place', async () => {
    const world = await env.worldWithV1();
    world.gateway.fault = ({ method, path }) => {
      if (method === 'PUT' && path.endsWith('/arm/stable') && world.weights?.canary === 50)
        world.gateway.neverReady.add(`${world.lane.service}:v2`);
      return null;
    };
    assert.equal(await cuts(world, testRequest({ policy: world.policy({ promote: 'in-place' }), tag: 'v2' })), 0);
  });

  test('of a first release', async () => {
    const world = env.worlds.add();
    badIn(world, 'verify');
    assert.equal(await cuts(world, testRequest({ policy: world.policy({ verifyMs: 5000 }), tag: 'v1' })), 0);
  });

  test('where shares follow from the numbers of replicas', async () => {
    const world = await env.worldWithV1();
    badIn(world, 'stage-1');
    const target = kubeTarget({ namespace: world.lane.service, route: { kind: 'none', maxExcessPoints: 100 } });
    const policy: Policy = { ...world.policy({ compareWith: 'stable' }), target };
    assert.equal(await cuts(world, testRequest({ policy, tag: 'v2' })), 0);
  });
});

function templateOf(spec: object): object {
  return (spec as { template: object }).template;
}
