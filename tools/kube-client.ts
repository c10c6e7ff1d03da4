import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { Agent, request as send, type Dispatcher } from 'undici';
import { parse } from 'yaml';

/** What every object of the Kubernetes API has; the rest is as its kind says. */
export interface KubeObject {
  readonly apiVersion?: string | undefined;
  readonly kind?: string | undefined;
  readonly metadata: Metadata;
  readonly [field: string]: unknown;
}

export interface Metadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly deletionTimestamp?: string | undefined;
  readonly deletionGracePeriodSeconds?: number | undefined;
  readonly [field: string]: unknown;
}

export interface KubeList<T extends KubeObject> {
  readonly metadata: { readonly resourceVersion: string };
  readonly items: readonly T[];
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** An API server, as one user. Only as much of a client as servers for tests need. */
export interface KubeClient {
  readonly url: string;
  /**
   * Sends one request and returns the answer: JSON parsed, anything else as text. A string is sent as it is.
   * Throws {@link KubeRefusal} unless the answer is 2xx, and gives up after 30 s.
   */
  request<T = KubeObject>(method: Method, path: string, body?: unknown, contentType?: string): Promise<T>;
  /** Creates each object, or makes it what is given: a forced server-side apply, with the user as its field manager. */
  apply(objects: readonly KubeObject[], fieldManager?: string): Promise<void>;
  /** Waits until objects of a kind can be made; a kind that was defined a moment ago may take another. */
  serves(apiVersion: string, kind: string): Promise<void>;
  /** The lines of an answer that goes on until the server or the signal ends it. */
  stream(path: string, signal: AbortSignal): AsyncGenerator<string, void>;
  close(): Promise<void>;
}

export interface KubeAccess {
  readonly url: string;
  readonly user: string;
  readonly token: string;
  /** The certificates that the server's own must be signed by, as PEM. */
  readonly ca: string;
}

/** An answer that is not 2xx. */
export class KubeRefusal extends Error {
  override readonly name = 'KubeRefusal';

  constructor(
    request: string,
    readonly status: number,
    /** Such as `NotFound`, `AlreadyExists`, `Conflict` or `Forbidden`; empty when the server gave none. */
    readonly reason: string,
    message: string,
  ) {
    super(`${request}: ${status} ${reason}: ${message}`);
  }
}

const GONE = 410;
const TOO_MANY_REQUESTS = 429;
const FIRST_SERVER_ERROR = 500;

/** Whether the same request may succeed later: the server is away, busy, or has just come back. */
export function mayPass(error: unknown): boolean {
  if (error instanceof KubeRefusal) {
    return error.status === GONE || error.status === TOO_MANY_REQUESTS || error.status >= FIRST_SERVER_ERROR;
  }
  // Failures of the connection have codes; a mistake of ours has none.
  return error instanceof Error && 'code' in error;
}

interface Kubeconfig {
  readonly 'current-context': string;
  readonly contexts: readonly { name: string; context: { cluster: string; user: string } }[];
  readonly clusters: readonly { name: string; cluster: { server: string; 'certificate-authority-data': string } }[];
  readonly users: readonly { name: string; user: { token: string } }[];
}

/** The path of an object of a kind. */
type PathOf = (object: KubeObject) => string;

interface ResourceList {
  readonly resources: readonly { readonly name: string; readonly kind: string; readonly namespaced: boolean }[];
}

/** Longer than a busy machine needs to define the kinds of the Gateway API in a server that has just come up. */
const REQUEST_TIMEOUT_MS = 30_000;
/** How long a kind that was just defined may take to be served. */
const KIND_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

/** The cluster and user of a context of a kubeconfig file that holds certificate and token themselves. */
export async function readKubeconfig(path: string, context?: string): Promise<KubeAccess> {
  const config = parse(await readFile(path, 'utf8')) as Kubeconfig;
  const chosen = named(config.contexts, context ?? config['current-context'], path).context;
  const { cluster } = named(config.clusters, chosen.cluster, path);
  const { user } = named(config.users, chosen.user, path);
  const ca = Buffer.from(cluster['certificate-authority-data'], 'base64').toString();
  return { url: cluster.server, user: chosen.user, token: user.token, ca };
}

/** The content of a kubeconfig file with a context of the same name for each user; the first one is current. */
export function kubeconfig(accesses: readonly [KubeAccess, ...KubeAccess[]]): string {
  const [{ url, ca, user: current }] = accesses;
  // Without TLS clients only go where they are told that nothing is to be verified.
  const trust = url.startsWith('http:')
    ? { 'insecure-skip-tls-verify': true }
    : { 'certificate-authority-data': Buffer.from(ca).toString('base64') };
  const cluster = { server: url, ...trust };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': current,
    clusters: [{ name: 'slipway', cluster }],
    users: accesses.map(({ user, token }) => ({ name: user, user: { token } })),
    contexts: accesses.map(({ user }) => ({ name: user, context: { cluster: 'slipway', user } })),
  };
  // A kubeconfig is YAML, and JSON is YAML.
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** A client for one user; `close` it, or its connections keep the process alive for a while. */
export function connect(access: KubeAccess): KubeClient {
  const dispatcher = new Agent({ connect: { ca: access.ca, timeout: REQUEST_TIMEOUT_MS } });
  const kinds = new Map<string, PathOf>();

  const client: KubeClient = {
    url: access.url,

    async request<T>(method: Method, path: string, body?: unknown, contentType = 'application/json'): Promise<T> {
      const response = await send(`${access.url}${path}`, {
        method,
        dispatcher,
        headers: headers(access, contentType),
        body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const answer = await decode(response);
      if (response.statusCode >= 300) throw refusal(`${method} ${path}`, response.statusCode, answer);
      return answer as T;
    },

    async apply(objects, fieldManager = access.user) {
      for (const object of objects) {
        const path = (await kindOf(object.apiVersion ?? '', object.kind ?? ''))(object);
        const query = new URLSearchParams({ fieldManager, force: 'true' });
        await client.request('PATCH', `${path}?${query}`, object, 'application/apply-patch+yaml');
      }
    },

    async serves(apiVersion, kind) {
      await kindOf(apiVersion, kind);
    },

    async *stream(path, signal) {
      const response = await send(`${access.url}${path}`, {
        dispatcher,
        headers: headers(access),
        headersTimeout: REQUEST_TIMEOUT_MS,
        bodyTimeout: 0,
        signal,
      });
      if (response.statusCode >= 300) throw refusal(`GET ${path}`, response.statusCode, await decode(response));
      yield* lines(response.body);
    },

    close: () => dispatcher.destroy(),
  };

  async function kindOf(apiVersion: string, kind: string): Promise<PathOf> {
    const key = `${apiVersion}/${kind}`;
    const pathOf = kinds.get(key) ?? (await findKind(client, apiVersion, kind));
    kinds.set(key, pathOf);
    return pathOf;
  }

  return client;
}

/** Finds out how the path of an object of a kind is made; waits for a kind that was defined a moment ago. */
async function findKind(client: KubeClient, apiVersion: string, kind: string): Promise<PathOf> {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  for (const deadline = Date.now() + KIND_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    const { resources } = await client.request<ResourceList>('GET', root).catch(nothingYet);
    const resource = resources.find((candidate) => candidate.kind === kind && !candidate.name.includes('/'));
    if (resource !== undefined) {
      return ({ metadata: { name, namespace = 'default' } }) =>
        resource.namespaced
          ? `${root}/namespaces/${namespace}/${resource.name}/${name}`
          : `${root}/${resource.name}/${name}`;
    }
    if (Date.now() > deadline) throw new Error(`${client.url} serves no ${kind} of ${apiVersion}`);
  }
}

function nothingYet(error: unknown): ResourceList {
  if (error instanceof KubeRefusal && error.status === 404) return { resources: [] };
  throw error;
}

function headers({ token }: KubeAccess, contentType?: string): Record<string, string> {
  const type = contentType === undefined ? {} : { 'content-type': contentType };
  return { authorization: `Bearer ${token}`, accept: 'application/json', ...type };
}

async function decode({ headers, body }: Dispatcher.ResponseData): Promise<unknown> {
  const text = await body.text();
  return String(headers['content-type']).startsWith('application/json') ? (JSON.parse(text) as unknown) : text;
}

function refusal(request: string, status: number, answer: unknown): KubeRefusal {
  if (typeof answer === 'string') return new KubeRefusal(request, status, '', answer);
  const { reason = '', message = '' } = answer as { readonly reason?: string; readonly message?: string };
  return new KubeRefusal(request, status, reason, message);
}

async function* lines(body: Dispatcher.ResponseData['body']): AsyncGenerator<string, void> {
  let rest = '';
  for await (const chunk of body.setEncoding('utf8') as AsyncIterable<string>) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    yield* parts;
  }
}

function named<T extends { readonly name: string }>(entries: readonly T[], name: string, path: string): T {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry === undefined) throw new Error(`${path} has no ${name}`);
  return entry;
}
