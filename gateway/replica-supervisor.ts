import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

/**
 * A process of its own that starts and ends the replicas. When the gateway is gone, however it went, the channel to it
 * closes and this process takes all replicas with it. (A signal to the gateway could not be relied on: kill -9 has none.)
 */

export type Order =
  | {
      readonly kind: 'start';
      readonly id: number;
      readonly file: string;
      readonly args: readonly string[];
      readonly cwd: string | null;
      readonly env: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'signal'; readonly id: number; readonly signal: 'SIGTERM' | 'SIGKILL' };

export type Report =
  | { readonly kind: 'started'; readonly id: number; readonly pid: number }
  /** The last of what it printed. */
  | { readonly kind: 'output'; readonly id: number; readonly tail: string }
  /** `startable` is false when the program could not even be started. */
  | {
      readonly kind: 'ended';
      readonly id: number;
      readonly how: string;
      readonly tail: string;
      readonly startable: boolean;
    };

const TAIL_CHARACTERS = 1500;
const OUTPUT_EVERY_MS = 200;

const children = new Map<number, ChildProcess>();

process.on('message', (order: Order) => {
  if (order.kind === 'start') start(order);
  else signalGroup(children.get(order.id), order.signal);
});

process.on('disconnect', () => {
  for (const child of children.values()) signalGroup(child, 'SIGKILL');
  process.exit(0);
});

function start(order: Extract<Order, { kind: 'start' }>): void {
  const { id, file, args, cwd, env } = order;
  let tail = '';
  let timer: NodeJS.Timeout | null = null;
  // A group of its own, so that what the program starts ends with it.
  const child = spawn(file, args, {
    ...(cwd === null ? {} : { cwd }),
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.set(id, child);

  const take = (chunk: Buffer): void => {
    tail = (tail + chunk.toString('utf8')).slice(-TAIL_CHARACTERS);
    timer ??= setTimeout(() => {
      timer = null;
      report({ kind: 'output', id, tail });
    }, OUTPUT_EVERY_MS);
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);

  const end = (how: string, startable: boolean): void => {
    if (!children.delete(id)) return;
    if (timer) clearTimeout(timer);
    report({ kind: 'ended', id, how, tail, startable });
  };
  child.once('spawn', () => report({ kind: 'started', id, pid: child.pid as number }));
  child.once('error', (error) => {
    if (child.pid === undefined) end(`can't be started: ${error.message}${cwd === null ? '' : ` (in ${cwd})`}`, false);
  });
  child.once('exit', (code, signal) => {
    signalGroup(child, 'SIGKILL');
    const how = signal === null ? `exited with code ${code}` : `was ended by ${signal}`;
    // The last words may still be in the pipe; a runaway grandchild may keep it open for ever.
    child.once('close', () => end(how, true));
    setTimeout(end, OUTPUT_EVERY_MS, how, true);
  });
}

function signalGroup(child: ChildProcess | undefined, signal: NodeJS.Signals): void {
  if (child?.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // Nobody left in the group: what was wanted. (macOS says EPERM for a group of zombies.)
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
  }
}

function report(message: Report): void {
  if (process.connected) process.send?.(message);
}
