import { createServer, request as forwardHttp } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, request as forwardHttps } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What happens to a request on its way to the server. With `after` the server has done its work by then. */
export type Fault =
  /** The connection is cut. */
  | { readonly kind: 'cut'; readonly after?: boolean }
  | { readonly kind: 'slow'; readonly ms: number }
  /** Another answer than the server's own. */
  | {
      readonly kind: 'answer';
      readonly after?: boolean;
      readonly status: number;
      readonly reason: string;
      readonly message?: string;
      readonly retryAfterSeconds?: number;
    };

export interface FaultyRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

export type FaultRule = (request: FaultyRequest) => Fault | null;

/** The address of a platform's API, through which a test decides what fails. */
export interface FaultyServer {
  readonly url: string;
  /** What fails from now on; null: nothing. */
  rule: FaultRule | null;
  /** Requests that were made to fail so far. */
  readonly hits: number;
  close(): Promise<void>;
}

/** Stands before a server; `ca` are the certificates that one with TLS is known by. */
export async function startFaultyServer(upstream: string, ca?: string): Promise<FaultyServer> {
  let hits = 0;
  const agent = ca === undefined ? false : new Agent({ ca, keepAlive: true });
  const forward = agent === false ? forwardHttp : forwardHttps;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { method = 'GET', url = '/' } = request;
    const body = Buffer.concat(chunks);
    const { pathname } = new URL(url, upstream);
    const fault = server.rule?.({ method, path: pathname, body: body.toString() }) ?? null;
    if (fault !== null) hits += 1;
    const spoil = (): void => {
      if (fault?.kind === 'answer') say(response, fault);
      else response.destroy();
    };
    if (fault !== null && fault.kind !== 'slow' && fault.after !== true) return spoil();
    if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    const { host: _, connection: __, ...headers } = request.headers;
    const onward = forward(new URL(url, upstream), { method, headers, agent }, (answer) => {
      if (fault !== null && fault.kind !== 'slow') {
        answer.resume();
        answer.once('end', spoil);
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    onward.end(body);
  }

  const listener = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  const server: FaultyServer = {
    url: `http://127.0.0.1:${port}`,
    rule: null,
    get hits() {
      return hits;
    },
    async close() {
      listener.closeAllConnections();
      await new Promise((resolve) => listener.close(resolve));
      if (agent !== false) agent.destroy();
    },
  };
  return server;
}

/** As a local gateway and as an API server would say it: a client of either understands the body. */
function say(response: ServerResponse, fault: Extract<Fault, { kind: 'answer' }>): void {
  const { status: code, reason, message = `a test says ${reason}`, retryAfterSeconds } = fault;
  const retry = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
  response.writeHead(code, { 'content-type': 'application/json', ...retry });
  response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code }));
}

const REVIEWS = '/selfsubjectaccessreviews';

/** A write is what it carries, or else what it is sent to: the same for each of its tries. */
function writeOf({ method, path, body }: FaultyRequest): string {
  const [fence = ''] = /"slipway.dev\/fence":"[^"]*"/.exec(body) ?? [];
  // Each try of a claim asks for another fence.
  return `${method} ${path} ${body.includes('/claim/') ? 'claim' : fence}`;
}

/** What happens to each write: the first fault at its first try, the second at its second one, and then nothing. */
export function atEachWrite(...faults: readonly Fault[]): FaultRule {
  return atWrites((tries) => faults[tries] ?? null);
}

/** Each write fails at its first try: the first one by the first fault, the next one by the next, in turn. */
export function inTurn(...faults: readonly Fault[]): FaultRule {
  let writes = 0;
  return atWrites((tries) => (tries === 0 ? (faults[writes++ % faults.length] ?? null) : null));
}

/** @param at what happens to a write that was tried so often before */
function atWrites(at: (tries: number) => Fault | null): FaultRule {
  const tries = new Map<string, number>();
  return (request) => {
    // Asking for permissions, or what would become of a write, is a read, whatever its method is.
    if (request.method === 'GET' || request.path.endsWith(REVIEWS) || request.path.includes('dryRun=')) return null;
    const write = writeOf(request);
    const count = tries.get(write) ?? 0;
    tries.set(write, count + 1);
    return at(count);
  };
}

/** Each n-th request fails, reads included, but not those for metrics and permissions. */
export function eachNth(n: number, fault: Fault): FaultRule {
  let count = 0;
  return ({ path }) => {
    if (path === '/metrics' || path.endsWith(REVIEWS)) return null;
    count += 1;
    return count % n === 0 ? fault : null;
  };
}

export type Occasion = (request: FaultyRequest) => boolean;

/** From the first request of each occasion on, once for each, nothing gets through for `ms`. */
export function awayAt(occasions: readonly Occasion[], ms: number): FaultRule {
  const left = new Set(occasions);
  let untilMs = 0;
  return (request) => {
    if (Date.now() < untilMs) return { kind: 'cut' };
    const met = [...left].find((matches) => matches(request));
    if (met === undefined) return null;
    left.delete(met);
    untilMs = Date.now() + ms;
    return { kind: 'cut' };
  };
}
