import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, GatewayStartError } from './errors.js';

export interface StateLock {
  release(): Promise<void>;
}

/**
 * Takes the state directory for this process: two gateways on one journal would both be right and both be wrong.
 *
 * @throws GatewayStartError when a live gateway has it; a lock that a killed gateway left is taken over.
 */
export async function lockState(stateDir: string): Promise<StateLock> {
  const path = join(stateDir, 'gateway.lock');
  const own = join(stateDir, `gateway.lock.${process.pid}`);
  await writeFile(own, `${process.pid} ${(await startOf(process.pid)) ?? ''}\n`);
  try {
    // `link` makes the file appear with its content in one step, and fails when it is there.
    await link(own, path).catch(async (error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
      const holder = await liveHolder(path);
      if (holder !== null) {
        throw new GatewayStartError(
          `the state directory ${stateDir} is in use by the gateway with pid ${holder}: stop that one, or give another --state-dir`,
        );
      }
      await rm(path, { force: true });
      await link(own, path);
    });
  } finally {
    await rm(own, { force: true });
  }
  return { release: () => rm(path, { force: true }) };
}

async function liveHolder(path: string): Promise<number | null> {
  const [pidText, start] = (await readFile(path, 'utf8')).trim().split(' ');
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return null;
  // After a restart of the machine (or container) the pid may belong to another program, even to this one.
  const startNow = await startOf(pid);
  return startNow === null || !start || startNow === start ? pid : null;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** When a process started, in clock ticks since boot; null where the system has no /proc. */
async function startOf(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The program's name stands in brackets and may hold blanks: count from the last bracket. Start time is field 22.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return null;
    throw error;
  }
}
