import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Names the worker, activity and attempt that sends a request: JSON of a `Sender`. */
export const SENDER_HEADER = 'x-slipway-test-sender';
/** Where workers announce that an effect starts or has returned. */
export const NOTICE_PATH = '/slipway-test/notice';
/** The platform client's own header: only writes carry it. */
export const KEY_HEADER = 'slipway-key';

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

/** One call of a worker, as the proxy saw it. */
export interface Call {
  readonly atMs: number;
  readonly sender: Sender | null;
  readonly kind: 'starting' | 'read' | 'write' | 'returned';
  /** Of a write: `create route/route by <key>`. */
  readonly write: string | null;
  /** Of `returned`: what the activity came to. */
  readonly result: string | null;
  /** What the gateway answered; null while it has not. */
  status: number | null;
}

/**
 * When a trap closes. `arrived`: the call has come in and nothing has been done. `committed`: the gateway has answered,
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

/** Stands between workers and the gateway, hands everything on, and springs traps. */
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

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PUT: 'replace', DELETE: 'delete' };

export async function startFaultProxy(gateway: string): Promise<FaultProxy> {
  const calls: Call[] = [];
  let armed: readonly Armed[] = [];

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const call = callOf(request, body);
    calls.push(call);
    const drop = (): void => void response.destroy();

    if ((await spring('answered', call)) === 'drop' || (await spring('arrived', call)) === 'drop') return drop();
    if (request.url === NOTICE_PATH) {
      response.writeHead(204).end();
      return;
    }
    let answer: { readonly status: number; readonly type: string; readonly text: string };
    try {
      answer = await forward(request, body);
    } catch {
      // The gateway is gone: so is the connection.
      return drop();
    }
    call.status = answer.status;
    if ((await spring('committed', call)) === 'drop') return drop();
    response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.text);
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

  async function forward(request: IncomingMessage, body: Buffer) {
    const headers: Record<string, string> = {};
    for (const name of ['content-type', KEY_HEADER, 'slipway-fence', 'accept']) {
      const value = request.headers[name];
      if (typeof value === 'string') headers[name] = value;
    }
    const hasBody = body.length > 0;
    const answer = await fetch(`${gateway}${request.url}`, {
      method: request.method ?? 'GET',
      headers,
      ...(hasBody ? { body: new Uint8Array(body) } : {}),
    });
    return {
      status: answer.status,
      type: answer.headers.get('content-type') ?? 'application/json',
      text: await answer.text(),
    };
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
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** `replace route/route by <key>`: the same words for a request and for the journal's entry of it. */
export function writeText(write: {
  readonly verb: string;
  readonly kind: string;
  readonly name: string;
  readonly key: string | null;
}): string {
  return `${write.verb} ${write.kind}/${write.name} by ${write.key ?? 'nobody'}`;
}

function callOf(request: IncomingMessage, body: Buffer): Call {
  const said = request.headers[SENDER_HEADER];
  const sender = typeof said === 'string' ? (JSON.parse(said) as Sender) : null;
  const common = { atMs: Date.now(), sender, write: null, result: null, status: null };
  if (request.url === NOTICE_PATH) {
    const { moment, result } = JSON.parse(body.toString('utf8')) as Notice;
    return { ...common, kind: moment, result };
  }
  const key = request.headers[KEY_HEADER];
  const verb = VERBS[request.method ?? ''];
  if (typeof key !== 'string' || verb === undefined) return { ...common, kind: 'read' };
  const [kind = '', name = ''] = new URL(request.url ?? '/', gatewayBase).pathname.split('/').slice(5);
  return { ...common, kind: 'write', write: writeText({ verb, kind, name, key }) };
}
const gatewayBase = 'http://gateway';

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
