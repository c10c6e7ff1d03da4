import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export interface ServerOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A URL that answers 2xx once the server is ready, or a question that is asked until it says yes. */
  readonly ready: string | (() => Promise<boolean>);
  readonly readyTimeoutMs?: number;
  /** Gets all that the server writes; appended to across restarts. */
  readonly logFile: string;
}

export interface ServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running server that ends with this process, even if this process is killed. It does not keep it alive. */
export interface Server {
  readonly name: string;
  /** The server's own process, which leads its process group. */
  readonly pid: number;
  /** Settles when the server of the last start is gone. */
  readonly exited: Promise<ServerExit>;
  /** Sends a signal to the server's process group; after SIGKILL it waits until the server is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Stops the server if it runs, starts it again the same way and waits until it is ready. */
  restart(): Promise<void>;
  /** Asks the server to end, makes it end after 2 s, and waits until it is gone. */
  stop(): Promise<void>;
  /** The last lines of the log. */
  logTail(lines?: number): Promise<string>;
}

interface Running {
  readonly supervisor: ChildProcess;
  readonly pid: number;
  readonly exited: Promise<ServerExit>;
}

interface Report extends Partial<ServerExit> {
  readonly pid?: number;
  readonly error?: string;
}

const SUPERVISOR = fileURLToPath(new URL('supervisor.js', import.meta.url));
const POLL_MS = 50;
const PROBE_TIMEOUT_MS = 1000;

/**
 * Below the ports that systems lend to outgoing connections: a client that keeps dialling a dead server
 * on such a port can be lent that very port, connect to itself and keep the server from coming back.
 */
const LOWEST_PORT = 20_000;
const HIGHEST_PORT = 30_000;

/** The ports that this process was given. */
const given = new Set<number>();

/** Starts a server under a supervisor and waits until it is ready. */
export async function startServer(options: ServerOptions): Promise<Server> {
  let running = await launch(options);

  async function stop(): Promise<void> {
    running.supervisor.ref();
    running.supervisor.stdin?.end();
    await running.exited;
  }

  return {
    name: options.name,
    get pid() {
      return running.pid;
    },
    get exited() {
      return running.exited;
    },
    async kill(signal) {
      signalGroup(running.pid, signal);
      if (signal !== 'SIGKILL') return;
      running.supervisor.ref();
      await running.exited;
    },
    async restart() {
      await stop();
      running = await launch(options);
    },
    stop,
    logTail: (lines) => logTail(options.logFile, lines),
  };
}

/** A port on 127.0.0.1 that is free now and that this process has not been given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST_PORT, HIGHEST_PORT);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

/** Several different free ports on 127.0.0.1. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}

async function launch(options: ServerOptions): Promise<Running> {
  const running = await spawnSupervised(options);
  let exit: ServerExit | undefined;
  void running.exited.then((result) => {
    exit = result;
  });

  const timeoutMs = options.readyTimeoutMs ?? 30_000;
  const deadline = Date.now() + timeoutMs;
  while (!(await isReady(options.ready))) {
    if (exit !== undefined) {
      const ending = exit.signal ?? `code ${exit.code}`;
      throw new Error(`${options.name} ended with ${ending} before it was ready:\n${await logTail(options.logFile)}`);
    }
    if (Date.now() > deadline) {
      running.supervisor.ref();
      running.supervisor.stdin?.end();
      await running.exited;
      throw new Error(`${options.name} was not ready within ${timeoutMs} ms:\n${await logTail(options.logFile)}`);
    }
    await sleep(POLL_MS);
  }
  return running;
}

async function spawnSupervised(options: ServerOptions): Promise<Running> {
  const log = await open(options.logFile, 'a');
  const supervisor = spawn(process.execPath, [SUPERVISOR, options.command, ...options.args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', log.fd, log.fd, 'pipe'],
    // Ctrl-C at the terminal is for this process alone, which then stops its servers in its own order.
    detached: true,
  });
  const gone = once(supervisor, 'exit');
  await log.close();

  const reports = createInterface({ input: supervisor.stdio[3] as Readable });
  const exited = new Promise<ServerExit>((resolve) => {
    reports.on('line', (line) => {
      const { code, signal } = JSON.parse(line) as Report;
      if (code !== undefined && signal !== undefined) resolve({ code, signal });
    });
    void gone.then(() => setImmediate(resolve, { code: null, signal: null }));
  });
  const [line] = (await once(reports, 'line')) as [string];
  const { pid, error } = JSON.parse(line) as Report;
  if (pid === undefined) throw new Error(`${options.name} could not be started: ${error}`);

  supervisor.unref();
  for (const pipe of [supervisor.stdin, supervisor.stdio[3]]) (pipe as unknown as { unref(): void }).unref();
  return { supervisor, pid, exited: gone.then(() => exited) };
}

async function isReady(ready: ServerOptions['ready']): Promise<boolean> {
  if (typeof ready !== 'string') return ready();
  return fetch(ready, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) }).then(
    async (response) => {
      await response.arrayBuffer();
      return response.ok;
    },
    () => false,
  );
}

async function logTail(file: string, lines = 20): Promise<string> {
  return (await readFile(file, 'utf8')).trimEnd().split('\n').slice(-lines).join('\n');
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // A server that is already gone can't be hurt.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  server.close();
  await once(server, 'close');
  return true;
}
