/** Which way a rollback goes, from what stands. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Digest } from '../../domain/canonical.js';
import type { ArmState, TargetSnapshot } from '../../domain/target.js';
import { planRollBack } from '../../workflows/roll-back.js';

const OLD = 'sha256:old' as Digest;
const arm = (templateDigest: string, ready: number): ArmState => ({
  templateDigest: templateDigest as Digest,
  version: 'hello',
  replicas: 2,
  ready,
  message: null,
});
const SNAPSHOT: TargetSnapshot = {
  arms: { stable: arm(OLD, 2), canary: arm('sha256:new', 2) },
  weights: { stable: 75, canary: 25, baseline: 0 },
  freeReplicas: null,
  autoscaled: false,
  anchor: null,
  recorded: { rolloutId: 'r', templateDigest: OLD, version: 'hello', replicas: 2 },
  recordLost: false,
};
const steps = (change: Partial<TargetSnapshot>): readonly string[] =>
  planRollBack({ ...SNAPSHOT, ...change }).map((step) => (step.kind === 'effect' ? step.effect.op : step.kind));

describe('a rollback', () => {
  test('moves traffic first where stable can serve', () => {
    assert.deepEqual(steps({}), ['set-weights', 'remove-arm']);
  });

  test('keeps traffic where it is until stable can serve, unless nobody can answer there', () => {
    const stable = arm('sha256:new', 2);
    assert.deepEqual(steps({ arms: { ...SNAPSHOT.arms, stable } }), [
      'set-stable-template',
      'await-stable',
      'set-weights',
      'remove-arm',
    ]);
    for (const arms of [{ stable }, { stable, canary: arm('sha256:new', 0) }])
      assert.deepEqual(steps({ arms }).slice(0, 3), ['set-weights', 'set-stable-template', 'await-stable']);
  });

  test('moves traffic at once where stable lacks a replica, and gives it that back afterwards', () => {
    const recorded = { rolloutId: 'r', templateDigest: OLD, version: 'hello', replicas: 10 };
    const of = (ready: number, canary: number, replicas = ready) =>
      steps({
        recorded,
        arms: { stable: { ...arm(OLD, ready), replicas }, canary: { ...arm('sha256:new', 5), replicas: 5 } },
        weights: { stable: 100 - canary, canary, baseline: 0 },
      });
    const atOnce = ['set-weights', 'set-stable-template', 'remove-arm'];
    assert.deepEqual(of(9, 50), atOnce);
    assert.deepEqual(of(8, 100), atOnce);
    assert.deepEqual(of(1, 25), atOnce);
    const restored = ['set-stable-template', 'await-stable', 'set-weights', 'remove-arm'];
    assert.deepEqual(of(1, 50), restored);
    assert.deepEqual(of(4, 100), restored);
    assert.deepEqual(of(4, 100, 10), restored.slice(1), 'its size tells nothing where its replicas can’t serve');
  });

  test('goes by what serves where shares follow from the numbers of replicas', () => {
    const recorded = { rolloutId: 'r', templateDigest: OLD, version: 'hello', replicas: 10 };
    const of = (ready: number, canary: number) =>
      steps({
        recorded,
        arms: {
          stable: { ...arm(OLD, ready), replicas: 10 },
          canary: { ...arm('sha256:new', canary), replicas: canary },
        },
        weights: null,
      });
    assert.deepEqual(of(7, 1), ['set-weights', 'remove-arm'], 'stable has 7 of 8 users');
    assert.deepEqual(of(3, 3).slice(0, 2), ['await-stable', 'set-weights'], 'half of them are elsewhere');
  });

  test('of a run that was under way before that goes on as it began', () => {
    const recorded = { rolloutId: 'r', templateDigest: OLD, version: 'hello', replicas: 3 };
    const snapshot = { ...SNAPSHOT, recorded, arms: { stable: arm(OLD, 2), canary: arm('sha256:new', 2) } };
    const kinds = (byCapacity: boolean) =>
      planRollBack(snapshot, byCapacity).map((step) => (step.kind === 'effect' ? step.effect.op : step.kind));
    assert.deepEqual(kinds(false), ['set-stable-template', 'await-stable', 'set-weights', 'remove-arm']);
    assert.deepEqual(kinds(true), ['set-weights', 'set-stable-template', 'remove-arm']);
  });

  test('moves traffic also where the record is gone, and with it the canary', () => {
    assert.deepEqual(steps({ recorded: null, arms: { stable: arm(OLD, 2) } }), ['set-weights']);
    assert.deepEqual(steps({ recorded: null, weights: { stable: 100, canary: 0, baseline: 0 } }), ['remove-arm']);
  });
});
