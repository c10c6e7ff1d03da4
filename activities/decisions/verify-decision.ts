import { readFile } from 'node:fs/promises';
import { TrustedKeys, verifyDecision } from '../../formats/decision-token.js';
import type { Activities } from '../contract.js';

/** The public keys of the servers whose word counts, as a JWK Set. */
export type TrustedKeySet = Parameters<typeof verifyDecision>[0];

export interface DecisionDeps {
  /** Asked at each verification, so that a new key counts without a restart. */
  readonly trustedKeys: () => Promise<TrustedKeySet>;
}

export function createDecisionActivities({ trustedKeys }: DecisionDeps): Pick<Activities, 'verifyDecision'> {
  return {
    verifyDecision: async ({ rolloutId, decision }) => verifyDecision(await trustedKeys(), rolloutId, decision),
  };
}

/**
 * Reads a file of trusted keys. Where there is none, no key is trusted: that is how a worker begins.
 *
 * @throws Error where it can't be read or is no JWK Set of Ed25519 keys: the message names the file, never a key
 */
export async function readTrustedKeys(file: string): Promise<TrustedKeySet> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { keys: [] };
    throw new Error(`the trusted keys can't be read: ${(error as Error).message}`, { cause: error });
  }
  const read = TrustedKeys.safeParse(parsed(text));
  if (read.success) return read.data;
  throw new Error(
    `${file} is no JWK Set of Ed25519 keys with kid and x: correct it, or remove it for the server to write it anew`,
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Told of below, as everything that is no JWK Set. Not the parser's words: they quote the file.
    return null;
  }
}
