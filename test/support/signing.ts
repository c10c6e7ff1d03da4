import { ApplicationFailure } from '@temporalio/common';
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';
import { createDecisionActivities } from '../../activities/decisions/verify-decision.js';
import type { TrustedKeySet } from '../../activities/decisions/verify-decision.js';
import type { Activities } from '../../activities/contract.js';
import type { Decision } from '../../domain/approval/decision.js';
import type { Actor } from '../../domain/rollout.js';
import { signDecision } from '../../formats/decision-token.js';

/** A server's key, and what it signs with it. */
export interface Signer {
  readonly trusted: TrustedKeySet;
  sign(rolloutId: string, decision: Decision): Promise<string>;
}

export async function newSigner(): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const jwk = await exportJWK(publicKey);
  const id = await calculateJwkThumbprint(jwk);
  return {
    trusted: { keys: [{ ...jwk, kid: id }] },
    sign: (rolloutId, decision) => signDecision({ id, key: privateKey }, rolloutId, decision, Date.now()),
  };
}

/** Somebody as a server has authenticated them. */
export function person(name: string, change: Partial<Actor> = {}): Actor {
  return { subject: `${name}@example.com`, groups: [], verified: false, roles: ['approver'], via: 'oidc', ...change };
}

/** Verifies as a worker does, and stands still before it where a test wants that. */
export class Verifier {
  /** Decisions that have come to be verified, by id. */
  readonly seen: string[] = [];
  private readonly gates = new Map<string, { readonly opened: Promise<void>; readonly open: () => void }>();

  private readonly failing = new Set<string>();

  constructor(private readonly trusted: TrustedKeySet) {}

  /** From now on this decision's verification stands still; gives what lets it go on. */
  hold(id: string): () => void {
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.gates.set(id, { opened, open });
    return open;
  }

  /** From now on this decision can't be verified: the far side of the disk is gone. */
  fail(id: string): void {
    this.failing.add(id);
  }

  /** Lets everything go on. */
  releaseAll(): void {
    for (const { open } of this.gates.values()) open();
  }

  readonly verifyDecision: Activities['verifyDecision'] = async (call) => {
    this.seen.push(call.decision.id);
    await this.gates.get(call.decision.id)?.opened;
    if (this.failing.has(call.decision.id)) throw ApplicationFailure.nonRetryable('EIO: the keys can’t be read');
    const { verifyDecision } = createDecisionActivities({ trustedKeys: async () => this.trusted });
    return verifyDecision(call);
  };
}
