import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import type { ClientRequest } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createParser } from 'eventsource-parser';
import { newStaticToken } from '../client/server/auth/static-token.js';
import type { RunDocument, StartedRun } from '../client/server/contract.js';
import { Slipway } from '../client/slipway.js';
import { startGateway } from '../gateway/gateway.js';
import { SLIPWAY, workerStarter } from '../tools/stack.js';
import { freePort, startServer } from '../tools/supervise.js';
import { startTemporal } from '../tools/temporal-server.js';
import { imageEnv } from './image-env.js';
import { createInProcessHost } from './in-process-host.js';
import { quantile } from './numbers.js';

export interface ServerBench {
  readonly streams: number;
  readonly inFlight: number;
  /** Seconds from a change in the workflow (its own time) to the client that watches. */
  readonly toClient: readonly number[];
  /** Changes that some stream was not told within 30 s. */
  readonly untold: number;
  /** Seconds of `POST /runs`. */
  readonly posts: readonly number[];
  readonly postsPerSecond: number;
  /** The same number of updates of the same lanes, at the same rate, which change nothing and go to Temporal without the server. */
  readonly bare: readonly number[];
  /** Share of the machine's time that its host gave to others while releases were asked for. */
  readonly stolen: number;
  /** Seconds from the request to the workflow's word on it. */
  readonly decisions: readonly number[];
  readonly serverMiB: number;
}

const PEOPLE = 25;

/**
 * The server under load, all of it real: Temporal, a worker, the server as a process of its own, rollouts that wait for
 * approval, and clients in this process. While streams are open, releases are asked for at a fixed rate, then rollouts are
 * paused and resumed, and each change is timed to every stream of its rollout.
 */
export async function measureServer({
  streams,
  inFlight,
  postSeconds,
  postsPerSecond,
  decisions,
}: {
  readonly streams: number;
  readonly inFlight: number;
  readonly postSeconds: number;
  readonly postsPerSecond: number;
  readonly decisions: number;
}): Promise<ServerBench> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-server-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true, maxRetries: 5 })];
  try {
    const temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    stops.push(() => temporal.stop());
    const gateway = await startGateway({
      adminPort: 0,
      dataPort: 0,
      stateDir: path.join(folder, 'gateway'),
      maxReplicas: inFlight * 4,
      processHost: createInProcessHost(),
      logger: { info: () => undefined, warn: () => undefined },
    });
    stops.push(() => gateway.close());
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: gateway.adminUrl,
      SLIPWAY_LOG_LEVEL: 'warn',
      ...(await imageEnv()),
    };
    const started: { stop(): Promise<void> }[] = [];
    stops.push(async () => Promise.all(started.map((part) => part.stop())));
    await workerStarter({ folder, env, started })();

    const people = Array.from({ length: PEOPLE }, (_, at) => ({
      subject: `person-${at}`,
      ...newStaticToken(`p${at}`),
    }));
    const file = {
      policies: 'policies',
      roles: [{ role: 'admin', subjects: people.map(({ subject }) => subject) }],
      tokens: people.map(({ subject, sha256 }, at) => ({
        id: `p${at}`,
        subject,
        sha256,
        kind: 'person',
        expires: '2099-01-01T00:00:00Z',
      })),
    };
    await mkdir(path.join(folder, 'policies'));
    for (let n = 0; n < inFlight; n += 1)
      await writeFile(path.join(folder, 'policies', `s${n}.slipway.yaml`), policyOf(`s${n}`, gateway.adminUrl));
    await writeFile(path.join(folder, 'slipway-server.yaml'), JSON.stringify(file));
    const port = await freePort();
    const server = await startServer({
      name: 'server',
      command: process.execPath,
      args: [SLIPWAY, 'server'],
      env: { ...env, SLIPWAY_SERVER_PORT: String(port), SLIPWAY_SERVER_FILE: path.join(folder, 'slipway-server.yaml') },
      ready: `http://127.0.0.1:${port}/readyz`,
      logFile: path.join(folder, 'server.log'),
    });
    stops.push(() => server.stop());
    const url = `http://127.0.0.1:${port}`;
    const headers = (n: number) => ({ Authorization: `Bearer ${people[n % PEOPLE]?.token ?? ''}` });

    const post = async <T>(
      at: string,
      n: number,
      body: unknown,
    ): Promise<{ readonly status: number; readonly body: T; readonly seconds: number }> => {
      const begun = performance.now();
      const response = await fetch(`${url}${at}`, {
        method: 'POST',
        headers: { ...headers(n), 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(30_000),
      });
      const answer = (await response.json()) as T;
      return { status: response.status, body: answer, seconds: (performance.now() - begun) / 1000 };
    };
    const release = (n: number, tag: string) =>
      post<StartedRun>('/runs', n, {
        task: 'deploy',
        payload: { service: `s${n % inFlight}`, environment: 'bench', tag },
        idempotencyKey: `${tag}-${n}`,
      });

    const runs: string[] = [];
    for (let n = 0; n < inFlight; n += 1) {
      const answer = await release(n, 'v1');
      if (answer.status !== 202) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
      runs.push(answer.body.run_id);
    }
    for (const [n, run] of runs.entries()) await waiting(`${url}/runs/${run}`, headers(n));

    /** By rollout: when each stream of it was told that it is (not) paused. */
    const told = new Map<string, { paused: boolean; atMs: number; changeMs: number }[]>();
    const open: ClientRequest[] = [];
    stops.push(async () => open.forEach((stream) => stream.destroy()));
    for (let n = 0; n < streams; n += 1) {
      const run = runs[n % inFlight] ?? '';
      open.push(
        await openStream(`${url}/runs/${run}/events`, headers(n), (document) => {
          const changeMs = Date.parse(document.view.timeline.at(-1)?.at ?? '');
          told.set(run, [...(told.get(run) ?? []), { paused: document.view.paused, atMs: Date.now(), changeMs }]);
        }),
      );
    }

    const atRate = async (one: (n: number) => Promise<number>): Promise<readonly number[]> => {
      const sent: Promise<number>[] = [];
      for (let n = 0; n < postSeconds * postsPerSecond; n += 1) {
        sent.push(one(n));
        await sleep(1000 / postsPerSecond);
      }
      return Promise.all(sent);
    };
    const before = await cpuTicks();
    const posts = await atRate(async (n) => (await release(n, 'v2')).seconds);
    const after = await cpuTicks();
    const stolen = (after.stolen - before.stolen) / (after.all - before.all);
    const slipway = await Slipway.connect(env);
    stops.push(() => slipway.close());
    const bare = await atRate(async (n) => {
      const begun = performance.now();
      await slipway.unblock(
        { environment: 'bench', service: `s${n % inFlight}` },
        { subject: 'bench', reason: 'none' },
      );
      return (performance.now() - begun) / 1000;
    });

    const said: number[] = [];
    const toClient: number[] = [];
    let untold = 0;
    const perRun = new Map(
      runs.map((run, at) => [run, Math.floor(streams / inFlight) + (at < streams % inFlight ? 1 : 0)]),
    );
    for (let n = 0; n < decisions; n += 1) {
      const run = runs[n % inFlight] ?? '';
      const paused = Math.floor(n / inFlight) % 2 === 0;
      told.set(run, []);
      const answer = await post<unknown>(`/runs/${run}/decisions`, n, {
        id: `bench-${n}`,
        verb: paused ? 'pause' : 'resume',
      });
      if (answer.status !== 200) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
      said.push(answer.seconds);
      const wanted = perRun.get(run) ?? 0;
      const endMs = Date.now() + 30_000;
      const heard = () => (told.get(run) ?? []).filter((one) => one.paused === paused);
      while (heard().length < wanted && Date.now() < endMs) await sleep(20);
      untold += Math.max(0, wanted - heard().length);
      toClient.push(...heard().map(({ atMs, changeMs }) => (atMs - changeMs) / 1000));
    }
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${server.pid}/status`, 'utf8'))?.[1];
    return {
      streams: open.length,
      inFlight,
      toClient,
      untold,
      posts,
      postsPerSecond,
      bare,
      stolen,
      decisions: said,
      serverMiB: Number(rss) / 1024,
    };
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function cpuTicks(): Promise<{ readonly all: number; readonly stolen: number }> {
  const ticks = ((await readFile('/proc/stat', 'utf8')).split('\n')[0] ?? '')
    .trim()
    .split(/\s+/)
    .slice(1, 9)
    .map(Number);
  return { all: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] ?? 0 };
}

export function p(values: readonly number[], q: number): number {
  return quantile(values, q);
}

async function waiting(url: string, headers: Readonly<Record<string, string>>): Promise<void> {
  for (const endMs = Date.now() + 300_000; Date.now() < endMs; await sleep(500)) {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(30_000) });
    const answer = (await response.json()) as Partial<RunDocument>;
    if (answer.view?.wait?.kind === 'approval') return;
  }
  throw new Error(`${url} does not come to its gate`);
}

async function openStream(
  url: string,
  headers: Readonly<Record<string, string>>,
  onRun: (document: RunDocument) => void,
): Promise<ClientRequest> {
  return new Promise((resolve, reject) => {
    const parser = createParser({
      onEvent: ({ event, data }) => {
        if (event === 'run') onRun(JSON.parse(data) as RunDocument);
      },
    });
    // Each a connection of its own, as each browser has one.
    const request = get(url, { headers, agent: false }, (response) => {
      if (response.statusCode !== 200) return reject(new Error(`${url}: ${response.statusCode}`));
      response.setEncoding('utf8').on('data', (chunk: string) => parser.feed(chunk));
      response.on('error', () => undefined);
      resolve(request);
    });
    request.once('error', reject);
  });
}

function policyOf(service: string, gateway: string): string {
  return `service: ${service}
environments:
  bench:
    platform: local
    gateway: ${gateway}
    run: { command: [node, service.mjs], replicas: 1 }
    approval: { required: always }
    risk: { model: off }
`;
}
