import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { JournalEntry } from '../formats/gateway.js';
import { freePort, startServer } from './supervise.js';
import type { Server, ServerOptions } from './supervise.js';
import { startTemporal } from './temporal-server.js';
import type { TemporalServer } from './temporal-server.js';

/** The compiled command: what users run is what the demo, the tests and the benchmarks run. */
export const SLIPWAY = fileURLToPath(new URL('../bin/slipway.js', import.meta.url));

export interface StackOptions {
  /** Port of Temporal Web; null for none. */
  readonly uiPort?: number | null;
  /** Keep Temporal's state in a file, so that the server can be killed and restarted. */
  readonly durable?: boolean;
  /** More settings of the workers. */
  readonly env?: Readonly<Record<string, string>>;
  readonly maxReplicas?: number;
  /** Seconds after which a version that is not ready has failed. */
  readonly progressDeadlineSeconds?: number;
  /** Another script in place of `slipway worker`, for tests that end a worker at an exact moment. */
  readonly workerScript?: string;
}

/** Temporal, a local gateway and any number of workers, each a process of its own; all end with this process. */
export interface Stack {
  readonly folder: string;
  readonly temporal: TemporalServer;
  readonly gateway: Server;
  readonly adminUrl: string;
  readonly dataUrl: string;
  /** Environment for `slipway` commands against this stack. */
  readonly env: Readonly<Record<string, string>>;
  startWorker(env?: Readonly<Record<string, string>>): Promise<Server>;
  /** Starts a further part, which ends with the rest. */
  start(options: ServerOptions): Promise<Server>;
  /** Starts the gateway again after it was killed, on the same ports and state. */
  restartGateway(): Promise<void>;
  stop(): Promise<void>;
}

const Journal = z.object({ entries: z.array(JournalEntry) });

/** All that a gateway has applied, as it tells it itself: the ground truth of what was touched, and how often. */
export async function readJournal(adminUrl: string): Promise<readonly JournalEntry[]> {
  const response = await fetch(`${adminUrl}/v1/journal`, { signal: AbortSignal.timeout(30_000) });
  return Journal.parse(await response.json()).entries;
}

export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-stack-'));
  const started: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    for (const part of started.reverse()) await part.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const temporal = await startTemporal({
      uiPort: options.uiPort ?? null,
      logFile: path.join(folder, 'temporal.log'),
      ...(options.durable === true ? { dbFile: path.join(folder, 'temporal.db') } : {}),
    });
    started.push(temporal);
    const adminPort = await freePort();
    const dataPort = await freePort();
    const adminUrl = `http://127.0.0.1:${adminPort}`;
    const gateway = await startServer({
      name: 'local gateway',
      command: process.execPath,
      args: [
        SLIPWAY,
        'local-gateway',
        `--admin-port=${adminPort}`,
        `--data-port=${dataPort}`,
        `--state-dir=${path.join(folder, 'gateway')}`,
        `--max-replicas=${options.maxReplicas ?? 32}`,
        `--progress-deadline=${options.progressDeadlineSeconds ?? 20}`,
      ],
      ready: `${adminUrl}/healthz`,
      logFile: path.join(folder, 'gateway.log'),
    });
    started.push(gateway);
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: adminUrl,
      ...(temporal.uiUrl === undefined ? {} : { SLIPWAY_TEMPORAL_WEB: temporal.uiUrl }),
      ...options.env,
    };
    const startWorker = workerStarter({ folder, env, started, ...options });
    return {
      folder,
      temporal,
      gateway,
      adminUrl,
      dataUrl: `http://127.0.0.1:${dataPort}`,
      env,
      startWorker,
      async start(part) {
        const server = await startServer(part);
        started.push(server);
        return server;
      },
      restartGateway: () => gateway.restart(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts workers one after the other, each with a log of its own. They end with what is in `started`. */
export function workerStarter(options: {
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  readonly started: { stop(): Promise<void> }[];
  readonly workerScript?: string;
}): Stack['startWorker'] {
  const { folder, env, started, workerScript } = options;
  let workers = 0;
  return async (more = {}) => {
    workers += 1;
    const number = workers;
    const port = Number(more['SLIPWAY_HTTP_PORT'] ?? (await freePort()));
    const worker = await startServer({
      name: `worker ${number}`,
      command: process.execPath,
      args: workerScript === undefined ? [SLIPWAY, 'worker'] : [workerScript],
      env: { ...env, ...more, SLIPWAY_HTTP_PORT: String(port) },
      ready: `http://127.0.0.1:${port}/readyz`,
      logFile: path.join(folder, `worker-${number}.log`),
    });
    started.push(worker);
    return worker;
  };
}
