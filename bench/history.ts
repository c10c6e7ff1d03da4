import { Worker } from '@temporalio/worker';
import { rolloutWorkflowId } from '../workflows/messages.js';
import { startFakeEnv, WORKFLOW_BUNDLE } from '../test/support/fake-env.js';
import { stage, testRequest } from '../test/support/request.js';
import { median } from './numbers.js';

const REPLAYS = 60;

export interface HistoryCost {
  readonly events: number;
  readonly bytes: number;
  /** One replay of the whole history by a warm worker, ms; median of several. */
  readonly replayMs: number;
}

/** Events of a rollout of four stages of 30 minutes each, and what it costs to replay them. */
export async function measureHistory(): Promise<HistoryCost> {
  const env = await startFakeEnv();
  try {
    const world = await env.worldWithV1();
    const stages = [5, 10, 25, 50].map((weight) => stage(weight, 30 * 60));
    const policy = world.policy({ stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages } });
    const request = testRequest({ policy, tag: 'v2' });
    const { outcome } = await env.pilot.ship(request);
    if (outcome !== 'completed') throw new Error(`the rollout ended ${outcome}`);
    const workflowId = rolloutWorkflowId(policy.lane, request.rolloutId);
    const history = await env.slipway.client.workflow.getHandle(workflowId).fetchHistory();
    const events = history.events ?? [];
    const code = { workflowBundle: { codePath: WORKFLOW_BUNDLE } };
    const times: number[] = [];
    // One replayer for all, and the first half to warm it up: what is measured is a replay by a worker that has been
    // running, neither the loading of the bundle nor the compiler.
    const copies = Array.from({ length: 2 * REPLAYS }, (_, index) => ({
      workflowId: `${workflowId}-${index}`,
      history,
    }));
    let last = performance.now();
    for await (const result of Worker.runReplayHistories(code, copies)) {
      if (result.error !== undefined) throw result.error;
      times.push(performance.now() - last);
      last = performance.now();
    }
    return {
      events: events.length,
      bytes: Buffer.byteLength(JSON.stringify(history)),
      replayMs: median(times.slice(REPLAYS)),
    };
  } finally {
    await env.stop();
  }
}
