import { sha256 } from '@noble/hashes/sha2';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils';
import type { Brand } from './brand.js';

/** `sha256:` and 64 hex digits, over the canonical JSON (or the bytes) of what it names. */
export type Digest = Brand<string, 'Digest'>;

/**
 * JSON with sorted keys, no white space, and numbers cut to 12 significant digits, so that equal values have equal
 * bytes on every machine (semantics.md, "The same bytes"). Keys whose value is `undefined` are left out, as JSON does.
 *
 * @throws TypeError for NaN, infinities, functions and symbols: they have no JSON and would change silently.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`${value} has no canonical JSON: use null for "not known"`);
    return JSON.stringify(canonicalNumber(value));
  }
  if (Array.isArray(value))
    return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (typeof value === 'object') {
    const entries = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  throw new TypeError(`a ${typeof value} has no canonical JSON`);
}

/** The number as canonical JSON gives it back: cut to 12 significant digits, but for whole numbers. */
export function canonicalNumber(value: number): number {
  return Number.isSafeInteger(value) ? value : Number(value.toPrecision(12));
}

/**
 * The value as its canonical JSON gives it back. What is judged now and judged again from a store must be this, or
 * the digits that a store cuts off would show in what is computed from it.
 */
export function canonicalValue<T>(value: T): T {
  return JSON.parse(canonicalJson(value)) as T;
}

/** The digest of a value's canonical JSON. */
export function digestOf(value: unknown): Digest {
  return digestOfText(canonicalJson(value));
}

/** The digest of a text's UTF-8 bytes. */
export function digestOfText(text: string): Digest {
  return `sha256:${bytesToHex(sha256(utf8ToBytes(text)))}` as Digest;
}

/** The first 12 hex digits of a digest, for people; never for comparing. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}
