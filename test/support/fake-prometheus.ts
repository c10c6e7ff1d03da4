import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CustomQueries } from '../../domain/policy.js';
import type { Arm, Weights } from '../../domain/target.js';

/** Requests of all arms together. */
const PER_SECOND = 100;

export interface FakePrometheus {
  readonly url: string;
  stop(): Promise<void>;
}

/** Queries for a fake Prometheus: steady traffic, and of the canary's answers this share fails. */
export function workload(canaryErrorRate: number): CustomQueries {
  return {
    requests: 'requests{namespace="{{namespace}}"}',
    errors: `errors{canary_error_rate="${canaryErrorRate}"}`,
    latencyBuckets: null,
  };
}

/**
 * Answers each part of a look's query as if the traffic of a namespace had always been split as its route says now: see
 * `workload`.
 */
export async function startFakePrometheus(
  weightsOf: (namespace: string) => Promise<Weights | null>,
): Promise<FakePrometheus> {
  const bornS = Date.now() / 1000 - 3600;

  async function answer(form: URLSearchParams) {
    const [startS, endS, stepS] = ['start', 'end', 'step'].map((name) => Number(form.get(name)));
    const query = form.get('query') ?? '';
    const weights = await weightsOf(labelIn(query, 'namespace') ?? '');
    const canaryErrorRate = Number(labelIn(query, 'canary_error_rate') ?? 0);
    const valueOf = (arm: Arm, kind: string, atS: number): number => {
      const requests = Math.floor(((atS - bornS) * PER_SECOND * (weights?.[arm] ?? 0)) / 100);
      if (kind === 'scrapedAt') return atS;
      return kind === 'requests' ? requests : Math.floor(requests * (arm === 'canary' ? canaryErrorRate : 0));
    };
    const times = grid(startS ?? 0, endS ?? 0, stepS ?? 1);
    const parts = [...query.matchAll(/"(slipway_part)", "(\w+)\/(\w+)"/g)];
    return parts.map(([, label = '', arm = '', kind = '']) => ({
      metric: { pod: arm, [label]: `${arm}/${kind}` },
      values: times.map((atS) => [atS, String(valueOf(arm as Arm, kind, atS))]),
    }));
  }

  const server = createServer((request, response) => {
    formOf(request)
      .then(answer)
      .then(
        (result) => {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
        },
        // As a Prometheus that is gone: the watch asks again.
        () => response.destroy(),
      );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function labelIn(query: string, label: string): string | undefined {
  return new RegExp(`${label}="([^"]*)"`).exec(query)?.[1];
}

function grid(startS: number, endS: number, stepS: number): readonly number[] {
  const length = Math.floor((endS - startS) / stepS + 1e-6) + 1;
  return Array.from({ length }, (_, index) => startS + index * stepS);
}

async function formOf(request: IncomingMessage): Promise<URLSearchParams> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  return new URLSearchParams(text);
}
