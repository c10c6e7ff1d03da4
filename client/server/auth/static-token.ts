import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { ServerFile } from '../../../formats/server-config.js';

const SHAPE = /^slp_([a-z0-9-]{1,40})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})$/;

/**
 * A new token: `slp_<id>_<256 random bits as base64url>_<CRC-32>`. The prefix is what secret scanners look for, the check
 * sum lets them (and us) tell a token from a typing error without asking.
 */
export function newStaticToken(id: string): { readonly token: string; readonly sha256: string } {
  const body = `slp_${id}_${randomBytes(32).toString('base64url')}`;
  const token = `${body}_${checksum(body)}`;
  return { token, sha256: sha256(token).toString('hex') };
}

export function looksLikeStaticToken(text: string): boolean {
  return text.startsWith('slp_');
}

export type StaticTokenCheck =
  | { readonly kind: 'valid'; readonly token: ServerFile['tokens'][number]; readonly expiresMs: number }
  | { readonly kind: 'invalid'; readonly why: string };

/** Whether the server's file knows this token. No slow hash: 256 random bits can't be guessed. */
export function checkStaticToken(text: string, known: ServerFile['tokens'], nowMs: number): StaticTokenCheck {
  const shape = SHAPE.exec(text);
  if (shape === null || shape[3] !== checksum(text.slice(0, -9)))
    return { kind: 'invalid', why: 'it is no token of Slipway: was it copied whole?' };
  const token = known.find(({ id }) => id === shape[1]);
  // The same answer for an unknown id and a wrong secret: ids are not secret, but nobody's business.
  if (token === undefined || !timingSafeEqual(sha256(text), Buffer.from(token.sha256, 'hex')))
    return { kind: 'invalid', why: 'this server does not know it' };
  const expiresMs = Date.parse(token.expires);
  if (expiresMs <= nowMs) return { kind: 'invalid', why: `it expired at ${token.expires}` };
  return { kind: 'valid', token, expiresMs };
}

/** Whether a text is one whose SHA-256 (hex) is listed; in constant time. */
export function matchesHash(text: string, hashes: readonly string[]): boolean {
  const hash = sha256(text);
  return hashes.filter((known) => timingSafeEqual(hash, Buffer.from(known, 'hex'))).length > 0;
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
