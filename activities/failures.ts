import { ApplicationFailure } from '@temporalio/common';

/** The far side can't be had right now; a retry may cure it. Thrown by adapters, so that Temporal retries. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable';
  constructor(
    message: string,
    /** When the far side said how long to wait, ms. */
    readonly retryAfterMs: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The far side says no, and will say it again: forbidden, or a name that it can't have. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/**
 * Gives Temporal what it needs to retry well, and people a message that says what to do.
 *
 * @param longestMs how long a far side's word on when to come back is kept to at most
 */
export function asFailure(error: unknown, longestMs = Infinity): unknown {
  if (error instanceof Unavailable) {
    return ApplicationFailure.create({
      type: 'Unavailable',
      message: error.message,
      ...(error.retryAfterMs === null ? {} : { nextRetryDelay: Math.min(error.retryAfterMs, longestMs) }),
    });
  }
  if (error instanceof Refused)
    return ApplicationFailure.create({ type: 'Refused', message: error.message, nonRetryable: true });
  return error;
}

/** Does what may fail with an adapter's error, for Temporal. */
export async function retryable<T>(work: () => Promise<T>, longestMs?: number): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asFailure(error, longestMs);
  }
}
