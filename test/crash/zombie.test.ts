import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { startTraffic } from '../../tools/traffic.js';
import { appliedTwice, CRASH_WORKER, CrashTrack, eventually, LONG_STAGE, writesOf } from '../support/crash-track.js';
import type { Call } from '../support/fault-proxy.js';

/** How long the route is watched after the frozen worker was woken. */
const AFTERWARDS_MS = 3000;

interface Frozen {
  readonly title: string;
  /** Where the worker is stopped: in the call of this effect that is `kind`. */
  readonly effect: string;
  readonly kind: 'starting' | 'write';
  /** When its call goes on: once the rollback is done, or in the middle of it. */
  readonly woken: 'after the rollback' | 'once the rollback has raised its fence';
  /** What its activity comes to in the end. */
  readonly result: string;
  /** What the gateway answers to the write that it had under way; null where it sends none. */
  readonly status: number | null;
}

const STOPPED: readonly Frozen[] = [
  {
    title: 'between reading the route and writing the weights',
    effect: 'stage-1/set-weights/route/1',
    kind: 'write',
    woken: 'after the rollback',
    result: 'stale',
    status: 409,
  },
  {
    title: 'before it reads the route: its late read is fresh, and only the fence refuses it',
    effect: 'stage-1/set-weights/route/1',
    kind: 'starting',
    woken: 'after the rollback',
    result: 'stale',
    status: null,
  },
  {
    title: 'between reading the route and writing the weights, and goes on in the middle of the rollback',
    effect: 'stage-1/set-weights/route/1',
    kind: 'write',
    woken: 'once the rollback has raised its fence',
    result: 'stale',
    status: 409,
  },
  {
    title: 'before it creates the canary: the creation goes with the anchor that it belongs to',
    effect: 'stage-1/start-arm/canary/1',
    kind: 'write',
    woken: 'after the rollback',
    result: 'applied',
    status: 201,
  },
  {
    title: 'before it reads whether there is a canary',
    effect: 'stage-1/start-arm/canary/1',
    kind: 'starting',
    woken: 'after the rollback',
    result: 'refused',
    status: null,
  },
];

test(
  'a worker that was stopped in an activity and wakes up late changes nothing',
  { timeout: 300_000, concurrency: true },
  async (t) => {
    const begunMs = Date.now();
    const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });
    t.after(() => stack.stop());
    const queue = [...STOPPED];
    const work = async (name: string): Promise<void> => {
      const track = await CrashTrack.start({ stack, name, patient: true });
      for (let frozen = queue.shift(); frozen !== undefined; frozen = queue.shift()) {
        const tried = frozen;
        await t.test(`stopped ${tried.title}`, (t) => freeze(t, stack, track, tried));
      }
      await track.close();
    };
    await Promise.all([work('z1'), work('z2')]);
    t.diagnostic(`${STOPPED.length} ways to be stopped tried in ${Math.round((Date.now() - begunMs) / 1000)} s`);
  },
);

async function freeze(t: TestContext, stack: Stack, track: CrashTrack, frozen: Frozen): Promise<void> {
  const begunMs = Date.now();
  const service = track.newService();
  const first = track.request(service, 'v1', { verifyMs: 0 });
  await track.deploy(first);
  assert.equal((await track.result(first)).outcome, 'completed');

  const request = track.request(service, 'v2', { stages: [LONG_STAGE] });
  const key = `${request.rolloutId}/${frozen.effect}`;
  const begun = track.proxy.calls.length;
  const traffic = startTraffic({ url: `${stack.dataUrl}/test/${service}/`, perSecond: 30 });
  const routes = watchRoute(track, service);
  const wake = gate();
  const goOn = gate();
  t.after(async () => {
    // After a failure too, nothing is left running and nobody is left waiting.
    track.proxy.disarm();
    wake.open();
    goOn.open();
    await Promise.all([traffic.stop(), routes.stop()]);
    await track.retire(service);
  });

  const victim = gate<Call>();
  track.proxy.set({
    moment: 'arrived',
    // Every later attempt of the effect waits too, on whatever worker: not one of them is in time.
    again: true,
    matches: ({ kind, sender }) =>
      sender?.key === key && (kind === frozen.kind || (victim.isOpen && kind === 'starting')),
    async spring(call) {
      victim.open(call);
      await wake.opened;
      return 'go on';
    },
  });
  const midway = gate<Call>();
  if (frozen.woken === 'once the rollback has raised its fence') {
    track.proxy.set({
      moment: 'arrived',
      matches: ({ kind, sender }) =>
        kind === 'starting' && sender?.key === `${request.rolloutId}/rollback/set-weights/route/1`,
      async spring(call) {
        midway.open(call);
        await goOn.opened;
        return 'go on';
      },
    });
  }

  await track.deploy(request);
  const stopped = await victim.opened;
  const { pid, attempt } = stopped.sender ?? assert.fail('nobody sent it');
  t.after(() => track.worker(pid).kill('SIGCONT'));
  await track.worker(pid).kill('SIGSTOP');
  const frozenMs = Date.now();
  await track.abort(request);
  if (frozen.woken === 'once the rollback has raised its fence') {
    const { sender } = await midway.opened;
    assert.notEqual(sender?.pid, pid, 'the other worker rolls back');
    wake.open();
    await answered(stopped, frozen);
    goOn.open();
  }
  await eventually('the rollback is done', async () =>
    (await track.journal(service)).some(({ verb, name }) => verb === 'delete' && name.includes(request.rolloutId)),
  );
  const rolledBackMs = Date.now();
  assert.ok(
    !track.proxy.calls.slice(begun).some((call) => call.atMs > frozenMs + 300 && call.sender?.pid === pid),
    'the frozen worker was frozen all the time',
  );
  const journal = await track.journal(service);

  await track.worker(pid).kill('SIGCONT');
  wake.open();
  await answered(stopped, frozen);
  const returned = await eventually(
    'the woken worker ends its activity',
    async () =>
      track.proxy.calls.find(({ kind, sender }) => kind === 'returned' && sender?.attempt === attempt) ?? null,
  );
  await sleep(AFTERWARDS_MS);
  await traffic.stop();
  const late = track.proxy.calls.filter(
    ({ atMs, kind, sender }) => atMs > rolledBackMs && kind === 'returned' && sender?.key === key,
  );
  assert.equal((await track.result(request)).outcome, 'aborted');
  assert.equal(returned.result, frozen.result);
  assert.equal(returned.sender?.pid, pid);

  // What came after the rollback: nothing, or a creation that the gateway took back in the same breath.
  const after = (await track.journal(service)).slice(journal.length);
  const created = frozen.status === 201 ? ['create arm/canary', 'collect arm/canary'] : [];
  assert.deepEqual(
    after.map(({ verb, kind, name }) => `${verb} ${kind}/${name}`),
    created,
    'the journal after the rollback',
  );
  assert.deepEqual(appliedTwice(await track.journal(service)), []);
  const weights = await routes.stop();
  assert.deepEqual([...weights], ['100/0/0'], 'the weights at any time');
  const rollback = writesOf(request.rolloutId, journal).filter((write) => write.startsWith('rollback/'));
  assert.ok(rollback.includes('rollback/raise-fence/all/1: replace route/route'), 'the rollback raised its fence');

  const objects = await track.objects(service);
  const names = objects.map(({ kind, name }) => `${kind}/${name}`).toSorted();
  assert.deepEqual(names, ['anchor/lane', 'arm/stable', 'route/route']);
  for (const object of objects) if (object.kind === 'arm') assert.equal(object.spec.template.version, `${service}:v1`);
  assert.deepEqual(
    traffic.answers.filter(({ ok, version }) => !ok || version !== `${service}:v1`),
    [],
    'stable answered everything',
  );
  t.diagnostic(
    `its late attempts came to: ${late.map(({ result }) => result).join(', ')}; rolled back after ${((rolledBackMs - frozenMs) / 1000).toFixed(1)} s; in all ${((Date.now() - begunMs) / 1000).toFixed(1)} s`,
  );
}

/** The late write has reached the gateway, and this is what came of it. */
async function answered(stopped: Call, { kind, status }: Frozen): Promise<void> {
  if (kind !== 'write') return;
  assert.equal(await eventually('the gateway answers the late write', async () => stopped.status), status);
}

/** All weights that a service's route has had since the first look. */
function watchRoute(track: CrashTrack, service: string): { stop(): Promise<ReadonlySet<string>> } {
  const seen = new Set<string>();
  let stopped = false;
  const looking = (async () => {
    while (!stopped) {
      for (const object of await track.objects(service)) {
        if (object.kind !== 'route') continue;
        const { stable, canary, baseline } = object.spec.weights;
        seen.add(`${stable}/${canary}/${baseline}`);
      }
      await sleep(20);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await looking;
      return seen;
    },
  };
}

interface Gate<T> {
  readonly opened: Promise<T>;
  readonly isOpen: boolean;
  open(value: T): void;
}

function gate<T = void>(): Gate<T> {
  let isOpen = false;
  let resolve: (value: T) => void = () => undefined;
  const opened = new Promise<T>((done) => {
    resolve = done;
  });
  return {
    opened,
    get isOpen() {
      return isOpen;
    },
    open(value) {
      isOpen = true;
      resolve(value);
    },
  };
}
