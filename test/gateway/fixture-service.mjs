// A service to be deployed by tests. It runs uncompiled, told by its environment:
// EXIT_CODE ends it (at once, or after EXIT_AFTER_MS), START_MS delays its start, UNREADY=1 fails its health path, WORK_MS delays every answer.
import { createServer } from 'node:http';

const {
  PORT,
  SLIPWAY_ARM,
  SLIPWAY_VERSION,
  EXIT_CODE,
  EXIT_AFTER_MS,
  START_MS = '0',
  UNREADY,
  WORK_MS = '0',
  GREETING,
} = process.env;

const exit = () => {
  console.error(`cannot go on: exit code ${EXIT_CODE} was asked for`);
  process.exit(Number(EXIT_CODE));
};
if (EXIT_AFTER_MS !== undefined) setTimeout(exit, Number(EXIT_AFTER_MS));
else if (EXIT_CODE !== undefined) exit();

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://fixture');
  if (url.pathname === '/healthz') {
    response.writeHead(UNREADY === '1' ? 500 : 200).end();
  } else if (url.pathname === '/crash') {
    process.exit(7);
  } else if (url.pathname === '/echo') {
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    request.pipe(response);
  } else if (url.pathname === '/half') {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half', () => process.exit(8));
  } else {
    const body = {
      arm: SLIPWAY_ARM,
      version: SLIPWAY_VERSION,
      pid: process.pid,
      path: request.url,
      greeting: GREETING ?? null,
    };
    // Which arm answers is not for a service to say.
    const headers = { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'], 'x-slipway-arm': 'liar' };
    const workMs = Number(url.searchParams.get('ms') ?? WORK_MS);
    const answer = () => response.writeHead(200, headers).end(JSON.stringify({ ...body, headers: request.headers }));
    if (workMs > 0) setTimeout(answer, workMs);
    else answer();
  }
});
setTimeout(() => server.listen(Number(PORT), '127.0.0.1'), Number(START_MS));
process.once('SIGTERM', () => process.exit(0));
