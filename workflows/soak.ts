import { ActivityFailure, CancellationScope, condition, isCancellation } from '@temporalio/workflow';
import type { WatchCall, WatchMode, WatchResult } from '../activities/contract.js';
import type { Permit } from '../domain/fence.js';
import type { Reason, Wait } from '../domain/rollout.js';
import type { Disturbance, EffectResult } from '../domain/target.js';
import { durationText } from '../domain/words.js';
import { waits } from './activity-profiles.js';
import type { Controls } from './commands.js';
import { rejectedText } from './decide.js';
import { failureText, with_ } from './effects.js';
import type { GateCall, Gates } from './gates.js';
import type { RunState } from './run-state.js';

/** A watch returns at least so often: heartbeats tell of a lost one, this bounds how long one attempt may live. */
const WATCH_MAX_MS = 60 * 60_000;

export interface SoakRequest {
  readonly state: RunState;
  readonly controls: Controls;
  readonly gates: Gates;
  readonly watch: Omit<WatchCall, 'mode' | 'maxMs' | 'heldOnDrift' | 'cut' | 'fitsUpTo'>;
  /** How large stable may become before what is watched is too small beside it; null: as large as it likes. */
  readonly fitsUpTo: () => number | null;
  /** It is larger: what is watched shall grow with it, while it is watched on. */
  readonly onOutgrown: (stableReplicas: number) => void;
  /** A permit for each watch to send users back by itself; null where that is not one write. */
  readonly permitCut: () => Permit | null;
  /** What came of that: the way back goes on from there. */
  readonly onCut: (cut: EffectResult) => void;
  /** `stage 2 of 3 at 25 %`, for people. */
  readonly title: string;
  /**
   * Nothing served before, so there may be no traffic to judge by: advance when the time is up, unless something is wrong.
   */
  readonly trial: boolean;
  /** A gate that must be approved before the rollout goes on; the guard goes on while people decide. */
  readonly gate: GateCall | null;
  readonly notify: (notice: {
    kind: string;
    severity: 'info' | 'warning' | 'page';
    title: string;
    text: string;
    n: string;
  }) => void;
}

/** `advance`: go on. `back`: roll back, and why. `drift`: somebody changed this, and a person must say what for. */
export type SoakResult =
  | { readonly kind: 'advance' }
  | { readonly kind: 'back'; readonly reason: Reason }
  | { readonly kind: 'drift'; readonly object: string; readonly text: string };

type Turn =
  | { readonly kind: 'watch'; readonly result: WatchResult }
  | { readonly kind: 'control' }
  | { readonly kind: 'deadline' }
  | { readonly kind: 'stopped' };

/** Why the soak does not advance by itself, since when, and until when. */
interface Hold {
  readonly kind: 'blind' | 'inconclusive';
  readonly sinceMs: number;
  readonly text: string;
}

/**
 * Watches one set of weights until the rollout may go on or must go back. A person who pauses, a gate, a HOLD and an
 * outage of the metrics all keep the weights as they are; in each of them a canary that turns bad is still rolled back.
 */
export async function soak(request: SoakRequest): Promise<SoakResult> {
  const { state, controls, notify, title } = request;
  const { heldMs } = state.request.policy.waits;
  let hold: Hold | null = null;
  let passed = false;
  let gateOpened = false;

  for (;;) {
    if (controls.stop !== null) return { kind: 'back', reason: stopReason(controls) };
    const skipped = controls.skip;
    if (skipped !== null) {
      if (!skipped.full) controls.skip = null;
      passed = true;
      hold = null;
    }
    if (passed && controls.paused === null) {
      if (request.gate === null) return { kind: 'advance' };
      if (!gateOpened) {
        gateOpened = true;
        request.gates.open(request.gate, heldMs);
      }
      if (request.gates.answer === 'approved') {
        request.gates.close('approved');
        return { kind: 'advance' };
      }
    }
    // Also while it is paused: no more is needed to go back.
    if (gateOpened && request.gates.answer === 'rejected') {
      request.gates.close('rejected');
      return { kind: 'back', reason: { code: 'approval-rejected', text: rejectedText(state, title) } };
    }

    const waiting = currentWait(request, { hold, atGate: passed && gateOpened });
    state.setWait(waiting);
    const mode: WatchMode =
      hold?.kind === 'blind'
        ? 'blind'
        : passed || request.trial || controls.paused !== null
          ? 'guard'
          : hold !== null
            ? 'overtime'
            : 'watch';
    const trialEnds = request.trial && controls.paused === null;
    const turn = await takeTurn(
      request,
      mode,
      trialEnds ? iso(request.watch.startMs + request.watch.durationMs) : (waiting?.deadline ?? null),
    );
    if (turn.kind === 'deadline' && trialEnds) {
      passed = true;
      hold = null;
      continue;
    }
    if (turn.kind === 'stopped') return { kind: 'back', reason: stopReason(controls) };
    if (turn.kind === 'control') continue;
    if (turn.kind === 'deadline') {
      if (passed && controls.paused === null && (await request.gates.hasAnswer())) continue;
      return {
        kind: 'back',
        reason: { code: 'wait-expired', text: `${waiting?.kind ?? 'wait'} for too long: ${waiting?.reason ?? ''}` },
      };
    }

    const { result } = turn;
    switch (result.kind) {
      case 'verdict':
        state.judged({ stage: request.watch.stage, verdict: result.verdict, evidence: result.evidence });
        if (result.verdict.kind === 'ROLLBACK') {
          state.say(`ROLLBACK at ${title}: ${result.verdict.summary}`, 'bad');
          return { kind: 'back', reason: { code: 'verdict', text: result.verdict.summary } };
        }
        if (result.verdict.kind === 'PROMOTE') {
          state.say(`PROMOTE at ${title}: ${result.verdict.summary}`, 'good');
          passed = true;
          hold = null;
        }
        break;
      case 'held': {
        state.judged({ stage: request.watch.stage, verdict: result.verdict, evidence: result.evidence });
        hold = { kind: 'inconclusive', sinceMs: Date.now(), text: result.verdict.summary };
        state.say(`HOLD at ${title}: ${result.verdict.summary}`, 'bad');
        notify({
          kind: 'held',
          severity: 'warning',
          title: `${state.name} is held`,
          text: result.verdict.summary,
          n: `${request.watch.stage}-held-${hold.sinceMs}`,
        });
        break;
      }
      case 'blind':
        hold = { kind: 'blind', sinceMs: Date.now(), text: result.reason };
        if (request.trial) break;
        state.say(`HOLD at ${title}: can't see the canary: ${result.reason}`, 'bad');
        notify({
          kind: 'alert',
          severity: 'page',
          title: `${state.name}: the canary can't be seen`,
          text: result.reason,
          n: `${request.watch.stage}-blind-${hold.sinceMs}`,
        });
        break;
      case 'sighted': {
        const blindMs = hold === null ? 0 : Date.now() - hold.sinceMs;
        hold = null;
        if (request.trial) break;
        state.say(`metrics are back after ${durationText(blindMs)}: going on with ${title}`, 'good');
        notify({
          kind: 'resolved',
          severity: 'info',
          title: `${state.name}: metrics are back`,
          text: `after ${durationText(blindMs)}`,
          n: `${request.watch.stage}-sighted-${Date.now()}`,
        });
        break;
      }
      case 'disturbed': {
        const { kind, object, text } = result.disturbance;
        if (kind === 'drift') return { kind: 'drift', object, text };
        return { kind: 'back', reason: harmReason(request, result.disturbance) };
      }
      case 'outgrown':
        request.onOutgrown(result.stableReplicas);
        break;
      case 'tick':
        break;
    }
  }
}

function harmReason({ state, title }: SoakRequest, { object, text }: Disturbance): Reason {
  state.say(`${object} at ${title}: ${text}`, 'bad');
  return { code: 'disturbed', text: `${object}: ${text}` };
}

/**
 * Keeps up the guard while a person is waited for. Null: `done`, or the deadline has passed; else why it must go back.
 */
export async function guardUntil(request: SoakRequest, deadline: string, done: () => boolean): Promise<Reason | null> {
  const { controls, state, title } = request;
  for (let mode: WatchMode = 'guard'; !done();) {
    if (controls.stop !== null) return stopReason(controls);
    const turn = await takeTurn(request, mode, deadline, true);
    if (turn.kind === 'stopped') return stopReason(controls);
    if (turn.kind === 'deadline') return null;
    if (turn.kind === 'control') continue;
    const { result } = turn;
    if (result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK') {
      state.judged({ stage: request.watch.stage, verdict: result.verdict, evidence: result.evidence });
      state.say(`ROLLBACK at ${title}: ${result.verdict.summary}`, 'bad');
      return { code: 'verdict', text: result.verdict.summary };
    }
    if (result.kind === 'disturbed') return harmReason(request, result.disturbance);
    if (result.kind === 'outgrown') {
      request.onOutgrown(result.stableReplicas);
      continue;
    }
    mode = result.kind === 'blind' ? 'blind' : 'guard';
  }
  return null;
}

/** One watch, against people and the deadline: whichever comes first; a watch that is still open then is cancelled. */
async function takeTurn(
  request: SoakRequest,
  mode: WatchMode,
  deadline: string | null,
  heldOnDrift = false,
): Promise<Turn> {
  const { controls, state } = request;
  const seen = controls.version;
  const limit = request.fitsUpTo();
  const call: WatchCall = {
    ...request.watch,
    mode,
    maxMs: WATCH_MAX_MS,
    heldOnDrift,
    cut: request.permitCut(),
    ...(limit === null ? {} : { fitsUpTo: limit }),
  };
  const summary = `${request.title} (${mode})`;
  const scope = new CancellationScope();
  let turn: Turn | null = null;
  const watching = scope
    .run(() => with_(waits(WATCH_MAX_MS), 'watch', { summary }, call))
    .then(
      (result) => {
        turn = { kind: 'watch', result };
        if (result.cut !== undefined) request.onCut(result.cut);
      },
      (error: unknown) => {
        if (isCancellation(error)) turn ??= { kind: 'stopped' };
        else if (error instanceof ActivityFailure)
          turn = { kind: 'watch', result: { kind: 'blind', reason: failureText(error) } };
        else throw error;
      },
    );
  const interrupted = (): boolean => turn !== null || controls.version !== seen;
  try {
    if (deadline === null) await condition(interrupted);
    else {
      const leftMs = Math.max(1, Date.parse(deadline) - Date.now());
      const inTime = await condition(interrupted, leftMs, {
        summary: `deadline: ${state.wait?.kind ?? 'end of the trial'}`,
      });
      if (!inTime) turn ??= { kind: 'deadline' };
    }
    turn ??= { kind: 'control' };
  } catch (error) {
    if (!isCancellation(error)) throw error;
    turn = { kind: 'stopped' };
  }
  scope.cancel();
  await watching;
  return CancellationScope.current().consideredCancelled ? { kind: 'stopped' } : turn;
}

function currentWait(
  request: SoakRequest,
  { hold, atGate }: { readonly hold: Hold | null; readonly atGate: boolean },
): Wait | null {
  const { state, controls, title } = request;
  const { waits: limits, lane, owner } = state.request.policy;
  const id = state.request.rolloutId;
  const who = owner ?? `the owners of ${lane.service}`;
  if (hold?.kind === 'blind' && !request.trial) {
    return {
      kind: 'blind',
      since: iso(hold.sinceMs),
      deadline: iso(hold.sinceMs + limits.blindMs),
      atDeadline: 'rolled back',
      reason: `can't see the canary: ${hold.text}`,
      who: '',
      commands: [`slipway promote ${id} --reason "…"`, `slipway abort ${id}`],
      gate: null,
    };
  }
  if (controls.paused !== null) {
    const { sinceMs, by } = controls.paused;
    return {
      kind: 'paused',
      since: iso(sinceMs),
      deadline: iso(sinceMs + limits.heldMs),
      atDeadline: 'rolled back',
      reason: `${by} paused it at ${title}`,
      who,
      commands: [`slipway resume ${id}`, `slipway abort ${id}`],
      gate: null,
    };
  }
  if (atGate) return request.gates.wait();
  if (hold !== null) {
    return {
      kind: 'inconclusive',
      since: iso(hold.sinceMs),
      deadline: iso(hold.sinceMs + limits.heldMs),
      atDeadline: 'rolled back',
      reason: hold.text,
      who,
      commands: [`slipway promote ${id} --reason "…"`, `slipway abort ${id}`],
      gate: null,
    };
  }
  return null;
}

export function stopReason(controls: Controls): Reason {
  const { stop } = controls;
  if (stop === null) return { code: 'cancelled', text: 'the workflow was cancelled' };
  return { code: stop.cause, text: stop.text };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
