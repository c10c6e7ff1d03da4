import { fileURLToPath } from 'node:url';
import { NativeConnection, Worker } from '@temporalio/worker';
import type { ReplayWorkerOptions } from '@temporalio/worker';
import { rolloutWorkflowId } from '../workflows/messages.js';
import { startFakeEnv, WORKFLOW_BUNDLE } from '../test/support/fake-env.js';
import type { FakeEnv } from '../test/support/fake-env.js';
import { stage, testRequest } from '../test/support/request.js';
import { median } from './numbers.js';

const REPLAYS = 60;
const BARE = fileURLToPath(new URL('bare-workflow.js', import.meta.url));
const BARE_QUEUE = 'bare';

type History = Awaited<ReturnType<ReturnType<FakeEnv['slipway']['client']['workflow']['getHandle']>['fetchHistory']>>;

export interface HistoryCost {
  readonly events: number;
  readonly bytes: number;
  readonly activities: number;
  /** One replay of the whole history by a warm worker, ms; median of several. */
  readonly replayMs: number;
  /** The same of a workflow that does nothing but call as many activities, one after the other. */
  readonly bareReplayMs: number;
}

/** Events of a rollout of four stages of 30 minutes each, and what it costs to replay them. */
export async function measureHistory(): Promise<HistoryCost> {
  const env = await startFakeEnv();
  try {
    const history = await rolloutHistory(env);
    const events = history.events ?? [];
    const activities = events.filter((event) => event.activityTaskScheduledEventAttributes != null).length;
    const replayMs = await replay({ workflowBundle: { codePath: WORKFLOW_BUNDLE } }, history);
    const bareReplayMs = await replay({ workflowsPath: BARE }, await bareHistory(env, activities));
    const bytes = Buffer.byteLength(JSON.stringify(history));
    return { events: events.length, bytes, activities, replayMs, bareReplayMs };
  } finally {
    await env.stop();
  }
}

async function rolloutHistory(env: FakeEnv): Promise<History> {
  const world = await env.worldWithV1();
  const stages = [5, 10, 25, 50].map((weight) => stage(weight, 30 * 60));
  const policy = world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } });
  const request = testRequest({ policy, tag: 'v2' });
  const { outcome } = await env.pilot.ship(request);
  if (outcome !== 'completed') throw new Error(`the rollout ended ${outcome}`);
  const { client } = env.slipway;
  return client.workflow.getHandle(rolloutWorkflowId(policy.lane, request.rolloutId)).fetchHistory();
}

async function bareHistory(env: FakeEnv, activities: number): Promise<History> {
  const connection = await NativeConnection.connect({ address: env.temporal.address });
  try {
    const worker = await Worker.create({
      connection,
      namespace: env.temporal.namespace,
      taskQueue: BARE_QUEUE,
      workflowsPath: BARE,
      activities: { nothing: () => Promise.resolve() },
    });
    const { workflow } = env.slipway.client;
    const options = { taskQueue: BARE_QUEUE, workflowId: 'bare', args: [activities] };
    await worker.runUntil(() => workflow.execute('bare', options));
    return await workflow.getHandle('bare').fetchHistory();
  } finally {
    await connection.close();
  }
}

/**
 * One replayer for all, and the first half to warm it up: what is measured is a replay by a worker that has been running,
 * neither the loading of the bundle nor the compiler.
 */
async function replay(code: ReplayWorkerOptions, history: History): Promise<number> {
  const copies = Array.from({ length: 2 * REPLAYS }, (_, index) => ({ workflowId: `copy-${index}`, history }));
  const times: number[] = [];
  let last = performance.now();
  for await (const result of Worker.runReplayHistories(code, copies)) {
    if (result.error !== undefined) throw result.error;
    times.push(performance.now() - last);
    last = performance.now();
  }
  return median(times.slice(REPLAYS));
}
