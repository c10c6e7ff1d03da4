import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { findOnPath, isAtLeast, run } from '../command.js';
import type { Part } from '../part.js';

const OLDEST = '2.40';
const GO_PACKAGE = 'github.com/prometheus/prometheus/cmd/prometheus';
/** Prometheus 3.15.0, as Go modules number it. */
const GO_VERSION = 'v0.315.0';

/** Prometheus, of any version whose HTTP API has all that Slipway asks for. */
export const prometheusPart: Part = {
  title: 'Prometheus',
  version: `${OLDEST} or later`,
  variable: 'SLIPWAY_PROMETHEUS',
  program: 'prometheus',
  cacheName: `prometheus-${OLDEST}-or-later`,
  accepts: async (path) => {
    const version = /version (?<version>[\d.]+)/.exec(await run(path, ['--version']))?.groups?.['version'];
    return version !== undefined && isAtLeast(version, OLDEST);
  },
  sources: [
    { kind: 'system package', what: '20 MB', obstacle: debianObstacle, fetch: fetchFromDebian },
    { kind: 'Go module', what: 'built from source in 5 to 10 minutes', obstacle: goObstacle, fetch: buildWithGo },
  ],
};

async function debianObstacle(): Promise<string | undefined> {
  if ((await findOnPath('apt-get')) === undefined) return 'apt-get is not installed';
  if ((await findOnPath('dpkg-deb')) === undefined) return 'dpkg-deb is not installed';
  if (isRoot() || (await isListed())) return undefined;
  return 'the package lists are empty and only root may refresh them';
}

/** Unpacks the package into the cache; the system itself is left as it is. */
async function fetchFromDebian(folder: string): Promise<string> {
  if (!(await isListed())) await run('apt-get', ['update', '--quiet']);
  await run('apt-get', ['download', '--quiet', 'prometheus'], { cwd: folder });
  const file = (await readdir(folder)).find((name) => name.endsWith('.deb'));
  if (file === undefined) throw new Error('apt-get downloaded no package');
  await run('dpkg-deb', ['-x', join(folder, file), folder]);
  return join(folder, 'usr', 'bin', 'prometheus');
}

async function isListed(): Promise<boolean> {
  return /Candidate: \d/.test(await run('apt-cache', ['policy', 'prometheus'], { env: { LC_ALL: 'C' } }));
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

async function goObstacle(): Promise<string | undefined> {
  return (await findOnPath('go')) === undefined ? 'Go is not installed' : undefined;
}

/** Builds in a module of its own: `go install` refuses a module that has replace directives. */
async function buildWithGo(folder: string): Promise<string> {
  const program = join(folder, 'prometheus');
  await run('go', ['mod', 'init', 'slipway.local/prometheus'], { cwd: folder });
  await run('go', ['get', `${GO_PACKAGE}@${GO_VERSION}`], { cwd: folder });
  await run('go', ['build', '-o', program, GO_PACKAGE], { cwd: folder, env: { CGO_ENABLED: '0' } });
  return program;
}
