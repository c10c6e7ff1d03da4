import { GatewayStartError } from './errors.js';
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
 * @returns the exit code: 0 when it was stopped, 2 when it could not start.
 */
export async function runLocalGateway(flags: LocalGatewayFlags): Promise<number> {
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
    return 0;
  } catch (error) {
    if (!(error instanceof GatewayStartError)) throw error;
    say(error.message);
    return 2;
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
