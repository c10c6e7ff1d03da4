import { isGrpcServiceError } from '@temporalio/client';
import { z } from 'zod';
import type { LiveStage } from '../../domain/live.js';
import { gateState } from '../../domain/approval/gate.js';
import { foreseen, outOfReach } from '../../domain/approval/reach.js';
import { endsWait, offersFor } from '../../domain/offers.js';
import type { Offer } from '../../domain/offers.js';
import { authorize } from '../../domain/people.js';
import type { Identity } from '../../domain/people.js';
import { digestOf, shortDigest } from '../../domain/canonical.js';
import { queuedView } from '../../domain/queued.js';
import { isFinal, PHASES } from '../../domain/rollout.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import type { LaneRef } from '../../domain/target.js';
import { rolloutWorkflowId, searchAttributes } from '../../workflows/messages.js';
import { stillWaiting } from '../slipway.js';
import type { Found, RolloutRef, RolloutSummary, Slipway } from '../slipway.js';
import type { RunDocument, RunList, RunSummary } from './contract.js';
import type { Follower } from './follow/follower.js';
import { Recent } from './follow/recent.js';
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

/** A change is told to all who watch in one moment; who is known may be others in the next. */
const REMARK_MS = 1000;

const STATE_CLAUSES = {
  open: "ExecutionStatus = 'Running'",
  ended: "ExecutionStatus != 'Running'",
  'waiting-for-me': `ExecutionStatus = 'Running' AND ${searchAttributes.waitsFor.name} IN (${FOR_PEOPLE.map((kind) => `'${kind}'`).join(', ')})`,
} as const;

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
  /** Everybody who could approve there; null: they can't be listed. */
  readonly approvers: (lane: LaneRef) => readonly Identity[] | null;
}

/** What the API tells of rollouts, to one who may see them. */
export class Runs {
  /** Where rollouts are does not change. */
  private readonly known = new Map<string, LaneRef>();
  private readonly remarked = new Recent<{ readonly view: RolloutView; readonly remarks: readonly string[] }>(
    REMARK_MS,
  );
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
      remarks: this.remarksOn(view),
      live,
      links: {
        page: this.pageOf(rolloutId),
        temporalWeb: `${this.options.temporalWeb}/namespaces/${encodeURIComponent(this.options.slipway.client.options.namespace)}/workflows/${encodeURIComponent(rolloutWorkflowId(view.lane, rolloutId))}`,
        record: isFinal(view.phase) ? `${this.options.publicUrl}/runs/${rolloutId}/record` : null,
      },
      asOf: new Date().toISOString(),
    };
  }

  /** What can be foreseen of the gates of a rollout that is asked for. */
  foreseen({ policy, release, actor }: RolloutRequest): readonly string[] {
    const people = this.options.approvers(policy.lane);
    if (people === null) return [];
    const involved = [release.change.author, actor.subject, ...(actor.aliases ?? [])];
    return foreseen(policy, involved, people).map((text) => remark(policy.lane, text));
  }

  /** The same of the gate that is open; found once for all who watch. */
  private remarksOn(view: RolloutView): readonly string[] {
    const known = this.remarked.get(view.rolloutId);
    if (known?.view === view) return known.remarks;
    const remarks = this.remarksAt(view);
    this.remarked.set(view.rolloutId, { view, remarks });
    return remarks;
  }

  private remarksAt({ approvals, policy, phase }: RolloutView): readonly string[] {
    if (approvals === null || approvals.closed !== null || gateState(approvals) !== 'open' || isFinal(phase)) return [];
    const people = this.options.approvers(policy.lane);
    const text = people === null ? null : outOfReach(approvals, policy, people);
    return text === null ? [] : [remark(policy.lane, text)];
  }

  pageOf(rolloutId: string): string {
    return `${this.options.publicUrl}/rollouts/${rolloutId}`;
  }

  /** One page of the list, with those rollouts only that this person may see. */
  async list(identity: Identity, filter: ListFilter): Promise<RunList> {
    const asOf = new Date().toISOString();
    const visible = lanesClause(identity);
    if (visible === null) return { runs: [], next: null, asOf };
    const { service, environment, state } = filter;
    const lanes = allOf([
      visible,
      service === undefined ? '' : `${searchAttributes.service.name} = '${service}'`,
      environment === undefined ? '' : `${searchAttributes.environment.name} = '${environment}'`,
    ]);
    const query = allOf([lanes, state === undefined ? '' : STATE_CLAUSES[state]]);
    // They come with no outcome, and wait for no person.
    const queues = state === undefined || state === 'open';
    const { runs, next } = await this.page({ query, lanes: queues ? lanes : null }, filter, asOf);
    const rows = await this.rows(runs);
    const mine = rows.map((row) => rowFor(row, identity)).filter((row) => row !== null);
    return { runs: state === 'waiting-for-me' ? mine.filter(({ waitsForMe }) => waitsForMe) : mine, next, asOf };
  }

  /** Everything in flight and the newest that have ended, for all viewers at once: `rowFor` makes one person's of it. */
  async everything(limit: number, ended: number): Promise<readonly Row[]> {
    const { slipway } = this.options;
    const [queued, open, over] = await Promise.all([
      slipway.waiting(''),
      slipway.page(STATE_CLAUSES.open, limit, null),
      slipway.page(STATE_CLAUSES.ended, ended, null),
    ]);
    const runs = [...open.runs, ...over.runs];
    return this.rows([...stillWaiting(queued, runs).slice(0, limit), ...runs]);
  }

  /**
   * Those that wait in their lanes come first, then those that have a run. A page goes on behind the last one of the
   * page before, so nothing comes twice, whatever has changed in between.
   * @param lanes the question for the queues; null: they are not asked for
   */
  private async page(
    { query, lanes }: { readonly query: string; readonly lanes: string | null },
    { limit, cursor }: ListFilter,
    asOf: string,
  ): Promise<{ readonly runs: readonly RolloutSummary[]; readonly next: string | null }> {
    const place: Place =
      cursor !== undefined ? placeOf(cursor, query) : lanes === null ? { runs: null } : { queued: null, asOf };
    const after = (token: Uint8Array | null, begunBy?: string): string | null =>
      token === null
        ? null
        : cursorOf(query, {
            runs: Buffer.from(token).toString('base64'),
            ...(begunBy === undefined ? {} : { begunBy }),
          });

    if (!('queued' in place)) {
      const { begunBy } = place;
      const { runs, next } = await this.runsAt(
        allOf([query, begunBy === undefined ? '' : `StartTime <= '${begunBy}'`]),
        limit,
        place.runs,
      );
      return { runs, next: after(next, begunBy) };
    }
    const waiting = await this.options.slipway.waiting(lanes ?? '');
    const rest = waiting.filter((one) => place.queued === null || comesAfter(one, place.queued));
    const shown = rest.slice(0, limit);
    const room = limit - shown.length;
    // Where there is no room for a run, it is still seen which of those shown have begun.
    const { runs, next } = await this.runsAt(query, room === 0 ? limit : room, null);
    const queued = stillWaiting(shown, runs);
    const last = shown.at(-1);
    if (room > 0 || last === undefined) return { runs: [...queued, ...runs], next: after(next) };
    const { startedAt, rolloutId } = last;
    const further: Place =
      rest.length > limit
        ? { queued: { startedAt, rolloutId }, asOf: place.asOf }
        : // One that was shown as queued, and begins before the next page is asked for, would come again.
          { runs: null, begunBy: place.asOf };
    return { runs: queued, next: 'queued' in further || runs.length > 0 ? cursorOf(query, further) : null };
  }

  private async runsAt(query: string, limit: number, token: string | null): ReturnType<Slipway['page']> {
    try {
      return await this.options.slipway.page(query, limit, token === null ? null : Buffer.from(token, 'base64'));
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
    if (run.workflowStatus !== 'RUNNING' || run.queue !== null || Date.now() < this.noWorkerUntilMs) return null;
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

function remark({ service, environment }: LaneRef, text: string): string {
  return `approval of ${service} in ${environment}: ${text}; name more people in slipway-server.yaml, or ask for fewer in slipway.yaml`;
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
  const known =
    run.queue !== null ? 'queued' : (PHASES.find((phase) => phase === (run.outcome ?? run.phase)) ?? 'accepted');
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
    queue: run.queue,
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
    queue: view.queue ?? null,
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

function allOf(clauses: readonly string[]): string {
  return clauses.filter((clause) => clause !== '').join(' AND ');
}

/** How far somebody has read: in the queues, or in the runs (by Temporal's token; null: at their beginning). */
const Place = z.union([
  z.strictObject({
    queued: z.strictObject({ startedAt: z.iso.datetime(), rolloutId: z.string() }).nullable(),
    /** Of the first page. */
    asOf: z.iso.datetime(),
  }),
  z.strictObject({ runs: z.base64().nullable(), begunBy: z.iso.datetime().optional() }),
]);
type Place = z.infer<typeof Place>;

/** In the order of `Slipway.waiting`: the newest first. */
function comesAfter(
  { startedAt, rolloutId }: RolloutSummary,
  last: { readonly startedAt: string; readonly rolloutId: string },
): boolean {
  return startedAt < last.startedAt || (startedAt === last.startedAt && rolloutId > last.rolloutId);
}

const Cursor = z.strictObject({ sum: z.string(), at: Place });

function cursorOf(query: string, at: Place): string {
  return Buffer.from(JSON.stringify({ sum: sumOf(query, at), at })).toString('base64url');
}

/** Over the question, and over the place: Temporal itself would try for long to read a token that is damaged. */
function sumOf(query: string, at: Place): string {
  return shortDigest(digestOf({ query, at }));
}

function placeOf(cursor: string, query: string): Place {
  try {
    const read = Cursor.safeParse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
    if (read.success && read.data.sum === sumOf(query, read.data.at)) return read.data.at;
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
