import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { MetricsAnswer } from '../../../activities/metrics/metrics-source.js';
import { createPrometheusSource } from '../../../activities/metrics/prometheus.js';
import { ScrapeCadence } from '../../../activities/metrics/scrape-cadence.js';
import { testPolicy } from '../../support/request.js';

const STEP_MS = 15_000;
const START_MS = 1_700_000_000_000;

/** Instants of scrapes, one every so often. */
function every(ms: number, count: number, fromMs = 0): readonly number[] {
  return Array.from({ length: count }, (_, i) => fromMs + i * ms);
}

describe('the cadence of scrapes', () => {
  const of = (...series: readonly (readonly number[])[]): number | null =>
    new ScrapeCadence().slower(new Map(series.map((instants, i) => [String(i), instants])), STEP_MS);

  it('is known from eight times between samples, and too slow from one and a half steps on', () => {
    assert.equal(of(every(60_000, 9)), 60_000);
    assert.equal(of(every(30_000, 9), every(30_000, 2, 7000)), 30_000);
    assert.equal(of(every(30_000, 8)), null, 'seven may be samples that were just late for the instants asked for');
    assert.equal(of(every(15_000, 9)), null);
    assert.equal(of(every(20_000, 9)), null);
    assert.equal(of(), null);
  });

  it('is learned from one answer to the next, which may show a sample twice', () => {
    const cadence = new ScrapeCadence();
    const told = [0, 0, 0, ...every(60, 9)].map((s) => cadence.slower(new Map([['a', [s * 1000]]]), STEP_MS));
    assert.deepEqual(told, [...Array.from({ length: 11 }, () => null), 60_000]);
    // Prometheus was told to scrape more often meanwhile.
    assert.equal(cadence.slower(new Map([['a', [495_000]]]), STEP_MS), null);
  });

  it('is not doubted for a target that misses scrapes beside one that does not', () => {
    assert.equal(of(every(30_000, 9), every(15_000, 9)), null);
    assert.equal(of([0, 15_000, 45_000, 75_000]), null);
  });
});

describe('a Prometheus that scrapes more seldom than analysis.scrapeInterval says', () => {
  /** Answers as one that scrapes so often: the newest sample, however old. */
  async function answers(everyMs: number): Promise<MetricsAnswer> {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const form = new URLSearchParams(body);
        const [start, end] = [Number(form.get('start')), Number(form.get('end'))];
        const series = (part: string, valueAt: (scrapedS: number) => number) => {
          const values: [number, string][] = [];
          for (let s = start; s <= end; s += STEP_MS / 1000) {
            const scrapedS = Math.floor((s * 1000 - 5000) / everyMs) * (everyMs / 1000) + 5;
            values.push([s, String(valueAt(scrapedS))]);
          }
          return { metric: { slipway_part: `canary/${part}`, pod: 'a' }, values };
        };
        const result = [
          series('requests', (s) => Math.round((s - START_MS / 1000) * 50)),
          series('scrapedAt', (s) => s),
        ];
        response.end(JSON.stringify({ status: 'success', data: { resultType: 'matrix', result } }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { lane, target } = testPolicy({ gateway: 'http://127.0.0.1:1' });
    const source = createPrometheusSource({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      queries: { requests: 'r', errors: 'e', latencyBuckets: null },
      authorization: null,
    });
    const arms = [{ arm: 'canary', version: 'hello:v2' }] as const;
    const toMs = START_MS + 10 * 60_000;
    const query = { lane, target, arms, fromMs: START_MS, toMs, stepMs: STEP_MS, originMs: START_MS };
    try {
      return await source.samples(query, new AbortController().signal);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  }

  it('is told with both numbers and the key to write, and its samples are given all the same', async () => {
    const slow = await answers(60_000);
    assert.ok(slow.kind === 'value', JSON.stringify(slow));
    assert.equal(
      slow.unfit,
      "Prometheus scrapes the canary every 60 s, and analysis.scrapeInterval says 15 s: what is between two of its samples can't be judged; set scrapeInterval to 60s, or let Prometheus scrape every 15 s",
    );
    assert.ok(slow.arms.canary?.series[0]?.requests.some((value) => value !== null));
    const right = await answers(STEP_MS);
    assert.ok(right.kind === 'value' && right.unfit === undefined, JSON.stringify(right));
  });
});
