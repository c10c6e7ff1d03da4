import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** A user and a password, or why what stands in the file can't be used; null where nothing stands there. */
export type Login =
  | { readonly kind: 'login'; readonly username: string; readonly password: string }
  | { readonly kind: 'unusable'; readonly reason: string }
  | null;

/** The logins of a Docker `config.json`. */
export interface DockerConfig {
  /** @param registry host, with its port where one is written */
  loginFor(registry: string): Login;
}

/** A file that is missing or not what Docker writes. The message holds nothing of its content. */
export class DockerConfigUnusable extends Error {
  override readonly name = 'DockerConfigUnusable';
}

/** The part that is read: https://docs.docker.com/reference/cli/docker/login/#credential-stores */
const ConfigFile = z.looseObject({
  auths: z
    .record(
      z.string(),
      z.looseObject({
        /** Base64 of `user:password`. */
        auth: z.string().optional(),
        username: z.string().optional(),
        password: z.string().optional(),
        identitytoken: z.string().optional(),
      }),
    )
    .default({}),
  credHelpers: z.record(z.string(), z.string()).default({}),
  credsStore: z.string().optional(),
});

/**
 * Reads a Docker `config.json`: the logins in `auths`. Credential helpers are programs, and are never run.
 *
 * @throws DockerConfigUnusable
 */
export async function readDockerConfig(file: string): Promise<DockerConfig> {
  const parsed = ConfigFile.safeParse(await readJson(file));
  if (!parsed.success) {
    const where = parsed.error.issues.map(({ path }) => path.slice(0, 1).join('') || 'the whole').join(', ');
    throw new DockerConfigUnusable(`${file} is no config.json of Docker: see ${where}`);
  }
  const { auths, credHelpers, credsStore } = parsed.data;
  return {
    loginFor(registry) {
      const helper = find(credHelpers, registry) ?? credsStore;
      const entry = find(auths, registry);
      if (entry?.identitytoken !== undefined)
        return { kind: 'unusable', reason: `its login in ${file} is an identity token, and only passwords are used` };
      // Docker leaves an empty entry where a helper has the login.
      const [username, password] = entry === undefined ? [] : userOf(entry);
      if (username !== undefined && password !== undefined) return { kind: 'login', username, password };
      if (helper !== undefined)
        return {
          kind: 'unusable',
          reason: `its login is kept by the credential helper "${helper}" of ${file}, and helpers are not run: write the login under auths`,
        };
      return null;
    },
  };
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    throw new DockerConfigUnusable(`${file} can't be read (${code})`);
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own words quote what it has read.
    throw new DockerConfigUnusable(`${file} is not JSON`);
  }
}

/** Keys are hosts, or addresses as old versions wrote them: `https://index.docker.io/v1/`. */
function find<Value>(entries: Readonly<Record<string, Value>>, registry: string): Value | undefined {
  const known = Object.entries(entries).find(([key]) => {
    const [host = ''] = key.replace(/^https?:\/\//, '').split('/');
    return host === registry || (registry === 'docker.io' && /^(index|registry-1)\.docker\.io$/.test(host));
  });
  return known?.[1];
}

function userOf({
  auth,
  username,
  password,
}: {
  readonly auth?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}): readonly [string, string] | readonly [] {
  if (auth === undefined || auth === '')
    return username === undefined || password === undefined ? [] : [username, password];
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  // A NUL ends the password: some tools pad with it.
  return colon <= 0 ? [] : [text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, '')];
}
