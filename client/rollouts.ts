import type { Decision, DecisionReceipt } from '../domain/approval/decision.js';
import type { Offer } from '../domain/offers.js';
import type { Actor, RolloutView } from '../domain/rollout.js';
import type { DecisionAnswer } from './server/contract.js';
import type { Found, RolloutRef } from './slipway.js';

/** What commands about one rollout need: Temporal itself gives it (`Slipway`), and so does the server's API (`Remote`). */
export interface Rollouts {
  /** Finds a rollout by its id alone, or by `environment/service/id`. @throws CliError (2) where there is none */
  resolve(text: string): Promise<RolloutRef>;
  /** Where the rollout stands, wherever that is known. */
  find(ref: RolloutRef): Promise<Found>;
  /** Says a decision; the server says it as whoever is logged in. A refusal may also be thrown, as a CliError. */
  decide(ref: RolloutRef, decision: Decision): Promise<DecisionAnswer | DecisionReceipt>;
  /** What may be said to a rollout now; the server knows it of whoever is logged in, else it is what `actor` claims. */
  offers(view: RolloutView, actor: Actor): readonly Offer[];
  /** For people: the rollout's page, and its run in Temporal Web. */
  links(ref: RolloutRef): { readonly page: string | null; readonly temporalWeb: string | null };
  close(): Promise<void>;
}
