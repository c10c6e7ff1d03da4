import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { Activities } from '../../activities/contract.js';
import type { RunDeps } from '../../activities/runs.js';
import { ensureSearchAttributes } from '../../client/setup.js';
import { Slipway } from '../../client/slipway.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { startTemporal } from '../../tools/temporal-server.js';
import type { TemporalServer } from '../../tools/temporal-server.js';
import {
  checkSignal,
  LANE_WORKFLOW,
  laneWorkflowId,
  waitsQueue,
  WORKFLOW_TASK_TIMEOUT,
} from '../../workflows/messages.js';
import { Pilot } from './drive.js';
import { allIsWell, createFakeActivities, Worlds } from './fake-activities.js';
import type { FakeOutside, World } from './fake-activities.js';

export const WORKFLOW_BUNDLE = fileURLToPath(new URL('../../workflow-bundle.js', import.meta.url));
export const FAKE_TASK_QUEUE = 'fake';

/** A real Temporal server, the real workflows in this process, and platforms in memory. */
export interface FakeEnv {
  readonly temporal: TemporalServer;
  readonly slipway: Slipway;
  readonly pilot: Pilot;
  readonly worlds: Worlds;
  /** A service that runs v1, so that there is something to go back to. */
  worldWithV1(): Promise<World>;
  /** Begins a rollout that stays in its first stage, with 25 % of the traffic, until `world.watch` says otherwise. */
  inCanary(world: World, request: RolloutRequest): Promise<RolloutRequest>;
  stop(): Promise<void>;
}

/** @param maxCachedWorkflows with 0 each task is a replay of all that was before it, as after the loss of a worker */
export async function startFakeEnv(
  outside: FakeOutside = {},
  { maxCachedWorkflows }: { readonly maxCachedWorkflows?: number } = {},
): Promise<FakeEnv> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-fake-'));
  const parts: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  const stop = async (): Promise<void> => {
    for (const part of parts.reverse()) await part();
  };
  try {
    const temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    parts.push(() => temporal.stop());
    const slipway = await Slipway.connect({
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_TASK_QUEUE: FAKE_TASK_QUEUE,
    });
    parts.push(() => slipway.close());
    await ensureSearchAttributes(slipway.client, 10_000);
    quiet();
    const connection = await NativeConnection.connect({ address: temporal.address });
    parts.push(() => connection.close());
    const worlds = new Worlds();
    const worker = await startFakeWorker({
      connection,
      namespace: temporal.namespace,
      activities: createFakeActivities(worlds, wakeLane, outside),
      ...(maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows }),
    });
    parts.push(worker, () => worlds.releaseAll());
    const pilot = new Pilot(slipway);
    return {
      temporal,
      slipway,
      pilot,
      worlds,
      stop,
      async worldWithV1() {
        const world = worlds.add();
        await world.seed('v1');
        return world;
      },
      async inCanary(world, request) {
        world.watch = (call) => (call.scope.rolloutId === request.rolloutId ? 'wait' : allIsWell(call));
        await pilot.deploy(request);
        await pilot.until(
          request,
          'the canary gets traffic',
          ({ phase, weights }) => phase === 'canary' && weights?.canary === 25,
        );
        return request;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Runs workflows and activities as a worker does, on both queues; gives what stops it. */
export async function startFakeWorker(options: {
  readonly connection: NativeConnection;
  readonly namespace: string;
  readonly activities: Activities;
  readonly maxCachedWorkflows?: number;
}): Promise<() => Promise<void>> {
  const { maxCachedWorkflows, ...given } = options;
  const shared = { ...given, shutdownGraceTime: '100ms', shutdownForceTime: '10s' } as const;
  const effects = await Worker.create({
    ...shared,
    taskQueue: FAKE_TASK_QUEUE,
    workflowBundle: { codePath: WORKFLOW_BUNDLE },
    stickyQueueScheduleToStartTimeout: '1s',
    ...(maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows }),
  });
  const waits = await Worker.create({
    ...shared,
    taskQueue: waitsQueue(FAKE_TASK_QUEUE),
    maxConcurrentActivityTaskExecutions: 500,
  });
  const running = Promise.all([effects.run(), waits.run()]);
  return async () => {
    effects.shutdown();
    waits.shutdown();
    await running;
  };
}

/** Tests say themselves what went wrong. */
export function quiet(): void {
  Runtime.install({ logger: new DefaultLogger('ERROR', () => undefined) });
}

export const wakeLane: RunDeps['wakeLane'] = async (client: Client, { lane, target }) => {
  await client.workflow.signalWithStart(LANE_WORKFLOW, {
    workflowId: laneWorkflowId(lane),
    taskQueue: FAKE_TASK_QUEUE,
    workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
    args: [{ lane, state: null }],
    signal: checkSignal,
    signalArgs: [{ target }],
  });
};
