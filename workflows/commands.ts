/** What people may say to a rollout, and when. Handlers only note it; the main flow acts. */
import { ApplicationFailure } from '@temporalio/common';
import { setHandler } from '@temporalio/workflow';
import { applyToGate, gateState, refusalAtGate } from '../domain/approval/decision.js';
import type { Decision, DecisionReceipt, RefusalCode } from '../domain/approval/decision.js';
import { isBeforeCanary, isFinal } from '../domain/rollout.js';
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
}

type Refusal = { readonly code: RefusalCode; readonly text: string };

/** Registers all handlers. An update that is refused leaves no trace in history; a signal that is refused is a warning. */
export function handleCommands(state: RunState, controls: Controls): void {
  const update = (decision: Decision): DecisionReceipt => accept(state, controls, decision);
  const validator = (decision: Decision): void => {
    if (alreadyTaken(state, decision)) return;
    const refusal = refuse(state, controls, decision);
    if (refusal !== null) {
      throw ApplicationFailure.create({
        type: 'DecisionRefused',
        message: refusal.text,
        nonRetryable: true,
        details: [refusal.code],
      });
    }
  };
  setHandler(decideUpdate, update, { validator, description: 'Approve or reject the open gate' });
  setHandler(pauseUpdate, update, { validator, description: 'No advance until resumed; the guard goes on' });
  setHandler(resumeUpdate, update, { validator, description: 'End a pause; over a drift, write over what was found' });
  setHandler(promoteUpdate, update, { validator, description: 'Skip the rest of this stage, or of all stages' });
  setHandler(abortUpdate, update, { validator, description: 'Roll back and end' });
  setHandler(decisionSignal, (decision) => {
    if (alreadyTaken(state, decision)) return;
    const refusal = refuse(state, controls, decision);
    if (refusal === null) accept(state, controls, decision);
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
}

function alreadyTaken(state: RunState, decision: Decision): boolean {
  return state.decisions.some((known) => known.id === decision.id);
}

/** Why a decision can't count now, or null. */
function refuse(state: RunState, controls: Controls, decision: Decision): Refusal | null {
  const { approval } = state.request.policy;
  if (isFinal(state.phase) || controls.closing)
    return { code: 'finished', text: `this rollout is over: ${state.phase}` };
  if (controls.stop !== null || state.phase === 'rolling-back') {
    return { code: 'too-late', text: 'this rollout is already going back' };
  }
  switch (decision.verb) {
    case 'approve':
    case 'reject':
      return refusalAtGate(state.approvals, trusted(decision), approval);
    case 'pause':
      return controls.paused === null ? null : { code: 'not-now', text: `already paused by ${controls.paused.by}` };
    case 'resume':
      return controls.paused !== null || state.wait?.kind === 'drift'
        ? null
        : { code: 'not-now', text: 'nothing is paused' };
    case 'promote':
      return refusePromote(state, decision);
    case 'abort':
      return null;
  }
}

function refusePromote(state: RunState, decision: Decision): Refusal | null {
  const { approval } = state.request.policy;
  if (state.phase !== 'canary' && state.phase !== 'verifying') {
    return { code: 'not-now', text: `promote skips the rest of a stage, and the rollout is ${state.phase}` };
  }
  if (state.approvals !== null && gateState(state.approvals) === 'open') {
    return { code: 'not-now', text: `gate "${state.approvals.gate}" is open: approve or reject it` };
  }
  if (approval.groups.length > 0 && !decision.actor.groups.some((group) => approval.groups.includes(group))) {
    return { code: 'not-in-group', text: `promote needs one of the approvers' groups: ${approval.groups.join(', ')}` };
  }
  const held = state.wait?.kind === 'inconclusive' || state.wait?.kind === 'blind';
  if (held && (decision.reason ?? '').trim() === '') {
    return { code: 'not-now', text: 'to promote over a HOLD say why: --reason "…"' };
  }
  return null;
}

function accept(state: RunState, controls: Controls, said: Decision): DecisionReceipt {
  if (alreadyTaken(state, said)) return { kind: 'duplicate', text: `${said.verb} was already counted` };
  const decision = trusted(said);
  const { subject } = decision.actor;
  const because = decision.reason === null ? '' : `: ${decision.reason}`;
  state.decided(decision);
  controls.version += 1;
  switch (decision.verb) {
    case 'approve':
    case 'reject': {
      if (state.approvals !== null) state.approvals = applyToGate(state.approvals, decision);
      const gate = state.approvals;
      const count = gate === null ? '' : ` (${gate.approvedBy.length} of ${gate.quorum})`;
      return said_(
        state,
        decision.verb === 'approve' ? `${subject} approved${count}${because}` : `${subject} rejected${because}`,
      );
    }
    case 'pause':
      controls.paused = { by: subject, sinceMs: Date.now() };
      state.paused = true;
      return said_(state, `${subject} paused the rollout${because}`);
    case 'resume':
      controls.paused = null;
      controls.resumed = { by: subject };
      state.paused = false;
      return said_(state, `${subject} resumed the rollout${because}`);
    case 'promote': {
      controls.skip = { by: subject, full: decision.full };
      const over =
        state.wait?.kind === 'inconclusive' || state.wait?.kind === 'blind' ? ' over a HOLD (break-glass)' : '';
      return said_(
        state,
        `${subject} promoted ${decision.full ? 'past all stages' : 'past this stage'}${over}${because}`,
      );
    }
    case 'abort':
      stop(controls, { cause: 'aborted', text: `aborted by ${subject}${because}` });
      return said_(state, `${subject} aborted the rollout${because}`);
  }
}

function said_(state: RunState, text: string): DecisionReceipt {
  state.say(text, 'person');
  return { kind: 'accepted', text };
}

function stop(controls: Controls, cause: NonNullable<Controls['stop']>): void {
  controls.stop = cause;
  controls.version += 1;
  controls.onStop();
}

/** Only what was verified here counts as verified: a caller's own word does not. */
function trusted(decision: Decision): Decision {
  return { ...decision, actor: { ...decision.actor, verified: false } };
}
