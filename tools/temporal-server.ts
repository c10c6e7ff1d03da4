import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Connection } from '@temporalio/client';

import { freePort, startServer } from './supervise.js';
import { findTemporal } from './toolbox.js';

export interface TemporalOptions {
  /** Keeps the server's state here, across restarts; without it the state is in memory. */
  readonly dbFile?: string;
  readonly port?: number;
  /** A port for the web UI; without one there is no UI. */
  readonly uiPort?: number | null;
  readonly namespace?: string;
  /** Search attributes to register: name to type, such as `{ SlipwayService: 'Keyword' }`. */
  readonly searchAttributes?: Readonly<Record<string, string>>;
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'never';
  /** Kept after the server is gone; without it the log is in a temporary folder that `stop` removes. */
  readonly logFile?: string;
}

export interface TemporalServer {
  readonly address: string;
  readonly namespace: string;
  readonly uiUrl: string | undefined;
  /** The server's own process. */
  readonly pid: number;
  /** Ends the server for good and removes its temporary folder. */
  stop(): Promise<void>;
  /** Kills the server as a crash would and waits until it is gone. */
  kill9(): Promise<void>;
  /** Starts the server again on the same ports and state, whether it runs or was killed. */
  restart(): Promise<void>;
  logTail(lines?: number): Promise<string>;
}

/** Starts a real Temporal server on 127.0.0.1 that ends with this process. */
export async function startTemporal(options: TemporalOptions = {}): Promise<TemporalServer> {
  const { path } = await findTemporal();
  const folder = await mkdtemp(join(tmpdir(), 'slipway-temporal-'));
  const namespace = options.namespace ?? 'default';
  const port = options.port ?? (await freePort());
  const uiPort = options.uiPort ?? undefined;
  const address = `127.0.0.1:${port}`;
  const dbArgs = options.dbFile === undefined ? [] : [`--db-filename=${options.dbFile}`];
  const uiArgs = uiPort === undefined ? ['--headless'] : [`--ui-port=${uiPort}`];
  const attributes = Object.entries(options.searchAttributes ?? {});

  try {
    const server = await startServer({
      name: 'Temporal dev server',
      command: path,
      args: [
        'server',
        'start-dev',
        '--ip=127.0.0.1',
        `--port=${port}`,
        `--namespace=${namespace}`,
        `--log-level=${options.logLevel ?? 'error'}`,
        '--dynamic-config-value=system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2',
        ...dbArgs,
        ...uiArgs,
        ...attributes.map(([name, type]) => `--search-attribute=${name}=${type}`),
      ],
      ready: () => answers(address, namespace),
      logFile: options.logFile ?? join(folder, 'temporal.log'),
    });
    return {
      address,
      namespace,
      uiUrl: uiPort === undefined ? undefined : `http://127.0.0.1:${uiPort}`,
      get pid() {
        return server.pid;
      },
      async stop() {
        await server.stop();
        await rm(folder, { recursive: true, force: true });
      },
      kill9: () => server.kill('SIGKILL'),
      restart: () => server.restart(),
      logTail: (lines) => server.logTail(lines),
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function answers(address: string, namespace: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: 1000 });
    try {
      await connection.withDeadline(Date.now() + 1000, () =>
        connection.workflowService.describeNamespace({ namespace }),
      );
      return true;
    } finally {
      await connection.close();
    }
  } catch {
    // Not yet: whatever the reason, it is asked again until the time is up.
    return false;
  }
}
