import { randomBytes } from 'node:crypto';
import { newStaticToken } from '../server/auth/static-token.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { parseDurationOption } from './options.js';

export interface TokenOptions {
  readonly id?: string;
  readonly subject: string;
  readonly person?: boolean;
  readonly expires?: string;
}

/** `slipway token new`: a static token, printed once; the server keeps its SHA-256 only. */
export async function token(context: CliContext, what: string, options: TokenOptions): Promise<CommandResult> {
  if (what !== 'new')
    throw usage(`"${what}" is nothing that can be done with tokens`, 'write: slipway token new --subject NAME');
  const id = options.id ?? randomBytes(4).toString('hex');
  if (!/^[a-z0-9-]{1,40}$/.test(id))
    throw usage(`--id "${id}" is no id of a token`, 'write small letters, digits and -, 40 at most');
  const { subject } = options;
  if (!/^[^\s\u0000-\u001f\u007f]{1,200}$/.test(subject))
    throw usage(`--subject "${subject}" is no subject`, 'write 1 to 200 characters without blanks');
  const forMs = parseDurationOption('--expires', options.expires ?? '90d');
  const expires = new Date(Date.now() + forMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const { token, sha256 } = newStaticToken(id);
  const kind = options.person === true ? 'person' : 'machine';
  const entry = { id, sha256, subject, kind, expires };
  if (!context.json) {
    context.out(token);
    context.note('This is the only time that it is shown. Add to `tokens` of slipway-server.yaml:');
    context.note(
      `  - { id: ${id}, subject: ${JSON.stringify(subject)}, kind: ${kind}, expires: "${expires}", sha256: ${sha256} }`,
    );
    context.note(
      `and give the subject a role there: roles: [{ role: viewer, subjects: [${JSON.stringify(subject)}] }]`,
    );
  }
  return done({ token, entry });
}
