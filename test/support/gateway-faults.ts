import { createServer, request as forward } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What happens to a request on its way to the gateway. */
export type GatewayFault =
  /** The connection is cut; with `after` the gateway has done its work by then, and only its answer is lost. */
  | { readonly kind: 'cut'; readonly after?: boolean }
  | { readonly kind: 'slow'; readonly ms: number }
  | { readonly kind: 'answer'; readonly status: number; readonly reason: string; readonly message?: string };

export type FaultRule = (request: { readonly method: string; readonly path: string }) => GatewayFault | null;

/** A gateway's admin address, through which a test decides what fails. */
export interface FaultyGateway {
  readonly url: string;
  /** What fails from now on; null: nothing. */
  rule: FaultRule | null;
  /** Requests that were made to fail so far. */
  readonly hits: number;
  close(): Promise<void>;
}

export async function startFaultyGateway(adminUrl: string): Promise<FaultyGateway> {
  let hits = 0;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const { method = 'GET', url = '/' } = request;
    const fault = gateway.rule?.({ method, path: new URL(url, adminUrl).pathname }) ?? null;
    if (fault !== null) hits += 1;
    if (fault?.kind === 'cut' && fault.after !== true) return void response.destroy();
    if (fault?.kind === 'answer') {
      const body = JSON.stringify({ reason: fault.reason, message: fault.message ?? `a test says ${fault.reason}` });
      return void response.writeHead(fault.status, { 'content-type': 'application/json' }).end(body);
    }
    if (fault?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, fault.ms));
    const { host: _, ...headers } = request.headers;
    const onward = forward(new URL(url, adminUrl), { method, headers, agent: false }, (answer) => {
      if (fault?.kind === 'cut') {
        answer.resume();
        answer.once('end', () => response.destroy());
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    onward.end(Buffer.concat(chunks));
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const gateway: FaultyGateway = {
    url: `http://127.0.0.1:${port}`,
    rule: null,
    get hits() {
      return hits;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return gateway;
}
