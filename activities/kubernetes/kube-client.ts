import { setMaxListeners } from 'node:events';
import { request as exchange } from 'undici';
import { z } from 'zod';
import { Refused, Unavailable } from '../failures.js';
import { deadline } from '../waiting.js';
import type { WriteOutcome } from '../fenced/store.js';
import { openAccess } from './kube-access.js';
import type { KeptAccess, KubeSource } from './kube-access.js';
import { HttpMethod } from './kube-config.js';
import { createPace } from './pace.js';
import type { PaceOptions, Turn, Urgency } from './pace.js';
import { FIELD_MANAGER, groupOf, pathOf, STATUS_MANAGER } from './resources.js';
import type { Resource } from './resources.js';

/**
 * An object as the API server has it, with every field: what is written back must hold what others have set, also where
 * no model of ours knows it.
 */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: KubeMetadata;
  readonly [field: string]: unknown;
}

export interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  /** Grows with each change of the spec. */
  readonly generation?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly ownerReferences?: readonly OwnerReference[] | undefined;
  readonly deletionTimestamp?: string | undefined;
  readonly [field: string]: unknown;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly [field: string]: unknown;
}

/**
 * The Kubernetes API of one cluster, as one user. It throws `Unavailable` where a retry may help (no answer, throttled,
 * a server's error), and `Refused` from reads that will never be answered.
 */
export interface KubeClient {
  /** The cluster, for messages. */
  readonly where: string;
  /** What time it is there, by its latest answer: times that it has written are compared with this, not with our clock. */
  readonly nowMs: () => number;
  /** Null: there is no such object. */
  get(resource: Resource, namespace: string, name: string, signal: AbortSignal | undefined): Promise<KubeObject | null>;
  /**
   * What it is called, which version of it there is, and what Slipway's own annotations say: its content is not asked for,
   * and of the metadata, where `kubectl apply` leaves a copy of it, nothing else is kept. Null as in `get`.
   */
  peek(
    resource: Resource,
    namespace: string,
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<KubeObject | null>;
  /** @param selector of labels, e.g. `app=hello`; all objects without one */
  list(
    resource: Resource,
    namespace: string,
    selector: string | null,
    signal: AbortSignal | undefined,
  ): Promise<readonly KubeObject[]>;
  create(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /** Replaces the object whose uid and resourceVersion stand in its metadata, and no other. */
  replace(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /** The same for an object with nothing but other annotations, which only tell people something. */
  annotate(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /**
   * What the API server would store of an object that replaces what was read, or of a new one, once all who have a say in
   * that have changed it; nothing is written. Null where it does not tell.
   */
  rehearse(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    signal: AbortSignal | undefined,
  ): Promise<KubeObject | null>;
  /** Deletes exactly what was read. What it owns goes after it. */
  remove(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /** Whether this user may do that. */
  mayI(
    verb: string,
    resource: Resource,
    namespace: string,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly allowed: boolean; readonly reason: string }>;
}

/** A cluster that was connected. */
export interface KubeConnection extends KubeClient {
  /** For one piece of work: its calls go before those of work that is less urgent, or as urgent and begun later. */
  work(urgency: Urgency): KubeClient;
}

const Metadata = z.looseObject({
  name: z.string(),
  namespace: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  generation: z.number().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  ownerReferences: z
    .array(z.looseObject({ apiVersion: z.string(), kind: z.string(), name: z.string(), uid: z.string() }))
    .optional(),
  deletionTimestamp: z.string().optional(),
});
const Item = z.looseObject({ metadata: Metadata });
const Thing = Item.extend({ apiVersion: z.string(), kind: z.string() });
const List = z.object({ apiVersion: z.string(), kind: z.string(), items: z.array(Item) });
const Status = z.object({
  kind: z.literal('Status'),
  reason: z.string().optional(),
  message: z.string().optional(),
  details: z.object({ retryAfterSeconds: z.number().optional() }).optional(),
});
const Review = z.object({ status: z.object({ allowed: z.boolean(), reason: z.string().optional() }) });

/** @see https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches */
const METADATA_ONLY = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

const MAX_MESSAGE_LENGTH = 500;

export interface KubeClientOptions {
  /** Context of the kubeconfig; null for the worker's own cluster, outside of one the current context. */
  readonly context: string | null;
  readonly source: KubeSource;
  /** Limit for each call, ms. */
  readonly timeoutMs: number;
  /** Of all calls of this worker, over all rollouts. @default 200 a second, 400 after a rest, 32 under way */
  readonly pace?: PaceOptions;
  /** Told of every answer, also of none (status 0), for the metrics. */
  readonly onAnswer?: (answer: KubeAnswer) => void;
  /** Where it is said that credentials could not be read anew. */
  readonly warn?: (text: string) => void;
  /** How long credentials are used before they are read anew, ms. @default 60 s */
  readonly keptMs?: number;
}

/** One call, without the names of objects: `GET deployments 200`. */
export interface KubeAnswer {
  readonly method: string;
  readonly resource: string;
  /** 0: there was none. */
  readonly status: number;
}

/** Each call that is under way has a connection of its own: many cost both sides more in TLS than they gain. */
const USUAL_PACE: PaceOptions = { perSecond: 200, burst: 400, atOnce: 32 };

/** Tokens and certificates are renewed under a worker that runs. */
const ACCESS_KEPT_MS = 60_000;

/**
 * Connects to the cluster of a context, or to the worker's own.
 * @throws Refused when the context is not there
 */
export function connectKube({
  context,
  source,
  timeoutMs,
  pace = USUAL_PACE,
  onAnswer = () => undefined,
  warn = () => undefined,
  keptMs = ACCESS_KEPT_MS,
}: KubeClientOptions): KubeConnection {
  const access = openAccess({ context, source, keptMs, warn });
  const turns = createPace(pace);
  const clock = { aheadMs: 0 };
  const work = (urgency: Urgency): KubeClient =>
    createKubeClient({ access, clock, timeoutMs, onAnswer, turn: turns.work(urgency) });
  return { ...work('usual'), work };
}

interface KubeClientParts extends Required<Pick<KubeClientOptions, 'timeoutMs' | 'onAnswer'>> {
  readonly access: KeptAccess;
  /** By how much the API server's clock is ahead of ours, ms; whole seconds are what it tells. */
  readonly clock: { aheadMs: number };
  readonly turn: Turn;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly retryAfterMs: number | null;
}

function createKubeClient({ access, clock, timeoutMs, onAnswer, turn }: KubeClientParts): KubeClient {
  const where = `Kubernetes at ${access.server}`;

  function call(
    method: HttpMethod,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
    accept: string,
  ): Promise<Answer> {
    // The calls of one activity all listen to its signal, and Node warns of more than ten.
    if (signal !== undefined) setMaxListeners(0, signal);
    return turn(() => send(method, path, body, signal, accept), signal);
  }

  async function send(
    method: HttpMethod,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
    accept: string,
  ): Promise<Answer> {
    const limit = deadline(timeoutMs, signal);
    try {
      const used = await access.get();
      const { server, headers, dispatcher } = used;
      const response = await exchange(`${server}${path}`, {
        method,
        headers: {
          ...headers,
          accept,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: limit.signal,
        ...(dispatcher === undefined ? {} : { dispatcher }),
      });
      const text = await response.body.text();
      const status = response.statusCode;
      const theirsMs = Date.parse(String(response.headers['date']));
      if (Number.isFinite(theirsMs)) clock.aheadMs = theirsMs - Date.now();
      onAnswer({ method, resource: resourceIn(path), status });
      if (status === 401) await access.refused(used);
      const after = Number(response.headers['retry-after'] ?? Number.NaN);
      return { status, body: jsonOf(text), retryAfterMs: Number.isFinite(after) ? after * 1000 : null };
    } catch (error) {
      onAnswer({ method, resource: resourceIn(path), status: 0 });
      signal?.throwIfAborted();
      if (error instanceof Unavailable) throw error;
      const why = limit.isOver() ? `no answer within ${timeoutMs} ms` : `can't be reached (${causeOf(error)})`;
      throw new Unavailable(`${where}: ${why}`, null, { cause: error });
    } finally {
      limit.clear();
    }
  }

  /** Throws what a retry may cure; gives back every other answer. */
  async function ask(
    method: HttpMethod,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
    accept = 'application/json',
  ): Promise<Answer> {
    const answer = await call(method, path, body, signal, accept);
    // 401: with what is renewed it may be answered.
    if (answer.status === 401 || answer.status === 429 || answer.status >= 500)
      throw new Unavailable(`${where}: ${sayingOf(answer)}`, answer.retryAfterMs);
    return answer;
  }

  async function write(
    method: HttpMethod,
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome> {
    const answer = await ask(method, path, body, signal);
    if (answer.status < 300) {
      const object = Thing.safeParse(answer.body);
      // A deletion is answered with a Status, or with the object as it was.
      if (object.success || method === HttpMethod.DELETE) return { kind: 'written' };
      throw new Unavailable(`${where}: an answer that is not understood: ${z.prettifyError(object.error)}`);
    }
    const gone = answer.status === 404 && method !== HttpMethod.POST;
    if (answer.status === 409 || gone) return { kind: 'conflict' };
    return { kind: 'refused', reason: sayingOf(answer) };
  }

  function put(
    resource: Resource,
    namespace: string,
    object: KubeObject,
    manager: string,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome> {
    const { name, uid, resourceVersion } = object.metadata;
    // Without them a Deployment is overwritten whatever was written in between (durability-notes.md, section 1).
    if (!uid || !resourceVersion) throw new TypeError(`${name} was not read before it is replaced`);
    return write(HttpMethod.PUT, `${pathOf(resource, namespace, name)}?fieldManager=${manager}`, object, signal);
  }

  return {
    where,
    nowMs: () => Date.now() + clock.aheadMs,
    async get(resource, namespace, name, signal) {
      const answer = await ask(HttpMethod.GET, pathOf(resource, namespace, name), undefined, signal);
      if (answer.status === 404) return null;
      return understood(where, Thing, answer) as KubeObject;
    },
    async peek(resource, namespace, name, signal) {
      const path = pathOf(resource, namespace, name);
      const answer = await ask(HttpMethod.GET, path, undefined, signal, METADATA_ONLY);
      if (answer.status === 404) return null;
      const { apiVersion, kind, metadata } = understood(where, Thing, answer);
      const { uid, resourceVersion, annotations = {} } = metadata;
      const own = Object.entries(annotations).filter(([key]) => key.startsWith('slipway.dev/'));
      return {
        apiVersion,
        kind,
        metadata: { name, namespace, uid, resourceVersion, annotations: Object.fromEntries(own) },
      };
    },
    async list(resource, namespace, selector, signal) {
      const query = selector === null ? '' : `?labelSelector=${encodeURIComponent(selector)}`;
      const answer = await ask(HttpMethod.GET, `${pathOf(resource, namespace)}${query}`, undefined, signal);
      const { apiVersion, kind, items } = understood(where, List, answer);
      // Items of a list don't say what they are.
      return items.map((item) => ({ ...item, apiVersion, kind: kind.replace(/List$/, '') }) as KubeObject);
    },
    create: (resource, namespace, object, signal) =>
      write(HttpMethod.POST, `${pathOf(resource, namespace)}?fieldManager=${FIELD_MANAGER}`, object, signal),
    replace: (resource, namespace, object, signal) => put(resource, namespace, object, FIELD_MANAGER, signal),
    annotate: (resource, namespace, object, signal) => put(resource, namespace, object, STATUS_MANAGER, signal),
    async rehearse(resource, namespace, object, signal) {
      const isNew = object.metadata.resourceVersion === undefined;
      const path = isNew ? pathOf(resource, namespace) : pathOf(resource, namespace, object.metadata.name);
      const method = isNew ? HttpMethod.POST : HttpMethod.PUT;
      const answer = await ask(method, `${path}?dryRun=All&fieldManager=${FIELD_MANAGER}`, object, signal);
      // Of a refusal the write itself tells, and it may be of the rehearsal alone: not every webhook takes part in one.
      return answer.status < 300 ? (understood(where, Thing, answer) as KubeObject) : null;
    },
    remove: (resource, namespace, { metadata: { name, uid, resourceVersion } }, signal) => {
      if (!uid || !resourceVersion) throw new TypeError(`${name} was not read before it is deleted`);
      const options = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        preconditions: { uid, resourceVersion },
        propagationPolicy: 'Background',
      };
      return write(HttpMethod.DELETE, pathOf(resource, namespace, name), options, signal);
    },
    async mayI(verb, resource, namespace, signal) {
      const review = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb, resource, group: groupOf(resource), namespace } },
      };
      const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
      const { status } = understood(where, Review, await ask(HttpMethod.POST, path, review, signal));
      return { allowed: status.allowed, reason: status.reason ?? '' };
    },
  };
}

/** `deployments`, of any path of {@link pathOf}; what has no namespace ends with its resource. */
function resourceIn(path: string): string {
  return /\/namespaces\/[^/]+\/([a-z]+)/.exec(path)?.[1] ?? /([a-z]+)$/.exec(path)?.[1] ?? 'other';
}

function understood<Schema extends z.ZodType>(where: string, schema: Schema, answer: Answer): z.infer<Schema> {
  if (answer.status >= 300) throw new Refused(`${where}: ${sayingOf(answer)}`);
  const parsed = schema.safeParse(answer.body);
  if (parsed.success) return parsed.data;
  throw new Unavailable(`${where}: an answer that is not understood: ${z.prettifyError(parsed.error)}`);
}

/** What the server says of a refusal: its message, not its whole body. */
function sayingOf({ status, body }: Answer): string {
  const said = Status.safeParse(body);
  const text = said.success ? `${said.data.reason ?? status}: ${said.data.message ?? ''}` : `answered ${status}`;
  return text.slice(0, MAX_MESSAGE_LENGTH);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // A proxy's page, say: the schemas then find no answer in it.
    return undefined;
  }
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message;
}
