/** Workers that are stopped in the middle of an effect and wake up late: tests for any platform. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertAtRest } from './crash-matrix.js';
import type { CrashSite } from './crash-site.js';
import { CrashTrack, LONG_STAGE, writesOf } from './crash-track.js';
import { appliedTwice, until } from './drive.js';
import type { Call } from './fault-proxy.js';

/** How long the route is watched after the frozen worker was woken. */
const AFTERWARDS_MS = 3000;

interface Frozen {
  readonly title: string;
  /** Where the worker is stopped: in the call of this effect that is `kind`. */
  readonly effect: string;
  readonly kind: 'starting' | 'write';
  /** When its call goes on: once the rollback is done, or in the middle of it. */
  readonly woken: 'after the rollback' | 'once the rollback has raised its fence';
  /** What its activity comes to in the end, where it reads the answer to what it sent. */
  readonly result: string;
  /** What the platform answers to the write that it had under way; null where it sends none. */
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

/** Registers the tests. @param skip why they can't run here, or false */
export function zombieTests(start: () => Promise<CrashSite>, skip: string | false): void {
  const name = 'a worker that was stopped in an activity and wakes up late changes nothing';
  test(name, { timeout: 300_000, concurrency: true, skip }, async (t) => {
    const begunMs = Date.now();
    const site = await start();
    t.after(() => site.stop());
    const queue = [...STOPPED];
    const work = async (name: string): Promise<void> => {
      const track = await CrashTrack.start({ site, name, patient: true });
      for (let frozen = queue.shift(); frozen !== undefined; frozen = queue.shift()) {
        const tried = frozen;
        await t.test(`stopped ${tried.title}`, (t) => freeze(t, site, track, tried));
      }
      await track.close();
    };
    await Promise.all([work('z1'), work('z2')]);
    t.diagnostic(`${STOPPED.length} ways to be stopped tried in ${Math.round((Date.now() - begunMs) / 1000)} s`);
  });
}

async function freeze(t: TestContext, site: CrashSite, track: CrashTrack, frozen: Frozen): Promise<void> {
  const begunMs = Date.now();
  const service = track.newService();
  await track.seed(service, 'v1');
  const { stable } = await track.state(service);

  const request = track.request(service, 'v2', { stages: [LONG_STAGE] });
  const key = `${request.rolloutId}/${frozen.effect}`;
  const begun = track.proxy.calls.length;
  const traffic = site.traffic(service);
  const routes = watchRoute(site, service);
  const wake = gate();
  const goOn = gate();
  t.after(async () => {
    // After a failure too, nothing is left running and nobody is left waiting.
    track.proxy.disarm();
    wake.open();
    goOn.open();
    await Promise.all([traffic?.stop(), routes.stop()]);
    await site.retire(service);
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
  await until('the rollback is done', async () =>
    (await track.journal(service)).some(({ verb, name }) => verb === 'delete' && name.includes(request.rolloutId)),
  );
  await assertAtRest(track, service);
  const rolledBackMs = Date.now();
  assert.ok(
    !track.proxy.calls.slice(begun).some((call) => call.atMs > frozenMs + 300 && call.sender?.pid === pid),
    'the frozen worker was frozen all the time',
  );
  const journal = await track.journal(service);

  await track.worker(pid).kill('SIGCONT');
  wake.open();
  await answered(stopped, frozen);
  const returned = await until(
    'the woken worker ends its activity',
    async () =>
      track.proxy.calls.find(({ kind, sender }) => kind === 'returned' && sender?.attempt === attempt) ?? null,
  );
  await sleep(AFTERWARDS_MS);
  await traffic?.stop();
  const late = track.proxy.calls.filter(
    ({ atMs, kind, sender }) => atMs > rolledBackMs && kind === 'returned' && sender?.key === key,
  );
  assert.equal((await track.result(request)).outcome, 'aborted');
  // The limit for an answer goes on while a process is stopped: where it is over, nobody reads what the late write came to,
  // and nothing follows it.
  const unread = frozen.kind === 'write' && returned.result?.includes('no answer within') === true;
  if (!unread) assert.equal(returned.result, frozen.result);
  assert.equal(returned.sender?.pid, pid);

  // What came after the rollback: nothing, or a creation that the platform took back in the same breath.
  const after = (await track.journal(service)).slice(journal.length);
  const created = unread ? site.lateCanary.filter((line) => line.endsWith(` ${objectOf(stopped)}`)) : site.lateCanary;
  assert.deepEqual(
    after.map(({ verb, kind, name }) => `${verb} ${kind}/${name}`).toSorted(),
    frozen.status === 201 ? created : [],
    'the journal after the rollback',
  );
  assert.deepEqual(appliedTwice(await track.journal(service)), []);
  const weights = await routes.stop();
  assert.deepEqual([...weights], ['100/0/0'], 'the weights at any time');
  const rollback = writesOf(request.rolloutId, journal).filter((write) => write.startsWith('rollback/'));
  assert.ok(rollback.includes('rollback/raise-fence/all/1: replace route/route'), 'the rollback raised its fence');

  await assertAtRest(track, service);
  assert.deepEqual((await track.state(service)).stable, stable, 'stable is as it was');
  assert.deepEqual(
    traffic?.answers.filter(({ ok, version }) => !ok || version !== `${service}:v1`) ?? [],
    [],
    'stable answered everything',
  );
  t.diagnostic(
    `its late attempts came to: ${late.map(({ result }) => result).join(', ')}; rolled back after ${((rolledBackMs - frozenMs) / 1000).toFixed(1)} s; in all ${((Date.now() - begunMs) / 1000).toFixed(1)} s`,
  );
}

/** The late write has reached the platform, and this is what came of it. */
async function answered(stopped: Call, { kind, status }: Frozen): Promise<void> {
  if (kind !== 'write') return;
  assert.equal(await until('the platform answers the late write', async () => stopped.status), status);
}

/** What a write is of: `arm/canary`. */
function objectOf({ write }: Call): string {
  return write?.split(' ')[1] ?? assert.fail('it is no write');
}

/** All weights that a service's route has had since the first look. */
function watchRoute(site: CrashSite, service: string): { stop(): Promise<ReadonlySet<string>> } {
  const seen = new Set<string>();
  let stopped = false;
  const looking = (async () => {
    while (!stopped) {
      const weights = await site.weights(service);
      if (weights !== null) seen.add(`${weights.stable}/${weights.canary}/${weights.baseline}`);
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
