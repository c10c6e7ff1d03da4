import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CustomQueries } from '../domain/policy.js';

/** PromQL that the stub understands: it reads metric and arm back from the text. */
export const STUB_QUERIES: CustomQueries = {
  requests: 'stub_requests{service="{{service}}",arm="{{arm}}"}',
  errors: 'stub_errors{service="{{service}}",arm="{{arm}}"}',
  latencyBuckets: 'stub_buckets{service="{{service}}",arm="{{arm}}"}',
};

/** Slipway asks for all that a look needs in one query: its parts, each with a label that names it. */
const PART = /label_replace\(\(([^]*?)\n\), "(\w+)", "([^"]+)", "", ""\)/g;

const BOUNDS = ['0.01', '0.05', '0.1', '0.5', '1', '+Inf'] as const;
/** Share of the requests that take at most each bound. */
const SHARES = [0.5, 0.9, 0.97, 0.995, 0.999, 1] as const;

export interface PrometheusStub {
  readonly url: string;
  /** From now on all requests to the canaries of these services fail. Gives the moment, ms since the epoch. */
  turnBad(services: ReadonlySet<string>): number;
  close(): void;
}

/** A Prometheus that makes up steady counters for any service: 50 requests a second on each arm. */
export async function startPrometheusStub(perSecond = 50): Promise<PrometheusStub> {
  const epochMs = Date.now() - 3_600_000;
  let badSinceMs: number | null = null;
  let bad: ReadonlySet<string> = new Set();
  const value = (query: string, bound: string | null, atMs: number): number => {
    const requests = Math.round(((atMs - epochMs) / 1000) * perSecond);
    if (query.includes('stub_buckets'))
      return Math.round(requests * (SHARES[BOUNDS.indexOf(bound as (typeof BOUNDS)[number])] ?? 1));
    if (!query.includes('stub_errors')) return requests;
    const service = /service="([^"]+)"/.exec(query)?.[1] ?? '';
    if (badSinceMs === null || !bad.has(service) || !query.includes('arm="canary"')) return 0;
    return Math.round(Math.max(0, (atMs - badSinceMs) / 1000) * perSecond);
  };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://stub');
      const given = request.method === 'POST' ? new URLSearchParams(body) : url.searchParams;
      const query = given.get('query') ?? '';
      const start = Number(given.get('start'));
      const step = Number.parseFloat(given.get('step') ?? '1');
      const result = [...query.matchAll(PART)].flatMap(([, text = '', label = '', part = '']) =>
        (text.includes('stub_buckets') ? BOUNDS : [null]).map((bound) => {
          const values: [number, string][] = [];
          for (let at = start; at <= Number(given.get('end')); at += step) {
            if (at * 1000 <= Date.now())
              values.push([at, String(text.includes('timestamp(') ? at : value(text, bound, at * 1000))]);
          }
          return { metric: { instance: 'stub:1', [label]: part, ...(bound === null ? {} : { le: bound }) }, values };
        }),
      );
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    turnBad(services) {
      bad = services;
      badSinceMs = Date.now();
      return badSinceMs;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
