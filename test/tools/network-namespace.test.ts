import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { networkNamespaceObstacle } from '../../tools/network-namespace.js';

const obstacle = await networkNamespaceObstacle();

describe('a script in a network namespace', { skip: obstacle === undefined ? false : `needs one: ${obstacle}` }, () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-namespace-'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  async function start(name: string, body: string): Promise<ChildProcess> {
    const module = new URL('../../tools/network-namespace.js', import.meta.url).href;
    const file = join(folder, `${name}.mjs`);
    await writeFile(
      file,
      `import { enterNetworkNamespace } from ${JSON.stringify(module)};
       const reason = await enterNetworkNamespace();
       ${body}`,
    );
    return spawn(process.execPath, [file, 'argument'], { stdio: ['ignore', 'pipe', 'inherit'] });
  }

  test('has the addresses of pods, its arguments, and hands on its exit code', async () => {
    const child = await start(
      'listens',
      `const { createServer } = await import('node:http');
       const server = createServer((_, response) => response.end('here')).listen(8080, '10.244.7.9');
       server.once('listening', async () => {
         const answer = await (await fetch('http://10.244.7.9:8080/')).text();
         console.log(JSON.stringify({ answer, reason, argument: process.argv[2] }));
         process.exit(23);
       });`,
    );
    const [line] = (await once(createInterface({ input: child.stdout ?? process.stdin }), 'line')) as [string];
    assert.deepEqual(JSON.parse(line), { answer: 'here', argument: 'argument' });
    assert.deepEqual(await once(child, 'exit'), [23, null]);
  });

  test('is gone when the process that was started outside is killed', async () => {
    const child = await start('lasts', 'console.log(process.pid); setInterval(() => {}, 1000);');
    const [line] = (await once(createInterface({ input: child.stdout ?? process.stdin }), 'line')) as [string];
    const pid = Number(line);
    assert.notEqual(pid, child.pid);
    child.kill('SIGKILL');
    for (const deadline = Date.now() + 3000; isAlive(pid); await sleep(20)) assert.ok(Date.now() < deadline);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
