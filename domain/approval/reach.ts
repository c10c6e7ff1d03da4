/** Whether the people whom a server knows can open a gate: told before somebody waits at it for a day. */
import type { Policy } from '../policy.js';
import type { Actor } from '../rollout.js';
import type { Approvals } from './decision.js';
import { isExcluded, isSamePerson, openGate, votersOf } from './gate.js';
import { RISK_LEVELS, rulesText, satisfiable } from './rules.js';

/** A person as a server knows one who may approve. */
export type KnownPerson = Pick<Actor, 'subject' | 'aliases' | 'groups'>;

/**
 * What these people and those who have approved can't give at a gate, with the arithmetic; null where they can.
 *
 * It is something to say, never a reason to refuse, because it is never certain: while a gate waits, its server may be
 * started with other people in its file, and workers take the word of every server whose key they trust.
 */
export function outOfReach(
  gate: Approvals,
  { approval }: Pick<Policy, 'approval'>,
  people: readonly KnownPerson[],
): string | null {
  // Then anybody counts who reaches Temporal, under any name and in any group.
  if (approval.allowUnverified) return null;
  const involved = people.filter((person) => isExcluded(gate, person));
  const others = people.filter(
    (person) => !involved.includes(person) && !gate.votes.some((vote) => isSamePerson(vote, person)),
  );
  const voters = [...votersOf(gate), ...others].map(({ subject, groups }) => ({ name: subject, groups }));
  const answer = satisfiable(gate.rules, voters, [...gate.alsoGroups, ...(approval.escalate?.groups ?? [])]);
  if (answer.kind === 'yes') return null;
  const names = involved.map(({ subject }) => subject).join(', ');
  return `${rulesText(gate.rules)} must approve: ${answer.text}${names === '' ? '' : `, besides ${names}, who wrote or started it`}`;
}

/** The same of a rollout that is asked for, whose risk is not known yet: one line for each set of rules. */
export function foreseen(
  { approval, stages }: Pick<Policy, 'approval' | 'stages'>,
  involved: readonly (string | null)[],
  people: readonly KnownPerson[],
): readonly string[] {
  if (
    approval.required === 'never' &&
    !Object.values(stages)
      .flat()
      .some((stage) => stage.approval)
  )
    return [];
  const levelsOf = new Map<string, string[]>();
  for (const level of RISK_LEVELS) {
    const gate = openGate({ gate: 'release', planDigest: '', policy: approval, level, involved });
    const text = outOfReach(gate, { approval }, people);
    if (text !== null) levelsOf.set(text, [...(levelsOf.get(text) ?? []), level]);
  }
  return [...levelsOf].map(([text, levels]) =>
    levels.length === RISK_LEVELS.length ? text : `at ${levels.join(' or ')} risk ${text}`,
  );
}
