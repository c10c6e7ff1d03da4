import type { Via } from '../people.js';
import type { Actor } from '../rollout.js';

/** The verbs that people have. */
export const VERBS = ['approve', 'reject', 'pause', 'resume', 'promote', 'abort', 'break-glass'] as const;
export type Verb = (typeof VERBS)[number];

/** The verbs that answer an open gate, and so must name it and what was shown. */
export const GATE_VERBS = ['approve', 'reject', 'break-glass'] as const satisfies readonly Verb[];
export type GateVerb = (typeof GATE_VERBS)[number];

/** Whether a verb answers an open gate. */
export function isGateVerb(verb: Verb): verb is GateVerb {
  return (GATE_VERBS as readonly Verb[]).includes(verb);
}

/** One thing that a person said. */
export interface Decision {
  /** Chosen by the caller and the same for each try, so that saying it twice counts once. */
  readonly id: string;
  readonly verb: Verb;
  /** The gate that an answer is for, as `view` names it. */
  readonly gate: string | null;
  /** Digest of what the person was shown (`Approvals.planDigest`); an answer to anything else is void. */
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

/** What became of a decision. `refused` tells why, who could do it instead, and what to do. */
export type DecisionReceipt =
  | { readonly kind: 'accepted'; readonly text: string }
  | { readonly kind: 'duplicate'; readonly text: string }
  | {
      readonly kind: 'refused';
      readonly code: RefusalCode;
      readonly text: string;
      readonly whoCan?: string;
      readonly next?: string;
    };

/** Why a decision does not count, as data: `code` decides, the rest is for people. */
export interface Refusal {
  readonly code: RefusalCode;
  /** Why. */
  readonly text: string;
  /** Who could do it: "members of security, but not author@example.com"; empty: nobody. */
  readonly whoCan: string;
  /** What to do now. */
  readonly next: string;
}

export type RefusalCode =
  | 'finished'
  | 'no-such-gate'
  | 'other-plan'
  | 'excluded'
  | 'not-in-group'
  | 'unverified'
  | 'too-late'
  | 'not-now'
  | 'needs-role'
  | 'needs-reason';

/** So many different people, each in one of these groups; anyone where no group is named. */
export interface ApprovalRule {
  readonly groups: readonly string[];
  readonly count: number;
}

/** An approval as it was counted. A person who approved over several ways has one for each that brings groups of its own. */
export interface Vote {
  /** The same in all votes of one person. */
  readonly subject: string;
  readonly aliases: readonly string[];
  /** The way over which it was given, which alone knows those groups; null: nobody vouched for it. */
  readonly via: Via | null;
  /** Those of `givenAs` that the person was still in when last heard of over the same way: the ones that it counts for. */
  readonly groups: readonly string[];
  /** Groups that the person was in when the approval was given. */
  readonly givenAs: readonly string[];
  /** ms since the epoch. */
  readonly atMs: number;
}

/** That somebody went past a gate alone; it stays with the rollout for ever. */
export interface BreakGlass {
  readonly by: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
  /** The gate that was opened; null: a HOLD was promoted over. */
  readonly gate: string | null;
  /** Whether it was the author of the change or whoever started the rollout. */
  readonly ownWork: boolean;
}

/** How a gate was left. `void`: what was shown is not so any more, or the rollout went another way. */
export type GateEnd = 'approved' | 'rejected' | 'expired' | 'void';

/** The state of one gate: plain data, changed by the functions of gate.ts alone. */
export interface Approvals {
  readonly gate: string;
  /** Digest of all that is shown to those who decide (shown.ts); an answer names it. */
  readonly planDigest: string;
  /** Approvals that are needed, over all rules. */
  readonly quorum: number;
  /** Groups of all rules. Empty: anyone may approve who is not excluded. */
  readonly groups: readonly string[];
  /** Names of those who may not approve this one. */
  readonly excluded: readonly string[];
  /** Those whose approval counts now. */
  readonly approvedBy: readonly string[];
  readonly rejectedBy: string | null;
  /** All of them must be met, each person counting for one. */
  readonly rules: readonly ApprovalRule[];
  /** The part of the rules that is not met yet. */
  readonly missing: readonly ApprovalRule[];
  /** Groups that may answer too, since nobody else has for so long. */
  readonly alsoGroups: readonly string[];
  readonly votes: readonly Vote[];
  /** An approval counts for so long, ms; null: for as long as the gate is open. */
  readonly validForMs: number | null;
  readonly brokenBy: string | null;
  /** Asked again: what is not as it was when it was asked before. Empty: asked for the first time. */
  readonly changed: readonly string[];
  /** Null while it is open. */
  readonly closed: GateEnd | null;
}
