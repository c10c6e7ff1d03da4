import { readFile } from 'node:fs/promises';

/** How much memory Node and the C library keep for themselves, as the image says: what is measured is what is deployed. */
export async function imageEnv(): Promise<Readonly<Record<string, string>>> {
  const dockerfile = await readFile(new URL('../../Dockerfile', import.meta.url), 'utf8');
  return Object.fromEntries(
    [...dockerfile.matchAll(/^ENV (NODE_OPTIONS|MALLOC_ARENA_MAX)=(\S+)$/gm)].map(([, name, value]) => [name, value]),
  ) as Record<string, string>;
}
