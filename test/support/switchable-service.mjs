/** The demo's service, but it fails from the moment in which the file that FAIL_FILE names is there. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';

const { PORT, FAIL_FILE } = process.env;

const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  response.writeHead(FAIL_FILE !== undefined && existsSync(FAIL_FILE) && Math.random() < 0.4 ? 500 : 200);
  response.end('hello\n');
});
server.listen(Number(PORT), '127.0.0.1');
process.on('SIGTERM', () => server.close(() => process.exit(0)));
