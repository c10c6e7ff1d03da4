import { applyToGate, BREAK_GLASS_REASON, countText, gateState, refusalAtGate, whoCan } from './approval/gate.js';
import { isHeld, refusalToPromote } from './approval/promote.js';
import { quorumOf } from './approval/rules.js';
import { isGateVerb } from './approval/decision.js';
import type { Decision, Verb } from './approval/decision.js';
import { authorize, rolesAt } from './people.js';
import type { Identity } from './people.js';
import type { LaneRef } from './target.js';
import { isBeforeCanary, isFinal, needsPerson } from './rollout.js';
import type { Actor, RolloutView, Wait } from './rollout.js';
import { percentText } from './words.js';

/** What one person may do to one rollout now. */
export interface Offer {
  readonly verb: Verb | 'retry';
  readonly allowed: boolean;
  /** Why not. */
  readonly why: string | null;
  /** What it will do, for the button and its dialog: "all traffic back to v1; the canary is removed". */
  readonly does: string;
  /** The same as a line for a terminal. */
  readonly command: string;
  readonly needsReason: boolean;
}

/** The person as decisions on a rollout of this lane carry them; nobody has vouched for it yet. */
export function actorOf(identity: Identity, lane: LaneRef): Actor {
  const { subject, name, groups, aliases, via } = identity;
  return { subject, name, groups, aliases, via, roles: rolesAt(identity, lane), verified: false };
}

/** What somebody may do to a rollout now, and what each would do. Rights that are not theirs at all are left out. */
export function offersFor(view: RolloutView, identity: Identity): readonly Offer[] {
  const offers: Offer[] = [];
  const offer = (verb: Offer['verb'], does: string, refused: string | null, needsReason = false): void => {
    const allowed = authorize(identity, verb, view.lane);
    const why = allowed.kind === 'denied' ? allowed.text : refused;
    offers.push({ verb, allowed: why === null, why, does, command: commandFor(view, verb, needsReason), needsReason });
  };
  if (isFinal(view.phase)) {
    const again = `a new rollout of ${view.releaseName} under the same policy; this one stays as it is`;
    offer('retry', again, view.outcome === 'completed' ? 'it was shipped: there is nothing to try again' : null);
    return offers;
  }
  if (view.status === 'queued') {
    offer('abort', 'it leaves the queue; nothing was touched', null);
    return offers;
  }
  const back = goingBack(view);
  const gate = view.approvals !== null && gateState(view.approvals) === 'open' ? view.approvals : null;
  if (gate !== null) {
    const refusal = (verb: Verb): string | null => {
      const said = probe(view, identity, verb);
      return back ?? refusalAtGate(gate, said, view.policy.approval)?.text ?? null;
    };
    const begins = gate.gate === 'release' ? 'the rollout begins' : 'the next stage begins';
    const after = applyToGate(gate, probe(view, identity, 'approve'), Date.parse(view.startedAt));
    const then =
      gateState(after) === 'approved' ? begins : `${quorumOf(after.missing)} more needed after yours: ${whoCan(after)}`;
    offer('approve', `approves gate "${gate.gate}" (${countText(gate)}): ${then}`, refusal('approve'));
    const ends = isBeforeCanary(view.phase) ? 'the rollout ends, nothing was touched' : traffic(view);
    offer('reject', `rejects gate "${gate.gate}": ${ends}`, refusal('reject'), true);
    // Not shown to those who never may: it is nothing to ask for.
    if (authorize(identity, 'break-glass', view.lane).kind === 'allowed')
      offer(
        'break-glass',
        `opens gate "${gate.gate}" past everybody who is asked (${countText(gate)}): ${begins}; all of them are told, and it is marked for ever`,
        refusal('break-glass'),
        true,
      );
  }
  if (view.paused || view.wait?.kind === 'drift')
    offer(
      'resume',
      view.wait?.kind === 'drift'
        ? 'lets changed configuration be, writes over whatever else somebody has changed, and goes on'
        : 'ends the pause: it goes on',
      back,
    );
  else offer('pause', 'no advance until resumed; the canary is still guarded', back);
  if (view.phase === 'canary' || view.phase === 'verifying') {
    const held = isHeld(view);
    const refused = back ?? refusalToPromote(view, probe(view, identity, 'promote'))?.text ?? null;
    const stages = view.plan?.stages.length ?? 0;
    const last = view.stage === null || view.stage >= stages;
    const next = last ? 'all traffic moves to the new version' : `stage ${(view.stage ?? 0) + 1} of ${stages} begins`;
    offer(
      'promote',
      `skips the rest of this ${view.phase === 'verifying' ? 'verification' : 'stage'}${held ? ' over a HOLD (break-glass)' : ''}: ${next}`,
      refused,
      held,
    );
  }
  offer('abort', isBeforeCanary(view.phase) ? 'the rollout ends, nothing was touched' : traffic(view), back);
  return offers;
}

/** Whether one of the offers ends what the rollout waits for. */
export function endsWait(wait: Wait | null, offers: readonly Offer[]): boolean {
  if (!needsPerson(wait)) return false;
  return offers.some(({ verb, allowed }) => allowed && ENDS[wait?.kind ?? 'paused'].includes(verb));
}

const ENDS: Readonly<Record<Wait['kind'], readonly Offer['verb'][]>> = {
  approval: ['approve', 'reject'],
  gate: ['approve', 'reject'],
  inconclusive: ['promote'],
  paused: ['resume'],
  drift: ['resume'],
  blind: [],
  platform: [],
  evidence: [],
  'not-ready': [],
};

function goingBack({ phase }: RolloutView): string | null {
  return phase === 'rolling-back' ? 'this rollout is already going back' : null;
}

/** What going back would do now. */
function traffic({ plan, weights, releaseName }: RolloutView): string {
  const old = plan?.stableVersion ?? null;
  if (old === null) return `${releaseName} is taken away: nothing served before it`;
  const share =
    weights === null || weights.canary === 0 ? '' : ` (${percentText(weights.canary)} of it is on ${releaseName})`;
  return `all traffic back to ${old}${share}; the canary is removed`;
}

/** A decision as this person would say it now, with the best of reasons. */
function probe(view: RolloutView, identity: Identity, verb: Verb): Decision {
  return {
    id: 'offer',
    verb,
    gate: view.approvals?.gate ?? null,
    planDigest: view.approvals?.planDigest ?? null,
    actor: { ...actorOf(identity, view.lane), verified: true },
    reason: `OPS-1 ${'.'.repeat(BREAK_GLASS_REASON)}`,
    full: false,
    at: view.startedAt,
  };
}

function commandFor({ rolloutId, approvals }: RolloutView, verb: Offer['verb'], needsReason: boolean): string {
  const gate = verb !== 'retry' && isGateVerb(verb) && approvals !== null ? ` --gate ${approvals.gate}` : '';
  return `slipway ${verb} ${rolloutId}${gate}${needsReason ? ' --reason "…"' : ''}`;
}
