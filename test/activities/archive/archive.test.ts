import assert from 'node:assert/strict';
import test from 'node:test';
import { createArchive } from '../../../activities/archive/archive.js';
import type { RolloutRecord } from '../../../activities/contract.js';
import { createObjectEvidence } from '../../../activities/evidence/object-evidence.js';
import { createMemoryObjects } from '../../support/memory-objects.js';
import { testView } from '../../support/view.js';

function setUp() {
  const objects = createMemoryObjects();
  return { objects, archive: createArchive(createObjectEvidence(objects, 'a test'), objects) };
}

function record(
  rolloutId: string,
  endedAt: string | null,
  outcome: RolloutRecord['view']['outcome'] = 'completed',
): RolloutRecord {
  const view = { ...testView(), rolloutId, endedAt, outcome } as RolloutRecord['view'];
  return { version: 1, view, decisions: [], slipway: { version: 'test' } };
}

test('a rollout that is over is found by its id, with all that was recorded', async () => {
  const { archive } = setUp();
  const kept = record('3f2a9c1e5b7d8f00', '2026-11-21T20:00:00.000Z');
  const { digest } = await archive.keep(kept);
  const [ended, ...more] = await archive.find('3f2a9c1e5b7d8f00');
  assert.ok(ended !== undefined && more.length === 0);
  assert.deepEqual(
    [ended.record, ended.outcome, ended.lane, ended.release],
    [digest, 'completed', kept.view.lane, kept.view.releaseName],
  );
  assert.deepEqual(await archive.view(ended), JSON.parse(JSON.stringify(kept.view)));
  assert.deepEqual(await archive.find('0123456789abcdef'), []);
});

test('the same record is kept once; a run that was reset has ended twice, and its last end comes first', async () => {
  const { archive, objects } = setUp();
  const first = record('3f2a9c1e5b7d8f00', '2026-11-21T20:00:00.000Z');
  await archive.keep(first);
  const size = objects.objects.size;
  await archive.keep(first);
  assert.equal(objects.objects.size, size);
  await archive.keep(record('3f2a9c1e5b7d8f00', '2026-11-21T21:00:00.000Z', 'rolled-back'));
  assert.deepEqual(
    (await archive.find('3f2a9c1e5b7d8f00')).map(({ outcome }) => outcome),
    ['rolled-back', 'completed'],
  );
});

test('a record without an end is kept and not listed', async () => {
  const { archive } = setUp();
  await archive.keep(record('3f2a9c1e5b7d8f00', null, null));
  assert.deepEqual(await archive.find('3f2a9c1e5b7d8f00'), []);
});

test('pages of rollouts that are over, the last one first, over months', async () => {
  const { archive } = setUp();
  const days = ['2025-12-31', '2026-10-02', '2026-10-30', '2026-11-01', '2026-11-20', '2026-11-21'];
  for (const [i, day] of days.entries())
    await archive.keep(record(String(i).repeat(16), `${day}T20:00:00.000Z`, i % 2 === 0 ? 'completed' : 'rolled-back'));
  const seen: string[] = [];
  let pages = 0;
  for (let before: string | undefined; ;) {
    const { rollouts, next } = await archive.ended({ limit: 2, ...(before === undefined ? {} : { before }) });
    seen.push(...rollouts.map(({ endedAt }) => endedAt.slice(0, 10)));
    pages += 1;
    if (next === null) break;
    before = next;
  }
  assert.deepEqual(seen, days.toReversed());
  assert.ok(pages <= 4, `${pages} pages`);
  const bad = await archive.ended({ limit: 2, matches: ({ outcome }) => outcome === 'rolled-back' });
  assert.deepEqual(
    bad.rollouts.map(({ endedAt }) => endedAt.slice(0, 10)),
    ['2026-11-21', '2026-11-01'],
  );
});

test('an entry that was damaged is said, not shown', async () => {
  const { archive, objects } = setUp();
  await archive.keep(record('3f2a9c1e5b7d8f00', '2026-11-21T20:00:00.000Z'));
  const key = [...objects.objects.keys()].find((name) => name.startsWith('rollouts/')) ?? '';
  objects.objects.set(key, Buffer.from('{"version":1}'));
  await assert.rejects(archive.find('3f2a9c1e5b7d8f00'), /not the entry of a rollout: rolloutId/);
});
