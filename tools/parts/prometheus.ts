import { isAtLeast, run } from '../command.js';
import type { Part } from '../part.js';

import { debianPackage } from './debian-package.js';
import { goModule } from './go-module.js';

const OLDEST = '2.40';

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
    debianPackage({ packageName: 'prometheus', program: 'usr/bin/prometheus', size: '20 MB' }),
    goModule({
      mainPackage: 'github.com/prometheus/prometheus/cmd/prometheus',
      // Prometheus 3.15.0, as Go modules number it.
      version: 'v0.315.0',
      program: 'prometheus',
      duration: '5 to 10 minutes',
    }),
  ],
};
