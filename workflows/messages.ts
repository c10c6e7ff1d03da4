/** The contract of the workflows: what clients start, send and ask. Names and shapes are public API from v0.1. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Decision, DecisionReceipt } from '../domain/approval/decision.js';
import type { EnqueueReceipt, LaneView } from '../domain/lane.js';
import type { RolloutRequest, RolloutView } from '../domain/rollout.js';
import type { LaneRef, Target } from '../domain/target.js';

export const DEFAULT_TASK_QUEUE = 'slipway';

/** Queue of the activities that wait: watches, readiness, followers. Rollback effects never share slots with them. */
export function waitsQueue(taskQueue: string): string {
  return `${taskQueue}-waits`;
}

export function laneWorkflowId(lane: LaneRef): string {
  return `lane/${lane.environment}/${lane.service}`;
}

export function rolloutWorkflowId(lane: LaneRef, rolloutId: string): string {
  return `rollout/${lane.environment}/${lane.service}/${rolloutId}`;
}

export function recoverWorkflowId(lane: LaneRef, rolloutId: string): string {
  return `recover/${lane.environment}/${lane.service}/${rolloutId}`;
}

export function slackEndWorkflowId(lane: LaneRef, rolloutId: string): string {
  return `slack-end/${lane.environment}/${lane.service}/${rolloutId}`;
}

/** A workflow task handed to a worker in the instant of its death waits so long (durability-notes.md, section 3). */
export const WORKFLOW_TASK_TIMEOUT = '3s';

/** Approve or reject a gate. */
export const decideUpdate = defineUpdate<DecisionReceipt, [Decision]>('decide');
/** No advance until resumed; the guard goes on. */
export const pauseUpdate = defineUpdate<DecisionReceipt, [Decision]>('pause');
/** Ends a pause; over a drift: write over what was found, but for configuration. */
export const resumeUpdate = defineUpdate<DecisionReceipt, [Decision]>('resume');
/** Skip the rest of the stage, or of all stages. */
export const promoteUpdate = defineUpdate<DecisionReceipt, [Decision]>('promote');
/** Roll back and end. */
export const abortUpdate = defineUpdate<DecisionReceipt, [Decision]>('abort');
/** Durable fallback for all verbs, for when no worker is up. */
export const decisionSignal = defineSignal<[Decision]>('decision');
/** From the lane: another rollout wants it. */
export const giveWaySignal =
  defineSignal<[{ readonly cause: 'superseded' | 'pre-empted'; readonly by: string }]>('giveWay');
export const viewQuery = defineQuery<RolloutView>('view');

export const enqueueUpdate = defineUpdate<EnqueueReceipt, [RolloutRequest]>('enqueue');
export const unblockUpdate = defineUpdate<
  { readonly text: string },
  [{ readonly subject: string; readonly reason: string }]
>('unblock');
/** Abort a rollout that still waits in the queue. */
export const withdrawUpdate = defineUpdate<
  DecisionReceipt,
  [{ readonly rolloutId: string; readonly decision: Decision }]
>('withdraw');
/** Settle what the anchor says, if nothing runs. */
export const checkSignal = defineSignal<[{ readonly target: Target }]>('check');
export const laneQuery = defineQuery<LaneView>('lane');
/** What was asked for, of a rollout that waits in the queue; null for any other. */
export const queuedQuery = defineQuery<RolloutRequest | null, [string]>('queued');

/** Searchable facts of a rollout; registered by `slipway setup`. They are not encrypted: never a secret here. */
export const searchAttributes = {
  service: defineSearchAttributeKey('SlipwayService', SearchAttributeType.KEYWORD),
  environment: defineSearchAttributeKey('SlipwayEnvironment', SearchAttributeType.KEYWORD),
  rolloutId: defineSearchAttributeKey('SlipwayRolloutId', SearchAttributeType.KEYWORD),
  release: defineSearchAttributeKey('SlipwayRelease', SearchAttributeType.KEYWORD),
  phase: defineSearchAttributeKey('SlipwayPhase', SearchAttributeType.KEYWORD),
  waitsFor: defineSearchAttributeKey('SlipwayWaitsFor', SearchAttributeType.KEYWORD),
  outcome: defineSearchAttributeKey('SlipwayOutcome', SearchAttributeType.KEYWORD),
  risk: defineSearchAttributeKey('SlipwayRisk', SearchAttributeType.DOUBLE),
  deadline: defineSearchAttributeKey('SlipwayDeadline', SearchAttributeType.DATETIME),
} as const;

/** The phase of a lane in which rollouts wait; of one that has no queue it is absent. */
export const LANE_QUEUED = 'queued';
/** Memo of such a lane: who waits, as a `QueueNotice`. */
export const QUEUE_MEMO = 'SlipwayQueue';

export const LANE_WORKFLOW = 'lane';
export const ROLLOUT_WORKFLOW = 'rollout';
export const RECONCILE_WORKFLOW = 'reconcile';
export const SLACK_END_WORKFLOW = 'slackEnd';
export const RECONCILE_SCHEDULE_ID = 'slipway-reconcile';
