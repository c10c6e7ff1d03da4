import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultAnalysis } from '../../domain/canary/defaults.js';
import type { AnalysisPolicy } from '../../domain/canary/types.js';
import { Slipway } from '../../client/slipway.js';
import type { GatewayObject, JournalEntry } from '../../formats/gateway.js';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { LaneRef, Weights } from '../../domain/target.js';
import { readJournal, startStack } from '../../tools/stack.js';
import type { Stack, StackOptions } from '../../tools/stack.js';
import type { Server } from '../../tools/supervise.js';
import { startTraffic } from '../../tools/traffic.js';
import type { Traffic } from '../../tools/traffic.js';
import { Pilot } from './drive.js';
import { stage, testPolicy, testRequest } from './request.js';
import type { PolicyOptions } from './request.js';

/** Sure within seconds: what is judged here is what Slipway does, not how finely it sees. */
export const ANALYSIS: AnalysisPolicy = {
  ...defaultAnalysis(500),
  warmUpMs: 500,
  lookEveryMs: 1000,
  minRequests: 10,
  minErrorIncrease: 0.05,
  errorMargin: 0.3,
  latencyMargin: 4,
};

/** By then the SDK may have ended an activity: no heartbeat was answered for its timeout (5 s), 5 s more, and its tries. */
const GIVEN_UP_AFTER_MS = 25_000;

/** Everything as in real life, each a process of its own, and this process as the client. */
export interface FaultStack {
  readonly stack: Stack;
  readonly slipway: Slipway;
  readonly pilot: Pilot;
  /** The worker that is there from the start. */
  readonly worker: Server;
  /** A service under test, short in all times. */
  policy(service: string, options?: Partial<PolicyOptions>): ReturnType<typeof testPolicy>;
  /** Ships v1 of the policy's service, and sends it traffic until the end. */
  serve(policy: Policy): Promise<Traffic>;
  /** Serves v1 of a service and begins v2, which fails many requests from `turnBad` on. */
  serveSwitchable(service: string, stages: NonNullable<PolicyOptions['stages']>): Promise<Switchable>;
  /** Kills Temporal under a canary that is watched, and waits until the SDK has given the watch up. */
  loseTemporal(request: RolloutRequest): Promise<void>;
  journal(lane: LaneRef): Promise<readonly JournalEntry[]>;
  weights(lane: LaneRef): Promise<Weights | null>;
  /** Version and size of each arm. */
  arms(lane: LaneRef): Promise<Readonly<Record<string, string>>>;
  stop(): Promise<void>;
}

/** A rollout under way whose canary turns bad when it is told to. */
export interface Switchable {
  readonly policy: Policy;
  readonly traffic: Traffic;
  readonly request: RolloutRequest;
  readonly turnBad: () => Promise<void>;
}

export async function startFaultStack(options: StackOptions = {}): Promise<FaultStack> {
  const parts: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const part of parts.reverse()) await part();
  };
  try {
    const stack = await startStack(options);
    parts.push(() => stack.stop());
    const worker = await stack.startWorker();
    const slipway = await Slipway.connect(stack.env);
    parts.push(() => slipway.close());
    const pilot = new Pilot(slipway);

    async function objects({ environment, service }: LaneRef): Promise<readonly GatewayObject[]> {
      const answer = await fetch(
        `${stack.adminUrl}/v1/objects?${new URLSearchParams({ environment, service }).toString()}`,
      );
      return ((await answer.json()) as { objects: readonly GatewayObject[] }).objects;
    }

    const policyOf: FaultStack['policy'] = (service, more = {}) =>
      testPolicy({
        gateway: stack.adminUrl,
        service,
        replicas: 1,
        stages: [stage(25, 2), stage(50, 2)],
        ...more,
        change: { verifyMs: 1000, analysis: ANALYSIS, ...more.change },
      });

    const serve: FaultStack['serve'] = async (policy) => {
      const { lane } = policy;
      // Straight at the gateway: what a test makes fail between Slipway and the gateway is not about v1.
      const target = { ...policy.target, gateway: stack.adminUrl };
      const view = await pilot.ship(testRequest({ policy: { ...policy, target }, tag: 'v1' }), 60_000);
      if (view.outcome !== 'completed') throw new Error(`v1 could not be shipped: ${view.reason?.text}`);
      const traffic = startTraffic({ url: `${stack.dataUrl}/${lane.environment}/${lane.service}/`, perSecond: 40 });
      parts.push(() => traffic.stop());
      return traffic;
    };

    return {
      stack,
      slipway,
      pilot,
      worker,
      stop,
      policy: policyOf,
      serve,
      async serveSwitchable(service, stages) {
        const base = policyOf(service, { stages });
        const command = ['node', 'switchable-service.mjs'];
        const run = { ...base.target.run, command, cwd: path.resolve('test/support') };
        const policy = { ...base, target: { ...base.target, run } };
        const traffic = await serve(policy);
        const failFile = path.join(stack.folder, `${service}.fail`);
        const request = await pilot.deploy(testRequest({ policy, tag: 'v2', env: { FAIL_FILE: failFile } }));
        return { policy, traffic, request, turnBad: () => writeFile(failFile, '') };
      },
      async loseTemporal(request) {
        await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
        await pilot.watched(request);
        await stack.temporal.kill9();
        await sleep(GIVEN_UP_AFTER_MS);
      },
      async journal({ environment, service }) {
        const entries = await readJournal(stack.adminUrl);
        return entries.filter((entry) => entry.environment === environment && entry.service === service);
      },
      async weights(lane) {
        const route = (await objects(lane)).find(({ kind }) => kind === 'route');
        return route?.kind === 'route' ? route.spec.weights : null;
      },
      async arms(lane) {
        const list = (await objects(lane)).flatMap((object) =>
          object.kind === 'arm' ? [[object.name, `${object.spec.template.version} x${object.spec.replicas}`]] : [],
        );
        return Object.fromEntries(list) as Readonly<Record<string, string>>;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
