import type { Outcome, Reason } from '../domain/rollout.js';

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
