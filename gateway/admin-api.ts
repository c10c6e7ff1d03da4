import { createServer } from 'node:http';
import { ObjectKind } from '../formats/gateway.js';
import { messageOf } from './errors.js';
import { checkRef, checkWrite } from './validate.js';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { GatewayError, GatewayObject } from '../formats/gateway.js';
import type { ArmController } from './arm-controller.js';
import type { ObjectRef, StoredObject } from './journal-file.js';
import type { GatewayLogger } from './logger.js';
import type { GatewayMetrics } from './metrics.js';
import type { Credit, Store, StoreResult } from './store.js';

export interface AdminApiOptions {
  readonly store: Store;
  readonly arms: ArmController;
  readonly metrics: GatewayMetrics;
  readonly logger: GatewayLogger;
}

const STATUS_OF: Readonly<Record<GatewayError['reason'], number>> = {
  NotFound: 404,
  AlreadyExists: 409,
  Conflict: 409,
  Invalid: 422,
  NoRoom: 422,
  Forbidden: 403,
  TooManyRequests: 429,
  Internal: 500,
};

const MAX_BODY_BYTES = 1024 * 1024;

/** A request that is answered with an error, from wherever that is found. */
class Refusal extends Error {
  constructor(
    readonly reason: GatewayError['reason'],
    message: string,
  ) {
    super(message);
  }
}

/** The admin API: objects, journal, capacity, metrics. */
export function createAdminServer({ store, arms, metrics, logger }: AdminApiOptions): Server {
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://gateway');
    const method = request.method ?? 'GET';
    if (method !== 'GET') refuseBrowsers(request);
    const [version, collection, ...rest] = url.pathname.split('/').slice(1).map(decode);
    const path = `${method} /${version}${collection === undefined ? '' : `/${collection}`}`;

    if (path === 'GET /healthz') return sendText(response, 'text/plain', 'ok\n');
    if (path === 'GET /metrics') return sendText(response, metrics.contentType, await metrics.render());
    if (path === 'GET /v1/capacity') return sendJson(response, 200, arms.capacity());
    if (path === 'GET /v1/journal')
      return sendJson(response, 200, { entries: store.journal(numberOf(url, 'since', 0)) });
    if (path === 'GET /v1/objects' && rest.length === 0) {
      const [environment, service, kind] = ['environment', 'service', 'kind'].map(
        (name) => url.searchParams.get(name) ?? undefined,
      );
      return sendJson(response, 200, { objects: store.list({ environment, service, kind }).map(withStatus) });
    }
    if (collection !== 'objects' || version !== 'v1' || rest.length !== 4) {
      throw new Refusal('NotFound', `there is no ${method} ${url.pathname}`);
    }
    return object(request, response, method, url, refOf(rest));
  }

  async function object(request: IncomingMessage, response: ServerResponse, method: string, url: URL, ref: ObjectRef) {
    const credit = creditOf(request);
    switch (method) {
      case 'GET': {
        const held = store.get(ref);
        if (held === null) throw new Refusal('NotFound', `there is no ${url.pathname}`);
        return sendJson(response, 200, withStatus(held));
      }
      case 'POST':
        return sendResult(response, 201, await store.create(ref, await writeOf(request, ref), credit));
      case 'PUT': {
        const revision = numberOf(url, 'revision');
        return sendResult(response, 200, await store.replace(ref, revision, await writeOf(request, ref), credit));
      }
      case 'DELETE':
        return sendResult(response, 200, await store.remove(ref, numberOf(url, 'revision'), credit));
      default:
        throw new Refusal('Invalid', `method is ${method}: use GET, POST, PUT or DELETE`);
    }
  }

  function sendResult(response: ServerResponse, status: number, result: StoreResult): void {
    if (result.kind === 'refused') throw new Refusal(result.reason, result.message);
    sendJson(response, status, withStatus(result.object));
  }

  function withStatus(held: StoredObject): GatewayObject {
    return held.kind === 'arm' ? { ...held, status: arms.status(held) } : held;
  }

  return createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!(error instanceof Refusal)) logger.warn(`${request.method} ${request.url}: ${messageOf(error)}`);
      const reason = error instanceof Refusal ? error.reason : 'Internal';
      // A body that nobody reads would block the connection for the next request.
      request.resume();
      if (response.headersSent) response.destroy();
      else sendJson(response, STATUS_OF[reason], { reason, message: messageOf(error) } satisfies GatewayError);
    });
  });
}

/** A web page must not start programs here: browsers name the page's origin with every write, other clients have none. */
function refuseBrowsers(request: IncomingMessage): void {
  if (request.headers.origin !== undefined || request.headers['sec-fetch-site'] !== undefined) {
    throw new Refusal('Forbidden', 'the admin API takes no writes from web pages');
  }
}

function refOf([environment = '', service = '', kindText = '', name = '']: readonly string[]): ObjectRef {
  const kind = ObjectKind.safeParse(kindText);
  if (!kind.success) throw new Refusal('Invalid', `kind is "${kindText}": use ${ObjectKind.options.join(', ')}`);
  const ref = checkRef({ environment, service, kind: kind.data, name });
  if (ref.kind === 'invalid') throw new Refusal('Invalid', ref.message);
  return ref.value;
}

async function writeOf(request: IncomingMessage, ref: ObjectRef) {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Refusal('Invalid', `body is over ${MAX_BODY_BYTES} bytes: send less`);
    chunks.push(chunk);
  }
  const write = checkWrite(ref.kind, parseJson(Buffer.concat(chunks).toString('utf8')));
  if (write.kind === 'invalid') throw new Refusal('Invalid', write.message);
  return write.value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal('Invalid', `body is no JSON: ${messageOf(error)}`);
  }
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refusal('Invalid', `path has "${segment}": it can't be decoded`);
  }
}

/** A number of the query. Without a default it must be there: a write that names no revision would be a blind one. */
function numberOf(url: URL, name: string, otherwise?: number): number {
  const text = url.searchParams.get(name);
  if (text === null && otherwise !== undefined) return otherwise;
  if (text === null || !/^\d{1,15}$/.test(text)) {
    throw new Refusal(
      'Invalid',
      `${name} is ${text === null ? 'missing' : `"${text}"`}: give it in the query as a whole number`,
    );
  }
  return Number(text);
}

function creditOf({ headers }: IncomingMessage): Credit {
  const one = (value: string | string[] | undefined): string | null => (value === undefined ? null : String(value));
  return { key: one(headers['slipway-key']), fence: one(headers['slipway-fence']) };
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function sendText(response: ServerResponse, contentType: string, text: string): void {
  response.writeHead(200, { 'content-type': contentType }).end(text);
}
