import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CancelledFailure } from '@temporalio/activity';
import { ActivityNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { ActivityCancellationDetails } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { outliving } from '../../activities/outliving.js';
import type { Standing } from '../../activities/outliving.js';
import { until } from '../support/drive.js';

type Heard = 'unanswered' | 'wanted' | 'not-wanted';

/** An activity that works until its signal ends it, and a Temporal that answers its heartbeats as told. */
async function begin() {
  const at = { hears: 'unanswered' as Heard, stopping: false, asked: 0 };
  const standings: Standing[] = [];
  const ends: unknown[] = [];
  const client = {
    withAbortSignal: (_: AbortSignal, call: () => Promise<void>) => call(),
    withDeadline: (_: number, call: () => Promise<void>) => call(),
    activity: {
      heartbeat: async () => {
        at.asked += 1;
        if (at.hears === 'unanswered') throw new Error('14 UNAVAILABLE');
        if (at.hears === 'not-wanted') throw new ActivityNotFoundError('Not found');
      },
    },
  };
  const env = new MockActivityEnvironment(undefined, { client: client as unknown as Client });
  const work = (standing: Standing): Promise<never> =>
    new Promise((_, reject) => {
      standings.push(standing);
      standing.signal.addEventListener('abort', () => reject(standing.signal.reason as Error));
    });
  env
    .run(() =>
      outliving(
        work,
        () => null,
        () => at.stopping,
      ),
    )
    .catch((error: unknown) => ends.push(error));
  const standing = await until('it has begun', () => standings[0] ?? null, 10_000);
  return {
    at,
    standing,
    ends,
    cancel: (details: { readonly timedOut?: boolean; readonly cancelRequested?: boolean }) =>
      env.cancel('CANCELLED', new ActivityCancellationDetails(details)),
    async cancelled(): Promise<void> {
      await until('it ends', () => ends.length > 0, 10_000);
      assert.ok(ends[0] instanceof CancelledFailure, String(ends[0]));
    },
  };
}

describe('work that goes on without Temporal', { concurrency: true }, () => {
  it('ends at once where it is cancelled, and asks nobody', async () => {
    const run = await begin();
    assert.equal(run.standing.isAlone(), false);
    run.cancel({ cancelRequested: true });
    await run.cancelled();
    assert.equal(run.at.asked, 0);
  });

  it('goes on while Temporal does not answer, and ends when it answers that it is not wanted', async () => {
    const run = await begin();
    run.cancel({ timedOut: true });
    await until('it has asked twice', () => run.at.asked >= 2, 10_000);
    assert.equal(run.standing.isAlone(), true);
    assert.deepEqual(run.ends, []);
    run.at.hears = 'not-wanted';
    await run.cancelled();
  });

  it('is not alone any more when it is still wanted', async () => {
    const run = await begin();
    run.cancel({ timedOut: true });
    assert.equal(run.standing.isAlone(), true);
    run.at.hears = 'wanted';
    await until('it was heard', () => !run.standing.isAlone(), 10_000);
    assert.deepEqual(run.ends, []);
    run.at.stopping = true;
  });

  it('is alone from the first question that gets no answer, also where the SDK still waits', async () => {
    const run = await begin();
    assert.equal(await run.standing.isHeard(), false);
    assert.equal(run.standing.isAlone(), true);
    await until('it has asked again by itself', () => run.at.asked >= 2, 10_000);
    run.at.hears = 'wanted';
    await until('it was heard', () => !run.standing.isAlone(), 10_000);
    assert.equal(await run.standing.isHeard(), true);
    run.cancel({ cancelRequested: true });
    await run.cancelled();
  });

  it('ends where it asks and is not wanted', async () => {
    const run = await begin();
    run.at.hears = 'not-wanted';
    await assert.rejects(run.standing.isHeard(), CancelledFailure);
    await run.cancelled();
  });

  it('ends with its worker', async () => {
    const run = await begin();
    run.cancel({ timedOut: true });
    await until('it has asked', () => run.at.asked >= 1, 10_000);
    run.at.stopping = true;
    await run.cancelled();
  });
});
