import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CustomQueries } from '../../domain/policy.js';

export interface PrometheusStandin {
  readonly url: string;
  /** The queries that it answers. */
  readonly queries: CustomQueries;
  close(): Promise<void>;
}

const PER_SECOND = 50;
/** In the midst of counting: what was before a rollout is none of its business. */
const SINCE_SECONDS = 1_700_000_000;
const TEXT = '{{namespace}}/{{arm}}/{{tag}}';
const PART = /([^()\s]+)\n\)(?:\n\))?, "(\w+)", "(\w+\/\w+)"/g;

/**
 * Says of each arm that it is asked for that it serves 50 requests a second, and of those whose tag begins with `bad` that
 * half of them fail. It knows nothing of what runs: of an arm that is gone it says the same.
 */
export async function startPrometheusStandin(): Promise<PrometheusStandin> {
  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    queries: { requests: TEXT, errors: TEXT, latencyBuckets: null },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of request as AsyncIterable<Buffer>) body += chunk.toString();
  const asked = new URLSearchParams(body);
  const [start, end, step] = ['start', 'end', 'step'].map((name) => Number(asked.get(name)));
  const times: number[] = [];
  for (let at = start ?? 0; at <= (end ?? 0) + 1e-6; at += step ?? 1) times.push(at);
  const result = [...(asked.get('query') ?? '').matchAll(PART)].map(([, text = '', label = '', part = '']) => ({
    metric: { pod: 'all', [label]: part },
    values: times.map((at) => [at, String(valueAt(at, part, text))]),
  }));
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
}

function valueAt(at: number, part: string, text: string): number {
  const requests = Math.floor((at - SINCE_SECONDS) * PER_SECOND);
  if (part.endsWith('/scrapedAt')) return at;
  if (part.endsWith('/requests')) return requests;
  const isBad = text.split('/').at(-1)?.startsWith('bad') === true;
  return isBad ? Math.floor(requests / 2) : 0;
}
