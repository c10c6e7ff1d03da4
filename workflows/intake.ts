/** How decisions come in: one by one, each counted once, those that need it with a server's word for them. */
import { ActivityFailure, CancellationScope } from '@temporalio/workflow';
import { needsSignature } from '../domain/approval/gate.js';
import type { Decision, DecisionReceipt } from '../domain/approval/decision.js';
import { reads } from './activity-profiles.js';
import { failureText, with_ } from './effects.js';
import type { RunState } from './run-state.js';

/** What became of the question whether a server signed it. `why`: null where it carries no signature at all. */
export type Vouched = { readonly kind: 'yes' } | { readonly kind: 'no'; readonly why: string | null };

/** What is done with decisions; synchronous, so that no two are ever counted at once. */
export interface Counter {
  /** Counts a decision, or refuses it. */
  count(decision: Decision, vouched: Vouched): DecisionReceipt;
  /** Told of whoever said something that counted before a server's word for it was verified, now that it is. */
  heard(decision: Decision): void;
}

/**
 * Verifying takes a moment, and what comes first must count first: decisions on a gate are verified at once and counted
 * in the order in which they came. Those in the safe direction (pause, abort) count at once, and are verified afterwards.
 */
export class Intake {
  /** Rejections that are being verified: no gate is approved before it is known whether they count. */
  rejectionsPending = 0;
  /** The last one in line. */
  private tail: Promise<unknown> = Promise.resolve();
  private readonly underWay = new Map<string, Promise<DecisionReceipt>>();

  constructor(
    private readonly state: RunState,
    private readonly counter: Counter,
  ) {}

  /** Takes a decision and tells what became of it. The same id again is the same decision. */
  async take(decision: Decision): Promise<DecisionReceipt> {
    const first = this.underWay.get(decision.id);
    // One that was refused does not use up an id: else anybody could spoil the ids of others.
    if (first !== undefined && (await first).kind !== 'refused') return duplicate(decision);
    if (this.state.decisions.some(({ id }) => id === decision.id)) return duplicate(decision);
    const taken = needsSignature(decision.verb) ? this.inOrder(decision) : this.atOnce(decision);
    this.underWay.set(decision.id, taken);
    try {
      return await taken;
    } finally {
      this.underWay.delete(decision.id);
    }
  }

  /** Resolves once all that has come in so far is counted or refused. */
  async settled(): Promise<void> {
    await this.tail;
  }

  private inOrder(decision: Decision): Promise<DecisionReceipt> {
    const before = this.tail;
    const rejects = decision.verb === 'reject' ? 1 : 0;
    this.rejectionsPending += rejects;
    const taken = this.verify(decision)
      .then(async (vouched) => {
        await before;
        return vouched;
      })
      .then((vouched) => {
        this.rejectionsPending -= rejects;
        return this.counter.count(decision, vouched);
      });
    // Whatever fails here fails the run's task, by `taken`: the next in line is none the wiser.
    this.tail = taken.then(
      () => undefined,
      () => undefined,
    );
    return taken;
  }

  private async atOnce(decision: Decision): Promise<DecisionReceipt> {
    const receipt = this.counter.count(decision, { kind: 'no', why: null });
    const place = this.state.decisions.findIndex(({ id }) => id === decision.id);
    const counted = this.state.decisions[place];
    if (receipt.kind !== 'accepted' || counted === undefined || decision.signature == null) return receipt;
    const vouched = await this.verify(decision);
    if (vouched.kind === 'yes') {
      this.state.decisions[place] = { ...counted, actor: { ...counted.actor, verified: true } };
      this.counter.heard(decision);
    } else this.state.warn(`nobody vouches for the ${decision.verb} by ${decision.actor.subject}: ${vouched.why}`);
    return receipt;
  }

  private async verify(decision: Decision): Promise<Vouched> {
    if (decision.signature == null) return { kind: 'no', why: null };
    const summary = `${decision.verb} by ${decision.actor.subject}`;
    try {
      // Also while the rollout goes back: the record tells who said what.
      const verification = await CancellationScope.nonCancellable(() =>
        with_(reads(), 'verifyDecision', { summary }, { rolloutId: this.state.request.rolloutId, decision }),
      );
      return verification.kind === 'valid' ? { kind: 'yes' } : { kind: 'no', why: verification.why };
    } catch (error) {
      if (!(error instanceof ActivityFailure)) throw error;
      return { kind: 'no', why: `its signature could not be verified: ${failureText(error)}` };
    }
  }
}

function duplicate({ verb }: Decision): DecisionReceipt {
  return { kind: 'duplicate', text: `${verb} was already counted` };
}
