import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Crowd } from '../../activities/crowd.js';

test('a few rollbacks go on at once; of many, each waits the longer the more there are, and never long', () => {
  const crowd = new Crowd();
  const waits = Array.from({ length: 300 }, (_, at) => {
    crowd.came(1000 + at);
    return crowd.holdBackMs(1000 + at);
  });
  assert.deepEqual(waits.slice(0, 6), [0, 0, 0, 0, 0, 1200]);
  assert.ok(waits.every((wait, at) => at === 0 || wait >= (waits[at - 1] ?? 0)));
  assert.equal(waits.at(-1), 30_000);
});

test('those of more than ten seconds ago are no crowd any more', () => {
  const crowd = new Crowd();
  for (let at = 0; at < 50; at++) crowd.came(at);
  assert.equal(crowd.holdBackMs(60), 10_000);
  crowd.came(20_000);
  assert.equal(crowd.holdBackMs(20_000), 0);
});
