/** Skipping the rest of a stage: who may, and when it is break-glass (semantics.md, "Waits and verbs"). */
import type { RolloutView } from '../rollout.js';
import type { Decision, Refusal } from './decision.js';
import { gateState, refusalByRole, refusalToBreakGlass, refusalUnverified, whoCan } from './gate.js';
import { rulesAt } from './rules.js';

type Standing = Pick<RolloutView, 'policy' | 'phase' | 'assessment' | 'approvals' | 'wait'>;

/** Why a rollout may not be promoted by this decision now, or null. */
export function refusalToPromote(now: Standing, decision: Decision): Refusal | null {
  const { phase, approvals, policy } = now;
  const { approval } = policy;
  if (phase !== 'canary' && phase !== 'verifying')
    return notNow(`promote skips the rest of a stage, and the rollout is ${phase}`, 'wait for the canary');
  if (approvals !== null && approvals.closed === null && gateState(approvals) === 'open') {
    const text = `gate "${approvals.gate}" is open: approve or reject it`;
    return { code: 'not-now', text, whoCan: whoCan(approvals), next: '`slipway approve` or `slipway reject`' };
  }
  const unproved = refusalUnverified(decision, approval) ?? refusalByRole(decision);
  if (unproved !== null) return unproved;
  const groups = approverGroups(now);
  const held = isHeld(now);
  // Over a HOLD it is the role that counts: nobody is asked who could be of a group.
  const byRole = held && isKnown(decision);
  if (groups.length > 0 && !byRole && !decision.actor.groups.some((name) => groups.includes(name))) {
    const text = `promote needs one of the approvers' groups: ${groups.join(', ')}`;
    return { code: 'not-in-group', text, whoCan: `members of ${groups.join(', ')}`, next: 'ask one of them' };
  }
  if (!held) return null;
  if ((decision.reason ?? '').trim() === '')
    return notNow('to promote over a HOLD say why: --reason "…"', 'say why: --reason "…"');
  if (isKnown(decision) || approval.breakGlass?.allowed === false) return refusalToBreakGlass(decision, approval);
  return null;
}

/** The groups that may approve a change of this risk; empty: anyone. */
export function approverGroups({ policy, assessment }: Pick<Standing, 'policy' | 'assessment'>): readonly string[] {
  const rules = rulesAt(policy.approval, assessment?.risk.level ?? null);
  return [...new Set(rules.flatMap(({ groups }) => groups))];
}

/** Whether the judge could not say that all is well: going on all the same is break-glass. */
export function isHeld({ wait }: Pick<Standing, 'wait'>): boolean {
  return wait?.kind === 'inconclusive' || wait?.kind === 'blind';
}

export function notNow(text: string, next: string): Refusal {
  return { code: 'not-now', text, whoCan: '', next };
}

/** Whether it is known what somebody may do: where a server vouches for it, or says so where nobody need vouch. */
function isKnown({ actor }: Decision): boolean {
  return actor.verified || actor.roles !== undefined;
}
