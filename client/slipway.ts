import { randomUUID } from 'node:crypto';
import {
  Client,
  Connection,
  isGrpcServiceError,
  NamespaceNotFoundError,
  QueryNotRegisteredError,
  WithStartWorkflowOperation,
  WorkflowFailedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Decision, DecisionReceipt, Refusal, Verb } from '../domain/approval/decision.js';
import { placeAt } from '../domain/lane.js';
import type { EnqueueReceipt, LaneView, QueueNotice, QueuePlace, RememberedRollout } from '../domain/lane.js';
import { PHASES } from '../domain/rollout.js';
import type { Actor, Phase, RolloutRequest, RolloutResult, RolloutView } from '../domain/rollout.js';
import type { TrailHead } from '../domain/trail.js';
import { offersFor } from '../domain/offers.js';
import type { Offer } from '../domain/offers.js';
import { ROLES } from '../domain/people.js';
import type { LaneRef } from '../domain/target.js';
import {
  abortUpdate,
  decideUpdate,
  decisionSignal,
  DEFAULT_TASK_QUEUE,
  enqueueUpdate,
  LANE_QUEUED,
  LANE_WORKFLOW,
  laneQuery,
  laneWorkflowId,
  pauseUpdate,
  promoteUpdate,
  QUEUE_MEMO,
  queuedQuery,
  resumeUpdate,
  ROLLOUT_WORKFLOW,
  rolloutWorkflowId,
  searchAttributes,
  unblockUpdate,
  withdrawUpdate,
  viewQuery,
  WORKFLOW_TASK_TIMEOUT,
} from '../workflows/messages.js';
import type { lane } from '../workflows/lane.js';
import type { rollout } from '../workflows/rollout.js';
import { connectConfig } from './connection.js';
import { CliError, EXIT } from './exit-codes.js';
import { ensureSetup } from './setup.js';
import type { SetupReport } from './setup.js';

const CALL_MS = 5000;
/** So many lanes are asked who waits in them at the same time. */
const LANES_AT_ONCE = 20;
/** An unanswered update is unknown, not failed: it is repeated with the same id for so long. */
const UPDATE_MS = 30_000;
const UPDATE_TRY_MS = 10_000;
/** Visibility is eventually consistent: a rollout that has just begun may not be listed yet. */
const FIND_MS = 3000;

/** Where a rollout is: its lane and its id. */
export interface RolloutRef {
  readonly lane: LaneRef;
  readonly rolloutId: string;
}

/** What is known of a rollout: its view once it runs, the lane's word before and after that. */
export type Found =
  | {
      readonly kind: 'running';
      readonly view: RolloutView;
      /** What the server foresees of it, in whole sentences. */
      readonly remarks?: readonly string[];
    }
  | ({ readonly kind: 'queued'; readonly ref: RolloutRef } & QueuePlace)
  | { readonly kind: 'never-ran'; readonly ref: RolloutRef; readonly entry: RememberedRollout };

/** An open run, as Temporal keeps it. */
export interface KeptRun {
  readonly request: RolloutRequest;
  /** Null: it has told none that is known here. */
  readonly phase: Phase | null;
}

export interface RolloutSummary {
  readonly rolloutId: string;
  readonly service: string;
  readonly environment: string;
  readonly release: string;
  readonly phase: string;
  readonly waitsFor: string | null;
  readonly outcome: string | null;
  readonly risk: number | null;
  readonly startedAt: string;
  readonly closedAt: string | null;
  /** How the workflow closed, where that is not its own doing. */
  readonly workflowStatus: string;
  /** Its place while it waits in its lane: it has no run then. */
  readonly queue: QueuePlace | null;
}

const UPDATES = {
  approve: decideUpdate,
  reject: decideUpdate,
  'break-glass': decideUpdate,
  pause: pauseUpdate,
  resume: resumeUpdate,
  promote: promoteUpdate,
  abort: abortUpdate,
} as const;

/** Everything that talks to Temporal as a client. Each call has a deadline; an unreachable server is `EXIT.unavailable`. */
export class Slipway {
  private constructor(
    readonly client: Client,
    readonly address: string,
    readonly taskQueue: string,
    private readonly updateMs: number,
    private readonly temporalWeb: string,
  ) {}

  /**
   * Connects by Temporal's own settings (`TEMPORAL_ADDRESS` …, or its profile file), `SLIPWAY_TASK_QUEUE`, and
   * `SLIPWAY_TEMPORAL_WEB` for links; without it the dev server's usual port.
   * @param env the environment, as the entry has read it
   * @param updateMs for how long a message that gets no answer is repeated; 30 s unless told
   */
  static async connect(
    env: Readonly<Record<string, string | undefined>>,
    { updateMs = UPDATE_MS }: { readonly updateMs?: number } = {},
  ): Promise<Slipway> {
    const { connectionOptions, namespace, address } = readConnectConfig(env);
    try {
      const connection = await Connection.connect({ ...connectionOptions, connectTimeout: CALL_MS });
      const client = new Client({ connection, namespace, identity: `slipway-cli@${process.pid}` });
      const web = (env['SLIPWAY_TEMPORAL_WEB'] || 'http://localhost:8233').replace(/\/$/, '');
      return new Slipway(client, address, env['SLIPWAY_TASK_QUEUE'] || DEFAULT_TASK_QUEUE, updateMs, web);
    } catch (error) {
      throw unavailable(address, error);
    }
  }

  /** All that the workflow itself would take of somebody who names themselves; whether it counts, the policy says. */
  offers(view: RolloutView, { subject, groups }: Actor): readonly Offer[] {
    const grants = ROLES.map((role) => ({ role, services: ['*'], environments: ['*'] }));
    return offersFor(view, {
      subject,
      name: subject,
      kind: 'person',
      via: 'local',
      groups,
      aliases: [],
      grants,
      authenticatedAtMs: Date.now(),
    });
  }

  /** Where Temporal Web shows a rollout. */
  links(ref: RolloutRef): { readonly page: null; readonly temporalWeb: string } {
    const id = encodeURIComponent(rolloutWorkflowId(ref.lane, ref.rolloutId));
    return {
      page: null,
      temporalWeb: `${this.temporalWeb}/namespaces/${this.client.options.namespace}/workflows/${id}`,
    };
  }

  /** Makes the namespace ready; idempotent. */
  async setup(): Promise<SetupReport> {
    try {
      return await ensureSetup(this.client, { taskQueue: this.taskQueue });
    } catch (error) {
      throw this.translate(error);
    }
  }

  async close(): Promise<void> {
    await this.client.connection.close();
  }

  /** Asks the lane for a rollout; the same request may be sent any number of times. */
  async enqueue(request: RolloutRequest): Promise<EnqueueReceipt> {
    const { lane: ref } = request.policy;
    const update = { args: [request] as [RolloutRequest], updateId: `enqueue-${request.rolloutId}-${randomUUID()}` };
    return this.untilAnswered(async () => {
      try {
        // Nearly every lane is there already, and asking it alone is a third faster than starting it or asking in one.
        return await this.client.workflow.getHandle(laneWorkflowId(ref)).executeUpdate(enqueueUpdate, update);
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      }
      return this.client.workflow.executeUpdateWithStart(enqueueUpdate, {
        ...update,
        startWorkflowOperation: new WithStartWorkflowOperation<typeof lane>(LANE_WORKFLOW, {
          workflowId: laneWorkflowId(ref),
          taskQueue: this.taskQueue,
          workflowIdConflictPolicy: 'USE_EXISTING',
          workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
          staticSummary: `lane of ${ref.service} in ${ref.environment}`.slice(0, 180),
          args: [{ lane: ref, state: null }],
        }),
      });
    });
  }

  /** Where the rollout stands, wherever that is known. */
  async find(ref: RolloutRef): Promise<Found> {
    const handle = this.client.workflow.getHandle(rolloutWorkflowId(ref.lane, ref.rolloutId));
    try {
      return { kind: 'running', view: await this.call(() => handle.query(viewQuery)) };
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
    const view = await this.lane(ref.lane);
    const place = view?.queue.findIndex((item) => item.rolloutId === ref.rolloutId) ?? -1;
    const blocked = view?.blocked?.reason ?? null;
    if (view !== null && place >= 0)
      return { kind: 'queued', ref, ...placeAt({ behind: view.running, blocked }, place) };
    const entry = view?.remembered.find((item) => item.rolloutId === ref.rolloutId);
    if (entry !== undefined) {
      return entry.outcome === null
        ? { kind: 'queued', ref, ahead: 0, behind: null, blocked }
        : { kind: 'never-ran', ref, entry };
    }
    throw new CliError(
      EXIT.usage,
      `there is no rollout ${ref.rolloutId} of ${ref.lane.service} in ${ref.lane.environment}`,
      'see `slipway list`',
    );
  }

  /**
   * How far the trail of a rollout, or of its recovery, goes by Temporal's history; null where it has none (any more).
   * `final`: it is over, and nothing was added after that.
   */
  async trailHead(
    workflowId: string,
  ): Promise<{ readonly run: string; readonly head: TrailHead; readonly final: boolean } | null> {
    const handle = this.client.workflow.getHandle<() => Promise<RolloutResult>>(workflowId);
    try {
      return await this.call(async () => {
        const { status, runId } = await handle.describe();
        const final = status.name === 'COMPLETED';
        if (!final && status.name !== 'RUNNING') return null;
        const { trail } = final ? await handle.result() : await handle.query(viewQuery);
        return trail === undefined ? null : { run: runId, head: trail, final };
      });
    } catch (error) {
      // A recovery that still runs answers no query; it is not over either way.
      if (error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError) return null;
      throw error;
    }
  }

  /**
   * What Temporal itself keeps of a run, for when no worker tells more: what was asked for, and the phase that the run was
   * in after its last workflow task. Null: no run of it is open.
   */
  async kept({ lane: ref, rolloutId }: RolloutRef): Promise<KeptRun | null> {
    const workflowId = rolloutWorkflowId(ref, rolloutId);
    const { connection, options } = this.client;
    try {
      return await this.call(async () => {
        const { status, runId, searchAttributes: told } = await this.client.workflow.getHandle(workflowId).describe();
        if (status.name !== 'RUNNING') return null;
        const { history } = await connection.workflowService.getWorkflowExecutionHistory({
          namespace: options.namespace,
          execution: { workflowId, runId },
          maximumPageSize: 1,
        });
        const [input] = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
        if (input === undefined) throw new Error(`the run of rollout ${rolloutId} was started without a request`);
        const { request } =
          options.loadedDataConverter.payloadConverter.fromPayload<Parameters<typeof rollout>[0]>(input);
        const phase = told[searchAttributes.phase.name]?.[0];
        return { request, phase: PHASES.find((known) => known === phase) ?? null };
      });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  /** The lane's view, or null where the service was never deployed there. */
  async lane(ref: LaneRef): Promise<LaneView | null> {
    try {
      return await this.call(() => this.client.workflow.getHandle(laneWorkflowId(ref)).query(laneQuery));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  async unblock(ref: LaneRef, who: { readonly subject: string; readonly reason: string }): Promise<string> {
    const handle = this.client.workflow.getHandle(laneWorkflowId(ref));
    const updateId = `unblock-${randomUUID()}`;
    try {
      return (await this.untilAnswered(() => handle.executeUpdate(unblockUpdate, { args: [who], updateId }))).text;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError)
        throw new CliError(
          EXIT.usage,
          `there is no lane of ${ref.service} in ${ref.environment}`,
          'see `slipway list`',
        );
      throw error;
    }
  }

  /** Says a decision. A refusal is a value; so is a rollout that is over. */
  async decide(ref: RolloutRef, decision: Decision): Promise<DecisionReceipt> {
    const said = await this.decideRun(ref, decision);
    if (said !== null) return said;
    if (decision.verb === 'abort') {
      // It may leave the queue in this very moment, to run.
      const receipt = (await this.withdraw(ref, decision)) ?? (await this.decideRun(ref, decision));
      if (receipt !== null) return receipt;
    }
    return { kind: 'refused', code: 'finished', text: 'this rollout is over (or never began)' };
  }

  /**
   * Leaves a decision for when a worker is up again: the signal is durable, and counts once with the update of the same
   * id. False: there is no run that could take it.
   */
  async record({ lane: ref, rolloutId }: RolloutRef, decision: Decision): Promise<boolean> {
    try {
      await this.call(() =>
        this.client.workflow.getHandle(rolloutWorkflowId(ref, rolloutId)).signal(decisionSignal, decision),
      );
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** What was asked for, while it waits in its lane; null: it does not wait there. */
  async queued({ lane: ref, rolloutId }: RolloutRef): Promise<RolloutRequest | null> {
    try {
      return await this.call(() => this.client.workflow.getHandle(laneWorkflowId(ref)).query(queuedQuery, rolloutId));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  /** Digest of the decision record of a rollout that is over; null where none was written. */
  async recordDigest({ lane: ref, rolloutId }: RolloutRef): Promise<string | null> {
    const handle = this.client.workflow.getHandle<typeof rollout>(rolloutWorkflowId(ref, rolloutId));
    try {
      return (await this.call(() => handle.result())).record;
    } catch (error) {
      // Terminated, or forgotten: there is no result then.
      if (error instanceof WorkflowNotFoundError || error instanceof WorkflowFailedError) return null;
      throw error;
    }
  }

  /** Null: there is no run (any more). */
  private async decideRun(ref: RolloutRef, decision: Decision): Promise<DecisionReceipt | null> {
    const handle = this.client.workflow.getHandle(rolloutWorkflowId(ref.lane, ref.rolloutId));
    try {
      return await this.untilAnswered(() =>
        handle.executeUpdate(UPDATES[decision.verb], { args: [decision], updateId: decision.id }),
      );
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      if (
        error instanceof WorkflowUpdateFailedError &&
        error.cause instanceof ApplicationFailure &&
        error.cause.type === 'DecisionRefused'
      ) {
        const [code, rest] = (error.cause.details ?? []) as [Refusal['code'], Pick<Refusal, 'whoCan' | 'next'>?];
        return { kind: 'refused', code, text: error.cause.message, ...rest };
      }
      throw error;
    }
  }

  /** Takes a rollout out of its lane's queue. Null: it does not wait there. */
  private async withdraw({ lane: ref, rolloutId }: RolloutRef, decision: Decision): Promise<DecisionReceipt | null> {
    const handle = this.client.workflow.getHandle(laneWorkflowId(ref));
    const args: [{ rolloutId: string; decision: Decision }] = [{ rolloutId, decision }];
    try {
      const receipt = await this.untilAnswered(() =>
        handle.executeUpdate(withdrawUpdate, { args, updateId: `withdraw-${decision.id}` }),
      );
      return receipt.kind === 'refused' ? null : receipt;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return null;
      throw error;
    }
  }

  /** Rollouts by search attributes, newest first. */
  async list(query: string, limit: number): Promise<readonly RolloutSummary[]> {
    return this.call(async () => {
      const found: RolloutSummary[] = [];
      for await (const run of this.client.workflow.list({
        query: `WorkflowType = '${ROLLOUT_WORKFLOW}'${query === '' ? '' : ` AND (${query})`}`,
        pageSize: Math.min(limit, 200),
      })) {
        const text = (name: string): string | null => {
          const value: unknown = run.searchAttributes[name]?.[0];
          return typeof value === 'string' ? value : null;
        };
        const risk: unknown = run.searchAttributes['SlipwayRisk']?.[0];
        found.push({
          rolloutId: text('SlipwayRolloutId') ?? run.workflowId,
          service: text('SlipwayService') ?? '',
          environment: text('SlipwayEnvironment') ?? '',
          release: text('SlipwayRelease') ?? '',
          phase: text('SlipwayPhase') ?? '',
          waitsFor: text('SlipwayWaitsFor'),
          outcome: text('SlipwayOutcome'),
          risk: typeof risk === 'number' ? risk : null,
          startedAt: run.startTime.toISOString(),
          closedAt: run.closeTime?.toISOString() ?? null,
          workflowStatus: run.status.name,
          queue: null,
        });
        if (found.length >= limit) break;
      }
      return found;
    });
  }

  /** One page of rollouts by search attributes, newest first, and Temporal's token for the next. */
  async page(
    query: string,
    limit: number,
    token: Uint8Array | null,
  ): Promise<{ readonly runs: readonly RolloutSummary[]; readonly next: Uint8Array | null }> {
    const { connection, options } = this.client;
    const found = await this.call(() =>
      connection.workflowService.listWorkflowExecutions({
        namespace: options.namespace,
        query: `WorkflowType = '${ROLLOUT_WORKFLOW}'${query === '' ? '' : ` AND (${query})`}`,
        pageSize: limit,
        ...(token === null ? {} : { nextPageToken: token }),
      }),
    );
    const next = found.nextPageToken ?? new Uint8Array();
    return { runs: (found.executions ?? []).map(summaryOfExecution), next: next.length === 0 ? null : next };
  }

  /**
   * Rollouts that wait in their lanes, the newest first: search tells which lanes have a queue, and each of these lanes'
   * memo who is in it. No worker is asked. Of a lane the first `QUEUE_TOLD` are known.
   * @param query in the lanes' search attributes: service and environment
   */
  async waiting(query: string): Promise<readonly RolloutSummary[]> {
    const lanes = `WorkflowType = '${LANE_WORKFLOW}' AND ExecutionStatus = 'Running' AND ${searchAttributes.phase.name} = '${LANE_QUEUED}'`;
    return this.call(async () => {
      const queued: string[] = [];
      for await (const { workflowId } of this.client.workflow.list({
        query: `${lanes}${query === '' ? '' : ` AND (${query})`}`,
      }))
        queued.push(workflowId);
      const found: RolloutSummary[] = [];
      for (let at = 0; at < queued.length; at += LANES_AT_ONCE) {
        const some = queued.slice(at, at + LANES_AT_ONCE);
        found.push(...(await Promise.all(some.map((workflowId) => this.queueOf(workflowId)))).flat());
      }
      return found.sort(
        (one, other) => other.startedAt.localeCompare(one.startedAt) || one.rolloutId.localeCompare(other.rolloutId),
      );
    });
  }

  private async queueOf(laneWorkflowId: string): Promise<readonly RolloutSummary[]> {
    try {
      const { memo } = await this.client.workflow.getHandle(laneWorkflowId).describe();
      const notice = memo?.[QUEUE_MEMO] as QueueNotice | null | undefined;
      if (notice == null) return [];
      const [, environment = '', service = ''] = laneWorkflowId.split('/');
      return notice.queue.map((item, index) => waitingSummary({ environment, service }, item, placeAt(notice, index)));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return [];
      throw error;
    }
  }

  /** Finds a rollout by its id alone, or by `environment/service/id`. */
  async resolve(text: string): Promise<RolloutRef> {
    const parts = text.split('/');
    if (parts.length === 3)
      return { lane: { environment: parts[0] ?? '', service: parts[1] ?? '' }, rolloutId: parts[2] ?? '' };
    if (!/^[0-9a-f]{16}$/.test(text)) {
      throw new CliError(
        EXIT.usage,
        `"${text}" is no rollout id: 16 hex digits, or environment/service/id`,
        'see `slipway list`',
      );
    }
    for (const until = Date.now() + FIND_MS; ;) {
      const [run] = await this.list(`SlipwayRolloutId = '${text}'`, 1);
      if (run !== undefined) return { lane: { environment: run.environment, service: run.service }, rolloutId: text };
      const queued = await this.resolveInLanes(text);
      if (queued !== null) return queued;
      if (Date.now() > until) throw new CliError(EXIT.usage, `there is no rollout ${text}`, 'see `slipway list`');
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }

  /** Where the rollout of this id is, asked once; null: nobody knows it. */
  async locate(rolloutId: string): Promise<RolloutRef | null> {
    if (!/^[0-9a-f]{16}$/.test(rolloutId)) return null;
    const [run] = await this.list(`SlipwayRolloutId = '${rolloutId}'`, 1);
    if (run !== undefined) return { lane: { environment: run.environment, service: run.service }, rolloutId };
    return this.resolveInLanes(rolloutId);
  }

  /** A rollout that is queued, or that never ran, is known to its lane only. */
  private async resolveInLanes(rolloutId: string): Promise<RolloutRef | null> {
    return this.call(async () => {
      for await (const run of this.client.workflow.list({
        query: `WorkflowType = '${LANE_WORKFLOW}' AND ExecutionStatus = 'Running'`,
      })) {
        const view = await this.client.workflow.getHandle(run.workflowId).query(laneQuery);
        if (view.remembered.some((entry) => entry.rolloutId === rolloutId)) return { lane: view.lane, rolloutId };
      }
      return null;
    });
  }

  /** Runs a call with a deadline, and says which server did not answer. */
  async call<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.client.connection.withDeadline(Date.now() + CALL_MS, work);
    } catch (error) {
      throw this.translate(error);
    }
  }

  private async untilAnswered<T>(work: () => Promise<T>): Promise<T> {
    for (const until = Date.now() + this.updateMs; ;) {
      try {
        return await this.client.connection.withDeadline(Date.now() + Math.min(UPDATE_TRY_MS, this.updateMs), work);
      } catch (error) {
        const again =
          error instanceof WorkflowUpdateRPCTimeoutOrCancelledError ||
          code(error) === GRPC.unavailable ||
          code(error) === GRPC.deadlineExceeded ||
          notReady(error);
        if (!again || Date.now() > until) throw this.translate(error);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  private translate(error: unknown): unknown {
    if (
      error instanceof CliError ||
      error instanceof WorkflowNotFoundError ||
      error instanceof WorkflowUpdateFailedError ||
      error instanceof WorkflowFailedError
    )
      return error;
    if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) return noWorker(this.taskQueue);
    const status = code(error);
    if (status === GRPC.unavailable) return unavailable(this.address, error);
    if (isLate(error)) return noWorker(this.taskQueue);
    if (status === GRPC.resourceExhausted)
      return new CliError(
        EXIT.unavailable,
        `Temporal takes no more for now: ${causesOf(error).at(-1)?.message ?? ''}`,
        'say it again in a few seconds: nothing is done twice',
      );
    if (notReady(error)) {
      return new CliError(
        EXIT.unavailable,
        'the workflow can take no message now: its workflow tasks fail, or time out on workers that are overloaded',
        'see its last events in Temporal Web and the log of the worker, then say it again: nothing is done twice',
      );
    }
    if (error instanceof NamespaceNotFoundError || (status === GRPC.notFound && /namespace/i.test(String(error))))
      return noNamespace(this.client.options.namespace, this.address);
    if (/no poller|no worker/i.test(String(error))) return noWorker(this.taskQueue);
    return error;
  }
}

type Execution = NonNullable<
  Awaited<ReturnType<Connection['workflowService']['listWorkflowExecutions']>>['executions']
>[number];

function summaryOfExecution(run: Execution): RolloutSummary {
  const fields = run.searchAttributes?.indexedFields ?? {};
  const value = (name: string): unknown => {
    const data = fields[name]?.data;
    return data == null ? null : (JSON.parse(Buffer.from(data).toString('utf8')) as unknown);
  };
  const text = (name: string): string | null => {
    const found = value(name);
    const first: unknown = Array.isArray(found) ? found[0] : found;
    return typeof first === 'string' ? first : null;
  };
  const at = (time: { readonly seconds?: unknown } | null | undefined): string | null =>
    time?.seconds == null ? null : new Date(Number(time.seconds) * 1000).toISOString();
  const risk = value(searchAttributes.risk.name);
  return {
    rolloutId: text(searchAttributes.rolloutId.name) ?? run.execution?.workflowId ?? '',
    service: text(searchAttributes.service.name) ?? '',
    environment: text(searchAttributes.environment.name) ?? '',
    release: text(searchAttributes.release.name) ?? '',
    phase: text(searchAttributes.phase.name) ?? '',
    waitsFor: text(searchAttributes.waitsFor.name),
    outcome: text(searchAttributes.outcome.name),
    risk: typeof risk === 'number' ? risk : null,
    startedAt: at(run.startTime) ?? '',
    closedAt: at(run.closeTime),
    workflowStatus: run.closeTime == null ? 'RUNNING' : 'CLOSED',
    queue: null,
  };
}

/** Without those that have a run by now: search may know of it before it knows that the queue is shorter. */
export function stillWaiting<One extends { readonly rolloutId: string }>(
  queued: readonly One[],
  runs: readonly { readonly rolloutId: string }[],
): readonly One[] {
  const begun = new Set(runs.map(({ rolloutId }) => rolloutId));
  return queued.filter(({ rolloutId }) => !begun.has(rolloutId));
}

function waitingSummary(lane: LaneRef, item: QueueNotice['queue'][number], queue: QueuePlace): RolloutSummary {
  return {
    rolloutId: item.rolloutId,
    ...lane,
    release: item.release,
    phase: 'queued',
    waitsFor: null,
    outcome: null,
    risk: null,
    startedAt: item.queuedAt,
    closedAt: null,
    workflowStatus: 'RUNNING',
    queue,
  };
}

/** A decision as the CLI says it. */
export function newDecision(
  verb: Verb,
  actor: Actor,
  rest: Partial<Pick<Decision, 'gate' | 'planDigest' | 'reason' | 'full' | 'id'>>,
): Decision {
  return {
    id: randomUUID(),
    gate: null,
    planDigest: null,
    reason: null,
    full: false,
    ...rest,
    verb,
    actor,
    at: new Date().toISOString(),
  };
}

const GRPC = {
  cancelled: 1,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unavailable: 14,
} as const;

/** No answer in time. Where the server's clock is the first to notice, it says that the call was cancelled. */
function isLate(error: unknown): boolean {
  const status = code(error);
  if (status === GRPC.deadlineExceeded || status === GRPC.cancelled) return true;
  return causesOf(error).some(({ message }) => /context (deadline exceeded|canceled)/i.test(message));
}

/**
 * Temporal refuses updates while a workflow's task has failed or timed out several times in a row (`WorkflowNotReady`);
 * an update with start wraps that in a text of its own. It passes as soon as a task gets through.
 */
function notReady(error: unknown): boolean {
  return (
    code(error) === GRPC.failedPrecondition &&
    causesOf(error).some((each) => /Update-with-Start could not be executed|workflow task/i.test(String(each)))
  );
}

/** An error and what caused it: Temporal's client says in the first what failed, and in a later one why. */
function causesOf(error: unknown): readonly Error[] {
  return error instanceof Error ? [error, ...causesOf(error.cause)] : [];
}

function code(error: unknown): number | null {
  return causesOf(error).find(isGrpcServiceError)?.code ?? null;
}

/** Temporal's own settings; a profile or file that can't be read is the user's to put right. */
export function readConnectConfig(env: Readonly<Record<string, string | undefined>>): ReturnType<typeof connectConfig> {
  try {
    return connectConfig(env);
  } catch (error) {
    throw new CliError(
      EXIT.usage,
      `the settings for Temporal can't be used: ${error instanceof Error ? error.message : String(error)}`,
      'correct TEMPORAL_PROFILE, TEMPORAL_CONFIG_FILE and TEMPORAL_TLS_…, or unset them',
    );
  }
}

export function noNamespace(namespace: string, address: string): CliError {
  return new CliError(
    EXIT.unavailable,
    `Temporal at ${address} has no namespace "${namespace}"`,
    `create it (temporal operator namespace create ${namespace}), or set TEMPORAL_NAMESPACE; then run \`slipway setup\``,
  );
}

function unavailable(address: string, error: unknown): CliError {
  let deepest: unknown = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  const why = deepest instanceof Error ? deepest.message : String(deepest);
  return new CliError(
    EXIT.unavailable,
    `Temporal can't be reached at ${address} (${why})`,
    'start it, or set TEMPORAL_ADDRESS; `npm run doctor` tells what is there',
  );
}

function noWorker(taskQueue: string): CliError {
  return new CliError(
    EXIT.unavailable,
    `no worker answered on task queue "${taskQueue}"`,
    'start one with `slipway worker`, then say it again: nothing is done twice',
  );
}
