import { needsPerson } from '../../domain/rollout.js';
import { durationText } from '../../domain/words.js';
import { CliError, EXIT } from '../exit-codes.js';
import { Remote } from '../remote/remote.js';
import { stillWaiting } from '../slipway.js';
import type { RolloutSummary, Slipway } from '../slipway.js';
import {
  LANE_WORKFLOW,
  RECONCILE_WORKFLOW,
  ROLLOUT_WORKFLOW,
  searchAttributes,
  SLACK_END_WORKFLOW,
  viewQuery,
} from '../../workflows/messages.js';
import { actorFrom } from './actor.js';
import type { ActorOptions } from './actor.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { parseCountOption } from './options.js';
import { painter, plain } from './render.js';
import { serverOf } from './rollouts.js';
import type { WhereFlags } from './rollouts.js';
import { withSlipway } from './verbs.js';

export interface ListOptions extends WhereFlags {
  readonly service?: string;
  readonly env?: string;
  readonly outcome?: string;
  readonly open?: boolean;
  readonly waiting?: boolean;
  readonly limit?: string;
}

/** `slipway list`: rollouts, newest first. */
export async function list(context: CliContext, options: ListOptions): Promise<CommandResult> {
  const limit = options.limit === undefined ? 20 : parseCountOption('--limit', options.limit, 1000);
  const lanes = clauses([
    clause(searchAttributes.service.name, '--service', options.service),
    clause(searchAttributes.environment.name, '--env', options.env),
  ]);
  const states = clauses([
    clause(searchAttributes.outcome.name, '--outcome', options.outcome),
    options.open === true ? "ExecutionStatus = 'Running'" : null,
    options.waiting === true ? `${searchAttributes.waitsFor.name} IS NOT NULL AND ExecutionStatus = 'Running'` : null,
  ]);
  const server = await serverOf(context, options);
  const rollouts =
    server === null
      ? await withSlipway(context, (slipway) => listDirect(slipway, { lanes, states }, options, limit))
      : await listRemote(context, server, options, limit);
  if (!context.json) table(context, rollouts);
  return done({ rollouts });
}

/** Those that wait in their lanes first; they have no outcome, and wait for no person. */
async function listDirect(
  slipway: Slipway,
  { lanes, states }: { readonly lanes: string; readonly states: string },
  { outcome, waiting }: ListOptions,
  limit: number,
): Promise<readonly RolloutSummary[]> {
  const [queued, runs] = await Promise.all([
    outcome === undefined && waiting !== true ? slipway.waiting(lanes) : [],
    slipway.list([lanes, states].filter((text) => text !== '').join(' AND '), limit),
  ]);
  return [...stillWaiting(queued, runs), ...runs].slice(0, limit);
}

/** The server's list, which shows what the caller may see; the filters that it does not know are applied here. */
async function listRemote(
  context: CliContext,
  server: string,
  options: ListOptions,
  limit: number,
): Promise<readonly RolloutSummary[]> {
  const remote = await Remote.connect(context.env, server);
  const found: RolloutSummary[] = [];
  for (let cursor: string | null = null; ;) {
    const query = new URLSearchParams({
      limit: String(Math.min(limit, 100)),
      ...(options.open === true || options.waiting === true ? { state: 'open' } : {}),
      ...(options.service === undefined ? {} : { service: options.service }),
      ...(options.env === undefined ? {} : { environment: options.env }),
      ...(cursor === null ? {} : { cursor }),
    });
    const page = await remote.list(query);
    const wanted = page.runs.filter(
      (run) =>
        (options.outcome === undefined || run.outcome === options.outcome) &&
        (options.waiting !== true || run.waitsFor !== null),
    );
    for (const { status, endedAt, ...run } of wanted)
      found.push({
        ...run,
        phase: status,
        closedAt: endedAt,
        workflowStatus: endedAt === null ? 'RUNNING' : 'COMPLETED',
      });
    cursor = page.next;
    if (cursor === null || found.length >= limit) return found.slice(0, limit);
  }
}

function clauses(list: readonly (string | null)[]): string {
  return list.filter((text) => text !== null).join(' AND ');
}

function clause(name: string, flag: string, value: string | undefined): string | null {
  if (value === undefined) return null;
  if (!/^[\w.-]+$/.test(value)) throw usage(`${flag} "${value}" is no name`, 'write letters, digits, _ . and -');
  return `${name} = '${value}'`;
}

function table(context: CliContext, rollouts: readonly RolloutSummary[]): void {
  if (rollouts.length === 0) return context.out('no rollouts');
  const paint = painter(context.color);
  const rows = rollouts.map((run) => [
    run.rolloutId,
    `${run.service}/${run.environment}`,
    plain(run.release),
    run.outcome ?? (run.workflowStatus === 'RUNNING' ? run.phase : run.workflowStatus.toLowerCase()),
    run.waitsFor ?? (run.queue === null ? '' : `${run.queue.ahead} ahead`),
    run.risk === null ? '' : String(run.risk),
    run.startedAt.slice(0, 19).replace('T', ' '),
  ]);
  const head = ['ROLLOUT', 'SERVICE/ENV', 'RELEASE', 'STATE', 'WAITS FOR', 'RISK', 'STARTED (UTC)'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  context.out(paint('bold', line(head)));
  for (const row of rows) context.out(line(row));
}

/** A run that will not go on by itself, and why. */
export interface StuckRun {
  readonly workflowId: string;
  readonly what: 'person' | 'activity' | 'workflow-task' | 'lane';
  readonly since: string | null;
  readonly why: string;
  readonly remedy: string;
}

/** An activity that has failed so often is worth a look. */
const FAILING_ATTEMPTS = 3;

/** `slipway stuck`: what needs a person, and whose activities keep failing. */
export async function stuck(context: CliContext): Promise<CommandResult> {
  return withSlipway(context, async (slipway) => {
    const runs = await findStuck(slipway);
    if (!context.json) {
      if (runs.length === 0) context.out('nothing is stuck');
      for (const run of runs) {
        context.out(
          `${run.workflowId}${run.since === null ? '' : ` since ${run.since} (${durationText(Date.now() - Date.parse(run.since))})`}`,
        );
        context.out(`  ${plain(run.why)}`);
        context.out(`  → ${run.remedy}`);
      }
    }
    return done({ stuck: runs });
  });
}

async function findStuck(slipway: Slipway): Promise<readonly StuckRun[]> {
  const { client } = slipway;
  const query = `WorkflowType IN ('${ROLLOUT_WORKFLOW}', '${LANE_WORKFLOW}', '${RECONCILE_WORKFLOW}', '${SLACK_END_WORKFLOW}', 'recover') AND ExecutionStatus = 'Running'`;
  const found: StuckRun[] = [];
  const ids = await slipway.call(async () => {
    const list: { workflowId: string; type: string }[] = [];
    for await (const run of client.workflow.list({ query })) list.push({ workflowId: run.workflowId, type: run.type });
    return list;
  });
  for (const { workflowId, type } of ids) {
    const handle = client.workflow.getHandle(workflowId);
    const { raw } = await slipway.call(() => handle.describe());
    for (const activity of raw.pendingActivities ?? []) {
      if ((activity.attempt ?? 1) <= FAILING_ATTEMPTS || !activity.lastFailure) continue;
      found.push({
        workflowId,
        what: 'activity',
        since: null,
        why: `${activity.activityType?.name ?? 'an activity'} has failed ${(activity.attempt ?? 1) - 1} times: ${innermost(activity.lastFailure)}`,
        remedy: 'mend what it says: it goes on by itself',
      });
    }
    const task = raw.pendingWorkflowTask;
    if ((task?.attempt ?? 1) > FAILING_ATTEMPTS) {
      found.push({
        workflowId,
        what: 'workflow-task',
        since: null,
        why: `its workflow task has failed ${(task?.attempt ?? 1) - 1} times: no worker runs, or its code fails`,
        remedy: 'see the worker’s log; start a worker, or deploy a corrected one',
      });
      continue;
    }
    if (type === ROLLOUT_WORKFLOW) {
      const view = await slipway.call(() => handle.query(viewQuery));
      if (needsPerson(view.wait) && view.wait !== null) {
        found.push({
          workflowId,
          what: 'person',
          since: view.wait.since,
          why: view.wait.reason,
          remedy: view.wait.commands.join('  or  '),
        });
      }
    }
    if (type === LANE_WORKFLOW) {
      const [, environment = '', service = ''] = workflowId.split('/');
      const lane = await slipway.lane({ environment, service });
      if (lane?.blocked != null) {
        found.push({
          workflowId,
          what: 'lane',
          since: new Date(lane.blocked.sinceMs).toISOString(),
          why: lane.blocked.reason,
          remedy: `slipway lane unblock ${service} --env ${environment} --reason "…"`,
        });
      }
    }
  }
  return found;
}

function innermost(failure: { message?: string | null; cause?: unknown }): string {
  let at = failure;
  while (at.cause !== null && typeof at.cause === 'object') at = at.cause;
  return at.message ?? 'no message';
}

/** `slipway lane SERVICE`, `slipway lane unblock SERVICE`. */
export async function showLane(
  context: CliContext,
  service: string,
  options: { readonly env: string },
): Promise<CommandResult> {
  return withSlipway(context, async (slipway) => {
    const lane = await slipway.lane({ service, environment: options.env });
    if (lane === null)
      throw new CliError(EXIT.usage, `${service} was never deployed to ${options.env}`, 'see `slipway list`');
    if (!context.json) {
      context.out(`lane of ${service} in ${options.env}: ${lane.running === null ? 'free' : `runs ${lane.running}`}`);
      if (lane.blocked !== null) context.out(`blocked: ${plain(lane.blocked.reason)}`);
      for (const item of lane.queue)
        context.out(`queued: ${item.rolloutId} since ${item.queuedAt}, until ${item.expiresAt}`);
      for (const entry of lane.remembered.slice(-5))
        context.out(
          `${entry.rolloutId}: ${entry.outcome ?? 'in flight'}${entry.reason === null ? '' : ` (${plain(entry.reason)})`}`,
        );
      for (const { rolloutId, by, at, reason } of lane.brokenGlass.slice(-5))
        context.out(`break-glass: ${rolloutId} by ${plain(by)} at ${at}: ${plain(reason)}`);
    }
    return done(lane);
  });
}

export async function unblockLane(
  context: CliContext,
  service: string,
  options: ActorOptions & { readonly env: string; readonly reason: string },
): Promise<CommandResult> {
  return withSlipway(context, async (slipway) => {
    const { subject } = await actorFrom(context, options);
    const text = await slipway.unblock({ service, environment: options.env }, { subject, reason: options.reason });
    if (!context.json) context.out(plain(text));
    return done({ text });
  });
}

/** `slipway setup`: makes the Temporal namespace ready. */
export async function setup(context: CliContext): Promise<CommandResult> {
  return withSlipway(context, async (slipway) => {
    const report = await slipway.setup();
    if (!context.json) {
      context.out(
        report.added.length > 0 ? `added search attributes: ${report.added.join(', ')}` : 'search attributes are there',
      );
      context.out(
        report.schedule === 'created'
          ? 'created the reconcile schedule (every minute)'
          : 'the reconcile schedule is there',
      );
    }
    return done(report);
  });
}
