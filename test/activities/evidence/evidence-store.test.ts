import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import {
  createFolderStore,
  EvidenceDamaged,
  EvidenceMissing,
  EvidenceUnusable,
} from '../../../activities/evidence/evidence-store.js';

async function folder(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), 'slipway-evidence-'));
}

test('the same content has the same digest whatever the order of its keys, and is kept once', async () => {
  const dir = await folder();
  const store = createFolderStore(dir);
  const [a, b] = await Promise.all([store.put({ x: 1, y: [1, 2] }), store.put({ y: [1, 2], x: 1 })]);
  assert.equal(a.digest, b.digest);
  assert.deepEqual(await store.get(a.digest), { x: 1, y: [1, 2] });
  const files = (await readdir(dir, { recursive: true })).filter(
    (name) => name.endsWith('.json') || name.endsWith('.tmp'),
  );
  assert.equal(files.length, 1);
  await rm(dir, { recursive: true });
});

test('changed bytes and unknown digests are said, never returned', async () => {
  const dir = await folder();
  const store = createFolderStore(dir);
  const { digest } = await store.put({ verdict: 'ROLLBACK' });
  const hex = digest.slice('sha256:'.length);
  await writeFile(path.join(dir, 'sha256', hex.slice(0, 2), `${hex}.json`), '{"verdict":"PROMOTE"}');
  await assert.rejects(store.get(digest), EvidenceDamaged);
  await assert.rejects(store.get(`sha256:${'0'.repeat(64)}`), EvidenceMissing);
  await assert.rejects(store.get('../../etc/passwd'), EvidenceMissing);
  await rm(dir, { recursive: true });
});

test('a folder that can not be written is refused at the start, with the remedy', async () => {
  const dir = await folder();
  const file = path.join(dir, 'a-file');
  await writeFile(file, '');
  await chmod(file, 0o400);
  await assert.rejects(createFolderStore(path.join(file, 'evidence')).check(), (error: unknown) => {
    assert.ok(error instanceof EvidenceUnusable);
    assert.match(error.message, /SLIPWAY_DATA_DIR/);
    return true;
  });
  await createFolderStore(path.join(dir, 'new')).check();
  await rm(dir, { recursive: true });
});
