import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { codeOf } from './errors.js';

/** Below the range that systems take outgoing ports from: the gateway's own connections must not sit on a replica's port. */
const FIRST = 15000;
const LAST = 32000;

export interface PortFinder {
  /** A port that nobody listens on now, and that this finder did not give out lately. */
  next(): Promise<number>;
}

export function createPortFinder(host: string): PortFinder {
  // A random start keeps gateways on one machine apart.
  let candidate = randomInt(FIRST, LAST);
  async function next(): Promise<number> {
    for (let tries = FIRST; tries < LAST; tries++) {
      candidate = candidate >= LAST ? FIRST : candidate + 1;
      const port = candidate;
      if (await isFree(host, port)) return port;
    }
    throw new Error(`no free port between ${FIRST} and ${LAST}`);
  }
  return { next };
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      if (codeOf(error) === 'EADDRINUSE' || codeOf(error) === 'EACCES') resolve(false);
      else reject(error);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
