import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startServer, type Server } from '../supervise.js';

import { RUNNING, type Container, type ContainerCondition, type PodRuntime, type RunningPod } from './pod.js';

/** The demo's service, which takes its behaviour from its environment, as the pod's container gives it. */
const PROGRAM = fileURLToPath(new URL('../../../demo/service.mjs', import.meta.url));
const FIRST_BACK_OFF_MS = 1000;
const LONGEST_BACK_OFF_MS = 30_000;
/** What a shell says of a process that was killed. */
const KILLED = 137;

/**
 * Runs the first container of each pod that names a port as a real process that listens on the pod's address; other
 * containers are reported as running and ready. Logs go to the folder, one file for each pod.
 */
export function processes(logFolder: string): PodRuntime {
  return {
    start(pod, ip, report) {
      const { containers } = pod.spec;
      const conditions = containers.map(() => RUNNING);
      const index = containers.findIndex(({ ports = [] }) => ports.length > 0);
      const container = containers[index];
      if (container === undefined) {
        report(conditions);
        return { pid: undefined, stop: async () => undefined };
      }
      const logFile = join(logFolder, `${pod.metadata.namespace}-${pod.metadata.name}.log`);
      return new PodProcess(container, ip, logFile, (condition) => report(conditions.with(index, condition)));
    },
  };
}

/** What is told of a container's earlier runs whenever its condition is reported. */
type Past = Pick<ContainerCondition, 'restarts' | 'lastExitCode'>;

/** One container as a process: started, probed, started again when it ends by itself, and stopped. */
class PodProcess implements RunningPod {
  private readonly stopping = new AbortController();
  private readonly life: Promise<void>;
  private server: Server | undefined;

  constructor(
    private readonly container: Container,
    private readonly ip: string,
    private readonly logFile: string,
    private readonly report: (condition: ContainerCondition) => void,
  ) {
    this.life = this.live();
  }

  get pid(): number | undefined {
    return this.server?.pid;
  }

  async stop(graceSeconds: number): Promise<void> {
    const ended = new AbortController();
    const deadline = pause(graceSeconds * 1000, ended.signal);
    if (!this.stopping.signal.aborted) {
      const preStopSeconds = this.container.lifecycle?.preStop?.sleep?.seconds ?? 0;
      await Promise.race([pause(preStopSeconds * 1000, ended.signal), deadline]);
      this.stopping.abort();
      await this.server?.kill('SIGTERM');
    }
    await Promise.race([this.life, deadline]);
    ended.abort();
    await this.server?.kill('SIGKILL');
    await this.life;
  }

  private async live(): Promise<void> {
    let backOffMs = FIRST_BACK_OFF_MS;
    let past: Past = { restarts: 0 };
    while (!this.stopping.signal.aborted) {
      const server = await this.launch();
      this.server = server;
      // It may have been told to stop while it started.
      if (this.stopping.signal.aborted) await server.kill('SIGTERM');
      const lastExitCode = await this.watchOver(server, past);
      this.server = undefined;
      if (this.stopping.signal.aborted) return;

      past = { restarts: past.restarts + 1, lastExitCode };
      const message = `back-off ${backOffMs / 1000}s restarting failed container=${this.container.name}`;
      this.report({ ready: false, ...past, waiting: { reason: 'CrashLoopBackOff', message } });
      await pause(backOffMs, this.stopping.signal);
      backOffMs = Math.min(2 * backOffMs, LONGEST_BACK_OFF_MS);
    }
  }

  private launch(): Promise<Server> {
    const { name, image, env = [], ports = [] } = this.container;
    const given = env.map(({ name, value = '' }): [string, string] => [name, value]);
    return startServer({
      name,
      command: process.execPath,
      args: [PROGRAM],
      env: {
        SLIPWAY_VERSION: image,
        ...Object.fromEntries(given),
        DEMO_HOST: this.ip,
        PORT: String(ports[0]?.containerPort),
      },
      // Whether it serves is for its readiness probe to say.
      ready: async () => true,
      logFile: this.logFile,
    });
  }

  /** Reports whether the container is ready until its process has ended; returns its exit code. */
  private async watchOver(server: Server, past: Past): Promise<number> {
    const ended = new AbortController();
    const probing = this.probe(past, AbortSignal.any([ended.signal, this.stopping.signal]));
    const { code } = await server.exited;
    ended.abort();
    await probing;
    return code ?? KILLED;
  }

  private async probe(past: Past, until: AbortSignal): Promise<void> {
    const { readinessProbe: probe } = this.container;
    let ready = probe === undefined;
    this.report({ ready, ...past });
    if (probe === undefined) return;

    let failures = 0;
    await pause((probe.initialDelaySeconds ?? 0) * 1000, until);
    for (; !until.aborted; await pause((probe.periodSeconds ?? 10) * 1000, until)) {
      const succeeds = await this.answers(until);
      failures = succeeds ? 0 : failures + 1;
      const isReady = succeeds || (ready && failures < (probe.failureThreshold ?? 3));
      if (isReady === ready || until.aborted) continue;
      ready = isReady;
      this.report({ ready, ...past });
    }
  }

  /** Whether the container answers its readiness probe with a status below 400. */
  private async answers(until: AbortSignal): Promise<boolean> {
    const { ports = [], readinessProbe: { httpGet, timeoutSeconds = 1 } = {} } = this.container;
    const port = ports.find(({ name }) => name === httpGet?.port)?.containerPort ?? httpGet?.port;
    const signal = AbortSignal.any([until, AbortSignal.timeout(timeoutSeconds * 1000)]);
    return fetch(`http://${this.ip}:${port}${httpGet?.path ?? '/'}`, { signal, redirect: 'manual' }).then(
      async (response) => {
        await response.arrayBuffer();
        return response.status < 400;
      },
      () => false,
    );
  }
}

/** Waits, and no longer than until the signal. */
async function pause(ms: number, until: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal: until });
  } catch (error) {
    if (!until.aborted) throw error;
  }
}
