/** Keeps the entries of a file, a few at a time, in the folder that the file is in, until it is killed or done. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createFolderObjects } from '../../activities/objects/folder-objects.js';
import { createTrailStore } from '../../activities/trail/trail-store.js';
import type { TrailEntry } from '../../domain/trail.js';

const [folder = '', log = ''] = process.argv.slice(2);
const entries = JSON.parse(await readFile(path.join(folder, 'entries.json'), 'utf8')) as readonly TrailEntry[];
const store = createTrailStore(createFolderObjects(folder));
const [stored] = await store.read(log);
const kept = stored === undefined ? 0 : stored.bytes.filter((byte) => byte === 0x0a).length;
for (let from = kept; from < entries.length; from += 3) {
  // As the workflow does it: what may not be kept is given again.
  await store.append(log, 'run-1', entries.slice(Math.max(0, from - 3), from + 3));
  process.stdout.write('.');
}
