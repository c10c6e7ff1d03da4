/** What has traffic beside stable grows with it, while it is watched. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { WatchCall } from '../../activities/contract.js';
import { until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { testRequest } from '../support/request.js';

let env: FakeEnv;
let pilot: Pilot;
before(async () => {
  env = await startFakeEnv();
  pilot = env.pilot;
});
after(() => env.stop());

/** Stable has two replicas when the plan is made, and this many as soon as stage `label` is watched, until that shall go on. */
function grows(
  world: World,
  label: string,
  stableReplicas: number,
): { goOn: (answer: 'PROMOTE' | 'ROLLBACK') => void } {
  let answer: 'PROMOTE' | 'ROLLBACK' | null = null;
  world.watch = (call: WatchCall) => {
    if (call.stage !== label) return allIsWell(call);
    if (call.fitsUpTo !== undefined && stableReplicas > call.fitsUpTo) return { kind: 'outgrown', stableReplicas };
    return answer === null ? 'wait' : { kind: 'verdict', verdict: verdict(answer), evidence: null };
  };
  return {
    goOn: (given) => {
      answer = given;
    },
  };
}

const startsOf = (world: World, label: string): readonly string[] =>
  world.gateway.journal.flatMap(({ key }) => (key?.includes(`/${label}/start-arm/`) === true ? [key] : []));

describe('stable that has outgrown the rest', { concurrency: 4 }, () => {
  test('in a stage: canary and baseline become larger, each once, and the stage goes on where it was', async () => {
    const world = await env.worldWithV1();
    const stage = grows(world, 'stage-1', 20);
    const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    const sizes = { canary: `${world.lane.service}:v2 x10`, baseline: `${world.lane.service}:v1 x10` };
    await until(
      'both are larger',
      () => world.arms['canary'] === sizes.canary && world.arms['baseline'] === sizes.baseline,
    );
    await until('it is watched on', () => world.watches.at(-1)?.fitsUpTo === 20);
    const watches = world.watches.filter((call) => call.stage === 'stage-1');
    assert.deepEqual(
      watches.map(({ fitsUpTo, startMs, mode }) => [fitsUpTo, startMs === watches[0]?.startMs, mode]),
      [
        [2, true, 'watch'],
        [20, true, 'watch'],
      ],
    );
    assert.deepEqual(
      startsOf(world, 'stage-1').map((key) => key.split('/').slice(-2).join('/')),
      ['canary/1', 'baseline/1', 'canary/2', 'baseline/2'],
    );
    stage.goOn('PROMOTE');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', view.reason?.text);
    assert.ok(view.timeline.some(({ text }) => text === 'stable has grown to 20: 10 of canary'));
  });

  test('in the verification: the canary, which has all traffic, becomes as large', async () => {
    const world = await env.worldWithV1();
    const stage = grows(world, 'verify', 5);
    const request = await pilot.deploy(testRequest({ policy: world.policy({ verifyMs: 60_000 }), tag: 'v2' }));
    await until('it is larger', () => world.arms['canary'] === `${world.lane.service}:v2 x5`);
    stage.goOn('PROMOTE');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v2 x5` }, 'what took over from it is no smaller');
  });

  test('a platform that does not answer keeps no watch waiting, and users leave a bad canary meanwhile', async () => {
    const world = await env.worldWithV1();
    const stage = grows(world, 'stage-1', 20);
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    let first = true;
    world.gateway.fault = async ({ method, path }) => {
      if (method !== 'PUT' || !path.endsWith('/arm/canary') || !first) return null;
      first = false;
      await new Promise((resolve) => setTimeout(resolve, 4000));
      return null;
    };
    await pilot.deploy(request);
    await until('it is watched on', () => world.watches.at(-1)?.fitsUpTo === 20);
    const beganMs = Date.now();
    stage.goOn('ROLLBACK');
    await until('users are back', () => world.weights?.stable === 100);
    assert.ok(Date.now() - beganMs < 3000, `${Date.now() - beganMs} ms`);
    assert.equal((await pilot.ended(request)).outcome, 'rolled-back');
    assert.deepEqual(world.arms, { stable: `${world.lane.service}:v1 x2` });
  });

  test('where there is no room for more, it is told, and the rest goes on as it was', async () => {
    const world = await env.worldWithV1();
    const stage = grows(world, 'stage-1', 20);
    world.gateway.fault = ({ method, path }) =>
      method === 'PUT' && path.includes('/arm/') && world.weights?.canary === 25
        ? new Response(JSON.stringify({ reason: 'Forbidden', message: 'no room for 10 replicas' }), { status: 403 })
        : null;
    const request = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v2' }));
    await until('it is watched on', () => world.watches.at(-1)?.fitsUpTo === 20);
    await pilot.until(request, 'it is told', ({ warnings }) => warnings.length >= 2);
    world.gateway.fault = null;
    stage.goOn('PROMOTE');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed', view.reason?.text);
    assert.match(view.warnings[0] ?? '', /canary could not grow to 10: .*no room for 10 replicas/);
  });
});
