/** One gate: who may answer, what counts, when it is open no more. Every rule is a function from state to state. */
import type { ApprovalPolicy } from '../policy.js';
import { RIGHTS } from '../people.js';
import type { Risk } from '../risk.js';
import type { Actor } from '../rollout.js';
import { durationText } from '../words.js';
import { isGateVerb } from './decision.js';
import type { Approvals, Decision, GateEnd, Refusal, Verb, Vote } from './decision.js';
import { DEFAULT_REMINDERS, fits, quorumOf, rulesAt, rulesText, unmet } from './rules.js';

/** A reason for going past a gate alone is at least so long, in characters. */
export const BREAK_GLASS_REASON = 15;
const TICKET = /(^|[^\w])([A-Z][A-Z0-9]{1,15}-\d{1,10}|#\d{1,10}|https?:\/\/\S{4,})/;

export interface OpenGate {
  readonly gate: string;
  /** Digest of what is shown (shown.ts). */
  readonly planDigest: string;
  readonly policy: ApprovalPolicy;
  /** Risk of the change; null where it is not known: the policy's own rules. */
  readonly level?: Risk['level'] | null;
  /** Names of the author of the change and of whoever started the rollout, with all that is known of their aliases. */
  readonly involved: readonly (string | null)[];
  /** @see {@link Approvals.changed} */
  readonly changed?: readonly string[];
}

export function openGate({ gate, planDigest, policy, level = null, involved, changed = [] }: OpenGate): Approvals {
  const excluded = policy.excludeAuthor ? [...new Set(involved.filter((subject) => subject !== null))] : [];
  const rules = rulesAt(policy, level);
  return {
    gate,
    planDigest,
    quorum: quorumOf(rules),
    groups: [...new Set(rules.flatMap(({ groups }) => groups))],
    excluded,
    approvedBy: [],
    rejectedBy: null,
    rules,
    missing: rules,
    alsoGroups: [],
    votes: [],
    validForMs: policy.validForMs ?? null,
    brokenBy: null,
    changed,
    closed: null,
  };
}

/** Whether a decision counts at a gate: null, or why it does not, who could do it, and what to do. */
export function refusalAtGate(gate: Approvals | null, decision: Decision, policy: ApprovalPolicy): Refusal | null {
  const { actor, verb } = decision;
  if (gate === null || decision.gate !== gate.gate) {
    const asked = decision.gate === null ? '' : `gate "${decision.gate}" is not open: `;
    const open = gate === null || gate.closed !== null ? 'no gate is open' : `the open gate is "${gate.gate}"`;
    const text = `${asked}${open}; see \`slipway status\``;
    return { code: 'no-such-gate', text, whoCan: '', next: LOOK };
  }
  if (gate.closed !== null) {
    const text = `gate "${gate.gate}" is closed (${gate.closed}): a change of mind comes too late, abort instead`;
    return { code: 'too-late', text, whoCan: 'whoever may abort', next: '`slipway abort` rolls back' };
  }
  const unproved = refusalUnverified(decision, policy);
  if (unproved !== null) return unproved;
  if (decision.planDigest !== gate.planDigest) {
    const what = gate.changed.length === 0 ? '' : ` (${gate.changed.join('; ')})`;
    const text = `you decided on plan ${decision.planDigest ?? 'none'}, the plan now is ${gate.planDigest}${what}: look again with \`slipway status\``;
    return { code: 'other-plan', text, whoCan: whoCan(gate), next: LOOK };
  }
  if (verb === 'break-glass') return refusalToBreakGlass(decision, policy);
  const powerless = refusalByRole(decision);
  if (powerless !== null) return powerless;
  if (verb === 'reject') return null;
  if (isExcluded(gate, actor)) {
    const text = `${actor.subject} wrote or started this release: somebody else must approve it`;
    return { code: 'excluded', text, whoCan: whoCan(gate), next: 'ask one of them' };
  }
  if (!gate.rules.some((rule) => fits(rule, actor, gate.alsoGroups))) {
    const groups = [...gate.groups, ...gate.alsoGroups].join(', ');
    const text = `${actor.subject} is in none of the groups that may approve: ${groups}`;
    return { code: 'not-in-group', text, whoCan: whoCan(gate), next: 'ask one of them' };
  }
  return null;
}

const LOOK = 'look again with `slipway status`, and decide on what it shows';

/** What is said of decisions that nobody vouches for, where the policy wants somebody to. */
export function refusalUnverified(
  { actor }: Decision,
  { allowUnverified }: Pick<ApprovalPolicy, 'allowUnverified'>,
  why: string | null = null,
): Refusal | null {
  if (actor.verified || allowUnverified) return null;
  const text = `the policy wants signed decisions${why === null ? '' : `, and ${why}`}: decide through the Slipway server, or set approval.allowUnverified`;
  return { code: 'unverified', text, whoCan: '', next: 'decide through the Slipway server' };
}

/** Roles are known where a server vouches for them; what nobody vouches for counts only where the policy allows that. */
export function refusalByRole({ actor, verb }: Pick<Decision, 'actor' | 'verb'>): Refusal | null {
  const wanted: readonly string[] = RIGHTS[verb];
  const { roles } = actor;
  if (actor.via === 'ci') {
    const text = `${actor.subject} is a job: only people may ${verb}`;
    return { code: 'needs-role', text, whoCan: `people with the role ${wanted.join(' or ')}`, next: 'ask one of them' };
  }
  const unknown = roles === undefined && !actor.verified;
  if (unknown || roles?.some((role) => wanted.includes(role))) return null;
  const text = `${actor.subject} is ${roles === undefined || roles.length === 0 ? 'without a role' : roles.join(', ')} here; to ${verb} one must be ${wanted.join(' or ')}`;
  return { code: 'needs-role', text, whoCan: `people with the role ${wanted.join(' or ')}`, next: 'ask one of them' };
}

/** Whether somebody may go past the people who are asked, or past a HOLD, alone. */
export function refusalToBreakGlass(
  decision: Pick<Decision, 'actor' | 'reason'>,
  { breakGlass }: Pick<ApprovalPolicy, 'breakGlass'>,
): Refusal | null {
  const whoCan = 'people with the role breakglass';
  if (breakGlass?.allowed === false) {
    const text = 'the policy has no break-glass: approval.breakGlass.allowed is false';
    return { code: 'not-now', text, whoCan: '', next: 'ask those who may approve' };
  }
  const powerless = refusalByRole({ ...decision, verb: 'break-glass' });
  if (powerless !== null) return powerless;
  const reason = (decision.reason ?? '').trim();
  if (reason.length < BREAK_GLASS_REASON) {
    const text = `break-glass needs a reason of ${BREAK_GLASS_REASON} characters or more, and this has ${reason.length}`;
    return { code: 'needs-reason', text, whoCan, next: 'say why: --reason "…"' };
  }
  if (breakGlass?.ticket === true && !TICKET.test(reason)) {
    const text = 'the policy wants the reason to name a ticket: OPS-123, #123, or a link';
    return { code: 'needs-reason', text, whoCan, next: 'name the ticket in --reason "…"' };
  }
  return null;
}

/** The gate after a decision that counts. A rejection wins, whatever was approved before. */
export function applyToGate(gate: Approvals, decision: Decision, nowMs: number): Approvals {
  const { actor, verb } = decision;
  const others = gate.votes.filter((vote) => !isSamePerson(vote, actor));
  switch (verb) {
    case 'reject':
      return recount({ ...gate, rejectedBy: gate.rejectedBy ?? actor.subject, votes: others }, nowMs);
    case 'break-glass':
      return { ...gate, brokenBy: gate.brokenBy ?? actor.subject };
    case 'approve': {
      const same = gate.votes.filter((vote) => isSamePerson(vote, actor));
      const person = personOf(same, actor);
      const via = actor.verified ? (actor.via ?? null) : null;
      // What they were in by another login stays: the groups there are not this one's to know.
      const kept = same
        .filter((vote) => vote.via !== via && !vote.groups.every((group) => actor.groups.includes(group)))
        .map((vote): Vote => ({ ...vote, ...person }));
      const vote: Vote = { ...person, via, groups: actor.groups, givenAs: actor.groups, atMs: nowMs };
      return recount({ ...gate, votes: [...others, ...kept, vote] }, nowMs);
    }
    case 'pause':
    case 'resume':
    case 'promote':
    case 'abort':
      return gate;
  }
}

/**
 * The gate after more is known of somebody, whatever they said: the vote of one who has left the groups counts no more,
 * nor of one who turns out to be excluded. Only a word over the same way tells that they have left: each way knows groups
 * of its own (a login those of the identity provider, Slack those of the server's file), and what a job says, or what
 * nobody vouches for, tells nothing.
 */
export function withMembership(gate: Approvals, actor: Actor, nowMs: number): Approvals {
  // A job names whoever set it off, and its own name is that of many: it is nobody's other name.
  if (!actor.verified || actor.via === 'ci') return gate;
  const via = actor.via ?? null;
  const same = gate.votes.filter((vote) => isSamePerson(vote, actor));
  const person = personOf(same, actor);
  const votes = gate.votes.map((vote): Vote => {
    if (!same.includes(vote)) return vote;
    // A group that was joined since is no word of it: whoever speaks for that one must approve once more.
    const groups = vote.via === via ? vote.givenAs.filter((group) => actor.groups.includes(group)) : vote.groups;
    return { ...vote, ...person, groups };
  });
  return recount({ ...gate, votes }, nowMs);
}

/** Votes may turn out to be of one person, by a name that is heard now: then all of them are under one name. */
function personOf(votes: readonly Vote[], actor: Actor): Pick<Vote, 'subject' | 'aliases'> {
  const names = [...votes, actor].flatMap(({ subject, aliases = [] }) => [subject, ...aliases]);
  return { subject: votes[0]?.subject ?? actor.subject, aliases: [...new Set(names)] };
}

/** The people behind the votes: whoever approved over several ways is one, in the groups that any of these vouches for. */
export function votersOf({ votes }: Pick<Approvals, 'votes'>): readonly Pick<Vote, 'subject' | 'groups'>[] {
  const groupsOf = new Map<string, readonly string[]>();
  for (const { subject, groups } of votes)
    groupsOf.set(subject, [...new Set([...(groupsOf.get(subject) ?? []), ...groups])]);
  return [...groupsOf].map(([subject, groups]) => ({ subject, groups }));
}

/** From now on members of these groups may answer too. */
export function escalateGate(gate: Approvals, groups: readonly string[], nowMs: number): Approvals {
  return recount({ ...gate, alsoGroups: groups }, nowMs);
}

/** Nobody can answer it any more. */
export function closeGate(gate: Approvals, end: GateEnd): Approvals {
  return gate.closed === null ? { ...gate, closed: end } : gate;
}

/** What the answers so far make of it. */
export function gateState(gate: Approvals): 'open' | 'approved' | 'rejected' {
  if (gate.rejectedBy !== null) return 'rejected';
  return gate.brokenBy !== null || gate.missing.length === 0 ? 'approved' : 'open';
}

/** `1 of 2`, and what is missing where it matters whose approval it is. */
export function countText({ quorum, missing, rules }: Approvals): string {
  const count = `${quorum - quorumOf(missing)} of ${quorum}`;
  return rules.length > 1 && missing.length > 0 ? `${count}, missing ${rulesText(missing)}` : count;
}

/** Who can still answer: `members of security (1 more), but not author@example.com`. */
export function whoCan({ missing, rules, alsoGroups, excluded }: Approvals): string {
  const open = missing.length > 0 ? missing : rules;
  const groups = open.flatMap((rule) => rule.groups);
  const named = [...new Set([...groups, ...alsoGroups])];
  const count = open.length > 1 ? ` (${rulesText(open)})` : '';
  const who = open.some((rule) => rule.groups.length === 0) ? 'anyone' : `members of ${named.join(', ')}${count}`;
  return excluded.length > 0 ? `${who} but ${excluded.join(', ')}` : who;
}

/** Whether somebody is among those who may not approve, under any of their names. */
export function isExcluded(
  { excluded }: Pick<Approvals, 'excluded'>,
  actor: Pick<Actor, 'subject' | 'aliases'>,
): boolean {
  return isSamePerson(actor, { subject: '', aliases: excluded });
}

/** Whether an approval of somebody stands here, under any of their names. */
export function hasVoted(gate: Approvals | null, actor: Pick<Actor, 'subject' | 'aliases'>): boolean {
  return gate !== null && gate.closed === null && gate.votes.some((vote) => isSamePerson(vote, actor));
}

/** When the oldest approval that counts was given; null where none does. */
export function oldestVoteMs({ votes, approvedBy }: Approvals): number | null {
  const counted = votes.filter(({ subject }) => approvedBy.includes(subject)).map(({ atMs }) => atMs);
  return counted.length === 0 ? null : Math.min(...counted);
}

/** Something that is said while a gate waits. */
export interface Prompt {
  /** ms since the epoch. */
  readonly atMs: number;
  readonly kind: 'reminder' | 'escalation';
}

/** When people are reminded, and others asked, in order; nothing at or after the deadline. */
export function promptsOf(policy: ApprovalPolicy, sinceMs: number, forMs: number): readonly Prompt[] {
  const reminders = (policy.reminders ?? DEFAULT_REMINDERS).map((share): Prompt => ({
    atMs: sinceMs + Math.round(share * forMs),
    kind: 'reminder',
  }));
  const escalation: readonly Prompt[] =
    policy.escalate == null ? [] : [{ atMs: sinceMs + policy.escalate.afterMs, kind: 'escalation' }];
  return [...reminders, ...escalation]
    .filter(({ atMs }) => atMs < sinceMs + forMs)
    .toSorted((one, other) => one.atMs - other.atMs);
}

/** Why a gate is asked again though nothing else has changed. */
export function staleText(oldestMs: number, validForMs: number, nowMs: number): string {
  return `the approval is ${durationText(nowMs - oldestMs)} old, and counts for ${durationText(validForMs)}`;
}

function recount(gate: Approvals, nowMs: number): Approvals {
  const { rules, alsoGroups, validForMs } = gate;
  const votes = gate.votes.filter(
    (vote) => !isExcluded(gate, vote) && (validForMs === null || nowMs - vote.atMs <= validForMs),
  );
  const counting = votersOf({ votes }).filter((voter) => rules.some((rule) => fits(rule, voter, alsoGroups)));
  const approvedBy = counting.map(({ subject }) => subject);
  return { ...gate, votes, approvedBy, missing: unmet(rules, counting, alsoGroups) };
}

/** Whether two are one person: one name in common, among all that are known of each. */
export function isSamePerson(
  one: Pick<Actor, 'subject' | 'aliases'>,
  other: Pick<Actor, 'subject' | 'aliases'>,
): boolean {
  const names = namesOf(other);
  return namesOf(one).some((name) => names.includes(name));
}

/** Mail addresses are compared as mail servers do, so that `Ann@` can't approve for `ann@`. */
function namesOf({ subject, aliases = [] }: Pick<Actor, 'subject' | 'aliases'>): readonly string[] {
  return [subject, ...aliases].map((name) => name.trim().toLowerCase()).filter((name) => name !== '');
}

/** Whether this verb asks for the server's word: those that let a rollout go on, and those that answer a gate. */
export function needsSignature(verb: Verb): boolean {
  return verb === 'promote' || isGateVerb(verb);
}
