import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPace } from '../../../activities/kubernetes/pace.js';
import type { Turn } from '../../../activities/kubernetes/pace.js';

test('a burst begins at once, the rest one after the other, and rest makes room again', async () => {
  const turn = createPace({ perSecond: 100, burst: 10 }).work(false);
  const begun = performance.now();
  const at = await Promise.all(
    Array.from({ length: 30 }, async () => {
      await turn(undefined);
      return performance.now() - begun;
    }),
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
  await Promise.all(Array.from({ length: 10 }, () => turn(undefined)));
  assert.ok(performance.now() - again < 10 * 10, 'a whole burst is there again');
});

test('who is cancelled while waiting does not call', async () => {
  const turn = createPace({ perSecond: 1, burst: 1 }).work(false);
  await turn(undefined);
  const abort = new AbortController();
  const waiting = turn(abort.signal);
  abort.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
});

test('earlier work goes first, and what is urgent before all', async () => {
  const pace = createPace({ perSecond: 200, burst: 1 });
  await pace.work(false)(undefined);
  const order: string[] = [];
  const call = async (name: string, turn: Turn): Promise<void> => {
    await turn(undefined);
    order.push(name);
  };
  const [early, late, urgent] = [pace.work(false), pace.work(false), pace.work(true)];
  await Promise.all([
    call('late 1', late),
    call('early 1', early),
    call('late 2', late),
    call('urgent 1', urgent),
    call('early 2', early),
    call('urgent 2', urgent),
  ]);
  assert.deepEqual(order, ['urgent 1', 'urgent 2', 'early 1', 'early 2', 'late 1', 'late 2']);
});
