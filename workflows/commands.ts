/** What people may say to a rollout, and when. Handlers only note it; the main flow acts. */
import { ApplicationFailure } from '@temporalio/common';
import { setHandler } from '@temporalio/workflow';
import {
  applyToGate,
  countText,
  hasVoted,
  isExcluded,
  needsSignature,
  refusalAtGate,
  refusalUnverified,
  withMembership,
} from '../domain/approval/gate.js';
import { isGateVerb } from '../domain/approval/decision.js';
import type { BreakGlass, Decision, DecisionReceipt, Refusal } from '../domain/approval/decision.js';
import { approverGroups, isHeld, notNow, refusalToPromote } from '../domain/approval/promote.js';
import { isBeforeCanary, isFinal } from '../domain/rollout.js';
import { Intake } from './intake.js';
import type { Vouched } from './intake.js';
import {
  abortUpdate,
  decideUpdate,
  decisionSignal,
  giveWaySignal,
  pauseUpdate,
  promoteUpdate,
  resumeUpdate,
  viewQuery,
} from './messages.js';
import type { Notices } from './notices.js';
import { onUpdate } from './on-update.js';
import { now } from './run-state.js';
import type { RunState } from './run-state.js';

/** What was asked for and is not done yet. The main flow reads it and clears what it has acted upon. */
export class Controls {
  /** Grows with every change: waits compare it to notice one. */
  version = 0;
  paused: { readonly by: string; readonly sinceMs: number } | null = null;
  resumed: { readonly by: string } | null = null;
  skip: { readonly by: string; readonly full: boolean } | null = null;
  stop: { readonly cause: 'aborted' | 'superseded' | 'pre-empted'; readonly text: string } | null = null;
  /** Set once the last effect is under way: there is nothing left to stop. */
  closing = false;
  /** Called when the run must stop what it does now. */
  onStop: () => void = () => undefined;
  /** Called when a decision was counted or refused. */
  onCounted: () => void = () => undefined;
}

/** What the handlers work on. */
export interface Desk {
  readonly state: RunState;
  readonly controls: Controls;
  readonly notices: Notices;
}

/**
 * Registers all handlers. An update that is refused leaves no trace in history, unless it is its signature that does not
 * hold; a signal that is refused is a warning.
 */
export function handleCommands(desk: Desk): Intake {
  const { state, controls } = desk;
  const intake = new Intake(state, {
    count: (decision, vouched) => count(desk, decision, vouched),
    heard: (decision) => hearOf(state, withVerified(decision, true)),
  });
  const update = (decision: Decision): Promise<DecisionReceipt> => intake.take(decision);
  const validator = (decision: Decision): void => {
    if (alreadyTaken(state, decision)) return;
    const refusal = refuse(desk, asClaimed(decision));
    if (refusal !== null && !tellsOfVoter(state, decision)) {
      const { code, text, ...rest } = refusal;
      throw ApplicationFailure.create({
        type: 'DecisionRefused',
        message: text,
        nonRetryable: true,
        details: [code, rest],
      });
    }
  };
  onUpdate(decideUpdate, update, { validator, description: 'Approve or reject the open gate, or break the glass' });
  onUpdate(pauseUpdate, update, { validator, description: 'No advance until resumed; the guard goes on' });
  onUpdate(resumeUpdate, update, {
    validator,
    description: 'End a pause; over a drift, write over what was found, but for configuration',
  });
  onUpdate(promoteUpdate, update, { validator, description: 'Skip the rest of this stage, or of all stages' });
  onUpdate(abortUpdate, update, { validator, description: 'Roll back and end' });
  setHandler(decisionSignal, async (decision) => {
    if (alreadyTaken(state, decision)) return;
    const refusal = refuse(desk, asClaimed(decision));
    if (refusal === null || tellsOfVoter(state, decision)) await intake.take(decision);
    else state.refused(decision, refusal);
  });
  setHandler(giveWaySignal, ({ cause, by }) => {
    const honoured =
      cause === 'superseded' ? state.phase !== 'settling' && !controls.closing : isBeforeCanary(state.phase);
    if (!honoured || controls.stop !== null || state.phase === 'rolling-back' || isFinal(state.phase)) {
      state.say(`asked to give way to ${by} (${cause}): too late, it goes on`);
      return;
    }
    stop(controls, { cause, text: `${cause} by ${by}` });
  });
  setHandler(viewQuery, () => state.view());
  return intake;
}

function alreadyTaken(state: RunState, decision: Decision): boolean {
  return state.decisions.some((known) => known.id === decision.id);
}

/** Whether a server tells of somebody who has approved here: in which groups they are now counts, whatever they say. */
function tellsOfVoter({ approvals }: RunState, { verb, actor, signature }: Decision): boolean {
  return needsSignature(verb) && signature != null && hasVoted(approvals, actor);
}

/** For the first look: as if the signature, where there is one, were good. It is verified before it counts. */
function asClaimed(decision: Decision): Decision {
  return withVerified(decision, needsSignature(decision.verb) && decision.signature != null);
}

/** Only what was verified here counts as verified: a caller's own word does not. */
function withVerified(decision: Decision, verified: boolean): Decision {
  return { ...decision, actor: { ...decision.actor, verified } };
}

/** Why a decision can't count now, or null. */
function refuse({ state, controls }: Pick<Desk, 'state' | 'controls'>, decision: Decision): Refusal | null {
  const { approval } = state.request.policy;
  if (isFinal(state.phase) || controls.closing) return late('finished', `this rollout is over: ${state.phase}`);
  if (controls.stop !== null || state.phase === 'rolling-back')
    return late('too-late', 'this rollout is already going back');
  switch (decision.verb) {
    case 'approve':
    case 'reject':
    case 'break-glass':
      return refusalAtGate(state.approvals, decision, approval);
    case 'pause':
      return controls.paused === null ? null : notNow(`already paused by ${controls.paused.by}`, '`slipway resume`');
    case 'resume':
      return controls.paused !== null || state.wait?.kind === 'drift'
        ? null
        : notNow('nothing is paused', 'nothing: it goes on by itself');
    case 'promote':
      return refusalToPromote(standing(state), decision);
    case 'abort':
      return null;
  }
}

function late(code: 'finished' | 'too-late', text: string): Refusal {
  return { code, text, whoCan: '', next: 'see how it ended with `slipway status`; `slipway retry` begins anew' };
}

function standing(state: RunState): Parameters<typeof refusalToPromote>[0] {
  const { phase, assessment, approvals, wait, request } = state;
  return { policy: request.policy, phase, assessment, approvals, wait };
}

/** Counts what has been verified, or refuses what turns out not to hold: by the state as it is now. */
function count(desk: Desk, said: Decision, vouched: Vouched): DecisionReceipt {
  const { controls } = desk;
  const receipt = countOrRefuse(desk, said, vouched);
  // Also what is refused may end a wait: a gate may have been kept open for it.
  controls.version += 1;
  controls.onCounted();
  return receipt;
}

function countOrRefuse(desk: Desk, said: Decision, vouched: Vouched): DecisionReceipt {
  const { state } = desk;
  if (alreadyTaken(state, said)) return { kind: 'duplicate', text: `${said.verb} was already counted` };
  const decision = withVerified(said, vouched.kind === 'yes');
  if (vouched.kind === 'yes') hearOf(state, decision);
  const unproved =
    vouched.kind === 'no' && vouched.why !== null && needsSignature(said.verb)
      ? refusalUnverified(decision, state.request.policy.approval, vouched.why)
      : null;
  const refusal = unproved ?? refuse(desk, decision);
  if (refusal === null) return accept(desk, decision);
  state.refused(decision, refusal);
  return { kind: 'refused', ...refusal };
}

/** A person who was heard of may have left the groups since they approved: then the approval counts no more. */
function hearOf(state: RunState, { actor }: Decision): void {
  const { approvals } = state;
  if (approvals === null || approvals.closed !== null) return;
  const heard = withMembership(approvals, actor, Date.now());
  const lost = approvals.approvedBy.filter((name) => !heard.approvedBy.includes(name));
  state.approvals = heard;
  if (lost.length > 0)
    state.say(`the approval of ${lost.join(', ')} counts no more at gate "${heard.gate}": ${countText(heard)}`, 'bad');
}

function accept({ state, controls, notices }: Desk, decision: Decision): DecisionReceipt {
  const { actor, verb } = decision;
  const { subject } = actor;
  const because = decision.reason === null ? '' : `: ${decision.reason}`;
  state.decided(decision);
  if (isGateVerb(verb) && state.approvals !== null)
    state.approvals = applyToGate(state.approvals, decision, Date.now());
  switch (verb) {
    case 'approve': {
      const counted = state.approvals === null ? '' : ` (${countText(state.approvals)})`;
      return tell(state, `${subject} approved${counted}${because}`);
    }
    case 'reject':
      return tell(state, `${subject} rejected${because}`);
    case 'break-glass': {
      const text = `gate "${decision.gate}" with ${state.approvals === null ? 'no approvals' : `${countText(state.approvals)} approvals`}`;
      return breakGlass(state, notices, decision, text);
    }
    case 'pause':
      controls.paused = { by: subject, sinceMs: Date.now() };
      state.paused = true;
      return tell(state, `${subject} paused the rollout${because}`);
    case 'resume':
      controls.paused = null;
      controls.resumed = { by: subject };
      state.paused = false;
      return tell(state, `${subject} resumed the rollout${because}`);
    case 'promote': {
      controls.skip = { by: subject, full: decision.full };
      const past = decision.full ? 'past all stages' : 'past this stage';
      if (isHeld(state)) return breakGlass(state, notices, decision, `a HOLD, ${past}`);
      return tell(state, `${subject} promoted ${past}${because}`);
    }
    case 'abort':
      stop(controls, { cause: 'aborted', text: `aborted by ${subject}${because}` });
      return tell(state, `${subject} aborted the rollout${because}`);
  }
}

/** Marks the rollout for ever, and says it as loudly as can be. */
function breakGlass(
  state: RunState,
  notices: Notices,
  { actor, reason, gate, id }: Decision,
  past: string,
): DecisionReceipt {
  const { request } = state;
  const involved = [request.release.change.author ?? '', request.actor.subject, ...(request.actor.aliases ?? [])];
  const ownWork = isExcluded({ excluded: involved }, actor);
  const mark: BreakGlass = { by: actor.subject, reason: reason ?? '', at: now(), gate, ownWork };
  state.breakGlass ??= mark;
  const text = `${mark.by} went past ${past} (break-glass${ownWork ? ', own work' : ''}): ${mark.reason}`;
  notices.send({
    kind: 'break-glass',
    severity: 'page',
    title: `${state.name}: break-glass by ${mark.by}`,
    text,
    groups: approverGroups(standing(state)),
    n: id,
  });
  return tell(state, text);
}

function tell(state: RunState, text: string): DecisionReceipt {
  state.say(text, 'person');
  return { kind: 'accepted', text };
}

function stop(controls: Controls, cause: NonNullable<Controls['stop']>): void {
  controls.stop = cause;
  controls.version += 1;
  controls.onStop();
}
