import { cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Activities, RolloutRecord, Sight, WatchCall, WatchResult } from '../../activities/contract.js';
import { createDecisionActivities } from '../../activities/decisions/verify-decision.js';
import { createLocalPlatform } from '../../activities/local/local-platform.js';
import { createSlackMessage } from '../../activities/slack/slack-message.js';
import type { SlackDeps } from '../../activities/slack/slack-message.js';
import type { Notification } from '../../activities/notify/notifier.js';
import { createPlatformActivities } from '../../activities/platform-activities.js';
import { createRunActivities } from '../../activities/runs.js';
import type { RunDeps } from '../../activities/runs.js';
import type { Verdict } from '../../domain/canary/types.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import type { Assessment } from '../../domain/risk.js';
import { idempotencyKey } from '../../domain/fence.js';
import { hashRelease } from '../../domain/release.js';
import { ALL_STABLE } from '../../domain/target.js';
import type {
  Effect,
  EffectResult,
  KubernetesTarget,
  LaneRef,
  LocalTarget,
  TargetSnapshot,
  Weights,
} from '../../domain/target.js';
import { platformOf } from '../../activities/platform.js';
import type { Platform, Platforms, PlatformScope } from '../../activities/platform.js';
import type { ImageRegistry } from '../../activities/registry/image-registry.js';
import { createImageActivities } from '../../activities/registry/resolve-images.js';
import { createTrailActivities } from '../../activities/trail/append-trail.js';
import { createTrailStore } from '../../activities/trail/trail-store.js';
import type { TrailStore } from '../../activities/trail/trail-store.js';
import { createMemoryObjects } from './memory-objects.js';
import type { MemoryObjects } from './memory-objects.js';
import { createMemoryGateway } from './memory-gateway.js';
import type { MemoryGateway } from './memory-gateway.js';
import { stage, testPolicy, testRequest } from './request.js';
import type { PolicyOptions } from './request.js';

type AppendTrail = Parameters<Activities['appendTrail']>[0];

/** What a watch of a test says, or `wait`: nothing yet, it is asked again. */
export type WatchAnswer = WatchResult | 'wait';

/** One service with a platform of its own, in memory, and a canary that is as a test says. */
export class World {
  readonly gateway: MemoryGateway = createMemoryGateway();
  readonly lane: LaneRef;
  /** What watches say; asked every 20 ms. By default all is well. */
  watch: (call: WatchCall) => WatchAnswer = allIsWell;
  readonly watches: WatchCall[] = [];
  /** Whether watches send users back by themselves where they see harm, as real ones do unless no answer comes. */
  watchesCut = true;
  /** What comes of looking at its target; by default what stands there. */
  describe: (look: () => Promise<TargetSnapshot>) => Promise<TargetSnapshot> = (look) => look();
  readonly notifications: Notification[] = [];
  readonly records: RolloutRecord[] = [];
  /** What its trails are kept in. */
  readonly objects: MemoryObjects = createMemoryObjects();
  readonly trails: TrailStore = createTrailStore(this.objects);
  private readonly holds = new Map<string, Hold>();

  constructor(service: string) {
    this.lane = { environment: 'test', service };
  }

  policy(change: NonNullable<PolicyOptions['change']> = {}): ReturnType<typeof testPolicy> {
    const { service } = this.lane;
    return testPolicy({
      gateway: this.gateway.url,
      service,
      stages: [stage(25, 1), stage(50, 1)],
      replicas: 2,
      change: { verifyMs: 50, ...change },
    });
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

  /** From now on calls of this activity stand still before they do anything: those of stage `only`, the `first` so many. */
  hold(activity: keyof Activities, { only, first }: { readonly only?: string; readonly first?: number } = {}): Hold {
    const hold = new Hold(only ?? null, first ?? Infinity);
    this.holds.set(activity, hold);
    return hold;
  }

  async releaseAll(): Promise<void> {
    await Promise.all([...this.holds.values()].map((hold) => hold.release()));
  }

  async run<Result>(
    activity: keyof Activities,
    stageOfCall: string | null,
    work: () => Promise<Result>,
  ): Promise<Result> {
    const hold = this.holds.get(activity);
    if (hold === undefined || hold.entered >= hold.first || (hold.only !== null && hold.only !== stageOfCall))
      return work();
    return hold.run(work);
  }

  /** The service as it is after its first release, without a rollout: `v1` serves, with two replicas. */
  async seed(tag: string): Promise<void> {
    const policy = this.policy();
    const { rolloutId, release } = testRequest({ policy, tag });
    const scope: PlatformScope<LocalTarget> = { lane: this.lane, target: policy.target, rolloutId };
    const platform = createLocalPlatform({ gateways: [], fetch: this.gateway.fetch });
    await platform.claim({ ...scope, claimant: 'rollout', laneGeneration: 0 });
    const effects: readonly Effect[] = [
      { op: 'open-rollout' },
      { op: 'set-stable-template', template: { from: 'release', release: hashRelease(release) }, replicas: 2 },
      { op: 'set-weights', weights: ALL_STABLE },
      { op: 'close-rollout', outcome: 'completed' },
    ];
    for (const [index, effect] of effects.entries()) {
      const key = idempotencyKey({ rolloutId, stage: 'seed', operation: effect.op, object: 'any', n: 1 });
      const result = await platform.apply(scope, effect, {
        key,
        fence: { generation: 1, step: index + 1 },
        onDrift: 'hold',
      });
      if (result.kind !== 'applied') throw new Error(`${effect.op}: ${JSON.stringify(result)}`);
    }
  }
}

/** Calls that stand still until they are released. */
export class Hold {
  /** How many calls have come. */
  entered = 0;
  private readonly calls: Promise<unknown>[] = [];
  private letGo = (): void => undefined;
  private readonly released = new Promise<void>((resolve) => {
    this.letGo = resolve;
  });

  constructor(
    readonly only: string | null,
    readonly first: number,
  ) {}

  run<Result>(work: () => Promise<Result>): Promise<Result> {
    this.entered += 1;
    const call = this.released.then(work);
    this.calls.push(call);
    return call;
  }

  /** Lets all calls go on, also later ones, and waits until those that stood still have done what they do. */
  async release(): Promise<void> {
    this.letGo();
    await Promise.allSettled(this.calls);
  }
}

export function verdict(kind: Verdict['kind'], summary = `the test says ${kind}`): Verdict {
  return {
    kind,
    hold: kind === 'HOLD' ? 'inconclusive' : null,
    summary,
    findings: [],
    atMs: 0,
    look: 1,
    judge: 'sequential',
    judgeVersion: 'test',
    inputDigest: 'none',
  };
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

  /** Lets everything go on that stands still. */
  async releaseAll(): Promise<void> {
    await Promise.all(this.list.map((world) => world.releaseAll()));
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

/** What a test brings along besides its worlds. */
export interface FakeOutside {
  /** Answers for images of targets on Kubernetes; without one there must be no such question. */
  readonly registry?: ImageRegistry | undefined;
  /** In place of those in memory. */
  readonly platforms?: Platforms;
  /** Whose signature counts; without it, nobody's. */
  readonly verifyDecision?: Activities['verifyDecision'];
  /** Without it there must be no message in Slack. */
  readonly slack?: SlackDeps['slack'];
}

/**
 * Activities for workflow tests: the real platform activities and the real local adapter, over each world's memory
 * gateway; watches, messages and records as the world says.
 */
export function createFakeActivities(
  worlds: Worlds,
  wakeLane: RunDeps['wakeLane'],
  { registry = NO_REGISTRY, platforms: others = {}, verifyDecision = NOBODY_TRUSTED, slack }: FakeOutside = {},
): Activities {
  const memory: typeof fetch = (input, init) =>
    worlds.byGateway(new URL(input as string).origin).gateway.fetch(input, init);
  const local = createLocalPlatform({ gateways: [], fetch: memory, timeoutMs: 4000 });
  const platforms = { local, kubernetes: onMemory(worlds, local), ...others };
  const { describeTarget, preflight, claimLane, awaitReady, awaitStable, readAnchor, listAnchors, ...effects } =
    createPlatformActivities({
      platforms,
      onEffect: () => undefined,
    });
  const {
    openRollout,
    recordConfiguration,
    raiseFence,
    startArm,
    setWeights,
    setStableTemplate,
    removeArm,
    removeStable,
    closeRollout,
    cutTraffic,
  } = effects;
  const runs = createRunActivities({ wakeLane });
  const of = ({ lane }: { readonly lane: LaneRef }): World => worlds.byService(lane.service);
  const ofRun = ({ workflowId }: { readonly workflowId: string }): World =>
    worlds.byService(workflowId.split('/')[2] ?? '');

  /** The same, but it stands still before its first step where a test wants that. */
  function held<Call, Result>(
    name: keyof Activities,
    find: (call: Call) => World,
    work: (call: Call) => Promise<Result>,
  ): (call: Call) => Promise<Result> {
    return async (call) => find(call).run(name, stageOf(call), () => work(call));
  }
  async function cutBy(
    world: World,
    call: WatchCall,
    answer: Sight,
    signal: AbortSignal,
  ): Promise<{ readonly cut?: EffectResult }> {
    const { cut: permit, scope } = call;
    const harm =
      answer.kind === 'verdict'
        ? answer.verdict.kind === 'ROLLBACK'
        : answer.kind === 'disturbed' && answer.disturbance.kind === 'harm';
    if (!harm || permit == null || !world.watchesCut) return {};
    const platform = platformOf(platforms, scope.target);
    return {
      cut: await world.run('cutTraffic', null, () => platform.apply(scope, { op: 'cut-traffic' }, permit, signal)),
    };
  }
  const byScope = ({ scope }: { readonly scope: { readonly lane: LaneRef } }): World => of(scope);
  const byRequest = ({ request }: { readonly request: RolloutRequest }): World => of(request.policy);

  return {
    describeTarget: held('describeTarget', of, (scope: PlatformScope) =>
      of(scope).describe(() => describeTarget(scope)),
    ),
    preflight: held('preflight', byScope, preflight),
    claimLane: held('claimLane', of, claimLane),
    openRollout: held('openRollout', byScope, openRollout),
    recordConfiguration: held('recordConfiguration', byScope, recordConfiguration),
    raiseFence: held('raiseFence', byScope, raiseFence),
    startArm: held('startArm', byScope, startArm),
    setWeights: held('setWeights', byScope, setWeights),
    cutTraffic: held('cutTraffic', byScope, cutTraffic),
    setStableTemplate: held('setStableTemplate', byScope, setStableTemplate),
    removeArm: held('removeArm', byScope, removeArm),
    removeStable: held('removeStable', byScope, removeStable),
    closeRollout: held('closeRollout', byScope, closeRollout),
    awaitReady: held('awaitReady', byScope, awaitReady),
    awaitStable: held('awaitStable', byScope, awaitStable),
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
        if (answer !== 'wait') return { ...answer, ...(await cutBy(world, call, answer, signal)) };
        heartbeat();
        await new Promise((resolve) => setTimeout(resolve, 20));
        signal.throwIfAborted();
      }
    }),
    ...createImageActivities({ registry }),
    verifyDecision,
    assessRisk: held('assessRisk', byRequest, async () => ASSESSMENT),
    checkEvidence: held('checkEvidence', byRequest, async () => ({ kind: 'pass', text: 'no evidence is asked for' })),
    appendTrail: held('appendTrail', of, (call: AppendTrail) => createTrailActivities(of(call)).appendTrail(call)),
    notify: held('notify', of, async (notification: Notification) => {
      of(notification).notifications.push(notification);
    }),
    slackMessage:
      slack === undefined ? () => Promise.reject(new Error('this test has no Slack')) : createSlackMessage({ slack }),
    recordRollout: held(
      'recordRollout',
      ({ view }: RolloutRecord) => of(view),
      async (record) => {
        of(record.view).records.push(record);
        return { digest: 'sha256:test' };
      },
    ),
  };
}

const { verifyDecision: NOBODY_TRUSTED } = createDecisionActivities({ trustedKeys: async () => ({ keys: [] }) });

/** For tests that have no images to ask for. */
const NO_REGISTRY: ImageRegistry = { resolve: () => Promise.reject(new Error('this test has no registry')) };

/** Targets on Kubernetes for tests of workflows: the objects are those of the world's memory gateway all the same. */
function onMemory(worlds: Worlds, local: Platform<LocalTarget>): Platform<KubernetesTarget> {
  function here<Scope extends PlatformScope>(scope: Scope): Omit<Scope, 'target'> & { readonly target: LocalTarget } {
    return { ...scope, target: worlds.byService(scope.lane.service).policy().target };
  }
  return {
    describe: (scope, signal) => local.describe(here(scope), signal),
    preflight: (scope, needs, signal) => local.preflight(here(scope), needs, signal),
    claim: (request, signal) => local.claim(here(request), signal),
    apply: (scope, effect, permit, signal) => local.apply(here(scope), effect, permit, signal),
    readiness: (scope, arm, replicas, signal) => local.readiness(here(scope), arm, replicas, signal),
    inspect: (scope, signal) => local.inspect(here(scope), signal),
    anchors: () => Promise.resolve({ anchors: [], unreachable: [] }),
  };
}

/** The stage that means a call, where it says so: an effect by its key, a watch by its name. */
function stageOf(call: unknown): string | null {
  const { permit, stage } = call as { readonly permit?: { readonly key: string }; readonly stage?: string };
  return permit?.key.split('/')[1] ?? stage ?? null;
}
