import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { MAX_FILES, MAX_MESSAGE_LENGTH, parseNumstat, readGitChange } from '../../client/git.js';
import type { Change } from '../../domain/release.js';

const run = promisify(execFile);
const SETTINGS = [
  'user.name=Ada',
  'user.email=ada@example.com',
  'commit.gpgsign=false',
  'core.hooksPath=/dev/null',
  'protocol.file.allow=always',
];

async function git(cwd: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run('git', [...SETTINGS.flatMap((setting) => ['-c', setting]), ...args], { cwd });
  return stdout.trim();
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-git-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function repository(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  await git(folder, 'init', '--quiet', '--initial-branch=main', '--template=');
  return folder;
}

async function commit(
  cwd: string,
  files: Readonly<Record<string, string | Buffer>>,
  message = 'change',
): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(cwd, name)), { recursive: true });
    await writeFile(path.join(cwd, name), content);
  }
  await git(cwd, 'add', '--all');
  await git(cwd, 'commit', '--quiet', '--allow-empty', '--message', message);
  return git(cwd, 'rev-parse', 'HEAD');
}

async function read(
  cwd: string,
  base?: string,
): Promise<{ readonly change: Change; readonly warnings: readonly string[] }> {
  const result = await readGitChange({ cwd, timeoutMs: 10_000, ...(base === undefined ? {} : { base }) });
  assert.ok(result.ok, result.ok ? '' : result.reason);
  return result;
}

async function reasonOf(
  cwd: string,
  options: { readonly base?: string; readonly timeoutMs?: number } = {},
): Promise<string> {
  const result = await readGitChange({ cwd, timeoutMs: 10_000, ...options });
  assert.ok(!result.ok);
  return result.reason;
}

describe('the change in a Git checkout', () => {
  test('the last commit: author, message, files with odd names, renames and binaries', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { 'a.txt': '1\n2\n3\n4\n5\n', 'gone.txt': 'nothing like it\n', 'bin.dat': Buffer.from([0, 1]) });
    await rename(path.join(cwd, 'a.txt'), path.join(cwd, 'b.txt'));
    await rm(path.join(cwd, 'gone.txt'));
    const odd = 'dir/ü "q"\ttab\nline.txt';
    const message = 'Add things\n\npassword=hunter2';
    const hash = await commit(
      cwd,
      { 'b.txt': '1\n2\n3\n4\n5\n6\n', 'bin.dat': Buffer.from([0, 2]), [odd]: 'x\n' },
      message,
    );
    const { change, warnings } = await read(cwd);
    assert.deepEqual(warnings, []);
    assert.deepEqual([change.commit, change.author, change.truncated], [hash, 'ada@example.com', false]);
    assert.equal(change.message, 'Add things\n\npassword=[redacted]');
    assert.deepEqual(
      [...(change.files ?? [])].sort((one, other) => one.path.localeCompare(other.path)),
      [
        { path: 'b.txt', oldPath: 'a.txt', added: 1, deleted: 0 },
        { path: 'bin.dat', added: null, deleted: null },
        { path: odd, added: 1, deleted: 0 },
        { path: 'gone.txt', added: 0, deleted: 1 },
      ],
    );
  });

  test('paths are those of the repository, from any folder of it, whatever its settings', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { 'sub/x': '1' });
    await commit(cwd, { 'sub/x': '2', top: '1' });
    for (const [key, value] of [
      ['diff.relative', 'true'],
      ['diff.noprefix', 'true'],
      ['color.ui', 'always'],
      ['log.showSignature', 'true'],
      ['diff.external', 'false'],
    ]) {
      await git(cwd, 'config', key ?? '', value ?? '');
    }
    const { change } = await read(path.join(cwd, 'sub'));
    assert.deepEqual(
      change.files?.map((file) => file.path),
      ['sub/x', 'top'],
    );
    assert.equal(change.author, 'ada@example.com');
  });

  test('the first commit is compared with nothing', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { a: '1\n', b: '2\n' });
    const { change, warnings } = await read(cwd);
    assert.deepEqual(
      change.files?.map((file) => file.path),
      ['a', 'b'],
    );
    assert.deepEqual(warnings, []);
  });

  test('without a base: since the branch left its upstream, else since the commit before', async (t) => {
    const origin = await repository(t);
    await commit(origin, { a: '1' });
    await commit(origin, { b: '1' });
    const parent = await temporaryFolder(t);
    await git(parent, 'clone', '--quiet', origin, 'clone');
    const cwd = path.join(parent, 'clone');
    assert.deepEqual(
      (await read(cwd)).change.files?.map((file) => file.path),
      ['b'],
      'at its upstream: the last commit',
    );
    await commit(cwd, { c: '1' });
    await commit(cwd, { d: '1' });
    await commit(origin, { e: '1' });
    await git(cwd, 'fetch', '--quiet');
    assert.deepEqual(
      (await read(cwd)).change.files?.map((file) => file.path),
      ['c', 'd'],
    );
    await git(cwd, 'checkout', '--quiet', '--detach');
    assert.deepEqual(
      (await read(cwd)).change.files?.map((file) => file.path),
      ['d'],
      'detached: the last commit',
    );
  });

  test('a base is a commit, branch or tag; what it has gained since does not count', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { a: '1' });
    await git(cwd, 'tag', 'v1');
    await git(cwd, 'checkout', '--quiet', '-b', 'feature');
    await commit(cwd, { b: '1' });
    await commit(cwd, { c: '1' });
    await git(cwd, 'checkout', '--quiet', 'main');
    await commit(cwd, { other: '1' });
    await git(cwd, 'checkout', '--quiet', 'feature');
    for (const base of ['main', 'v1', await git(cwd, 'rev-parse', 'v1')]) {
      assert.deepEqual(
        (await read(cwd, base)).change.files?.map((file) => file.path),
        ['b', 'c'],
        base,
      );
    }
    assert.deepEqual((await read(cwd, 'HEAD')).change.files, [], 'nothing since itself');
    assert.match(await reasonOf(cwd, { base: 'nowhere' }), /nowhere names no commit here/);
    assert.match(await reasonOf(cwd, { base: '--output=/tmp/x' }), /names no commit/);
    await git(cwd, 'checkout', '--quiet', '--orphan', 'island');
    await commit(cwd, { d: '1' });
    const { change, warnings } = await read(cwd, 'main');
    assert.match(warnings[0] ?? '', /no common commit/);
    assert.ok((change.files?.length ?? 0) > 0);
  });

  test('a merge commit is compared with its first parent', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { a: '1' });
    await git(cwd, 'checkout', '--quiet', '-b', 'feature');
    await commit(cwd, { b: '1' });
    await git(cwd, 'checkout', '--quiet', 'main');
    await commit(cwd, { c: '1' });
    await git(cwd, 'merge', '--quiet', '--no-edit', 'feature');
    assert.deepEqual(
      (await read(cwd)).change.files?.map((file) => file.path),
      ['b'],
    );
  });

  test('a shallow clone says that the files are not known', async (t) => {
    const origin = await repository(t);
    const first = await commit(origin, { a: '1' });
    await commit(origin, { b: '1' });
    const parent = await temporaryFolder(t);
    await git(parent, 'clone', '--quiet', '--depth=1', `file://${origin}`, 'clone');
    for (const base of [undefined, first]) {
      const { change, warnings } = await read(path.join(parent, 'clone'), base);
      assert.equal(change.files, null);
      assert.equal(change.truncated, false);
      assert.equal(change.author, 'ada@example.com');
      assert.match(warnings.join(), /shallow.*fetch-depth: 0/);
    }
  });

  test('uncommitted changes are pointed out', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { a: '1' });
    await writeFile(path.join(cwd, 'new file'), 'x');
    const { change, warnings } = await read(cwd);
    assert.deepEqual(
      change.files?.map((file) => file.path),
      ['a'],
    );
    assert.match(warnings[0] ?? '', /not committed, such as new file/);
    await mkdir(path.join(cwd, 'sub', '.slipway', 'data'), { recursive: true });
    await rename(path.join(cwd, 'new file'), path.join(cwd, 'sub', '.slipway', 'data', 'new file'));
    assert.deepEqual((await read(path.join(cwd, 'sub'))).warnings, [], "Slipway's own files are nobody's change");
  });

  test('a bare repository works too', async (t) => {
    const origin = await repository(t);
    await commit(origin, { a: '1' });
    const parent = await temporaryFolder(t);
    await git(parent, 'clone', '--quiet', '--bare', origin, 'bare.git');
    const { change, warnings } = await read(path.join(parent, 'bare.git'));
    assert.deepEqual([change.files?.length, warnings], [1, []]);
  });

  test('very many files and a very long message are cut', async (t) => {
    const cwd = await repository(t);
    await commit(cwd, { f: 'x\n' }, 'one');
    const blob = await git(cwd, 'rev-parse', 'HEAD:f');
    const input = Array.from({ length: MAX_FILES + 5 }, (_, index) => `100644 ${blob}\tf${index}\n`).join('');
    execFileSync('git', ['update-index', '--index-info'], { cwd, input });
    await git(cwd, 'commit', '--quiet', '--message', `long\n\n${'word '.repeat(10_000)}`);
    const { change } = await read(cwd);
    assert.deepEqual([change.files?.length, change.truncated], [MAX_FILES, true]);
    assert.equal(change.message?.length, MAX_MESSAGE_LENGTH + 1);
    assert.match(change.message ?? '', /…$/);
  });

  test('reasons why there is no change', async (t) => {
    const folder = await temporaryFolder(t);
    assert.match(await reasonOf(folder), /git can't read .*not a git repository/);
    assert.match(await reasonOf(path.join(folder, 'none')), /there is no folder/);
    const empty = await repository(t);
    assert.match(await reasonOf(empty), /no commit .* yet/);
    assert.match(await reasonOf(empty, { timeoutMs: 1 }), /git took longer than 1 ms/);
  });

  test('without a program git', async (t) => {
    const folder = await temporaryFolder(t);
    const { PATH } = process.env;
    process.env.PATH = folder;
    try {
      assert.match(await reasonOf(folder), /no program git on the PATH/);
    } finally {
      process.env.PATH = PATH;
    }
  });
});

test('numstat is read field by field', () => {
  assert.deepEqual(parseNumstat(''), []);
  assert.deepEqual(parseNumstat('1\t2\ta\tb\0-\t-\tbin\x003\t4\t\0old\0new\0'), [
    { path: 'a\tb', added: 1, deleted: 2 },
    { path: 'bin', added: null, deleted: null },
    { path: 'new', oldPath: 'old', added: 3, deleted: 4 },
  ]);
});
