/**
 * The small HTTP service that the demo ships. Each release is this file under another tag; what makes a release bad is
 * its environment: DEMO_ERROR_RATE is the share of requests that fail (0 to 1), DEMO_LATENCY_MS is added to each, and with
 * DEMO_UNHEALTHY it never becomes ready.
 */
import { createServer } from 'node:http';

const host = process.env.DEMO_HOST ?? '127.0.0.1';
const port = Number(process.env.PORT);
const version = process.env.SLIPWAY_VERSION ?? 'unknown';
const errorRate = Number(process.env.DEMO_ERROR_RATE ?? 0);
const latencyMs = Number(process.env.DEMO_LATENCY_MS ?? 0);

const server = createServer((request, response) => {
  if (request.url === '/healthz') {
    response.writeHead(process.env.DEMO_UNHEALTHY ? 503 : 200);
    return response.end('I am up\n');
  }
  const fails = Math.random() < errorRate;
  setTimeout(
    () => {
      response.writeHead(fails ? 500 : 200, { 'content-type': 'text/plain', 'x-slipway-version': version });
      response.end(fails ? `${version} has a bug\n` : `hello from ${version}\n`);
    },
    latencyMs + 2 + Math.random() * 8,
  );
});
server.listen(port, host);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
