import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Slipway } from '../../client/slipway.js';
import type { DecisionReceipt } from '../../domain/approval/decision.js';
import type { EnqueueReceipt, LaneView } from '../../domain/lane.js';
import type { RolloutView } from '../../domain/rollout.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { startTraffic } from '../../tools/traffic.js';
import {
  assertHarmless,
  assertRefused,
  documentOf,
  journalOf,
  runCommand,
  serviceFolder,
  severalAtOnce,
  story,
  Terminal,
} from '../support/cli.js';
import { until } from '../support/drive.js';

const COMMANDS = [
  'login',
  'logout',
  'whoami',
  'deploy',
  'noise',
  'plan',
  'status',
  'watch',
  'list',
  'approve',
  'reject',
  'pause',
  'resume',
  'promote',
  'abort',
  'break-glass',
  'retry',
  'lint',
  'stats',
  'judge',
  'audit',
  'stuck',
  'lane',
  'setup',
  'worker',
  'server',
  'token',
  'local-gateway',
];

interface Listed {
  readonly rollouts: readonly {
    readonly rolloutId: string;
    readonly phase: string;
    readonly waitsFor: string | null;
    readonly outcome: string | null;
  }[];
}

interface Decided {
  readonly rolloutId: string;
  readonly receipt: DecisionReceipt;
}

interface Deployed {
  readonly rolloutId: string;
  readonly workflowId: string;
  readonly receipt: EnqueueReceipt;
  readonly temporalWeb: string;
}

describe('the help', () => {
  it('of every command exists and has an example that begins with the command', async () => {
    const { code, out } = await runCommand(['--help'], '.');
    assert.equal(code, 0);
    const listed = out
      .slice(out.indexOf('Commands:'))
      .split('\n')
      .flatMap((line) => /^ {2}([a-z-]+) /.exec(line)?.[1] ?? []);
    assert.deepEqual(listed.toSorted(), [...COMMANDS, 'help'].toSorted());
    await severalAtOnce(COMMANDS, async (name) => {
      const said = await runCommand([name, '--help'], '.');
      assert.equal(said.code, 0, story(said));
      assert.match(said.out, new RegExp(`^Usage: slipway ${name} `), name);
      assert.match(said.out, new RegExp(`^Example:\\n {2}([A-Z_]+=\\S+ )?slipway ${name}\\b`, 'm'), name);
      assert.match(
        said.out,
        /^ {2}--json\s+print\s+one\s+JSON\s+document\s+on\s+standard\s+output,\s+and\s+nothing\s+else$/m,
        name,
      );
      assert.equal(said.err, '');
    });
  });

  it('of deploy tells the exit codes', async () => {
    const { out } = await runCommand(['deploy', '--help'], '.');
    for (const code of ['0 completed', '1 rolled back', '4 held', '5 lane busy', '69 a needed', '70 internal'])
      assert.ok(out.includes(code), code);
  });
});

describe('the command line', { concurrency: 3 }, () => {
  let stack: Stack;
  let client: Slipway;
  let slipway: Terminal;
  before(async () => {
    stack = await startStack({ maxReplicas: 40 });
    await stack.startWorker();
    client = await Slipway.connect(stack.env);
    slipway = new Terminal(stack, client);
  });
  after(async () => {
    await client.close();
    await stack.stop();
  });

  /** A terminal in the folder of a service of its own. */
  async function service(name: string, ...more: readonly string[]): Promise<Terminal> {
    return slipway.in(await serviceFolder(stack, { service: name, gateway: stack.adminUrl, more }));
  }

  /** The same with v1 already serving. */
  async function serving(name: string, ...more: readonly string[]): Promise<Terminal> {
    const at = await service(name, ...more);
    await at.expect(0, 'deploy', '--tag', 'v1', '--no-git', '--wait', '--json');
    return at;
  }

  function traffic(name: string) {
    return startTraffic({ url: `${stack.dataUrl}/local/${name}/`, perSecond: 40 });
  }

  it('ships: a first release, then a good one, then a bad one, which is rolled back', async () => {
    const at = await service('ship');
    const first = await at.expect(0, 'deploy', 'ship', '--env', 'local', '--tag', 'v1', '--no-git', '--wait');
    assert.match(first.out, /accepted ship:v1/);
    assert.match(first.out, /ship:v1 serves all traffic\n$/);
    assert.match(first.err, /what changed is not known .*--no-git|rollout [0-9a-f]{16}: ship:v1 → ship in local/);
    assert.match(first.err, /Temporal Web: http:\S+\/namespaces\/default\/workflows\/rollout%2Flocal%2Fship%2F/);

    const load = traffic('ship');
    try {
      const good = await at.expect(0, 'deploy', '--tag', 'v2', '--no-git', '--wait', '--json');
      const view = documentOf<RolloutView>(good);
      assert.equal(view.outcome, 'completed');
      assert.equal(view.verdicts.at(-1)?.verdict.kind, 'PROMOTE');
      assert.equal(view.plan?.stableVersion, 'ship:v1');

      const bad = await at.expect(1, 'deploy', '--tag', 'v3', '--no-git', '--set', 'DEMO_ERROR_RATE=1', '--wait');
      assert.match(bad.out, /ROLLBACK at stage 1 of 1 at 50 %: .*\d/);
      assert.match(bad.out, /rolled-back: ship is as it was before\n$/);
      assert.match(bad.err, /^slipway: rolled-back: .*\d/m);
      assert.match(bad.err, /^ {2}→ slipway status [0-9a-f]{16}; to try again: slipway retry [0-9a-f]{16}$/m);
    } finally {
      await load.stop();
    }

    const { rollouts } = await at.json<Listed>('list', '--service', 'ship');
    assert.deepEqual(
      rollouts.map(({ outcome }) => outcome),
      ['rolled-back', 'completed', 'completed'],
    );
    assert.equal((await at.json<Listed>('list', '--service', 'ship', '--outcome', 'completed')).rollouts.length, 2);
    assert.equal((await at.json<Listed>('list', '--service', 'ship', '--open')).rollouts.length, 0);
    assert.equal((await at.json<Listed>('list', '--service', 'ship', '--limit', '1')).rollouts.length, 1);
    const table = (await at.expect(0, 'list', '--service', 'ship')).out.split('\n');
    assert.match(table[0] ?? '', /^ROLLOUT +SERVICE\/ENV +RELEASE +STATE +WAITS FOR +RISK +STARTED \(UTC\)$/);
    assert.match(table[1] ?? '', /^[0-9a-f]{16} {2}ship\/local +ship:v3 +rolled-back /);

    const lane = await at.expect(0, 'lane', 'ship', '--env', 'local');
    assert.match(lane.out, /^lane of ship in local: free$/m);
    assert.match(lane.out, /^[0-9a-f]{16}: rolled-back \(.*\)$/m);
    const watched = await at.run('watch', rollouts[0]?.rolloutId ?? '', '--json');
    assert.equal(watched.code, 1, story(watched));
    assert.equal(documentOf<RolloutView>(watched).outcome, 'rolled-back');
    const status = await at.expect(0, 'status', rollouts[0]?.rolloutId ?? '');
    assert.match(status.out, /✗ stage 1: 50 % for 3 s\n.*ROLLBACK: /);
    assert.match(status.out, /└ rolled-back: /);
  });

  it('waits for people: refuses the author, counts a decision once, names who can act and how', async () => {
    const at = await service('gated', 'approval: { required: always, quorum: 2, groups: [ops] }');
    const held = await at.expect(
      4,
      'deploy',
      '--tag',
      'v1',
      '--no-git',
      '--author',
      'au@x',
      '--as',
      'st@x',
      '--wait=held',
    );
    const id = /rollout ([0-9a-f]{16}): gated:v1/.exec(held.err)?.[1] ?? assert.fail(story(held));
    assert.match(
      held.err,
      /waits \(approval\): 2 approvals of gate "release" needed; who can act: members of ops but au@x, st@x/,
    );
    assert.ok(held.err.includes(`  → slipway approve ${id} --gate release`), story(held));

    const view = await at.view(id);
    assert.equal(view.phase, 'awaiting-approval');
    assert.deepEqual(view.approvals?.excluded, ['au@x', 'st@x']);
    assert.deepEqual(await at.json<RolloutView>('status', id), view);
    const status = await at.expect(0, 'status', id);
    assert.match(status.out, /approval of gate "release": 0 of 2/);
    assert.ok(status.out.includes(`$ slipway approve ${id} --gate release`));
    const waiting = await at.json<Listed>('list', '--waiting', '--service', 'gated', '--env', 'local');
    assert.deepEqual(
      waiting.rollouts.map(({ rolloutId, waitsFor }) => [rolloutId, waitsFor]),
      [[id, 'approval']],
    );
    const stuck = await at.expect(0, 'stuck');
    assert.match(
      stuck.out,
      new RegExp(
        `^rollout/local/gated/${id} since .*\\n {2}2 approvals of gate "release" needed\\n {2}→ slipway approve ${id}`,
        'm',
      ),
    );
    const { stuck: list } = await at.json<{
      readonly stuck: readonly { readonly workflowId: string; readonly what: string }[];
    }>('stuck');
    assert.equal(list.find(({ workflowId }) => workflowId.endsWith(id))?.what, 'person');

    const ops = ['--group', 'ops'] as const;
    assertRefused(
      await at.run('approve', id, '--as', 'au@x', ...ops),
      2,
      /au@x wrote or started this release: somebody else must approve it/,
    );
    assertRefused(await at.run('approve', id, '--as', 'AU@X', ...ops), 2, /wrote or started this release/);
    assertRefused(await at.run('approve', id, '--as', 'st@x', ...ops, '--json'), 2, /st@x wrote or started/);
    assertRefused(
      await at.run('approve', id, '--as', 'cy@x'),
      2,
      /cy@x is in none of the groups that may approve: ops/,
    );
    assertRefused(
      await at.run('approve', id, '--as', 'an@x', ...ops, '--gate', 'stage-2'),
      2,
      /gate "stage-2" is not open: the open gate is "release"/,
    );
    assertRefused(
      await at.run('approve', id, '--as', 'an@x', ...ops, '--plan', 'sha256:0'),
      2,
      /you decided on plan sha256:0, the plan now is sha256:[0-9a-f]{64}/,
    );
    const named = await at.run('approve', id, '--as', 'cy@x');
    assert.match(named.err, /members of ops but au@x, st@x could; ask one of them; slipway status/);
    assertRefused(
      await at.run('break-glass', id, '--as', 'gil@x', '--reason', 'no time'),
      2,
      /break-glass needs a reason of 15 characters or more, and this has 7/,
    );
    assertRefused(await at.run('promote', id, '--as', 'an@x', ...ops), 2, /the rollout is awaiting-approval/);
    assertRefused(await at.run('resume', id, '--as', 'an@x'), 2, /nothing is paused/);
    assert.deepEqual((await at.view(id)).approvals?.approvedBy, []);
    assert.deepEqual(await journalOf(stack, 'gated'), []);

    const said = ['approve', id, '--as', 'an@x', ...ops, '--id', 'decision-1', '--reason', 'read the diff'] as const;
    const once = await at.json<Decided>(...said);
    const twice = await at.json<Decided>(...said);
    assert.equal(once.receipt.kind, 'accepted');
    assert.match(once.receipt.text, /an@x approved \(1 of 2\): read the diff/);
    assert.equal(twice.receipt.text, once.receipt.text);
    const open = await at.view(id);
    assert.deepEqual(open.approvals?.approvedBy, ['an@x']);
    assert.equal(open.decisions.length, 1);
    assert.match((await at.expect(0, 'approve', id, '--as', 'bo@x', ...ops)).out, /^bo@x approved \(2 of 2\)\n$/);
    await at.expect(0, 'watch', id);
    assertRefused(await at.run('retry', id), 2, /was shipped: there is nothing to try again/);
    for (const verb of ['reject', 'resume', 'promote'])
      assertRefused(
        await at.run(verb, id, '--as', 'an@x'),
        2,
        new RegExp(`rollout ${id} is over \\(completed\\): there is nothing to ${verb} any more`),
      );
  });

  it('is told no: a rejected release touches nothing, is tried again, and aborted', async () => {
    const at = await service('refuse', 'approval: { required: always }');
    const id = await at.deploy('--tag', 'v1', '--as', 'st@x');
    await at.until(id, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    assertRefused(await at.run('retry', id), 2, new RegExp(`rollout ${id} is not over: awaiting-approval`));
    const { receipt } = await at.json<Decided>('reject', id, '--as', 'an@x', '--reason', 'not on a Friday');
    assert.match(receipt.text, /an@x rejected: not on a Friday/);
    const watched = await at.expect(3, 'watch', id);
    assert.match(watched.err, /^slipway: rejected: an@x rejected the release: not on a Friday$/m);
    assert.match(watched.err, /slipway retry/);

    const again = await at.json<Deployed>('retry', id, '--as', 'cy@x');
    assert.notEqual(again.rolloutId, id);
    const view = await at.until(again.rolloutId, 'it waits again', ({ wait }) => wait?.kind === 'approval');
    assert.equal(view.actor.subject, 'cy@x');
    assert.equal(view.releaseName, 'refuse:v1');
    await at.expect(0, 'abort', again.rolloutId, '--as', 'cy@x', '--reason', 'wrong image');
    const ended = await at.expect(3, 'watch', again.rolloutId, '--json');
    assert.equal(documentOf<RolloutView>(ended).outcome, 'aborted');
    assert.match(ended.err, /aborted by cy@x: wrong image/);
    assert.deepEqual(await journalOf(stack, 'refuse'), []);

    const { rolloutId: broken } = await at.json<Deployed>('retry', id, '--as', 'cy@x');
    await at.until(broken, 'it waits again', ({ wait }) => wait?.kind === 'approval');
    const said = await at.expect(0, 'break-glass', broken, '--as', 'cy@x', '--reason', 'the login is down, all sleep');
    assert.equal(
      said.out,
      'cy@x went past gate "release" with 0 of 1 approvals (break-glass, own work): the login is down, all sleep\n',
    );
    await at.expect(0, 'watch', broken);
    const marked = /break-glass: cy@x went past gate "release" at \S+, own work: the login is down, all sleep/;
    assert.match((await at.expect(0, 'status', broken)).out, marked);
    assert.match(
      (await at.expect(0, 'lane', 'refuse', '--env', 'local')).out,
      new RegExp(`^break-glass: ${broken} by cy@x at \\S+: the login is down, all sleep$`, 'm'),
    );
  });

  it('steers a canary: pause, resume, promote, abort', async () => {
    const at = await serving('steer', 'stages: [{ weight: 20%, for: 10m }]');
    const load = traffic('steer');
    try {
      const id = await at.deploy('--tag', 'v2');
      await at.until(id, 'the canary has its weight', ({ weights }) => weights?.canary === 20);
      const paused = await at.expect(0, 'pause', id, '--as', 'an@x', '--reason', 'looking at a graph');
      assert.equal(paused.out, 'an@x paused the rollout: looking at a graph\n');
      const held = await at.expect(4, 'watch', id, '--until-held');
      assert.match(held.err, /waits \(paused\): an@x paused it at stage 1 of 1 at 20 %; who can act: team-steer/);
      assert.ok(held.err.includes(`→ slipway resume ${id}`), story(held));
      assert.equal((await at.view(id)).status, 'held');
      assertRefused(await at.run('pause', id), 2, /already paused by an@x/);
      assert.match((await at.expect(0, 'resume', id, '--as', 'bo@x')).out, /^bo@x resumed the rollout\n$/);
      assertRefused(await at.run('resume', id), 2, /nothing is paused/);
      const promoted = await at.expect(0, 'promote', id, '--as', 'bo@x', '--reason', 'enough seen');
      assert.equal(promoted.out, 'bo@x promoted past this stage: enough seen\n');
      await at.expect(0, 'watch', id);

      const wrong = await at.deploy('--tag', 'v3');
      await at.until(wrong, 'the canary has its weight', ({ weights }) => weights?.canary === 20);
      const late = await at.expect(4, 'watch', wrong, '--timeout', '1s', '--json');
      assert.equal(documentOf<RolloutView>(late).phase, 'canary');
      assert.match(late.err, new RegExp(`not over after 1 s; the rollout goes on\\n {2}→ slipway watch ${wrong}`));
      await at.expect(0, 'abort', wrong, '--as', 'bo@x', '--reason', 'wrong image');
      const aborted = await at.expect(3, 'watch', wrong);
      assert.match(aborted.err, /^slipway: aborted: aborted by bo@x: wrong image$/m);
      const weights = (await journalOf(stack, 'steer')).findLast(({ change }) => change.includes('weights'));
      assert.match(weights?.change ?? '', /weights 100\/0\/0/);
    } finally {
      await load.stop();
    }
    assert.ok(!load.answers.some(({ ok }) => !ok), 'a request failed while the canary came and went');
  });

  it('keeps to the lane: busy, queued, superseded, and the same key twice', async () => {
    const at = await serving('lane', 'stages: [{ weight: 20%, for: 10m }]');
    const folder = { queue: '', reject: 'whenBusy: reject', supersede: 'whenBusy: supersede' };
    const under = async (whenBusy: keyof typeof folder): Promise<Terminal> =>
      service('lane', 'stages: [{ weight: 20%, for: 10m }]', ...(folder[whenBusy] === '' ? [] : [folder[whenBusy]]));
    const running = await at.deploy('--tag', 'v2', '--key', 'build-2');
    await at.until(running, 'the canary runs', ({ phase }) => phase === 'canary');

    const same = await at.json<Deployed>('deploy', '--no-git', '--tag', 'v2', '--key', 'build-2');
    assert.deepEqual(same.receipt, { kind: 'duplicate', rolloutId: running, outcome: null });
    const written = await journalOf(stack, 'lane');
    assertRefused(
      await at.run('deploy', '--no-git', '--tag', 'v3', '--key', 'build-2'),
      2,
      /this idempotency key was used for another payload \([0-9a-f]{12}, now [0-9a-f]{12}\): use a new key/,
      new RegExp(`slipway status ${running}`),
    );

    const queued = await at.json<Deployed>('deploy', '--no-git', '--tag', 'v4');
    assert.equal(queued.receipt.kind === 'accepted' ? queued.receipt.ahead : null, 1);
    const place = new RegExp(`^queued: 1 ahead, ${running} has the lane$`, 'm');
    assert.match((await at.expect(0, 'status', queued.rolloutId)).out, place);
    await until('it is listed', async () => {
      const { out } = await at.expect(0, 'list', '--service', 'lane', '--open');
      return new RegExp(`^${queued.rolloutId} .*lane:v4 +queued +1 ahead`, 'm').test(out) ? true : null;
    });
    assert.doesNotMatch((await at.expect(0, 'list', '--service', 'lane', '--waiting')).out, /queued/);
    assertRefused(await at.run('approve', queued.rolloutId), 2, /still waits in its lane/);
    const unwanted = await at.json<Deployed>('deploy', '--no-git', '--tag', 'v5');
    assert.match(
      (await at.expect(0, 'abort', unwanted.rolloutId, '--reason', 'wrong tag')).out,
      / took the rollout out of the queue: wrong tag$/m,
    );
    assert.match(
      (await at.expect(0, 'status', unwanted.rolloutId)).out,
      /^aborted: aborted in the queue by .*: wrong tag$/m,
    );
    assertRefused(await at.run('abort', unwanted.rolloutId), 2, /is over/);
    const shown = await at.json<LaneView>('lane', 'lane', '--env', 'local');
    assert.equal(shown.running, running);
    assert.deepEqual(
      shown.queue.map(({ rolloutId }) => rolloutId),
      [queued.rolloutId],
    );

    const strict = await under('reject');
    for (const flags of [[], ['--wait']])
      assertRefused(
        await strict.run('deploy', '--no-git', '--tag', 'v5', ...flags),
        5,
        new RegExp(`rollout ${running} has the lane, and the policy says whenBusy: reject`),
        new RegExp(`slipway watch ${running}`),
      );
    assert.equal((await at.json<LaneView>('lane', 'lane', '--env', 'local')).queue.length, 1);
    assert.deepEqual(await journalOf(stack, 'lane'), written);

    const over = await (await under('supersede')).deploy('--tag', 'v6');
    assert.match((await at.expect(3, 'watch', running)).err, new RegExp(`superseded: superseded by ${over}`));
    const dropped = await at.expect(3, 'watch', queued.rolloutId);
    assert.match(dropped.err, new RegExp(`^slipway: superseded: superseded by ${over}`, 'm'));
    await at.until(over, 'its canary runs', ({ phase }) => phase === 'canary');
    await at.expect(0, 'abort', over);
    await at.expect(3, 'watch', over);
    const unblocked = await at.expect(0, 'lane', 'unblock', 'lane', '--env', 'local', '--reason', 'just in case');
    assert.equal(unblocked.out, 'the lane is not blocked\n');
  });

  it('in a Git checkout fills in commit, files, author and message, and lets none of it command the terminal', async () => {
    const at = await service('git', 'approval: { required: always }');
    const folder = path.join(stack.folder, 'services', 'git');
    const git = (...args: readonly string[]): string =>
      execFileSync('git', ['-c', 'init.defaultBranch=main', '-c', 'commit.gpgsign=false', ...args], {
        cwd: folder,
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], HOME: folder },
      });
    git('init', '--quiet');
    git('config', 'user.email', 'author@example.com');
    git('config', 'user.name', 'A. Uthor');
    git('add', '.');
    git('commit', '--quiet', '-m', 'first');
    await mkdir(path.join(folder, 'src'));
    await writeFile(path.join(folder, 'src', 'hello.ts'), 'one\ntwo\n');
    const evil = 'fix the \u001B[2J\u001B[31mparser\u0007\u202E\n\npassword=hunter2hunter2';
    git('add', '.');
    git('commit', '--quiet', '-m', evil);
    const commit = git('rev-parse', 'HEAD').trim();

    const { rolloutId } = await at.json<Deployed>('deploy', '--tag', 'v1', '--as', 'st@x');
    const view = await at.until(rolloutId, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
    const { change } = view.release;
    assert.equal(change.commit, commit);
    assert.equal(change.author, 'author@example.com');
    assert.deepEqual(change.files, [{ path: 'src/hello.ts', added: 2, deleted: 0 }]);
    assert.match(change.message ?? '', /^fix the /);
    assert.doesNotMatch(change.message ?? '', /hunter2/);
    assert.deepEqual(view.approvals?.excluded, ['author@example.com', 'st@x']);

    const saying = '\u001B]0;owned\u0007 \u009B31mred';
    const commands: readonly (readonly string[])[] = [
      ['status', rolloutId],
      ['status', rolloutId, '--json'],
      ['approve', rolloutId, '--as', `an\u001B[1A@x`, '--reason', saying, '--plan', 'sha256:\u001B[2J'],
      ['reject', rolloutId, '--as', `an\u001B[1A@x`, '--reason', saying],
      ['watch', rolloutId],
      ['list', '--service', 'git'],
      ['lane', 'git', '--env', 'local'],
      ['plan', '--tag', 'v2', '--message', evil],
      ['status', rolloutId],
    ];
    for (const args of commands) assertHarmless(await at.run(...args));
    assert.equal((await at.view(rolloutId)).outcome, 'rejected');
    // The record itself is as it was said.
    assert.equal((await at.view(rolloutId)).decisions[0]?.reason, saying);

    await rm(path.join(folder, 'src', 'hello.ts'));
    const dirty = await at.expect(0, 'plan', '--tag', 'v2');
    assert.match(dirty.err, /changes that are not committed, such as src\/hello\.ts/);
    assertRefused(
      await at.run('plan', '--tag', 'v2', '--base', 'nowhere'),
      2,
      /--base nowhere: nowhere names no commit here/,
    );
  });

  it('plans without touching anything', async () => {
    const at = await serving('planned');
    const before = await journalOf(stack, 'planned');
    const listed = await at.json<Listed>('list', '--service', 'planned');
    const said = await at.expect(0, 'plan', '--tag', 'v2', '--no-git', '--message', 'a change');
    assert.match(said.out, /^planned in local: planned:v1 → planned:v2$/m);
    assert.match(said.out, /^risk at least 0\.\d+ \(\w+\): the rules' floor/m);
    assert.match(said.out, /^approval: /m);
    assert.match(said.out, /^plan sha256:[0-9a-f]{64}\n {2}canary_\d+: 50 % for 3 s, then all$/m);
    assert.match(
      said.out,
      /^ {2}stage 1: traffic stable 25 %, canary 50 %, baseline 25 %; canary 1, baseline 1 replicas$/m,
    );
    assert.match(said.out, /room for \d+/);
    assert.match(said.out, /^nothing was touched\n$/m);
    const document = await at.json<{ readonly touched: boolean; readonly plan: { readonly digest: string } }>(
      'plan',
      '--tag',
      'v2',
      '--no-git',
      '--message',
      'a change',
    );
    assert.equal(document.touched, false);
    assert.ok(said.out.includes(document.plan.digest));
    assert.deepEqual(await journalOf(stack, 'planned'), before);
    assert.deepEqual(await at.json<Listed>('list', '--service', 'planned'), listed);

    const huge = await service('planned', 'run: { command: [node, x.mjs], replicas: 999 }');
    await service('colossal', 'run: { command: [node, x.mjs], replicas: 999 }');
    const colossal = slipway.in(path.join(stack.folder, 'services', 'colossal'));
    const refused = await colossal.expect(3, 'plan', '--tag', 'v1', '--no-git');
    assert.match(
      refused.out,
      /REFUSED: no room: the rollout needs 999 more replicas.*\n {2}→ start the gateway with --max-replicas/,
    );
    // The size that counts is the one that stable has, not the one in the file.
    await huge.expect(0, 'plan', '--tag', 'v2', '--no-git');
  });

  it('lints and sets up, as often as one likes', async () => {
    const at = await service('lint', 'tier: 9');
    assertRefused(await at.run('lint'), 2, /slipway\.yaml:\d+:\d+: .*tier/);
    const fine = await service('lint');
    const said = await fine.expect(0, 'lint');
    assert.match(said.out, /^slipway\.yaml is valid: service lint, environments local$/m);
    const document = await fine.json<{ readonly valid: boolean; readonly environments: readonly string[] }>('lint');
    assert.deepEqual([document.valid, document.environments], [true, ['local']]);

    const text = await at.expect(0, 'setup');
    assert.equal(text.out, 'search attributes are there\nthe reconcile schedule is there\n');
    assert.deepEqual(await at.json('setup'), { added: [], schedule: 'there' });
  });
});
