import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import {
  admin,
  armWhen,
  eventually,
  fixtureTemplate,
  gatewayFor,
  isAlive,
  journalOf,
  request,
  stateDirFor,
  weights,
  write,
} from './gateway-support.js';
import type { TestContext } from 'node:test';

/** A gateway in a process of its own, as the command runs it. */
async function processFor(t: TestContext, stateDir: string, flags: Readonly<Record<string, unknown>> = {}) {
  const module = JSON.stringify(new URL('../../gateway/cli.js', import.meta.url).href);
  const given = JSON.stringify({ adminPort: 0, dataPort: 0, stateDir, ...flags });
  const code = `import { runLocalGateway } from ${module};
    await runLocalGateway(${given}).catch((error) => { console.error(error.message); process.exitCode = 2; });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const match = await eventually(
    () => /admin (\S+), traffic (\S+), state/.exec(said) ?? (child.exitCode === null ? null : 'ended'),
  );
  if (match === 'ended') return { child, said: () => said, adminUrl: '', dataUrl: '' };
  return { child, said: () => said, adminUrl: match[1] as string, dataUrl: match[2] as string };
}

describe('the local gateway as a process', () => {
  test('kill -9 loses nothing that was answered and leaves no process behind', async (t) => {
    const stateDir = await stateDirFor(t);
    const first = await processFor(t, stateDir);
    const arm = write({ template: fixtureTemplate('hello:v1'), replicas: 2 });
    await admin(first, 'POST', 'objects/prod/hello/arm/stable', arm);
    await admin(first, 'POST', 'objects/prod/hello/route/route', weights(100, 0));
    const { status } = await armWhen(first, 'stable', (each) => each.status.ready === 2);
    const pids = status.replicas.map(({ pid }) => pid ?? 0);
    assert.ok(pids.every(isAlive));

    // Eight writers, each on its own object, until the gateway is gone.
    const answered = new Map<string, { revision: number; n: number }>();
    const writers = Array.from({ length: 8 }, async (_, index) => {
      const path = `objects/prod/hello/anchor/a${index}`;
      try {
        let { body } = await admin(first, 'POST', path, write({ n: 0 }));
        for (let n = 1; ; n++) {
          answered.set(path, { revision: body.revision, n: n - 1 });
          ({ body } = await admin(first, 'PUT', `${path}?revision=${body.revision}`, write({ n })));
        }
      } catch {
        return;
      }
    });
    // Each has an answer, however slow the machine is, and is in the middle of the next write.
    await eventually(() => (answered.size === 8 ? true : null));
    await new Promise((resolve) => setTimeout(resolve, 300));
    first.child.kill('SIGKILL');
    await Promise.all(writers);
    await eventually(() => (pids.some(isAlive) ? null : true));

    const second = await processFor(t, stateDir);
    const entries = await journalOf(second);
    assert.deepEqual(
      entries.map(({ seq }) => seq),
      entries.map((_, index) => index + 1),
    );
    assert.equal(answered.size, 8);
    for (const [path, { revision, n }] of answered) {
      const { body } = await admin(second, 'GET', path);
      assert.ok(body.spec.n === n || body.spec.n === n + 1, `${path}: answered ${n}, found ${body.spec.n}`);
      assert.ok(body.revision >= revision);
      assert.equal(entries.findLast(({ name }) => path.endsWith(`/${name}`))?.revision, body.revision);
      assert.equal(entries.filter(({ name }) => path.endsWith(`/${name}`)).length, body.spec.n + 1);
    }
    await armWhen(second, 'stable', (each) => each.status.ready === 2);
    assert.equal((await request(second)).status, 200);

    const exited = once(second.child, 'exit');
    second.child.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
  });

  test('a second gateway on the same state, or the same port, ends with 2 and says why', async (t) => {
    const stateDir = await stateDirFor(t);
    const gateway = await gatewayFor(t, { stateDir });
    const sameState = await processFor(t, stateDir);
    assert.equal(sameState.child.exitCode, 2);
    assert.match(sameState.said(), /state directory .* is in use by the gateway with pid/);
    const samePort = await processFor(t, await stateDirFor(t), { adminPort: Number(new URL(gateway.adminUrl).port) });
    assert.equal(samePort.child.exitCode, 2);
    assert.match(samePort.said(), /port \d+ is taken/);
  });
});
