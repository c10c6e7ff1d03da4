/** What has changed between what a person was shown and what is now, in sentences; pure. */
import { lastVerdicts, whatChanged } from '../../domain/approval/shown.js';
import type { Shown } from '../../domain/approval/shown.js';
import type { RolloutView } from '../../domain/rollout.js';

/** The part of a view that a decision is bound to. */
export type Bound = Pick<RolloutView, 'plan' | 'assessment' | 'approvals' | 'verdicts'>;

/** Empty: nothing that the digest covers has changed. */
export function changesOf(before: Bound, now: Bound): readonly string[] {
  if (digestOf(before) === digestOf(now)) return [];
  if (before.plan === null || now.plan === null) return ['the plan was made only after you opened this'];
  const found = whatChanged(shownIn(before, before.plan), shownIn(now, now.plan));
  if (found.length > 0) return found;
  // The evidence itself is not in a view; the workflow has it, and says what is different when it asks again.
  const asked = now.approvals?.changed ?? [];
  return asked.length > 0 ? asked : ['what a decision is bound to has another digest now'];
}

/** What a decision has to name: the gate's digest where one is open, else the plan's. */
export function digestOf({ approvals, plan }: Pick<Bound, 'approvals' | 'plan'>): string | null {
  return approvals?.planDigest ?? plan?.digest ?? null;
}

function shownIn({ assessment, verdicts }: Bound, plan: NonNullable<Bound['plan']>): Shown {
  return { plan, risk: assessment?.risk ?? null, evidence: [], verdicts: lastVerdicts(verdicts) };
}
