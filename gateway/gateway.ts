import { mkdir } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { createAdminServer } from './admin-api.js';
import { createArmController } from './arm-controller.js';
import { createDataPlane } from './data-plane.js';
import { codeOf, GatewayStartError } from './errors.js';
import { createMetrics } from './metrics.js';
import { createProcessHost } from './process-host.js';
import { lockState } from './state-lock.js';
import { openStore } from './store.js';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ObjectRef, StoredObject } from './journal-file.js';
import type { GatewayLogger } from './logger.js';
import type { ProcessHost } from './process-host.js';

export interface GatewayOptions {
  /** 0 takes any free port. */
  readonly adminPort: number;
  readonly dataPort: number;
  /** @default 127.0.0.1: whoever reaches the admin port can run programs here. */
  readonly host?: string;
  readonly stateDir: string;
  /** Processes that may run at a time, of all services. @default 32 */
  readonly maxReplicas?: number;
  /** After so long without progress an arm counts as failed. @default 30000 */
  readonly progressDeadlineMs?: number;
  /** How long requests in flight may go on when their replica is taken away. @default 10000 */
  readonly drainMs?: number;
  /** How long a replica may keep silent in the middle of a request. @default 60000 */
  readonly silenceMs?: number;
  /** Where replicas' programs are looked for. @default the directory of Node, and the usual ones */
  readonly path?: string;
  /** Starts replicas in another way than as processes: benchmarks run thousands of them inside one process. */
  readonly processHost?: ProcessHost;
  readonly logger: GatewayLogger;
}

export interface Gateway {
  readonly adminUrl: string;
  readonly dataUrl: string;
  close(): Promise<void>;
}

/**
 * Starts the gateway: a small API server for arms, routes and anchors, the processes that arms ask for, and the proxy
 * that splits traffic between them.
 *
 * @throws GatewayStartError when a port is taken, or the state directory in use or damaged.
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const {
    host = '127.0.0.1',
    stateDir,
    maxReplicas = 32,
    progressDeadlineMs = 30_000,
    drainMs = 10_000,
    logger,
  } = options;
  await mkdir(stateDir, { recursive: true });
  const lock = await lockState(resolve(stateDir));
  /** What has been started, newest last: undone in the opposite order. */
  const undo: (() => Promise<void>)[] = [() => lock.release()];
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const baseEnv = environmentFor(options.path);
    // Replicas listen on this machine only, also where the gateway itself listens on all of its addresses.
    const replicaHost = EVERY_ADDRESS.has(host) ? '127.0.0.1' : host;
    const processes = options.processHost ?? createProcessHost(baseEnv, logger);
    undo.push(() => processes.close());
    const arms = createArmController({
      host: replicaHost,
      processes,
      baseEnv,
      maxReplicas,
      progressDeadlineMs,
      drainMs,
      logger,
    });
    undo.push(() => arms.close());

    const data = createDataPlane({
      host: replicaHost,
      store: () => store,
      arms,
      metrics: () => metrics,
      silenceMs: options.silenceMs ?? 60_000,
    });
    /** Uids of arms by place: an arm that is deleted and created again is another one. */
    const armUids = new Map<string, string>();
    // No program starts before it is sure that this gateway will run: a second one on the same ports must not try.
    let live = false;
    const changed = (ref: ObjectRef, object: StoredObject | null): void => {
      data.changed(ref, object);
      if (ref.kind !== 'arm') return;
      const place = `${ref.environment}/${ref.service}/${ref.name}`;
      const former = armUids.get(place);
      if (object?.kind === 'arm') armUids.set(place, object.uid);
      else armUids.delete(place);
      if (!live) return;
      if (former !== undefined && former !== object?.uid) arms.sync(former, null);
      if (object?.kind === 'arm') arms.sync(object.uid, object);
    };
    const store = await openStore(join(resolve(stateDir), 'journal.jsonl'), changed);
    undo.push(() => store.close());
    const metrics = createMetrics(store, arms);

    const admin = createAdminServer({ store, arms, metrics, logger });
    const adminUrl = await listen(admin, host, options.adminPort, '--admin-port');
    undo.push(() => stopServer(admin));
    const dataUrl = await listen(data.server, host, options.dataPort, '--data-port');
    undo.push(() => stopServer(data.server));
    live = true;
    for (const object of store.list({ kind: 'arm' })) if (object.kind === 'arm') arms.sync(object.uid, object);
    logger.info(
      `local gateway: admin ${adminUrl}, traffic ${dataUrl}, state in ${resolve(stateDir)}, pid ${process.pid}`,
    );
    return { adminUrl, dataUrl, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const EVERY_ADDRESS: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

/** The little that a program needs from its surroundings; all else comes from its template. */
function environmentFor(path: string | undefined): Readonly<Record<string, string>> {
  const usual = [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return { PATH: path ?? usual.join(delimiter), HOME: homedir(), TMPDIR: tmpdir(), LANG: 'C.UTF-8' };
}

function listen(server: Server, host: string, port: number, flag: string): Promise<string> {
  return new Promise((done, fail) => {
    server.once('error', (error) => {
      const taken = codeOf(error) === 'EADDRINUSE';
      fail(
        new GatewayStartError(
          taken
            ? `port ${port} is taken: stop the program that listens on it (another gateway?), or give another ${flag}`
            : `can't listen on ${host}:${port}: ${error.message}`,
        ),
      );
    });
    server.listen({ host, port }, () => done(`http://${hostInUrl(host)}:${(server.address() as AddressInfo).port}`));
  });
}

function hostInUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** Takes no more requests, and gives those in flight a moment. */
async function stopServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), 1000);
  await closed;
  clearTimeout(timer);
}
