import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import type { MetricsAnswer, MetricsQuery, MetricsSource } from '../../../activities/metrics/metrics-source.js';
import { createMetricsFactory } from '../../../activities/metrics/metrics-for.js';
import { createPrometheusSource } from '../../../activities/metrics/prometheus.js';
import { fillQuery, TEMPLATES } from '../../../activities/metrics/templates.js';
import { PROMETHEUS_TEMPLATES } from '../../../domain/policy.js';
import type { ArmSamples } from '../../../domain/canary/types.js';
import type { Arm } from '../../../domain/target.js';
import { startPrometheus } from '../../../tools/prometheus-server.js';
import type { PrometheusServer } from '../../../tools/prometheus-server.js';
import { findPrometheus, reasonToSkip } from '../../../tools/toolbox.js';
import { startExporter } from '../../support/exporter.js';
import type { Exporter } from '../../support/exporter.js';
import { testPolicy } from '../../support/request.js';

const NEVER = new AbortController().signal;
const STEP_MS = 1000;
const skip = await reasonToSkip(findPrometheus);

/** Counters as each convention has them: canary `hello:v2` with 100 requests, 7 failed, 90 within 0.1 s. */
function synthetic(requests: number, errors: number): string {
  const rows: string[] = [];
  const add = (name: string, labels: string, value: number): void => void rows.push(`${name}{${labels}} ${value}`);
  const family = (total: string, buckets: string, labels: string, code: string, unit = 1): void => {
    add(total, `${labels},${code}="200"`, requests - errors);
    add(total, `${labels},${code}="503"`, errors);
    add(buckets, `${labels},${code}="200",le="${0.1 * unit}"`, requests - 10);
    add(buckets, `${labels},${code}="200",le="${unit}"`, requests - 1);
    add(buckets, `${labels},${code}="200",le="+Inf"`, requests);
  };
  family(
    'slipway_gateway_requests_total',
    'slipway_gateway_request_duration_seconds_bucket',
    'environment="test",service="hello",arm="canary",version="hello:v2"',
    'code',
  );
  family(
    'traefik_service_requests_total',
    'traefik_service_request_duration_seconds_bucket',
    'service="shop-hello-canary-http-80@kubernetesgateway"',
    'code',
  );
  // The stable arm's counters must never be taken for the canary's.
  add('traefik_service_requests_total', 'service="shop-hello-http-80@kubernetesgateway",code="503"', 5000);
  family(
    'istio_requests_total',
    'istio_request_duration_milliseconds_bucket',
    'reporter="destination",destination_workload="hello-canary"',
    'response_code',
    1000,
  );
  family(
    'nginx_ingress_controller_requests',
    'nginx_ingress_controller_request_duration_seconds_bucket',
    'ingress="hello",namespace="shop",canary="shop-hello-canary-80"',
    'status',
  );
  // Another namespace behind the same controller, by either way of labelling.
  for (const where of ['namespace="staging"', 'namespace="ingress",exported_namespace="staging"'])
    add(
      'nginx_ingress_controller_requests',
      `ingress="hello",${where},canary="staging-hello-canary-80",status="503"`,
      7000,
    );
  add('nginx_ingress_controller_requests', 'ingress="hello",namespace="shop",canary="",status="503"', 5000);
  family(
    'http_server_request_duration_seconds_count',
    'http_server_request_duration_seconds_bucket',
    'service_name="hello",deployment_environment_name="test",service_version="v2",k8s_deployment_name="hello-canary"',
    'http_response_status_code',
  );
  for (const [arm, pod] of [
    ['hello', 'a'],
    ['hello', 'b'],
    ['hello-baseline', 'c'],
  ])
    add(
      'http_server_request_duration_seconds_count',
      `service_name="hello",deployment_environment_name="test",service_version="v1",k8s_deployment_name="${arm}",k8s_pod_name="${pod}"`,
      3000,
    );
  return `${rows.join('\n')}\n`;
}

let exporter: Exporter;
let other: Exporter;
let prometheus: PrometheusServer;
let folder: string;
const stops: (() => Promise<unknown>)[] = [];

before(async () => {
  if (skip !== false) return;
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-prometheus-'));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  exporter = await startExporter(synthetic(100, 7));
  other = await startExporter('lonely_total{pod="b"} 5\n');
  stops.push(
    () => exporter.close(),
    () => other.close(),
  );
  prometheus = await startPrometheus({
    scrapeIntervalMs: STEP_MS,
    targets: [
      { job: 'a', url: `${exporter.url}/metrics` },
      { job: 'b', url: `${other.url}/metrics` },
    ],
    dataDir: folder,
  });
  stops.push(() => prometheus.stop());
});

// Whatever of it was started: an open server would keep a failed test from ending.
after(async () => {
  for (const stop of stops.toReversed()) await stop();
});

function query(fromMs: number, toMs: number): MetricsQuery {
  const { lane, target } = testPolicy({ gateway: 'http://127.0.0.1:1' });
  return { lane, target, arms: [{ arm: 'canary', version: 'hello:v2' }], fromMs, toMs, stepMs: STEP_MS, originMs: 123 };
}

async function eventually(what: string, ask: () => Promise<ArmSamples | null>): Promise<ArmSamples> {
  for (const until = Date.now() + 30_000; ;) {
    const found = await ask();
    if (found !== null) return found;
    assert.ok(Date.now() < until, `${what} did not come within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

function canaryOf(answer: MetricsAnswer): ArmSamples | null {
  return answer.kind === 'value' ? (answer.arms.canary ?? null) : null;
}

const ON_KUBERNETES = {
  platform: 'kubernetes',
  context: null,
  namespace: 'shop',
  deployment: 'hello',
  service: 'hello',
  route: { kind: 'Ingress', name: 'hello' },
} as const;

for (const template of PROMETHEUS_TEMPLATES) {
  test(
    `template ${template}: a real Prometheus accepts it, and it finds the canary's counters and no others`,
    { skip },
    async () => {
      const source = createPrometheusSource({ url: prometheus.url, queries: template, authorization: null });
      const samples = await eventually(template, async () => {
        // An Ingress is of Kubernetes, and of one namespace there.
        const target = template === 'ingress-nginx' ? { target: ON_KUBERNETES } : {};
        const asked = { ...query(Date.now() - 3000, Date.now()), ...target };
        const found = canaryOf(await source.samples(asked, NEVER));
        return found?.series[0]?.requests.at(-1) === 100 ? found : null;
      });
      const [series] = samples.series;
      assert.equal(samples.series.length, 1);
      assert.equal(series?.errors.at(-1), 7);
      assert.deepEqual(samples.leSeconds, [0.1, 1, null]);
      assert.deepEqual(series?.buckets.at(-1), [90, 99, 100]);
    },
  );
}

test('on Kubernetes each template finds one namespace, and the arm that is asked for', { skip }, async () => {
  const of = async (queries: 'ingress-nginx' | 'opentelemetry-http', arm: Arm): Promise<readonly unknown[]> => {
    const source = createPrometheusSource({ url: prometheus.url, queries, authorization: null });
    const arms = [{ arm, version: arm === 'canary' ? 'hello:v2' : 'hello:v1' }];
    const asked = { ...query(Date.now() - 3000, Date.now()), target: ON_KUBERNETES, arms };
    const answer = await source.samples(asked, NEVER);
    const series = answer.kind === 'value' ? (answer.arms[arm]?.series ?? []) : [];
    return series.map(({ instance, requests }) => [instance.replace(/^127.*/, 'exporter'), requests.at(-1)]);
  };
  assert.deepEqual(await of('ingress-nginx', 'canary'), [['exporter', 100]]);
  assert.deepEqual(await of('ingress-nginx', 'stable'), [['exporter', 5000]]);
  assert.deepEqual(await of('opentelemetry-http', 'canary'), [['exporter', 100]]);
  assert.deepEqual(await of('opentelemetry-http', 'baseline'), [['c', 3000]]);
  const stable = [
    ['a', 3000],
    ['b', 3000],
  ];
  assert.deepEqual(await of('opentelemetry-http', 'stable'), stable, 'each pod resets on its own');
});

test('arms whose counters have the same labels are told apart', { skip }, async () => {
  const source = createPrometheusSource({ url: prometheus.url, queries: 'traefik', authorization: null });
  const arms: MetricsQuery['arms'] = [
    { arm: 'stable', version: 'hello:v1' },
    { arm: 'canary', version: 'hello:v2' },
  ];
  const answer = await source.samples({ ...query(Date.now() - 3000, Date.now()), arms }, NEVER);
  const last = (arm: 'stable' | 'canary'): readonly unknown[] => {
    const series = answer.kind === 'value' ? (answer.arms[arm]?.series ?? []) : [];
    return series.map(({ requests, errors, buckets }) => [requests.at(-1), errors.at(-1), buckets.at(-1)]);
  };
  assert.deepEqual(last('stable'), [[5000, 5000, undefined]]);
  assert.deepEqual(last('canary'), [[100, 7, [90, 99, 100]]]);
});

test(
  'a counter reset and a target that is gone are seen as what they are, and stretches join to the whole',
  { skip },
  async () => {
    const queries = { requests: 'requests_total{pod=~".+"}', errors: 'errors_total', latencyBuckets: null };
    const source = createPrometheusSource({ url: prometheus.url, queries, authorization: null });
    const begun = Date.now();
    exporter.text = 'requests_total{pod="a"} 50\n';
    await eventually('50', async () => {
      const found = canaryOf(await source.samples(query(Date.now() - 2000, Date.now()), NEVER));
      return found?.series[0]?.requests.at(-1) === 50 ? found : null;
    });
    exporter.text = 'requests_total{pod="a"} 3\n';
    await eventually('the reset', async () => {
      const found = canaryOf(await source.samples(query(Date.now() - 2000, Date.now()), NEVER));
      return found?.series[0]?.requests.at(-1) === 3 ? found : null;
    });
    exporter.mode = 'refuse';
    // Prometheus marks the series stale with the first scrape that fails.
    await eventually('the gap', async () => {
      const found = canaryOf(await source.samples(query(begun, Date.now()), NEVER));
      return found?.series[0]?.requests.at(-1) === null ? found : null;
    });
    exporter.mode = 'ok';
    const toMs = Date.now();
    const whole = canaryOf(await source.samples(query(begun, toMs), NEVER));
    // Cut where something is on either side: a stretch in which nothing was seen is "no data", not samples.
    const last = whole?.series[0]?.requests.findLastIndex((value) => value !== null) ?? 0;
    const middle = whole?.timesMs[Math.floor(last / 2)] ?? 0;
    const head = canaryOf(await source.samples(query(begun, middle), NEVER));
    const tail = canaryOf(await source.samples(query(middle + 1, toMs), NEVER));
    assert.deepEqual([...(head?.timesMs ?? []), ...(tail?.timesMs ?? [])], whole?.timesMs);
    assert.deepEqual(
      [...(head?.series[0]?.requests ?? []), ...(tail?.series[0]?.requests ?? [])],
      whole?.series[0]?.requests,
    );
    assert.ok(whole?.series[0]?.requests.includes(50));
    // No errors_total exists: none were counted.
    assert.ok(whole?.series[0]?.errors.every((value) => value === 0 || value === null));
  },
);

test(
  'a process that counts in several series is summed, and a wrong label is said instead of no errors',
  { skip },
  async () => {
    other.text = ['200', '500', '503']
      .map((code, index) => `many_total{pod="b",code="${code}"} ${[90, 4, 6][index]}\n`)
      .concat('elsewhere_total{pod="other"} 1\n')
      .join('');
    const source = (errors: string): MetricsSource =>
      createPrometheusSource({
        url: prometheus.url,
        queries: { requests: 'many_total # all of them', errors, latencyBuckets: null },
        authorization: null,
      });
    const samples = await eventually('the counters', async () =>
      canaryOf(await source('many_total{code=~"5.."}').samples(query(Date.now() - 2000, Date.now()), NEVER)),
    );
    assert.equal(samples.series.length, 1);
    assert.equal(samples.series[0]?.requests.at(-1), 100);
    assert.equal(samples.series[0]?.errors.at(-1), 10);
    const wrong = await source('elsewhere_total').samples(query(Date.now() - 2000, Date.now()), NEVER);
    assert.match(
      wrong.kind === 'unreachable' ? wrong.reason : '',
      /latencies of other belong to no series of requests/,
    );
  },
);

test('what Prometheus still shows after a crash of its own is no sample', { skip }, async () => {
  const asked = (requests: string): Promise<MetricsAnswer> =>
    createPrometheusSource({
      url: prometheus.url,
      queries: { requests, errors: 'no_errors', latencyBuckets: null },
      authorization: null,
    }).samples(query(Date.now() - 1000, Date.now()), NEVER);
  other.text = 'steady_total{pod="b"} 77\n';
  await eventually('77', async () => canaryOf(await asked('steady_total')));
  await prometheus.kill9();
  other.mode = 'refuse';
  // Two steps old at the instant that is asked for, which may lie one step back.
  await new Promise((resolve) => setTimeout(resolve, 4 * STEP_MS));
  await prometheus.restart();
  const gone = await asked('steady_total');
  assert.equal(gone.kind, 'no-data', JSON.stringify(gone));
  // It does show it: of what is computed, its age can't be told.
  const shown = canaryOf(await asked('sum(steady_total)'));
  assert.equal(shown?.series[0]?.requests.at(-1), 77);
  other.mode = 'ok';
});

test('value, no data and unreachable are three answers', { skip }, async () => {
  const nothing = createPrometheusSource({
    url: prometheus.url,
    queries: { requests: 'no_such_series', errors: 'x', latencyBuckets: null },
    authorization: null,
  });
  const empty = await nothing.samples(query(Date.now() - 2000, Date.now()), NEVER);
  assert.equal(empty.kind, 'no-data');
  assert.match(empty.kind === 'no-data' ? empty.detail : '', /no_such_series/);
  const wrong = createPrometheusSource({
    url: prometheus.url,
    queries: { requests: 'sum(', errors: 'x', latencyBuckets: null },
    authorization: null,
  });
  const refused = await wrong.samples(query(Date.now() - 2000, Date.now()), NEVER);
  // The query as it was written, not the one that it is a part of.
  assert.match(refused.kind === 'unreachable' ? refused.reason : '', /bad_data.*\(query sum\(\)$/);
  const mistyped = createPrometheusSource({
    url: prometheus.url,
    queries: { requests: 'up', errors: 'sum by (pod) (rate(', latencyBuckets: null },
    authorization: null,
  });
  const named = await mistyped.samples(query(Date.now() - 2000, Date.now()), NEVER);
  assert.match(named.kind === 'unreachable' ? named.reason : '', /bad_data.*\(query sum by \(pod\) \(rate\(\)$/);
});

test('a server that is gone, refuses, hangs or talks HTML is unreachable within the limit, and no secret is said', async (t) => {
  const fake = await startExporter();
  t.after(() => fake.close());
  const source = createPrometheusSource({
    url: fake.url,
    queries: 'traefik',
    authorization: 'Bearer s3cr3t',
    timeoutMs: 300,
  });
  for (const mode of ['unauthorized', 'html', 'refuse', 'hang'] as const) {
    fake.mode = mode;
    const begun = Date.now();
    const answer = await source.samples(query(begun - 2000, begun), NEVER);
    assert.equal(answer.kind, 'unreachable', mode);
    assert.doesNotMatch(JSON.stringify(answer), /s3cr3t/);
    // Without a limit it would hang for ever; a busy machine may stand still for seconds.
    assert.ok(Date.now() - begun < 15_000, mode);
  }
  assert.equal(fake.seen.length, 4, 'one request for a look: two could see different scrapes');
  assert.ok(fake.seen.every(({ authorization }) => authorization === 'Bearer s3cr3t'));
  await fake.close();
  assert.equal((await source.samples(query(Date.now() - 2000, Date.now()), NEVER)).kind, 'unreachable');
});

test('a secret that no request can carry is not said either', async () => {
  const said = async (url: string, authorization: string | null): Promise<string> => {
    const source = createPrometheusSource({ url, queries: 'traefik', authorization });
    return JSON.stringify(await source.samples(query(0, 1000), NEVER));
  };
  assert.match(await said('http://127.0.0.1:1', 'Bearer s3cr\n3t'), /"unreachable".*is no header/);
  assert.match(await said('http://user:s3cr3t@127.0.0.1:1', null), /"unreachable".*holds a password/);
  for (const answer of [await said('http://127.0.0.1:1', 'Bearer s3cr\n3t'), await said('http://s3cr@127.0.0.1', null)])
    assert.doesNotMatch(answer, /s3cr/);
});

test('a secret that the worker does not have is said by its name', async () => {
  const factory = createMetricsFactory({ scrapeDir: tmpdir(), secrets: {} });
  const source = factory({
    source: 'prometheus',
    url: 'http://127.0.0.1:1',
    queries: 'traefik',
    authorization: 'PROM',
  });
  const answer = await source.samples(query(0, 1000), NEVER);
  assert.match(answer.kind === 'unreachable' ? answer.reason : '', /SLIPWAY_SECRET_PROM/);
});

test('a name can not end a label and begin another query', () => {
  const filled = fillQuery(
    TEMPLATES.traefik.requests,
    { environment: 'e', service: 'x"} or up{a="' },
    testPolicy({ gateway: 'http://127.0.0.1:1' }).target,
    { arm: 'canary', version: 'x:1' },
  );
  assert.match(filled, /service=~"\(\.\+-\)\?x\\"\\\\} or up\\\\{a=\\"-canary/);
});

test('on Kubernetes the objects of the target are asked for, each in its namespace', () => {
  const target = {
    platform: 'kubernetes',
    context: null,
    namespace: 'shop',
    deployment: 'web',
    service: 'front',
    route: { kind: 'HTTPRoute', name: 'edge' },
  } as const;
  const filled = (template: keyof typeof TEMPLATES): string =>
    fillQuery(TEMPLATES[template].requests, { environment: 'e', service: 'hello' }, target, {
      arm: 'canary',
      version: 'x:1',
    });
  assert.match(filled('traefik'), /service=~"\(\.\+-\)\?shop-front-canary\(-/);
  assert.match(filled('istio'), /destination_workload="web-canary",destination_workload_namespace=~"shop"/);
  assert.match(filled('opentelemetry-http'), /service_version=~"\.\*",k8s_deployment_name=~"web-canary"/);
  assert.match(
    filled('ingress-nginx'),
    /{exported_namespace=~"shop",ingress="edge".* or .*namespace=~"shop",ingress="edge"/,
  );
});
