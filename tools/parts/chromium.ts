import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findOnPath, isAtLeast, run } from '../command.js';
import type { Part, Source } from '../part.js';

/** The first version with the headless mode that is the browser itself. */
const OLDEST = '112';
const PACKAGES = ['chromium', 'fonts-dejavu-core'];

/** Installed with all that it needs, which is more than can be unpacked into a folder: so by root only. */
const installed: Source = {
  kind: 'system package',
  what: `apt-get install ${PACKAGES.join(' ')}, about 120 MB`,
  async obstacle() {
    if ((await findOnPath('apt-get')) === undefined) return 'there is no apt-get';
    return process.getuid?.() === 0 ? undefined : 'it is installed by root: sudo apt-get install chromium';
  },
  async fetch(folder) {
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['update'], { env });
    await run('apt-get', ['install', '--yes', '--no-install-recommends', ...PACKAGES], { env });
    const launcher = join(folder, 'chromium');
    await writeFile(launcher, '#!/bin/sh\nexec /usr/bin/chromium "$@"\n');
    await chmod(launcher, 0o755);
    return launcher;
  },
};

/** Chromium, in which the pages are tested. */
export const chromiumPart: Part = {
  title: 'Chromium',
  version: `${OLDEST} or later`,
  variable: 'SLIPWAY_CHROMIUM',
  program: 'chromium',
  cacheName: `chromium-${OLDEST}-or-later`,
  accepts: async (path) => {
    const version = /(?<version>\d+)\.[\d.]+/.exec(await run(path, ['--version', '--no-sandbox']))?.groups?.['version'];
    return version !== undefined && isAtLeast(version, OLDEST);
  },
  sources: [installed],
};
