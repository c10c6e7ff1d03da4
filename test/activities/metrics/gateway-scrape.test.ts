import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { createGatewaySource } from '../../../activities/metrics/gateway-scrape.js';
import type { MetricsQuery } from '../../../activities/metrics/metrics-source.js';
import { ScrapeFile } from '../../../activities/metrics/scrape-file.js';
import { parsePrometheusText } from '../../../activities/metrics/prometheus-text.js';
import { startExporter } from '../../support/exporter.js';
import { testPolicy } from '../../support/request.js';

const NEVER = new AbortController().signal;

function text(requests: number, errors: number): string {
  const labels = 'environment="test",service="hello",arm="canary",version="hello:v2"';
  return [
    '# TYPE slipway_gateway_requests_total counter',
    `slipway_gateway_requests_total{${labels},code="200"} ${requests - errors}`,
    `slipway_gateway_requests_total{${labels},code="503"} ${errors}`,
    `slipway_gateway_requests_total{environment="test",service="other",arm="canary",version="hello:v2",code="200"} 999`,
    `slipway_gateway_request_duration_seconds_bucket{${labels},le="0.1"} ${requests - 1}`,
    `slipway_gateway_request_duration_seconds_bucket{${labels},le="+Inf"} ${requests}`,
    '',
  ].join('\n');
}

function query(gateway: string, fromMs: number): MetricsQuery {
  const { lane, target } = testPolicy({ gateway });
  return {
    lane,
    target,
    arms: [{ arm: 'canary', version: 'hello:v2' }],
    fromMs,
    toMs: Date.now(),
    stepMs: 20,
    originMs: 0,
  };
}

test('what one worker has scraped is there for the next one, over torn lines and an outage', async () => {
  const scrapeDir = await mkdtemp(path.join(tmpdir(), 'slipway-scrapes-'));
  const exporter = await startExporter(text(10, 1));
  try {
    const begun = Date.now();
    const first = createGatewaySource({ scrapeDir });
    assert.equal((await first.samples(query(exporter.url, begun), NEVER)).kind, 'value');
    await appendFile(path.join(scrapeDir, 'test~hello.jsonl'), '{"t":17000000,"arms":[{"arm":"can');
    exporter.mode = 'refuse';
    await new Promise((resolve) => setTimeout(resolve, 25));
    const down = await first.samples(query(exporter.url, begun), NEVER);
    assert.equal(down.kind, 'unreachable');
    assert.match(down.kind === 'unreachable' ? down.reason : '', /answered 503/);

    exporter.mode = 'ok';
    exporter.text = text(30, 4);
    const second = createGatewaySource({ scrapeDir });
    const answer = await second.samples(query(exporter.url, begun), NEVER);
    assert.ok(answer.kind === 'value');
    const canary = answer.arms.canary;
    assert.deepEqual(canary?.series[0]?.requests, [10, 30]);
    assert.deepEqual(canary?.series[0]?.errors, [1, 4]);
    assert.deepEqual(canary?.leSeconds, [0.1, null]);
    assert.deepEqual(canary?.series[0]?.buckets, [
      [9, 10],
      [29, 30],
    ]);
  } finally {
    await exporter.close();
    await rm(scrapeDir, { recursive: true });
  }
});

test('a look asks only for what is new, and many at once share one scrape', async () => {
  const scrapeDir = await mkdtemp(path.join(tmpdir(), 'slipway-scrapes-'));
  const exporter = await startExporter(text(10, 0));
  try {
    const source = createGatewaySource({ scrapeDir });
    const begun = Date.now();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => source.samples(query(exporter.url, begun), NEVER)),
    );
    assert.ok(answers.every(({ kind }) => kind === 'value'));
    assert.equal(exporter.seen.length, 1);
    const [first] = answers;
    const last = first?.kind === 'value' ? (first.arms.canary?.timesMs.at(-1) ?? 0) : 0;
    const next = await source.samples({ ...query(exporter.url, last + 1), stepMs: 60_000 }, NEVER);
    assert.deepEqual(next, { kind: 'value', arms: {} });
    const lines = (await readFile(path.join(scrapeDir, 'test~hello.jsonl'), 'utf8'))
      .split('\n')
      .filter((line) => line !== '');
    assert.equal(lines.length, 1);
  } finally {
    await exporter.close();
    await rm(scrapeDir, { recursive: true });
  }
});

test('watches that read at once lose nothing of what comes next', async () => {
  const scrapeDir = await mkdtemp(path.join(tmpdir(), 'slipway-scrapes-'));
  try {
    const file = path.join(scrapeDir, 'scrapes.jsonl');
    const reader = new ScrapeFile(file);
    const writer = new ScrapeFile(file);
    for (let t = 1; t <= 50; t += 1) {
      await writer.append({ t, arms: [] });
      await Promise.all([reader.read(t), reader.read(t), reader.read(t)]);
    }
    assert.deepEqual(
      (await reader.read(50)).map((row) => row.t),
      Array.from({ length: 50 }, (_, index) => index + 1),
    );
  } finally {
    await rm(scrapeDir, { recursive: true });
  }
});

test('an arm that was never asked anything is no data, a gateway that hangs is unreachable within the limit', async () => {
  const scrapeDir = await mkdtemp(path.join(tmpdir(), 'slipway-scrapes-'));
  const exporter = await startExporter(
    'slipway_gateway_requests_total{environment="test",service="hello",arm="stable",version="hello:v1",code="200"} 5\n',
  );
  try {
    const source = createGatewaySource({ scrapeDir, timeoutMs: 300 });
    const silent = await source.samples(query(exporter.url, Date.now()), NEVER);
    assert.equal(silent.kind, 'no-data');
    exporter.mode = 'hang';
    await new Promise((resolve) => setTimeout(resolve, 25));
    const begun = Date.now();
    const hanging = await source.samples(query(exporter.url, begun), NEVER);
    assert.deepEqual(hanging.kind, 'unreachable');
    assert.ok(Date.now() - begun < 15_000);
  } finally {
    await exporter.close();
    await rm(scrapeDir, { recursive: true });
  }
});

test('the text format is read with escapes, infinities and time stamps', () => {
  const samples = parsePrometheusText(
    ['# HELP a b', 'a{x="1\\"2\\\\3\\n4",le="+Inf"} +Inf 1700000000', 'b 1.5e3', 'not a sample', 'c{} 7', ''].join(
      '\n',
    ),
    (name) => name !== 'b',
  );
  assert.deepEqual(samples, [
    { name: 'a', labels: { x: '1"2\\3\n4', le: '+Inf' }, value: Infinity },
    { name: 'c', labels: {}, value: 7 },
  ]);
});
