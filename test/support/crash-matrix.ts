import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RolloutRequest, RolloutResult } from '../../domain/rollout.js';
import { startTraffic } from '../../tools/traffic.js';
import type { Stack } from '../../tools/stack.js';
import { appliedTwice, BROKEN, CrashTrack, LONG_STAGE, nameOfWrite, writesOf } from './crash-track.js';
import type { RequestChange } from './crash-track.js';
import type { Call, Moment } from './fault-proxy.js';
import { stage } from './request.js';

/** One way that a rollout can go, with all that it writes. */
interface Scenario {
  /** Whether a version serves already. */
  readonly before: 'old version' | 'nothing';
  readonly change: RequestChange;
  /** All writes of the rollout in their order: the gateway's journal must hold exactly these. */
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

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
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
    writes: [...OPENING, ...FIRST_STAGE, ...rollback('rollback', ALL_OBJECTS, ['canary', 'baseline'])],
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

/** Every write of every scenario, at each of the three moments. */
export function allPoints(): readonly Point[] {
  return Object.entries(SCENARIOS).flatMap(([scenario, { writes, tried }]) =>
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
  readonly stack: Stack;
  readonly points: readonly Point[];
  readonly tracks: number;
  readonly say: (text: string) => void;
}

/** Tries all points, several at once, each on the next free track. */
export async function tryPoints({ stack, points, tracks, say }: MatrixOptions): Promise<readonly PointResult[]> {
  const queue = [...points];
  const results: PointResult[] = [];
  const work = async (name: string): Promise<void> => {
    const track = await CrashTrack.start({ stack, name });
    const runner = new Runner(track, stack);
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
    private readonly stack: Stack,
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
    const { track } = this;
    const scenario = SCENARIOS[name];
    assert.ok(scenario, `there is no scenario "${name}"`);
    await track.complete();
    const fresh = scenario.before === 'nothing';
    const old = fresh ? null : (this.base ?? (await this.firstRelease()));
    const service = old?.service ?? track.newService();
    const tag = this.nextTag();
    const request = track.request(service, tag, scenario.change);
    const { rolloutId } = request;

    const traffic = startTraffic({ url: `${this.stack.dataUrl}/test/${service}/`, perSecond: 40 });
    let crash: Crash | null = null;
    try {
      crash = point === null ? null : setCrash(track, request, point);
      await track.deploy(request);
      const result = await scenario.play(track, request);
      assert.equal(result.outcome, scenario.outcome, result.reason.text);
      if (crash !== null && point !== null) await crash.check();
    } finally {
      await traffic.stop();
    }

    await checkEnd(track, { service, rolloutId, scenario, version: `${service}:${tag}`, old: old?.tag ?? null });
    const journal = await track.journal(service);
    assert.deepEqual(appliedTwice(journal), [], 'each key is applied once');
    // A claim whose answer was lost is made again, and grants another generation: that is what it is for.
    const again = point !== null && point.write.startsWith('claim/') && point.moment !== 'arrived' ? [point.write] : [];
    const expected = scenario.writes.flatMap((write) => (again.includes(write) ? [write, asRepeated(write)] : [write]));
    assert.deepEqual(writesOf(rolloutId, journal), expected, 'the journal holds each write once, in this order');

    const failed = traffic.answers.filter(
      ({ ok, version }) => !ok && !(scenario.change.env === BROKEN && version === `${service}:${tag}`),
    );
    assert.deepEqual(failed, [], 'no request failed because of the orchestration');
    assert.ok(traffic.answers.length > 20, 'there was traffic');

    if (fresh) await track.retire(service);
    else this.base = scenario.after === 'new version' ? { service, tag } : old;
  }

  private async firstRelease(): Promise<{ readonly service: string; readonly tag: string }> {
    const service = this.track.newService();
    const tag = this.nextTag();
    const request = this.track.request(service, tag, { verifyMs: 0 });
    await this.track.deploy(request);
    assert.equal((await this.track.result(request)).outcome, 'completed');
    return { service, tag };
  }

  private nextTag(): string {
    this.tags += 1;
    return `v${this.tags}`;
  }
}

/** The second claim finds the anchor that the first one has created. */
function asRepeated(write: string): string {
  return write.replace(': create ', ': replace ');
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
      const journal = writesOf(rolloutId, await track.journal(policy.lane.service));
      killed = {
        call,
        pid,
        at: track.proxy.calls.length,
        applied: journal.filter((each) => each === write).length,
      };
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
      const repeated = sameEffect.find(({ kind }) => kind === 'returned');
      assert.ok(repeated, 'another worker did the effect again');
      // Where an effect is one write, the second attempt knows whether there was anything left to do.
      const single = !/raise-fence|close-rollout|remove-stable|claim/.test(write);
      if (single) assert.equal(repeated.result, moment === 'arrived' ? 'applied' : 'already', 'the second attempt');
    },
  };
}

interface EndQuestion {
  readonly service: string;
  readonly rolloutId: string;
  readonly scenario: Scenario;
  readonly version: string;
  readonly old: string | null;
}

async function checkEnd(track: CrashTrack, { service, rolloutId, scenario, version, old }: EndQuestion): Promise<void> {
  // A moment for what comes late.
  await sleep(200);
  const objects = await track.objects(service);
  const names = objects.map(({ kind, name }) => `${kind}/${name}`).toSorted();
  const lane = objects.find(({ name }) => name === 'lane');
  assert.deepEqual(lane?.spec['current' as never], null, 'nobody holds the lane');
  const ended = lane?.spec['ended' as never] as readonly unknown[] | undefined;
  assert.deepEqual(ended?.at(-1), { rolloutId, outcome: scenario.outcome }, 'the outcome in the anchor of the lane');
  if (scenario.after === 'nothing') {
    assert.deepEqual(names, ['anchor/lane'], 'nothing else is left');
    return;
  }
  assert.deepEqual(names, ['anchor/lane', 'arm/stable', 'route/route'], 'nothing of the rollout is left');
  for (const object of objects) {
    assert.equal(object.owner, null, `${object.name} belongs to nobody`);
    if (object.kind === 'route') assert.deepEqual(object.spec.weights, { stable: 100, canary: 0, baseline: 0 });
    if (object.kind !== 'arm') continue;
    assert.equal(object.spec.template.version, scenario.after === 'new version' ? version : `${service}:${old}`);
    assert.equal(object.spec.replicas, 1);
    assert.ok(object.status.ready >= 1, `stable is ready: ${JSON.stringify(object.status)}`);
  }
}

function callText({ atMs, sender, kind, write, result, status }: Call): string {
  const who =
    sender === null ? '-' : `${sender.pid} ${sender.activity} ${sender.attempt.split('/').slice(1).join('/')}`;
  return `  ${new Date(atMs).toISOString().slice(14, 23)} ${who} ${kind} ${write ?? ''} ${result ?? ''} ${status ?? ''}`;
}
