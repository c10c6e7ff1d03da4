import { Agent, get } from 'node:http';
import { canonicalJson } from '../domain/canonical.js';
import { imageTag } from '../domain/release.js';
import { messageOf } from './errors.js';
import { createPortFinder } from './free-port.js';
import type { ArmStatus, ArmTemplate } from '../formats/gateway.js';
import type { StoredArm } from './journal-file.js';
import type { GatewayLogger } from './logger.js';
import type { HostedProcess, ProcessHost } from './process-host.js';

export interface ArmControllerOptions {
  readonly host: string;
  readonly processes: ProcessHost;
  /** What every replica's environment starts from. */
  readonly baseEnv: Readonly<Record<string, string>>;
  readonly maxReplicas: number;
  readonly progressDeadlineMs: number;
  readonly drainMs: number;
  readonly logger: GatewayLogger;
}

/** A replica that takes a request. */
export interface Seat {
  readonly version: string;
  readonly port: number;
  readonly agent: Agent;
  /** To be called once, when the request is over. */
  leave(): void;
}

/** Keeps as many processes of each arm's template as its spec says. */
export interface ArmController {
  /** Brings an arm to its spec, or ends it when `arm` is null. */
  sync(uid: string, arm: StoredArm | null): void;
  status(arm: StoredArm): ArmStatus;
  /** The least busy ready replica, or null. */
  take(uid: string): Seat | null;
  capacity(): { readonly maxReplicas: number; readonly used: number };
  /** Ends all replicas: those that serve may finish first. */
  close(): Promise<void>;
}

const PROBE_EVERY_MS = 100;
const PROBE_READY_EVERY_MS = 1000;
const PROBE_TIMEOUT_MS = 2000;
/** A ready replica that fails so many probes in a row gets no more traffic until it answers again. */
const UNREADY_AFTER_PROBES = 3;
const KILL_AFTER_MS = 2000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5000;
/** A replica that served for so long starts without back-off when it ends. */
const STEADY_AFTER_MS = 10_000;
/** Shorter than the keep-alive of any usual server (Node: 5 s), so that it is never the replica that hangs up first. */
const IDLE_SOCKET_MS = 2000;

interface Replica {
  readonly templateKey: string;
  readonly template: ArmTemplate;
  state: ArmStatus['replicas'][number]['state'];
  port: number;
  pid: number | null;
  process: HostedProcess | null;
  agent: Agent;
  inFlight: number;
  readySince: number;
  crashes: number;
  /** Why it is not ready, as far as known. */
  problem: string;
  /** How its process ended last; null until one has ended. */
  ending: string | null;
  tail: string;
  timer: NodeJS.Timeout | null;
}

interface ArmRun {
  arm: StoredArm;
  templateKey: string;
  /** The arm is gone from the store; its replicas are on their way. */
  removed: boolean;
  replicas: Replica[];
  /** When it last came closer to its spec. */
  progressAt: number;
  bestReady: number;
  /** Why the command can't even be started. */
  cantStart: string | null;
  /** Turns between equally busy replicas. */
  turn: number;
}

export function createArmController(options: ArmControllerOptions): ArmController {
  const { host, processes, baseEnv, maxReplicas, progressDeadlineMs, drainMs, logger } = options;
  const ports = createPortFinder(host);
  const runs = new Map<string, ArmRun>();
  let closing = false;

  function sync(uid: string, arm: StoredArm | null): void {
    const run = runs.get(uid);
    if (arm === null) {
      if (run) run.removed = true;
    } else {
      const templateKey = canonicalJson(arm.spec.template);
      if (run === undefined) {
        const fresh = { removed: false, replicas: [], progressAt: Date.now(), bestReady: 0, cantStart: null, turn: 0 };
        runs.set(uid, { arm, templateKey, ...fresh });
      } else {
        const same = canonicalJson(run.arm.spec) === canonicalJson(arm.spec);
        Object.assign(run, { arm, templateKey });
        if (!same) Object.assign(run, { progressAt: Date.now(), bestReady: readyOf(run).length, cantStart: null });
      }
    }
    reconcile();
  }

  /** Looks at all arms: what one gives up, another may have been waiting for. */
  function reconcile(): void {
    if (closing) return;
    for (const run of runs.values()) shrink(run);
    for (const run of runs.values()) grow(run);
    for (const [uid, run] of runs) if (run.removed && run.replicas.length === 0) runs.delete(uid);
  }

  function shrink(run: ArmRun): void {
    const wanted = run.removed ? 0 : run.arm.spec.replicas;
    const current = run.replicas.filter((replica) => isCurrent(run, replica) && replica.state !== 'draining');
    const surplus = [...current.filter((replica) => replica.state !== 'ready'), ...current.filter(isReady).reverse()];
    for (const replica of surplus.slice(0, Math.max(0, current.length - wanted))) retire(run, replica);

    // Earlier templates serve until their successors do: never fewer ready than the spec asks for.
    let ready = run.replicas.filter(isReady).length;
    for (const replica of run.replicas.filter((each) => !isCurrent(run, each) && each.state !== 'draining')) {
      if (isReady(replica) && ready - 1 < wanted) continue;
      if (isReady(replica)) ready--;
      retire(run, replica);
    }
  }

  function grow(run: ArmRun): void {
    if (run.removed) return;
    let have = run.replicas.filter((replica) => isCurrent(run, replica) && replica.state !== 'draining').length;
    for (; have < run.arm.spec.replicas && room() > 0; have++) {
      const { template } = run.arm.spec;
      const replica: Replica = { templateKey: run.templateKey, template, ...UNSTARTED, agent: newAgent() };
      run.replicas.push(replica);
      launch(run, replica);
    }
  }

  function room(): number {
    let taken = 0;
    for (const run of runs.values()) taken += run.replicas.filter((replica) => replica.state !== 'draining').length;
    return maxReplicas - taken;
  }

  function launch(run: ArmRun, replica: Replica): void {
    replica.state = 'starting';
    replica.problem = 'its command is starting';
    ports.next().then(
      (port) => {
        if (replica.state !== 'starting' || closing) return;
        replica.port = port;
        const start = commandOf(run.arm.name, replica.template, port, baseEnv);
        replica.process = processes.start(start, {
          started: (pid) => {
            replica.pid = pid;
            void watch(run, replica, pid);
          },
          output: (tail) => (replica.tail = tail),
          ended: (how, tail, startable) => ended(run, replica, how, tail, startable),
        });
      },
      (error: unknown) => ended(run, replica, messageOf(error), '', true),
    );
  }

  /** Probes one process for as long as it is the replica's, and may serve. */
  async function watch(run: ArmRun, replica: Replica, pid: number): Promise<void> {
    const isOn = (): boolean => replica.pid === pid && (replica.state === 'starting' || isReady(replica)) && !closing;
    let misses = 0;
    while (isOn()) {
      const problem = await probe(host, replica);
      if (!isOn()) return;
      misses = problem === null ? 0 : misses + 1;
      if (problem !== null) replica.problem = problem;
      if (problem === null && replica.state === 'starting') {
        Object.assign(replica, { state: 'ready', readySince: Date.now() });
        progress(run);
        reconcile();
      } else if (isReady(replica) && misses >= UNREADY_AFTER_PROBES) {
        logger.warn(`${label(run)}: replica ${pid} is not ready any more: ${problem}`);
        lose(run, replica, 'starting');
        reconcile();
      }
      await pause(isReady(replica) ? PROBE_READY_EVERY_MS : PROBE_EVERY_MS);
    }
  }

  function progress(run: ArmRun): void {
    const ready = readyOf(run).length;
    if (ready <= run.bestReady) return;
    run.bestReady = ready;
    run.progressAt = Date.now();
  }

  /** An arm that was complete and is no more gets its deadline anew. */
  function lose(run: ArmRun, replica: Replica, state: 'starting' | 'exited'): void {
    const wasComplete = readyOf(run).length >= run.arm.spec.replicas;
    replica.state = state;
    const ready = readyOf(run).length;
    if (wasComplete && ready < run.arm.spec.replicas) Object.assign(run, { progressAt: Date.now(), bestReady: ready });
  }

  function ended(run: ArmRun, replica: Replica, how: string, tail: string, startable: boolean): void {
    if (replica.timer) clearTimeout(replica.timer);
    Object.assign(replica, { timer: null, pid: null, process: null, tail: tail || replica.tail });
    replica.agent.destroy();
    if (replica.state === 'draining') {
      forget(run, replica);
      reconcile();
      return;
    }
    const steady = isReady(replica) && Date.now() - replica.readySince >= STEADY_AFTER_MS;
    lose(run, replica, 'exited');
    replica.problem = `its process ${how}`;
    if (!startable && isCurrent(run, replica)) run.cantStart = replica.problem;
    replica.ending = replica.problem;
    replica.crashes = steady ? 0 : replica.crashes + 1;
    const delayMs = Math.min(BACKOFF_FIRST_MS * 2 ** Math.max(0, replica.crashes - 1), BACKOFF_MAX_MS);
    logger.warn(`${label(run)}: a replica ${how}; starting it again in ${delayMs} ms`);
    replica.timer = setTimeout(() => {
      replica.timer = null;
      replica.agent = newAgent();
      if (!closing) launch(run, replica);
    }, delayMs);
    reconcile();
  }

  /** Takes a replica out of traffic, and ends it when its requests are done. */
  function retire(run: ArmRun, replica: Replica): void {
    if (replica.timer) clearTimeout(replica.timer);
    replica.timer = null;
    const served = isReady(replica);
    replica.state = 'draining';
    if (replica.process === null) {
      forget(run, replica);
    } else if (served && replica.inFlight > 0) {
      replica.timer = setTimeout(stop, drainMs, replica);
    } else {
      stop(replica);
    }
  }

  function stop(replica: Replica): void {
    if (replica.timer) clearTimeout(replica.timer);
    replica.agent.destroy();
    replica.process?.signal('SIGTERM');
    replica.timer = setTimeout(() => replica.process?.signal('SIGKILL'), KILL_AFTER_MS);
  }

  function forget(run: ArmRun, replica: Replica): void {
    run.replicas = run.replicas.filter((each) => each !== replica);
    settleClose();
  }

  function take(uid: string): Seat | null {
    const run = runs.get(uid);
    const ready = run?.replicas.filter(isReady) ?? [];
    if (run === undefined || ready.length === 0) return null;
    const start = run.turn++ % ready.length;
    let best: Replica | null = null;
    for (let index = 0; index < ready.length; index++) {
      const replica = ready[(start + index) % ready.length] as Replica;
      if (best === null || replica.inFlight < best.inFlight) best = replica;
    }
    const chosen = best as Replica;
    chosen.inFlight++;
    return {
      version: chosen.template.version,
      port: chosen.port,
      agent: chosen.agent,
      leave() {
        chosen.inFlight--;
        if (chosen.inFlight === 0 && chosen.state === 'draining' && chosen.process !== null) stop(chosen);
      },
    };
  }

  function status(arm: StoredArm): ArmStatus {
    const run = runs.get(arm.uid);
    const wanted = arm.spec.replicas;
    const all = run?.replicas ?? [];
    const ready = run ? readyOf(run).length : 0;
    const complete = ready >= wanted;
    const late = run !== undefined && Date.now() - run.progressAt > progressDeadlineMs;
    return {
      ready,
      old: run ? all.filter((replica) => !isCurrent(run, replica) || replica.state === 'draining').length : 0,
      failed: !complete && (late || (run?.cantStart ?? null) !== null),
      message: complete || run === undefined ? null : explain(run, wanted),
      replicas: all.map(({ pid, port, state }) => ({ pid, port, state })),
    };
  }

  function explain(run: ArmRun, wanted: number): string {
    const current = run.replicas.filter((replica) => isCurrent(run, replica) && replica.state !== 'draining');
    if (current.length < wanted) {
      return `no room: ${wanted - current.length} of ${wanted} replicas can't be started, ${maxReplicas - room()} of the gateway's ${maxReplicas} are in use`;
    }
    // One that has crashed says more than one that is just being tried again.
    const [worst] = current.filter((replica) => !isReady(replica)).sort((a, b) => b.crashes - a.crashes);
    if (worst === undefined) return 'its replicas are starting';
    // What it says while it is tried again ("connection refused") is not why it does not come up.
    const again = worst.ending !== null && worst.ending !== worst.problem;
    const problem = again ? `${worst.ending}, and now ${worst.problem}` : worst.problem;
    return worst.tail.trim() === '' ? problem : `${problem}; last output:\n${worst.tail.trimEnd()}`;
  }

  function capacity(): { maxReplicas: number; used: number } {
    let used = 0;
    for (const run of runs.values()) {
      const live = run.replicas.filter((replica) => replica.state !== 'draining').length;
      used += Math.max(run.removed ? 0 : run.arm.spec.replicas, live);
    }
    return { maxReplicas, used };
  }

  let settleClose: () => void = () => undefined;
  async function close(): Promise<void> {
    closing = true;
    const all = [...runs.values()].flatMap((run) => run.replicas.map((replica) => ({ run, replica })));
    const empty = new Promise<void>((resolve) => {
      settleClose = () => {
        if ([...runs.values()].every((run) => run.replicas.length === 0)) resolve();
      };
      settleClose();
    });
    for (const { run, replica } of all) if (replica.state !== 'draining') retire(run, replica);
    await empty;
  }

  return { sync, status, take, capacity, close };
}

const UNSTARTED = {
  state: 'starting',
  port: 0,
  pid: null,
  process: null,
  inFlight: 0,
  readySince: 0,
  crashes: 0,
  problem: '',
  ending: null,
  tail: '',
  timer: null,
} as const;

function newAgent(): Agent {
  return new Agent({ keepAlive: true, timeout: IDLE_SOCKET_MS, scheduling: 'lifo' });
}

function isReady(replica: Replica): boolean {
  return replica.state === 'ready';
}

function isCurrent(run: ArmRun, replica: Replica): boolean {
  return replica.templateKey === run.templateKey;
}

function readyOf(run: ArmRun): Replica[] {
  return run.replicas.filter((replica) => isReady(replica) && isCurrent(run, replica));
}

function label({ arm }: ArmRun): string {
  return `${arm.environment}/${arm.service}/${arm.name}`;
}

function commandOf(arm: string, template: ArmTemplate, port: number, baseEnv: Readonly<Record<string, string>>) {
  const image = Object.values(template.images)[0] ?? '';
  const values: Readonly<Record<string, string>> = {
    image,
    tag: image === '' ? '' : imageTag(image),
    port: String(port),
  };
  const fill = (text: string): string => text.replace(/\{(image|tag|port)\}/g, (_, name: string) => values[name] ?? '');
  const [program = '', ...args] = template.command.map(fill);
  const own = { PORT: String(port), SLIPWAY_ARM: arm, SLIPWAY_VERSION: template.version };
  // `node` is the Node that runs the gateway: the one that is known to be there.
  const file = program === 'node' ? process.execPath : program;
  return { file, args, cwd: template.cwd, env: { ...baseEnv, ...template.env, ...own } };
}

/** Null when the health path answers 2xx, else what is wrong. */
function probe(host: string, { port, template }: Replica): Promise<string | null> {
  return new Promise((resolve) => {
    const path = template.healthPath;
    const request = get({ host, port, path, agent: false, timeout: PROBE_TIMEOUT_MS }, (response) => {
      response.resume();
      const code = response.statusCode ?? 0;
      resolve(code >= 200 && code < 300 ? null : `its health path ${path} answers ${code}`);
    });
    request.once('timeout', () => request.destroy(new Error(`no answer within ${PROBE_TIMEOUT_MS} ms`)));
    request.once('error', (error) =>
      resolve(`its health path ${path} on port ${port} does not answer: ${error.message}`),
    );
  });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
