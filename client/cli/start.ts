import type { RolloutRequest } from '../../domain/rollout.js';
import { releaseName } from '../../domain/release.js';
import type { ChangedFile } from '../../domain/release.js';
import type { LaneRef } from '../../domain/target.js';
import { CliError, EXIT } from '../exit-codes.js';
import { Remote } from '../remote/remote.js';
import type { Rollouts } from '../rollouts.js';
import type { StartRun } from '../server/contract.js';
import { Slipway } from '../slipway.js';
import type { RolloutRef } from '../slipway.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';
import { done } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { follow } from './follow.js';
import type { Waiting } from './options.js';
import { plain, plainLines } from './render.js';
import { writeReports } from './reports.js';

/** Sends a request to its lane, says what came of it, and follows it if asked to. */
export async function start(context: CliContext, request: RolloutRequest, waiting: Waiting): Promise<CommandResult> {
  const slipway = await Slipway.connect(context.env);
  try {
    const { lane } = request.policy;
    const receipt = await slipway.enqueue(request);
    const ref: RolloutRef = { lane, rolloutId: request.rolloutId };
    if (receipt.kind === 'conflict')
      throw new CliError(EXIT.usage, receipt.text, `see what it was used for: slipway status ${receipt.rolloutId}`);
    if (receipt.kind === 'busy')
      throw new CliError(EXIT.laneBusy, receipt.text, `wait for it: slipway watch ${receipt.running}`);
    const again = receipt.kind === 'duplicate' ? ' (asked for before: the same rollout)' : '';
    const place = receipt.kind === 'accepted' && receipt.ahead > 0 ? `, ${receipt.ahead} ahead of it in the lane` : '';
    context.note(
      `rollout ${request.rolloutId}${again}: ${releaseName(request.release.images)} → ${lane.service} in ${lane.environment}${place}`,
    );
    if (receipt.kind === 'accepted' && receipt.blocked !== null)
      context.note(
        `the lane is blocked: ${receipt.blocked}\n  → slipway lane unblock ${lane.service} --env ${lane.environment} --reason "…"`,
      );
    return await stay(context, slipway, ref, waiting, { receipt });
  } finally {
    await slipway.close();
  }
}

/** Asks the server for a rollout; who asks is known to it by the token. */
export async function startRemote(
  context: CliContext,
  server: string,
  lane: LaneRef,
  ask: (remote: Remote) => ReturnType<Remote['start']>,
  waiting: Waiting,
): Promise<CommandResult> {
  const remote = await Remote.connect(context.env, server);
  const started = await ask(remote);
  const said = started.escalation?.reason ?? started.response?.text ?? started.status;
  context.note(`rollout ${started.run_id}: ${lane.service} in ${lane.environment}: ${plain(said)}`);
  const { remarks = [] } = started;
  for (const remark of remarks) context.note(`  remark: ${plain(remark)}`);
  const told = { traceId: started.trace_id, ...(remarks.length === 0 ? {} : { remarks }) };
  return stay(context, remote, { lane, rolloutId: started.run_id }, waiting, told);
}

/** Follows what was begun, or says where it can be followed. */
async function stay(
  context: CliContext,
  rollouts: Rollouts,
  ref: RolloutRef,
  waiting: Waiting,
  told: Readonly<Record<string, unknown>>,
): Promise<CommandResult> {
  const { page, temporalWeb } = rollouts.links(ref);
  if (waiting.wait) {
    if (page !== null) context.note(`page:         ${page}`);
    if (temporalWeb !== null) context.note(`Temporal Web: ${temporalWeb}`);
    return follow(context, rollouts, ref, waiting);
  }
  if (!context.json) {
    context.out(ref.rolloutId);
    context.note(`  watch it:   slipway watch ${ref.rolloutId}`);
    if (page !== null) context.note(`  page:       ${page}`);
    if (temporalWeb !== null) context.note(`  Temporal:   ${temporalWeb}`);
  }
  const { summary, outputs, dotenv } = waiting.reports;
  if (summary !== undefined || outputs !== undefined || dotenv !== undefined)
    await writeReports(context, waiting.reports, {
      found: await rollouts.find(ref),
      exitCode: EXIT.completed,
      links: rollouts.links(ref),
    });
  return done({
    rolloutId: ref.rolloutId,
    workflowId: rolloutWorkflowId(ref.lane, ref.rolloutId),
    lane: ref.lane,
    ...told,
    ...(page === null ? {} : { page }),
    temporalWeb,
  });
}

/** The server takes 256 KiB in all. */
const FILES_BYTES = 160 * 1024;

/** The request of a deploy as the API takes it: whatever a commit says is told, without what a terminal would obey. */
export function startRunOf(request: RolloutRequest, key: string, slipwayYaml: string): StartRun {
  const { release, policy, tenant, priority } = request;
  const { commit, author, message, files, truncated } = release.change;
  const told = files === null ? null : within(FILES_BYTES, files);
  return {
    tenant,
    task: 'deploy',
    payload: {
      service: policy.lane.service,
      environment: policy.lane.environment,
      images: release.images,
      env: release.env,
      ...(release.config === undefined ? {} : { config: release.config }),
      change: {
        ...(commit === null ? {} : { commit }),
        ...(author === null ? {} : { author: plain(author).slice(0, 200) }),
        ...(message === null ? {} : { message: plainLines(message) }),
        ...(files === null || told === null ? {} : { files: told, truncated: truncated || told.length < files.length }),
      },
      hotfix: priority === 'hotfix',
      slipwayYaml,
    },
    idempotencyKey: key,
  };
}

function within(bytes: number, files: readonly ChangedFile[]): readonly ChangedFile[] {
  let left = bytes;
  const end = files.findIndex((file) => (left -= Buffer.byteLength(JSON.stringify(file)) + 1) < 0);
  return end < 0 ? files : files.slice(0, end);
}
