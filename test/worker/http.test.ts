import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Counter, Registry } from 'prom-client';
import { startWorkerHttp } from '../../worker/http.js';
import type { WorkerHttp } from '../../worker/http.js';
import { createMetrics } from '../../worker/metrics.js';

describe('the worker over HTTP', () => {
  const registry = new Registry();
  new Counter({ name: 'ours_total', help: 'Ours.', registers: [registry] }).inc(3);
  const sdk = createServer((_, response) => response.end('temporal_request_total 7\n'));
  let sdkMetricsUrl = '';
  let notReady: string | null = null;
  let http: WorkerHttp;

  before(async () => {
    await new Promise<void>((resolve) => sdk.listen(0, '127.0.0.1', resolve));
    sdkMetricsUrl = `http://127.0.0.1:${(sdk.address() as AddressInfo).port}/metrics`;
    http = await startWorkerHttp({ host: '127.0.0.1', port: 0, registry, sdkMetricsUrl, notReady: () => notReady });
  });
  after(async () => {
    await http.close();
    sdk.close();
  });

  async function get(path: string): Promise<{ readonly status: number; readonly text: string; readonly type: string }> {
    const response = await fetch(`${http.url}${path}`);
    return { status: response.status, text: await response.text(), type: response.headers.get('content-type') ?? '' };
  }

  it('lives as soon as it listens, whatever it waits for', async () => {
    notReady = 'not taking work: INITIALIZED';
    assert.deepEqual(await get('/healthz'), { status: 200, text: 'ok\n', type: 'text/plain; charset=utf-8' });
  });

  it('is ready only when it takes work, and says why it does not', async () => {
    notReady = 'not taking work: INITIALIZED, RUNNING';
    const waiting = await get('/readyz');
    assert.equal(waiting.status, 503);
    assert.equal(waiting.text, 'not taking work: INITIALIZED, RUNNING\n');
    notReady = null;
    assert.equal((await get('/readyz')).status, 200);
    assert.equal((await get('/readyz?verbose')).status, 200);
  });

  it('gives its own metrics and Temporal’s in one text', async () => {
    const { status, text, type } = await get('/metrics');
    assert.equal(status, 200);
    assert.match(type, /^text\/plain; version=0\.0\.4/);
    assert.match(text, /^ours_total 3$/m);
    assert.match(text, /^temporal_request_total 7$/m);
  });

  it('says what there is where there is nothing', async () => {
    const { status, text } = await get('/metric');
    assert.equal(status, 404);
    assert.match(text, /\/metrics, \/healthz, \/readyz/);
  });

  it('gives its own metrics even while Temporal’s can’t be had, and says so', async () => {
    const alone = await startWorkerHttp({
      host: '127.0.0.1',
      port: 0,
      registry,
      sdkMetricsUrl: 'http://127.0.0.1:9/metrics',
      notReady: () => null,
    });
    const response = await fetch(`${alone.url}/metrics`);
    const text = await response.text();
    await alone.close();
    assert.equal(response.status, 200);
    assert.match(text, /^ours_total 3$/m);
    assert.match(text, /^# Temporal's own metrics could not be read: /m);
  });

  it('does not start on a port that is taken', async () => {
    const { port } = new URL(http.url);
    await assert.rejects(
      startWorkerHttp({ host: '127.0.0.1', port: Number(port), registry, sdkMetricsUrl, notReady: () => null }),
      /EADDRINUSE/,
    );
  });

  it('ends at once, also with a connection that is kept open', async () => {
    const short = await startWorkerHttp({ host: '127.0.0.1', port: 0, registry, sdkMetricsUrl, notReady: () => null });
    await (await fetch(`${short.url}/healthz`)).text();
    const begunMs = Date.now();
    await short.close();
    assert.ok(Date.now() - begunMs < 1000);
    await assert.rejects(fetch(`${short.url}/healthz`));
  });
});

it('no metric of the worker has a label that grows with the number of rollouts', async () => {
  const metrics = createMetrics();
  metrics.effects.inc({ op: 'set-weights', result: 'applied' });
  metrics.ended.inc({ outcome: 'completed', environment: 'prod' });
  const labels = (await metrics.registry.getMetricsAsJSON()).flatMap(({ values }) =>
    (values as readonly { readonly labels: object }[]).flatMap((value) => Object.keys(value.labels)),
  );
  for (const label of labels) assert.ok(!/rollout|commit|version_id|service/.test(label), label);
  assert.match(await metrics.registry.metrics(), /slipway_effects_total\{op="set-weights",result="applied"\} 1/);
});
