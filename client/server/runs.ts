import { isGrpcServiceError } from '@temporalio/client';
import type { LiveStage } from '../../domain/live.js';
import { endsWait, offersFor } from '../../domain/offers.js';
import type { Offer } from '../../domain/offers.js';
import { authorize } from '../../domain/people.js';
import type { Identity } from '../../domain/people.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { queuedView } from '../../domain/queued.js';
import { isFinal, PHASES } from '../../domain/rollout.js';
import type { RolloutView } from '../../domain/rollout.js';
import type { LaneRef } from '../../domain/target.js';
import { rolloutWorkflowId, searchAttributes } from '../../workflows/messages.js';
import type { Found, RolloutRef, RolloutSummary, Slipway } from '../slipway.js';
import type { RunDocument, RunList, RunSummary } from './contract.js';
import type { Follower } from './follow/follower.js';
import { ApiProblem } from './problems.js';
import type { Archive, ArchivedRun } from './seams.js';

/** Of gRPC. */
const INVALID_ARGUMENT = 3;
const MAX_KNOWN = 50_000;
/** Views that are asked for at once for one list. */
const AT_ONCE = 8;
/** Once a worker did not answer, lists do without views for so long. */
const NO_WORKER_MS = 5000;
/** Waits that a person ends, as they are searched for. */
const FOR_PEOPLE = ['approval', 'gate', 'inconclusive', 'paused', 'drift'] as const;

/** Where a rollout is, and what is kept of it where Temporal has forgotten it. */
export interface Located {
  readonly ref: RolloutRef;
  readonly archived: ArchivedRun | null;
}

export interface ListFilter {
  readonly state?: 'open' | 'waiting-for-me' | 'ended' | undefined;
  readonly service?: string | undefined;
  readonly environment?: string | undefined;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface RunsOptions {
  readonly slipway: Slipway;
  readonly follower: Follower;
  readonly archive: Archive | null;
  readonly publicUrl: string;
  readonly temporalWeb: string;
}

/** What the API tells of rollouts, to one who may see them. */
export class Runs {
  /** Where rollouts are does not change. */
  private readonly known = new Map<string, LaneRef>();
  private noWorkerUntilMs = 0;

  constructor(private readonly options: RunsOptions) {}

  /** Remembers where a rollout is, that has just been asked for. */
  remember({ lane, rolloutId }: RolloutRef): void {
    if (this.known.size >= MAX_KNOWN) this.known.delete(this.known.keys().next().value ?? '');
    this.known.set(rolloutId, lane);
  }

  /** Null: nobody knows of a rollout with this id. */
  async locate(rolloutId: string): Promise<Located | null> {
    const lane = this.known.get(rolloutId);
    if (lane !== undefined) return { ref: { lane, rolloutId }, archived: null };
    const ref = await this.options.slipway.locate(rolloutId);
    if (ref !== null) {
      this.remember(ref);
      return { ref, archived: null };
    }
    const archived = (await this.options.archive?.find(rolloutId)) ?? null;
    return archived === null ? null : { ref: { lane: archived.view.lane, rolloutId }, archived };
  }

  /** The rollout as it is. @throws ApiProblem `gone` where nobody has its story any more */
  async view(located: Located): Promise<RolloutView> {
    if (located.archived !== null) return located.archived.view;
    const view = await this.viewOf(await this.options.follower.find(located.ref), located.ref);
    if (view !== null) return view;
    const archived = await this.options.archive?.find(located.ref.rolloutId);
    if (archived != null) return archived.view;
    const found = await this.options.follower.find(located.ref);
    const how =
      found.kind === 'never-ran'
        ? ` (${found.entry.outcome ?? 'ended'}: ${found.entry.reason ?? 'no reason was recorded'})`
        : '';
    throw new ApiProblem('gone', `rollout ${located.ref.rolloutId} is over${how}, and its story is not kept any more`);
  }

  /** Null: only its lane remembers it. */
  async viewOf(found: Found, ref: RolloutRef): Promise<RolloutView | null> {
    if (found.kind === 'running') return found.view;
    if (found.kind === 'never-ran') return null;
    const request = await this.options.slipway.queued(ref);
    if (request !== null) return queuedView(request, found);
    // It has left the queue in this very moment, and runs.
    this.options.follower.stale(ref.rolloutId);
    const again = await this.options.slipway.find(ref);
    if (again.kind === 'running') return again.view;
    throw new ApiProblem('unavailable', 'the rollout leaves its queue in this moment');
  }

  /** All that one person sees of a rollout. */
  document(view: RolloutView, identity: Identity, live: LiveStage | null): RunDocument {
    const offers = offersFor(view, identity);
    const { rolloutId } = view;
    return {
      summary: summaryOf(view, offers),
      view,
      offers,
      live,
      links: {
        page: this.pageOf(rolloutId),
        temporalWeb: `${this.options.temporalWeb}/namespaces/${encodeURIComponent(this.options.slipway.client.options.namespace)}/workflows/${encodeURIComponent(rolloutWorkflowId(view.lane, rolloutId))}`,
        record: isFinal(view.phase) ? `${this.options.publicUrl}/runs/${rolloutId}/record` : null,
      },
      asOf: new Date().toISOString(),
    };
  }

  pageOf(rolloutId: string): string {
    return `${this.options.publicUrl}/rollouts/${rolloutId}`;
  }

  /** One page of the list, with those rollouts only that this person may see. */
  async list(identity: Identity, filter: ListFilter): Promise<RunList> {
    const asOf = new Date().toISOString();
    const visible = lanesClause(identity);
    if (visible === null) return { runs: [], next: null, asOf };
    const query = [
      visible,
      filter.service === undefined ? '' : `${searchAttributes.service.name} = '${filter.service}'`,
      filter.environment === undefined ? '' : `${searchAttributes.environment.name} = '${filter.environment}'`,
      filter.state === undefined
        ? ''
        : filter.state === 'ended'
          ? "ExecutionStatus != 'Running'"
          : "ExecutionStatus = 'Running'",
      filter.state === 'waiting-for-me'
        ? `${searchAttributes.waitsFor.name} IN (${FOR_PEOPLE.map((kind) => `'${kind}'`).join(', ')})`
        : '',
    ]
      .filter((clause) => clause !== '')
      .join(' AND ');
    const { runs, next } = await this.page(query, filter);
    const rows = await this.rows(runs);
    const mine = rows.map((row) => rowFor(row, identity)).filter((row) => row !== null);
    return {
      runs: filter.state === 'waiting-for-me' ? mine.filter(({ waitsForMe }) => waitsForMe) : mine,
      next:
        next === null
          ? null
          : Buffer.from(JSON.stringify(cursorOf(query, Buffer.from(next).toString('base64')))).toString('base64url'),
      asOf,
    };
  }

  /** Everything in flight and the newest that have ended, for all viewers at once: `rowFor` makes one person's of it. */
  async everything(limit: number, ended: number): Promise<readonly Row[]> {
    const [open, over] = await Promise.all([
      this.options.slipway.page("ExecutionStatus = 'Running'", limit, null),
      this.options.slipway.page("ExecutionStatus != 'Running'", ended, null),
    ]);
    return this.rows([...open.runs, ...over.runs]);
  }

  private async page(query: string, { limit, cursor }: ListFilter): ReturnType<Slipway['page']> {
    const token = cursor === undefined ? null : tokenOf(cursor, query);
    try {
      return await this.options.slipway.page(query, limit, token);
    } catch (error) {
      // A token that Temporal does not take (any more).
      const status: number | null = isGrpcServiceError(error) ? error.code : null;
      if (token !== null && status === INVALID_ARGUMENT) throw badCursor();
      throw error;
    }
  }

  /** With the views of those in flight; where no worker answers, with what search knows alone. */
  private async rows(runs: readonly RolloutSummary[]): Promise<readonly Row[]> {
    const rows: Row[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let at = next++; at < runs.length; at = next++) {
        const run = runs[at];
        if (run !== undefined) rows[at] = { run, view: await this.glance(run) };
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return rows;
  }

  private async glance(run: RolloutSummary): Promise<RolloutView | null> {
    const ref = { lane: { environment: run.environment, service: run.service }, rolloutId: run.rolloutId };
    this.remember(ref);
    if (run.workflowStatus !== 'RUNNING' || Date.now() < this.noWorkerUntilMs) return null;
    try {
      const found = await this.options.follower.glance(ref, `${run.phase} ${run.waitsFor ?? ''}`);
      return found.kind === 'running' ? found.view : null;
    } catch {
      // A list without weights is better than none; readyz and the log tell of the worker.
      this.noWorkerUntilMs = Date.now() + NO_WORKER_MS;
      return null;
    }
  }
}

/** A rollout in a list, before it is known who looks. */
export interface Row {
  readonly run: RolloutSummary;
  readonly view: RolloutView | null;
}

/** The line as one person sees it; null: not at all. */
export function rowFor({ run, view }: Row, identity: Identity): RunSummary | null {
  const lane = { environment: run.environment, service: run.service };
  if (authorize(identity, 'view', lane).kind === 'denied') return null;
  if (view !== null) return summaryOf(view, offersFor(view, identity));
  const known = PHASES.find((phase) => phase === (run.outcome ?? run.phase)) ?? 'accepted';
  const forPerson = run.waitsFor !== null && (FOR_PEOPLE as readonly string[]).includes(run.waitsFor);
  return {
    rolloutId: run.rolloutId,
    service: run.service,
    environment: run.environment,
    release: run.release,
    status: forPerson && run.waitsFor !== 'approval' ? 'held' : known,
    waitsFor: run.waitsFor,
    outcome: run.outcome,
    risk: run.risk,
    weightPercent: null,
    startedAt: run.startedAt,
    endedAt: run.closedAt,
    waitsForMe: false,
  };
}

export function summaryOf(view: RolloutView, offers: readonly Offer[]): RunSummary {
  return {
    rolloutId: view.rolloutId,
    service: view.lane.service,
    environment: view.lane.environment,
    release: view.releaseName,
    status: view.status,
    waitsFor: view.wait?.kind ?? null,
    outcome: view.outcome,
    risk: view.assessment?.risk.score ?? null,
    weightPercent: view.weights?.canary ?? null,
    startedAt: view.startedAt,
    endedAt: view.endedAt,
    waitsForMe: endsWait(view.wait, offers),
  };
}

/** The lanes that somebody may see, for visibility's query language; null: none. Names are of the file's own alphabet. */
function lanesClause({ grants }: Identity): string | null {
  if (grants.length === 0) return null;
  const names = (list: readonly string[], attribute: string): string =>
    list.includes('*') ? '' : `${attribute} IN (${list.map((name) => `'${name}'`).join(', ')})`;
  const clauses = grants.map(({ services, environments }) =>
    [names(services, searchAttributes.service.name), names(environments, searchAttributes.environment.name)]
      .filter((clause) => clause !== '')
      .join(' AND '),
  );
  return clauses.includes('') ? '' : `(${[...new Set(clauses)].map((clause) => `(${clause})`).join(' OR ')})`;
}

/** Temporal's token `t`, with a sum over it and the query: Temporal itself would try for long to read a damaged one. */
function cursorOf(query: string, t: string): { readonly q: string; readonly t: string } {
  return { q: shortDigest(digestOf({ query, t })), t };
}

function tokenOf(cursor: string, query: string): Uint8Array {
  try {
    const read: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (
      typeof read === 'object' &&
      read !== null &&
      'q' in read &&
      't' in read &&
      typeof read.t === 'string' &&
      read.q === cursorOf(query, read.t).q
    )
      return Buffer.from(read.t, 'base64');
  } catch {
    // Said below, as any cursor that is not ours.
  }
  throw badCursor();
}

function badCursor(): ApiProblem {
  return new ApiProblem('invalid-request', 'the cursor is not one that this list gave', {
    next: 'begin again without a cursor',
    errors: [{ pointer: '/cursor', detail: 'is not the cursor of this list' }],
  });
}
