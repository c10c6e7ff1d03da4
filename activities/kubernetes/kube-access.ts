/** Where an API server is, who asks it, and over which connections: all of it may change under a worker that runs. */
import { existsSync, readFileSync } from 'node:fs';
import type { AgentOptions, RequestOptions } from 'node:https';
import { isIPv6 } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Agent } from 'undici';
import type { buildConnector } from 'undici';
import { tokenFilesIn } from '../../formats/kubeconfig.js';
import { Refused, Unavailable } from '../failures.js';
import { HttpMethod, KubeConfig, RequestContext } from './kube-config.js';

/** Where clusters and credentials are found. */
export interface KubeSource {
  /** The files of `KUBECONFIG`; where there are none, `~/.kube/config`. */
  readonly kubeconfig: readonly string[];
  /** The cluster in one of whose pods this runs; null outside of any. */
  readonly own: OwnCluster | null;
}

/** What a pod is told of its cluster. */
export interface OwnCluster {
  readonly host: string;
  readonly port: string;
  /** Folder of the service account's token and of the API server's certificate. */
  readonly account: string;
}

/** How an API server is called. */
export interface Access {
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  /** None for a server without TLS. */
  readonly dispatcher: ReturnType<RequestContext['getDispatcher']>;
}

export interface KeptAccess {
  /** The API server's address, as last read. */
  readonly server: string;
  get(): Promise<Access>;
  /** The server takes these credentials no more: they are read anew for the next call. */
  refused(access: Access): Promise<void>;
}

export interface AccessOptions {
  /** Context of the kubeconfig; null for the worker's own cluster, outside of one the current context. */
  readonly context: string | null;
  readonly source: KubeSource;
  /** How long credentials are used before they are read anew, ms. */
  readonly keptMs: number;
  /** Where it is said that they could not be. */
  readonly warn: (text: string) => void;
}

/** Idle connections are kept for so long. */
const KEEP_ALIVE_MS = 60_000;

type How = ReturnType<KubeConfig['createDispatcherOptions']>;

interface Connected {
  readonly access: Access;
  /** What its connections are made with. */
  readonly how: How;
}

/**
 * Reads credentials from where they are kept, once for many calls: whoever made the kubeconfig renews them there, a plugin
 * gives new ones, and a service account's token is written anew. What can't be read in the middle of that, or is cut short,
 * ends nothing: what worked is used on, for as long as the server takes it.
 *
 * @throws Refused when there is no such context
 */
export function openAccess({ context, source, keptMs, warn }: AccessOptions): KeptAccess {
  let config = loadConfig(context, source);
  let last: Connected | null = null;
  /** The server has refused what was read last. */
  let isRefused = false;
  let kept: { readonly access: Promise<Access>; readonly untilMs: number } | null = null;

  async function read(): Promise<Access> {
    try {
      const fresh = loadConfig(context, source);
      // The library keeps what a plugin has given until it runs out, in this very object.
      if (isRefused || fresh.exportConfig() !== config.exportConfig()) config = fresh;
      const made = await connected(config, last);
      // Calls that are under way are ended first; what then goes wrong with it concerns nobody.
      if (last !== null && last.access.dispatcher !== made.access.dispatcher)
        void last.access.dispatcher?.close().catch(() => undefined);
      last = made;
      isRefused = false;
      return made.access;
    } catch (error) {
      const why = messageOf(error);
      if (last === null || isRefused)
        throw new Unavailable(`the worker's access to Kubernetes can't be read: ${why}`, null, { cause: error });
      warn(`the access to Kubernetes at ${last.access.server} can't be read anew, what it was is used on: ${why}`);
      return last.access;
    }
  }

  return {
    get server() {
      return last?.access.server ?? serverOf(config);
    },
    async get() {
      if (kept !== null && performance.now() < kept.untilMs) return kept.access;
      const made = { access: read(), untilMs: performance.now() + keptMs };
      kept = made;
      try {
        return await made.access;
      } catch (error) {
        if (kept === made) kept = null;
        throw error;
      }
    },
    async refused(access) {
      const current = await kept?.access.catch(() => null);
      // Of many calls that were refused at once, the first has it read anew for all.
      if (current !== access) return;
      kept = null;
      isRefused = true;
    },
  };
}

/** What stands there now. @throws Refused where it names no cluster, or not this context */
function loadConfig(context: string | null, { kubeconfig, own }: KubeSource): KubeConfig {
  // Before any kubeconfig, which a worker has to reach other clusters than its own.
  if (context === null && own !== null && existsSync(tokenOf(own))) return ownCluster(own);
  const usual = path.join(homedir(), '.kube', 'config');
  const files = kubeconfig.length === 0 && existsSync(usual) ? [usual] : kubeconfig;
  const [config = new KubeConfig(), ...others] = files.map(readConfig);
  for (const other of others) config.mergeConfig(other, Boolean(config.getCurrentContext()));
  const name = context ?? config.getCurrentContext();
  const chosen = name ? config.getContextObject(name) : null;
  if (chosen === null && context !== null) {
    const known = config.getContexts().map((each) => each.name);
    throw new Refused(
      `the worker's kubeconfig has no context "${context}": it has ${known.length === 0 ? 'none' : known.join(', ')}`,
    );
  }
  if (chosen === null || config.getCluster(chosen.cluster) === null)
    throw new Refused('the worker knows no Kubernetes cluster: give it a kubeconfig (KUBECONFIG) or a service account');
  // Without this it would ask as nobody, and be told that it may do nothing.
  if (chosen.user && config.getUser(chosen.user) === null)
    throw new Refused(`the worker's kubeconfig has no user "${chosen.user}", whom its context "${name}" names`);
  config.setCurrentContext(chosen.name);
  return config;
}

function tokenOf({ account }: OwnCluster): string {
  return path.join(account, 'token');
}

function ownCluster(own: OwnCluster): KubeConfig {
  const config = new KubeConfig();
  const server = `https://${isIPv6(own.host) ? `[${own.host}]` : own.host}:${own.port}`;
  const caFile = path.join(own.account, 'ca.crt');
  config.loadFromClusterAndUser(
    { name: 'own', server, caFile, skipTLSVerify: false },
    { name: 'service account', authProvider: tokenFile(tokenOf(own)) },
  );
  return config;
}

/** How the library is told of a file that holds a token. */
function tokenFile(file: string) {
  return { name: 'tokenFile', config: { tokenFile: file } };
}

/** @throws Unavailable where it can't be read now: it may be written just then */
function readConfig(file: string): KubeConfig {
  try {
    return configIn(readFileSync(file, 'utf8'), path.dirname(file));
  } catch (error) {
    throw new Unavailable(`the kubeconfig ${file} can't be read: ${messageOf(error)}`, null, { cause: error });
  }
}

function configIn(text: string, folder: string): KubeConfig {
  const files = tokenFilesIn(text);
  const config = new KubeConfig();
  config.loadFromString(text);
  config.makePathsAbsolute(folder);
  // The library does not know this key of kubectl's; where both are given, kubectl takes the file.
  config.users = config.users.map((user) => {
    const found = files.get(user.name);
    if (found === undefined) return user;
    const { token: _, ...others } = user;
    return { ...others, authProvider: tokenFile(path.resolve(folder, found)) };
  });
  return config;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function serverOf(config: KubeConfig): string {
  return (config.getCurrentCluster()?.server ?? '').replace(/\/+$/, '');
}

/** The connections of before are kept where nothing about them has changed: each new one costs a handshake. */
async function connected(config: KubeConfig, before: Connected | null): Promise<Connected> {
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const how = config.createDispatcherOptions(config.getCurrentCluster(), options as AgentOptions);
  const { auth } = options;
  const basic = auth == null ? {} : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` };
  // A file with a token mostly ends with a line break, which no header may have.
  const given = Object.entries(options.headers ?? {}).map(([name, value]) => [
    name.toLowerCase(),
    String(value).trim(),
  ]);
  const headers: Readonly<Record<string, string>> = { ...basic, ...Object.fromEntries(given) };
  const provider = config.getCurrentUser()?.authProvider as {
    readonly config?: { readonly tokenFile?: string };
  } | null;
  const file = provider?.config?.tokenFile;
  if (file !== undefined && !/^Bearer \S/.test(headers['authorization'] ?? ''))
    throw new Error(`the token file ${file} is empty`);
  const dispatcher = isDeepStrictEqual(before?.how, how) ? before?.access.dispatcher : await dispatcherFor(config, how);
  return { access: { server: serverOf(config), headers, dispatcher }, how };
}

async function dispatcherFor(config: KubeConfig, how: How): Promise<Access['dispatcher']> {
  if (how.type === 'agent') {
    // The library's own lets connections go after 4 s without a call.
    return new Agent({ connect: how.connect as buildConnector.BuildOptions, keepAliveTimeout: KEEP_ALIVE_MS });
  }
  const request = new RequestContext(serverOf(config), HttpMethod.GET);
  await config.applySecurityAuthentication(request);
  return request.getDispatcher();
}
