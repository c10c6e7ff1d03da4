import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import { isExecutable } from './command.js';

export interface CacheEntry {
  /** The entry's folder in the cache, such as `temporal-1.9.1`. */
  readonly name: string;
  /** The file name of the program, or of the folder that is kept in its place. */
  readonly program: string;
  /** Programs that the same fetch brings, in the same folder. */
  readonly companions?: readonly string[];
}

const STAGING = /^\.staging-(?<pid>\d+)-/;

/** Where fetched programs are kept: `$XDG_CACHE_HOME/slipway`, else `~/.cache/slipway`. */
export function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'slipway');
}

/** The cached program's path, or undefined when it is not there. */
export async function findInCache(entry: CacheEntry): Promise<string | undefined> {
  const path = join(cacheFolder(), entry.name, entry.program);
  return (await isExecutable(path)) ? path : undefined;
}

/**
 * Puts a program into the cache. `fetch` gets an empty folder to work in and returns the program's path there.
 * The entry appears whole or not at all; of two processes that fetch at once, one wins and both return its path.
 */
export async function addToCache(entry: CacheEntry, fetch: (folder: string) => Promise<string>): Promise<string> {
  const cache = cacheFolder();
  await mkdir(cache, { recursive: true });
  await sweepStaging(cache);

  const staging = join(cache, `.staging-${process.pid}-${randomBytes(4).toString('hex')}`);
  const work = join(staging, 'work');
  const ready = join(staging, 'ready');
  try {
    await mkdir(work, { recursive: true });
    await mkdir(ready);
    const fetched = await fetch(work);
    for (const companion of entry.companions ?? []) {
      await keep(join(dirname(fetched), companion), join(ready, companion));
    }
    await keep(fetched, join(ready, entry.program));
    await moveInto(ready, join(cache, entry.name));
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return join(cache, entry.name, entry.program);
}

/** Throws unless the file's SHA-256 is the expected one. */
export async function verifyChecksum(path: string, expected: string): Promise<void> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const actual = hash.digest('hex');
  if (actual !== expected) {
    throw new Error(`checksum mismatch: expected sha256 ${expected}, got ${actual}; nothing was kept`);
  }
}

async function keep(fetched: string, target: string): Promise<void> {
  await chmod(fetched, 0o755);
  await rename(fetched, target);
}

async function moveInto(source: string, target: string): Promise<void> {
  try {
    await rename(source, target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

/** Removes what fetches left behind whose process is gone. */
async function sweepStaging(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const pid = STAGING.exec(name)?.groups?.['pid'];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(cache, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
