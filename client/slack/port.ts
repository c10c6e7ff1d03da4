import type { Identity } from '../../domain/people.js';
import type { DecisionAnswer, DecisionBody, RunDocument } from '../server/contract.js';

/** What of the server Slack needs: the same that its HTTP API does, with the same rights. */
export interface Deciding {
  /** One decision of one person, signed and sent; the same `id` counts once. Throws where it can't be told what became of it. */
  decide(identity: Identity, rolloutId: string, decision: DecisionBody): Promise<Decided>;
  /** What this person may see of a rollout; null: there is none. */
  status(identity: Identity, rolloutId: string): Promise<RunDocument | null>;
}

/** `text` says why, `next` what to do. */
export type Decided = DecisionAnswer | { readonly kind: 'refused'; readonly text: string; readonly next: string };
