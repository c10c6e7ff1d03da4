import { cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Activities, RolloutRecord, WatchCall, WatchResult } from '../../activities/contract.js';
import { createLocalPlatform } from '../../activities/local/local-platform.js';
import type { Notification } from '../../activities/notify/notifier.js';
import { createPlatformActivities } from '../../activities/platform-activities.js';
import { createRunActivities } from '../../activities/runs.js';
import type { RunDeps } from '../../activities/runs.js';
import type { Verdict } from '../../domain/canary/types.js';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { Assessment } from '../../domain/risk.js';
import type { LaneRef, Weights } from '../../domain/target.js';
import { createMemoryGateway } from './memory-gateway.js';
import type { MemoryGateway } from './memory-gateway.js';
import { stage, testPolicy } from './request.js';

/** What a watch of a test says, or `wait`: nothing yet, it is asked again. */
export type WatchAnswer = WatchResult | 'wait';

/** One service with a platform of its own, in memory, and a canary that is as a test says. */
export class World {
  readonly gateway: MemoryGateway = createMemoryGateway();
  readonly lane: LaneRef;
  /** What watches say; asked every 20 ms. By default all is well. */
  watch: (call: WatchCall) => WatchAnswer = allIsWell;
  readonly watches: WatchCall[] = [];
  readonly notifications: Notification[] = [];
  readonly records: RolloutRecord[] = [];
  private readonly held = new Map<string, { release: () => void; readonly released: Promise<void>; entered: number }>();

  constructor(service: string) {
    this.lane = { environment: 'test', service };
  }

  policy(change: Partial<Policy> = {}): Policy {
    const { service } = this.lane;
    return testPolicy({ gateway: this.gateway.url, service, stages: [stage(25, 1), stage(50, 1)], replicas: 2, change: { verifyMs: 50, ...change } });
  }

  /** Traffic as it stands. */
  get weights(): Weights | null {
    const route = this.gateway.object('route', 'route');
    return route?.kind === 'route' ? route.spec.weights : null;
  }

  /** Version and size of each arm, as it stands: `{ stable: 'hello:v1 x2' }`. */
  get arms(): Readonly<Record<string, string>> {
    const list = ['stable', 'canary', 'baseline'].flatMap((name) => {
      const arm = this.gateway.object('arm', name);
      return arm?.kind === 'arm' ? [[name, `${arm.spec.template.version} x${arm.spec.replicas}`]] : [];
    });
    return Object.fromEntries(list) as Readonly<Record<string, string>>;
  }

  /** What the lane's anchor says of who holds it. */
  get holder(): unknown {
    const anchor = this.gateway.object('anchor', 'lane');
    return anchor?.kind === 'anchor' ? anchor.spec['current'] : null;
  }

  /** From now on this activity stands still before it does anything, until it is released. */
  hold(activity: keyof Activities): void {
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.held.set(activity, { release, released, entered: 0 });
  }

  /** How many calls of the activity stand still. */
  entered(activity: keyof Activities): number {
    return this.held.get(activity)?.entered ?? 0;
  }

  release(activity: keyof Activities): void {
    this.held.get(activity)?.release();
    this.held.delete(activity);
  }

  async pass(activity: string): Promise<void> {
    const hold = this.held.get(activity);
    if (hold === undefined) return;
    hold.entered += 1;
    await hold.released;
  }
}

export function verdict(kind: Verdict['kind'], summary = `the test says ${kind}`): Verdict {
  return { kind, hold: kind === 'HOLD' ? 'inconclusive' : null, summary, findings: [], atMs: 0, look: 1, judge: 'sequential', judgeVersion: 'test', inputDigest: 'none' };
}

/** PROMOTE at once, guards that see nothing wrong, metrics that are there. */
export function allIsWell(call: WatchCall): WatchAnswer {
  if (call.mode === 'guard') return 'wait';
  return call.mode === 'blind' ? { kind: 'sighted' } : { kind: 'verdict', verdict: verdict('PROMOTE'), evidence: null };
}

/** A risk that needs nobody. */
const ASSESSMENT: Assessment = {
  risk: { score: 0.2, level: 'low', factors: [], strategy: 'canary_25', approval: false },
  floor: { score: 0.2, level: 'low', factors: [], strategy: 'canary_25', approval: false },
  model: { kind: 'off' },
  rulesVersion: 'test',
};

/** The worlds of a test file, found by their platform or by their service. */
export class Worlds {
  private readonly list: World[] = [];

  add(service = `service-${this.list.length + 1}`): World {
    const world = new World(service);
    this.list.push(world);
    return world;
  }

  byGateway(url: string): World {
    const world = this.list.find(({ gateway }) => gateway.url === url);
    if (world === undefined) throw new Error(`no test has a gateway ${url}`);
    return world;
  }

  byService(service: string): World {
    const world = this.list.find(({ lane }) => lane.service === service);
    if (world === undefined) throw new Error(`no test has a service ${service}`);
    return world;
  }
}

/**
 * Activities for workflow tests: the real platform activities and the real local adapter, over each world's memory
 * gateway; watches, messages and records as the world says.
 */
export function createFakeActivities(worlds: Worlds, wakeLane: RunDeps['wakeLane']): Activities {
  const memory: typeof fetch = (input, init) => worlds.byGateway(new URL(input as string).origin).gateway.fetch(input, init);
  const platforms = { local: createLocalPlatform({ gateways: [], fetch: memory, timeoutMs: 4000 }) };
  const { describeTarget, preflight, claimLane, awaitReady, readAnchor, listAnchors, ...effects } = createPlatformActivities({
    platforms,
    onEffect: () => undefined,
  });
  const { openRollout, raiseFence, startArm, setWeights, setStableTemplate, removeArm, removeStable, closeRollout } = effects;
  const runs = createRunActivities({ wakeLane });
  const of = ({ lane }: { readonly lane: LaneRef }): World => worlds.byService(lane.service);
  const ofRun = ({ workflowId }: { readonly workflowId: string }): World => worlds.byService(workflowId.split('/')[2] ?? '');

  /** The same, but it stands still before its first step where a test wants that. */
  function held<Call, Result>(name: keyof Activities, find: (call: Call) => World, work: (call: Call) => Promise<Result>): (call: Call) => Promise<Result> {
    return async (call) => {
      await find(call).pass(name);
      return work(call);
    };
  }
  const byScope = ({ scope }: { readonly scope: { readonly lane: LaneRef } }): World => of(scope);
  const byRequest = ({ request }: { readonly request: RolloutRequest }): World => of(request.policy);

  return {
    describeTarget: held('describeTarget', of, describeTarget),
    preflight: held('preflight', byScope, preflight),
    claimLane: held('claimLane', of, claimLane),
    openRollout: held('openRollout', byScope, openRollout),
    raiseFence: held('raiseFence', byScope, raiseFence),
    startArm: held('startArm', byScope, startArm),
    setWeights: held('setWeights', byScope, setWeights),
    setStableTemplate: held('setStableTemplate', byScope, setStableTemplate),
    removeArm: held('removeArm', byScope, removeArm),
    removeStable: held('removeStable', byScope, removeStable),
    closeRollout: held('closeRollout', byScope, closeRollout),
    awaitReady: held('awaitReady', byScope, awaitReady),
    readAnchor: held('readAnchor', of, readAnchor),
    listAnchors,
    inspectRun: held('inspectRun', ofRun, runs.inspectRun),
    followRun: held('followRun', ofRun, runs.followRun),
    wakeLane: held('wakeLane', of, runs.wakeLane),
    watch: held('watch', byScope, async (call: WatchCall) => {
      const world = byScope(call);
      world.watches.push(call);
      const signal = cancellationSignal();
      for (;;) {
        const answer = world.watch(call);
        if (answer !== 'wait') return answer;
        heartbeat();
        await new Promise((resolve) => setTimeout(resolve, 20));
        signal.throwIfAborted();
      }
    }),
    assessRisk: held('assessRisk', byRequest, async () => ASSESSMENT),
    checkEvidence: held('checkEvidence', byRequest, async () => ({ kind: 'pass', text: 'no evidence is asked for' })),
    notify: held('notify', of, async (notification: Notification) => {
      of(notification).notifications.push(notification);
    }),
    recordRollout: held('recordRollout', ({ view }: RolloutRecord) => of(view), async (record) => {
      of(record.view).records.push(record);
      return { digest: 'sha256:test' };
    }),
  };
}
