/** Every stored history replays on the workflows of today: a run that is in flight survives a new version of the worker. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker } from '@temporalio/worker';
import { quiet, WORKFLOW_BUNDLE } from '../support/fake-env.js';
import { fromStored, HISTORIES } from './histories.js';
import type { StoredHistory } from './histories.js';

quiet();
const BUNDLE = { workflowBundle: { codePath: WORKFLOW_BUNDLE } };
const names = (await readdir(HISTORIES)).filter((name) => name.endsWith('.json')).toSorted();

async function load(name: string): Promise<StoredHistory> {
  return JSON.parse(await readFile(new URL(name, HISTORIES), 'utf8')) as StoredHistory;
}

function replay(stored: StoredHistory): Promise<void> {
  return Worker.runReplayHistory(BUNDLE, fromStored(stored), stored.workflowId);
}

test('there is a history of each outcome, of a recovery and of a lane', () => {
  for (const outcome of [
    'completed',
    'rolled-back',
    'aborted',
    'rejected',
    'superseded',
    'rollback-failed',
    'first-release',
    'held-then-promoted',
  ]) {
    assert.ok(names.includes(`rollout-${outcome}.json`), outcome);
  }
  assert.ok(names.includes('recover.json'));
  assert.ok(names.some((name) => name.startsWith('lane-')));
});

test('each replays', async (t) => {
  const histories = await Promise.all(
    names.map(async (name) => ({ workflowId: name, history: fromStored(await load(name)) })),
  );
  const replayed: string[] = [];
  // One worker for all: starting one takes longer than a replay.
  for await (const { workflowId, error } of Worker.runReplayHistories(BUNDLE, histories)) {
    replayed.push(workflowId);
    await t.test(workflowId, () => {
      assert.equal(error, undefined, error?.message);
    });
  }
  assert.deepEqual(replayed, names);
});

test('a history in which another activity was called is refused', async () => {
  const stored = await load('rollout-completed.json');
  let changed = 0;
  const events = stored.history.events.map((event) => {
    const scheduled = event['activityTaskScheduledEventAttributes'] as { activityType: { name: string } } | undefined;
    if (scheduled?.activityType.name !== 'setWeights' || changed > 0) return event;
    changed += 1;
    return { ...event, activityTaskScheduledEventAttributes: { ...scheduled, activityType: { name: 'removeArm' } } };
  });
  assert.equal(changed, 1);
  await assert.rejects(replay({ ...stored, history: { events } }), DeterminismViolationError);
});

test('a history in which the first answer was another one is refused', async () => {
  const stored = await load('rollout-rejected.json');
  const other = await load('rollout-completed.json');
  // The request of one rollout, and what then happened to another: it would not have waited for an approval.
  const events = [other.history.events[0] ?? {}, ...stored.history.events.slice(1)];
  await assert.rejects(replay({ ...stored, history: { events } }), DeterminismViolationError);
});
