import { upsertSearchAttributes } from '@temporalio/workflow';
import { planLine } from '../domain/details.js';
import { bindImages } from '../domain/image-binding.js';
import type { BoundImages } from '../domain/image-binding.js';
import { makePlan } from '../domain/plan.js';
import type { Plan } from '../domain/plan.js';
import { needsApproval, resolvesTags, strategyUnder } from '../domain/policy.js';
import { hashRelease } from '../domain/release.js';
import type { Assessment } from '../domain/risk.js';
import type { RolloutRequest } from '../domain/rollout.js';
import type { TargetSnapshot } from '../domain/target.js';
import { assessmentFact, planFact } from '../domain/trail-facts.js';
import { durationText } from '../domain/words.js';
import { looks, steps } from './activity-profiles.js';
import { ended, settle } from './end.js';
import type { End } from './end.js';
import type { GateCall, Gates } from './gates.js';
import { searchAttributes } from './messages.js';
import type { RunState } from './run-state.js';

export interface DecideRequest {
  readonly request: RolloutRequest;
  /** When this lane last rolled back, ms since the epoch: a factor of risk. */
  readonly lastRollbackAtMs: number | null;
  readonly state: RunState;
  readonly gates: Gates;
  /** Reads what stands now. */
  readonly describe: () => Promise<TargetSnapshot | End>;
}

/** Bind, assess, gate, approve: nothing is touched. Asks again when stable changed while people were thinking. */
export async function decide({
  request,
  lastRollbackAtMs,
  state,
  gates,
  describe,
}: DecideRequest): Promise<Plan | End> {
  const { policy } = request;
  // Once, and first: what was approved must be what is shipped, though a tag moves in the meantime.
  const bound = await bind(request);
  const unusable = settle(bound.findings, (text) => state.warn(text));
  if (unusable !== null) return unusable;
  const release = { ...request.release, images: bound.images };
  state.release = release;
  const assessment = await assess(state, request, lastRollbackAtMs);
  const { risk } = assessment;

  state.enter('gating', 'checking the evidence that the policy asks for');
  const strategy = strategyUnder(policy, risk.strategy);
  for (;;) {
    // Again after each approval: what people were shown may have changed while they were thinking.
    const unproved = await checkEvidence(state, { ...request, release }, assessment);
    if (unproved !== null) return unproved;
    const snapshot = await describe();
    if ('outcome' in snapshot) return snapshot;
    const plan = makePlan({ policy, release: hashRelease(release), strategy, snapshot, warnings: bound.findings });
    state.plan = plan;
    state.trail.add(planFact(plan));
    if (!needsApproval(policy, risk.approval) || gates.stands(releaseGate(plan))) {
      state.enter('preflight', `plan ${planLine({ plan, policy: state.request.policy })}`);
      return plan;
    }
    const end = await approve(state, gates, plan);
    if (end !== null) return end;
  }
}

/** The gate that is asked before anything is touched. */
export function releaseGate(plan: Plan): GateCall {
  return { gate: 'release', kind: 'approval', plan };
}

/** Null: all that the policy asks for is there, and holds. */
async function checkEvidence(state: RunState, request: RolloutRequest, assessment: Assessment): Promise<End | null> {
  const checked = await steps().checkEvidence({ request, assessment });
  if (checked.kind !== 'pass') return ended('rejected', 'preflight', checked.text);
  if (state.phase === 'gating') state.say(checked.text);
  state.evidence = checked.evidence ?? [];
  return null;
}

/** The release's images with the digests that their tags name now, where the policy and the platform know digests. */
async function bind({ policy, release }: RolloutRequest): Promise<BoundImages> {
  const { images } = release;
  if (!resolvesTags(policy)) return { images, findings: [] };
  return bindImages(images, await looks().resolveImages({ images }), policy.resolveTags);
}

async function assess(state: RunState, request: RolloutRequest, lastRollbackAtMs: number | null): Promise<Assessment> {
  state.enter('assessing', 'assessing the risk of the change');
  const assessment = await steps().assessRisk({ request, nowMs: Date.now(), lastRollbackAtMs });
  state.assessment = assessment;
  state.trail.add(assessmentFact(assessment));
  const { risk, model } = assessment;
  upsertSearchAttributes([{ key: searchAttributes.risk, value: risk.score }]);
  state.say(
    `risk ${risk.score} (${risk.level}): ${risk.factors.map((factor) => factor.reason).join('; ') || 'no factor'}`,
  );
  if (model.kind === 'failed')
    state.say(
      `no opinion from the model (${model.reason}): the rules' floor stands` +
        (needsApproval(request.policy, risk.approval) ? ', a person must approve' : ''),
    );
  return assessment;
}

/** Waits for the release gate. Null: approved. */
async function approve(state: RunState, gates: Gates, plan: Plan): Promise<End | null> {
  const { approvalMs } = state.request.policy.waits;
  if (state.phase !== 'awaiting-approval')
    state.enter('awaiting-approval', `plan ${planLine({ plan, policy: state.request.policy })}`);
  const answer = await gates.ask(releaseGate(plan), approvalMs);
  switch (answer) {
    case 'expired':
      return ended('rejected', 'approval-expired', `nobody approved within ${durationText(approvalMs)}`);
    case 'rejected':
      return ended('rejected', 'approval-rejected', rejectedText(state, 'the release'));
    case 'approved':
      state.say(approvedText(state), 'good');
      return null;
  }
}

/** Who rejected what at the last gate, and why. */
export function rejectedText({ approvals, decisions }: RunState, what: string): string {
  const reason = decisions.findLast(({ verb }) => verb === 'reject')?.reason;
  return `${approvals?.rejectedBy ?? 'somebody'} rejected ${what}${reason ? `: ${reason}` : ''}`;
}

function approvedText({ approvals }: RunState): string {
  if (approvals === null || approvals.brokenBy === null) return `approved by ${approvals?.approvedBy.join(', ') ?? ''}`;
  return `opened by ${approvals.brokenBy}, by break-glass`;
}
