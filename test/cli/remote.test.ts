import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { Slipway } from '../../client/slipway.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { assertRefused, documentOf, runCommand, serviceYaml, story, Terminal } from '../support/cli.js';
import type { Said } from '../support/cli.js';
import { AUDIENCE, startIssuer } from '../support/issuer.js';
import type { Issuer } from '../support/issuer.js';
import { startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

const PEOPLE = [
  { subject: 'ann@example.com', roles: ['deployer', 'approver'] },
  { subject: 'ben@example.com', roles: ['approver'] },
  { subject: 'vic@example.com', roles: ['viewer'] },
] as const;

/** What GitHub's runner does for a job that may ask for tokens. */
async function startRunner(issuer: Issuer): Promise<{ url: string; asked: string[]; close(): void }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const audience = new URL(request.url ?? '/', 'http://runner').searchParams.get('audience') ?? '';
    if (request.headers.authorization !== 'Bearer runner-secret') return void response.writeHead(401).end();
    asked.push(audience);
    void issuer.token({ aud: audience }).then((value) => response.end(JSON.stringify({ value })));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/token?api-version=2`, asked, close: () => server.close() };
}

describe('the command line through the server', () => {
  let stack: Stack;
  let server: TestServer;
  let issuer: Issuer;
  let slipway: Slipway;
  let direct: Terminal;
  let folder: string;
  let credentials: string;

  /** The command as somebody runs it who knows the server, and nothing of Temporal. */
  const as = (subject: string | null, ...args: readonly string[]): Promise<Said> =>
    runCommand(args, folder, {
      SLIPWAY_CREDENTIALS: credentials,
      SLIPWAY_SERVER: server.url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      ...(subject === null ? {} : { SLIPWAY_TOKEN: server.tokens[subject] ?? '' }),
    });

  before(async () => {
    stack = await startStack({ maxReplicas: 20 });
    await stack.startWorker();
    slipway = await Slipway.connect(stack.env);
    direct = new Terminal(stack, slipway);
    issuer = await startIssuer();
    server = await startServer(stack, {
      people: PEOPLE,
      file: {
        ci: [
          {
            issuer: issuer.url,
            audience: AUDIENCE,
            subject: 'ci:{repository}',
            match: { repository_id: '42', ref: 'refs/heads/main' },
          },
        ],
        roles: [{ role: 'deployer', subjects: ['ci:acme/shop'] }],
      },
    });
    folder = path.join(stack.folder, 'checkout');
    credentials = path.join(stack.folder, 'home', 'credentials.json');
    await mkdir(folder, { recursive: true });
    await writeFile(
      path.join(folder, 'slipway.yaml'),
      serviceYaml({
        service: 'remote',
        gateway: stack.adminUrl,
        more: ['approval: { required: always, allowUnverified: false }'],
      }),
    );
  });
  after(async () => {
    await server.close();
    await issuer.close();
    await slipway.close();
    await stack.stop();
  });

  test('a release is asked for, looked at, refused to its author, approved by another, and followed to its end', async () => {
    const asked = await as('ann@example.com', 'deploy', 'remote', '--tag', 'v1', '--no-git', '--key', 'one', '--json');
    const { rolloutId, page } = documentOf<{ rolloutId: string; page: string }>(asked);
    assert.equal(page, `${server.url}/rollouts/${rolloutId}`);
    assert.equal(
      documentOf<typeof rolloutId & { rolloutId: string }>(
        await as('ann@example.com', 'deploy', 'remote', '--tag', 'v1', '--no-git', '--key', 'one', '--json'),
      ).rolloutId,
      rolloutId,
    );
    await direct.until(rolloutId, 'the gate', ({ approvals }) => approvals !== null);

    const shown = await as('vic@example.com', 'status', rolloutId);
    assert.match(shown.out, /by ann@example\.com/);
    const { rollouts } = documentOf<{ rollouts: { rolloutId: string; waitsFor: string }[] }>(
      await as('vic@example.com', 'list', '--waiting', '--service', 'remote', '--json'),
    );
    assert.deepEqual(
      rollouts.map((run) => [run.rolloutId, run.waitsFor]),
      [[rolloutId, 'approval']],
    );
    assertRefused(
      await as('ann@example.com', 'approve', rolloutId),
      2,
      /ann@example\.com wrote or started this release/,
    );
    assertRefused(await as('vic@example.com', 'approve', rolloutId), 2, /vic@example\.com is viewer/);
    assertRefused(await as('ben@example.com', 'approve', rolloutId, '--as', 'eve'), 2, /--as means nothing/);
    assertRefused(await as(null, 'approve', rolloutId), 2, /log in: slipway login/);
    const approved = await as('ben@example.com', 'approve', rolloutId, '--reason', 'read it', '--json');
    assert.equal(approved.code, 0, story(approved));
    const { decision } = documentOf<{ decision: { verb: string; actor?: unknown } }>(approved);
    assert.deepEqual([decision.verb, decision.actor], ['approve', undefined], 'not this machine’s user');

    const summary = path.join(folder, 'summary.md');
    const watched = await as('vic@example.com', 'watch', rolloutId, '--summary', summary, '--dotenv', 'slipway.env');
    assert.equal(watched.code, 0, story(watched));
    assert.match(
      await readFile(summary, 'utf8'),
      /\| ben@\u200Bexample\.com \| approve \(release\) \| signed \| read it \|/,
    );
    assert.match(await readFile(path.join(folder, 'slipway.env'), 'utf8'), /^SLIPWAY_OUTCOME=completed$/m);
  });

  test('what Git tells of a change is taken as it is: renames, binary files, strange names and messages', async () => {
    const checkout = path.join(stack.folder, 'git-checkout');
    await mkdir(checkout);
    const git = (...args: readonly string[]) =>
      execFileSync('git', ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.com', ...args], { cwd: checkout });
    git('init', '--quiet');
    await writeFile(
      path.join(checkout, 'slipway.yaml'),
      serviceYaml({ service: 'from-git', gateway: stack.adminUrl, more: ['approval: { required: always }'] }),
    );
    await writeFile(path.join(checkout, 'logo.bin'), Buffer.from([0, 1, 2, 3]));
    await writeFile(path.join(checkout, 'old name.txt'), 'the same text\n'.repeat(20));
    git('add', '.');
    git('commit', '--quiet', '--message', 'first');
    await writeFile(path.join(checkout, 'logo.bin'), Buffer.from([0, 9, 8, 7]));
    await writeFile(path.join(checkout, 'with\nnewline \u001b[31m.ts'), 'export {};\n');
    git('mv', 'old name.txt', 'new name.txt');
    git('add', '.');
    git('commit', '--quiet', '--message', 'second \u001b[2J\u0007 with \u202e and more');
    const said = await runCommand(['deploy', 'from-git', '--tag', 'v1', '--base', 'HEAD~1', '--json'], checkout, {
      SLIPWAY_CREDENTIALS: credentials,
      SLIPWAY_SERVER: server.url,
      SLIPWAY_TOKEN: server.tokens['ann@example.com'] ?? '',
      TEMPORAL_ADDRESS: '127.0.0.1:1',
    });
    assert.equal(said.code, 0, story(said));
    const { rolloutId } = documentOf<{ rolloutId: string }>(said);
    const { release } = await direct.until(rolloutId, 'the gate', ({ approvals }) => approvals !== null);
    const { files, truncated, message, author } = release.change;
    assert.deepEqual(files, [
      { path: 'logo.bin', added: null, deleted: null },
      { path: 'new name.txt', oldPath: 'old name.txt', added: 0, deleted: 0 },
      { path: 'with\nnewline \u001b[31m.ts', added: 1, deleted: 0 },
    ]);
    assert.deepEqual([truncated, author], [false, 'ann@example.com']);
    assert.equal(message, 'second �[2J� with � and more');
    await as('ann@example.com', 'abort', rolloutId);
  });

  test('a server that keeps policies: commands send theirs all the same, the server’s counts, and a difference is said', async () => {
    const policies = path.join(stack.folder, 'policies');
    await mkdir(policies);
    const yaml = (more: string): string => serviceYaml({ service: 'kept', gateway: stack.adminUrl, more: [more] });
    const strict = 'approval: { required: always, allowUnverified: false }';
    await writeFile(path.join(policies, 'slipway.yaml'), yaml(strict));
    const keeper = await startServer(stack, { people: PEOPLE, name: 'keeper', file: { policies } });
    try {
      const checkout = path.join(stack.folder, 'kept');
      await mkdir(checkout);
      const said = async (own: string, ...args: readonly string[]): Promise<Said> => {
        await writeFile(path.join(checkout, 'slipway.yaml'), own);
        return runCommand([...args, '--json'], checkout, {
          SLIPWAY_CREDENTIALS: credentials,
          SLIPWAY_SERVER: keeper.url,
          SLIPWAY_TOKEN: keeper.tokens['ann@example.com'] ?? '',
          TEMPORAL_ADDRESS: '127.0.0.1:1',
        });
      };
      const deploy = (own: string, key: string) => said(own, 'deploy', 'kept', '--tag', 'v1', '--no-git', '--key', key);
      const same = documentOf<{ rolloutId: string; remarks?: unknown }>(
        await deploy(`# a comment\n${yaml(strict)}`, 'a'),
      );
      assert.equal(same.remarks, undefined);
      await direct.until(same.rolloutId, 'the gate', ({ approvals }) => approvals !== null);
      assert.equal((await said(yaml(strict), 'abort', same.rolloutId)).code, 0);

      const lax = documentOf<{ rolloutId: string; remarks?: readonly string[] }>(
        await deploy(yaml('approval: { required: never }'), 'b'),
      );
      assert.match(
        lax.remarks?.join() ?? '',
        /this server keeps its own policies: the slipway\.yaml that was sent says something else of kept in local, and does not count/,
      );
      const asked = await direct.until(lax.rolloutId, 'the gate', ({ approvals }) => approvals !== null);
      assert.equal(asked.policy.approval.required, 'always');
      assert.equal((await said(yaml(strict), 'abort', lax.rolloutId)).code, 0);

      // What was asked for under the policy of that day is tried again under today's.
      await direct.until(lax.rolloutId, 'its end', ({ outcome }) => outcome !== null);
      await writeFile(path.join(policies, 'slipway.yaml'), yaml('approval: { required: always, quorum: 2 }'));
      // A folder is looked at every 10 s.
      await sleep(10_500);
      const again = documentOf<{ rolloutId: string }>(await said(yaml(strict), 'retry', lax.rolloutId));
      const retried = await direct.until(again.rolloutId, 'the gate', ({ approvals }) => approvals !== null);
      assert.equal(retried.policy.approval.quorum, 2);
      await said(yaml(strict), 'abort', again.rolloutId);
    } finally {
      await keeper.close();
    }
  });

  test('watch decides in place, at a real terminal', async () => {
    const asked = await as('ann@example.com', 'deploy', 'remote', '--tag', 'v1b', '--no-git', '--json');
    const { rolloutId } = documentOf<{ rolloutId: string }>(asked);
    await direct.until(rolloutId, 'the gate', ({ approvals }) => approvals !== null);
    const seen = await atTerminal(['watch', rolloutId], {
      cwd: folder,
      env: { SLIPWAY_SERVER: server.url, SLIPWAY_TOKEN: server.tokens['ben@example.com'] ?? '' },
      answers: [
        [/\[a\] approve/, 'a'],
        [/approve: approves gate "release"/, 'looks right\r'],
        [/ben@example\.com approved \(1 of 1\): looks right/, ''],
        [/\[p\] pause/, 'q'],
      ],
    });
    assert.match(seen, /stopped watching; the rollout goes on/);
    const { decisions } = await direct.view(rolloutId);
    const aborted = await as('ann@example.com', 'abort', rolloutId);
    assert.equal(aborted.code, 0, story(aborted));
    await direct.until(rolloutId, 'its end', (view) => view.outcome !== null);
    assert.deepEqual(
      decisions.map(({ verb, actor, reason }) => [verb, actor.subject, actor.verified, reason]),
      [['approve', 'ben@example.com', true, 'looks right']],
    );
  });

  test('login keeps the token for its owner alone, and makes the server the default; logout forgets it', async () => {
    const plainly = (...args: readonly string[]): Promise<Said> =>
      runCommand(args, folder, { SLIPWAY_CREDENTIALS: credentials, TEMPORAL_ADDRESS: '127.0.0.1:1' });
    const login = (token: string): Promise<Said> => withInput(token, ['login', '--server', server.url], credentials);
    assertRefused(await login(`${server.tokens['ben@example.com']}x\n`), 2, /→ log in/);
    assertRefused(await login('\n'), 2, /no token came/);
    const said = await login(`${server.tokens['ben@example.com']}\n`);
    assert.match(said.out, /as ben@example\.com/, story(said));
    assert.equal((await stat(credentials)).mode & 0o777, 0o600);
    assert.match((await plainly('whoami')).out, /^ben@example\.com .* token from slipway login$/m);
    assert.equal((await plainly('list')).code, 0);
    // Temporal itself is not there: what speaks to it says so.
    assertRefused(await plainly('list', '--direct'), 69, /Temporal can't be reached/);
    assert.equal((await plainly('logout')).code, 0);
    assertRefused(await plainly('logout'), 2, /logged in nowhere/);
    assertRefused(await plainly('whoami'), 2, /no server is known/);
    await rm(credentials);
  });

  test('addresses that can’t be right, and servers that are none', async () => {
    const at = (address: string): Promise<Said> =>
      runCommand(['list'], folder, { SLIPWAY_SERVER: address, SLIPWAY_CREDENTIALS: credentials, SLIPWAY_TOKEN: 'x' });
    assertRefused(await at('slipway.example.com'), 2, /no address of a server/);
    assertRefused(await at('http://slipway.example.com'), 2, /in the clear/);
    assertRefused(await at('http://127.0.0.1:1'), 69, /can't be reached/);
    assertRefused(await at(stack.adminUrl), 2, /not as a Slipway server does/);
  });

  test('a job of GitHub: the action’s own script, a token for each change, outputs; a job that may not ask is told so', async () => {
    const runner = await startRunner(issuer);
    try {
      const output = path.join(folder, 'output.txt');
      const job = {
        SLIPWAY_SERVER: server.url,
        SLIPWAY_AUDIENCE: AUDIENCE,
        SLIPWAY_CREDENTIALS: credentials,
        SLIPWAY_TOKEN: '',
        GITHUB_ACTIONS: 'true',
        GITHUB_ACTION_PATH: path.resolve('.'),
        GITHUB_REPOSITORY_ID: '42',
        GITHUB_SHA: 'c0ffee',
        GITHUB_OUTPUT: output,
        GITHUB_STEP_SUMMARY: path.join(folder, 'step.md'),
        INPUT_SERVICE: 'remote',
        INPUT_ENVIRONMENT: 'local',
        INPUT_FILE: 'slipway.yaml',
        INPUT_TAG: 'v2',
        INPUT_IMAGES: '',
        INPUT_CONFIG_MAPS: '',
        INPUT_SECRETS: '',
        INPUT_KEY: '',
        INPUT_HOTFIX: 'false',
        INPUT_WAIT: 'held',
        INPUT_WAIT_TIMEOUT: '2m',
        INPUT_ON_CANCEL: 'leave',
      };
      const refused = await script(job, folder);
      assert.equal(refused.code, 2, refused.err);
      assert.match(refused.err, /permissions: id-token: write/);

      const allowed = {
        ...job,
        ACTIONS_ID_TOKEN_REQUEST_URL: runner.url,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'runner-secret',
      };
      const held = await script(allowed, folder);
      assert.equal(held.code, 4, held.err);
      assert.ok(runner.asked.every((audience) => audience === AUDIENCE));
      const outputs = await readFile(output, 'utf8');
      const id = /^rollout-id<<(\S+)\n(\w+)\n\1$/m.exec(outputs)?.[2] ?? '';
      assert.match(outputs, /^outcome<<(\S+)\nawaiting-approval\n\1$/m);
      // The same job again finds its rollout.
      await script({ ...allowed, GITHUB_OUTPUT: `${output}.2` }, folder);
      assert.match(await readFile(`${output}.2`, 'utf8'), new RegExp(id));

      // A cancelled job that is to take its rollout with it.
      const cancelled = await script({ ...allowed, INPUT_WAIT: 'true', INPUT_ON_CANCEL: 'abort' }, folder, (err) =>
        err.includes('page:'),
      );
      assert.equal(cancelled.code, 3, cancelled.err);
      const { outcome } = await direct.until(id, 'its end', (view) => view.outcome !== null);
      assert.equal(outcome, 'aborted');
    } finally {
      runner.close();
    }
  });
});

interface Ended {
  readonly code: number | null;
  readonly err: string;
}

/** Runs the script of the GitHub Action; with `stopWhen` it is cancelled as GitHub does it, once that is so. */
async function script(
  env: Readonly<Record<string, string>>,
  cwd: string,
  stopWhen: ((err: string) => boolean) | null = null,
): Promise<Ended> {
  const { PATH = '' } = process.env;
  const child = spawn('bash', [path.resolve('deploy/ci/github-action.sh')], {
    cwd,
    env: { PATH, HOME: cwd, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 120_000,
  });
  let err = '';
  let stopped = false;
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    err += chunk;
    if (stopped || stopWhen?.(err) !== true) return;
    stopped = true;
    child.kill('SIGINT');
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, err };
}

/** Runs the command at a pseudo-terminal (Python's `pty`), and types each answer once what it waits for is shown. */
async function atTerminal(
  args: readonly string[],
  {
    cwd,
    env,
    answers,
  }: {
    readonly cwd: string;
    readonly env: Readonly<Record<string, string>>;
    readonly answers: readonly (readonly [RegExp, string])[];
  },
): Promise<string> {
  const { PATH = '' } = process.env;
  const spawnIt = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)';
  const command = [process.execPath, path.resolve('dist/bin/slipway.js'), ...args];
  const child = spawn('python3', ['-c', spawnIt, ...command], {
    cwd,
    env: { PATH, HOME: cwd, TERM: 'xterm', ...env },
    timeout: 60_000,
  });
  let seen = '';
  let from = 0;
  let at = 0;
  const answer = (): void => {
    for (; at < answers.length; at++) {
      const [wanted, keys] = answers[at] ?? [/$^/, ''];
      if (!wanted.test(seen.slice(from))) return;
      from = seen.length;
      child.stdin.write(keys);
    }
  };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    seen += chunk;
    answer();
  });
  await new Promise((resolve) => child.once('close', resolve));
  assert.equal(at, answers.length, `waited for ${String(answers[at]?.[0])}\n${seen}`);
  return seen;
}

/** Runs the command with something on its standard input. */
async function withInput(input: string, args: readonly string[], credentials: string): Promise<Said> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [path.resolve('dist/bin/slipway.js'), ...args], {
    env: { PATH, HOME, SLIPWAY_CREDENTIALS: credentials },
    timeout: 60_000,
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { args, code, out, err };
}
