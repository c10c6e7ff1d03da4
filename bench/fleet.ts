import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Slipway } from '../client/slipway.js';
import type { Policy } from '../domain/policy.js';
import { startGateway } from '../gateway/gateway.js';
import { readJournal, workerStarter } from '../tools/stack.js';
import { freePort } from '../tools/supervise.js';
import { startTemporal } from '../tools/temporal-server.js';
import { trafficBack } from '../tools/traffic-back.js';
import { stage, testPolicy, testRequest } from '../test/support/request.js';
import { imageEnv } from './image-env.js';
import { createInProcessHost } from './in-process-host.js';
import { quantile } from './numbers.js';
import { startPrometheusStub, STUB_QUERIES } from './prometheus-stub.js';

export interface Fleet {
  readonly soaking: number;
  readonly secondsToStart: number;
  readonly workerMiB: number;
  readonly workerCpuPercent: number;
  readonly lookDelayP95: number;
  /** Seconds from the moment in which `bad` of the canaries turned bad to their weight 0; null where none did. */
  readonly rollback: MassRollback | null;
}

/** Canaries that turned bad in the same moment: seconds from there to weight 0. */
export interface MassRollback {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly max: number;
  readonly workerMiB: number;
}

/**
 * Many rollouts at once on one worker: Temporal, the worker and the gateway's API are real; replicas are servers inside
 * this process, and the metrics are made up by a stand-in for Prometheus.
 */
export async function measureFleet(options: {
  readonly count: number;
  readonly soakSeconds: number;
  /** How many turn bad in the same moment, while the others soak on. */
  readonly bad: number;
}): Promise<Fleet> {
  const { count, soakSeconds, bad } = options;
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-fleet-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    stops.push(() => temporal.stop());
    const metrics = await startPrometheusStub();
    stops.push(async () => metrics.close());
    const gateway = await startGateway({
      adminPort: 0,
      dataPort: 0,
      stateDir: path.join(folder, 'gateway'),
      maxReplicas: count * 4,
      processHost: createInProcessHost(),
      logger: { info: () => undefined, warn: () => undefined },
    });
    stops.push(() => gateway.close());
    const port = await freePort();
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: gateway.adminUrl,
      SLIPWAY_LOG_LEVEL: 'error',
      ...(await imageEnv()),
    };
    const worker = await workerStarter({ folder, env, started: [] })({ SLIPWAY_HTTP_PORT: String(port) });
    stops.push(() => worker.stop());
    const client = await Slipway.connect(env);
    stops.push(() => client.close());

    const policies = Array.from({ length: count }, (_, index): Policy =>
      testPolicy({
        gateway: gateway.adminUrl,
        service: `s${index}`,
        replicas: 1,
        stages: [stage(25, 3600)],
        scrapeIntervalMs: 5000,
        change: {
          verifyMs: 0,
          compareWith: 'stable',
          metrics: { source: 'prometheus', url: metrics.url, queries: STUB_QUERIES, authorization: null },
        },
      }),
    );
    await inWaves(policies, {
      begin: (policy) => client.enqueue(testRequest({ policy, tag: 'v1' })),
      done: async () => (await gatewayWeights(gateway.adminUrl)).size,
    });
    const begunMs = Date.now();
    await inWaves(policies, {
      begin: (policy) => client.enqueue(testRequest({ policy, tag: 'v2' })),
      done: async () => [...(await gatewayWeights(gateway.adminUrl)).values()].filter((canary) => canary === 25).length,
    });
    const secondsToStart = (Date.now() - begunMs) / 1000;

    const turnBad = async (): Promise<MassRollback> => {
      const chosen = new Set(policies.slice(0, bad).map((policy) => policy.lane.service));
      const badMs = metrics.turnBad(chosen);
      await until(
        async () =>
          [...(await gatewayWeights(gateway.adminUrl))].every(
            ([service, canary]) => canary === (chosen.has(service) ? 0 : 25),
          ),
        300_000,
        'the rollbacks',
      );
      const routes = (await readJournal(gateway.adminUrl)).filter(({ kind }) => kind === 'route');
      const back = trafficBack(routes.map(({ key, at }) => ({ key, atMs: Date.parse(at) })));
      const times = [...back.values()].map((atMs) => (atMs - badMs) / 1000);
      return massRollback(times, worker.pid);
    };

    const before = await lookDelays(port);
    const workerCpu = async (): Promise<number> => cpuSeconds(await readFile(`/proc/${worker.pid}/stat`, 'utf8'));
    const cpuBefore = await workerCpu();
    await new Promise((resolve) => setTimeout(resolve, soakSeconds * 1000));
    const workerCpuPercent = ((await workerCpu()) - cpuBefore) / soakSeconds / 0.01;
    const lookDelayP95 = p95OfBuckets(before, await lookDelays(port));
    const workerMiB = await residentMiB(worker.pid);

    const rollback = bad === 0 ? null : await turnBad();
    return { soaking: count, secondsToStart, workerMiB, workerCpuPercent, lookDelayP95, rollback };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

/** Begins everything, no more than a few ahead of what is done: as fast as this machine can. */
export async function inWaves<T>(
  items: readonly T[],
  { begin, done }: { readonly begin: (item: T) => Promise<unknown>; readonly done: () => Promise<number> },
): Promise<void> {
  const AHEAD = 20;
  let begun = 0;
  await until(
    async () => {
      const finished = await done();
      const next = items.slice(begun, Math.max(begun, finished + AHEAD));
      begun += next.length;
      await Promise.all(next.map(begin));
      return finished === items.length;
    },
    900_000,
    `${items.length} rollouts`,
  );
}

export async function until(done: () => Promise<boolean>, limitMs: number, what: string): Promise<void> {
  for (const end = Date.now() + limitMs; !(await done());) {
    if (Date.now() > end) throw new Error(`${what} took more than ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** Weight of the canary by service. */
async function gatewayWeights(adminUrl: string): Promise<Map<string, number>> {
  const response = await fetch(`${adminUrl}/v1/objects?kind=route`, { signal: AbortSignal.timeout(20_000) });
  const { objects } = (await response.json()) as {
    objects: readonly { service: string; spec: { weights: { canary: number } } }[];
  };
  return new Map(objects.map((object) => [object.service, object.spec.weights.canary]));
}

/** Sums up the times of rollbacks, and what the worker that did them holds by then. */
export async function massRollback(times: readonly number[], workerPid: number): Promise<MassRollback> {
  return {
    count: times.length,
    p50: quantile(times, 0.5),
    p95: quantile(times, 0.95),
    max: Math.max(...times),
    workerMiB: await residentMiB(workerPid),
  };
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** User and system time of a process, from its `/proc/<pid>/stat`; the kernel counts 100 ticks a second. */
export function cpuSeconds(stat: string): number {
  const fields = stat.split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Cumulative counts of the histogram of look delays, by upper bound in seconds. */
async function lookDelays(port: number): Promise<ReadonlyMap<number, number>> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(10_000) })).text();
  const counts = new Map<number, number>();
  for (const match of text.matchAll(/^slipway_look_delay_seconds_bucket\{le="([^"]+)"\} (\d+)/gm)) {
    counts.set(match[1] === '+Inf' ? Infinity : Number(match[1]), Number(match[2]));
  }
  return counts;
}

/** Upper bound of the bucket that holds the 95th percentile of what came between two readings. */
function p95OfBuckets(before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number {
  const grown = [...after]
    .map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)] as const)
    .sort((a, b) => a[0] - b[0]);
  const total = grown.at(-1)?.[1] ?? 0;
  return grown.find(([, count]) => count >= 0.95 * total)?.[0] ?? Number.NaN;
}
