import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { HostedProcess, Launch, ProcessHost, ProcessListener } from '../gateway/process-host.js';

/**
 * Replicas as HTTP servers inside this process: what is measured is Slipway, and a machine of two cores can't run
 * thousands of real processes. Each answers its health path, nothing else is asked of them.
 */
export function createInProcessHost(): ProcessHost {
  const open = new Set<Server>();
  return {
    start(launch: Launch, listener: ProcessListener): HostedProcess {
      const server = createServer((_, response) => response.end('ok\n'));
      open.add(server);
      server.listen(Number(launch.env['PORT']), '127.0.0.1', () => listener.started(process.pid));
      return {
        signal() {
          if (!open.delete(server)) return;
          server.close(() => listener.ended('was ended', '', true));
          server.closeAllConnections();
        },
      };
    },
    async close() {
      for (const server of open) {
        server.close();
        server.closeAllConnections();
      }
      open.clear();
    },
  };
}
