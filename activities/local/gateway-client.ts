import { z } from 'zod';
import { GatewayError, GatewayObject } from '../../formats/gateway.js';
import { PlatformRefused, PlatformUnavailable } from './errors.js';
import type { GatewayWrite, ObjectKind } from '../../formats/gateway.js';

/** What names an object of the gateway. */
export interface ObjectRef {
  readonly environment: string;
  readonly service: string;
  readonly kind: ObjectKind;
  readonly name: string;
}

/** What a write is credited to in the gateway's journal. */
export interface WriteCredit {
  readonly key: string;
  readonly fence: string;
}

export type WriteOutcome =
  | { readonly kind: 'written'; readonly object: GatewayObject }
  /** Somebody else was faster (changed, created or deleted it): read again and decide again. */
  | { readonly kind: 'conflict' }
  | { readonly kind: 'refused'; readonly reason: string };

export interface GatewayClient {
  readonly baseUrl: string;
  list(filter: Partial<Omit<ObjectRef, 'name'>>, signal?: AbortSignal): Promise<readonly GatewayObject[]>;
  capacity(signal?: AbortSignal): Promise<{ readonly maxReplicas: number; readonly used: number }>;
  create(ref: ObjectRef, write: GatewayWrite, credit: WriteCredit, signal?: AbortSignal): Promise<WriteOutcome>;
  /** Replaces exactly what was read; `read` is that object. */
  replace(read: GatewayObject, write: GatewayWrite, credit: WriteCredit, signal?: AbortSignal): Promise<WriteOutcome>;
  remove(read: GatewayObject, credit: WriteCredit, signal?: AbortSignal): Promise<WriteOutcome>;
}

export interface GatewayClientOptions {
  readonly baseUrl: string;
  readonly fetch: typeof fetch;
  readonly timeoutMs: number;
}

const ObjectList = z.object({ objects: z.array(GatewayObject) });
const Capacity = z.object({ maxReplicas: z.int(), used: z.int() });

type Answer<T> = { readonly kind: 'ok'; readonly value: T } | { readonly kind: 'no'; readonly error: GatewayError };

/** A typed client of the gateway's admin API. It throws PlatformUnavailable and PlatformRefused, nothing else. */
export function createGatewayClient({ baseUrl, fetch, timeoutMs }: GatewayClientOptions): GatewayClient {
  const root = baseUrl.replace(/\/+$/, '');

  async function call<Schema extends z.ZodType>(
    schema: Schema,
    path: string,
    request: RequestInit,
    signal: AbortSignal | undefined,
  ): Promise<Answer<z.infer<Schema>>> {
    const url = `${root}${path}`;
    const limit = AbortSignal.timeout(timeoutMs);
    let status: number;
    let text: string;
    try {
      const response = await fetch(url, { ...request, signal: signal ? AbortSignal.any([signal, limit]) : limit });
      status = response.status;
      text = await response.text();
    } catch (error) {
      signal?.throwIfAborted();
      const why = limit.aborted ? `no answer within ${timeoutMs} ms` : `can't be reached (${causeOf(error)})`;
      throw new PlatformUnavailable(url, why, { cause: error });
    }
    const body = parseJson(text);
    if (status < 300) {
      const parsed = schema.safeParse(body);
      if (parsed.success) return { kind: 'ok', value: parsed.data };
      throw new PlatformUnavailable(url, `an answer that is not understood: ${z.prettifyError(parsed.error)}`);
    }
    const parsed = GatewayError.safeParse(body);
    if (!parsed.success || status >= 500 || status === 429) {
      throw new PlatformUnavailable(
        url,
        `answered ${status}: ${parsed.success ? parsed.data.message : text.slice(0, 200)}`,
      );
    }
    return { kind: 'no', error: parsed.data };
  }

  async function read<Schema extends z.ZodType>(schema: Schema, path: string, signal: AbortSignal | undefined) {
    const answer = await call(schema, path, { method: 'GET' }, signal);
    if (answer.kind === 'no') throw new PlatformRefused(`${root}${path}`, answer.error.message);
    return answer.value;
  }

  async function write(path: string, request: RequestInit, credit: WriteCredit, signal: AbortSignal | undefined) {
    const headers = {
      'content-type': 'application/json',
      'slipway-key': credit.key,
      'slipway-fence': credit.fence,
    };
    const answer = await call(GatewayObject, path, { ...request, headers }, signal);
    return answer.kind === 'ok' ? ({ kind: 'written', object: answer.value } as const) : outcomeOf(answer.error);
  }

  return {
    baseUrl: root,
    async list(filter, signal) {
      return (await read(ObjectList, `/v1/objects?${new URLSearchParams(filter).toString()}`, signal)).objects;
    },
    capacity: (signal) => read(Capacity, '/v1/capacity', signal),
    create: (ref, body, credit, signal) =>
      write(pathOf(ref), { method: 'POST', body: JSON.stringify(body) }, credit, signal),
    replace: (held, body, credit, signal) =>
      write(`${pathOf(held)}?revision=${held.revision}`, { method: 'PUT', body: JSON.stringify(body) }, credit, signal),
    remove: (held, credit, signal) =>
      write(`${pathOf(held)}?revision=${held.revision}`, { method: 'DELETE' }, credit, signal),
  };
}

function outcomeOf({ reason, message }: GatewayError): WriteOutcome {
  switch (reason) {
    case 'AlreadyExists':
    case 'Conflict':
    case 'NotFound':
      return { kind: 'conflict' };
    case 'Invalid':
    case 'NoRoom':
    case 'Forbidden':
    case 'TooManyRequests':
    case 'Internal':
      // Of these, 429 and 5xx have been thrown before this is asked.
      return { kind: 'refused', reason: message };
  }
}

function pathOf({ environment, service, kind, name }: ObjectRef): string {
  return `/v1/objects/${[environment, service, kind, name].map(encodeURIComponent).join('/')}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: no answer of the gateway, which the schemas then say.
    return undefined;
  }
}

/** `fetch failed` says nothing; its cause does. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message;
}
