/**
 * Temporal no longer knows what a rollout was about to do: its run is reset, run and lane are terminated, the database is
 * emptied. What is kept on the platform is enough to roll back: tests for any platform.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ensureSetup } from '../../client/setup.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { Traffic } from '../../tools/traffic.js';
import { laneWorkflowId, RECONCILE_SCHEDULE_ID } from '../../workflows/messages.js';
import { assertAtRest } from './crash-matrix.js';
import type { CrashSite, StableState } from './crash-site.js';
import { CrashTrack, LONG_STAGE } from './crash-track.js';
import { appliedTwice, until } from './drive.js';
import { currentRun, resetRun } from './reset.js';

const TRACK = 'lost';
const SERVICES = 3;

interface InCanary {
  readonly service: string;
  readonly request: RolloutRequest;
  readonly generation: number;
  /** Stable as it was before. */
  readonly stable: StableState | null;
  readonly traffic: Traffic | null;
}

/** Registers the tests. @param skip why they can't run here, or false */
export function lostRunTests(start: () => Promise<CrashSite>, skip: string | false): void {
  let site: CrashSite;
  let track: CrashTrack;

  before(async () => {
    if (skip !== false) return;
    site = await start();
    const services = Array.from({ length: SERVICES }, (_, index) => `slipway/${TRACK}-${index + 1}`);
    track = await CrashTrack.start({ site, name: TRACK, env: { SLIPWAY_KUBERNETES: services.join(',') } });
  });
  after(async () => {
    await track?.close();
    await site?.stop();
  });

  /** A rollout whose canary has traffic, and stays there. */
  async function inCanary(): Promise<InCanary> {
    const service = track.newService();
    await track.seed(service, 'v1');
    const { stable } = await track.state(service);
    const traffic = site.traffic(service);
    const request = track.request(service, 'v2', { stages: [LONG_STAGE] });
    await track.deploy(request);
    const { generation } = await track.until(
      request,
      'the canary has traffic',
      ({ weights }) => weights?.canary === 25,
    );
    assert.deepEqual(await site.weights(service), { stable: 50, canary: 25, baseline: 25 });
    return { service, request, generation: generation ?? 0, stable, traffic };
  }

  /** All is as it was before the rollout, each key was applied once, and the lane takes the next release. */
  async function assertRolledBack({ service, request, generation, stable, traffic }: InCanary): Promise<void> {
    await assertAtRest(track, service);
    const state = await track.state(service);
    assert.deepEqual(state.stable, stable, 'stable is as it was');
    assert.deepEqual(state.weights, { stable: 100, canary: 0, baseline: 0 });
    const lane = state.lane as { readonly generation: number; readonly ended: readonly { rolloutId: string }[] };
    assert.ok(lane.generation > generation, 'it was rolled back under a new generation');
    assert.equal(lane.ended.at(-1)?.rolloutId, request.rolloutId);
    assert.deepEqual(appliedTwice(await track.journal(service)), [], 'each key is applied once');
    const next = track.request(service, 'v3', { stages: [] });
    await track.deploy(next);
    const { outcome, reason } = await track.result(next);
    assert.equal(outcome, 'completed', reason.text);
    await traffic?.stop();
    assert.deepEqual(traffic?.answers.filter(({ ok }) => !ok) ?? [], []);
  }

  /** What the schedule does every minute, at once. */
  async function reconcile(): Promise<void> {
    await track.slipway.client.schedule.getHandle(RECONCILE_SCHEDULE_ID).trigger();
  }

  describe('a run is lost', { skip, concurrency: 2 }, () => {
    test('reset to its begin in mid-canary, then aborted: rolled back under a new generation', async () => {
      const lost = await inCanary();
      const { request, generation } = lost;
      await resetRun(track.slipway, request, await currentRun(track.slipway, request), 0);
      await track.until(
        request,
        'the new run is in the canary',
        (view) => (view.generation ?? 0) > generation && view.weights?.canary === 25,
      );
      await track.abort(request);
      assert.equal((await track.result(request)).outcome, 'aborted');
      await assertRolledBack(lost);
    });

    test('run and lane are terminated in mid-canary: reconcile finds the anchor, and has it recovered', async () => {
      const lost = await inCanary();
      const { request } = lost;
      await track.slipway.client.workflow.getHandle(laneWorkflowId(request.policy.lane)).terminate('for the test');
      await track.terminate(request);
      await reconcile();
      assert.equal((await track.recovery(request)).outcome, 'rolled-back');
      await assertRolledBack(lost);
    });
  });

  // Last, and alone: all that Temporal knew is gone.
  test(
    'Temporal loses all its data in mid-canary: reconcile finds the anchor, and has it recovered',
    { skip },
    async () => {
      const lost = await inCanary();
      const { request } = lost;
      await site.temporal.kill9();
      await site.temporal.restart();
      await until('the new server knows nothing', async () => (await track.slipway.lane(request.policy.lane)) === null);
      // What a worker does every minute.
      await ensureSetup(track.slipway.client, { taskQueue: track.slipway.taskQueue });
      await reconcile();
      assert.equal((await track.recovery(request)).outcome, 'rolled-back');
      await assertRolledBack(lost);
    },
  );
}
