import { isAtLeast, run } from '../command.js';
import type { Part } from '../part.js';

import { debianPackage } from './debian-package.js';
import { goModule } from './go-module.js';

/** The first version with `--unsafe-no-fsync`. */
const OLDEST = '3.4.10';

/** etcd, which keeps the state of the Kubernetes API server. */
export const etcdPart: Part = {
  title: 'etcd',
  version: `${OLDEST} or later`,
  variable: 'SLIPWAY_ETCD',
  program: 'etcd',
  cacheName: `etcd-${OLDEST}-or-later`,
  accepts: async (path) => {
    const version = /etcd Version: (?<version>[\d.]+)/.exec(await run(path, ['--version']))?.groups?.['version'];
    return version !== undefined && isAtLeast(version, OLDEST);
  },
  sources: [
    debianPackage({ packageName: 'etcd-server', program: 'usr/bin/etcd', size: '9 MB' }),
    goModule({ mainPackage: 'go.etcd.io/etcd/server/v3', version: 'v3.6.16', program: 'etcd', duration: '1 minute' }),
  ],
};
