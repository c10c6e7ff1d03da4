/** `npm run demo -- --serve`: what it says first, that a rollout waits and goes on, and that nothing of it is left. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { RunDocument, RunList } from '../../client/server/contract.js';
import { until } from '../support/drive.js';
import { call } from '../support/server.js';

const DEMO = fileURLToPath(new URL('../../demo/demo.js', import.meta.url));
const Served = z.strictObject({
  api: z.url(),
  page: z.url(),
  temporalWeb: z.url(),
  tokens: z.strictObject({
    author: z.string(),
    approver: z.string(),
    approver2: z.string(),
    viewer: z.string(),
    admin: z.string(),
  }),
});

/** Ids of this process's descendants that still run, on Linux; elsewhere none can be told. */
async function descendants(of: number): Promise<readonly number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state !== undefined && state !== 'Z') parents.set(Number(name), Number(parent));
  }
  const found: number[] = [of];
  for (const pid of found) for (const [child, parent] of parents) if (parent === pid) found.push(child);
  return found.slice(1);
}

test('the demo serves until it is interrupted, and leaves nothing behind', async (t) => {
  const demo = spawn(process.execPath, [DEMO, '--serve'], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => demo.kill('SIGKILL'));
  const ended = new Promise<number | null>((resolve) => demo.once('close', resolve));
  let errors = '';
  demo.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const lines: string[] = [];
  createInterface({ input: demo.stdout }).on('line', (line) => lines.push(line));
  await until('the first line', () => (demo.exitCode === null ? lines.length > 0 : assert.fail(errors)), 300_000);
  const { api, page, temporalWeb, tokens } = Served.parse(JSON.parse(lines[0] ?? ''));

  assert.equal((await fetch(temporalWeb)).status, 200);
  const html = await fetch(page, { headers: { accept: 'text/html' } });
  assert.match(await html.text(), /<script type="module" src="\/assets\/page-/);

  const waiting = await until('two rollouts wait', async () => {
    const { body } = await call<RunList>(`${api}/runs?state=waiting-for-me`, { token: tokens.approver });
    return body.runs.length === 2 ? body.runs : null;
  });
  const hello = waiting.find(({ service }) => service === 'hello');
  assert.ok(hello !== undefined);
  const { body: run } = await call<RunDocument>(`${api}/runs/${hello.rolloutId}`, { token: tokens.approver });
  const { gate, planDigest } = run.view.approvals ?? {};
  const decide = (token: string, verb: string) =>
    call(`${api}/runs/${hello.rolloutId}/decisions`, {
      token,
      body: { id: `test-${verb}-${token.slice(4, 10)}`, verb, gate, planDigest, reason: 'a test of the demo' },
    });
  assert.equal((await decide(tokens.author, 'approve')).status, 403);
  assert.equal((await decide(tokens.viewer, 'reject')).status, 403);
  const rejected = await decide(tokens.approver, 'reject');
  assert.equal(rejected.status, 200, rejected.text);
  // The next one waits by itself.
  await until('the next rollout of hello', async () => {
    const { body } = await call<RunList>(`${api}/runs?state=waiting-for-me`, { token: tokens.approver });
    return body.runs.some(({ service, rolloutId }) => service === 'hello' && rolloutId !== hello.rolloutId);
  });

  assert.ok(demo.pid !== undefined);
  const started = await descendants(demo.pid);
  if (process.platform === 'linux') assert.ok(started.length >= 8, `${started.length} processes: too few to be all`);
  // The server is killed: the demo waits for it instead of taking all the rest down.
  for (const pid of started) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (/slipway\.js\0server\0/.test(command) && !command.includes('supervisor')) process.kill(pid, 'SIGKILL');
  }
  await sleep(3000);
  assert.equal(demo.exitCode, null, errors);
  demo.kill('SIGINT');
  assert.equal(await ended, 0, errors);
  await until('all that it started has ended', () => started.every((pid) => !isAlive(pid)), 10_000);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
