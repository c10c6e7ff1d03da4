import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Exporter {
  readonly url: string;
  /** What is served, in Prometheus's text format. */
  text: string;
  /** `ok`, or how it misbehaves. */
  mode: 'ok' | 'refuse' | 'hang' | 'html' | 'unauthorized';
  readonly seen: { readonly path: string; readonly authorization: string | null }[];
  close(): Promise<void>;
}

/** A small HTTP server that serves metrics, or misbehaves as told. */
export async function startExporter(text = ''): Promise<Exporter> {
  const server = createServer((request, response) => {
    exporter.seen.push({ path: request.url ?? '', authorization: request.headers.authorization ?? null });
    request.resume();
    switch (exporter.mode) {
      case 'ok':
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' });
        response.end(exporter.text);
        return;
      case 'refuse':
        response.writeHead(503).end('down for repair');
        return;
      case 'html':
        response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in</html>');
        return;
      case 'unauthorized':
        response.writeHead(401, { 'content-type': 'application/json' });
        response.end('{"status":"error","errorType":"unauthorized","error":"no"}');
        return;
      case 'hang':
        // The headers come, the body never does: the trap of time limits that end at the headers.
        response.writeHead(200, { 'content-type': 'application/json' });
        response.flushHeaders();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const exporter: Exporter = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    text,
    mode: 'ok',
    seen: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return exporter;
}
