/**
 * The server's word that a person said something: a JWS (EdDSA, RFC 7515 and 8037) over rollout, gate, plan digest,
 * identity and decision id (semantics.md, "Decisions"). The server signs, the worker checks; both read this file.
 */
import { CompactSign, compactVerify, errors, importJWK } from 'jose';
import type { CryptoKey, JSONWebKeySet, JWK } from 'jose';
import { z } from 'zod';
import type { Decision } from '../domain/approval/decision.js';
import { canonicalJson, digestOf } from '../domain/canonical.js';

const TYPE = 'slipway-decision+jws';

const Claims = z.object({
  rolloutId: z.string(),
  decision: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  iat: z.number(),
});

export interface SigningKey {
  readonly id: string;
  readonly key: CryptoKey;
}

/** Public keys as JWK Set (RFC 7517), each with its `kid`. */
export const TrustedKeys = z.object({
  keys: z.array(
    z.looseObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), kid: z.string().min(1), x: z.string() }),
  ),
});

export type Verification = { readonly kind: 'valid' } | { readonly kind: 'invalid'; readonly why: string };

/** What is signed: all of the decision but the signature itself and what only a verification may say. */
function digestOfDecision(decision: Decision): string {
  return digestOf({ ...decision, signature: null, actor: { ...decision.actor, verified: false } });
}

/** Signs a decision on one rollout, as it is at that moment. */
export async function signDecision(
  { id, key }: SigningKey,
  rolloutId: string,
  decision: Decision,
  nowMs: number,
): Promise<string> {
  const claims = { rolloutId, decision: digestOfDecision(decision), iat: Math.floor(nowMs / 1000) };
  return new CompactSign(new TextEncoder().encode(canonicalJson(claims)))
    .setProtectedHeader({ alg: 'EdDSA', kid: id, typ: TYPE })
    .sign(key);
}

/** Whether one of the trusted keys signed this very decision on this very rollout. */
export async function verifyDecision(
  trusted: JSONWebKeySet,
  rolloutId: string,
  decision: Decision,
): Promise<Verification> {
  if (decision.signature == null) return invalid('it carries no signature');
  try {
    const { payload } = await compactVerify(
      decision.signature,
      async ({ kid }) => {
        const jwk: JWK | undefined = trusted.keys.find((key) => key.kid === kid && key.crv === 'Ed25519');
        if (jwk === undefined) throw new errors.JWKSNoMatchingKey();
        return importJWK(jwk, 'EdDSA');
      },
      { algorithms: ['EdDSA'] },
    );
    const claims = Claims.parse(JSON.parse(new TextDecoder().decode(payload)));
    if (claims.rolloutId !== rolloutId) return invalid(`it was signed for rollout ${claims.rolloutId}`);
    if (claims.decision !== digestOfDecision(decision)) return invalid('it was changed after it was signed');
    return { kind: 'valid' };
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return invalid('no trusted key signed it');
    if (error instanceof errors.JOSEError || error instanceof z.ZodError || error instanceof SyntaxError)
      return invalid('its signature is not valid');
    throw error;
  }
}

function invalid(why: string): Verification {
  return { kind: 'invalid', why };
}
