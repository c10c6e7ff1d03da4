import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { parseServerFile } from '../../formats/server-config.js';
import type { ServerFile } from '../../formats/server-config.js';
import { formatProblems } from '../../formats/slipway-yaml.js';
import { CliError, EXIT } from '../exit-codes.js';

type Env = Readonly<Record<string, string | undefined>>;

/** Not the local gateway's data port, 7780. */
export const DEFAULT_SERVER_PORT = 7790;
export const DEFAULT_SERVER_FILE = 'slipway-server.yaml';

function list(item: z.ZodString) {
  return z
    .string()
    .default('')
    .transform((text) => text.split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()])))
    .pipe(z.array(item));
}

/** The server's settings, by environment variable; addresses and secrets stand here, all else in the reviewed file. */
export const ServerEnv = z.object({
  SLIPWAY_SERVER_HOST: z.string().min(1).default('127.0.0.1'),
  /** 0 takes a free one. */
  SLIPWAY_SERVER_PORT: z.coerce.number().int().min(0).max(65_535).default(DEFAULT_SERVER_PORT),
  /** Where people reach the server, without a path; behind a proxy that is the proxy's address. */
  SLIPWAY_PUBLIC_URL: z
    .string()
    .refine(
      (text) => URL.canParse(text) && /^https?:\/\/[^/?#@]+\/?$/.test(text),
      'is no http(s):// address without path',
    )
    .transform((text) => new URL(text).origin)
    .optional(),
  SLIPWAY_SERVER_FILE: z.string().min(1).optional(),
  /** 32 random bytes each as base64url, between commas: the first encrypts, all decrypt. Made at the start where absent. */
  SLIPWAY_SESSION_KEYS: list(z.string().regex(/^[A-Za-z0-9_-]{43}=?$/, '32 bytes as base64url each, between commas')),
  SLIPWAY_OIDC_CLIENT_SECRET: z.string().min(1).optional(),
  SLIPWAY_SLACK_BOT_TOKEN: z.string().min(1).optional(),
  /** Several between commas while one is being replaced. */
  SLIPWAY_SLACK_SIGNING_SECRET: list(z.string().min(1)),
  /** SHA-256 (hex) of the bearer tokens that Alertmanager may send, between commas. */
  SLIPWAY_ALERTS_TOKEN_SHA256: list(z.string().regex(/^[0-9a-f]{64}$/, '64 hex digits each, between commas')),
  /** Addresses of proxies whose X-Forwarded-For is believed, between commas. */
  SLIPWAY_TRUSTED_PROXIES: list(z.string().min(1)),
  SLIPWAY_SIGNING_KEY_FILE: z.string().min(1).optional(),
  SLIPWAY_TRUSTED_KEYS_FILE: z.string().min(1).optional(),
  SLIPWAY_DATA_DIR: z.string().min(1).default('.slipway'),
  SLIPWAY_TEMPORAL_WEB: z.string().default('http://localhost:8233'),
  SLIPWAY_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
});

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  /** Origin; null: as the server is bound. */
  readonly publicUrl: string | null;
  /** Nobody logs in: whoever reaches the server is `local`, with all roles. Only ever on loopback. */
  readonly local: boolean;
  readonly file: ServerFile;
  /** Absolute folder of the policies; null: callers send theirs. */
  readonly policies: string | null;
  readonly sessionKeys: readonly Uint8Array[];
  readonly oidcClientSecret: string | null;
  readonly slack: { readonly botToken: string | null; readonly signingSecrets: readonly string[] };
  readonly alertTokens: readonly string[];
  readonly trustedProxies: readonly string[];
  readonly signingKeyFile: string;
  readonly trustedKeysFile: string;
  readonly dataDir: string;
  readonly temporalWeb: string;
  readonly logLevel: z.infer<typeof ServerEnv>['SLIPWAY_LOG_LEVEL'];
  /** What an operator should know, said at the start. */
  readonly warnings: readonly string[];
}

/** Reads settings and file once, at the start. @throws CliError (2), naming what is wrong and what to do */
export async function loadServerConfig(env: Env, cwd: string): Promise<ServerConfig> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = ServerEnv.safeParse(given);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => {
      const name = String(issue.path[0] ?? '');
      const shown = /KEY|SECRET|TOKEN/.test(name) ? '…' : (given[name] ?? '(not set)');
      return `  ${name}=${shown}: ${issue.message}`;
    });
    throw new CliError(
      EXIT.usage,
      `the server's settings are wrong:\n${lines.join('\n')}`,
      'see docs/server.md for what each means',
    );
  }
  const values = parsed.data;
  const fileName = values.SLIPWAY_SERVER_FILE ?? DEFAULT_SERVER_FILE;
  const place = path.resolve(cwd, fileName);
  const read = await readServerFile(place, fileName, values.SLIPWAY_SERVER_FILE !== undefined);
  const local = read === null;
  const loopback = isLoopback(values.SLIPWAY_SERVER_HOST);
  if (local && !loopback)
    throw new CliError(
      EXIT.usage,
      `SLIPWAY_SERVER_HOST=${values.SLIPWAY_SERVER_HOST} would let anyone who reaches this machine deploy: there is no ${fileName} that says who may`,
      `write ${fileName} (docs/server.md), or listen on 127.0.0.1`,
    );
  const publicUrl = values.SLIPWAY_PUBLIC_URL ?? null;
  if (publicUrl?.startsWith('http:') === true && !isLoopback(new URL(publicUrl).hostname))
    throw new CliError(
      EXIT.usage,
      `SLIPWAY_PUBLIC_URL=${publicUrl} would send sessions in clear`,
      'write https://…; http is for this machine only',
    );
  if (local && publicUrl !== null && !isLoopback(new URL(publicUrl).hostname))
    throw new CliError(
      EXIT.usage,
      `SLIPWAY_PUBLIC_URL=${publicUrl} is not this machine, and there is no ${fileName} that says who may do what`,
      `write ${fileName} (docs/server.md), or leave SLIPWAY_PUBLIC_URL out`,
    );
  if (!local && publicUrl === null && !loopback)
    throw new CliError(
      EXIT.usage,
      'SLIPWAY_PUBLIC_URL is not set',
      'set it to the address that people use, as in https://slipway.example.com',
    );
  const file = read?.file ?? EMPTY;
  const warnings = [...(read?.warnings ?? [])];
  if (!local && values.SLIPWAY_SESSION_KEYS.length === 0)
    warnings.push(
      'SLIPWAY_SESSION_KEYS is not set: sessions end with this process, and a second server knows none of them',
    );
  const keys = path.resolve(cwd, values.SLIPWAY_DATA_DIR, 'keys');
  return {
    host: values.SLIPWAY_SERVER_HOST,
    port: values.SLIPWAY_SERVER_PORT,
    publicUrl,
    local,
    file,
    policies: file.policies === undefined ? null : path.resolve(path.dirname(place), file.policies),
    sessionKeys: values.SLIPWAY_SESSION_KEYS.map((text) => Buffer.from(text, 'base64url')),
    oidcClientSecret: values.SLIPWAY_OIDC_CLIENT_SECRET ?? null,
    slack: { botToken: values.SLIPWAY_SLACK_BOT_TOKEN ?? null, signingSecrets: values.SLIPWAY_SLACK_SIGNING_SECRET },
    alertTokens: values.SLIPWAY_ALERTS_TOKEN_SHA256,
    trustedProxies: values.SLIPWAY_TRUSTED_PROXIES,
    signingKeyFile: path.resolve(cwd, values.SLIPWAY_SIGNING_KEY_FILE ?? path.join(keys, 'signing-key.json')),
    trustedKeysFile: path.resolve(cwd, values.SLIPWAY_TRUSTED_KEYS_FILE ?? path.join(keys, 'trusted.json')),
    dataDir: path.resolve(cwd, values.SLIPWAY_DATA_DIR),
    temporalWeb: values.SLIPWAY_TEMPORAL_WEB.replace(/\/$/, ''),
    logLevel: values.SLIPWAY_LOG_LEVEL,
    warnings,
  };
}

const EMPTY: ServerFile = { ci: [], tokens: [], roles: [], people: [] };

/** Null: there is none, and none was asked for. */
async function readServerFile(
  place: string,
  fileName: string,
  wanted: boolean,
): Promise<{ readonly file: ServerFile; readonly warnings: readonly string[] } | null> {
  let text: string;
  try {
    text = await readFile(place, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (missing && !wanted) return null;
    const why = missing ? 'there is no such file' : error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.usage,
      `SLIPWAY_SERVER_FILE=${fileName}: ${why}`,
      'write it as docs/server.md tells, or unset SLIPWAY_SERVER_FILE',
    );
  }
  const read = parseServerFile(text, fileName);
  if (read.ok) return read;
  throw new CliError(
    EXIT.usage,
    `${fileName} is not valid:\n${formatProblems(read.problems, fileName, text)}`,
    'docs/server.md tells what may stand there',
  );
}

/** Whether only this machine is meant. */
export function isLoopback(host: string): boolean {
  return ['localhost', '127.0.0.1', '::1', '[::1]'].includes(host);
}
