import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { codeOf } from './errors.js';
import type { ChildProcess } from 'node:child_process';
import type { GatewayLogger } from './logger.js';
import type { Order, Report } from './replica-supervisor.js';

export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string | null;
  readonly env: Readonly<Record<string, string>>;
}

/** What a started process tells; `ended` comes exactly once. */
export interface ProcessListener {
  started(pid: number): void;
  output(tail: string): void;
  ended(how: string, tail: string, startable: boolean): void;
}

export interface HostedProcess {
  signal(signal: 'SIGTERM' | 'SIGKILL'): void;
}

/** Starts processes that can't outlive this one. */
export interface ProcessHost {
  start(launch: Launch, listener: ProcessListener): HostedProcess;
  /** Ends all processes at once and resolves when they are gone. */
  close(): Promise<void>;
}

interface Running {
  readonly listener: ProcessListener;
  pid: number | null;
}

/** @param env what the supervisor itself runs with */
export function createProcessHost(env: Readonly<Record<string, string>>, logger: GatewayLogger): ProcessHost {
  const running = new Map<number, Running>();
  let nextId = 1;
  let closing = false;
  let supervisor = startSupervisor();

  function startSupervisor(): ChildProcess {
    const path = fileURLToPath(new URL('./replica-supervisor.js', import.meta.url));
    // Detached: Ctrl-C in a terminal is for the gateway, which then ends its replicas in order.
    const child = fork(path, { env, execArgv: [], detached: true, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    child.on('message', (report: Report) => receive(report));
    child.on('error', (error) => logger.warn(`replica supervisor: ${error.message}`));
    child.once('exit', (code, signal) => {
      if (closing) return;
      logger.warn(
        `the replica supervisor ended (${signal ?? `code ${code}`}): its replicas are ended and started again`,
      );
      const lost = [...running.values()];
      running.clear();
      supervisor = startSupervisor();
      for (const { pid, listener } of lost) {
        if (pid !== null) killGroup(pid);
        listener.ended('was ended with its supervisor', '', true);
      }
    });
    return child;
  }

  function receive(report: Report): void {
    const process = running.get(report.id);
    if (process === undefined) return;
    switch (report.kind) {
      case 'started':
        process.pid = report.pid;
        process.listener.started(report.pid);
        return;
      case 'output':
        process.listener.output(report.tail);
        return;
      case 'ended':
        running.delete(report.id);
        process.listener.ended(report.how, report.tail, report.startable);
    }
  }

  function order(message: Order): void {
    // A supervisor that is just dying takes no orders; its exit reports every process as ended.
    if (supervisor.connected) supervisor.send(message, () => undefined);
  }

  return {
    start(launch, listener) {
      const id = nextId++;
      running.set(id, { listener, pid: null });
      order({ kind: 'start', id, ...launch });
      return { signal: (signal) => order({ kind: 'signal', id, signal }) };
    },
    async close() {
      closing = true;
      if (supervisor.exitCode !== null || supervisor.signalCode !== null) return;
      const ended = new Promise((resolve) => supervisor.once('exit', resolve));
      if (supervisor.connected) supervisor.disconnect();
      await ended;
    },
  };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) !== 'ESRCH' && codeOf(error) !== 'EPERM') throw error;
  }
}
