import { ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { SearchAttributeType } from '@temporalio/common';
import {
  RECONCILE_SCHEDULE_ID,
  RECONCILE_WORKFLOW,
  searchAttributes,
  WORKFLOW_TASK_TIMEOUT,
} from '../workflows/messages.js';

export interface SetupReport {
  /** Search attributes that were added now. */
  readonly added: readonly string[];
  readonly schedule: 'created' | 'there';
}

/** The values of `temporal.api.enums.v1.IndexedValueType` for the types that we use. */
const INDEXED_VALUE_TYPE: Readonly<Record<string, number>> = {
  [SearchAttributeType.KEYWORD]: 2,
  [SearchAttributeType.DOUBLE]: 4,
  [SearchAttributeType.DATETIME]: 6,
};

/**
 * Makes a namespace ready for Slipway: search attributes and the reconcile schedule. Idempotent; workers do it at their
 * start and every minute, so that an emptied Temporal database is made ready again by itself.
 */
export async function ensureSetup(
  client: Client,
  options: { readonly taskQueue: string; readonly timeoutMs?: number },
): Promise<SetupReport> {
  const added = await ensureSearchAttributes(client, options.timeoutMs ?? 20_000);
  return { added, schedule: await ensureSchedule(client, options.taskQueue) };
}

/** Adds what is missing, and waits until the server knows it. */
export async function ensureSearchAttributes(client: Client, timeoutMs: number): Promise<readonly string[]> {
  const { operatorService } = client.connection;
  const { namespace } = client.options;
  const wanted = Object.values(searchAttributes);
  const missing = async (): Promise<typeof wanted> => {
    const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
    return wanted.filter((key) => customAttributes?.[key.name] === undefined);
  };
  const absent = await missing();
  if (absent.length === 0) return [];
  await operatorService.addSearchAttributes({
    namespace,
    searchAttributes: Object.fromEntries(absent.map((key) => [key.name, INDEXED_VALUE_TYPE[key.type] ?? 2])),
  });
  // Registration is eventually consistent: a workflow that is started too early is refused.
  for (const until = Date.now() + timeoutMs; (await missing()).length > 0;) {
    if (Date.now() > until)
      throw new Error(
        `search attributes ${absent.map((key) => key.name).join(', ')} were added but are not listed after ${timeoutMs} ms`,
      );
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return absent.map((key) => key.name);
}

async function ensureSchedule(client: Client, taskQueue: string): Promise<SetupReport['schedule']> {
  try {
    await client.schedule.create({
      scheduleId: RECONCILE_SCHEDULE_ID,
      spec: { intervals: [{ every: '1m' }] },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1m' },
      action: {
        type: 'startWorkflow',
        workflowType: RECONCILE_WORKFLOW,
        taskQueue,
        workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
        args: [],
      },
      memo: { purpose: 'finds rollouts whose run is gone, and has their lane recover them' },
    });
    return 'created';
  } catch (error) {
    if (error instanceof ScheduleAlreadyRunning) return 'there';
    throw error;
  }
}
