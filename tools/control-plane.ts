import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { parseAllDocuments } from 'yaml';

import {
  connect,
  kubeconfig,
  KubeRefusal,
  type KubeAccess,
  type KubeClient,
  type KubeObject,
  type Method,
} from './kube-client.js';
import { freePort, startServer, type Server } from './supervise.js';
import { findEtcd, findGatewayApi, findKubeApiServer, findKubeControllerManager } from './toolbox.js';

export interface ControlPlaneOptions {
  /** Gets all state, certificates, logs and the kubeconfig; a control plane that is started here again goes on. */
  readonly dir: string;
  /** Whether writes are logged in `auditLog`; true unless said otherwise. */
  readonly audit?: boolean;
  /** The address that the API server listens on; 127.0.0.1 unless said otherwise. */
  readonly bindAddress?: string;
}

/** A Kubernetes without nodes: API server, its store, and controllers, with the Gateway API defined. */
export interface ControlPlane {
  readonly url: string;
  /**
   * The path of a kubeconfig with a context for each user: `admin` (the current one), `node-agent` and `traefik`, who
   * may do everything, and `slipway` and `kubectl`, who may do nothing until a role is bound to them.
   */
  readonly kubeconfig: string;
  /** The path of the audit log: writes to what a rollout touches, one JSON line each, after they were answered. */
  readonly auditLog: string;
  readonly etcd: Server;
  readonly apiServer: Server;
  readonly controllerManager: Server;
  /** Creates each object, or makes it what is given: a forced server-side apply as admin. */
  apply(objects: readonly KubeObject[], fieldManager?: string): Promise<void>;
  /** Applies all objects of a file, which is YAML, or JSON where its name says so. */
  applyFile(path: string): Promise<void>;
  /** Sends one request as admin and returns the parsed answer; throws a `KubeRefusal` unless it is 2xx. */
  request<T = KubeObject>(method: Method, path: string, body?: unknown, contentType?: string): Promise<T>;
  stop(): Promise<void>;
}

interface User {
  readonly name: string;
  readonly group?: string;
}

interface Definition extends KubeObject {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly served: boolean }[];
  };
}

const MASTERS = 'system:masters';
const CONTROLLER_MANAGER = 'system:kube-controller-manager';
const USERS: readonly [User, ...User[]] = [
  { name: 'admin', group: MASTERS },
  { name: 'slipway' },
  { name: 'kubectl' },
  { name: 'node-agent', group: MASTERS },
  { name: 'traefik', group: MASTERS },
];

/** An address that the API server can announce in a network namespace without a default route; nobody dials it. */
const ADVERTISED = '10.244.255.254';
/** Apart from the addresses of pods, which are 10.244.0.0/16. */
const SERVICE_ADDRESSES = '10.243.0.0/16';
/** What rollouts need of it: a controller manager that runs less starts sooner and writes less. */
const CONTROLLERS = [
  'deployment-controller',
  'replicaset-controller',
  'statefulset-controller',
  'daemonset-controller',
  'endpointslice-controller',
  'garbage-collector-controller',
  'namespace-controller',
  'horizontal-pod-autoscaler-controller',
  'disruption-controller',
  'clusterrole-aggregation-controller',
];
const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  omitManagedFields: true,
  rules: [
    {
      level: 'RequestResponse',
      verbs: ['create', 'update', 'patch', 'delete', 'deletecollection'],
      resources: [
        { group: '', resources: ['configmaps', 'services'] },
        { group: 'apps', resources: ['deployments', 'deployments/scale'] },
        { group: 'autoscaling', resources: ['horizontalpodautoscalers'] },
        { group: 'gateway.networking.k8s.io', resources: ['httproutes', 'grpcroutes'] },
      ],
    },
    { level: 'None' },
  ],
};
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/**
 * Starts etcd, a Kubernetes API server and the controllers that rollouts need, on free ports of 127.0.0.1, and defines
 * the Gateway API. All end with this process. Pods get no further than Pending: see `startNodeAgent`.
 */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const starts: Promise<Server>[] = [];
  const keep = (start: Promise<Server>): Promise<Server> => {
    starts.push(start);
    return start;
  };
  const stop = async (): Promise<void> => {
    const results = await Promise.allSettled(starts);
    const [etcd, ...others] = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    await Promise.all(others.map((server) => server.stop()));
    await etcd?.stop();
  };
  try {
    await mkdir(options.dir, { recursive: true });
    const tokens = await writeSecrets(options.dir);
    const etcdUrl = `http://127.0.0.1:${await freePort()}`;
    const etcd = await keep(startEtcd(options.dir, etcdUrl));
    const { bindAddress = '127.0.0.1' } = options;
    // The server's certificate is for the address that it listens on, or for `localhost` when that is every address.
    const url = `https://${bindAddress === '0.0.0.0' ? 'localhost' : bindAddress}:${await freePort()}`;
    const apiServer = await keep(startApiServer(options, etcdUrl, url, tokenOf(tokens, 'admin')));

    const ca = await readFile(servingCertificate(options.dir), 'utf8');
    const accessOf = ({ name: user }: User): KubeAccess => ({ url, user, token: tokenOf(tokens, user), ca });
    const [first, ...others] = USERS;
    const path = join(options.dir, 'kubeconfig');
    await writeFile(path, kubeconfig([accessOf(first), ...others.map(accessOf)]), { mode: 0o600 });
    const admin = connect(accessOf(first));
    const [controllerManager] = await Promise.all([
      keep(startControllerManager(options.dir, accessOf({ name: CONTROLLER_MANAGER }))),
      defineGatewayApi(admin),
      hasNamespace(admin, 'default'),
    ]);
    return {
      url,
      kubeconfig: path,
      auditLog: auditLog(options.dir),
      etcd,
      apiServer,
      controllerManager,
      apply: (objects, fieldManager) => admin.apply(objects, fieldManager),
      applyFile: async (file) => admin.apply(await readObjects(file)),
      request: (...request) => admin.request(...request),
      async stop() {
        await admin.close();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startEtcd(dir: string, url: string): Promise<Server> {
  const { path } = await findEtcd();
  const peerUrl = `http://127.0.0.1:${await freePort()}`;
  return startServer({
    name: 'etcd',
    command: path,
    args: [
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      '--unsafe-no-fsync',
      // Alone, it waits for one election timeout before it serves.
      '--heartbeat-interval=20',
      '--election-timeout=100',
      '--logger=zap',
      '--log-level=warn',
    ],
    ready: `${url}/health`,
    logFile: join(dir, 'etcd.log'),
  });
}

async function startApiServer(
  { dir, audit = true, bindAddress = '127.0.0.1' }: ControlPlaneOptions,
  etcdUrl: string,
  url: string,
  token: string,
): Promise<Server> {
  const { path } = await findKubeApiServer();
  const { port } = new URL(url);
  const auditArgs = [
    `--audit-policy-file=${join(dir, 'audit-policy.json')}`,
    `--audit-log-path=${auditLog(dir)}`,
    '--audit-log-maxsize=10000',
  ];
  return startServer({
    name: 'Kubernetes API server',
    command: path,
    args: [
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${bindAddress}`,
      `--secure-port=${port}`,
      `--advertise-address=${ADVERTISED}`,
      // Nothing reaches this server by the Service `kubernetes`, so nobody need keep its endpoints.
      '--endpoint-reconciler-type=none',
      `--service-cluster-ip-range=${SERVICE_ADDRESSES}`,
      `--cert-dir=${join(dir, 'certificates')}`,
      '--authorization-mode=RBAC',
      `--token-auth-file=${join(dir, 'tokens.csv')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${accountKey(dir)}`,
      `--service-account-signing-key-file=${accountKey(dir)}`,
      // It refuses pods until a controller has made an account for them, which no pod here uses.
      '--disable-admission-plugins=ServiceAccount',
      ...(audit ? auditArgs : []),
    ],
    ready: () => answers(url, token, servingCertificate(dir), '/readyz'),
    readyTimeoutMs: READY_TIMEOUT_MS,
    logFile: join(dir, 'kube-apiserver.log'),
  });
}

async function startControllerManager(dir: string, access: KubeAccess): Promise<Server> {
  const { path } = await findKubeControllerManager();
  const certificates = join(dir, 'controller-manager');
  const config = join(dir, 'controller-manager.kubeconfig');
  const port = await freePort();
  await writeFile(config, kubeconfig([access]), { mode: 0o600 });
  return startServer({
    name: 'Kubernetes controller manager',
    command: path,
    args: [
      `--kubeconfig=${config}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${certificates}`,
      `--controllers=${CONTROLLERS.join(',')}`,
      '--leader-elect=false',
      // As real clusters do: each controller is a user of its own, with just its rights, and named so in the audit log.
      '--use-service-account-credentials',
      `--service-account-private-key-file=${accountKey(dir)}`,
      '--kube-api-qps=500',
      '--kube-api-burst=1000',
      '--horizontal-pod-autoscaler-sync-period=1s',
    ],
    ready: () =>
      answers(`https://127.0.0.1:${port}`, '', join(certificates, 'kube-controller-manager.crt'), '/healthz'),
    readyTimeoutMs: READY_TIMEOUT_MS,
    logFile: join(dir, 'kube-controller-manager.log'),
  });
}

/** Makes the definitions, those that are not there yet, and waits until their kinds are served. */
async function defineGatewayApi(admin: KubeClient): Promise<void> {
  const { path } = await findGatewayApi();
  const files = await Promise.all((await readdir(path)).map((name) => readObjects(join(path, name))));
  const definitions = files.flat().filter(isDefinition);
  await Promise.all([
    admin.apply(files.flat().filter((object) => !isDefinition(object))),
    // An apply of the largest would take seconds: the server compares schemas field by field.
    ...definitions.map((definition) => create(admin, DEFINITIONS, definition)),
  ]);
  const kinds = definitions.flatMap(({ spec: { group, names, versions } }) =>
    versions.filter(({ served }) => served).map(({ name }) => ({ apiVersion: `${group}/${name}`, kind: names.kind })),
  );
  // One after the other: while one is waited for, the others come.
  for (const { apiVersion, kind } of kinds) await admin.serves(apiVersion, kind);
}

function isDefinition(object: KubeObject): object is Definition {
  return object.kind === 'CustomResourceDefinition';
}

async function create(admin: KubeClient, collection: string, object: KubeObject): Promise<void> {
  try {
    await admin.request('POST', collection, object);
  } catch (error) {
    if (!(error instanceof KubeRefusal) || error.reason !== 'AlreadyExists') throw error;
  }
}

/** Waits for a namespace that the API server makes a moment after it is ready. */
async function hasNamespace(admin: KubeClient, name: string): Promise<void> {
  for (const deadline = Date.now() + READY_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    try {
      await admin.request('GET', `/api/v1/namespaces/${name}`);
      return;
    } catch (error) {
      if (!(error instanceof KubeRefusal) || error.status !== 404 || Date.now() > deadline) throw error;
    }
  }
}

/** Writes the files that the servers read at their start; secrets that are there already stay. Returns the tokens. */
async function writeSecrets(dir: string): Promise<ReadonlyMap<string, string>> {
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  await writeOnce(accountKey(dir), privateKey);
  const users: readonly User[] = [...USERS, { name: CONTROLLER_MANAGER }];
  const rows = users.map(({ name, group }) => [randomBytes(24).toString('hex'), name, name, ...(group ? [group] : [])]);
  await writeOnce(join(dir, 'tokens.csv'), `${rows.map((row) => row.join(',')).join('\n')}\n`);
  await writeFile(join(dir, 'audit-policy.json'), JSON.stringify(AUDIT_POLICY, null, 2));

  const kept = (await readFile(join(dir, 'tokens.csv'), 'utf8')).trim().split('\n');
  return new Map(kept.map((row) => row.split(',')).map(([token = '', user = '']) => [user, token]));
}

async function writeOnce(path: string, content: string): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function tokenOf(tokens: ReadonlyMap<string, string>, user: string): string {
  const token = tokens.get(user);
  if (token === undefined) throw new Error(`tokens.csv has no token for ${user}: start in an empty folder`);
  return token;
}

async function answers(url: string, token: string, certificate: string, path: string): Promise<boolean> {
  try {
    const client = connect({ url, user: '', token, ca: await readFile(certificate, 'utf8') });
    try {
      await client.request('GET', path);
      return true;
    } finally {
      await client.close();
    }
  } catch {
    // Not yet: whatever the reason, it is asked again until the time is up.
    return false;
  }
}

async function readObjects(file: string): Promise<readonly KubeObject[]> {
  const text = await readFile(file, 'utf8');
  const documents = file.endsWith('.json')
    ? [JSON.parse(text) as KubeObject]
    : parseAllDocuments(text).map((document) => document.toJS() as KubeObject | null);
  return documents.flatMap((document) => {
    if (document === null) return [];
    return document.kind === 'List' ? (document['items'] as readonly KubeObject[]) : [document];
  });
}

/** The API server makes a certificate for itself, signed by a CA that it makes too; the file holds both. */
function servingCertificate(dir: string): string {
  return join(dir, 'certificates', 'apiserver.crt');
}

function accountKey(dir: string): string {
  return join(dir, 'service-account.pem');
}

function auditLog(dir: string): string {
  return join(dir, 'audit.log');
}
