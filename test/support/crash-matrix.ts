import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RolloutRequest, RolloutResult } from '../../domain/rollout.js';
import type { Target } from '../../domain/target.js';
import type { CrashSite, StableState } from './crash-site.js';
import { BROKEN, CrashTrack, LONG_STAGE, nameOfWrite, writesOf } from './crash-track.js';
import type { RequestChange } from './crash-track.js';
import { appliedTwice, until } from './drive.js';
import type { Call, Moment } from './fault-proxy.js';
import { stage } from './request.js';

/** One way that a rollout can go, with all that it writes. */
interface Scenario {
  /** Whether a version serves already. */
  readonly before: 'old version' | 'nothing';
  readonly change: RequestChange;
  /** All writes of the rollout in their order: the platform's log must hold exactly these. */
  readonly writes: readonly string[];
  /** The writes that are tried; those before them are as in another scenario. */
  readonly tried: (write: string) => boolean;
  readonly outcome: RolloutResult['outcome'];
  /** What serves in the end. */
  readonly after: 'new version' | 'old version' | 'nothing';
  /** Makes it go that way, and waits for its end. */
  readonly play: (track: CrashTrack, request: RolloutRequest) => Promise<RolloutResult>;
}

const OPENING = [
  'claim/rollout/lane: replace anchor/lane',
  'preflight/open-rollout/anchor/1: create anchor/rollout',
  ...fence('preflight', ['anchor/rollout', 'route/route', 'arm/stable']),
];
const FIRST_OPENING = [
  'claim/rollout/lane: create anchor/lane',
  'preflight/open-rollout/anchor/1: create anchor/rollout',
  ...fence('preflight', ['anchor/rollout']),
  'promote/set-stable-template/stable/1: create arm/stable',
  'promote/set-weights/route/1: create route/route',
];
const FIRST_STAGE = [
  'stage-1/start-arm/canary/1: create arm/canary',
  'stage-1/start-arm/baseline/1: create arm/baseline',
  'stage-1/set-weights/route/1: replace route/route',
];
const ALL_OBJECTS = ['anchor/rollout', 'route/route', 'arm/canary', 'arm/baseline', 'arm/stable'];

const play = async (track: CrashTrack, request: RolloutRequest): Promise<RolloutResult> => track.result(request);

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'first release': {
    before: 'nothing',
    change: {},
    writes: [
      ...FIRST_OPENING,
      ...close('settle'),
      // What is to stay must not go with the rollout's anchor.
      'settle/close-rollout/anchor/1: replace arm/stable',
      'settle/close-rollout/anchor/1: replace route/route',
      'settle/close-rollout/anchor/1: delete anchor/rollout',
    ],
    tried: () => true,
    outcome: 'completed',
    after: 'new version',
    play,
  },
  'first release, aborted': {
    before: 'nothing',
    change: { verifyMs: 300_000 },
    writes: [
      ...FIRST_OPENING,
      ...fence('rollback', ['anchor/rollout', 'route/route', 'arm/stable']),
      'rollback/remove-stable/stable/1: delete route/route',
      'rollback/remove-stable/stable/1: delete arm/stable',
      ...close('rollback'),
      'rollback/close-rollout/anchor/1: delete anchor/rollout',
    ],
    tried: (write) => write.startsWith('rollback/'),
    outcome: 'aborted',
    after: 'nothing',
    async play(track, request) {
      await track.until(request, 'it verifies', ({ phase }) => phase === 'verifying');
      await track.abort(request);
      return track.result(request);
    },
  },
  'good release': {
    before: 'old version',
    change: {},
    writes: [
      ...OPENING,
      ...FIRST_STAGE,
      'stage-2/start-arm/canary/1: replace arm/canary',
      'stage-2/start-arm/baseline/1: replace arm/baseline',
      'stage-2/set-weights/route/1: replace route/route',
      'promote/start-arm/canary/1: replace arm/canary',
      'promote/set-weights/route/1: replace route/route',
      'settle/set-stable-template/stable/1: replace arm/stable',
      'settle/set-weights/route/1: replace route/route',
      'settle/remove-arm/canary/1: delete arm/canary',
      'settle/remove-arm/baseline/1: delete arm/baseline',
      ...close('settle'),
      'settle/close-rollout/anchor/1: delete anchor/rollout',
    ],
    tried: () => true,
    outcome: 'completed',
    after: 'new version',
    play,
  },
  'bad release': {
    before: 'old version',
    change: { stages: [LONG_STAGE], env: BROKEN },
    writes: [
      ...OPENING,
      ...FIRST_STAGE,
      'rollback/cut-traffic/route/1: replace route/route',
      ...rollback('rollback', ALL_OBJECTS, ['canary', 'baseline']),
    ],
    tried: (write) => write.startsWith('rollback/'),
    outcome: 'rolled-back',
    after: 'old version',
    play,
  },
  'aborted while settling': {
    before: 'old version',
    change: { stages: [stage(20, 2), stage(80, 2)] },
    writes: [
      ...OPENING,
      ...FIRST_STAGE,
      'stage-2/start-arm/canary/1: replace arm/canary',
      'stage-2/set-weights/route/1: replace route/route',
      'stage-2/remove-arm/baseline/1: delete arm/baseline',
      'promote/start-arm/canary/1: replace arm/canary',
      'promote/set-weights/route/1: replace route/route',
      'settle/set-stable-template/stable/1: replace arm/stable',
      ...fence('rollback', ['anchor/rollout', 'route/route', 'arm/canary', 'arm/stable']),
      'rollback/set-stable-template/stable/1: replace arm/stable',
      'rollback/set-weights/route/1: replace route/route',
      'rollback/remove-arm/canary/1: delete arm/canary',
      ...close('rollback'),
      'rollback/close-rollout/anchor/1: delete anchor/rollout',
    ],
    tried: (write) => write.startsWith('rollback/') || write.startsWith('stage-2/remove-arm/'),
    outcome: 'aborted',
    after: 'old version',
    async play(track, request) {
      const settle = `${request.rolloutId}/settle/set-stable-template`;
      let aborted = false;
      const isSettling = (): boolean => track.proxy.calls.some(({ write }) => write?.includes(settle));
      track.proxy.set({
        moment: 'arrived',
        matches: ({ kind, sender }) => kind === 'read' && sender?.activity === 'awaitReady' && isSettling(),
        async spring() {
          // Stable is asked after for the first time since it was told to change: it is not ready before this returns.
          await track.abort(request);
          aborted = true;
          return 'go on';
        },
      });
      const result = await track.result(request);
      assert.ok(aborted, 'it was aborted while it settled');
      return result;
    },
  },
  'run terminated, recovered': {
    before: 'old version',
    change: { stages: [LONG_STAGE] },
    writes: [
      ...OPENING,
      ...FIRST_STAGE,
      'claim/recover/lane: replace anchor/lane',
      ...rollback('recover', ALL_OBJECTS, ['canary', 'baseline']),
    ],
    tried: (write) => write.startsWith('recover/') || write.startsWith('claim/recover/'),
    outcome: 'rolled-back',
    after: 'old version',
    async play(track, request) {
      await track.until(request, 'the canary has traffic', ({ weights }) => weights?.canary === 25);
      await track.terminate(request);
      return track.recovery(request);
    },
  },
};

function fence(phase: string, objects: readonly string[]): readonly string[] {
  return objects.map((object) => `${phase}/raise-fence/all/1: replace ${object}`);
}

function close(phase: string): readonly string[] {
  return [`${phase}/close-rollout/anchor/1: replace anchor/lane`];
}

function rollback(phase: string, objects: readonly string[], arms: readonly string[]): readonly string[] {
  return [
    ...fence(phase, objects),
    `${phase}/set-weights/route/1: replace route/route`,
    ...arms.map((arm) => `${phase}/remove-arm/${arm}/1: delete arm/${arm}`),
    ...close(phase),
    `${phase}/close-rollout/anchor/1: delete anchor/rollout`,
  ];
}

/** One crash: the worker that sends `write` is killed at `moment`. */
export interface Point {
  readonly scenario: string;
  readonly write: string;
  readonly moment: Moment;
}

export const MOMENTS: readonly Moment[] = ['arrived', 'committed', 'answered'];

/** The scenarios of a platform, with the writes as it has them. */
export function scenariosOn(platform: Target['platform']): Readonly<Record<string, Scenario>> {
  if (platform === 'local') return SCENARIOS;
  const possible = Object.entries(SCENARIOS)
    // Without a Deployment that its owner has applied, nothing is rolled out to Kubernetes.
    .filter(([, { before }]) => before === 'old version')
    .map(([name, scenario]) => [name, { ...scenario, writes: scenario.writes.flatMap(onKubernetes) }] as const);
  return Object.fromEntries(possible);
}

/** A sibling has a Service of its own, which is created first and goes with the rollout's anchor. */
function onKubernetes(write: string): readonly string[] {
  const service = write.replace(/: create arm\/(canary|baseline)$/, ': create service/$1');
  return service === write ? [write] : [service, write];
}

/** Every write of every scenario, at each of the three moments. */
export function allPoints(platform: Target['platform']): readonly Point[] {
  return Object.entries(scenariosOn(platform)).flatMap(([scenario, { writes, tried }]) =>
    writes.filter(tried).flatMap((write) => MOMENTS.map((moment) => ({ scenario, write, moment }))),
  );
}

export function pointText({ scenario, write, moment }: Point): string {
  return `${scenario} | ${write} | ${moment}`;
}

/** Anything that comes of a point. */
export interface PointResult {
  readonly point: Point;
  readonly ms: number;
  readonly error: string | null;
}

export interface MatrixOptions {
  readonly site: CrashSite;
  readonly points: readonly Point[];
  readonly tracks: number;
  readonly say: (text: string) => void;
}

/** Tries all points, several at once, each on the next free track. */
export async function tryPoints({ site, points, tracks, say }: MatrixOptions): Promise<readonly PointResult[]> {
  const queue = [...points];
  const results: PointResult[] = [];
  const work = async (name: string): Promise<void> => {
    const track = await CrashTrack.start({ site, name });
    const runner = new Runner(track, site);
    try {
      for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
        const begunMs = Date.now();
        const error = await runner.run(point.scenario, point);
        const ms = Date.now() - begunMs;
        results.push({ point, ms, error });
        say(`${error === null ? 'ok' : 'FAILED'} ${pointText(point)} (${(ms / 1000).toFixed(1)} s)${error ?? ''}`);
      }
    } finally {
      await track.close();
    }
  };
  await Promise.all(Array.from({ length: tracks }, (_, index) => work(`t${index + 1}`)));
  return results;
}

/** Plays scenarios one after the other on one track; what serves after one is what the next one begins with. */
export class Runner {
  private base: { readonly service: string; readonly tag: string } | null = null;
  private tags = 0;

  constructor(
    private readonly track: CrashTrack,
    private readonly site: CrashSite,
  ) {}

  /** Null: all is as it must be. Otherwise what is not, for people. */
  async run(name: string, point: Point | null): Promise<string | null> {
    const { track } = this;
    const begun = track.proxy.calls.length;
    try {
      await this.play(name, point);
      return null;
    } catch (error) {
      // What is left of this service is not as expected: the next point begins with a fresh one.
      this.base = null;
      const calls = track.proxy.calls.slice(begun).map(callText);
      return `\n${String((error as Error).stack ?? error)}\n${calls.slice(-60).join('\n')}\n${await track.logs()}`;
    } finally {
      track.proxy.disarm();
    }
  }

  private async play(name: string, point: Point | null): Promise<void> {
    const { track, site } = this;
    const scenario = scenariosOn(site.platform)[name];
    assert.ok(scenario, `there is no scenario "${name}"`);
    await track.complete();
    const fresh = scenario.before === 'nothing';
    const old = fresh ? null : (this.base ?? (await this.firstRelease()));
    const service = old?.service ?? track.newService();
    const tag = this.nextTag();
    const request = track.request(service, tag, scenario.change);
    const { rolloutId } = request;
    const before = (await track.state(service)).stable;

    const traffic = site.traffic(service);
    let crash: Crash | null = null;
    try {
      crash = point === null ? null : setCrash(track, request, point);
      await track.deploy(request);
      const result = await scenario.play(track, request);
      assert.equal(result.outcome, scenario.outcome, result.reason.text);
      if (crash !== null && point !== null) await crash.check();
    } finally {
      await traffic?.stop();
    }

    await checkEnd(track, { service, rolloutId, scenario, version: `${service}:${tag}`, before });
    const journal = await track.journal(service);
    assert.deepEqual(appliedTwice(journal), [], 'each key is applied once');
    const written = withoutRepeatedClaims(writesOf(rolloutId, journal));
    assert.deepEqual(written, scenario.writes, 'the log holds each write once, in this order');

    if (traffic !== null) {
      const failed = traffic.answers.filter(
        ({ ok, version }) => !ok && !(scenario.change.env === BROKEN && version === `${service}:${tag}`),
      );
      assert.deepEqual(failed, [], 'no request failed because of the orchestration');
      assert.ok(traffic.answers.length > 20, 'there was traffic');
    }

    if (fresh) await site.retire(service);
    else this.base = scenario.after === 'new version' ? { service, tag } : old;
  }

  private async firstRelease(): Promise<{ readonly service: string; readonly tag: string }> {
    const service = this.track.newService();
    const tag = this.nextTag();
    await this.track.seed(service, tag);
    return { service, tag };
  }

  private nextTag(): string {
    this.tags += 1;
    return `v${this.tags}`;
  }
}

/** A claim whose answer was lost is made again, and grants another generation: that is what it is for. */
function withoutRepeatedClaims(writes: readonly string[]): readonly string[] {
  const keyOf = (write: string | undefined): string | undefined => write?.split(': ')[0];
  return writes.filter((write, index) => !write.startsWith('claim/') || keyOf(write) !== keyOf(writes[index - 1]));
}

interface Crash {
  /** Fails unless a worker was killed at the point and another one went on. */
  check(): Promise<void>;
}

function setCrash(track: CrashTrack, { rolloutId, policy }: RolloutRequest, { write, moment }: Point): Crash {
  const isIt = (call: Call): boolean =>
    call.write !== null && call.write.includes(rolloutId) && nameOfWrite(rolloutId, call.write) === write;
  let killed: { readonly call: Call; readonly pid: number; readonly at: number; readonly applied: number } | null =
    null;
  track.proxy.set({
    moment,
    matches: (call) => isIt(call) && (moment === 'arrived' || (call.status ?? 0) < 300),
    async spring(call) {
      const pid = call.sender?.pid ?? 0;
      await track.kill9(pid);
      const at = track.proxy.calls.length;
      // On a machine that is too busy an attempt that has run out of its time may still be under way beside the next.
      const others = (): readonly Call[] =>
        track.proxy.calls.filter((other) => isIt(other) && other.sender?.attempt !== call.sender?.attempt);
      let known: readonly Call[];
      let journal: readonly string[];
      do {
        await until('the other attempts are answered', () =>
          others().every(({ status, sender }) => status !== null || sender?.pid === pid),
        );
        known = others();
        journal = writesOf(rolloutId, await track.journal(policy.lane.service));
      } while (others().length !== known.length);
      const byOthers = known.filter(({ status }) => (status ?? 500) < 300);
      killed = { call, pid, at, applied: journal.filter((each) => each === write).length - byOthers.length };
      return 'drop';
    },
  });
  return {
    async check() {
      assert.ok(killed, 'no worker was killed: the rollout never came to the point');
      const { call, pid, at, applied } = killed;
      assert.equal(applied, moment === 'arrived' ? 0 : 1, 'how often the write was applied when the worker died');
      const later = track.proxy.calls.slice(at);
      assert.ok(
        later.every(({ sender }) => sender?.pid !== pid),
        'the dead say nothing',
      );
      const sameEffect = later.filter(
        ({ sender }) => sender?.activity === call.sender?.activity && sender?.key === call.sender?.key,
      );
      const [second, ...further] = sameEffect.filter(({ kind }) => kind === 'returned').map(({ result }) => result);
      assert.ok(second, 'another worker did the effect again');
      // Where an effect is one write, the second attempt knows whether there was anything left to do.
      const single = !/raise-fence|close-rollout|remove-stable|claim|create service/.test(write);
      if (!single) return;
      // On a machine that is too busy that attempt too may run out of its time, before its write or after it.
      if (second.startsWith('thrown')) assert.ok(further.includes('applied') || further.includes('already'), second);
      else assert.equal(second, moment === 'arrived' ? 'applied' : 'already', 'the second attempt');
    },
  };
}

interface EndQuestion {
  readonly service: string;
  readonly rolloutId: string;
  readonly scenario: Scenario;
  readonly version: string;
  readonly before: StableState | null;
}

async function checkEnd(
  track: CrashTrack,
  { service, rolloutId, scenario, version, before }: EndQuestion,
): Promise<void> {
  await assertAtRest(track, service, scenario.after === 'nothing' ? ['anchor/lane'] : AT_REST);
  const { owned, lane, weights, stable } = await track.state(service);
  const { current, ended } = lane as { readonly current: unknown; readonly ended: readonly unknown[] };
  assert.equal(current, null, 'nobody holds the lane');
  assert.deepEqual(ended.at(-1), { rolloutId, outcome: scenario.outcome }, 'the outcome in the anchor of the lane');
  assert.deepEqual(owned, [], 'what stays belongs to nobody');
  if (scenario.after === 'nothing') return;
  assert.deepEqual(weights, { stable: 100, canary: 0, baseline: 0 });
  assert.ok(stable);
  if (scenario.after === 'old version') assert.deepEqual(stable, before, 'stable is as it was');
  assert.equal(stable.version, scenario.after === 'new version' ? version : before?.version);
  assert.equal(stable.replicas, 1);
  assert.ok(stable.ready >= 1, `stable is ready: ${JSON.stringify(stable)}`);
}

/** All that is left of a service between two rollouts. */
export const AT_REST = ['anchor/lane', 'arm/stable', 'route/route'];

/** Waits until just these objects are left: what is collected goes a moment after its owner. */
export async function assertAtRest(track: CrashTrack, service: string, expected = AT_REST): Promise<void> {
  // A moment for what comes late.
  await sleep(200);
  let objects: readonly string[] = [];
  await until(
    'nothing of the rollout is left',
    async () => {
      ({ objects } = await track.state(service));
      return objects.length === expected.length;
    },
    GARBAGE_MS,
  ).catch(() => undefined);
  assert.deepEqual(objects, expected, 'nothing of the rollout is left');
}

const GARBAGE_MS = 10_000;

function callText({ atMs, sender, kind, write, result, status }: Call): string {
  const who =
    sender === null ? '-' : `${sender.pid} ${sender.activity} ${sender.attempt.split('/').slice(1).join('/')}`;
  return `  ${new Date(atMs).toISOString().slice(14, 23)} ${who} ${kind} ${write ?? ''} ${result ?? ''} ${status ?? ''}`;
}
