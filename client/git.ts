import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Change, ChangedFile } from '../domain/release.js';
import { redactSecrets } from '../domain/redact.js';

export interface GitChangeRequest {
  /** A folder of the checkout. */
  readonly cwd: string;
  /**
   * Commit, branch or tag that the change is counted from. Without it: where this branch left its upstream, or, if it
   * has not, the commit before.
   */
  readonly base?: string;
  /** For all of Git's work together, ms. */
  readonly timeoutMs: number;
}

export type GitChange =
  | { readonly ok: true; readonly change: Change; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly reason: string };

/** More changed files than this say nothing more about the risk. */
export const MAX_FILES = 2000;
/** Longer messages are cut: they travel with the rollout. */
export const MAX_MESSAGE_LENGTH = 8000;

type Answer =
  | { readonly ok: true; readonly text: string }
  /** `git` ran and said no. */
  | { readonly ok: false; readonly said: string };

type Git = (...args: readonly string[]) => Promise<Answer>;

/** Git can't be asked at all, or does not answer; ends the reading at once. */
class GitUnusable extends Error {}

/** What a diff is made from; null where the files can't be told. */
type Range = { readonly from: string | null; readonly warnings: readonly string[] };

const run = promisify(execFile);

/**
 * The change at HEAD of a Git checkout: commit, author, message (secrets redacted) and changed files. Reads only;
 * external diff programs and file-system monitors that the repository's configuration names stay off.
 */
export async function readGitChange({ cwd, base, timeoutMs }: GitChangeRequest): Promise<GitChange> {
  try {
    const git = await openGit(cwd, AbortSignal.timeout(timeoutMs), timeoutMs);
    const head = await git('rev-parse', '--verify', '--quiet', 'HEAD^{commit}');
    if (!head.ok) return { ok: false, reason: `there is no commit in ${cwd} yet` };
    const commit = head.text.trim();
    const range = await rangeFor(git, commit, base);
    if ('reason' in range) return { ok: false, reason: range.reason };
    const { author, message } = await describeCommit(git, commit);
    const files = range.from === null ? null : await changedFiles(git, range.from, commit);
    const change: Change = {
      commit,
      author,
      message,
      files: files?.slice(0, MAX_FILES) ?? null,
      truncated: files !== null && files.length > MAX_FILES,
    };
    return { ok: true, change, warnings: [...range.warnings, ...(await dirtWarnings(git))] };
  } catch (error) {
    if (error instanceof GitUnusable) return { ok: false, reason: error.message };
    throw error;
  }
}

async function openGit(cwd: string, signal: AbortSignal, timeoutMs: number): Promise<Git> {
  if (!(await isFolder(cwd))) throw new GitUnusable(`there is no folder ${cwd}`);
  const git: Git = async (...args) => {
    try {
      const safe = [
        '--no-pager',
        '--no-optional-locks',
        '-c',
        'core.fsmonitor=false',
        '-c',
        'core.hooksPath=/dev/null',
      ];
      const { stdout } = await run('git', [...safe, ...args], { cwd, signal, maxBuffer: 256 * 1024 * 1024 });
      return { ok: true, text: stdout };
    } catch (error) {
      const { code, stderr, message } = error as { code?: string | number; stderr?: string; message: string };
      if (code === 'ENOENT') throw new GitUnusable('there is no program git on the PATH');
      if (code === 'ABORT_ERR') throw new GitUnusable(`git took longer than ${timeoutMs} ms`);
      if (typeof code !== 'number') throw new GitUnusable(`git ${args[0] ?? ''} failed: ${message}`);
      return { ok: false, said: firstLine(stderr ?? '') };
    }
  };
  const found = await git('rev-parse', '--git-dir');
  // Git's own words: it may be no repository, or one that belongs to somebody else.
  if (!found.ok) throw new GitUnusable(`git can't read ${cwd}: ${found.said}`);
  return git;
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw new GitUnusable(`${path} can't be read: ${code ?? String(error)}`);
  }
}

async function rangeFor(
  git: Git,
  head: string,
  base: string | undefined,
): Promise<Range | { readonly reason: string }> {
  if (base !== undefined) return rangeFromBase(git, head, base);
  const upstream = await git('rev-parse', '--verify', '--quiet', '@{upstream}^{commit}');
  if (upstream.ok) {
    const left = await git('merge-base', upstream.text.trim(), head);
    if (left.ok && left.text.trim() !== head) return { from: left.text.trim(), warnings: [] };
  }
  const before = await git('rev-parse', '--verify', '--quiet', `${head}~1`);
  if (before.ok) return { from: before.text.trim(), warnings: [] };
  // The object itself knows its parents; in a shallow clone `~1` does not.
  const object = await must(git, 'cat-file', 'commit', head);
  if (/^parent /m.test(object.slice(0, object.indexOf('\n\n')))) return shallow('the commit before HEAD');
  return { from: await must(git, 'hash-object', '-t', 'tree', '/dev/null').then((hash) => hash.trim()), warnings: [] };
}

async function rangeFromBase(git: Git, head: string, base: string): Promise<Range | { readonly reason: string }> {
  const named = base.startsWith('-') ? null : await git('rev-parse', '--verify', '--quiet', `${base}^{commit}`);
  if (named?.ok !== true) {
    const isShallow = (await must(git, 'rev-parse', '--is-shallow-repository')).trim() === 'true';
    if (isShallow && named !== null) return shallow(base);
    return { reason: `${base} names no commit here: fetch it, or name another base` };
  }
  const from = named.text.trim();
  const common = await git('merge-base', from, head);
  if (common.ok) return { from: common.text.trim(), warnings: [] };
  const warning = `${base} and HEAD have no common commit here: the files are those that differ between the two`;
  return { from, warnings: [warning] };
}

function shallow(missing: string): Range {
  const remedy = 'fetch the history (actions/checkout: fetch-depth: 0; git fetch --unshallow)';
  return {
    from: null,
    warnings: [`the changed files are not known: the clone is shallow and lacks ${missing}; ${remedy}`],
  };
}

async function describeCommit(git: Git, commit: string): Promise<Pick<Change, 'author' | 'message'>> {
  const format = '--format=%ae%x00%an%x00%B';
  const text = await must(git, 'log', '-1', '--no-show-signature', '--no-color', '--encoding=UTF-8', format, commit);
  const [email = '', name = '', ...rest] = text.split('\0');
  // Cut before as well: what is cut away below need not be searched.
  const message = redactSecrets(
    rest
      .join('\0')
      .slice(0, 8 * MAX_MESSAGE_LENGTH)
      .trim(),
  );
  const cut = message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message;
  return { author: email || name || null, message: cut === '' ? null : cut };
}

async function changedFiles(git: Git, from: string, to: string): Promise<readonly ChangedFile[]> {
  const flags = ['--numstat', '-z', '-M', '--no-ext-diff', '--no-textconv', '--no-relative', '--no-color'];
  return parseNumstat(await must(git, 'diff', ...flags, from, to, '--'));
}

/** Reads `git diff --numstat -z`: `added TAB deleted TAB path NUL`; a rename's path is empty, and two paths follow. */
export function parseNumstat(text: string): readonly ChangedFile[] {
  const files: ChangedFile[] = [];
  const fields = text.split('\0').values();
  for (const field of fields) {
    const match = /^(\d+|-)\t(\d+|-)\t([\s\S]*)$/.exec(field);
    if (match === null) continue;
    const [, added = '-', deleted = '-', path = ''] = match;
    const counts = { added: lineCount(added), deleted: lineCount(deleted) };
    if (path !== '') {
      files.push({ path, ...counts });
      continue;
    }
    const oldPath: string = fields.next().value ?? '';
    const newPath: string = fields.next().value ?? '';
    files.push({ path: newPath, oldPath, ...counts });
  }
  return files;
}

function lineCount(text: string): number | null {
  return text === '-' ? null : Number(text);
}

/** What a worker or a gateway keeps in the folder where it was started is nobody's change. */
const OWN_STATE = ':(top,exclude,glob)**/.slipway/**';

async function dirtWarnings(git: Git): Promise<readonly string[]> {
  const bare = await must(git, 'rev-parse', '--is-bare-repository');
  if (bare.trim() === 'true') return [];
  const status = await git('status', '--porcelain', '-z', '--untracked-files=normal', '--', ':/', OWN_STATE);
  if (!status.ok) return [`whether everything is committed is not known: ${status.said}`];
  const first = status.text.split('\0')[0]?.slice(3) ?? '';
  if (first === '') return [];
  return [
    `there are changes that are not committed, such as ${first}: they are not part of the change that is assessed`,
  ];
}

async function must(git: Git, ...args: readonly string[]): Promise<string> {
  const answer = await git(...args);
  if (!answer.ok) throw new GitUnusable(`git ${args[0] ?? ''} failed: ${answer.said}`);
  return answer.text;
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? '';
}
