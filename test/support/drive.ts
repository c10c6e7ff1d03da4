import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Slipway } from '../../client/slipway.js';
import { isGateVerb } from '../../domain/approval/decision.js';
import type { Decision, DecisionReceipt, Verb } from '../../domain/approval/decision.js';
import type { LaneView } from '../../domain/lane.js';
import type { Actor, Outcome, RolloutRequest, RolloutView } from '../../domain/rollout.js';
import type { LaneRef, Target } from '../../domain/target.js';
import {
  checkSignal,
  LANE_WORKFLOW,
  laneWorkflowId,
  recoverWorkflowId,
  rolloutWorkflowId,
  WORKFLOW_TASK_TIMEOUT,
} from '../../workflows/messages.js';
import type { Signer } from './signing.js';

/** Each question to a workflow costs its worker a task: seldom enough for many tests at once, on two cores. */
const POLL_MS = 150;

/** Asks until the answer is neither null nor false; the error names what was waited for and what was seen last. */
export async function until<T>(
  what: string,
  ask: () => T | null | false | Promise<T | null | false>,
  limitMs = 90_000,
): Promise<T> {
  let last = 'nothing';
  for (const endMs = Date.now() + limitMs; ;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== false) return answer;
    } catch (error) {
      last = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
    if (Date.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms (last error: ${last})`);
    await sleep(POLL_MS);
  }
}

export interface DecideOptions {
  readonly by?: string;
  readonly groups?: readonly string[];
  readonly gate?: string;
  readonly planDigest?: string;
  readonly id?: string;
  readonly reason?: string;
  readonly full?: boolean;
  /** Instead of `by` and `groups`. */
  readonly actor?: Actor;
  /** The server that says so; unsigned without it. */
  readonly signer?: Signer;
}

/** Does what people and machines do with Slipway, and waits for what they would see. */
export class Pilot {
  constructor(readonly slipway: Slipway) {}

  /** Asks for a rollout and fails if it is not accepted. */
  async deploy(request: RolloutRequest): Promise<RolloutRequest> {
    const receipt = await this.slipway.enqueue(request);
    if (receipt.kind !== 'accepted') throw new Error(`not accepted: ${JSON.stringify(receipt)}`);
    return request;
  }

  /** Deploys and waits for the end. */
  async ship(request: RolloutRequest, limitMs?: number): Promise<RolloutView> {
    return this.ended(await this.deploy(request), limitMs);
  }

  async view(request: RolloutRequest): Promise<RolloutView | null> {
    const found = await this.slipway.find(refOf(request));
    return found.kind === 'running' ? found.view : null;
  }

  /** Waits until the view is as wanted. A rollout that ends before that fails at once, with its story. */
  async until(
    request: RolloutRequest,
    what: string,
    wanted: (view: RolloutView) => boolean,
    limitMs = 90_000,
  ): Promise<RolloutView> {
    let last: RolloutView | null = null;
    try {
      const seen = await until(
        what,
        async () => {
          last = await this.view(request);
          return last !== null && (wanted(last) || last.outcome !== null) ? last : null;
        },
        limitMs,
      );
      if (wanted(seen)) return seen;
      throw new Error(`${what}: the rollout has ended without it`);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${story(last)}`, { cause: error });
    }
  }

  /** Waits until a watch is at work: weights are told of before its worker has taken it. */
  async watched(request: RolloutRequest): Promise<void> {
    await until('its watch is at work', async () => {
      const { raw } = await this.handle(request).describe();
      return (raw.pendingActivities ?? []).some(
        ({ activityType, lastHeartbeatTime }) => activityType?.name === 'watch' && lastHeartbeatTime != null,
      );
    });
  }

  /** Waits for the end of its run, and gives the last view. */
  async ended(request: RolloutRequest, limitMs = 90_000): Promise<RolloutView> {
    const view = await this.until(request, 'the rollout ends', ({ outcome }) => outcome !== null, limitMs);
    await until(
      'its run closes',
      async () => (await this.status(rolloutWorkflowId(request.policy.lane, request.rolloutId))) === 'COMPLETED',
      limitMs,
    );
    return view;
  }

  /** Waits until the lane remembers an outcome: also where the run itself is gone. */
  async remembered(request: RolloutRequest, limitMs = 90_000): Promise<Outcome> {
    return until(
      'the lane knows the outcome',
      async () =>
        (await this.lane(request.policy.lane))?.remembered.find(({ rolloutId }) => rolloutId === request.rolloutId)
          ?.outcome ?? null,
      limitMs,
    );
  }

  async lane(ref: LaneRef): Promise<LaneView | null> {
    return this.slipway.lane(ref);
  }

  async status(workflowId: string): Promise<string> {
    return this.slipway.call(
      async () => (await this.slipway.client.workflow.getHandle(workflowId).describe()).status.name,
    );
  }

  handle(request: RolloutRequest) {
    return this.slipway.client.workflow.getHandle(rolloutWorkflowId(request.policy.lane, request.rolloutId));
  }

  /** How the recovery of a rollout stands; throws where there is none. */
  async recovery(request: RolloutRequest): Promise<string> {
    return this.status(recoverWorkflowId(request.policy.lane, request.rolloutId));
  }

  /** Says a decision on what is shown: its open gate and its plan, unless told otherwise. */
  async decide(request: RolloutRequest, verb: Verb, options: DecideOptions = {}): Promise<DecisionReceipt> {
    return this.slipway.decide(refOf(request), await this.decision(request, verb, options));
  }

  /** A decision on what is shown, not said yet. */
  async decision(request: RolloutRequest, verb: Verb, options: DecideOptions = {}): Promise<Decision> {
    const view = await this.view(request);
    const asked = isGateVerb(verb);
    const decision: Decision = {
      id: options.id ?? randomUUID(),
      verb,
      gate: options.gate ?? (asked ? (view?.wait?.gate ?? null) : null),
      planDigest: options.planDigest ?? (asked ? (view?.approvals?.planDigest ?? null) : null),
      actor: options.actor ?? {
        subject: options.by ?? 'approver@example.com',
        groups: options.groups ?? [],
        verified: false,
      },
      reason: options.reason ?? null,
      full: options.full ?? false,
      at: new Date().toISOString(),
    };
    if (options.signer === undefined) return decision;
    return { ...decision, signature: await options.signer.sign(request.rolloutId, decision) };
  }

  /** What the reconcile schedule does for an anchor, at once. */
  async wakeLane(lane: LaneRef, target: Target): Promise<void> {
    await this.slipway.call(() =>
      this.slipway.client.workflow.signalWithStart(LANE_WORKFLOW, {
        workflowId: laneWorkflowId(lane),
        taskQueue: this.slipway.taskQueue,
        workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
        args: [{ lane, state: null }],
        signal: checkSignal,
        signalArgs: [{ target }],
      }),
    );
  }
}

export function refOf({ policy, rolloutId }: RolloutRequest) {
  return { lane: policy.lane, rolloutId };
}

/** The story of a rollout, for messages of failed tests. */
export function story(view: RolloutView | null): string {
  if (view === null) return '(no view)';
  const lines = view.timeline.map(({ at, phase, text }) => `  ${at.slice(11, 23)} ${phase}: ${text}`);
  return [...lines, `  = ${view.phase} ${JSON.stringify(view.reason)} waits for ${JSON.stringify(view.wait)}`].join(
    '\n',
  );
}

/** Keys of writes that the journal has more than once for one object: none, if every effect was applied exactly once. */
export function appliedTwice(
  journal: readonly { readonly key: string | null; readonly kind: string; readonly name: string }[],
): readonly string[] {
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const { key, kind, name } of journal) {
    if (key === null) continue;
    const id = `${key} on ${kind}/${name}`;
    if (seen.has(id)) twice.push(id);
    seen.add(id);
  }
  return twice;
}
