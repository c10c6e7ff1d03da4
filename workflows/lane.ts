import { WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/common';
import {
  allHandlersFinished,
  ChildWorkflowFailure,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  ParentClosePolicy,
  setCurrentDetails,
  setHandler,
  startChild,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import {
  enqueue,
  expireQueued,
  finish,
  laneView,
  newLane,
  queueNotice,
  takeNext,
  wasWithdrawnBy,
  withdraw,
} from '../domain/lane.js';
import type { LaneState } from '../domain/lane.js';
import type { DecisionReceipt } from '../domain/approval/decision.js';
import { releaseName } from '../domain/release.js';
import type { RolloutRequest, RolloutResult } from '../domain/rollout.js';
import type { Policy } from '../domain/policy.js';
import type { AnchorHolder, LaneRef, Target } from '../domain/target.js';
import { looks, waits } from './activity-profiles.js';
import {
  checkSignal,
  enqueueUpdate,
  giveWaySignal,
  LANE_QUEUED,
  laneQuery,
  QUEUE_MEMO,
  queuedQuery,
  recoverWorkflowId,
  rolloutWorkflowId,
  searchAttributes,
  unblockUpdate,
  withdrawUpdate,
  WORKFLOW_TASK_TIMEOUT,
} from './messages.js';
import { recover } from './recover.js';
import { onUpdate } from './on-update.js';
import { rollout } from './rollout.js';

/** A new run is begun, between rollouts, when the history is longer than this. */
const HISTORY_LIMIT = 2000;
/** How long one follower of a foreign run may take before it is started anew. */
const FOLLOW_MS = 60 * 60_000;
/** The notice of a queue in which nobody is, as JSON. */
const NOBODY_WAITS = JSON.stringify(null);

export interface LaneInput {
  readonly lane: LaneRef;
  /** Null at the very first start; the state of the run before it otherwise. */
  readonly state: LaneState | null;
}

/**
 * The lane of one service in one environment: one rollout at a time, in order. It holds the lane by being the parent of
 * the rollout's run, so there is no lease that could expire or leak. It never continues as new while a child is open.
 */
export async function lane(input: LaneInput): Promise<void> {
  return new Lane(input).run();
}

class Lane {
  private state: LaneState;
  /** The platform's word on who holds the lane is asked for once at the start, and when told to. */
  private check: Target | null = null;
  /** The notice of the queue as it was given last, as JSON; a run that goes on for another gives it anew. */
  private told: string | null;

  constructor(input: LaneInput) {
    this.told = input.state === null ? NOBODY_WAITS : null;
    this.state = input.state ?? newLane(input.lane);
    onUpdate(
      enqueueUpdate,
      (request) => {
        const before = this.state.running;
        const { state, receipt, tellRunning } = enqueue(this.state, request, Date.now());
        this.state = state;
        this.refresh();
        if (tellRunning !== null && before !== null) void this.tell(before, tellRunning, request);
        return receipt;
      },
      { description: 'Ask for a rollout' },
    );
    onUpdate(
      unblockUpdate,
      ({ subject, reason }) => {
        const { blocked } = this.state;
        if (blocked === null) return { text: 'the lane is not blocked' };
        this.state = { ...this.state, blocked: null };
        this.refresh();
        return { text: `${subject} unblocked the lane (${reason}); it was blocked because: ${blocked.reason}` };
      },
      { description: 'Let the lane go on after a failed rollback was looked at' },
    );
    onUpdate(
      withdrawUpdate,
      ({ rolloutId, decision }): DecisionReceipt => {
        const { subject } = decision.actor;
        const because = decision.reason === null ? '' : `: ${decision.reason}`;
        const state = withdraw(this.state, rolloutId, {
          id: decision.id,
          reason: `aborted in the queue by ${subject}${because}`,
        });
        if (state === null && wasWithdrawnBy(this.state, rolloutId, decision.id))
          return { kind: 'duplicate', text: 'this has taken it out of the queue before' };
        if (state === null)
          return { kind: 'refused', code: 'finished', text: 'this rollout does not wait in its lane' };
        this.state = state;
        this.refresh();
        return { kind: 'accepted', text: `${subject} took the rollout out of the queue${because}` };
      },
      { description: 'Abort a rollout that still waits in the queue' },
    );
    setHandler(checkSignal, ({ target }) => {
      this.check = target;
    });
    setHandler(laneQuery, () => laneView(this.state));
    setHandler(
      queuedQuery,
      (rolloutId) => this.state.queue.find(({ request }) => request.rolloutId === rolloutId)?.request ?? null,
    );
  }

  async run(): Promise<void> {
    for (;;) {
      this.refresh();
      const { queue } = this.state;
      const soonest = Math.min(...queue.map((item) => item.expiresAtMs));
      const ready = (): boolean =>
        this.check !== null || (this.state.blocked === null && this.state.queue.length > 0) || this.tooLong();
      if (Number.isFinite(soonest))
        await condition(ready, Math.max(1, soonest - Date.now()), { summary: 'the first in the queue expires' });
      else await condition(() => ready() || this.state.queue.length > 0);
      this.state = expireQueued(this.state, Date.now());

      const waiting = this.state.queue[0]?.request.policy ?? null;
      const target = this.check ?? waiting?.target ?? null;
      if (target !== null && (this.check !== null || this.state.blocked === null)) {
        this.check = null;
        await this.settle(target, waiting?.notify ?? []);
      }
      const next = takeNext(this.state);
      if (next !== null) {
        this.state = next.state;
        this.refresh();
        await this.runRollout(next.request);
      }
      if (this.tooLong()) {
        await condition(allHandlersFinished);
        if (this.check === null) await continueAsNew<typeof lane>({ lane: this.state.lane, state: this.state });
      }
    }
  }

  private tooLong(): boolean {
    const info = workflowInfo();
    return this.state.running === null && (info.continueAsNewSuggested || info.historyLength > HISTORY_LIMIT);
  }

  /** Makes the lane agree with its anchor: a rollout named there that runs is followed, one whose run is gone is recovered. */
  private async settle(target: Target, notify: readonly string[]): Promise<void> {
    const { lane } = this.state;
    const holder = await this.holder(target);
    if (holder === null || holder.rolloutId === this.state.blocked?.rolloutId) return;
    const { rolloutId } = holder;
    this.state = { ...this.state, running: rolloutId };
    this.refresh();
    const result = holder.claimant === 'rollout' ? await this.follow(rolloutWorkflowId(lane, rolloutId)) : null;
    // The anchor is let go before a run ends: a closed run that is still named there did not finish its work.
    if (result !== null && (await this.holder(target))?.rolloutId !== rolloutId) return this.ended(result);
    await this.recover({ target, notify }, rolloutId, 'the anchor names a rollout whose run is gone');
  }

  /**
   * Who holds the lane by the platform's word. A platform that can't be asked stops nothing here: the rollout itself says
   * so, and none gets past its claim, which asks the platform again.
   */
  private async holder(target: Target): Promise<AnchorHolder | null> {
    const answer = await looks().readAnchor({ lane: this.state.lane, target });
    if (answer.kind === 'unreachable' || answer.anchor === null) return null;
    this.state = { ...this.state, generation: Math.max(this.state.generation, answer.anchor.generation) };
    return answer.anchor.current;
  }

  private async runRollout(request: RolloutRequest): Promise<void> {
    const { lane, remembered, generation } = this.state;
    const { rolloutId } = request;
    const workflowId = rolloutWorkflowId(lane, rolloutId);
    const lastRollback = remembered.findLast(
      (entry) => entry.outcome === 'rolled-back' || entry.outcome === 'rollback-failed',
    );
    let result: RolloutResult | null;
    try {
      const child = await startChild(rollout, {
        workflowId,
        args: [{ request, laneGeneration: generation, lastRollbackAtMs: lastRollback?.atMs ?? null }],
        // Continue-as-new and termination of the lane apply this policy: anything else would take the child with it.
        parentClosePolicy: ParentClosePolicy.ABANDON,
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
        staticSummary: `${releaseName(request.release.images)} → ${lane.environment}`.slice(0, 180),
        typedSearchAttributes: [
          { key: searchAttributes.service, value: lane.service },
          { key: searchAttributes.environment, value: lane.environment },
          { key: searchAttributes.rolloutId, value: rolloutId },
          { key: searchAttributes.release, value: releaseName(request.release.images).slice(0, 200) },
          { key: searchAttributes.phase, value: 'accepted' },
        ],
      });
      result = await child.result();
    } catch (error) {
      // Closed without an outcome (terminated, failed), reset (a new run has the same id), or started by an earlier lane.
      if (!(error instanceof ChildWorkflowFailure) && !(error instanceof WorkflowExecutionAlreadyStartedError))
        throw error;
      result = await this.follow(workflowId);
    }
    if (result !== null) return this.ended(result);
    await this.recover(request.policy, rolloutId, 'its run closed without a recorded outcome');
  }

  /** The result of a run that is not (any more) a child: null where it is gone or closed without an outcome. */
  private async follow(workflowId: string): Promise<RolloutResult | null> {
    for (;;) {
      const run = await looks().inspectRun({ workflowId });
      if (run.kind === 'none') return null;
      if (run.kind === 'closed') return run.result;
      const followed = await waits(FOLLOW_MS).followRun({ workflowId });
      if (followed.kind === 'closed') return followed.result;
    }
  }

  private async recover(
    { target, notify }: Pick<Policy, 'target' | 'notify'>,
    rolloutId: string,
    cause: string,
  ): Promise<void> {
    const { lane, generation } = this.state;
    const workflowId = recoverWorkflowId(lane, rolloutId);
    let result: RolloutResult | null = null;
    try {
      const child = await startChild(recover, {
        workflowId,
        args: [{ lane, target, rolloutId, laneGeneration: generation, cause, notify }],
        parentClosePolicy: ParentClosePolicy.ABANDON,
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
        staticSummary: `recover ${lane.service} in ${lane.environment}`,
        typedSearchAttributes: [
          { key: searchAttributes.service, value: lane.service },
          { key: searchAttributes.environment, value: lane.environment },
          { key: searchAttributes.rolloutId, value: rolloutId },
          { key: searchAttributes.phase, value: 'recovering' },
        ],
      });
      result = await child.result();
    } catch (error) {
      if (!(error instanceof ChildWorkflowFailure) && !(error instanceof WorkflowExecutionAlreadyStartedError))
        throw error;
      result = await this.follow(workflowId);
    }
    this.ended(
      result ?? {
        rolloutId: rolloutId as RolloutResult['rolloutId'],
        outcome: 'rollback-failed',
        reason: { code: 'lost-run', text: 'the recovery itself was ended without an outcome' },
        rolledBack: false,
        endedAt: new Date().toISOString(),
        record: null,
      },
    );
  }

  private ended(result: RolloutResult): void {
    const { rolloutId, outcome, reason, breakGlass = null } = result;
    this.state = finish(
      { ...this.state, running: rolloutId },
      { rolloutId, outcome, reason: reason.text, breakGlass },
      Date.now(),
    );
    this.refresh();
  }

  private async tell(rolloutId: string, cause: 'superseded' | 'pre-empted', by: RolloutRequest): Promise<void> {
    try {
      await getExternalWorkflowHandle(rolloutWorkflowId(this.state.lane, rolloutId)).signal(giveWaySignal, {
        cause,
        by: by.rolloutId,
      });
    } catch (error) {
      // It has closed in this very moment: then it gives way anyway.
      if (!(error instanceof Error) || error.name === 'DeterminismViolationError') throw error;
    }
  }

  private refresh(): void {
    const { lane, running, queue, blocked } = this.state;
    const lines = [`## Lane of ${lane.service} in ${lane.environment}`, ''];
    lines.push(running === null ? 'Free.' : `Runs rollout ${running}.`);
    if (blocked !== null)
      lines.push(
        '',
        `**Blocked**: ${blocked.reason}`,
        `- \`slipway lane unblock ${lane.service} --env ${lane.environment} --reason "…"\``,
      );
    for (const item of queue)
      lines.push(`- queued: ${item.request.rolloutId} ${releaseName(item.request.release.images)}`);
    setCurrentDetails(lines.join('\n').slice(0, 18_000));
    this.tellQueue();
  }

  /**
   * Lists find lanes in which somebody waits by what search knows, and who it is by the lane's memo. Search is told no more
   * often than it must be: a write of its own each time, which whoever asks for a rollout would wait for.
   */
  private tellQueue(): void {
    const { lane } = this.state;
    const notice = queueNotice(this.state);
    const told = JSON.stringify(notice);
    const before = this.told;
    if (told === before) return;
    this.told = told;
    upsertMemo({ [QUEUE_MEMO]: notice });
    if (before !== null && (before === NOBODY_WAITS) === (notice === null)) return;
    upsertSearchAttributes([
      { key: searchAttributes.service, value: lane.service },
      { key: searchAttributes.environment, value: lane.environment },
      { key: searchAttributes.phase, value: notice === null ? null : LANE_QUEUED },
    ]);
  }
}
