/**
 * What `bench/run.ts` runs as a process of its own, because it enters a network namespace: measurements on standard
 * output, one JSON document for each part (`one`, `mass`; `mass 50` with fewer canaries than 200, for a busy machine). The
 * API server, its controllers, Traefik, Prometheus, Temporal and the worker are real.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Slipway } from '../client/slipway.js';
import type { Policy } from '../domain/policy.js';
import { appliedWrites } from '../tools/audit.js';
import { startControlPlane } from '../tools/control-plane.js';
import { fetchKubeStack, namespaceWithRights } from '../tools/kube-stack.js';
import { enterNetworkNamespace } from '../tools/network-namespace.js';
import { startNodeAgent } from '../tools/node-agent.js';
import { workerStarter } from '../tools/stack.js';
import { startTemporal } from '../tools/temporal-server.js';
import { startTraefik } from '../tools/traefik-server.js';
import { trafficBack } from '../tools/traffic-back.js';
import { applyService } from '../test/activities/kubernetes/kube-support.js';
import { startKubeWorld } from '../test/support/kube-world.js';
import type { KubeWorld } from '../test/support/kube-world.js';
import { kubeTarget, stage, testPolicy, testRequest } from '../test/support/request.js';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { cpuSeconds, inWaves, massRollback, until } from './fleet.js';
import type { MassRollback } from './fleet.js';
import { imageEnv } from './image-env.js';
import { startPrometheusStub, STUB_QUERIES } from './prometheus-stub.js';

/** What it gives, in all. Times in seconds. */
export interface KubernetesBench {
  /** From the first failed answer that a client saw to the write of weight 0. */
  readonly toZeroWeight: { readonly half: readonly number[]; readonly five: readonly number[] };
  /** Calls to the API server of one worker. */
  readonly requests: { readonly perRollout: number; readonly perMinuteOfSoak: number };
  /** A healthy release while Prometheus is away for 45 s. */
  readonly outage: { readonly outcome: string; readonly held: boolean; readonly alerted: boolean };
  /** Canaries that turn bad in the same moment: to weight 0. */
  readonly mass: MassRollback & {
    /** While all soaked, before they turned bad: percent of a core, by program. */
    readonly cpuPercent: Readonly<Record<string, number>>;
  };
}

const RUNS = 3;
const MASS = 200;
/** Metrics are scraped, and hard limits looked at, every so often in the mass test; Argo Rollouts was measured at 10 s. */
const MASS_LOOK_MS = 5000;
/** Over so long it is measured what a soak costs. */
const SOAK_MS = 30_000;

/** One service after the other, under real traffic. */
async function measureOne(): Promise<Omit<KubernetesBench, 'mass'>> {
  const world = await startKubeWorld(['half', 'five', 'calm']);
  const { pilot, stack } = world;
  try {
    const zeroAt = async (namespace: string, rolloutId: string): Promise<number> => {
      const atMs = trafficBack(await appliedWrites(stack.plane.auditLog, namespace)).get(rolloutId);
      if (atMs === undefined) throw new Error(`nothing took the traffic from ${rolloutId}`);
      return atMs;
    };
    const detect = async (namespace: 'half' | 'five', perSecond: number, rate: string): Promise<readonly number[]> => {
      const traffic = await world.serve(namespace, perSecond);
      const times: number[] = [];
      for (let run = 1; run <= RUNS; run += 1) {
        const policy = world.policy(namespace, [stage(25, 120)]);
        const request = testRequest({ policy, tag: `bad${run}`, env: { DEMO_ERROR_RATE: rate } });
        const view = await pilot.ship(request, 180_000);
        if (view.outcome !== 'rolled-back') throw new Error(`${namespace} ${run} ended ${view.outcome ?? 'open'}`);
        const bad = traffic.answers.filter(({ ok, version }) => !ok && version?.endsWith(`:bad${run}`) === true);
        times.push(((await zeroAt(namespace, request.rolloutId)) - (bad[0]?.atMs ?? 0)) / 1000);
      }
      await traffic.stop();
      return times;
    };
    const half = await detect('half', 80, '0.5');
    const five = await detect('five', 400, '0.05');

    const traffic = await world.serve('calm', 50);
    const before = await kubeRequests(world);
    const soak = await pilot.deploy(testRequest({ policy: world.policy('calm', [stage(25, 70)]), tag: 'v2' }));
    await pilot.until(soak, 'the canary has traffic', ({ weights }) => (weights?.canary ?? 0) > 0);
    await pause(2000);
    const begun = await kubeRequests(world);
    await pause(60_000);
    const perMinuteOfSoak = (await kubeRequests(world)) - begun;
    const ended = await pilot.ended(soak, 180_000);
    if (ended.outcome !== 'completed') throw new Error(`the calm release ended ${ended.outcome ?? 'open'}`);
    const perRollout = (await kubeRequests(world)) - before;

    const away = await pilot.deploy(testRequest({ policy: world.policy('calm', [stage(25, 20)]), tag: 'v3' }));
    await pilot.until(away, 'the canary has traffic', ({ weights }) => (weights?.canary ?? 0) > 0);
    await pause(5000);
    process.kill(stack.prometheus.pid, 'SIGSTOP');
    let held = false;
    for (const end = Date.now() + 45_000; Date.now() < end; await pause(500)) {
      const view = await pilot.view(away);
      held ||= view?.wait?.kind === 'blind' && view.weights?.canary === 25;
    }
    process.kill(stack.prometheus.pid, 'SIGCONT');
    const view = await pilot.ended(away, 180_000);
    await traffic.stop();
    const alerted = view.timeline.some(({ text }) => text.startsWith('HOLD'));
    return {
      toZeroWeight: { half, five },
      requests: { perRollout, perMinuteOfSoak },
      outage: { outcome: view.outcome ?? 'open', held, alerted },
    };
  } finally {
    await world.stop();
  }
}

/** All calls that its workers have made to the API server. */
async function kubeRequests(world: KubeWorld): Promise<number> {
  return (await world.workerMetrics())
    .flatMap((text) => [...text.matchAll(/^slipway_kubernetes_requests_total\{[^}]*\} (\d+)/gm)])
    .reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Many canaries that turn bad in the same moment. Pods are told of only, and the metrics are made up. */
async function measureMass(count: number): Promise<KubernetesBench['mass']> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-mass-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true, maxRetries: 5 })];
  try {
    const plane = await startControlPlane({ dir: path.join(folder, 'plane') });
    stops.push(() => plane.stop());
    const agent = await startNodeAgent({ kubeconfig: plane.kubeconfig, mode: 'pretend' });
    stops.push(() => agent.stop());
    const traefik = await startTraefik({ kubeconfig: plane.kubeconfig, dir: path.join(folder, 'traefik') });
    stops.push(() => traefik.stop());
    const temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    stops.push(() => temporal.stop());
    const metrics = await startPrometheusStub();
    stops.push(async () => metrics.close());
    const names = Array.from({ length: count }, (_, index) => `m${index}`);
    for (const namespace of names) {
      await plane.apply(await namespaceWithRights(namespace));
      await applyService(plane, { namespace, replicas: 1, rights: false });
    }
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: ',',
      SLIPWAY_LOG_LEVEL: 'error',
      ...(await imageEnv()),
      KUBECONFIG: plane.kubeconfig,
    };
    const worker = await workerStarter({ folder, env, started: [] })();
    stops.push(() => worker.stop());
    const client = await Slipway.connect(env);
    stops.push(() => client.close());
    const policies = names.map((namespace): Policy => {
      const base = testPolicy({ gateway: 'http://unused', stages: [stage(25, 3600)], scrapeIntervalMs: MASS_LOOK_MS });
      return {
        ...base,
        lane: { environment: 'prod', service: namespace },
        target: kubeTarget({ namespace, context: 'slipway' }),
        compareWith: 'stable',
        waits: { ...base.waits, progressMs: 300_000 },
        metrics: { source: 'prometheus', url: metrics.url, queries: STUB_QUERIES, authorization: null },
      };
    });
    await inWaves(policies, {
      begin: (policy) => client.enqueue(testRequest({ policy, tag: 'v2' })),
      done: async () =>
        (await weightWrites(plane.auditLog)).filter(({ key }) => key.includes('/stage-1/set-weights/')).length,
    });
    await pause(2 * MASS_LOOK_MS);
    const cpuPercent = await cpuByProgram(SOAK_MS);
    const badMs = metrics.turnBad(new Set(names));
    const back = async (): Promise<ReadonlyMap<string, number>> => trafficBack(await weightWrites(plane.auditLog));
    await until(async () => (await back()).size === count, 300_000, `the rollbacks of ${count}`);
    const times = [...(await back()).values()].map((atMs) => (atMs - badMs) / 1000);
    return { ...(await massRollback(times, worker.pid)), cpuPercent };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

/** What each program takes of one core, in percent, over so long: those that take at least 2 %. */
async function cpuByProgram(overMs: number): Promise<Readonly<Record<string, number>>> {
  const before = await cpuOfAll();
  await pause(overMs);
  const percent: Record<string, number> = {};
  for (const [pid, { program, seconds }] of await cpuOfAll()) {
    const used = (seconds - (before.get(pid)?.seconds ?? 0)) / (overMs / 1000) / 0.01;
    percent[program] = (percent[program] ?? 0) + used;
  }
  const shown = Object.entries(percent).filter(([, used]) => used >= 2);
  return Object.fromEntries(shown.sort(([, a], [, b]) => b - a).map(([program, used]) => [program, Math.round(used)]));
}

async function cpuOfAll(): Promise<ReadonlyMap<string, { readonly program: string; readonly seconds: number }>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const all = await Promise.all(
    pids.map(async (pid) => {
      try {
        const [stat, command] = await Promise.all([
          readFile(`/proc/${pid}/stat`, 'utf8'),
          readFile(`/proc/${pid}/cmdline`, 'utf8'),
        ]);
        const [program = '', script = ''] = command.split('\0');
        const name = path.basename(/(^|\/)node$/.test(program) ? script : program);
        return [[pid, { program: name, seconds: cpuSeconds(stat) }] as const];
      } catch {
        // It has ended since it was listed.
        return [];
      }
    }),
  );
  return new Map(all.flat());
}

/** When weights were written, the first time for each key: one pass over the log, whose lines are many. */
async function weightWrites(auditLog: string): Promise<readonly { readonly key: string; readonly atMs: number }[]> {
  const found = new Map<string, number>();
  for (const line of (await readFile(auditLog, 'utf8')).split('\n')) {
    if (!line.includes('"resource":"httproutes"') || !line.includes('"verb":"update"')) continue;
    const key = /"slipway.dev\/key":"([^"]+)"/.exec(line)?.[1];
    const at = /"stageTimestamp":"([^"]+)"/.exec(line)?.[1];
    if (key === undefined || at === undefined || !line.includes('"code":200')) continue;
    if (!found.has(key)) found.set(key, Date.parse(at));
  }
  return [...found].map(([key, atMs]) => ({ key, atMs }));
}

await fetchKubeStack();
const obstacle = await enterNetworkNamespace();
if (obstacle !== undefined) throw new Error(`this needs a network namespace, and there is none: ${obstacle}`);
const [wanted, count = MASS] = process.argv.slice(2);
if (wanted !== 'mass') process.stdout.write(`${JSON.stringify(await measureOne())}\n`);
if (wanted !== 'one') process.stdout.write(`${JSON.stringify({ mass: await measureMass(Number(count)) })}\n`);
process.exit(0);
