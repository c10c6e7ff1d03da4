import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { newStaticToken } from '../client/server/auth/static-token.js';
import type { Role } from '../domain/people.js';
import { SLIPWAY } from './stack.js';
import type { Stack } from './stack.js';
import { freePort } from './supervise.js';
import type { Server } from './supervise.js';

export interface SlipwayServerOptions<Name extends string> {
  /** Who plays, each as `<name>@example.com` with a static token. */
  readonly people: Readonly<Record<Name, readonly Role[]>>;
  readonly tokensForMs: number;
  /** Folder of policies within the stack's; callers bring theirs where it is left out. */
  readonly policies?: string;
}

/** `slipway server` on a stack, with people who may do something; it ends with the stack. */
export async function startSlipwayServer<Name extends string>(
  stack: Stack,
  { people, tokensForMs, policies }: SlipwayServerOptions<Name>,
): Promise<{ readonly url: string; readonly server: Server; readonly tokens: Readonly<Record<Name, string>> }> {
  const made = (Object.keys(people) as Name[]).map((name) => ({ name, ...newStaticToken(name) }));
  const expires = new Date(Date.now() + tokensForMs).toISOString();
  const file = path.join(stack.folder, 'slipway-server.yaml');
  // YAML has all of JSON.
  await writeFile(
    file,
    JSON.stringify({
      policies,
      tokens: made.map(({ name, sha256 }) => ({
        id: name,
        sha256,
        subject: `${name}@example.com`,
        name,
        kind: 'person',
        expires,
      })),
      roles: made.flatMap(({ name }) => people[name].map((role) => ({ role, subjects: [`${name}@example.com`] }))),
    }),
  );
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = await stack.start({
    name: 'slipway server',
    command: process.execPath,
    args: [SLIPWAY, 'server'],
    env: {
      ...stack.env,
      SLIPWAY_SERVER_PORT: String(port),
      SLIPWAY_SERVER_FILE: file,
      SLIPWAY_SESSION_KEYS: randomBytes(32).toString('base64url'),
    },
    ready: `${url}/readyz`,
    logFile: path.join(stack.folder, 'server.log'),
  });
  const tokens = Object.fromEntries(made.map(({ name, token }) => [name, token])) as Record<Name, string>;
  return { url, server, tokens };
}
