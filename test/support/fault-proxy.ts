import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, request as send } from 'undici';

/** Names the worker, activity and attempt that sends a request: JSON of a `Sender`. */
export const SENDER_HEADER = 'x-slipway-test-sender';
/** Where workers announce that an effect starts or has returned. */
export const NOTICE_PATH = '/slipway-test/notice';

export interface Sender {
  readonly pid: number;
  readonly activity: string;
  /** Different for each attempt of each activity. */
  readonly attempt: string;
  /** Of an effect: its idempotency key. */
  readonly key: string | null;
}

export interface Notice {
  readonly moment: 'starting' | 'returned';
  /** What the activity returned or threw. */
  readonly result: string | null;
}

/** A write as it is asked for, or as the platform's own log has it. */
export interface Write {
  readonly verb: string;
  readonly kind: string;
  readonly name: string;
  readonly key: string | null;
}

/** A request of a worker, as far as it tells what is to be written. */
export interface PlatformRequest {
  readonly method: string;
  readonly path: string;
  readonly header: (name: string) => string | null;
  readonly body: string;
  readonly sender: Sender | null;
}

/** What a proxy stands before. */
export interface Upstream {
  readonly url: string;
  /** The certificates that its own must be signed by, as PEM; null without TLS. */
  readonly ca: string | null;
  /** Null: the request only reads. */
  readonly writeOf: (request: PlatformRequest) => Write | null;
}

/** One call of a worker, as the proxy saw it. */
export interface Call {
  /** The platform gets it in the header `Audit-ID`, and so it stands in an API server's audit log. */
  readonly id: string;
  readonly atMs: number;
  readonly path: string;
  readonly sender: Sender | null;
  readonly kind: 'starting' | 'read' | 'write' | 'returned';
  /** Of a write: `create route/route by <key>`. */
  readonly write: string | null;
  /** Of a write: its idempotency key. */
  readonly key: string | null;
  /** Of `returned`: what the activity came to. */
  readonly result: string | null;
  /** What the platform answered; null while it has not. */
  status: number | null;
}

/**
 * When a trap closes. `arrived`: the call has come in and nothing has been done. `committed`: the platform has answered,
 * the worker has not been told. `answered`: the worker was told, and now says something else in the same attempt.
 */
export type Moment = 'arrived' | 'committed' | 'answered';

export interface Trap {
  readonly moment: Moment;
  readonly matches: (call: Call) => boolean;
  /** Whether it closes again for every call that matches. */
  readonly again?: boolean;
  /** What to do with the call that is in the trap; once done, it is let go, or dropped without an answer. */
  readonly spring: (call: Call) => Promise<'go on' | 'drop'>;
}

/** Stands between workers and a platform, hands everything on, and springs traps. */
export interface FaultProxy {
  readonly url: string;
  /** All calls of workers so far, oldest first. */
  readonly calls: readonly Call[];
  set(trap: Trap): void;
  /** Takes away all traps; what is in one stays there. */
  disarm(): void;
  close(): Promise<void>;
}

interface Armed {
  readonly trap: Trap;
  /** The attempt that has been answered, for `answered`. */
  answered: string | null;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** Headers that speak of one connection, or of the test. */
const OWN_HEADERS = ['host', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', SENDER_HEADER];

export async function startFaultProxy(upstream: Upstream): Promise<FaultProxy> {
  const calls: Call[] = [];
  let armed: readonly Armed[] = [];
  const dispatcher = new Agent(upstream.ca === null ? {} : { connect: { ca: upstream.ca } });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const call = callOf(upstream, request, body);
    calls.push(call);
    const drop = (): void => void response.destroy();

    if ((await spring('answered', call)) === 'drop' || (await spring('arrived', call)) === 'drop') return drop();
    if (request.url === NOTICE_PATH) {
      response.writeHead(204).end();
      return;
    }
    let answer: Answer;
    try {
      answer = await forward(request, body, call);
    } catch {
      // The platform is gone: so is the connection.
      return drop();
    }
    call.status = answer.status;
    if ((await spring('committed', call)) === 'drop') return drop();
    response.writeHead(answer.status, answer.headers).end(answer.text);
    for (const each of armed) {
      if (each.trap.moment === 'answered' && each.answered === null && each.trap.matches(call))
        each.answered = call.sender?.attempt ?? null;
    }
  }

  async function spring(moment: Moment, call: Call): Promise<'go on' | 'drop'> {
    const found = armed.find(({ trap, answered }) =>
      trap.moment !== moment
        ? false
        : moment === 'answered'
          ? answered !== null && answered === call.sender?.attempt
          : trap.matches(call),
    );
    if (found === undefined) return 'go on';
    if (found.trap.again !== true) armed = armed.filter((each) => each !== found);
    return found.trap.spring(call);
  }

  async function forward(request: IncomingMessage, body: string, call: Call): Promise<Answer> {
    const handedOn = Object.entries(request.headers).filter(
      ([name, value]) => typeof value === 'string' && !OWN_HEADERS.includes(name),
    ) as [string, string][];
    const answer = await send(`${upstream.url}${call.path}`, {
      method: (request.method ?? 'GET') as 'GET',
      dispatcher,
      headers: { ...Object.fromEntries(handedOn), 'audit-id': call.id },
      body: body === '' ? null : body,
    });
    const headers = ['content-type', 'retry-after'].flatMap((name) => {
      const value = answer.headers[name];
      return typeof value === 'string' ? [[name, value] as const] : [];
    });
    return { status: answer.statusCode, headers: Object.fromEntries(headers), text: await answer.body.text() };
  }

  const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
    handle(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    set(trap) {
      armed = [...armed, { trap, answered: null }];
    },
    disarm() {
      armed = [];
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await dispatcher.destroy();
    },
  };
}

/** `replace route/route by <key>`: the same words for a request and for the log's entry of it. */
export function writeText({ verb, kind, name, key }: Write): string {
  return `${verb} ${kind}/${name} by ${key ?? 'nobody'}`;
}

function callOf(upstream: Upstream, request: IncomingMessage, body: string): Call {
  const header = (name: string): string | null => {
    const value = request.headers[name];
    return typeof value === 'string' ? value : null;
  };
  const said = header(SENDER_HEADER);
  const sender = said === null ? null : (JSON.parse(said) as Sender);
  const { method = 'GET', url: path = '/' } = request;
  const common = { id: randomUUID(), atMs: Date.now(), path, sender, result: null, status: null };
  if (path === NOTICE_PATH) {
    const { moment, result } = JSON.parse(body) as Notice;
    return { ...common, kind: moment, write: null, key: null, result };
  }
  const write = upstream.writeOf({ method, path, header, body, sender });
  return {
    ...common,
    kind: write === null ? 'read' : 'write',
    write: write && writeText(write),
    key: write?.key ?? null,
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
