import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';
import { TrustedKeys } from '../../formats/decision-token.js';
import type { SigningKey } from '../../formats/decision-token.js';
import { CliError, EXIT } from '../exit-codes.js';

const PrivateKey = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string().min(1),
  d: z.string().min(1),
});

/**
 * The key that decisions are signed with: read from the file, or made and written there (mode 0600) at the first start.
 * Its public half is put into the JWK Set that workers trust; other keys there stay, so that keys can be changed.
 * @throws CliError (2) where a file can't be used
 */
export async function loadSigningKey(keyFile: string, trustedFile: string): Promise<SigningKey> {
  const jwk = (await readKey(keyFile)) ?? (await makeKey(keyFile));
  const { kty, crv, x } = jwk;
  const id = await calculateJwkThumbprint({ kty, crv, x });
  await trust(trustedFile, { kty, crv, x, kid: id });
  return { id, key: (await importJWK(jwk, 'EdDSA')) as CryptoKey };
}

async function readKey(file: string): Promise<z.infer<typeof PrivateKey> | null> {
  const text = await readOr(file, null);
  if (text === null) return null;
  const parsed = PrivateKey.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data;
  throw new CliError(
    EXIT.usage,
    `the signing key in ${file} can't be used: it is no private Ed25519 key as JWK`,
    'restore it, or move it away: a new one is then made',
  );
}

async function makeKey(file: string): Promise<z.infer<typeof PrivateKey>> {
  const { privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const jwk = PrivateKey.parse(await exportJWK(privateKey));
  const draft = `${file}.${randomUUID()}.tmp`;
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await write(draft, `${JSON.stringify(jwk)}\n`, 0o600);
    // A link, unlike a rename, replaces nothing: of two servers that start at once both take the key of the first.
    await link(draft, file);
    return jwk;
  } catch (error) {
    const written = error instanceof Error && 'code' in error && error.code === 'EEXIST' ? await readKey(file) : null;
    if (written !== null) return written;
    throw cannot(file, error);
  } finally {
    await rm(draft, { force: true });
  }
}

async function write(file: string, text: string, mode: number): Promise<void> {
  const handle = await open(file, 'wx', mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function trust(file: string, key: JWK & { readonly kid: string }): Promise<void> {
  const text = await readOr(file, '{"keys":[]}');
  const parsed = TrustedKeys.safeParse(jsonOf(text ?? ''));
  if (!parsed.success)
    throw new CliError(
      EXIT.usage,
      `${file} is no JWK Set of Ed25519 keys`,
      'correct it, or move it away: it is then written anew',
    );
  if (parsed.data.keys.some(({ kid }) => kid === key.kid)) return;
  const draft = `${file}.${randomUUID()}.tmp`;
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await write(draft, `${JSON.stringify({ keys: [...parsed.data.keys, key] }, null, 2)}\n`, 0o644);
    await rename(draft, file);
  } catch (error) {
    throw cannot(file, error);
  }
}

async function readOr(file: string, absent: string | null): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return absent;
    throw cannot(file, error);
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Reported by the schema, as any other content that is not a key.
    return null;
  }
}

function cannot(file: string, error: unknown): CliError {
  const why = error instanceof Error ? error.message : String(error);
  return new CliError(
    EXIT.usage,
    `${file} can't be used: ${why}`,
    'make its folder writable for the server, or set SLIPWAY_SIGNING_KEY_FILE and SLIPWAY_TRUSTED_KEYS_FILE',
  );
}
