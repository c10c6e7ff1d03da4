import { codeOf, GatewayStartError, messageOf } from './errors.js';
import { startGateway } from './gateway.js';

export interface LocalGatewayFlags {
  readonly adminPort: number;
  readonly dataPort: number;
  readonly stateDir: string;
  readonly host?: string;
  readonly maxReplicas?: number;
  readonly progressDeadlineSeconds?: number;
  readonly drainSeconds?: number;
  /** The caller's PATH: where replicas' programs are looked for. */
  readonly path?: string;
}

/**
 * `slipway local-gateway`: runs until SIGINT or SIGTERM.
 *
 * @throws GatewayStartError when it can't start.
 */
export async function runLocalGateway(flags: LocalGatewayFlags): Promise<void> {
  const { progressDeadlineSeconds, drainSeconds, ...same } = flags;
  // Listens before anything starts: a signal in that moment must not leave the lock behind.
  const stopped = new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  try {
    const gateway = await startGateway({
      ...same,
      ...(progressDeadlineSeconds === undefined ? {} : { progressDeadlineMs: progressDeadlineSeconds * 1000 }),
      ...(drainSeconds === undefined ? {} : { drainMs: drainSeconds * 1000 }),
      logger: { info: say, warn: say },
    });
    await stopped;
    await gateway.close();
  } catch (error) {
    if (!UNUSABLE_FOLDER.includes(codeOf(error) ?? '')) throw error;
    throw new GatewayStartError(
      `the state directory ${flags.stateDir} can't be used (${messageOf(error)}): give another --state-dir`,
      { cause: error },
    );
  }
}

/** What a system says of a folder that can't be made or written. */
const UNUSABLE_FOLDER = ['EACCES', 'EPERM', 'EEXIST', 'ENOTDIR', 'EROFS', 'ENOSPC'];

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
