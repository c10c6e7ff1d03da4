import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { newDecision, Slipway } from '../../client/slipway.js';
import type { StagePolicy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutResult, RolloutView } from '../../domain/rollout.js';
import { GatewayObject } from '../../formats/gateway.js';
import type { JournalEntry } from '../../formats/gateway.js';
import { readJournal } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import type { Server } from '../../tools/supervise.js';
import { recoverWorkflowId, rolloutWorkflowId } from '../../workflows/messages.js';
import { startFaultProxy, writeText } from './fault-proxy.js';
import type { FaultProxy } from './fault-proxy.js';
import { stage, testPolicy, testRequest } from './request.js';

/** The worker script for `startStack`: see crash-worker.ts. */
export const CRASH_WORKER = fileURLToPath(new URL('crash-worker.js', import.meta.url));

const END_MS = 90_000;
const ENVIRONMENT = 'test';

export interface TrackOptions {
  readonly stack: Stack;
  /** Part of the task queue's and the services' names. */
  readonly name: string;
  /** Workers whose writes know no time limit: see crash-worker.ts. */
  readonly patient?: boolean;
}

/**
 * Two workers on a task queue of their own, which reach the gateway through a proxy of their own. Whichever worker gets
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
    const { stack, name } = options;
    const proxy = await startFaultProxy(stack.adminUrl);
    const queue = `crash-${name}`;
    const slipway = await Slipway.connect({ ...stack.env, SLIPWAY_TASK_QUEUE: queue });
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
    const { stack, patient } = this.options;
    const worker = await stack.startWorker({
      SLIPWAY_TASK_QUEUE: this.queue,
      SLIPWAY_TEST_PROXY: this.proxy.url,
      SLIPWAY_TEST_PATIENT: String(patient === true),
    });
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
    return testRequest({ policy: { ...policy, analysis }, tag, env });
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
    const seen = await eventually(what, async () => {
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
    await eventually(`${workflowId} begins`, async () => {
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

  // The gateway's own word, past the proxy ----------------------------------------------------------------------------

  async objects(service: string): Promise<readonly GatewayObject[]> {
    const query = new URLSearchParams({ environment: ENVIRONMENT, service }).toString();
    const body = await getJson(`${this.options.stack.adminUrl}/v1/objects?${query}`);
    return z.object({ objects: z.array(GatewayObject) }).parse(body).objects;
  }

  async journal(service: string): Promise<readonly JournalEntry[]> {
    const entries = await readJournal(this.options.stack.adminUrl);
    return entries.filter((entry) => entry.environment === ENVIRONMENT && entry.service === service);
  }

  /** Takes away all that is left of a service, so that its processes end. */
  async retire(service: string): Promise<void> {
    for (const { kind, name, revision } of await this.objects(service)) {
      const path = ['v1', 'objects', ENVIRONMENT, service, kind, name].join('/');
      await fetch(`${this.options.stack.adminUrl}/${path}?revision=${revision}`, { method: 'DELETE' });
    }
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
export function writesOf(rolloutId: string, journal: readonly JournalEntry[]): readonly string[] {
  return journal
    .filter(({ key }) => key?.startsWith(`${rolloutId}/`))
    .map((entry) => nameOfWrite(rolloutId, writeText(entry)));
}

/** Keys that were applied more than once to one object, by the gateway's journal. */
export function appliedTwice(journal: readonly JournalEntry[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { key, kind, name } of journal) {
    if (key !== null) counts.set(`${key} on ${kind}/${name}`, (counts.get(`${key} on ${kind}/${name}`) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count > 1).map(([id, count]) => `${count} x ${id}`);
}

export async function eventually<T>(
  what: string,
  ask: () => Promise<T | null | false>,
  limitMs: number = END_MS,
): Promise<T> {
  let last = '';
  for (const endMs = Date.now() + limitMs; ;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== false) return answer;
    } catch (error) {
      last = ` (last error: ${String(error)})`;
    }
    if (Date.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms${last}`);
    await sleep(150);
  }
}

async function getJson(url: string): Promise<unknown> {
  return (await fetch(url, { signal: AbortSignal.timeout(5000) })).json();
}
