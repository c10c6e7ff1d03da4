import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Crowd } from '../../../activities/watch/crowd.js';

test('a few go on at once', () => {
  const crowd = new Crowd();
  for (let at = 0; at < 5; at += 1) {
    crowd.came(at);
    assert.equal(crowd.leftMs(at, at + 100), 0);
  }
});

test('of many, each waits until none has come for two seconds, and ten seconds at most', () => {
  const crowd = new Crowd();
  for (let at = 0; at <= 5000; at += 100) crowd.came(at);
  assert.equal(crowd.leftMs(5000, 5000), 2000);
  assert.equal(crowd.leftMs(200, 5000), 2000);
  crowd.came(6900);
  assert.equal(crowd.leftMs(200, 7000), 1900);
  assert.equal(crowd.leftMs(200, 8900), 0);
  for (let at = 7000; at <= 12_000; at += 100) crowd.came(at);
  assert.equal(crowd.leftMs(3000, 12_000), 1000, 'ten seconds after its own cut');
  assert.equal(crowd.leftMs(3000, 13_000), 0);
});

test('those of more than ten seconds ago are no crowd any more', () => {
  const crowd = new Crowd();
  for (let at = 0; at < 50; at += 1) crowd.came(at);
  crowd.came(20_000);
  assert.equal(crowd.leftMs(20_000, 20_000), 0);
});
