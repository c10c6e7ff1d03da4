import path from 'node:path';
import { z } from 'zod';
import type { KubeSource } from '../activities/kubernetes/kube-access.js';
import type { KubePlace } from '../activities/kubernetes/kubernetes-platform.js';
import type { S3Config } from '../activities/objects/s3-objects.js';
import { SLACK_API_URL } from '../formats/slack-api.js';
import { digestOf, shortDigest } from '../domain/canonical.js';

const Url = z.url({ protocol: /^https?$/, message: 'an http:// or https:// address' });
const Port = z.coerce.number().int().min(0).max(65535);

/** Paths are put behind it. */
function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '');
}

/** Texts between commas. */
function commaList(fallback = '') {
  return z
    .string()
    .default(fallback)
    .transform((text) =>
      text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    );
}

/** How image registries are asked for digests. */
const RegistryEnv = z.object({
  /** Folder of a Docker `config.json`; its `auths` are the logins. Without it only public images can be resolved. */
  DOCKER_CONFIG: z.string().min(1).optional(),
  /** Registries, `host:port` as in image references, that speak plain http; those of this machine always do. */
  SLIPWAY_REGISTRY_INSECURE: commaList().pipe(
    z.array(z.string().regex(/^[\w.-]+(:\d{1,5})?$|^\[[a-f\d:]+\](:\d{1,5})?$/i, 'host:port, without http://')),
  ),
  /** Limit for the question which bytes an image's tag names, ms; below the 10 s that the activity may take. */
  SLIPWAY_REGISTRY_TIMEOUT_MS: z.coerce.number().int().min(100).max(8000).default(3000),
});

/** How clusters of Kubernetes are found. */
const ClustersEnv = z.object({
  /** Files of a kubeconfig, as kubectl takes them; without it `~/.kube/config`. */
  KUBECONFIG: z.string().optional(),
  /** Where Kubernetes tells each pod that its own API server is. */
  KUBERNETES_SERVICE_HOST: z.string().optional(),
  KUBERNETES_SERVICE_PORT: z.string().default('443'),
});

/** Where Kubernetes puts the account of a pod. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Where evidence, trails and records are kept. */
const StorageEnv = z.object({
  /** Folder for evidence, trails, records and scrapes, shared by all workers. */
  SLIPWAY_DATA_DIR: z.string().min(1).default('.slipway'),
  /** `s3://bucket` or `s3://bucket/prefix`: evidence, trails and records go there instead. */
  SLIPWAY_EVIDENCE_STORE: z
    .string()
    .regex(
      /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[A-Za-z0-9_.-]+)*\/?$/,
      's3://bucket or s3://bucket/prefix; leave it out for the folder SLIPWAY_DATA_DIR',
    )
    .optional(),
  /** Address of an S3-compatible server; AWS where absent. */
  SLIPWAY_S3_ENDPOINT: Url.optional(),
  /** @default AWS_REGION, else us-east-1 */
  SLIPWAY_S3_REGION: z.string().min(1).optional(),
  AWS_REGION: z.string().min(1).optional(),
  AWS_ACCESS_KEY_ID: z.string().min(1).optional(),
  AWS_SECRET_ACCESS_KEY: z.string().min(1).optional(),
  AWS_SESSION_TOKEN: z.string().min(1).optional(),
});

/**
 * The worker's settings, by environment variable. Connection settings are Temporal's own (`TEMPORAL_ADDRESS`,
 * `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*`, `TEMPORAL_PROFILE`): see `@temporalio/envconfig`.
 */
const WorkerEnv = z.object({
  ...RegistryEnv.shape,
  ...StorageEnv.shape,
  ...ClustersEnv.shape,
  /** Task queue of workflows and effects; watches use `<queue>-waits`. */
  SLIPWAY_TASK_QUEUE: z.string().min(1).default('slipway'),
  /**
   * JWK Set with the public keys of the servers whose signed decisions count; read at each decision. Default:
   * `keys/trusted.json` in the data folder. Where there is no such file, no server is trusted.
   */
  SLIPWAY_TRUSTED_KEYS_FILE: z.string().min(1).optional(),
  /** Admin addresses of the local gateways that this worker looks after, separated by commas. */
  SLIPWAY_GATEWAYS: commaList('http://127.0.0.1:7700').pipe(z.array(Url)),
  /**
   * Namespaces of Kubernetes that this worker looks after, separated by commas: `namespace`, or `context/namespace` for
   * another cluster than the worker's own. The contexts are those of its kubeconfig (`KUBECONFIG`).
   */
  SLIPWAY_KUBERNETES: commaList()
    .transform((items) =>
      items.map((item) => {
        // Names of contexts may hold slashes, those of namespaces don't.
        const slash = item.lastIndexOf('/');
        return { context: slash < 0 ? null : item.slice(0, slash), namespace: item.slice(slash + 1) };
      }),
    )
    .pipe(
      z.array(
        z.object({
          context: z.string().min(1, 'a context before the slash').nullable(),
          namespace: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'context/namespace, or a namespace'),
        }),
      ),
    ),
  /** Host and port of /metrics, /healthz and /readyz. Port 0 takes a free one. */
  SLIPWAY_HTTP_HOST: z.string().default('127.0.0.1'),
  SLIPWAY_HTTP_PORT: Port.default(9464),
  SLIPWAY_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  /** Watches that may run at once; each is one slot. */
  SLIPWAY_MAX_WATCHES: z.coerce.number().int().min(1).default(2000),
  /** Workflows kept in memory; others are replayed when they are needed. */
  SLIPWAY_MAX_CACHED_WORKFLOWS: z.coerce.number().int().min(1).default(400),
  /** Key of an OpenAI-compatible API. Without it the rules' floor stands and a person must approve. */
  OPENAI_API_KEY: z.string().min(1).optional(),
  OPENAI_BASE_URL: Url.optional(),
  SLIPWAY_RISK_MODEL: z.string().min(1).default('gpt-5-mini'),
  SLIPWAY_RISK_MODEL_TIMEOUT_MS: z.coerce.number().int().min(100).max(50_000).default(20_000),
  SLIPWAY_RISK_MODEL_CALLS_PER_HOUR: z.coerce.number().int().min(0).default(200),
  /** Token of the app's bot, `xoxb-…`: without it a policy's `slack` is a warning. */
  SLIPWAY_SLACK_BOT_TOKEN: z.string().min(1).optional(),
  /** Address of Slack's Web API. */
  SLIPWAY_SLACK_API_URL: Url.default(SLACK_API_URL).transform(withoutSlash),
  /** Where people reach `slipway server`: messages link to its pages. */
  SLIPWAY_PUBLIC_URL: Url.transform(withoutSlash).optional(),
});

export interface RegistryConfig {
  /** Path of a Docker `config.json`, or null. */
  readonly dockerConfig: string | null;
  readonly insecure: readonly string[];
  readonly timeoutMs: number;
}

export interface StorageConfig {
  readonly dataDir: string;
  /** Null: in the folder `dataDir`. */
  readonly s3: S3Config | null;
}

export interface WorkerConfig {
  readonly taskQueue: string;
  readonly storage: StorageConfig;
  readonly dataDir: string;
  /** Path of the JWK Set of trusted servers. */
  readonly trustedKeysFile: string;
  readonly gateways: readonly string[];
  /** Where anchors are looked for on Kubernetes. */
  readonly kubernetes: readonly KubePlace[];
  /** How clusters are found. */
  readonly clusters: KubeSource;
  readonly http: { readonly host: string; readonly port: number };
  readonly logLevel: z.infer<typeof WorkerEnv>['SLIPWAY_LOG_LEVEL'];
  readonly maxWatches: number;
  readonly maxCachedWorkflows: number;
  readonly registry: RegistryConfig;
  readonly riskModel: {
    readonly apiKey: string | null;
    readonly baseUrl: string | null;
    readonly model: string;
    readonly timeoutMs: number;
    readonly maxCallsPerHour: number;
  };
  readonly slack: {
    /** Null: no message is sent. */
    readonly botToken: string | null;
    readonly apiUrl: string;
  };
  /** Address of the server's pages, without a slash at its end; null where there is none. */
  readonly publicUrl: string | null;
  /** Webhook addresses by name, from `SLIPWAY_WEBHOOK_<NAME>`. */
  readonly webhooks: Readonly<Record<string, string>>;
  /** Secrets that a policy may name, from `SLIPWAY_SECRET_<NAME>`. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Digest of all settings but the secrets' values: logged, so that two workers can be compared. */
  readonly version: string;
}

/** A setting that is missing or wrong. The message names each, and the remedy. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

type Env = Readonly<Record<string, string | undefined>>;

/** Reads the settings once, at the start. @throws ConfigError */
export function loadWorkerConfig(env: Env): WorkerConfig {
  const given = withoutEmpty(env);
  const values = read(WorkerEnv, given);
  const webhooks = named(given, 'SLIPWAY_WEBHOOK_');
  for (const [name, url] of Object.entries(webhooks)) {
    if (!Url.safeParse(url).success)
      throw new ConfigError(`SLIPWAY_WEBHOOK_${name.toUpperCase()} is not an http:// or https:// address`);
  }
  const secrets = loadSecrets(env);
  const config = {
    taskQueue: values.SLIPWAY_TASK_QUEUE,
    dataDir: values.SLIPWAY_DATA_DIR,
    trustedKeysFile: values.SLIPWAY_TRUSTED_KEYS_FILE ?? path.join(values.SLIPWAY_DATA_DIR, 'keys', 'trusted.json'),
    gateways: values.SLIPWAY_GATEWAYS,
    kubernetes: values.SLIPWAY_KUBERNETES,
    clusters: kubeSource(values),
    http: { host: values.SLIPWAY_HTTP_HOST, port: values.SLIPWAY_HTTP_PORT },
    logLevel: values.SLIPWAY_LOG_LEVEL,
    maxWatches: values.SLIPWAY_MAX_WATCHES,
    maxCachedWorkflows: values.SLIPWAY_MAX_CACHED_WORKFLOWS,
    registry: registryConfig(values),
    publicUrl: values.SLIPWAY_PUBLIC_URL ?? null,
  };
  const slack = { botToken: values.SLIPWAY_SLACK_BOT_TOKEN ?? null, apiUrl: values.SLIPWAY_SLACK_API_URL };
  const riskModel = {
    apiKey: values.OPENAI_API_KEY ?? null,
    baseUrl: values.OPENAI_BASE_URL ?? null,
    model: values.SLIPWAY_RISK_MODEL,
    timeoutMs: values.SLIPWAY_RISK_MODEL_TIMEOUT_MS,
    maxCallsPerHour: values.SLIPWAY_RISK_MODEL_CALLS_PER_HOUR,
  };
  const storage = storageConfig(values);
  const { s3 } = storage;
  const public_ = {
    ...config,
    s3: s3 === null ? null : { bucket: s3.bucket, prefix: s3.prefix, endpoint: s3.endpoint, region: s3.region },
    riskModel: { ...riskModel, apiKey: riskModel.apiKey !== null },
    slack: { ...slack, botToken: slack.botToken !== null },
    webhooks: Object.keys(webhooks),
    secrets: Object.keys(secrets),
  };
  return { ...config, storage, riskModel, slack, webhooks, secrets, version: shortDigest(digestOf(public_)) };
}

/** The `Authorization` headers that policies name, by name. */
export function loadSecrets(env: Env): Readonly<Record<string, string>> {
  return named(withoutEmpty(env), 'SLIPWAY_SECRET_');
}

/** What of the settings a command needs that asks a registry by itself. @throws ConfigError */
export function loadRegistryConfig(env: Env): RegistryConfig {
  return registryConfig(read(RegistryEnv, withoutEmpty(env)));
}

/**
 * What of the settings a command needs that asks a cluster by itself, in whose place there is no worker: it goes where
 * kubectl would go. @throws ConfigError
 */
export function loadClusters(env: Env): KubeSource {
  const source = kubeSource(read(ClustersEnv, withoutEmpty(env)));
  return source.kubeconfig.length > 0 ? { ...source, own: null } : source;
}

/** What of the settings a command needs that reads what is kept. @throws ConfigError */
export function loadStorageConfig(env: Env): StorageConfig {
  return storageConfig(read(StorageEnv, withoutEmpty(env)));
}

function storageConfig(values: z.infer<typeof StorageEnv>): StorageConfig {
  const { SLIPWAY_DATA_DIR: dataDir, SLIPWAY_EVIDENCE_STORE: store } = values;
  if (store === undefined) return { dataDir, s3: null };
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = values;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const missing = accessKeyId === undefined ? 'AWS_ACCESS_KEY_ID' : 'AWS_SECRET_ACCESS_KEY';
    throw new ConfigError(`${missing} is not set, and SLIPWAY_EVIDENCE_STORE=${store} can't be had without it`);
  }
  const [bucket = '', ...prefix] = store
    .replace(/^s3:\/\//, '')
    .replace(/\/$/, '')
    .split('/');
  return {
    dataDir,
    s3: {
      bucket,
      prefix: prefix.map((name) => `${name}/`).join(''),
      endpoint: values.SLIPWAY_S3_ENDPOINT ?? null,
      region: values.SLIPWAY_S3_REGION ?? values.AWS_REGION ?? 'us-east-1',
      accessKeyId,
      secretAccessKey,
      sessionToken: values.AWS_SESSION_TOKEN ?? null,
    },
  };
}

function kubeSource(values: z.infer<typeof ClustersEnv>): KubeSource {
  const { KUBECONFIG: files = '', KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = values;
  return {
    kubeconfig: files.split(path.delimiter).filter((file) => file !== ''),
    own: host === undefined ? null : { host, port, account: SERVICE_ACCOUNT },
  };
}

function registryConfig(values: z.infer<typeof RegistryEnv>): RegistryConfig {
  const { DOCKER_CONFIG: folder } = values;
  return {
    dockerConfig: folder === undefined ? null : path.resolve(folder, 'config.json'),
    insecure: values.SLIPWAY_REGISTRY_INSECURE,
    timeoutMs: values.SLIPWAY_REGISTRY_TIMEOUT_MS,
  };
}

/** An empty variable is what shells and compose files make of "not set". */
function withoutEmpty(env: Env): Env {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
}

function read<Schema extends z.ZodType>(schema: Schema, env: Env): z.infer<Schema> {
  const parsed = schema.safeParse(env);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => {
    const name = issue.path.map(String).join('.').split('.')[0] ?? '';
    return `  ${name}=${secret(name) ? '…' : (env[name] ?? '(not set)')}: ${issue.message}`;
  });
  throw new ConfigError(`the worker's settings are wrong:\n${lines.join('\n')}\nSee .env.example for what each means.`);
}

function named(env: Env, prefix: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      name.startsWith(prefix) && value !== undefined ? [[name.slice(prefix.length).toLowerCase(), value]] : [],
    ),
  );
}

function secret(name: string): boolean {
  return /KEY|SECRET|TOKEN|WEBHOOK/.test(name);
}
