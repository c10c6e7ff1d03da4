import { createServer } from 'node:http';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the fake does with one request. */
export type FakeReply =
  /** A completion with this value as its JSON; `change` is merged into the completion. */
  | { readonly kind: 'answer'; readonly value: unknown; readonly change?: Readonly<Record<string, unknown>> }
  /** A completion with this text as it is. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'refusal' }
  | { readonly kind: 'finish'; readonly reason: string }
  | { readonly kind: 'no-choices' }
  /** Any body at all. */
  | {
      readonly kind: 'raw';
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body: string;
    }
  /** No headers, ever. */
  | { readonly kind: 'stall' }
  /** Headers and half a body, then nothing. */
  | { readonly kind: 'stall-body' }
  /** Half a body, then the connection ends. */
  | { readonly kind: 'cut-body' }
  /** The connection ends before any answer. */
  | { readonly kind: 'drop' }
  /** A JSON string of this many bytes. */
  | { readonly kind: 'huge'; readonly bytes: number };

export interface FakeRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface FakeOpenAi {
  /** Base address with `/v1`. */
  readonly url: string;
  /** All requests so far. */
  readonly requests: readonly FakeRequest[];
  /** What comes next, one reply a request; the last one is repeated. */
  readonly script: (...replies: readonly FakeReply[]) => void;
  readonly close: () => Promise<void>;
}

/** A careful, honest opinion. */
export const FAKE_OPINION = {
  score: 0.4,
  strategy: 'canary_10',
  approval: false,
  factors: [{ name: 'hot path', reason: 'src/hello.ts is on the path of every request' }],
  summary: 'Touches the request path.',
} as const;

/** A real HTTP server that answers chat completions as told, or misbehaves. Meant for tests and the demo. */
export async function startFakeOpenAi(...first: readonly FakeReply[]): Promise<FakeOpenAi> {
  const requests: FakeRequest[] = [];
  let replies = first;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as Record<string, unknown>;
      requests.push({ path: request.url ?? '', headers: request.headers, body });
      const reply = replies[0] ?? { kind: 'answer', value: FAKE_OPINION };
      if (replies.length > 1) replies = replies.slice(1);
      send(response, reply);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests,
    script: (...next) => {
      replies = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(response: ServerResponse, reply: FakeReply): void {
  switch (reply.kind) {
    case 'answer':
      return json(response, { ...completion({ content: JSON.stringify(reply.value) }), ...reply.change });
    case 'text':
      return json(response, completion({ content: reply.text }));
    case 'refusal':
      return json(response, completion({ content: null, refusal: "I can't help with that." }));
    case 'finish':
      return json(response, completion({ content: '{"score": 0.' }, reply.reason));
    case 'no-choices':
      return json(response, { ...completion({}), choices: [] });
    case 'raw':
      response.writeHead(reply.status ?? 200, { 'content-type': 'application/json', ...reply.headers });
      response.end(reply.body);
      return;
    case 'stall':
      return;
    case 'stall-body':
    case 'cut-body': {
      const text = JSON.stringify(completion({ content: JSON.stringify(FAKE_OPINION) }));
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
      response.write(text.slice(0, text.length / 2), () => {
        if (reply.kind === 'cut-body') response.destroy();
      });
      return;
    }
    case 'drop':
      response.destroy();
      return;
    case 'huge':
      return json(response, 'x'.repeat(reply.bytes));
  }
}

function completion(message: Readonly<Record<string, unknown>>, finishReason = 'stop'): Record<string, unknown> {
  return {
    id: 'chatcmpl-fake',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'fake-model-2026-01-01',
    choices: [{ index: 0, finish_reason: finishReason, message: { role: 'assistant', refusal: null, ...message } }],
    usage: { prompt_tokens: 900, completion_tokens: 120, total_tokens: 1020 },
  };
}

function json(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
