import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { ReadStream } from 'node:tty';
import { z } from 'zod';
import { Api } from '../remote/api.js';
import { serverAddress } from '../remote/remote.js';
import { credentialsFile, readCredentials, tokenSource, writeCredentials } from '../remote/tokens.js';
import type { Me } from '../server/contract.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { plain } from './render.js';
import { serverOf } from './rollouts.js';

export interface LoginOptions {
  readonly server?: string;
}

const Who = z.looseObject({
  identity: z.looseObject({ subject: z.string(), name: z.string(), via: z.string(), groups: z.array(z.string()) }),
  rights: z.array(z.string()),
  until: z.string().nullable(),
});

/** `slipway login`: keeps a token for a server, after the server has said whose it is. */
export async function login(context: CliContext, options: LoginOptions): Promise<CommandResult> {
  const given = options.server ?? context.env['SLIPWAY_SERVER'];
  if (!given) throw usage('it is not said where to log in', 'slipway login --server https://slipway.example.com');
  const server = serverAddress(given);
  const token = await readToken(context);
  const me = await whoIs(new Api(server, { from: 'standard input', token: async () => token }));
  const { subject } = me.identity;
  const known = await readCredentials(context.env);
  await writeCredentials(context.env, {
    ...known,
    current: server,
    servers: { ...known.servers, [server]: { token, subject, until: me.until } },
  });
  if (!context.json) {
    context.out(`logged in to ${server} as ${plain(subject)}`);
    context.note(`  kept in ${credentialsFile(context.env)}, for you alone; forget it: slipway logout`);
  }
  return done({ server, subject, until: me.until });
}

/** `slipway logout`: forgets the token of a server. The server itself is not asked: the token goes on until it expires. */
export async function logout(context: CliContext, options: LoginOptions): Promise<CommandResult> {
  const known = await readCredentials(context.env);
  const server = options.server === undefined ? known.current : serverAddress(options.server);
  if (server === null || known.servers[server] === undefined)
    throw usage(
      server === null ? 'you are logged in nowhere' : `you are not logged in to ${server}`,
      `known: ${Object.keys(known.servers).join(', ') || 'none'}`,
    );
  const { [server]: _forgotten, ...servers } = known.servers;
  await writeCredentials(context.env, { ...known, current: known.current === server ? null : known.current, servers });
  if (!context.json) context.out(`logged out of ${server}`);
  return done({ server });
}

/** `slipway whoami`: who the server takes the caller for, and what that person may do. */
export async function whoami(context: CliContext, options: LoginOptions): Promise<CommandResult> {
  const given = options.server ?? (await serverOf(context, {}));
  if (given === null)
    throw usage('no server is known: commands speak to Temporal itself', 'slipway login --server https://…');
  const server = serverAddress(given);
  const tokens = await tokenSource(context.env, server);
  const me = await whoIs(new Api(server, tokens));
  if (!context.json) {
    const { subject, name, via, groups, grants } = me.identity;
    context.out(`${plain(subject)} (${plain(name)}) at ${server}, by ${via}, token from ${tokens.from}`);
    if (groups.length > 0) context.out(`groups: ${groups.map(plain).join(', ')}`);
    for (const { role, services, environments } of grants)
      context.out(`${role} of ${services.join(', ')} in ${environments.join(', ')}`);
  }
  return done({ server, ...me });
}

async function whoIs(api: Api): Promise<Me> {
  const document = await api.get('/me');
  if (!Who.safeParse(document).success)
    throw usage(`${api.server} did not say who you are`, 'see that it is the address of `slipway server`');
  return document as Me;
}

async function piped({ input }: CliContext): Promise<string> {
  let text = '';
  for await (const chunk of input) {
    text += String(chunk);
    if (text.includes('\n')) break;
  }
  return text;
}

/** Without an echo: what is on a screen stays in its scrollback, and in recordings of it. Empty where it is given up. */
async function typed(context: CliContext): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: context.input, output: nowhere, terminal: true });
  const over = new AbortController();
  lines.once('SIGINT', () => over.abort());
  lines.once('close', () => over.abort());
  context.note('paste your token, then Enter (it is not shown):');
  try {
    return await lines.question('', { signal: AbortSignal.any([context.signal, over.signal]) });
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
    return '';
  } finally {
    lines.close();
  }
}

/** From standard input: on a command line it would stand in the shell's history and in the list of processes. */
async function readToken(context: CliContext): Promise<string> {
  const token = (
    (context.input as Partial<ReadStream>).isTTY === true ? await typed(context) : await piped(context)
  ).trim();
  if (token === '') throw usage('no token came on standard input', 'slipway login --server URL < token-file');
  if (/\s/.test(token))
    throw usage('what came on standard input is no token: it has spaces in it', 'give the token alone');
  return token;
}
