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
import { durationText } from '../domain/words.js';
import { looks, steps } from './activity-profiles.js';
import { ended, settle } from './end.js';
import type { End } from './end.js';
import type { Gates } from './gates.js';
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
  const evidence = await steps().checkEvidence({ request: { ...request, release }, assessment });
  if (evidence.kind !== 'pass') return ended('rejected', 'preflight', evidence.text);
  state.say(evidence.text);

  const strategy = strategyUnder(policy, risk.strategy);
  let approvedFor: string | null = null;
  for (;;) {
    const snapshot = await describe();
    if ('outcome' in snapshot) return snapshot;
    const plan = makePlan({ policy, release: hashRelease(release), strategy, snapshot, warnings: bound.findings });
    state.plan = plan;
    if (!needsApproval(policy, risk.approval) || approvedFor === plan.digest) {
      state.enter('preflight', `plan ${planLine({ plan, policy: state.request.policy })}`);
      return plan;
    }
    if (approvedFor !== null)
      state.say('stable changed since the approval: the plan is another one and must be approved again', 'bad');
    const end = await approve(state, gates, plan);
    if (end !== null) return end;
    approvedFor = plan.digest;
  }
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
  const answer = await gates.ask({ gate: 'release', kind: 'approval', plan }, approvalMs);
  const { approvals } = state;
  switch (answer) {
    case 'expired':
      return ended('rejected', 'approval-expired', `nobody approved within ${durationText(approvalMs)}`);
    case 'rejected': {
      const reason = state.decisions.at(-1)?.reason;
      return ended(
        'rejected',
        'approval-rejected',
        `${approvals?.rejectedBy ?? 'somebody'} rejected the release${reason ? `: ${reason}` : ''}`,
      );
    }
    case 'approved':
      state.say(`approved by ${approvals?.approvedBy.join(', ') ?? 'nobody'}`, 'good');
      return null;
  }
}
