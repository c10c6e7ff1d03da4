import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { newDecision, Slipway } from '../../client/slipway.js';
import type { StagePolicy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutResult, RolloutView } from '../../domain/rollout.js';
import type { Server } from '../../tools/supervise.js';
import { recoverWorkflowId, rolloutWorkflowId } from '../../workflows/messages.js';
import type { CrashSite, ServiceState } from './crash-site.js';
import { until } from './drive.js';
import { startFaultProxy, writeText } from './fault-proxy.js';
import type { FaultProxy, Write } from './fault-proxy.js';
import { stage, testPolicy, testRequest } from './request.js';

/** The script of workers whose every step a test can stop: see crash-worker.ts. */
export const CRASH_WORKER = fileURLToPath(new URL('crash-worker.js', import.meta.url));

const END_MS = 90_000;

export interface TrackOptions {
  readonly site: CrashSite;
  /** Part of the task queue's and the services' names. */
  readonly name: string;
  /** Workers whose writes know no time limit: see crash-worker.ts. */
  readonly patient?: boolean;
  /** More settings of the workers. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Two workers on a task queue of their own, which reach the platform through a proxy of their own. Whichever worker gets
 * into a trap is the victim; the other one goes on.
 */
export class CrashTrack {
  private services = 0;
  private workers: Server[] = [];
  private starting: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: TrackOptions,
    readonly proxy: FaultProxy,
    readonly slipway: Slipway,
    private readonly queue: string,
  ) {}

  static async start(options: TrackOptions): Promise<CrashTrack> {
    const { site, name } = options;
    const proxy = await startFaultProxy(site.upstream);
    const queue = `crash-${name}`;
    const slipway = await Slipway.connect({ ...site.env, SLIPWAY_TASK_QUEUE: queue });
    const track = new CrashTrack(options, proxy, slipway, queue);
    await Promise.all([track.addWorker(), track.addWorker()]);
    return track;
  }

  async close(): Promise<void> {
    await this.starting;
    await Promise.all(this.workers.map((worker) => worker.kill('SIGKILL')));
    await this.proxy.close();
    await this.slipway.close();
  }

  newService(): string {
    this.services += 1;
    return `${this.options.name}-${this.services}`;
  }

  worker(pid: number): Server {
    const found = this.workers.find((worker) => worker.pid === pid);
    assert.ok(found, `process ${pid} is no worker of this track`);
    return found;
  }

  /** Kills a worker and starts another one in the background. */
  async kill9(pid: number): Promise<void> {
    const victim = this.worker(pid);
    await victim.kill('SIGKILL');
    assert.equal((await victim.exited).signal, 'SIGKILL', 'the victim was killed, and did not end by itself');
    this.workers = this.workers.filter((worker) => worker !== victim);
    this.starting = this.addWorker();
  }

  /** Waits until two workers are there again. */
  async complete(): Promise<void> {
    await this.starting;
  }

  private async addWorker(): Promise<void> {
    const { site, name, patient, env = {} } = this.options;
    const { url } = this.proxy;
    const worker = await site.startWorker(
      { name, url },
      {
        SLIPWAY_TASK_QUEUE: this.queue,
        SLIPWAY_TEST_PROXY: url,
        SLIPWAY_TEST_PATIENT: String(patient === true),
        ...env,
      },
    );
    this.workers.push(worker);
  }

  /** A request whose effects go through the proxy. */
  request(service: string, tag: string, change: RequestChange = {}): RolloutRequest {
    const { stages = [stage(25, 2), stage(50, 2)], verifyMs = 1000, env = {} } = change;
    const policy = testPolicy({
      gateway: this.proxy.url,
      service,
      stages,
      replicas: 1,
      scrapeIntervalMs: 500,
      change: { verifyMs },
    });
    // These tests are about crashes: whether a release is good must be plain after a few requests on a busy machine.
    const analysis = {
      ...policy.analysis,
      warmUpMs: 500,
      lookEveryMs: 500,
      errorBudget: 1e-6,
      errorMargin: 0.9,
      minErrorIncrease: 0.5,
      minLatencyRatio: 100,
      latencyMargin: 200,
      minRequests: 5,
      limits: { ...policy.analysis.limits, minRequests: 8 },
    };
    const { site } = this.options;
    return testRequest({ policy: site.policy({ ...policy, analysis }, this.proxy.url, env === BROKEN), tag, env });
  }

  /** Puts the first version of a service there. */
  async seed(service: string, tag: string): Promise<void> {
    const { seed } = this.options.site;
    if (seed !== null) return seed(service, tag);
    const request = this.request(service, tag, { verifyMs: 0 });
    await this.deploy(request);
    assert.equal((await this.result(request)).outcome, 'completed');
  }

  async deploy(request: RolloutRequest): Promise<void> {
    const receipt = await this.slipway.enqueue(request);
    assert.equal(receipt.kind, 'accepted', JSON.stringify(receipt));
  }

  async view({ policy, rolloutId }: RolloutRequest): Promise<RolloutView | null> {
    const found = await this.slipway.find({ lane: policy.lane, rolloutId });
    return found.kind === 'running' ? found.view : null;
  }

  /** Looks a few times a second: a question is work for the workers too. */
  async until(request: RolloutRequest, what: string, wanted: (view: RolloutView) => boolean): Promise<RolloutView> {
    const seen = await until(what, async () => {
      const view = await this.view(request);
      return view !== null && (wanted(view) || view.outcome !== null) ? view : null;
    });
    assert.ok(wanted(seen), `${what}: the rollout ended without it: ${JSON.stringify(seen.reason)}`);
    return seen;
  }

  async abort({ policy, rolloutId }: RolloutRequest): Promise<void> {
    const actor = { subject: 'operator@example.com', groups: [], verified: false };
    const decision = newDecision('abort', actor, { reason: 'for the test' });
    const receipt = await this.slipway.decide({ lane: policy.lane, rolloutId }, decision);
    assert.equal(receipt.kind, 'accepted', JSON.stringify(receipt));
  }

  async terminate({ policy, rolloutId }: RolloutRequest): Promise<void> {
    const handle = this.slipway.client.workflow.getHandle(rolloutWorkflowId(policy.lane, rolloutId));
    await handle.terminate('for the test');
  }

  /** The result of its run. The server is asked, not the workers: it answers whatever becomes of them. */
  async result({ policy, rolloutId }: RolloutRequest): Promise<RolloutResult> {
    return this.resultOf(rolloutWorkflowId(policy.lane, rolloutId));
  }

  async recovery({ policy, rolloutId }: RolloutRequest): Promise<RolloutResult> {
    return this.resultOf(recoverWorkflowId(policy.lane, rolloutId));
  }

  private async resultOf(workflowId: string): Promise<RolloutResult> {
    await until(`${workflowId} begins`, async () => {
      await this.slipway.client.workflow.getHandle(workflowId).describe();
      return true;
    });
    const limit = new AbortController();
    const late = sleep(END_MS, null, { signal: limit.signal, ref: false }).then(
      () => {
        throw new Error(`${workflowId} did not end within ${END_MS} ms`);
      },
      () => null,
    );
    const handle = this.slipway.client.workflow.getHandle(workflowId);
    try {
      return (await Promise.race([handle.result(), late])) as RolloutResult;
    } finally {
      limit.abort();
    }
  }

  // The platform's own word, past the proxy ---------------------------------------------------------------------------

  state(service: string): Promise<ServiceState> {
    return this.options.site.state(service);
  }

  journal(service: string): Promise<readonly Write[]> {
    return this.options.site.journal(service, this.proxy.calls);
  }

  /** Logs of this track's workers, for messages of failed tests. */
  async logs(): Promise<string> {
    const tails = await Promise.all(this.workers.map(async (worker) => `${worker.name}:\n${await worker.logTail(12)}`));
    return tails.join('\n');
  }
}

export interface RequestChange {
  readonly stages?: readonly StagePolicy[];
  readonly verifyMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A stage that does not end before the test does. */
export const LONG_STAGE: StagePolicy = stage(25, 300);

/** Answers every request with an error. */
export const BROKEN = { DEMO_ERROR_RATE: '1' } as const;

/** `rollback/raise-fence/all/1: replace route/route`: a write without what is different in each run. */
export function nameOfWrite(rolloutId: string, text: string): string {
  const match = /^(.*) by [^/]*\/(.*)$/.exec(text.replaceAll(`rollout-${rolloutId}`, 'rollout'));
  assert.ok(match, `not a write with a key: ${text}`);
  const key = (match[2] ?? '').replace(/all\.g\d+/, 'all').replace(/^(claim\/\w+\/lane)\/\d+$/, '$1');
  return `${key}: ${match[1]}`;
}

/** The writes of one rollout, in the order in which they were applied. */
export function writesOf(rolloutId: string, journal: readonly Write[]): readonly string[] {
  return journal
    .filter(({ key }) => key?.startsWith(`${rolloutId}/`))
    .map((entry) => nameOfWrite(rolloutId, writeText(entry)));
}
