import assert from 'node:assert/strict';
import test from 'node:test';
import { allPoints, pointText, Runner, SCENARIOS, tryPoints } from '../support/crash-matrix.js';
import { CRASH_WORKER, CrashTrack, LONG_STAGE } from '../support/crash-track.js';
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

test(
  'a worker killed while it only looks or keeps records delays nothing for long',
  { timeout: 300_000 },
  async (t) => {
    const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });
    t.after(() => stack.stop());
    const track = await CrashTrack.start({ stack, name: 'looks' });
    /** Kills the worker that begins this activity next, and says when. */
    const killIn = (activity: string): { atMs: number | null } => {
      const killed: { atMs: number | null } = { atMs: null };
      track.proxy.set({
        moment: 'arrived',
        matches: ({ kind, sender }) => kind === 'starting' && sender?.activity === activity,
        async spring({ sender }) {
          await track.kill9(sender?.pid ?? 0);
          killed.atMs = Date.now();
          return 'drop';
        },
      });
      return killed;
    };
    const say = (what: string, { atMs }: { atMs: number | null }): void => {
      assert.ok(atMs !== null, `a worker was killed before it ${what}`);
      const ms = Date.now() - atMs;
      t.diagnostic(`killed while it ${what}: over after ${(ms / 1000).toFixed(1)} s`);
      assert.ok(ms < 40_000, `over after ${ms} ms`);
    };
    try {
      const service = track.newService();
      const first = track.request(service, 'v1', { verifyMs: 0 });
      await track.deploy(first);
      assert.equal((await track.result(first)).outcome, 'completed');

      const lost = track.request(service, 'v2', { stages: [LONG_STAGE] });
      await track.deploy(lost);
      await track.until(lost, 'the canary has traffic', ({ weights }) => weights?.canary === 25);
      const looked = killIn('inspectRun');
      await track.terminate(lost);
      assert.equal((await track.recovery(lost)).outcome, 'rolled-back');
      say('looked at the lost run', looked);

      await track.complete();
      const kept = killIn('recordRollout');
      const last = track.request(service, 'v3', { stages: [LONG_STAGE] });
      await track.deploy(last);
      await track.until(last, 'the canary has traffic', ({ weights }) => weights?.canary === 25);
      await track.abort(last);
      assert.equal((await track.result(last)).outcome, 'aborted');
      say('kept the record', kept);
    } finally {
      await track.close();
    }
  },
);

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
  const results = await tryPoints({ stack, points, tracks: TRACKS, say: (text) => process.stdout.write(`${text}\n`) });
  const failed = results.filter(({ error }) => error !== null);
  t.diagnostic(
    `crash matrix: ${results.length} points tried, ${failed.length} failed, in ${Math.round((Date.now() - begunMs) / 60_000)} min`,
  );
  assert.equal(results.length, points.length);
  assert.deepEqual(failed, []);
});
