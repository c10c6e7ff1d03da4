/**
 * Runs one server for a parent process and ends it when the parent is gone, however it went.
 *
 * The parent holds the other end of stdin and never writes to it; the end of stdin is the order to stop.
 * File descriptor 3 reports one JSON message per line: `{"pid"}`, then `{"code","signal"}`, or `{"error"}`.
 * Called as `supervisor.js COMMAND [ARGUMENT…]`.
 */
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';

const REPORTS = 3;
const GRACE_MS = 2000;

function supervise(command: string, args: readonly string[]): void {
  const server = spawn(command, args, { detached: true, stdio: ['ignore', 'inherit', 'inherit'] });
  server.on('spawn', () => report({ pid: server.pid }));
  server.on('error', (error) => {
    report({ error: error.message });
    process.exit(1);
  });
  server.on('exit', (code, signal) => {
    signalGroup(server.pid, 'SIGKILL');
    report({ code, signal });
    process.exit(code ?? 1);
  });

  process.stdin.resume();
  process.stdin.on('close', () => {
    signalGroup(server.pid, 'SIGTERM');
    signalGroup(server.pid, 'SIGCONT');
    setTimeout(() => signalGroup(server.pid, 'SIGKILL'), GRACE_MS);
  });
}

function report(message: object): void {
  try {
    writeSync(REPORTS, `${JSON.stringify(message)}\n`);
  } catch (error) {
    // The parent is gone, so nobody is left to tell.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const [command, ...args] = process.argv.slice(2);
if (command === undefined) throw new Error('usage: supervisor.js COMMAND [ARGUMENT…]');
supervise(command, args);
