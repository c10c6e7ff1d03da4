import type { Decision, DecisionReceipt } from '../../domain/approval/decision.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { actorOf } from '../../domain/offers.js';
import { redactSecrets } from '../../domain/redact.js';
import type { Actor } from '../../domain/rollout.js';
import { signDecision } from '../../formats/decision-token.js';
import type { SigningKey } from '../../formats/decision-token.js';
import { CliError, EXIT } from '../exit-codes.js';
import type { RolloutRef, Slipway } from '../slipway.js';
import type { Caller } from './auth/authenticate.js';
import { FRESH_S } from './auth/oidc.js';
import type { DecisionAnswer, DecisionBody } from './contract.js';
import { ApiProblem } from './problems.js';

/** Verbs that let more of a release through: they ask for a login that is not too old. */
const FORWARD: readonly string[] = ['approve', 'promote', 'break-glass'];

/** @throws ApiProblem `login-again` where the person may have lost a group since, or breaks glass with an old login */
export function checkFresh(caller: Caller, verb: string, decideWithinMs: number, nowMs: number): void {
  if (!caller.byLogin || !FORWARD.includes(verb)) return;
  const ageMs = nowMs - caller.identity.authenticatedAtMs;
  const limitMs = verb === 'break-glass' ? FRESH_S * 1000 : caller.identity.via === 'oidc' ? decideWithinMs : Infinity;
  if (ageMs <= limitMs) return;
  throw new ApiProblem(
    'login-again',
    `you logged in ${Math.round(ageMs / 60_000)} min ago; to ${verb} it must be ${Math.round(limitMs / 60_000)} min at most`,
  );
}

/**
 * The id under which a decision counts once. Callers choose theirs, and two may choose the same: what another person
 * said, or what the same one said about something else, must not be taken for an answer to this.
 */
function idOf({ id, verb, gate, planDigest, full }: DecisionBody, { subject }: Actor): string {
  const about = { subject, verb, gate: gate ?? null, planDigest: planDigest ?? null, full: full ?? false };
  return `${id}.${shortDigest(digestOf(about))}`;
}

/** A decision as its person said it, with the server's word for who that is. */
export async function signedDecision(
  key: SigningKey,
  rolloutId: string,
  said: DecisionBody,
  actor: Actor,
  nowMs: number,
): Promise<Decision> {
  const decision: Decision = {
    id: idOf(said, actor),
    verb: said.verb,
    gate: said.gate ?? null,
    planDigest: said.planDigest ?? null,
    actor,
    reason: said.reason === undefined || said.reason.trim() === '' ? null : redactSecrets(said.reason),
    full: said.full ?? false,
    at: new Date(nowMs).toISOString(),
  };
  return { ...decision, signature: await signDecision(key, rolloutId, decision, nowMs) };
}

export type Said =
  | { readonly kind: 'answered'; readonly receipt: DecisionReceipt }
  /** No worker is up: it counts as soon as one is. */
  | { readonly kind: 'recorded' };

/** Says a decision to the workflow; where no worker answers, it is left there as a durable signal. */
export async function sayDecision(slipway: Slipway, ref: RolloutRef, decision: Decision): Promise<Said> {
  try {
    return { kind: 'answered', receipt: await slipway.decide(ref, decision) };
  } catch (error) {
    if (!(error instanceof CliError) || error.exitCode !== EXIT.unavailable) throw error;
    // Temporal itself may be away: then this fails too, and the caller hears that.
    const recorded = await slipway.record(ref, decision);
    if (recorded) return { kind: 'recorded' };
    throw new ApiProblem('unavailable', 'no worker is up, and this rollout has no run that could keep the decision');
  }
}

/** What a person hears. @throws ApiProblem `refused` or `forbidden`, with the rule's code */
export async function decide(
  { slipway, key }: { readonly slipway: Slipway; readonly key: SigningKey },
  caller: Pick<Caller, 'identity'>,
  ref: RolloutRef,
  body: DecisionBody,
): Promise<{ readonly status: 200 | 202; readonly answer: DecisionAnswer }> {
  const actor = actorOf(caller.identity, ref.lane);
  const said = await sayDecision(slipway, ref, await signedDecision(key, ref.rolloutId, body, actor, Date.now()));
  if (said.kind === 'recorded')
    return {
      status: 202,
      answer: { kind: 'recorded', text: `${body.verb} is recorded: no worker is up, it counts as soon as one is` },
    };
  const { receipt } = said;
  if (receipt.kind !== 'refused') return { status: 200, answer: receipt };
  const code = receipt.code === 'excluded' || receipt.code === 'not-in-group' ? 'forbidden' : 'refused';
  const next = [receipt.whoCan ? `${receipt.whoCan} could` : '', receipt.next ?? ''].filter((part) => part !== '');
  throw new ApiProblem(code, receipt.text, {
    refusal: receipt.code,
    ...(next.length === 0 ? {} : { next: next.join('; ') }),
  });
}
