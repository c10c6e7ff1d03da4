import { execFile } from 'node:child_process';
import { userInfo } from 'node:os';
import { promisify } from 'node:util';
import type { Actor } from '../../domain/rollout.js';
import { CliError, EXIT } from '../exit-codes.js';
import type { CliContext } from './context.js';

export interface ActorOptions {
  readonly as?: string;
  readonly group?: readonly string[];
}

/**
 * Who speaks: `--as`, `SLIPWAY_ACTOR`, Git's user.email, the login name. A claim, not a proof: never `verified`.
 * @throws CliError (2) where none of them is known, as in a container whose user has no name
 */
export async function actorFrom(context: CliContext, options: ActorOptions): Promise<Actor> {
  const subject = options.as ?? nonEmpty(context.env['SLIPWAY_ACTOR']) ?? (await gitEmail(context.cwd)) ?? loginName();
  if (subject === undefined)
    throw new CliError(
      EXIT.usage,
      'it is not known who you are: this user has no name, and Git knows none',
      'say it with --as you@example.com, or with SLIPWAY_ACTOR',
    );
  return { subject, groups: options.group ?? [], verified: false };
}

async function gitEmail(cwd: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('git', ['config', 'user.email'], { cwd, timeout: 3000 });
    return nonEmpty(stdout.trim());
  } catch {
    // No Git, or no name set: the login name will do.
    return undefined;
  }
}

function loginName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry in passwd.
    return undefined;
  }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text;
}
