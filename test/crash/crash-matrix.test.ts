import assert from 'node:assert/strict';
import test from 'node:test';
import { allPoints, MOMENTS, SCENARIOS, tryPoints } from '../support/crash-matrix.js';
import type { Point } from '../support/crash-matrix.js';
import { CRASH_WORKER } from '../support/crash-track.js';
import { startStack } from '../../tools/stack.js';
import { seededRandom } from '../domain/canary/simulate.js';

const SEED = Number(process.env['SLIPWAY_SEED'] ?? Date.now() % 1_000_000);

/** One point of each scenario, and each of the three moments twice. */
function sample(seed: number): readonly Point[] {
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const shift = Math.floor(random() * MOMENTS.length);
  return Object.keys(SCENARIOS).map((scenario, index) => {
    const moment = MOMENTS[(index + shift) % MOMENTS.length];
    return pick(allPoints().filter((point) => point.scenario === scenario && point.moment === moment));
  });
}

test('a worker killed at any write of a rollout costs nothing but time (sample)', { timeout: 240_000 }, async (t) => {
  const begunMs = Date.now();
  t.diagnostic(`seed ${SEED} (SLIPWAY_SEED=${SEED} tries the same points again)`);
  const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });
  t.after(() => stack.stop());
  const results = await tryPoints({ stack, points: sample(SEED), tracks: 2, say: (text) => t.diagnostic(text) });
  const failed = results.filter(({ error }) => error !== null);
  t.diagnostic(
    `crash matrix: ${results.length} of ${allPoints().length} points tried, ${failed.length} failed, in ${Math.round((Date.now() - begunMs) / 1000)} s`,
  );
  assert.equal(results.length, Object.keys(SCENARIOS).length);
  assert.deepEqual(failed, []);
});
