/** Who a command speaks as. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../', import.meta.url));

test(
  'a user without a name, as in a container, is told how to say who it is',
  { skip: process.getuid?.() === 0 ? false : 'only root can become a user without a name' },
  async (t) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'slipway-actor-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    // Where every user may read: a work tree may be its owner's only.
    await cp(path.join(DIST, 'client'), path.join(folder, 'client'), { recursive: true });
    await cp(path.join(DIST, 'domain'), path.join(folder, 'domain'), { recursive: true });
    await writeFile(path.join(folder, 'package.json'), '{"type":"module"}');
    const script = `
      import { actorFrom } from ${JSON.stringify(path.join(folder, 'client/cli/actor.js'))};
      const context = { env: {}, cwd: ${JSON.stringify(folder)} };
      console.log((await actorFrom(context, { as: 'me@example.com' })).subject);
      await actorFrom(context, {}).catch((error) => console.log(error.name, error.exitCode ?? error.code, error.message, error.remedy));
    `;
    await chmod(folder, 0o755);
    const { stdout } = await new Promise<{ stdout: string }>((resolve, reject) => {
      const options = { cwd: folder, env: { PATH: process.env['PATH'], HOME: folder }, uid: 54_321, gid: 54_321 };
      const child = execFile(process.execPath, ['--input-type=module', '-'], options, (error, out) => {
        if (error) reject(error as Error);
        else resolve({ stdout: out });
      });
      child.stdin?.end(script);
    });
    const [named, unnamed] = stdout.split('\n');
    assert.equal(named, 'me@example.com');
    assert.match(unnamed ?? '', /it is not known who you are.*--as you@example.com/);
  },
);
