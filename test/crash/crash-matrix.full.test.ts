import assert from 'node:assert/strict';
import test from 'node:test';
import { startLocalSite } from '../support/crash-site.js';
import { fullMatrixTest } from '../support/crash-tests.js';
import { CrashTrack, LONG_STAGE } from '../support/crash-track.js';

fullMatrixTest({ platform: 'local', start: startLocalSite, skip: false, tracks: 3 });

test(
  'a worker killed while it only looks or keeps records delays nothing for long',
  { timeout: 300_000 },
  async (t) => {
    const site = await startLocalSite();
    t.after(() => site.stop());
    const track = await CrashTrack.start({ site, name: 'looks' });
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
      await track.seed(service, 'v1');

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
