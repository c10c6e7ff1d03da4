import { cancellationSignal, Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import type { RolloutResult } from '../domain/rollout.js';
import type { Activities, RunState } from './contract.js';
import { beating, pause } from './waiting.js';

/** Pause between two looks at a run that is followed. */
const FOLLOW_POLL_MS = 2000;
/** A follower returns at least so often; the lane begins another. */
const FOLLOW_MAX_MS = 30 * 60_000;

export interface RunDeps {
  /** Sends the lane's wake-up: the composition root knows the workflow's name and signal. */
  readonly wakeLane: (client: Client, call: Parameters<Activities['wakeLane']>[0]) => Promise<void>;
}

/** Looks at runs of workflows that are not children of the caller. */
export function createRunActivities(deps: RunDeps): Pick<Activities, 'inspectRun' | 'followRun' | 'wakeLane'> {
  return {
    inspectRun: ({ workflowId }) => inspect(Context.current().client, workflowId),

    async followRun({ workflowId }) {
      const { client } = Context.current();
      const signal = cancellationSignal();
      const begunMs = Date.now();
      return beating(async () => {
        for (;;) {
          const run = await inspect(client, workflowId);
          if (run.kind !== 'open' || Date.now() - begunMs > FOLLOW_MAX_MS) return run;
          await pause(FOLLOW_POLL_MS, signal);
        }
      });
    },

    wakeLane: (call) => deps.wakeLane(Context.current().client, call),
  };
}

async function inspect(client: Client, workflowId: string): Promise<RunState> {
  const handle = client.workflow.getHandle<() => Promise<RolloutResult>>(workflowId);
  try {
    const { status } = await handle.describe();
    if (status.name === 'RUNNING' || status.name === 'PAUSED' || status.name === 'CONTINUED_AS_NEW')
      return { kind: 'open' };
    return { kind: 'closed', status: status.name, result: status.name === 'COMPLETED' ? await handle.result() : null };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return { kind: 'none' };
    throw error;
  }
}
