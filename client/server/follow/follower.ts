import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { WorkflowNotFoundError } from '@temporalio/client';
import { isFinal } from '../../../domain/rollout.js';
import type { LiveStage } from '../../../domain/live.js';
import { rolloutWorkflowId } from '../../../workflows/messages.js';
import type { Found, RolloutRef, Slipway } from '../../slipway.js';
import { ApiProblem } from '../problems.js';
import { liveStageOf } from './live.js';
import { Recent } from './recent.js';

/** Several events come in one moment: they are told together. */
const SETTLE_MS = 40;
/** A question to a workflow costs its worker a task. */
const ASK_EVERY_MS = 200;
/** Temporal answers a long poll after about 20 s, whether something came or not. */
const POLL_MS = 60_000;
const LIVE_EVERY_MS = 4000;
/** A rollout in its lane's queue has no run that could be waited for. */
const QUEUED_EVERY_MS = 1000;
const AFTER_ERROR_MS = 2000;
/** A view that nobody follows is asked for anew after so long. */
const CACHE_MS = 1000;
/** Lists show weights that may be so old. */
const GLANCE_MS = 8000;
/** Long polls that Temporal keeps open for one namespace have a limit (1,200 by default). */
const MAX_FOLLOWED = 800;

export type Change =
  | { readonly kind: 'run'; readonly seq: number; readonly found: Found; readonly live: LiveStage | null }
  | { readonly kind: 'live'; readonly seq: number; readonly live: LiveStage }
  | { readonly kind: 'end'; readonly reason: string };
export type Listener = (change: Change) => void;

interface Topic {
  readonly ref: RolloutRef;
  readonly listeners: Set<Listener>;
  readonly abort: AbortController;
  found: Found | null;
  live: LiveStage | null;
  seq: number;
}

/**
 * Follows the rollouts that somebody watches: their histories by long polls, and after each change one question for the
 * view, told to all who watch. Nothing is asked of rollouts that nobody watches.
 */
export class Follower {
  /** Of this process: an event id of another one says nothing here. */
  readonly epoch: string;
  private readonly topics = new Map<string, Topic>();
  private readonly cache = new Recent<Promise<Found>>(CACHE_MS);
  private readonly glances = new Recent<{ readonly mark: string; readonly found: Promise<Found> }>(GLANCE_MS);
  private seq = 0;
  private closed = false;

  constructor(
    private readonly slipway: Slipway,
    private readonly onTrouble: (text: string, rolloutId: string) => void,
    epoch: string,
  ) {
    this.epoch = epoch;
  }

  /** Rollouts that are watched now. */
  get followed(): number {
    return this.topics.size;
  }

  /** Where a rollout stands: at most a second old, and shared by all who ask at once. */
  async find(ref: RolloutRef): Promise<Found> {
    const known = this.cache.get(ref.rolloutId);
    if (known !== undefined) return known;
    const found = this.slipway.find(ref);
    this.cache.set(ref.rolloutId, found);
    found.catch(() => this.cache.delete(ref.rolloutId));
    return found;
  }

  /**
   * The same for a list: a view may be some seconds old, unless what search knows of the rollout has changed since.
   * @param mark what search knows
   */
  async glance(ref: RolloutRef, mark: string): Promise<Found> {
    const topic = this.topics.get(ref.rolloutId);
    if (topic?.found != null) return topic.found;
    const known = this.glances.get(ref.rolloutId);
    if (known?.mark === mark) return known.found;
    const found = this.find(ref);
    this.glances.set(ref.rolloutId, { mark, found });
    found.catch(() => this.glances.delete(ref.rolloutId));
    return found;
  }

  /** What was seen of the stage under way. */
  async live({ lane, rolloutId }: RolloutRef): Promise<LiveStage | null> {
    const topic = this.topics.get(rolloutId);
    if (topic?.live != null) return topic.live;
    try {
      const { raw } = await this.slipway.call(() =>
        this.slipway.client.workflow.getHandle(rolloutWorkflowId(lane, rolloutId)).describe(),
      );
      return liveStageOf(raw.pendingActivities ?? []);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  /** Forgets what was seen, after something was done to a rollout. */
  stale(rolloutId: string): void {
    this.cache.delete(rolloutId);
    this.glances.delete(rolloutId);
  }

  /**
   * Tells each change, beginning with the state as it is.
   * @returns the function that ends it
   * @throws ApiProblem `too-many-streams`
   */
  follow(ref: RolloutRef, listener: Listener): () => void {
    let topic = this.topics.get(ref.rolloutId);
    if (topic === undefined) {
      if (this.topics.size >= MAX_FOLLOWED)
        throw new ApiProblem('too-many-streams', `${MAX_FOLLOWED} rollouts are followed already`);
      topic = {
        ref,
        listeners: new Set(),
        abort: new AbortController(),
        found: null,
        live: null,
        seq: 0,
      };
      this.topics.set(ref.rolloutId, topic);
      void this.run(topic);
    } else if (topic.found !== null) listener({ kind: 'run', seq: topic.seq, found: topic.found, live: topic.live });
    const followed = topic;
    followed.listeners.add(listener);
    return () => {
      followed.listeners.delete(listener);
      if (followed.listeners.size === 0) this.drop(followed);
    };
  }

  /** Follows nothing any more. */
  close(): void {
    this.closed = true;
    for (const topic of this.topics.values()) this.drop(topic);
  }

  private drop(topic: Topic): void {
    topic.abort.abort();
    if (this.topics.get(topic.ref.rolloutId) === topic) this.topics.delete(topic.ref.rolloutId);
  }

  private tell(topic: Topic, change: Change): void {
    for (const listener of topic.listeners) listener(change);
  }

  /** As long as somebody watches. */
  private async run(topic: Topic): Promise<void> {
    const { signal } = topic.abort;
    const plots = setInterval(() => void this.plot(topic), LIVE_EVERY_MS);
    try {
      while (!signal.aborted && !this.closed) {
        try {
          await this.ask(topic);
          if (this.over(topic)) return;
          if (topic.found?.kind === 'running') await this.untilClosed(topic);
          else await sleep(QUEUED_EVERY_MS, undefined, { signal });
        } catch (error) {
          if (signal.aborted) return;
          this.onTrouble(error instanceof Error ? error.message : String(error), topic.ref.rolloutId);
          await sleep(AFTER_ERROR_MS, undefined, { signal });
        }
      }
    } catch (error) {
      // Told to stop while it slept.
      if (!signal.aborted) throw error;
    } finally {
      clearInterval(plots);
    }
  }

  private over(topic: Topic): boolean {
    const { found } = topic;
    const over =
      found?.kind === 'never-ran'
        ? found.entry.outcome !== null
        : found?.kind === 'running' && isFinal(found.view.phase);
    if (over) {
      this.tell(topic, { kind: 'end', reason: 'the rollout is over' });
      this.drop(topic);
    }
    return over;
  }

  /** Reads the history as it grows, and asks for the view after each piece. Ends when this run is closed. */
  private async untilClosed(topic: Topic): Promise<void> {
    const { signal } = topic.abort;
    const { connection, options } = this.slipway.client;
    const execution = { workflowId: rolloutWorkflowId(topic.ref.lane, topic.ref.rolloutId) };
    const questions = new Questions(() => this.ask(topic), signal);
    let nextPageToken: Uint8Array | undefined;
    while (!signal.aborted) {
      const token = nextPageToken;
      const page = await connection.withAbortSignal(signal, () =>
        connection.withDeadline(Date.now() + POLL_MS, () =>
          connection.workflowService.getWorkflowExecutionHistory({
            namespace: options.namespace,
            execution,
            waitNewEvent: true,
            ...(token === undefined ? {} : { nextPageToken: token }),
          }),
        ),
      );
      if ((page.history?.events ?? []).length > 0) questions.ask();
      questions.check();
      nextPageToken = page.nextPageToken ?? undefined;
      if (nextPageToken !== undefined && nextPageToken.length > 0) continue;
      await questions.settled();
      await this.ask(topic);
      // Closed without an outcome (reset, terminated, continued as new): another run follows, or its lane recovers it.
      if (topic.found?.kind === 'running' && !isFinal(topic.found.view.phase))
        await sleep(QUEUED_EVERY_MS, undefined, { signal });
      return;
    }
  }

  private async ask(topic: Topic): Promise<void> {
    const found = await this.slipway.find(topic.ref);
    this.cache.set(topic.ref.rolloutId, Promise.resolve(found));
    if (isDeepStrictEqual(found, topic.found)) return;
    topic.found = found;
    topic.seq = this.seq += 1;
    if (found.kind !== 'running' || found.view.weights === null || found.view.wait?.kind === 'approval')
      topic.live = null;
    this.tell(topic, { kind: 'run', seq: topic.seq, found, live: topic.live });
  }

  /** What the watch tells with its heartbeats. */
  private async plot(topic: Topic): Promise<void> {
    const { found, ref } = topic;
    if (found?.kind !== 'running' || (found.view.phase !== 'canary' && found.view.phase !== 'verifying')) return;
    try {
      const handle = this.slipway.client.workflow.getHandle(rolloutWorkflowId(ref.lane, ref.rolloutId));
      const { raw } = await this.slipway.call(() => handle.describe());
      const live = liveStageOf(raw.pendingActivities ?? []);
      if (live === null || JSON.stringify(live) === JSON.stringify(topic.live)) return;
      topic.live = live;
      topic.seq = this.seq += 1;
      this.tell(topic, { kind: 'live', seq: topic.seq, live });
    } catch (error) {
      this.onTrouble(error instanceof Error ? error.message : String(error), ref.rolloutId);
    }
  }
}

/** Puts a question soon after something happened: once for many things that happen together, and never twice at a time. */
class Questions {
  private asking: Promise<void> | null = null;
  private again = false;
  private askedMs = Date.now();
  private failure: Error | null = null;

  constructor(
    private readonly question: () => Promise<void>,
    private readonly signal: AbortSignal,
  ) {}

  ask(): void {
    this.again = true;
    this.asking ??= this.run();
  }

  /** @throws what the last question failed with */
  check(): void {
    if (this.failure !== null) throw this.failure;
  }

  async settled(): Promise<void> {
    await this.asking;
    this.check();
  }

  private async run(): Promise<void> {
    try {
      while (this.again && !this.signal.aborted) {
        await sleep(Math.max(SETTLE_MS, this.askedMs + ASK_EVERY_MS - Date.now()), undefined, { signal: this.signal });
        this.again = false;
        this.askedMs = Date.now();
        await this.question();
      }
    } catch (error) {
      this.failure = error instanceof Error ? error : new Error(String(error));
    } finally {
      this.asking = null;
    }
  }
}
