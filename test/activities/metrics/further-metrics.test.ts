import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { createPrometheusSource } from '../../../activities/metrics/prometheus.js';
import type { MetricsAnswer } from '../../../activities/metrics/metrics-source.js';
import { canonicalValue } from '../../../domain/canonical.js';
import { testPolicy } from '../../support/request.js';

const START_S = 1_700_000_000;
const TIMES = [0, 1, 2].map((second) => START_S + second);

/** Series that the server answers with, by part of the query; each value is one instant's. */
let answers: Readonly<Record<string, readonly (readonly string[])[]>> = {};
let asked = '';

const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () => {
    asked = new URLSearchParams(body).get('query') ?? '';
    const result = Object.entries(answers).flatMap(([part, several]) =>
      several.map((values, index) => ({
        metric: { slipway_part: part, pod: `p${index}` },
        values: values.map((value, i) => [TIMES[i], value]),
      })),
    );
    response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
  });
});

before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
after(() => {
  server.close();
  server.closeAllConnections();
});

const counters = {
  'canary/requests': [['1', '2', '3']],
  'canary/errors': [['0', '0', '0']],
  'canary/scrapedAt': [TIMES.map(String)],
};

function samples(): Promise<MetricsAnswer> {
  const { lane, target } = testPolicy({ gateway: 'http://127.0.0.1:1' });
  const source = createPrometheusSource({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    queries: { requests: 'r', errors: 'e', latencyBuckets: null },
    values: { 'queue "$1" depth': 'avg(depth{arm="{{arm}}",version="{{version}}"})', heap: 'avg(heap)' },
    authorization: null,
  });
  const arms = [{ arm: 'canary', version: 'hello:v2' }] as const;
  const fromMs = START_S * 1000;
  const query = { lane, target, arms, fromMs, toMs: fromMs + 2000, stepMs: 1000, originMs: fromMs };
  return source.samples(query, new AbortController().signal);
}

describe('further metrics from Prometheus', () => {
  it('come with the counters, one value an instant, filled in for the arm', async () => {
    answers = { ...counters, 'canary/value-0': [['5', 'NaN', '7.5']], 'canary/value-1': [['+Inf', '2', '2']] };
    const answer = await samples();
    assert.ok(answer.kind === 'value', JSON.stringify(answer));
    assert.deepEqual(answer.arms.canary?.values, { 'queue "$1" depth': [5, null, 7.5], heap: [null, 2, 2] });
    assert.ok(asked.includes('avg(depth{arm="canary",version="hello:v2"})'), asked);
  });

  it('are judged with the digits that a store keeps, as all that comes in', async () => {
    const [x, y] = [0.1 + 0.2, 1 / 3];
    answers = {
      ...counters,
      'canary/requests': [[String(x), String(1 + y), '3']],
      'canary/value-1': [[String(x), String(y), '1234567890123']],
    };
    const answer = await samples();
    assert.ok(answer.kind === 'value', JSON.stringify(answer));
    assert.deepEqual(answer.arms.canary?.values?.['heap'], [0.3, 0.333333333333, 1234567890123]);
    assert.deepEqual(answer, canonicalValue(answer));
  });

  it('are null where there are none, and the counters are there all the same', async () => {
    answers = counters;
    const answer = await samples();
    assert.ok(answer.kind === 'value');
    assert.deepEqual(answer.arms.canary?.values?.['heap'], [null, null, null]);
    assert.deepEqual(answer.arms.canary?.series[0]?.requests, [1, 2, 3]);
  });

  it('are refused as several series: only their author knows how to join them', async () => {
    answers = {
      ...counters,
      'canary/value-1': [
        ['1', '1', '1'],
        ['2', '2', '2'],
      ],
    };
    const answer = await samples();
    assert.ok(answer.kind === 'unreachable');
    assert.match(answer.reason, /metric heap: its query gives 2 series of one arm; aggregate them to one, as in avg/);
  });
});
