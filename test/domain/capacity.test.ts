/** When stable can take all users back: as arithmetic. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { lackOf, leastFor, nothingToLose } from '../../domain/capacity.js';
import type { Digest } from '../../domain/canonical.js';
import type { ArmState, Weights } from '../../domain/target.js';

const recorded = (replicas: number) => ({
  rolloutId: 'r',
  templateDigest: 'sha256:old' as Digest,
  version: 'v1',
  replicas,
});
const arm = (templateDigest: string, replicas: number, ready: number): ArmState => ({
  templateDigest: templateDigest as Digest,
  version: 'v',
  replicas,
  ready,
  message: null,
});
const weights = (canary: number, baseline = 0): Weights => ({ stable: 100 - canary - baseline, canary, baseline });

describe('stable takes all users back', () => {
  test('with one replica fewer, or a quarter fewer, and never with none', () => {
    assert.deepEqual(
      [0, 1, 2, 3, 4, 7, 8, 10, 20].map((replicas) => leastFor(replicas)),
      [1, 1, 1, 2, 3, 6, 6, 8, 15],
    );
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 1000 }), (replicas) => {
        const least = leastFor(replicas);
        assert.ok(least >= 1 && least < replicas, 'one fewer is enough');
        assert.ok(least + 1 === replicas || 3 * replicas <= 4 * least, 'each has a third more at most');
      }),
    );
  });

  const of = (ready: number, replicas = 10) => ({ ready, replicas });

  test('with nine of ten, not with one of ten, unless it has three quarters of the traffic on that', () => {
    assert.equal(lackOf(of(9), recorded(10), weights(50)), null);
    assert.equal(lackOf(of(8), recorded(10), weights(100)), null);
    assert.match(
      lackOf(of(1), recorded(10), weights(50)) ?? '',
      /^1 of its replicas can serve, and 8 of the 10 .* needed/,
    );
    assert.match(lackOf(of(7), recorded(10), null) ?? '', /^7 of its/);
    assert.equal(lackOf(of(1), recorded(10), weights(25)), null);
    assert.match(lackOf(of(0), recorded(10), weights(1)) ?? '', /none/);
    // A moment after it was scaled down those that are about to go are ready still.
    assert.match(lackOf(of(10, 0), recorded(10), weights(1)) ?? '', /none/);
    assert.match(lackOf(of(10, 7), recorded(10), weights(50)) ?? '', /^7 of its/);
  });

  test('where they have nothing to lose: each replica there has no fewer users than each would have here', () => {
    const state = (there: number, here: number, split: Weights | null, stable = 'sha256:old') =>
      nothingToLose({
        arms: { stable: arm(stable, 10, here), canary: arm('sha256:new', 10, there) },
        weights: split,
        recorded: recorded(10),
      });
    assert.match(state(0, 0, weights(100)) ?? '', /nobody can answer/);
    assert.equal(state(10, 9, weights(100)), null);
    assert.match(state(2, 2, weights(100)) ?? '', /2 of its replicas .* 2 have 100 %/);
    assert.equal(state(3, 10, weights(25)), null);
    assert.match(state(2, 8, weights(25)) ?? '', /8 of its replicas/);
    // A fence was written a moment ago, and nothing is known of either.
    const unseen = { ...arm('sha256:new', 10, 0), unseen: true } as const;
    const arms = { stable: { ...unseen, templateDigest: 'sha256:old' as Digest }, canary: unseen };
    assert.equal(nothingToLose({ arms, weights: weights(100), recorded: recorded(10) }), null);
    // What runs the new version is not what they would go back to.
    assert.equal(state(2, 10, weights(100), 'sha256:new'), null);
    // Without weights the shares follow from what stands: nothing is known to be lost only where nothing serves.
    assert.equal(state(1, 10, null), null);
    assert.match(state(0, 1, null) ?? '', /nobody/);
  });
});
