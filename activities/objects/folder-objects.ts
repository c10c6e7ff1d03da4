import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { DRAFT, throughDraft } from './draft.js';
import { ObjectStoreUnusable } from './object-store.js';
import type { ObjectStore } from './object-store.js';

/**
 * A folder that all workers share. An object is written aside, made durable, and then linked to its name: a link appears at
 * once or fails where the name is taken, also on network file systems and whoever else writes. So there are no locks that a
 * dead process could leave behind, and nothing that a frozen one could still write when it wakes up.
 */
export function createFolderObjects(folder: string): ObjectStore {
  const place = (key: string): string => path.join(folder, ...key.split('/'));

  return {
    async create(key, text) {
      const file = place(key);
      const parent = path.dirname(file);
      const made = await mkdir(parent, { recursive: true });
      try {
        await throughDraft(file, text, (draft) => link(draft, file));
      } catch (error) {
        if (hasCode(error, 'EEXIST')) return 'exists';
        throw error;
      }
      // The name is as durable as the folders that lead to it.
      const top = made === undefined ? parent : path.dirname(made);
      for (let dir = parent; ; dir = path.dirname(dir)) {
        await syncFolder(dir);
        if (dir === top || dir === path.dirname(dir)) break;
      }
      return 'created';
    },

    async read(key) {
      try {
        return await readFile(place(key));
      } catch (error) {
        if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
        throw error;
      }
    },

    async keys(prefix, after = '') {
      const found: string[] = [];
      async function collect(below: string): Promise<void> {
        for (const entry of await entriesOf(place(below))) {
          if (entry.isDirectory()) await collect(`${below}${entry.name}/`);
          else if (!entry.name.endsWith(DRAFT)) found.push(`${below}${entry.name}`);
        }
      }
      await collect(prefix);
      return found.filter((key) => key > after).toSorted(byCodeUnits);
    },

    async folders(prefix) {
      const entries = await entriesOf(place(prefix));
      return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).toSorted(byCodeUnits);
    },

    async check() {
      const probe = path.join(folder, `probe.${randomUUID()}${DRAFT}`);
      try {
        await mkdir(folder, { recursive: true });
        await (await open(probe, 'wx')).close();
        await link(probe, `${probe}${DRAFT}`);
        await rm(`${probe}${DRAFT}`);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new ObjectStoreUnusable(
          `nothing can be kept in ${folder} (${why}): make it writable, on a file system with hard links, or set SLIPWAY_DATA_DIR to a folder that all workers share`,
        );
      } finally {
        // Where it could not even be written, that has been said.
        await rm(probe, { force: true }).catch(() => undefined);
      }
    },
  };
}

/** As S3 sorts keys. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

async function entriesOf(dir: string) {
  try {
    return await readdir(dir, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

async function syncFolder(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
