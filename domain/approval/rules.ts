/** Who must approve: the rules of a policy, whether a set of people meets them, and what they sound like. */
import type { ApprovalPolicy } from '../policy.js';
import type { Risk } from '../risk.js';
import { durationText } from '../words.js';
import type { ApprovalRule } from './decision.js';

/** Levels of risk, least first. */
export const RISK_LEVELS = ['low', 'medium', 'high', 'critical'] as const satisfies readonly Risk['level'][];

export const DEFAULT_REMINDERS: readonly number[] = [0.5, 0.8];

/** A person as rules see one. */
export interface Voter {
  readonly groups: readonly string[];
}

/** The rules at a level of risk: those written for it, else for the nearest level below it, else the policy's own. */
export function rulesAt(policy: ApprovalPolicy, level: Risk['level'] | null): readonly ApprovalRule[] {
  const upTo = level === null ? -1 : RISK_LEVELS.indexOf(level);
  const nearest = RISK_LEVELS.slice(0, upTo + 1).findLast((name) => policy.byRisk?.[name] !== undefined);
  const written = nearest === undefined ? undefined : policy.byRisk?.[nearest];
  return rulesOf(written === undefined ? policy : { quorum: policy.quorum, groups: policy.groups, ...written });
}

/** `quorum` and `groups` are the short form of one rule. */
function rulesOf({
  rules = [],
  quorum,
  groups,
}: Pick<ApprovalPolicy, 'rules' | 'quorum' | 'groups'>): readonly ApprovalRule[] {
  if (rules.length === 0) return [{ groups, count: quorum }];
  return rules.map(({ group, count }) => ({ groups: [group], count }));
}

/** Whether somebody may approve under a rule. `also`: groups that may answer since the gate was escalated. */
export function fits({ groups }: ApprovalRule, voter: Voter, also: readonly string[] = []): boolean {
  return groups.length === 0 || voter.groups.some((group) => groups.includes(group) || also.includes(group));
}

/**
 * The part of the rules that these people do not meet. Each counts for one rule only, so that somebody who is in two
 * groups is not two people; the assignment that leaves least open is found by augmenting paths (Kuhn's algorithm).
 */
export function unmet(
  rules: readonly ApprovalRule[],
  voters: readonly Voter[],
  also: readonly string[] = [],
): readonly ApprovalRule[] {
  const slots = rules.flatMap((rule) => Array.from({ length: rule.count }, () => rule));
  const heldBy: (number | null)[] = slots.map(() => null);
  const seat = (voter: number, tried: Set<number>): boolean =>
    slots.some((rule, slot) => {
      const person = voters[voter];
      if (person === undefined || tried.has(slot) || !fits(rule, person, also)) return false;
      tried.add(slot);
      const holder = heldBy[slot] ?? null;
      if (holder !== null && !seat(holder, tried)) return false;
      heldBy[slot] = voter;
      return true;
    });
  for (const index of voters.keys()) seat(index, new Set());
  return rules.flatMap((rule) => {
    const count = slots.filter((of, slot) => of === rule && heldBy[slot] === null).length;
    return count === 0 ? [] : [{ ...rule, count }];
  });
}

/** Approvals that rules ask for in all. */
export function quorumOf(rules: readonly ApprovalRule[]): number {
  return rules.reduce((sum, { count }) => sum + count, 0);
}

/** `2 approvals`; where there are several rules `2 approvals (1 of security, 1 of owners)`. */
export function neededText(rules: readonly ApprovalRule[]): string {
  const quorum = quorumOf(rules);
  return `${quorum} approval${quorum === 1 ? '' : 's'}${rules.length > 1 ? ` (${rulesText(rules)})` : ''}`;
}

/** `1 of security, 2 of ops or leads`. */
export function rulesText(rules: readonly ApprovalRule[]): string {
  return rules
    .map(({ groups, count }) => `${count} of ${groups.length === 0 ? 'anyone' : groups.join(' or ')}`)
    .join(', ');
}

/** Names in one sentence. */
const NAMED = 5;

/** Whether a gate can be approved at all by those who are there; else what no one can give, and by whom it could be. */
export type Satisfiable =
  | { readonly kind: 'yes'; readonly who: readonly string[] }
  | { readonly kind: 'no'; readonly missing: readonly ApprovalRule[]; readonly text: string };

/**
 * Whether the people who are known could meet the rules, were all of them to approve (reach.ts tells it to people).
 *
 * @param people each person once, by a name of theirs, with their groups; those who are excluded left out
 * @param also groups that may answer once the gate is escalated
 */
export function satisfiable(
  rules: readonly ApprovalRule[],
  people: readonly (Voter & { readonly name: string })[],
  also: readonly string[] = [],
): Satisfiable {
  const able = people.filter((person) => rules.some((rule) => fits(rule, person, also)));
  const missing = unmet(rules, able, also);
  const who = able.map(({ name }) => name);
  if (missing.length === 0) return { kind: 'yes', who };
  const more = who.length > NAMED ? ` and ${who.length - NAMED} more` : '';
  const known =
    who.length === 0 ? 'nobody who may' : `${who.length} who may (${who.slice(0, NAMED).join(', ')}${more})`;
  return { kind: 'no', missing, text: `${rulesText(missing)} can't be had, for this server knows ${known}` };
}

/** Something about an approval policy that can't be, or is seldom meant. `path` is below `approval`. */
export interface PolicyRemark {
  readonly path: readonly (string | number)[];
  readonly what: string;
  readonly remedy: string;
  /** `conflict`: it can't be as it is written. */
  readonly kind: 'conflict' | 'warning';
}

/** What can be said against an approval policy without knowing anybody. `waitMs`: how long a gate waits at most. */
export function remarksOn(policy: ApprovalPolicy, waitMs: number): readonly PolicyRemark[] {
  const remarks: PolicyRemark[] = [];
  remarks.push(...remarksOnRules(policy, []));
  for (const level of RISK_LEVELS) {
    const own = policy.byRisk?.[level];
    if (own !== undefined) remarks.push(...remarksOnRules({ quorum: 1, groups: [], ...own }, ['byRisk', level]));
  }
  let most: { readonly from: string; readonly quorum: number } = { from: 'approval', quorum: 0 };
  for (const level of [null, ...RISK_LEVELS]) {
    if (level !== null && policy.byRisk?.[level] === undefined) continue;
    const quorum = quorumOf(rulesAt(policy, level));
    if (quorum < most.quorum && level !== null) {
      const what = `${quorum} of ${level} risk ${quorum === 1 ? 'is' : 'are'} fewer approvals than the ${most.quorum} of ${most.from}: more risk would need fewer people`;
      remarks.push({ kind: 'warning', path: ['byRisk', level], what, remedy: `ask for ${most.quorum} or more` });
    }
    if (quorum >= most.quorum) most = { from: level === null ? 'approval' : `${level} risk`, quorum };
  }
  const { escalate } = policy;
  if (escalate != null && escalate.afterMs >= waitMs) {
    const what = `after ${durationText(escalate.afterMs)} nobody is asked any more: a gate waits for ${durationText(waitMs)}`;
    remarks.push({ kind: 'conflict', path: ['escalate', 'after'], what, remedy: 'escalate earlier, or wait longer' });
  }
  if (escalate != null && rulesAt(policy, null).every(({ groups }) => groups.length === 0)) {
    const what = 'anyone may approve from the start, so escalation changes nothing but who is told';
    remarks.push({ kind: 'warning', path: ['escalate'], what, remedy: 'name the groups that may approve before it' });
  }
  return remarks;
}

function remarksOnRules(
  { rules = [], quorum, groups }: Pick<ApprovalPolicy, 'rules' | 'quorum' | 'groups'>,
  path: PolicyRemark['path'],
): readonly PolicyRemark[] {
  const remarks: PolicyRemark[] = [];
  if (rules.length > 0 && (quorum !== 1 || groups.length > 0)) {
    const what = 'quorum and groups are the short form of one rule, and there are rules too';
    const remedy = 'write either, in defaults and environment together';
    remarks.push({ kind: 'conflict', path: [...path, 'rules'], what, remedy });
  }
  for (const [index, { group }] of rules.entries()) {
    if (rules.findIndex((rule) => rule.group === group) === index) continue;
    const what = `there is another rule for the group ${group}`;
    remarks.push({
      kind: 'conflict',
      path: [...path, 'rules', index, 'group'],
      what,
      remedy: 'write one rule with the sum of both counts',
    });
  }
  return remarks;
}
