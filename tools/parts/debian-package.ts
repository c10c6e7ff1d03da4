import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { findOnPath, run } from '../command.js';
import type { Source } from '../part.js';

export interface DebianProgram {
  readonly packageName: string;
  /** The program's path in the package, such as `usr/bin/prometheus`. */
  readonly program: string;
  readonly size: string;
}

/** A program of a Debian package, unpacked into the cache; the system itself is left as it is. */
export function debianPackage({ packageName, program, size }: DebianProgram): Source {
  return {
    kind: 'system package',
    what: size,
    obstacle: () => obstacle(packageName),
    fetch: (folder) => unpack(packageName, program, folder),
  };
}

async function obstacle(packageName: string): Promise<string | undefined> {
  if ((await findOnPath('apt-get')) === undefined) return 'apt-get is not installed';
  if ((await findOnPath('dpkg-deb')) === undefined) return 'dpkg-deb is not installed';
  if (isRoot() || (await isListed(packageName))) return undefined;
  return 'the package lists are empty and only root may refresh them';
}

async function unpack(packageName: string, program: string, folder: string): Promise<string> {
  if (!(await isListed(packageName))) await run('apt-get', ['update', '--quiet']);
  await run('apt-get', ['download', '--quiet', packageName], { cwd: folder });
  const file = (await readdir(folder)).find((name) => name.endsWith('.deb'));
  if (file === undefined) throw new Error('apt-get downloaded no package');
  await run('dpkg-deb', ['-x', join(folder, file), folder]);
  return join(folder, program);
}

async function isListed(packageName: string): Promise<boolean> {
  return /Candidate: \d/.test(await run('apt-cache', ['policy', packageName], { env: { LC_ALL: 'C' } }));
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
