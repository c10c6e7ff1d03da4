import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPace } from '../../../activities/kubernetes/pace.js';

test('a burst begins at once, the rest one after the other, and rest makes room again', async () => {
  const turn = createPace({ perSecond: 100, burst: 10 });
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
  const turn = createPace({ perSecond: 1, burst: 1 });
  await turn(undefined);
  const abort = new AbortController();
  const waiting = turn(abort.signal);
  abort.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
});
