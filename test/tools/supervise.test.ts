import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { freePort, freePorts, startServer, type Server, type ServerOptions } from '../../tools/supervise.js';

/** Serves HTTP with its pid as the answer; with `stubborn`, SIGTERM does not end it. */
const SERVER = `
  const [port, stubborn] = process.argv.slice(1);
  if (stubborn === 'stubborn') process.on('SIGTERM', () => console.log('not now'));
  console.log('listening soon');
  require('node:http').createServer((_, response) => response.end(String(process.pid))).listen(Number(port), '127.0.0.1');
`;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function goneWithin(pid: number, limitMs: number): Promise<number> {
  const started = performance.now();
  while (isAlive(pid)) {
    const elapsed = performance.now() - started;
    assert.ok(elapsed < limitMs, `process ${pid} still runs after ${Math.round(elapsed)} ms`);
    await sleep(20);
  }
  return Math.round(performance.now() - started);
}

describe('a supervised server', () => {
  let folder: string;
  const started: Server[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-supervise-'));
  });

  after(async () => {
    await Promise.all(started.map((server) => server.stop()));
    await rm(folder, { recursive: true, force: true });
  });

  async function optionsFor(name: string, stubborn = false): Promise<ServerOptions & { readonly url: string }> {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}/`;
    return {
      name,
      command: process.execPath,
      args: ['-e', SERVER, String(port), stubborn ? 'stubborn' : 'obedient'],
      ready: url,
      logFile: join(folder, `${name}.log`),
      url,
    };
  }

  async function start(options: ServerOptions): Promise<Server> {
    const server = await startServer(options);
    started.push(server);
    return server;
  }

  for (const stubborn of [false, true]) {
    const manner = stubborn ? 'stubborn' : 'obedient';
    test(`within 3 s of its parent's death by SIGKILL the server is gone (${manner})`, async (t) => {
      const options = await optionsFor(`orphan-${manner}`, stubborn);
      const module = new URL('../../tools/supervise.js', import.meta.url).href;
      const script = `
        import { startServer } from ${JSON.stringify(module)};
        const server = await startServer(${JSON.stringify(options)});
        console.log(server.pid);
        setInterval(() => {}, 1000);
      `;
      const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
      const pid = Number(line);
      assert.ok(isAlive(pid));

      parent.kill('SIGKILL');
      t.diagnostic(`gone ${await goneWithin(pid, 3000)} ms after its parent (${manner})`);
    });
  }

  test('signals reach the server itself, and restart brings it back at the same place', async () => {
    const options = await optionsFor('signalled');
    const server = await start(options);
    const pid = server.pid;
    assert.equal(await (await fetch(options.url)).text(), String(pid));

    await server.kill('SIGSTOP');
    await assert.rejects(fetch(options.url, { signal: AbortSignal.timeout(300) }), { name: 'TimeoutError' });
    await server.kill('SIGCONT');
    assert.equal(await (await fetch(options.url)).text(), String(pid));

    await server.kill('SIGKILL');
    assert.ok(!isAlive(pid));
    assert.deepEqual(await server.exited, { code: null, signal: 'SIGKILL' });

    await server.restart();
    assert.notEqual(server.pid, pid);
    assert.equal(await (await fetch(options.url)).text(), String(server.pid));
    assert.match(await server.logTail(), /listening soon\nlistening soon/);
  });

  test('stop ends a frozen server too, and can be called again', async () => {
    const server = await start(await optionsFor('frozen', true));
    await server.kill('SIGSTOP');
    await server.stop();
    assert.ok(!isAlive(server.pid));
    await server.stop();
  });

  test('a server that ends before it is ready, never gets ready, or does not exist is an error with its log', async () => {
    const options = await optionsFor('failing');
    const dies = { ...options, args: ['-e', 'console.error("no licence"); process.exit(3)'] };
    await assert.rejects(startServer(dies), /failing ended with code 3 before it was ready:\nno licence/);
    const hangs = { ...options, ready: async () => false, readyTimeoutMs: 300 };
    await assert.rejects(startServer(hangs), /failing was not ready within 300 ms/);
    const absent = { ...options, command: '/no/such/server' };
    await assert.rejects(startServer(absent), /failing could not be started: .*ENOENT/);
  });

  test('ports are different each time', async () => {
    assert.equal(new Set(await freePorts(20)).size, 20);
  });
});
