/** How long a rollback waits for a restored stable, and what ends that wait. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createPlatformActivities } from '../../activities/platform-activities.js';
import { Unavailable } from '../../activities/failures.js';
import type { Platform, PlatformScope } from '../../activities/platform.js';
import type { Digest } from '../../domain/canonical.js';
import type { ArmReadiness, LocalTarget, StableReadiness, TargetSnapshot } from '../../domain/target.js';

const SCOPE = { lane: { environment: 'test', service: 'hello' }, target: { platform: 'local' }, rolloutId: 'r' };
const OLD = 'sha256:old' as Digest;
const NEW = 'sha256:new' as Digest;

/** Ten of the canary have all users; of the ten of stable so many can serve, look by look, the last one from then on. */
async function waited(of: {
  readonly stable: readonly (number | 'failed' | 'away')[];
  readonly canary?: readonly number[];
  readonly forMs: number;
  readonly away?: boolean;
}): Promise<{ readonly result: StableReadiness; readonly tookMs: number }> {
  const { stable, canary = [10], forMs, away = true } = of;
  let looks = 0;
  let seen = 0;
  const at = <T>(list: readonly T[], index: number): T => list[Math.min(index, list.length - 1)] as T;
  const ready = (): number => {
    const now = at(stable, looks);
    return typeof now === 'number' ? now : 0;
  };
  const platform = {
    async readiness(): Promise<ArmReadiness> {
      const now = at(stable, looks++);
      if (now === 'away') throw new Unavailable('no answer');
      if (now === 'failed') return { kind: 'failed', message: 'ProgressDeadlineExceeded' };
      return now >= 10
        ? { kind: 'ready', replicas: now }
        : { kind: 'waiting', ready: now, wanted: 10, message: 'starting' };
    },
    async describe(): Promise<TargetSnapshot> {
      const arm = (templateDigest: Digest, serving: number) => ({
        templateDigest,
        version: 'v',
        replicas: 10,
        ready: serving,
        message: null,
      });
      return {
        arms: { stable: arm(OLD, ready()), canary: arm(NEW, at(canary, seen++)) },
        weights: { stable: 0, canary: 100, baseline: 0 },
        freeReplicas: null,
        autoscaled: false,
        anchor: null,
        recorded: { rolloutId: 'r', templateDigest: OLD, version: 'v1', replicas: 10 },
        recordLost: false,
      };
    },
  } as unknown as Platform<LocalTarget>;
  const { awaitStable } = createPlatformActivities({ platforms: { local: platform }, onEffect: () => undefined });
  const begunMs = Date.now();
  const call = { scope: SCOPE as PlatformScope, replicas: 10, untilMs: begunMs + forMs, away };
  const result = (await new MockActivityEnvironment().run(awaitStable, call)) as StableReadiness;
  return { result, tookMs: Date.now() - begunMs };
}

describe('a restored stable', { concurrency: true }, () => {
  it('is waited for also where it is said to have failed: that was the template before', async () => {
    const { result } = await waited({ stable: ['failed', 'failed', 'away', 4, 10], forMs: 60_000 });
    assert.deepEqual(result, { kind: 'ready' });
  });

  it('that is not there in time is said to be so, with how much of it serves', async () => {
    const { result } = await waited({ stable: [3], forMs: 400 });
    assert.deepEqual(result, { kind: 'waiting', ready: 3, wanted: 10, message: 'starting' });
  });

  it('is not waited for where nobody can answer any more, and for a moment’s state it is', async () => {
    const gone = await waited({ stable: [0], canary: [0], forMs: 60_000 });
    assert.match(gone.result.kind === 'nothing-to-lose' ? gone.result.text : '', /nobody can answer/);
    assert.ok(gone.tookMs >= 1000, `${gone.tookMs} ms: at the second look`);
    const moment = await waited({ stable: [0], canary: [0, 10], forMs: 2500 });
    assert.equal(moment.result.kind, 'waiting');
  });

  it('is not waited for where no more serve the users where they are', async () => {
    const { result } = await waited({ stable: [5], canary: [5], forMs: 60_000 });
    assert.match(result.kind === 'nothing-to-lose' ? result.text : '', /^5 of its replicas .* 5 have 100 %/);
  });

  it('that has its users already is waited for whatever serves elsewhere', async () => {
    const { result } = await waited({ stable: [5], canary: [0], forMs: 1500, away: false });
    assert.equal(result.kind, 'waiting');
  });
});
