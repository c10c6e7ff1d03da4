import type { Decision, DecisionReceipt } from '../../domain/approval/decision.js';
import { isHeld } from '../../domain/approval/promote.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { actorOf } from '../../domain/offers.js';
import type { Identity } from '../../domain/people.js';
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

/** Whoever speaks, as far as the age of their login goes. */
type LoggedIn = Pick<Caller, 'byLogin' | 'authTimeKnown'> & {
  readonly identity: Pick<Identity, 'via' | 'authenticatedAtMs'>;
};

/** @throws ApiProblem `login-again` where the person may have lost a group since, or breaks glass with an old login */
export function checkFresh(caller: LoggedIn, verb: string, decideWithinMs: number, nowMs: number): void {
  if (!caller.byLogin || !FORWARD.includes(verb)) return;
  if (verb === 'break-glass') {
    if (isFresh(caller, nowMs)) return;
    throw notFresh(caller, verb, nowMs);
  }
  const { via, authenticatedAtMs } = caller.identity;
  const ageMs = nowMs - authenticatedAtMs;
  if (via !== 'oidc' || ageMs <= decideWithinMs) return;
  throw new ApiProblem(
    'login-again',
    `you logged in ${minutes(ageMs)} ago; to ${verb} it must be ${minutes(decideWithinMs)} at most`,
  );
}

/**
 * To promote over a HOLD is break-glass, and asks for a login that is as fresh. Where the rollout stands is asked for only
 * where the answer counts, and never taken from what is kept: a HOLD of this very second counts too.
 * @throws ApiProblem `login-again` where it is so, or nobody can say whether it is
 */
export async function checkFreshOverHold(
  slipway: Pick<Slipway, 'find'>,
  caller: LoggedIn,
  ref: RolloutRef,
  verb: string,
  nowMs: number,
): Promise<void> {
  if (verb !== 'promote' || !caller.byLogin || isFresh(caller, nowMs)) return;
  const held = await heldNow(slipway, ref);
  if (held === 'no') return;
  const what = held === 'yes' ? 'promote over a HOLD' : 'promote while no worker can say whether it is over a HOLD';
  throw notFresh(caller, what, nowMs);
}

async function heldNow(slipway: Pick<Slipway, 'find'>, ref: RolloutRef): Promise<'yes' | 'no' | 'unknown'> {
  try {
    const found = await slipway.find(ref);
    return found.kind === 'running' && isHeld(found.view) ? 'yes' : 'no';
  } catch (error) {
    // A promotion that is recorded without a worker counts later, over whatever there is then.
    if (error instanceof CliError && error.exitCode === EXIT.unavailable) return 'unknown';
    throw error;
  }
}

/** Whether the person has proved who they are a moment ago, and that is known: a silent login proves nothing. */
function isFresh({ identity, authTimeKnown }: LoggedIn, nowMs: number): boolean {
  return authTimeKnown && nowMs - identity.authenticatedAtMs <= FRESH_S * 1000;
}

function notFresh({ identity, authTimeKnown }: LoggedIn, what: string, nowMs: number): ApiProblem {
  const limit = minutes(FRESH_S * 1000);
  return new ApiProblem(
    'login-again',
    authTimeKnown
      ? `you logged in ${minutes(nowMs - identity.authenticatedAtMs)} ago; to ${what} it must be ${limit} at most`
      : `it is not known when you last proved who you are; to ${what} it must be ${limit} ago at most`,
  );
}

function minutes(ms: number): string {
  return `${Math.round(ms / 60_000)} min`;
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
