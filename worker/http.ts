import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';

export interface WorkerHttp {
  readonly url: string;
  close(): Promise<void>;
}

/** `/metrics` (ours and Temporal's), `/healthz` (the process lives), `/readyz` (it takes work). */
export async function startWorkerHttp(options: {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  /** Address of the SDK's own metrics. */
  readonly sdkMetricsUrl: string;
  /** Null when ready, else why not. */
  readonly notReady: () => string | null;
}): Promise<WorkerHttp> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      response.writeHead(status, { 'content-type': type });
      response.end(body);
    };
    const path = new URL(request.url ?? '/', 'http://worker').pathname;
    if (path === '/healthz') return answer(200, 'ok\n');
    if (path === '/readyz') {
      const reason = options.notReady();
      return reason === null ? answer(200, 'ready\n') : answer(503, `${reason}\n`);
    }
    if (path !== '/metrics') return answer(404, 'not found: /metrics, /healthz, /readyz\n');
    allMetrics(options.registry, options.sdkMetricsUrl).then(
      (text) => answer(200, text, options.registry.contentType),
      (error: unknown) => answer(500, `metrics could not be collected: ${String(error)}\n`),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Ours, and Temporal's where they can be had: ours are wanted most when something is wrong. */
async function allMetrics(registry: Registry, sdkMetricsUrl: string): Promise<string> {
  const ours = await registry.metrics();
  try {
    const response = await fetch(sdkMetricsUrl, { signal: AbortSignal.timeout(2000) });
    return `${ours}\n${await response.text()}`;
  } catch (error) {
    return `${ours}\n# Temporal's own metrics could not be read: ${String(error).replaceAll('\n', ' ')}\n`;
  }
}
