import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { Unavailable } from '../../activities/failures.js';
import { createPlatformActivities } from '../../activities/platform-activities.js';
import type { Platform } from '../../activities/platform.js';
import type { Permit } from '../../domain/fence.js';
import { ALL_STABLE } from '../../domain/target.js';
import { kubeTarget } from '../support/request.js';

/** A platform behind a proxy that sends everybody away for so long. */
function awayFor(retryAfterMs: number) {
  const away = (): never => {
    throw new Unavailable('503', retryAfterMs);
  };
  const platform = { apply: away, describe: away, claim: away, preflight: away } as unknown as Platform;
  return createPlatformActivities({
    platforms: { local: platform, kubernetes: platform },
    onEffect: () => assert.fail(),
  });
}

const scope = { lane: { environment: 'prod', service: 'hello' }, target: kubeTarget(), rolloutId: 'r1' };
const permitFor = (onDrift: Permit['onDrift']): Permit => ({
  key: 'r1/a/b/c/1' as Permit['key'],
  fence: { generation: 1, step: 1 },
  onDrift,
});

/** After how long each of them is done again, ms. */
async function pauses(retryAfterMs: number) {
  const { cutTraffic, setStableTemplate, setWeights, describeTarget, preflight } = awayFor(retryAfterMs);
  const restore = { op: 'set-stable-template', template: { from: 'recorded' }, replicas: 1 } as const;
  const weights = { op: 'set-weights', weights: ALL_STABLE } as const;
  const delayOf = async (work: () => Promise<unknown>): Promise<unknown> => {
    try {
      await new MockActivityEnvironment({ startToCloseTimeoutMs: 5000 }).run(work);
    } catch (error) {
      assert.ok(error instanceof ApplicationFailure, String(error));
      return error.nextRetryDelay;
    }
    return assert.fail('it did not fail');
  };
  return {
    cut: await delayOf(() => cutTraffic({ scope, effect: { op: 'cut-traffic' }, permit: permitFor('hold') })),
    restore: await delayOf(() => setStableTemplate({ scope, effect: restore, permit: permitFor('overwrite') })),
    look: await delayOf(() => describeTarget(scope)),
    forward: await delayOf(() => setWeights({ scope, effect: weights, permit: permitFor('hold') })),
    preflight: await delayOf(() => preflight({ scope, needs: { replicas: 1, shares: [] } })),
  };
}

test('a platform’s word on when to come back is kept to, but a proxy that says ten minutes keeps no rollback', async () => {
  assert.deepEqual(await pauses(3000), { cut: 3000, restore: 3000, look: 3000, forward: 3000, preflight: 3000 });
  const most = { cut: 10_000, restore: 10_000, look: 10_000, forward: 60_000, preflight: 60_000 };
  assert.deepEqual(await pauses(600_000), most);
});
