import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { findOnPath, run } from './command.js';

/** Set in a process that runs in a namespace of {@link enterNetworkNamespace}. */
const MARK = 'SLIPWAY_NETWORK_NAMESPACE';
/** In a new namespace even loopback is down; then all addresses of pods become this machine's own. */
const PREPARE = 'ip link set lo up && ip route add local 10.244.0.0/16 dev lo';
/** What a shell says of a process that ended by a signal it doesn't know. */
const KILLED = 137;

/**
 * Has the current script run in a network namespace of its own, where all of 10.244.0.0/16 is this machine: to be
 * called first thing, since outside it runs the script again inside, hands on its exit code and does not return.
 * Inside it returns undefined. It returns why there can be no such namespace here, when there can be none.
 *
 * Nothing outside can be reached from inside, nor inside from outside: what has to be fetched is fetched before.
 */
export async function enterNetworkNamespace(): Promise<string | undefined> {
  if (process.env[MARK] === '1') {
    endWithParent();
    return undefined;
  }
  const obstacle = await networkNamespaceObstacle();
  if (obstacle === undefined) process.exit(await runInside());
  return obstacle;
}

/** Why there can be no network namespace here, or undefined when there can. */
export async function networkNamespaceObstacle(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'network namespaces are a feature of Linux';
  if ((await findOnPath('unshare')) === undefined) return 'unshare is not installed';
  if ((await findOnPath('ip')) === undefined) return 'ip (iproute2) is not installed';
  return run('unshare', [...unshareFlags(), 'sh', '-c', PREPARE]).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}

/** Without root a user namespace, in which this user counts as root, gives the right to make one. */
function unshareFlags(): readonly string[] {
  return process.getuid?.() === 0 ? ['-n'] : ['-U', '-r', '-n'];
}

async function runInside(): Promise<number> {
  const script = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', [...unshareFlags(), 'sh', '-c', `${PREPARE} && exec "$@"`, 'sh', ...script], {
    env: { ...process.env, [MARK]: '1' },
    // The channel tells the script inside when this process is gone.
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  // The script inside is told too, and decides what becomes of it: this process only waits for it.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? KILLED;
}

/** Ends this process when the one outside is gone, however it went. */
function endWithParent(): void {
  process.once('disconnect', () => process.exit(KILLED));
  process.channel?.unref();
}
