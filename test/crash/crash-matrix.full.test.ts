import assert from 'node:assert/strict';
import test from 'node:test';
import { allPoints, pointText, Runner, SCENARIOS, tryPoints } from '../support/crash-matrix.js';
import { CRASH_WORKER, CrashTrack } from '../support/crash-track.js';
import { startStack } from '../../tools/stack.js';
import { seededRandom } from '../domain/canary/simulate.js';

const SEED = Number(process.env['SLIPWAY_SEED'] ?? Date.now() % 1_000_000);
/** Only points whose text contains this. */
const ONLY = process.env['SLIPWAY_CRASH_ONLY'] ?? '';
const TRACKS = 3;

test('without a crash every scenario writes what the matrix says that it writes', { timeout: 300_000 }, async (t) => {
  const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });
  t.after(() => stack.stop());
  const track = await CrashTrack.start({ stack, name: 'dry' });
  const runner = new Runner(track, stack);
  try {
    for (const scenario of Object.keys(SCENARIOS)) {
      const error = await runner.run(scenario, null);
      assert.ok(error === null, `${scenario}: ${error}`);
    }
  } finally {
    await track.close();
  }
});

test('a worker killed at any write of a rollout costs nothing but time', { timeout: 45 * 60_000 }, async (t) => {
  const begunMs = Date.now();
  const random = seededRandom(SEED);
  const points = allPoints()
    .filter((point) => pointText(point).includes(ONLY))
    .map((point) => ({ point, place: random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ point }) => point);
  t.diagnostic(`seed ${SEED} (SLIPWAY_SEED=${SEED} tries the points in the same order)`);
  const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });
  t.after(() => stack.stop());
  const results = await tryPoints({ stack, points, tracks: TRACKS, say: (text) => t.diagnostic(text) });
  const failed = results.filter(({ error }) => error !== null);
  t.diagnostic(
    `crash matrix: ${results.length} points tried, ${failed.length} failed, in ${Math.round((Date.now() - begunMs) / 60_000)} min`,
  );
  assert.equal(results.length, points.length);
  assert.deepEqual(failed, []);
});
