import type { Outcome, RolloutView } from '../domain/rollout.js';

/** Exit codes of `deploy --wait` and `watch`; others use 0, 2, 69 and 70, and `audit` 1 and 7 too. Public API. */
export const EXIT = {
  completed: 0,
  rolledBack: 1,
  usage: 2,
  /** Rejected, aborted or superseded. */
  notShipped: 3,
  /** Held, or timed out while waiting for a person. */
  held: 4,
  laneBusy: 5,
  /** Rollback failed or unfinished. */
  rollbackFailed: 6,
  /** `audit`: a trail is damaged. */
  damaged: 1,
  /** `audit`: nothing wrong was found, and whether something is missing at the end can't be told. */
  cannotTell: 7,
  /** A needed service can't be reached. */
  unavailable: 69,
  internal: 70,
} as const;

export function exitCodeFor(outcome: Outcome, reason: RolloutView['reason']): number {
  switch (outcome) {
    case 'completed':
      return EXIT.completed;
    case 'rolled-back':
      return EXIT.rolledBack;
    case 'rollback-failed':
      return EXIT.rollbackFailed;
    case 'rejected':
      return reason?.code === 'platform-unreachable' ? EXIT.unavailable : EXIT.notShipped;
    case 'aborted':
    case 'superseded':
      return EXIT.notShipped;
  }
}

/** An error that is said to the user as it is: what is wrong, and what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    readonly exitCode: number,
    message: string,
    /** What to do next. */
    readonly remedy: string | null = null,
  ) {
    super(message);
  }
}
