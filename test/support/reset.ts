import { randomUUID } from 'node:crypto';
import type { Slipway } from '../../client/slipway.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';

export interface Run {
  readonly runId: string;
  /** Events that it can be reset to, oldest first. */
  readonly checkpoints: readonly Checkpoint[];
}

type Service = Slipway['client']['workflowService'];
type Checkpoint = NonNullable<Parameters<Service['resetWorkflowExecution']>[0]['workflowTaskFinishEventId']>;

/** The run of a rollout that is the current one. */
export async function currentRun({ client }: Slipway, { policy, rolloutId }: RolloutRequest): Promise<Run> {
  const handle = client.workflow.getHandle(rolloutWorkflowId(policy.lane, rolloutId));
  const { runId } = await handle.describe();
  const { events } = await handle.fetchHistory();
  const checkpoints = (events ?? []).flatMap(({ eventId, workflowTaskCompletedEventAttributes }) =>
    workflowTaskCompletedEventAttributes == null || eventId == null ? [] : [eventId],
  );
  return { runId, checkpoints };
}

/** What `temporal workflow reset` does; gives the id of the new run. A number behind the last checkpoint is the last one. */
export async function resetRun(
  { client }: Slipway,
  { policy, rolloutId }: RolloutRequest,
  { runId, checkpoints }: Run,
  checkpoint: number,
): Promise<string> {
  const answer = await client.workflowService.resetWorkflowExecution({
    namespace: client.options.namespace,
    workflowExecution: { workflowId: rolloutWorkflowId(policy.lane, rolloutId), runId },
    reason: 'a test',
    requestId: randomUUID(),
    workflowTaskFinishEventId: checkpoints[Math.min(checkpoint, checkpoints.length - 1)] ?? null,
  });
  return answer.runId ?? '';
}
