import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPace } from '../../../activities/kubernetes/pace.js';
import type { Turn } from '../../../activities/kubernetes/pace.js';

const nothing = (): Promise<void> => Promise.resolve();

test('a burst begins at once, the rest one after the other, and rest makes room again', async () => {
  const turn = createPace({ perSecond: 100, burst: 10, atOnce: 100 }).work('usual');
  const begun = performance.now();
  const at = await Promise.all(
    Array.from({ length: 30 }, () => turn(() => Promise.resolve(performance.now() - begun), undefined)),
  );
  // A timer may be a millisecond early; late it may be by any time.
  assert.ok(
    at.slice(0, 10).every((ms) => ms < (at[10] ?? 0)),
    at.join(),
  );
  for (const [index, ms] of at.entries())
    assert.ok(ms >= (index + 1 - 10) * 10 - 2, `call ${index + 1} after ${ms} ms`);
  assert.deepEqual(
    at,
    at.toSorted((a, b) => a - b),
    'in order',
  );
  await new Promise((resolve) => setTimeout(resolve, 150));
  const again = performance.now();
  await Promise.all(Array.from({ length: 10 }, () => turn(nothing, undefined)));
  assert.ok(performance.now() - again < 10 * 10, 'a whole burst is there again');
});

test('who is cancelled while waiting does not call', async () => {
  const turn = createPace({ perSecond: 1, burst: 1, atOnce: 1 }).work('usual');
  await turn(nothing, undefined);
  const abort = new AbortController();
  let called = false;
  const waiting = turn(async () => {
    called = true;
  }, abort.signal);
  abort.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  assert.equal(called, false);
});

test('earlier work goes first, and what is urgent before all', async () => {
  const pace = createPace({ perSecond: 200, burst: 1, atOnce: 100 });
  await pace.work('usual')(nothing, undefined);
  const order: string[] = [];
  const call = (name: string, turn: Turn): Promise<unknown> => turn(async () => order.push(name), undefined);
  const [early, late] = [pace.work('usual'), pace.work('usual')];
  const [back, cut] = [pace.work('rollback'), pace.work('cut')];
  await Promise.all([
    call('late 1', late),
    call('early 1', early),
    call('back 1', back),
    call('late 2', late),
    call('cut 1', cut),
    call('early 2', early),
    call('back 2', back),
    call('cut 2', cut),
  ]);
  assert.deepEqual(order, ['cut 1', 'cut 2', 'back 1', 'back 2', 'early 1', 'early 2', 'late 1', 'late 2']);
});

test('only so many are under way, and whoever ends, well or not, makes room', async () => {
  const pace = createPace({ perSecond: 1000, burst: 1000, atOnce: 2 });
  const turn = pace.work('usual');
  const ends: (() => void)[] = [];
  let most = 0;
  let underWay = 0;
  const calls = Array.from({ length: 6 }, (_, index) =>
    turn(async () => {
      underWay += 1;
      most = Math.max(most, underWay);
      await new Promise<void>((resolve) => ends.push(resolve));
      underWay -= 1;
      if (index % 2 === 0) throw new Error('it failed');
      return index;
    }, undefined),
  );
  const settled = Promise.allSettled(calls);
  const order: string[] = [];
  const urgent = pace.work('cut')(async () => order.push(`with ${ends.length} begun before it`), undefined);
  for (let ended = 0; ended < 6; ended += 1) {
    while (ends.length <= ended) await new Promise((resolve) => setTimeout(resolve, 1));
    ends[ended]?.();
  }
  assert.deepEqual(
    (await settled).map(({ status }) => status),
    ['rejected', 'fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
  );
  await urgent;
  assert.equal(most, 2);
  assert.deepEqual(order, ['with 2 begun before it'], 'what is urgent has the first place that is free');
});
