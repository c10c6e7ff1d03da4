/** `npm run demo`: a good release of a small service is promoted, a bad one is rolled back, under real traffic. */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Slipway } from '../client/slipway.js';
import type { RolloutView } from '../domain/rollout.js';
import { SLIPWAY } from '../tools/stack.js';
import type { Server } from '../tools/supervise.js';
import { startTraffic } from '../tools/traffic.js';
import type { Traffic } from '../tools/traffic.js';
import { trafficBack } from '../tools/traffic-back.js';
import { clusterOptions, clusterScene } from './cluster.js';
import type { ClusterOptions } from './cluster.js';
import { kubernetesScene, localScene, ROOT } from './scene.js';
import type { Scene } from './scene.js';
import { serveDemo } from './serve.js';

const HELP = `npm run demo [-- --serve | [--kubernetes [--context NAME …]] [--json] [--interrupt]]

Starts Temporal, a local gateway and a worker, ships a small service under traffic that it makes itself: first a good
release, which ends at 100 %, then a bad one, which is rolled back.

  --serve       everything stays up until interrupted, with the web page and rollouts that wait for you; the first line on
                standard output is one JSON object {api, page, temporalWeb, tokens}
  --kubernetes  on a Kubernetes of its own instead of the local gateway: a real API server with its controllers, pods that
                are processes, Traefik and Prometheus, in a network namespace (Linux). Building it once takes minutes
  --context     with --kubernetes: on the cluster of this context of your kubeconfig, in a namespace slipway-demo that is
                deleted in the end; by kubectl. It needs
    --gateway     a Gateway that takes HTTPRoutes from other namespaces, as namespace/name
    --url         where that Gateway answers, from here
    --prometheus  the Prometheus that scrapes it, from here
    --queries     what its metrics are like: traefik (the default), istio, …
  --json        end with one JSON document on standard output; the story goes to standard error
  --interrupt   kill -9 the worker in the middle of each rollout: another goes on, and nothing is done twice
  --help        this text`;

const REQUESTS_PER_SECOND = 100;

interface Told {
  readonly outcome: string;
  readonly rolloutId: string;
  readonly seconds: number;
}

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options === 'help') {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  if (options === 'serve') return serve();
  if (typeof options === 'string') {
    process.stderr.write(`demo: ${options}\n${HELP}\n`);
    return 2;
  }
  const { json, interrupt, place } = options;
  const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  const demo = await Demo.start(say, interrupt, place);
  try {
    const result = await demo.run();
    if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return result.good.outcome === 'completed' && result.bad.outcome === 'rolled-back' && !result.appliedTwice ? 0 : 1;
  } finally {
    await demo.stop();
  }
}

type Place = { readonly kind: 'local' | 'kubernetes' } | { readonly kind: 'cluster'; readonly cluster: ClusterOptions };

interface Options {
  readonly json: boolean;
  readonly interrupt: boolean;
  readonly place: Place;
}

/** Until Ctrl-C, or whoever started it says so. */
async function serve(): Promise<number> {
  const stopped = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stopped.abort());
  await serveDemo({
    signal: stopped.signal,
    tell: (line) => void process.stdout.write(`${line}\n`),
    note: (line) => void process.stderr.write(`${line}\n`),
  });
  return 0;
}

/** A text other than `help` and `serve` says what is wrong. */
function readOptions(args: readonly string[]): Options | string {
  const flag = { type: 'boolean', default: false } as const;
  const value = { type: 'string' } as const;
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        kubernetes: flag,
        json: flag,
        interrupt: flag,
        help: flag,
        serve: flag,
        context: value,
        gateway: value,
        url: value,
        prometheus: value,
        queries: value,
      },
    });
    const { json, interrupt, kubernetes, help, serve, ...ofCluster } = values;
    if (help) return 'help';
    if (serve) return args.length === 1 ? 'serve' : '--serve goes with nothing else';
    const given = new Map(Object.entries(ofCluster).map(([name, text]) => [`--${name}`, text]));
    if (given.size === 0) return { json, interrupt, place: { kind: kubernetes ? 'kubernetes' : 'local' } };
    if (!kubernetes) return `${[...given.keys()].join(', ')}: for --kubernetes only`;
    const cluster = clusterOptions(given);
    return typeof cluster === 'string' ? cluster : { json, interrupt, place: { kind: 'cluster', cluster } };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const STARTING: Readonly<Record<Place['kind'], string>> = {
  local: 'Temporal, the local gateway and a worker',
  kubernetes: 'Kubernetes, Traefik, Prometheus, Temporal and a worker',
  cluster: 'the service on your cluster, and Temporal and a worker here',
};

class Demo {
  private constructor(
    private readonly say: (text: string) => void,
    private readonly interrupt: boolean,
    private readonly scene: Scene,
    private worker: Server,
    private readonly client: Slipway,
  ) {}

  static async start(say: (text: string) => void, interrupt: boolean, place: Place): Promise<Demo> {
    say('Slipway demo: one good release, one bad one, under real traffic from this machine.\n');
    say(`  starting ${STARTING[place.kind]} …`);
    const scene = await (place.kind === 'cluster'
      ? clusterScene(place.cluster)
      : place.kind === 'kubernetes'
        ? kubernetesScene()
        : localScene());
    try {
      const worker = await scene.startWorker();
      for (const line of scene.lookAt) say(`  ${line}`);
      say('');
      return new Demo(say, interrupt, scene, worker, await Slipway.connect(scene.env));
    } catch (error) {
      await scene.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.client.close();
    await this.scene.stop();
  }

  async run() {
    await this.first();
    const traffic = startTraffic({ url: this.scene.url, perSecond: REQUESTS_PER_SECOND });
    this.say(`\n  ${REQUESTS_PER_SECOND} requests a second from now on.\n`);
    try {
      this.say('— v2: a good release. The risk is that of the last commits of this repository.');
      const good = await this.deploy(this.scene.flags('v2'));
      this.say('\n— v3: a bad release: 30 % of its answers are errors.');
      const bad = await this.deploy([...this.scene.flags('v3'), '--set', 'DEMO_ERROR_RATE=0.3']);
      return await this.sumUp(good, bad, traffic);
    } finally {
      await traffic.stop();
    }
  }

  private async first(): Promise<void> {
    if (this.scene.before !== null) {
      this.say(`— v1: the owner of the service has applied it.\n  $ ${this.scene.before}`);
      return;
    }
    this.say('— v1: the first release. Nothing serves yet, so there is nothing to compare it with.');
    const { outcome } = await this.deploy(['--tag', 'v1', '--no-git', '--message', 'first release']);
    if (outcome !== 'completed') throw new Error(`the first release ended ${outcome}`);
  }

  private async sumUp(good: Told, bad: Told, traffic: Traffic) {
    const changes = await this.scene.changes();
    const effects = new Map<string, number>();
    for (const { key, what } of changes ?? []) effects.set(`${key} ${what}`, (effects.get(`${key} ${what}`) ?? 0) + 1);
    const appliedTwice = [...effects.values()].filter((count) => count > 1).length;
    const view = await this.view(bad.rolloutId);
    const firstError = traffic.answers.find((answer) => answer.version?.endsWith(':v3') === true && !answer.ok);
    const zeroAtMs = trafficBack(changes?.filter(({ ofRoute }) => ofRoute) ?? []).get(bad.rolloutId);
    const secondsToZeroWeight =
      firstError === undefined || zeroAtMs === undefined ? null : (zeroAtMs - firstError.atMs) / 1000;
    const failed = traffic.answers.filter((answer) => !answer.ok);
    const verdict = view?.verdicts.findLast((entry) => entry.verdict.kind === 'ROLLBACK')?.verdict ?? null;
    const byBad = failed.filter((answer) => answer.version?.endsWith(':v3') === true).length;

    this.say('\nWhat happened');
    this.say(`  v2: ${good.outcome} after ${good.seconds.toFixed(0)} s`);
    this.say(`  v3: ${bad.outcome} after ${bad.seconds.toFixed(0)} s: ${verdict?.summary ?? view?.reason?.text ?? ''}`);
    if (secondsToZeroWeight !== null)
      this.say(`      from its first error to no traffic at all: ${secondsToZeroWeight.toFixed(1)} s`);
    this.say(
      `  users saw ${failed.length} errors in ${traffic.answers.length} requests; ${byBad} of them from v3, ${failed.length - byBad} from anything else`,
    );
    if (changes !== null)
      this.say(
        `  ${effects.size} changes on the platform, ${appliedTwice} of them made twice${this.interrupt ? ', with the worker killed (kill -9) in the middle of each rollout' : ''}`,
      );
    return {
      good,
      bad: { ...bad, secondsToZeroWeight, verdict: verdict?.kind ?? null, why: verdict?.summary ?? null },
      requests: traffic.answers.length,
      errors: failed.length,
      errorsOfBad: byBad,
      effects: changes === null ? null : effects.size,
      appliedTwice: changes === null ? null : appliedTwice,
      interrupted: this.interrupt,
    };
  }

  /** Deploys by the command that users have, approves when a person is needed, and tells the story as it happens. */
  private async deploy(flags: readonly string[]): Promise<Told> {
    const begunMs = Date.now();
    const args = ['deploy', 'hello', '--env', this.scene.environment, ...flags];
    this.say(`  $ slipway ${args.join(' ')}`);
    const rolloutId = (await this.slipway([...args, '--file', this.scene.file, '--as', 'you@example.com'])).trim();
    let approved: string | null = null;
    let killed = !this.interrupt || flags.includes('v1');
    let shown = 0;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      const view = await this.view(rolloutId);
      if (view === null) continue;
      for (const entry of view.timeline.slice(shown)) this.say(`    ${entry.at.slice(11, 19)}  ${entry.text}`);
      shown = view.timeline.length;
      if (view.outcome !== null) return { outcome: view.outcome, rolloutId, seconds: (Date.now() - begunMs) / 1000 };
      if (
        view.approvals !== null &&
        view.wait?.gate !== null &&
        view.wait?.gate !== undefined &&
        approved !== view.approvals.planDigest
      ) {
        approved = view.approvals.planDigest;
        this.say(`  $ slipway approve ${rolloutId} --as colleague@example.com --reason "read the plan"`);
        await this.slipway(['approve', rolloutId, '--as', 'colleague@example.com', '--reason', 'read the plan']);
      }
      if (!killed && view.phase === 'canary' && view.weights !== null && view.weights.canary > 0) {
        killed = true;
        await this.killWorker();
      }
    }
  }

  private async killWorker(): Promise<void> {
    this.say(`  $ kill -9 ${this.worker.pid}     # the worker, in the middle of the rollout`);
    await this.worker.kill('SIGKILL');
    this.worker = await this.scene.startWorker();
    this.say(`    another worker (${this.worker.pid}) goes on where it stopped`);
  }

  /** The rollout's view, or null while it waits in its lane or no worker answers. */
  private async view(rolloutId: string): Promise<RolloutView | null> {
    const found = await this.client.find({
      lane: { environment: this.scene.environment, service: 'hello' },
      rolloutId,
    });
    return found.kind === 'running' ? found.view : null;
  }

  private async slipway(args: readonly string[]): Promise<string> {
    const child = spawn(process.execPath, [SLIPWAY, ...args], {
      cwd: ROOT,
      env: { ...process.env, ...this.scene.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (code !== 0) throw new Error(`slipway ${args.join(' ')} ended with ${code}:\n${err}${out}`);
    return out;
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 70;
  },
);
