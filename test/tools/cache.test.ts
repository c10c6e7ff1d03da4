import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { addToCache, cacheFolder, findInCache, verifyChecksum } from '../../tools/cache.js';
import { isAtLeast } from '../../tools/command.js';
import { find, lookFor, PartUnavailable, type Part } from '../../tools/part.js';

const PROGRAM = '#!/bin/sh\necho here\n';

async function write(folder: string, content: string, delayMs = 0): Promise<string> {
  const path = join(folder, 'downloaded');
  await writeFile(path, content.slice(0, 5));
  await sleep(delayMs);
  await writeFile(path, content);
  return path;
}

describe('the cache of fetched programs', () => {
  let home: string;

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'slipway-cache-'));
    process.env['XDG_CACHE_HOME'] = home;
    delete process.env['SLIPWAY_NO_FETCH'];
  });

  after(() => rm(home, { recursive: true, force: true }));

  test('two fetches at once both return the one whole program', async () => {
    const entry = { name: 'thing-1', program: 'thing' };
    const paths = await Promise.all([
      addToCache(entry, (folder) => write(folder, PROGRAM, 60)),
      addToCache(entry, (folder) => write(folder, PROGRAM, 60)),
    ]);

    assert.deepEqual(new Set(paths), new Set([join(cacheFolder(), 'thing-1', 'thing')]));
    assert.equal(await readFile(paths[0] ?? '', 'utf8'), PROGRAM);
    assert.deepEqual(await readdir(cacheFolder()), ['thing-1']);
  });

  test('nothing is found while a fetch is under way', async () => {
    const entry = { name: 'slow-1', program: 'slow' };
    const fetching = addToCache(entry, (folder) => write(folder, PROGRAM, 100));
    await sleep(50);
    assert.equal(await findInCache(entry), undefined);
    await fetching;
    assert.notEqual(await findInCache(entry), undefined);
  });

  test('a fetch may bring several programs, or a folder in place of one', async () => {
    const entry = { name: 'pair-1', program: 'downloaded', companions: ['other'] };
    const path = await addToCache(entry, async (folder) => {
      await writeFile(join(folder, 'other'), PROGRAM);
      return write(folder, PROGRAM);
    });
    assert.equal(await findInCache({ name: 'pair-1', program: 'other' }), join(dirname(path), 'other'));

    const kept = await addToCache({ name: 'files-1', program: 'files' }, async (folder) => {
      await mkdir(join(folder, 'made'));
      await writeFile(join(folder, 'made', 'one'), '1');
      return join(folder, 'made');
    });
    assert.equal(await findInCache({ name: 'files-1', program: 'files' }), kept);
    assert.deepEqual(await readdir(kept), ['one']);
  });

  test('a wrong checksum says so and leaves nothing behind', async () => {
    const entry = { name: 'forged-1', program: 'forged' };
    const expected = createHash('sha256').update('something else').digest('hex');
    const fetching = addToCache(entry, async (folder) => {
      const path = await write(folder, PROGRAM);
      await verifyChecksum(path, expected);
      return path;
    });

    await assert.rejects(fetching, new RegExp(`checksum mismatch: expected sha256 ${expected}`));
    assert.equal(await findInCache(entry), undefined);
    assert.ok((await readdir(cacheFolder())).every((name) => !name.startsWith('.staging') && name !== 'forged-1'));
  });

  test('a part falls back to its next source and says why the others failed when none works', async () => {
    const part: Part = {
      title: 'Thing',
      version: '2',
      variable: 'SLIPWAY_TEST_THING',
      program: 'thing',
      cacheName: 'thing-2',
      sources: [
        { kind: 'Python wheel', what: '1 MB', obstacle: async () => 'no pip', fetch: async () => assert.fail() },
        {
          kind: 'Go module',
          what: '1 MB',
          obstacle: async () => undefined,
          fetch: async () => Promise.reject(new Error('the net is down')),
        },
      ],
    };
    await assert.rejects(find(part), (error) => {
      assert.ok(error instanceof PartUnavailable);
      assert.match(error.message, /Thing 2 can't be had here: Python wheel: no pip; Go module: the net is down/);
      return true;
    });

    const working: Part = {
      ...part,
      sources: [
        ...part.sources,
        {
          kind: 'system package',
          what: '1 MB',
          obstacle: async () => undefined,
          fetch: (folder) => write(folder, PROGRAM),
        },
      ],
    };
    assert.equal((await find(working)).how, 'fetched');
    assert.equal((await find(working)).how, 'cache');

    process.env['SLIPWAY_TEST_THING'] = process.execPath;
    assert.deepEqual(await lookFor(working), { path: process.execPath, how: 'environment' });
    process.env['SLIPWAY_TEST_THING'] = '/no/such/program';
    await assert.rejects(lookFor(working), /SLIPWAY_TEST_THING names \/no\/such\/program/);
  });

  test('versions compare by their numbers', () => {
    assert.ok(isAtLeast('1.30.1', '1.30'));
    assert.ok(isAtLeast('20.20.2', '20.18.1'));
    assert.ok(!isAtLeast('1.9.1', '1.30'));
  });
});
