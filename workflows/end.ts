import type { Outcome, Reason } from '../domain/rollout.js';
import type { PreflightFinding } from '../domain/target.js';

/** How the way forward ended. `completed` needs nothing more; all else goes back as far as anything was touched. */
export interface End {
  readonly outcome: Outcome;
  readonly reason: Reason;
}

export function ended(outcome: Outcome, code: Reason['code'], text: string): End {
  return { outcome, reason: { code, text } };
}

/** Going back: because of the release or the platform, or because a person or a newer release said so. */
export function back(reason: Reason): End {
  if (reason.code === 'aborted' || reason.code === 'cancelled') return { outcome: 'aborted', reason };
  if (reason.code === 'superseded' || reason.code === 'pre-empted') return { outcome: 'superseded', reason };
  return { outcome: 'rolled-back', reason };
}

/** What was found before anything is touched: warnings are kept, refusals are the end. Null: go on. */
export function settle(findings: readonly PreflightFinding[], warn: (text: string) => void): End | null {
  const texts = (severity: PreflightFinding['severity']): readonly string[] =>
    findings.filter((finding) => finding.severity === severity).map(({ problem, remedy }) => `${problem}: ${remedy}`);
  for (const text of texts('warn')) warn(text);
  const refusals = texts('refuse');
  return refusals.length === 0 ? null : ended('rejected', 'preflight', refusals.join('; '));
}
