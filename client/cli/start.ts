import type { RolloutRequest } from '../../domain/rollout.js';
import { releaseName } from '../../domain/release.js';
import { CliError, EXIT } from '../exit-codes.js';
import { Slipway } from '../slipway.js';
import type { RolloutRef } from '../slipway.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';
import { done } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { follow } from './follow.js';
import type { Waiting } from './options.js';

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
    if (!waiting.wait) {
      if (!context.json) {
        context.out(request.rolloutId);
        context.note(`  watch it:   slipway watch ${request.rolloutId}`);
        context.note(`  Temporal:   ${webLink(context, slipway, ref)}`);
      }
      return done({
        rolloutId: request.rolloutId,
        workflowId: rolloutWorkflowId(lane, request.rolloutId),
        lane,
        receipt,
        temporalWeb: webLink(context, slipway, ref),
      });
    }
    context.note(`Temporal Web: ${webLink(context, slipway, ref)}`);
    return await follow(context, slipway, ref, waiting);
  } finally {
    await slipway.close();
  }
}

/** Where Temporal Web shows a rollout: `SLIPWAY_TEMPORAL_WEB`, else the dev server's usual port. */
export function webLink(context: CliContext, slipway: Slipway, ref: RolloutRef): string {
  const base = (context.env['SLIPWAY_TEMPORAL_WEB'] || 'http://localhost:8233').replace(/\/$/, '');
  const id = encodeURIComponent(rolloutWorkflowId(ref.lane, ref.rolloutId));
  return `${base}/namespaces/${slipway.client.options.namespace}/workflows/${id}`;
}
