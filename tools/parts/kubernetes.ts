import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { parseAllDocuments } from 'yaml';

import { isAtLeast, run } from '../command.js';
import type { Part, Source } from '../part.js';

import { goObstacle } from './go-module.js';

const VERSION = '1.36.3';
/** The first version that serves all that Slipway uses. */
const OLDEST = '1.33';
const PROGRAMS = ['kube-apiserver', 'kube-controller-manager'] as const;
/** A Go module of nothing but requirements: it says, with checksums, what the programs are built from. */
const MODULE = fileURLToPath(new URL('../../../tools/kubernetes', import.meta.url));

const GATEWAY_API = '1.7.0';
const GATEWAY_API_CHECKSUM = 'h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=';

/** The Kubernetes API server. */
export const kubeApiServerPart = kubernetesPart('Kubernetes API server', 'SLIPWAY_KUBE_APISERVER', 'kube-apiserver');

/** The controllers that turn Deployments into Pods and Services into EndpointSlices. */
export const kubeControllerManagerPart = kubernetesPart(
  'Kubernetes controller manager',
  'SLIPWAY_KUBE_CONTROLLER_MANAGER',
  'kube-controller-manager',
);

/**
 * A folder with the resource definitions of the Gateway API's standard channel. In the cache they are JSON: to parse
 * their YAML would take longer than to start an API server.
 */
export const gatewayApiPart: Part = {
  title: 'Gateway API definitions',
  version: GATEWAY_API,
  variable: 'SLIPWAY_GATEWAY_API',
  program: 'standard',
  cacheName: `gateway-api-${GATEWAY_API}`,
  sources: [{ kind: 'Go module', what: '12 MB', obstacle: goObstacle, fetch: fetchGatewayApi }],
};

function kubernetesPart(title: string, variable: string, program: (typeof PROGRAMS)[number]): Part {
  return {
    title,
    version: VERSION,
    variable,
    program,
    cacheName: `kubernetes-${VERSION}`,
    companions: PROGRAMS.filter((name) => name !== program),
    accepts: async (path) => {
      const version = /Kubernetes v(?<version>[\d.]+)/.exec(await run(path, ['--version']))?.groups?.['version'];
      return version !== undefined && isAtLeast(version, OLDEST);
    },
    sources: [kubernetesSource(program)],
  };
}

function kubernetesSource(program: string): Source {
  return {
    kind: 'Go module',
    what: 'both Kubernetes programs, built from source in 5 to 12 minutes',
    obstacle: goObstacle,
    fetch: (folder) => buildKubernetes(folder, program),
  };
}

async function buildKubernetes(folder: string, program: string): Promise<string> {
  const built = join(folder, 'built');
  const scratch = join(folder, 'scratch');
  await mkdir(built);
  await mkdir(scratch);
  // A program that was not told its version says v0.0.0, which clients can't parse.
  const linking = `-s -w -X k8s.io/component-base/version.gitVersion=v${VERSION}`;
  const options = ['-mod=readonly', '-trimpath', '-buildvcs=false', `-ldflags=${linking}`, `-o=${built}`];
  const packages = PROGRAMS.map((name) => `k8s.io/kubernetes/cmd/${name}`);
  await run('go', ['build', ...options, ...packages], {
    cwd: MODULE,
    env: { CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off', GOTMPDIR: scratch },
  });
  return join(built, program);
}

async function fetchGatewayApi(folder: string): Promise<string> {
  const { source, checksum } = await downloadModule('sigs.k8s.io/gateway-api', `v${GATEWAY_API}`, folder);
  if (checksum !== GATEWAY_API_CHECKSUM) {
    throw new Error(`checksum mismatch: expected ${GATEWAY_API_CHECKSUM}, got ${checksum}; nothing was kept`);
  }

  const definitions = join(source, 'config', 'crd', 'standard');
  const copies = join(folder, 'standard');
  await mkdir(copies);
  for (const name of await readdir(definitions)) {
    if (!name.endsWith('.yaml')) continue;
    const objects = parseAllDocuments(await readFile(join(definitions, name), 'utf8')).map((each) => each.toJS());
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await writeFile(join(copies, name.replace(/yaml$/, 'json')), JSON.stringify(list));
  }
  return copies;
}

/** Has Go put a module's source into its cache; returns the folder and the checksum that Go has verified. */
async function downloadModule(
  module: string,
  version: string,
  cwd: string,
): Promise<{ readonly source: string; readonly checksum: string }> {
  const cache = (await run('go', ['env', 'GOMODCACHE'], { cwd })).trim();
  const source = join(cache, `${module}@${version}`);
  const checksum = join(cache, 'cache', 'download', module, '@v', `${version}.ziphash`);
  try {
    await run('go', ['mod', 'download', `${module}@${version}`], { cwd });
  } catch (error) {
    // An older Go than the module asks for unpacks it all the same, and then fails because it could not build it.
    if (!existsSync(source) || !existsSync(checksum)) throw error;
  }
  return { source, checksum: (await readFile(checksum, 'utf8')).trim() };
}
