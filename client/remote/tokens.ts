import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { CliError, EXIT } from '../exit-codes.js';

type Env = Readonly<Record<string, string | undefined>>;

/** Who the server shall take the caller for: asked before each call, because tokens of CI live for minutes. */
export interface TokenSource {
  /** Where it comes from, for messages; never the token itself. */
  readonly from: string;
  /** @param forChange a token of a job is good for one change: each gets a new one */
  token(forChange: boolean): Promise<string | null>;
}

/** Servers that `slipway login` knows, by address. */
const Credentials = z.object({
  version: z.literal(1),
  /** The address that was logged in to last: the default of every command. */
  current: z.string().nullable(),
  servers: z.record(z.string(), z.object({ token: z.string(), subject: z.string(), until: z.string().nullable() })),
});
export type Credentials = z.infer<typeof Credentials>;

const NONE: Credentials = { version: 1, current: null, servers: {} };

/** `$XDG_CONFIG_HOME/slipway/credentials.json`, or in `~/.config`; `SLIPWAY_CREDENTIALS` names another file. */
export function credentialsFile(env: Env): string {
  const given = env['SLIPWAY_CREDENTIALS'];
  if (given) return given;
  return path.join(
    env['XDG_CONFIG_HOME'] || path.join(env['HOME'] || homedir(), '.config'),
    'slipway',
    'credentials.json',
  );
}

/** @throws CliError (2) where the file is there and can't be used */
export async function readCredentials(env: Env): Promise<Credentials> {
  const file = credentialsFile(env);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return NONE;
    throw new CliError(EXIT.usage, `${file} can't be read: ${String(error)}`, 'make it readable, or log in again');
  }
  try {
    return Credentials.parse(JSON.parse(text));
  } catch {
    // The file holds tokens: what is wrong with it must not quote it.
    throw new CliError(EXIT.usage, `${file} is damaged`, 'delete it and log in again: slipway login --server URL');
  }
}

/** Readable by its owner only, and whole or not written at all. */
export async function writeCredentials(env: Env, credentials: Credentials): Promise<void> {
  const file = credentialsFile(env);
  const draft = `${file}.${process.pid}.tmp`;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writeFile(draft, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, file);
}

/** A token of GitHub's is asked for anew when it has lived so long: it is good for five minutes. */
const GITHUB_RENEW_MS = 3 * 60_000;
const GITHUB_TIMEOUT_MS = 10_000;

/**
 * Where the token for a server comes from: `SLIPWAY_TOKEN`; in a job of GitHub Actions with `id-token: write` GitHub
 * itself (audience: `SLIPWAY_AUDIENCE`, else the server's address); else what `slipway login` has kept; else none.
 */
export async function tokenSource(env: Env, server: string): Promise<TokenSource> {
  const given = env['SLIPWAY_TOKEN'];
  if (given) return { from: 'SLIPWAY_TOKEN', token: async () => given };
  if (env['GITHUB_ACTIONS'] === 'true') return githubTokens(env, server);
  const kept = (await readCredentials(env)).servers[server];
  if (kept === undefined) return { from: 'nowhere', token: async () => null };
  return { from: 'slipway login', token: async () => kept.token };
}

function githubTokens(env: Env, server: string): TokenSource {
  const url = env['ACTIONS_ID_TOKEN_REQUEST_URL'];
  const bearer = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'];
  if (!url || !bearer)
    throw new CliError(
      EXIT.usage,
      'this job may not ask GitHub for a token',
      'give it `permissions: id-token: write` (pull requests from forks never get it), or set SLIPWAY_TOKEN',
    );
  const audience = env['SLIPWAY_AUDIENCE'] || server;
  let last: { readonly token: string; readonly atMs: number } | null = null;
  return {
    from: 'GitHub Actions',
    async token(forChange) {
      if (!forChange && last !== null && Date.now() - last.atMs < GITHUB_RENEW_MS) return last.token;
      const asked = new URL(url);
      asked.searchParams.set('audience', audience);
      const token = await askGitHub(asked, bearer);
      last = { token, atMs: Date.now() };
      return token;
    },
  };
}

async function askGitHub(url: URL, bearer: string): Promise<string> {
  let why: string;
  try {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
      signal: AbortSignal.timeout(GITHUB_TIMEOUT_MS),
    });
    const parsed = z.object({ value: z.string().min(1) }).safeParse(await response.json().catch(() => null));
    if (response.ok && parsed.success) return parsed.data.value;
    why = `it answered ${response.status}`;
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  throw new CliError(EXIT.unavailable, `GitHub gave no token for this job: ${why}`, 'run the job again');
}
