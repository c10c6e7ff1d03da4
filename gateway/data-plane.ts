import { createServer, request as httpRequest } from 'node:http';
import { createWeightedChoice } from './weighted-choice.js';
import { ROUTE_NAME } from './validate.js';
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from 'node:http';
import type { Arm } from '../domain/target.js';
import type { ArmController, Seat } from './arm-controller.js';
import type { ObjectRef, StoredObject } from './journal-file.js';
import type { GatewayMetrics, RequestLabels } from './metrics.js';
import type { Store } from './store.js';

export interface DataPlane {
  readonly server: Server;
  /** To be told of every change of the store: a route's turns begin anew when its weights change. */
  changed(ref: ObjectRef, object: StoredObject | null): void;
}

export interface DataPlaneOptions {
  readonly host: string;
  readonly store: () => Store;
  readonly arms: ArmController;
  readonly metrics: () => GatewayMetrics;
  /** How long a replica may keep silent in the middle of a request. */
  readonly silenceMs: number;
}

interface Route {
  readonly weights: string;
  readonly choose: () => Arm;
}

/** RFC 9110, section 7.6.1: these speak of one connection, not of the message. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Nginx's code for a client that left before its answer was complete: no fault of the arm. */
const CLIENT_LEFT = 499;

/** Gives every request to an arm by weight, and to one of its ready replicas. */
export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { host, arms, silenceMs } = options;
  const routes = new Map<string, Route>();

  function changed(ref: ObjectRef, object: StoredObject | null): void {
    if (ref.kind !== 'route' || ref.name !== ROUTE_NAME) return;
    const path = `${ref.environment}/${ref.service}`;
    if (object?.kind !== 'route') {
      routes.delete(path);
      return;
    }
    const weights = JSON.stringify(object.spec.weights);
    if (routes.get(path)?.weights === weights) return;
    routes.set(path, { weights, choose: createWeightedChoice(object.spec.weights) });
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    const startedAt = process.hrtime.bigint();
    const match = /^\/([^/?]+)\/([^/?]+)(\/[^?]*)?(\?.*)?$/.exec(request.url ?? '');
    const [, environment = '', service = '', rest = '/', query = ''] = match ?? [];
    const route = routes.get(`${environment}/${service}`);
    if (route === undefined) {
      say(
        request,
        response,
        404,
        'no route: ask for /<environment>/<service>/… of a service that has been deployed',
        {},
      );
      return;
    }
    const arm = route.choose();
    const object = options.store().get({ environment, service, kind: 'arm', name: arm });
    const seat = object?.kind === 'arm' ? arms.take(object.uid) : null;
    // An arm without a ready replica keeps its share, as errors: to move it silently would hide from the judge that it is down.
    const version = seat?.version ?? (object?.kind === 'arm' ? object.spec.template.version : 'none');
    const labels: RequestLabels = { environment, service, arm, version };

    const finish = once((code: number) => {
      seat?.leave();
      options.metrics().observe(labels, code, Number(process.hrtime.bigint() - startedAt) / 1e9);
    });
    if (seat === null) {
      finish(503);
      say(request, response, 503, `arm ${arm} has no ready replica`, armHeaders(labels));
      return;
    }
    forward({ request, response, seat, labels, path: `${rest}${query}`, finish }, true);
  }

  interface Passage {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly seat: Seat;
    readonly labels: RequestLabels;
    readonly path: string;
    readonly finish: (code: number) => void;
  }

  function forward(passage: Passage, mayRetry: boolean): void {
    const { request, response, seat, labels, path, finish } = passage;
    const hasBody =
      request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
    const upstream = httpRequest({
      host,
      port: seat.port,
      // The second try takes a fresh connection: another idle one may be as dead.
      agent: mayRetry ? seat.agent : false,
      method: request.method,
      path,
      headers: requestHeaders(request),
      timeout: silenceMs,
    });

    const fail = (code: number, why: string): void => {
      finish(code);
      if (response.headersSent) response.destroy();
      else say(request, response, code, `arm ${labels.arm}: ${why}`, armHeaders(labels));
    };
    const leave = (): void => {
      if (response.writableFinished) return;
      finish(CLIENT_LEFT);
      upstream.destroy();
    };
    response.once('close', leave);

    upstream.once('timeout', () => {
      fail(504, `its replica said nothing for ${silenceMs} ms`);
      upstream.destroy();
    });
    upstream.once('error', (error) => {
      // The replica may hang up an idle connection in the very moment that it is used again: that is nobody's error.
      const reset = 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      if (mayRetry && upstream.reusedSocket && reset && !hasBody && !response.headersSent && !response.destroyed) {
        response.off('close', leave);
        forward(passage, false);
        return;
      }
      fail(502, `its replica broke the connection: ${error.message}`);
    });
    upstream.once('response', (answer) => {
      const code = answer.statusCode ?? 502;
      answer.once('error', (error) => fail(502, error.message));
      answer.once('end', () => finish(code));
      response.writeHead(code, answer.statusMessage ?? '', [
        ...endToEnd(answer),
        ...Object.entries(armHeaders(labels)).flat(),
      ]);
      answer.pipe(response);
    });

    if (hasBody) request.pipe(upstream);
    else upstream.end();
  }

  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 0 }, handle);
  return { server, changed };
}

function armHeaders({ arm, version }: RequestLabels): Record<string, string> {
  // A version is any text; a header's value is not.
  return { 'x-slipway-arm': arm, 'x-slipway-version': version.replace(/[^\x20-\x7e]/g, '?') };
}

function requestHeaders(request: IncomingMessage): OutgoingHttpHeaders {
  const named = namedByConnection(request.headers);
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (!HOP_BY_HOP.has(name) && !named.has(name) && name !== 'expect') headers[name] = value;
  }
  if (request.headers['transfer-encoding'] !== undefined) headers['transfer-encoding'] = 'chunked';
  const from = request.socket.remoteAddress ?? 'unknown';
  const before = request.headers['x-forwarded-for'];
  headers['x-forwarded-for'] = before === undefined ? from : `${String(before)}, ${from}`;
  headers['x-forwarded-host'] ??= request.headers.host;
  headers['x-forwarded-proto'] ??= 'http';
  return headers;
}

/** The answer's own headers, as sent: repeated ones stay repeated. */
function endToEnd(answer: IncomingMessage): string[] {
  const named = namedByConnection(answer.headers);
  const headers: string[] = [];
  for (let index = 0; index + 1 < answer.rawHeaders.length; index += 2) {
    const name = answer.rawHeaders[index] as string;
    const lower = name.toLowerCase();
    // Which arm has answered is for the gateway to say, not for the service.
    if (lower.startsWith('x-slipway-')) continue;
    if (!HOP_BY_HOP.has(lower) && !named.has(lower)) headers.push(name, answer.rawHeaders[index + 1] as string);
  }
  return headers;
}

function namedByConnection({ connection }: IncomingHttpHeaders): ReadonlySet<string> {
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NONE;
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase()));
}

const NONE: ReadonlySet<string> = new Set();

function say(
  request: IncomingMessage,
  response: ServerResponse,
  code: number,
  text: string,
  headers: Record<string, string>,
) {
  // A body that nobody reads would block the connection for the next request.
  request.resume();
  response
    .writeHead(code, { ...headers, 'content-type': 'text/plain; charset=utf-8' })
    .end(`slipway gateway: ${text}\n`);
}

function once<T>(action: (value: T) => void): (value: T) => void {
  let done = false;
  return (value) => {
    if (done) return;
    done = true;
    action(value);
  };
}
