import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createFolderObjects } from '../../../activities/objects/folder-objects.js';
import { keyOf, ObjectStoreUnusable } from '../../../activities/objects/object-store.js';
import { createServerLog } from '../../../activities/trail/server-log.js';
import { createTrailStore, TrailConflict } from '../../../activities/trail/trail-store.js';
import { genesis, headAfter, HEADS_LOG, nextEntry } from '../../../domain/trail.js';
import type { TrailEntry, TrailHead } from '../../../domain/trail.js';
import { readTrail } from '../../../formats/trail-file.js';
import { createMemoryObjects } from '../../support/memory-objects.js';

const LOG = 'rollout/production/checkout/3f2a9c1e5b7d8f00';
const WRITER = fileURLToPath(new URL('../../support/trail-writer.js', import.meta.url));
const AT = '2026-11-21T20:00:00.000Z';

function chain(size: number, { after = genesis(LOG), mark = '' }: { after?: TrailHead; mark?: string } = {}) {
  const entries: TrailEntry[] = [];
  for (let i = 0, head = after; i < size; i += 1) {
    const entry = nextEntry(head, { at: AT, type: 'phase', actor: null, text: `step ${head.size}${mark}`, data: {} });
    entries.push(entry);
    head = headAfter(entry);
  }
  return entries;
}

async function folder(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), 'slipway-trail-'));
}

describe('a trail', () => {
  test('is kept once, however often and in whatever pieces it comes', async () => {
    const objects = createMemoryObjects();
    const store = createTrailStore(objects);
    const entries = chain(9);
    for (const [from, to] of [
      [0, 3],
      [0, 3],
      [0, 5],
      [3, 5],
      [4, 9],
      [0, 9],
    ] as const)
      await store.append(LOG, 'run-1', entries.slice(from, to));
    const [stored] = await store.read(LOG);
    assert.deepEqual(readTrail(stored!.bytes).damages, []);
    assert.deepEqual(readTrail(stored!.bytes).entries, entries);
    assert.equal(objects.objects.size, 3);
  });

  test('another entry under the same number is refused, and what was kept stays', async () => {
    const objects = createMemoryObjects();
    const store = createTrailStore(objects);
    await store.append(LOG, 'run-1', chain(4));
    const before = new Map(objects.objects);
    const other = [...chain(2), ...chain(4, { after: headAfter(chain(2)[1]!), mark: '!' })];
    await assert.rejects(store.append(LOG, 'run-1', other), TrailConflict);
    assert.deepEqual(objects.objects, before);
  });

  test('a segment that can not be read any more is not written over', async () => {
    const objects = createMemoryObjects();
    const store = createTrailStore(objects);
    await store.append(LOG, 'run-1', chain(2));
    const [key = ''] = objects.objects.keys();
    objects.objects.set(key, Buffer.from('rubbish\n'));
    await assert.rejects(store.append(LOG, 'run-1', chain(2)), TrailConflict);
    assert.equal(objects.objects.get(key)?.toString(), 'rubbish\n');
  });

  test('a run that was reset has an account of its own, which begins where they part', async () => {
    const store = createTrailStore(createMemoryObjects());
    const first = chain(6);
    const again = chain(4, { after: headAfter(first[2]!), mark: ' again' });
    await store.append(LOG, 'run-1', first);
    await store.append(LOG, 'run-2', again);
    // Reset once more, in what was new.
    const third = chain(2, { after: headAfter(again[1]!), mark: ' third' });
    await store.append(LOG, 'run-3', third);
    const stored = new Map((await store.read(LOG)).map((each) => [each.run, each]));
    assert.deepEqual(stored.get('run-1')?.continues, null);
    assert.deepEqual(stored.get('run-2')?.continues, { run: 'run-1', seq: 3 });
    assert.deepEqual(stored.get('run-3')?.continues, { run: 'run-2', seq: 5 });
    for (const [run, entries] of [
      ['run-1', first],
      ['run-2', [...first.slice(0, 3), ...again]],
      ['run-3', [...first.slice(0, 3), ...again.slice(0, 2), ...third]],
    ] as const) {
      const reading = readTrail(stored.get(run)!.bytes);
      assert.deepEqual([reading.damages, reading.entries], [[], entries], run);
    }
  });

  test('heads are listed once each, in a log of their own', async () => {
    const store = createTrailStore(createMemoryObjects());
    const heads = [3, 4].map((size) => headAfter(chain(size).at(-1)!));
    for (const head of [...heads, heads[1]!]) await store.seal('run-1', head, AT);
    const [stored] = await store.read(HEADS_LOG);
    const { entries, damages } = readTrail(stored!.bytes);
    assert.deepEqual(damages, []);
    assert.deepEqual(
      entries.map(({ data }) => data),
      heads.map((head) => ({ ...head, run: 'run-1' })),
    );
    assert.deepEqual(await store.logs(), []);
  });
});

describe('a folder', () => {
  test('many writers at once add to one log, each entry once and linked', async () => {
    const dir = await folder();
    const stores = Array.from({ length: 4 }, () => createTrailStore(createFolderObjects(dir)));
    await Promise.all(
      stores.flatMap((store, writer) =>
        Array.from({ length: 5 }, (_, i) =>
          store.add('server/web', [{ at: AT, type: 'refusal', actor: null, text: `${writer}-${i}`, data: {} }]),
        ),
      ),
    );
    const [stored] = await stores[0]!.read('server/web');
    const { entries, damages } = readTrail(stored!.bytes);
    assert.deepEqual(damages, []);
    assert.equal(new Set(entries.map(({ text }) => text)).size, 20);
    assert.equal((await readdir(dir, { recursive: true })).filter((name) => name.endsWith('.tmp')).length, 0);
    await rm(dir, { recursive: true });
  });

  test('two processes that keep the same trail, killed again and again: nothing is lost, twice, or torn', async () => {
    const dir = await folder();
    const size = 240;
    const entries = chain(size);
    await writeFile(path.join(dir, 'entries.json'), JSON.stringify(entries));
    const store = createTrailStore(createFolderObjects(dir));
    const kept = async (): Promise<number> => {
      const [stored] = await store.read(LOG);
      if (stored === undefined) return 0;
      const { damages, entries: read } = readTrail(stored.bytes);
      assert.deepEqual(damages, []);
      assert.deepEqual(read, entries.slice(0, read.length));
      return read.length;
    };
    let killed = 0;
    for (let round = 0; (await kept()) < size; round += 1) {
      assert.ok(round < 200, 'it does not come to an end');
      const writers = [0, 1].map(() =>
        spawn(process.execPath, [WRITER, dir, LOG], { stdio: ['ignore', 'pipe', 'inherit'] }),
      );
      const ended = writers.map(
        (writer) => new Promise<string | null>((resolve) => writer.once('exit', (_, signal) => resolve(signal))),
      );
      // Killed in the midst of writing: some time after each has kept its first entries.
      await Promise.all(
        writers.map((writer) => new Promise((resolve) => writer.stdout.once('data', resolve).once('end', resolve))),
      );
      await sleep(5 + ((round * 7) % 40));
      for (const writer of writers) writer.kill('SIGKILL');
      killed += (await Promise.all(ended)).filter((signal) => signal === 'SIGKILL').length;
    }
    assert.ok(killed >= 4, `only ${killed} writers were killed`);
    await rm(dir, { recursive: true });
  });

  test('that can not be used is refused at the start, with the remedy', async () => {
    const dir = await folder();
    await writeFile(path.join(dir, 'file'), '');
    await assert.rejects(createFolderObjects(path.join(dir, 'file', 'data')).check(), (error: unknown) => {
      assert.ok(error instanceof ObjectStoreUnusable);
      assert.match(error.message, /SLIPWAY_DATA_DIR/);
      return true;
    });
    const objects = createFolderObjects(path.join(dir, 'new'));
    await objects.check();
    assert.deepEqual(await readdir(path.join(dir, 'new')), []);
    assert.deepEqual(
      [await objects.read('no/such'), await objects.keys('no/'), await objects.folders('no/')],
      [null, [], []],
    );
    await rm(dir, { recursive: true });
  });

  test('what is there is never written over, and drafts are no objects', async () => {
    const dir = await folder();
    const objects = createFolderObjects(dir);
    assert.equal(await objects.create('a/b/one', '1'), 'created');
    assert.equal(await objects.create('a/b/one', '2'), 'exists');
    assert.equal(await objects.create('a/c', '3'), 'created');
    await writeFile(path.join(dir, 'a/b/half.tmp'), 'half');
    assert.equal(Buffer.from((await objects.read('a/b/one'))!).toString(), '1');
    assert.deepEqual(await objects.keys('a/'), ['a/b/one', 'a/c']);
    assert.deepEqual(await objects.keys('a/', 'a/b/one'), ['a/c']);
    assert.deepEqual(await objects.folders('a/'), ['b']);
    await rm(dir, { recursive: true });
  });
});

test('no name leads out of its folder', () => {
  for (const name of ['..', '.', '', 'a/../b', '/etc', 'a//b', 'a\\b', 'a b', 'ä', 'a\0'])
    assert.throws(() => keyOf('trail', name), RangeError, name);
  assert.equal(keyOf('trail', LOG, 'run-1'), `trail/${LOG}/run-1`);
});

describe('a server’s own log', () => {
  const fact = (text: string) => ({ type: 'refusal', actor: null, text, data: {} }) as const;

  test('keeps in order what it is given, a log a day, and writes down the head of a day that is over', async () => {
    const trails = createTrailStore(createMemoryObjects());
    let now = new Date('2026-11-21T23:59:59.000Z');
    const log = createServerLog({
      trails,
      name: 'web-1',
      now: () => now,
      onFailure: (error) => assert.fail(String(error)),
    });
    for (let i = 0; i < 50; i += 1) log.write(fact(`refused ${i}`));
    now = new Date('2026-11-22T00:00:01.000Z');
    log.write(fact('the next day'));
    assert.equal(await log.close(5000), true);
    log.write(fact('too late'));
    assert.deepEqual((await trails.logs()).toSorted(), ['server/web-1.2026-11-21', 'server/web-1.2026-11-22']);
    const [first] = await trails.read('server/web-1.2026-11-21');
    const { entries, damages } = readTrail(first!.bytes);
    assert.deepEqual(damages, []);
    assert.deepEqual(
      entries.map(({ text }) => text),
      Array.from({ length: 50 }, (_, i) => `refused ${i}`),
    );
    const [heads] = await trails.read(HEADS_LOG);
    assert.deepEqual(
      readTrail(heads!.bytes).entries.map(({ data }) => [data['log'], data['size']]),
      [
        ['server/web-1.2026-11-21', 50],
        ['server/web-1.2026-11-22', 1],
      ],
    );
  });

  test('soon writes down how far it goes, also of a server that was killed before it could', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const trails = createTrailStore(createMemoryObjects());
    const begin = () =>
      createServerLog({
        trails,
        name: 'web',
        now: () => new Date(AT),
        onFailure: (error) => assert.fail(String(error)),
      });
    const turns = async (): Promise<void> => {
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    };
    const heads = async (): Promise<readonly unknown[]> => {
      const [stored] = await trails.read(HEADS_LOG);
      return stored === undefined ? [] : readTrail(stored.bytes).entries.map(({ data }) => data['size']);
    };
    const log = begin();
    log.write(fact('one'));
    log.write(fact('two'));
    await turns();
    assert.deepEqual(await heads(), []);
    t.mock.timers.tick(30_000);
    await turns();
    assert.deepEqual(await heads(), [2]);
    t.mock.timers.tick(300_000);
    await turns();
    assert.deepEqual(await heads(), [2], 'nothing came since');
    log.write(fact('three'));
    await turns();
    // Killed: nothing is closed. The next one begins with what this one has left.
    begin();
    await turns();
    assert.deepEqual(await heads(), [2, 3]);
  });

  test('loses nothing while the store is away, and says how much a flood has cost', async () => {
    const objects = createMemoryObjects();
    let away = true;
    const failures: unknown[] = [];
    const trails = createTrailStore({
      ...objects,
      create: async (key, text) => {
        if (away) throw new Error('away');
        return objects.create(key, text);
      },
    });
    const log = createServerLog({
      trails,
      name: 'web',
      now: () => new Date(AT),
      onFailure: (error) => failures.push(error),
    });
    for (let i = 0; i < 1200; i += 1) log.write(fact(`refused ${i}`));
    await sleep(50);
    assert.equal(failures.length, 1);
    away = false;
    assert.equal(await log.close(10_000), true);
    const [stored] = await trails.read('server/web.2026-11-21');
    const { entries } = readTrail(stored!.bytes);
    assert.equal(entries.length, 1001);
    assert.match(entries.at(-1)?.text ?? '', /^200 further entries were not kept/);
  });
});
