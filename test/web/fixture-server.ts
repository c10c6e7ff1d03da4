/** A server of the page's own tests: real HTTP and server-sent events, but what it says is told by the test. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Me, Problem, RunDocument, RunList, StreamEvent } from '../../client/server/contract.js';
import type { LoginWays, PageData } from '../../client/server/seams.js';
import { loadPage } from '../../client/web/page.js';
import type { Page } from '../../client/web/page.js';
import { me, runsEnded, runsInFlight } from './documents.js';

export interface Received {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Record<string, unknown>;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export class FixtureServer {
  me: Me | null = me();
  login: LoginWays = { oidc: '/login/oidc', tokens: true };
  open: RunList = runsInFlight();
  ended: RunList = runsEnded();
  readonly runs = new Map<string, RunDocument>();
  /** Of all POST requests, oldest first. */
  readonly received: Received[] = [];
  /** What a POST is answered; null: never, and the connection is cut. */
  answer: (asked: Received) => Answer | null = () => ({ status: 200, body: { kind: 'accepted', text: 'approved' } });
  /** What a new stream is answered instead of a stream. */
  refusal: Answer | null = null;
  /** What is stored of every verdict. */
  evidence: unknown = null;
  /** Addresses that were asked for. */
  readonly asked: string[] = [];
  /** Of all streams that were asked for, oldest first. */
  readonly streamHeaders: IncomingMessage['headers'][] = [];
  private readonly streams = new Map<ServerResponse, string>();
  private seq = 0;

  private constructor(
    private readonly server: Server,
    private readonly page: Page,
    readonly url: string,
  ) {}

  static async start(port = 0): Promise<FixtureServer> {
    const page = await loadPage({ version: '0.0.1' });
    const server = createServer((request, response) => void fixture.handle(request, response));
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const fixture = new FixtureServer(server, page, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return fixture;
  }

  get openStreams(): readonly string[] {
    return [...this.streams.values()];
  }

  push(path: string, event: StreamEvent): void {
    this.seq += 1;
    for (const [response, of] of this.streams)
      if (of === path)
        response.write(`id: 1:${this.seq}\nevent: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`);
  }

  /** Changes a rollout, and tells those who look at it. */
  change(run: RunDocument): void {
    this.runs.set(run.summary.rolloutId, run);
    this.push(`/runs/${run.summary.rolloutId}/events`, { event: 'run', data: run });
  }

  /** Breaks all streams, as a server that dies does. */
  cut(): void {
    for (const response of this.streams.keys()) response.destroy();
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    this.asked.push(url.pathname);
    if (request.method === 'POST') return this.post(url, request, response);
    if (url.pathname.endsWith('/events')) return this.stream(url.pathname, request, response);
    const headers = Object.entries(request.headers).map(([name, value]) => [name, String(value)] as [string, string]);
    const answer = this.page.handle(new Request(url, { headers }), this.dataOf(url)) ?? this.api(url);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  }

  private dataOf({ pathname, searchParams }: URL): PageData | null {
    if (pathname === '/login')
      return {
        page: 'login',
        login: this.login,
        back: searchParams.get('return') ?? '/',
        fresh: searchParams.has('fresh'),
        notice: searchParams.get('notice'),
      };
    if (pathname === '/' && this.me !== null) return { page: 'list', me: this.me, runs: this.open, ended: this.ended };
    const id = /^\/rollouts\/(.+)$/.exec(pathname)?.[1];
    if (id === undefined || this.me === null) return null;
    const run = this.runs.get(id);
    if (run !== undefined) return { page: 'rollout', me: this.me, run };
    const problem = problemOf(
      404,
      'There is nothing here',
      `there is no rollout ${id} that you may see`,
      'look at the list',
    );
    return { page: 'problem', me: this.me, problem };
  }

  private api({ pathname, searchParams }: URL): Response {
    if (pathname === '/runs') return Response.json(searchParams.get('state') === 'ended' ? this.ended : this.open);
    const run = this.runs.get(/^\/runs\/([^/]+)$/.exec(pathname)?.[1] ?? '');
    if (run !== undefined) return Response.json(run);
    if (/\/evidence\//.test(pathname) && this.evidence !== null) return Response.json(this.evidence);
    return Response.json(problemOf(404, 'There is nothing here', pathname, 'look at GET /runs'), { status: 404 });
  }

  private async post(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = JSON.parse((await text(request)) || 'null') as Record<string, unknown>;
    const asked: Received = { path: url.pathname, headers: request.headers, body };
    this.received.push(asked);
    const answer = this.answer(asked);
    if (answer === null) return void response.destroy();
    response.writeHead(answer.status, {
      'content-type': answer.status < 400 ? 'application/json' : 'application/problem+json',
    });
    response.end(JSON.stringify(answer.body));
  }

  private stream(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    this.streamHeaders.push(request.headers);
    if (this.refusal !== null) {
      response.writeHead(this.refusal.status, { 'content-type': 'application/problem+json' });
      return void response.end(JSON.stringify(this.refusal.body));
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' });
    response.flushHeaders();
    this.streams.set(response, pathname);
    request.once('close', () => this.streams.delete(response));
    response.once('close', () => this.streams.delete(response));
    this.seq += 1;
    response.write(`id: 1:${this.seq}\nevent: ping\ndata: ${JSON.stringify({ at: new Date().toISOString() })}\n\n`);
    // As the server does: who comes, or comes back, is told what is.
    const run = this.runs.get(/^\/runs\/(.+)\/events$/.exec(pathname)?.[1] ?? '');
    const event: StreamEvent | null =
      pathname === '/events'
        ? { event: 'runs', data: this.open }
        : run === undefined
          ? null
          : { event: 'run', data: run };
    if (event !== null)
      response.write(`id: 1:${++this.seq}\nevent: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`);
  }
}

export function problemOf(status: number, title: string, detail: string, next: string): Problem {
  return { type: 'https://slipway.dev/problems/test', title, status, detail, instance: 'test', next };
}
