/**
 * What takes longer on Kubernetes: releases that only statistics can tell from good ones; and many releases, one after
 * the other in four services at once, without trouble, and with a worker killed every few seconds. No user sees an error
 * that is not the release's own, and no key is ever applied twice.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Server } from '../../tools/supervise.js';
import { failedAnswers, kubeObstacle, startKubeWorld } from '../support/kube-world.js';
import type { KubeWorld } from '../support/kube-world.js';
import { stage, testRequest } from '../support/request.js';

const SERVICES = ['a', 'b', 'c', 'd'];
const ROUNDS = 5;
const PER_SECOND = 30;
/** Of a bad release this share of the answers fails. */
const BAD = '0.5';

describe('many releases on Kubernetes', { skip: await kubeObstacle() }, () => {
  let world: KubeWorld;
  before(async () => {
    world = await startKubeWorld(['errors', 'slow', ...SERVICES, ...SERVICES.map((name) => `${name}-killed`)]);
  });
  after(() => world?.stop());

  /** Promotes and rolls back in turn. Gives what was wrong, in words. */
  async function releases(namespace: string, rounds: number): Promise<readonly string[]> {
    const traffic = await world.serve(namespace, PER_SECOND);
    const policy = { ...world.policy(namespace, [stage(30, 4)]), verifyMs: 2000 };
    const wrong: string[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const good = await world.pilot.ship(testRequest({ policy, tag: `good${round}` }), 240_000);
      if (good.outcome !== 'completed') wrong.push(`good ${round}: ${good.outcome}: ${good.reason?.text}`);
      const env = { DEMO_ERROR_RATE: BAD };
      const bad = await world.pilot.ship(testRequest({ policy, tag: `bad${round}`, env }), 240_000);
      if (bad.outcome !== 'rolled-back') wrong.push(`bad ${round}: ${bad.outcome}: ${bad.reason?.text}`);
    }
    await traffic.stop();
    const strange = failedAnswers(traffic).filter((version) => !version.includes(':bad'));
    const twice = await world.appliedTwice(namespace);
    return [...wrong, ...strange.map((each) => `error of ${each}`), ...twice.map((each) => `twice: ${each}`)];
  }

  test('one with 5 % errors is rolled back, and all errors are its own', async () => {
    const traffic = await world.serve('errors', 50);
    // Statistics need their time at a small difference; a verdict comes long before the stage's end.
    const policy = world.policy('errors', [stage(50, 90)]);
    const view = await world.pilot.ship(testRequest({ policy, tag: 'v2', env: { DEMO_ERROR_RATE: '0.05' } }), 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.equal(view.reason?.code, 'verdict');
    const others = failedAnswers(traffic).filter((version) => !version.endsWith(':v2'));
    assert.deepEqual(others, []);
    assert.equal(traffic.answers.at(-1)?.version?.endsWith(':v1'), true);
    assert.deepEqual(await world.appliedTwice('errors'), []);
  });

  test('one that is slow is rolled back, and nobody sees an error', async () => {
    const traffic = await world.serve('slow', 50);
    const request = testRequest({ policy: world.policy('slow'), tag: 'v2', env: { DEMO_LATENCY_MS: '300' } });
    const view = await world.pilot.ship(request, 120_000);
    await traffic.stop();
    assert.equal(view.outcome, 'rolled-back', JSON.stringify(view.reason));
    assert.match(view.reason?.text ?? '', /took longer than/);
    assert.deepEqual(failedAnswers(traffic), []);
  });

  test('20 promotions and 20 rollbacks: none of the errors is the orchestration’s', async (t) => {
    const begunMs = Date.now();
    const wrong = await Promise.all(SERVICES.map((name) => releases(name, ROUNDS)));
    assert.deepEqual(wrong.flat(), []);
    const seconds = (Date.now() - begunMs) / 1000;
    t.diagnostic(`${SERVICES.length * ROUNDS} promotions and as many rollbacks in ${seconds.toFixed(0)} s`);
  });

  test('the same with a worker killed (kill -9) every few seconds', async (t) => {
    const { stack } = world;
    let alive: readonly Server[] = world.workers;
    let killed = 0;
    const ended = new AbortController();
    const killer = (async () => {
      while (!ended.signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, randomInt(2000, 6000)));
        const [oldest, ...rest] = alive;
        await oldest?.kill('SIGKILL');
        killed += 1;
        alive = [...rest, await stack.startWorker()];
      }
    })();
    const wrong = await Promise.all(SERVICES.map((name) => releases(`${name}-killed`, 2)));
    ended.abort();
    await killer;
    assert.deepEqual(wrong.flat(), []);
    t.diagnostic(`${SERVICES.length * 2} promotions and as many rollbacks, ${killed} workers killed`);
  });
});
