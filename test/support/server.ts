import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Writable } from 'node:stream';
import { createParser } from 'eventsource-parser';
import { pino } from 'pino';
import { newStaticToken } from '../../client/server/auth/static-token.js';
import { loadServerConfig } from '../../client/server/config.js';
import { serve } from '../../client/server/serve.js';
import type { RunningServer } from '../../client/server/serve.js';
import type { Refusal, Seams } from '../../client/server/seams.js';
import type { Role } from '../../domain/people.js';
import { Slipway } from '../../client/slipway.js';
import type { Stack } from '../../tools/stack.js';
import { startTemporal } from '../../tools/temporal-server.js';
import { seamsOf } from '../../worker/cli/server.js';
import { openStorage } from '../../worker/storage.js';

/** A person or machine with a static token, and the roles that they have. */
export interface Somebody {
  readonly subject: string;
  readonly roles: readonly Role[];
  readonly kind?: 'person' | 'machine';
  readonly groups?: readonly string[];
  readonly services?: readonly string[];
  readonly environments?: readonly string[];
}

export interface TestServer extends RunningServer {
  /** Token by subject. */
  readonly tokens: Readonly<Record<string, string>>;
  /** Everything that was logged. */
  log(): string;
  readonly refusals: readonly Refusal[];
}

export interface TestServerOptions extends Seams {
  /** Null: local mode, without a file. */
  readonly people: readonly Somebody[] | null;
  /** More of slipway-server.yaml, as JSON: the file is YAML, and that is YAML. */
  readonly file?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly name?: string;
  readonly pingMs?: number;
}

/** What a server needs whose rollouts never run. */
export interface Bare extends Pick<Stack, 'folder' | 'env'> {
  readonly slipway: Slipway;
  stop(): Promise<void>;
}

/** A real Temporal, made ready, and a folder: no worker, no platform. */
export async function startBare(): Promise<Bare> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-server-'));
  const temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
  const env = {
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: temporal.namespace,
    SLIPWAY_DATA_DIR: path.join(folder, 'data'),
  };
  const slipway = await Slipway.connect(env);
  await slipway.setup();
  return {
    folder,
    env,
    slipway,
    async stop() {
      await slipway.close();
      await temporal.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A server inside this process, with a file of its own, against a real Temporal. */
export async function startServer(
  stack: Pick<Stack, 'folder' | 'env'>,
  { people, file = {}, env = {}, name = 'server', pingMs, ...seams }: TestServerOptions,
): Promise<TestServer> {
  const folder = path.join(stack.folder, name);
  await mkdir(folder, { recursive: true });
  const tokens: Record<string, string> = {};
  if (people !== null) {
    const made = people.map((somebody, at) => {
      const { token, sha256 } = newStaticToken(`t${at}`);
      tokens[somebody.subject] = token;
      return {
        id: `t${at}`,
        sha256,
        subject: somebody.subject,
        kind: somebody.kind ?? 'person',
        groups: somebody.groups ?? [],
        expires: '2099-01-01T00:00:00Z',
      };
    });
    const roles = people.flatMap(({ subject, roles: list, services = ['*'], environments = ['*'] }) =>
      list.map((role) => ({ role, subjects: [subject], services, environments })),
    );
    const {
      tokens: moreTokens = [],
      roles: moreRoles = [],
      ...rest
    } = file as {
      tokens?: readonly unknown[];
      roles?: readonly unknown[];
    };
    const whole = { ...rest, tokens: [...made, ...moreTokens], roles: [...roles, ...moreRoles] };
    await writeFile(path.join(folder, 'slipway-server.yaml'), JSON.stringify(whole));
  }
  let text = '';
  const sink = new Writable({
    write(chunk: Buffer, _, callback) {
      text += chunk.toString();
      callback();
    },
  });
  const whole = { ...stack.env, SLIPWAY_SERVER_PORT: '0', ...env };
  const refusals: Refusal[] = [];
  const config = await loadServerConfig(whole, folder);
  const server = await serve({
    ...seamsOf(openStorage({ dataDir: config.dataDir, s3: null })),
    config,
    env: whole,
    log: pino({ level: 'debug' }, sink),
    refusals: { refused: (entry) => refusals.push(entry) },
    ...(pingMs === undefined ? {} : { pingMs }),
    ...seams,
  });
  return { ...server, tokens, refusals, log: () => text };
}

export interface Answer<T = unknown> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
  readonly text: string;
}

/** One request; the body is sent as JSON. */
export async function call<T = Record<string, unknown>>(
  url: string,
  {
    token,
    body,
    headers = {},
    method = body === undefined ? 'GET' : 'POST',
    signal = AbortSignal.timeout(30_000),
  }: {
    readonly token?: string | undefined;
    readonly body?: unknown;
    readonly headers?: Readonly<Record<string, string>>;
    readonly method?: string;
    readonly signal?: AbortSignal;
  } = {},
): Promise<Answer<T>> {
  const response = await fetch(url, {
    method,
    redirect: 'manual',
    signal,
    headers: {
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const json = /json/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: (json ? JSON.parse(text) : null) as T };
}

export interface SeenEvent {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: unknown;
  readonly atMs: number;
}

/** An open event stream, with all that it has told. */
export class Events {
  readonly seen: SeenEvent[] = [];
  closed = false;
  private readonly abort = new AbortController();

  static async open(url: string, headers: Readonly<Record<string, string>>): Promise<Events> {
    const events = new Events();
    const response = await fetch(url, { headers, signal: events.abort.signal });
    if (response.status !== 200 || response.body === null)
      throw new Error(`${response.status} ${await response.text()}`);
    void events.read(response.body);
    return events;
  }

  private async read(body: ReadableStream<Uint8Array>): Promise<void> {
    const parser = createParser({
      onEvent: ({ id, event, data }) =>
        this.seen.push({ id, event: event ?? 'message', data: JSON.parse(data) as unknown, atMs: Date.now() }),
    });
    const decoder = new TextDecoder();
    try {
      for await (const chunk of body) parser.feed(decoder.decode(chunk, { stream: true }));
    } catch (error) {
      if (!this.abort.signal.aborted) throw error;
    } finally {
      this.closed = true;
    }
  }

  /** Waits for an event. */
  async until<T = unknown>(
    what: string,
    wanted: (event: SeenEvent) => boolean,
    limitMs = 30_000,
  ): Promise<SeenEvent & { readonly data: T }> {
    for (const endMs = Date.now() + limitMs; Date.now() < endMs; await sleep(20)) {
      const found = this.seen.find(wanted);
      if (found !== undefined) return found as SeenEvent & { readonly data: T };
    }
    throw new Error(`${what}: not told; seen: ${JSON.stringify(this.seen.map(({ event, id }) => `${event} ${id}`))}`);
  }

  close(): void {
    this.abort.abort();
  }
}
