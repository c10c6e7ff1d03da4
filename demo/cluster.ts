/** The demo on a cluster that is there already: what it needs of it, what it puts there, and how that goes again. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments, stringify } from 'yaml';
import { PROMETHEUS_TEMPLATES } from '../domain/policy.js';
import { workerStarter } from '../tools/stack.js';
import { startTemporal } from '../tools/temporal-server.js';
import { freePort } from '../tools/supervise.js';
import { DEMO, untilServed } from './scene.js';
import type { Scene } from './scene.js';

/** A namespace of the demo's own; it is deleted in the end. */
const NAMESPACE = 'slipway-demo';
/** Tags of the official image, each a release of the demo: what they run is the same file. */
const TAGS: Readonly<Record<string, string>> = { v1: '22.20-alpine', v2: '22.21-alpine', v3: '22.22-alpine' };
const KUBECTL_TIMEOUT_MS = 60_000;

/** What `--context` needs to be told. */
export interface ClusterOptions {
  /** Context of the kubeconfig. */
  readonly context: string;
  /** The Gateway that an HTTPRoute of another namespace may be attached to: `namespace/name`. */
  readonly gateway: string;
  /** Where that Gateway answers, from here. */
  readonly url: string;
  /** The Prometheus that scrapes that gateway, from here. */
  readonly prometheus: string;
  /** What that gateway's metrics are like. @default traefik */
  readonly queries: string;
}

/** Reads the options of `--context`; a text says what is wrong. */
export function clusterOptions(values: ReadonlyMap<string, string>): ClusterOptions | string {
  const missing = ['--context', '--gateway', '--url', '--prometheus'].filter((name) => !values.get(name));
  if (missing.length > 0) return `${missing.join(', ')} must be given, with a value each`;
  const options: ClusterOptions = {
    context: values.get('--context') ?? '',
    gateway: values.get('--gateway') ?? '',
    url: values.get('--url') ?? '',
    prometheus: values.get('--prometheus') ?? '',
    queries: values.get('--queries') ?? 'traefik',
  };
  if (!/^[^/]+\/[^/]+$/.test(options.gateway)) return `--gateway ${options.gateway}: write it as namespace/name`;
  for (const [name, url] of [
    ['--url', options.url],
    ['--prometheus', options.prometheus],
  ] as const)
    if (!URL.canParse(url)) return `${name} ${url}: write an address in full, such as http://127.0.0.1:9090`;
  if (!PROMETHEUS_TEMPLATES.some((known) => known === options.queries))
    return `--queries ${options.queries}: known are ${PROMETHEUS_TEMPLATES.join(', ')}`;
  return options;
}

/** Puts the demo's service on the cluster of a context, and runs Temporal and the workers on this machine. */
export async function clusterScene({ context, gateway, url, prometheus, queries }: ClusterOptions): Promise<Scene> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-demo-'));
  const started: { stop(): Promise<unknown> }[] = [
    { stop: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) },
  ];
  const stop = async (): Promise<void> => {
    for (const part of started.toReversed()) await part.stop();
  };
  const kubectl = async (...args: readonly string[]): Promise<string> =>
    (await promisify(execFile)('kubectl', ['--context', context, ...args], { timeout: KUBECTL_TIMEOUT_MS })).stdout;
  try {
    const manifest = path.join(folder, 'service.yaml');
    await writeFile(manifest, await manifestFor(gateway));
    await kubectl('create', 'namespace', NAMESPACE);
    started.push({ stop: () => kubectl('delete', 'namespace', NAMESPACE, '--wait=false') });
    await kubectl('apply', '--filename', manifest);
    const temporal = await startTemporal({ uiPort: await freePort(), logFile: path.join(folder, 'temporal.log') });
    started.push(temporal);
    const policy = path.join(folder, 'slipway.yaml');
    const text = await readFile(path.join(DEMO, 'kubernetes', 'slipway.yaml'), 'utf8');
    await writeFile(
      policy,
      text
        .replace('context: slipway, namespace: hello', `context: ${JSON.stringify(context)}, namespace: ${NAMESPACE}`)
        .replace('app: hello', 'app: node')
        .replace('http://127.0.0.1:9090', prometheus)
        .replace('queries: traefik', `queries: ${queries}`),
    );
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: ',',
      SLIPWAY_KUBERNETES: `${context}/${NAMESPACE}`,
      ...(temporal.uiUrl === undefined ? {} : { SLIPWAY_TEMPORAL_WEB: temporal.uiUrl }),
    };
    await untilServed(url);
    return {
      environment: 'kubernetes',
      before: `kubectl --context ${context} apply --filename ${manifest}`,
      url,
      lookAt: [
        `Temporal Web: ${temporal.uiUrl ?? ''}/namespaces/default/workflows`,
        `the cluster:  kubectl --context ${context} --namespace ${NAMESPACE} get deployments,httproutes`,
      ],
      env,
      file: policy,
      flags: (version) => ['--tag', TAGS[version] ?? version, '--set', `SLIPWAY_VERSION=hello:${version}`],
      startWorker: workerStarter({ folder, env, started: started as { stop(): Promise<void> }[] }),
      // Only whoever runs the API server has its audit log.
      changes: () => Promise.resolve(null),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The demo's service with an image that any cluster can pull: Node, and the service's one file in a ConfigMap. */
async function manifestFor(gateway: string): Promise<string> {
  const [gatewayNamespace, gatewayName] = gateway.split('/');
  const program = await readFile(path.join(DEMO, 'service.mjs'), 'utf8');
  const documents = parseAllDocuments(await readFile(path.join(DEMO, 'kubernetes', 'service.yaml'), 'utf8'));
  const [deployment, service, route] = documents.map((document) => {
    document.setIn(['metadata', 'namespace'], NAMESPACE);
    return document;
  });
  if (deployment === undefined || service === undefined || route === undefined)
    throw new Error('demo/kubernetes/service.yaml must hold a Deployment, a Service and an HTTPRoute');
  const pod = ['spec', 'template', 'spec'];
  const container = [...pod, 'containers', 0];
  deployment.setIn([...container, 'image'], `node:${TAGS['v1']}`);
  deployment.setIn([...container, 'command'], ['node', '/demo/service.mjs']);
  deployment.setIn(
    [...container, 'env'],
    [
      { name: 'DEMO_HOST', value: '0.0.0.0' },
      { name: 'PORT', value: '8080' },
      { name: 'SLIPWAY_VERSION', value: 'hello:v1' },
    ],
  );
  deployment.setIn([...container, 'volumeMounts'], [{ name: 'program', mountPath: '/demo' }]);
  deployment.setIn([...pod, 'volumes'], [{ name: 'program', configMap: { name: 'program' } }]);
  route.setIn(['spec', 'parentRefs'], [{ name: gatewayName, namespace: gatewayNamespace }]);
  const configMap = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'program', namespace: NAMESPACE },
    data: { 'service.mjs': program },
  };
  return [stringify(configMap), ...[deployment, service, route].map((document) => document.toString())].join('---\n');
}
