import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Slipway } from '../client/slipway.js';
import { startStack } from '../tools/stack.js';
import { stage, testPolicy, testRequest } from '../test/support/request.js';
import { startTraffic } from '../tools/traffic.js';
import { ship } from './detection.js';

/** Seconds without a look at the canary after a kill -9 of the worker that was watching, with another one running. */
export async function measureBlindness(runs: number): Promise<readonly number[]> {
  const gaps: number[] = [];
  for (let run = 0; run < runs; run += 1) gaps.push(await oneKill());
  return gaps;
}

async function oneKill(): Promise<number> {
  const stack = await startStack();
  const looks: number[] = [];
  const proxy = await passThrough(stack.adminUrl, (path) => {
    if (path === '/metrics') looks.push(Date.now());
  });
  try {
    const victim = await stack.startWorker();
    const client = await Slipway.connect(stack.env);
    const policy = testPolicy({ gateway: proxy.url, service: 'watched', stages: [stage(25, 60)] });
    await ship(client, policy, 'v0', {});
    const traffic = startTraffic({ url: `${stack.dataUrl}/test/watched/`, perSecond: 50 });
    const request = testRequest({ policy, tag: 'v1' });
    await client.enqueue(request);
    looks.length = 0;
    for (const until = Date.now() + 30_000; looks.length < 5;) {
      if (Date.now() > until) throw new Error('the watch did not begin');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    // Only now: so that the watch is known to run on the victim.
    await stack.startWorker();
    const killedMs = Date.now();
    await victim.kill('SIGKILL');
    for (const until = killedMs + 60_000; ;) {
      const after = looks.find((time) => time > killedMs);
      if (after !== undefined) {
        await traffic.stop();
        await client.close();
        return (after - killedMs) / 1000;
      }
      if (Date.now() > until) throw new Error('nobody looked within 60 s of the kill');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    proxy.close();
    await stack.stop();
  }
}

/** A proxy that changes nothing and tells each path. */
async function passThrough(target: string, seen: (path: string) => void) {
  const server = createServer((request, response) => {
    seen(new URL(request.url ?? '/', target).pathname);
    const forward = httpRequest(
      new URL(request.url ?? '/', target),
      { method: request.method, headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    forward.once('error', () => response.destroy());
    request.pipe(forward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
