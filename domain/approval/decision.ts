import type { Actor } from '../rollout.js';
import type { ApprovalPolicy } from '../policy.js';

/** The verbs that people have. */
export const VERBS = ['approve', 'reject', 'pause', 'resume', 'promote', 'abort'] as const;
export type Verb = (typeof VERBS)[number];

/** One thing that a person said. */
export interface Decision {
  /** Chosen by the caller and the same for each try, so that saying it twice counts once. */
  readonly id: string;
  readonly verb: Verb;
  /** The gate that an approval or rejection is for, as `view` names it. */
  readonly gate: string | null;
  /** Digest of the plan that the person saw; an approval of another plan is void. */
  readonly planDigest: string | null;
  readonly actor: Actor;
  readonly reason: string | null;
  /** `promote` only: skip all stages that are left. */
  readonly full: boolean;
  /** ISO 8601, as the caller's server or machine had it. */
  readonly at: string;
  /** The server's signature over all of this (`formats/decision-token.ts`); null or absent: nobody vouches for it. */
  readonly signature?: string | null;
}

/** What became of a decision. `refused` tells why and what to do. */
export type DecisionReceipt =
  | { readonly kind: 'accepted'; readonly text: string }
  | { readonly kind: 'duplicate'; readonly text: string }
  | { readonly kind: 'refused'; readonly code: RefusalCode; readonly text: string };

export type RefusalCode =
  'finished' | 'no-such-gate' | 'other-plan' | 'excluded' | 'not-in-group' | 'unverified' | 'too-late' | 'not-now';

/** The state of one gate. */
export interface Approvals {
  readonly gate: string;
  readonly planDigest: string;
  readonly quorum: number;
  readonly groups: readonly string[];
  /** Subjects that may not approve this one. */
  readonly excluded: readonly string[];
  readonly approvedBy: readonly string[];
  readonly rejectedBy: string | null;
}

export function openGate(input: {
  gate: string;
  planDigest: string;
  policy: ApprovalPolicy;
  involved: readonly (string | null)[];
}): Approvals {
  const { gate, planDigest, policy, involved } = input;
  const excluded = policy.excludeAuthor ? [...new Set(involved.filter((subject) => subject !== null))] : [];
  return { gate, planDigest, quorum: policy.quorum, groups: policy.groups, excluded, approvedBy: [], rejectedBy: null };
}

/** Whether a decision counts at a gate: null, or why it does not and what to do. */
export function refusalAtGate(
  gate: Approvals | null,
  decision: Decision,
  policy: ApprovalPolicy,
): { code: RefusalCode; text: string } | null {
  const { actor } = decision;
  if (gate === null || decision.gate !== gate.gate) {
    const asked = decision.gate === null ? '' : `gate "${decision.gate}" is not open: `;
    const open = gate === null ? 'no gate is open' : `the open gate is "${gate.gate}"`;
    return { code: 'no-such-gate', text: `${asked}${open}; see \`slipway status\`` };
  }
  if (!actor.verified && !policy.allowUnverified) {
    return {
      code: 'unverified',
      text: 'the policy wants signed decisions: decide through the Slipway server, or set approval.allowUnverified',
    };
  }
  if (decision.planDigest !== gate.planDigest) {
    return {
      code: 'other-plan',
      text: `you decided on plan ${decision.planDigest ?? 'none'}, the plan now is ${gate.planDigest}: look again with \`slipway status\``,
    };
  }
  if (decision.verb === 'reject') return null;
  if (gate.excluded.some((name) => isSame(name, actor.subject))) {
    return { code: 'excluded', text: `${actor.subject} wrote or started this release: somebody else must approve it` };
  }
  if (gate.groups.length > 0 && !actor.groups.some((group) => gate.groups.includes(group))) {
    return {
      code: 'not-in-group',
      text: `${actor.subject} is in none of the groups that may approve: ${gate.groups.join(', ')}`,
    };
  }
  return null;
}

/** The gate after a decision that counts. A rejection wins, whatever was approved before. */
export function applyToGate(gate: Approvals, decision: Decision): Approvals {
  const { subject } = decision.actor;
  if (decision.verb === 'reject')
    return { ...gate, rejectedBy: subject, approvedBy: gate.approvedBy.filter((name) => !isSame(name, subject)) };
  if (gate.approvedBy.some((name) => isSame(name, subject))) return gate;
  return { ...gate, approvedBy: [...gate.approvedBy, subject] };
}

export function gateState(gate: Approvals): 'open' | 'approved' | 'rejected' {
  if (gate.rejectedBy !== null) return 'rejected';
  return gate.approvedBy.length >= gate.quorum ? 'approved' : 'open';
}

/** Whether two names are one person: mail addresses are compared as mail servers do, so that `Ann@` can't approve for `ann@`. */
function isSame(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase();
}
