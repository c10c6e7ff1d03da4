import { CancelledFailure, Context } from '@temporalio/activity';
import {
  ActivityCancelledError,
  ActivityNotFoundError,
  ActivityPausedError,
  ActivityResetError,
} from '@temporalio/client';
import { BEAT_MS, beating, pause } from './waiting.js';

/** How an attempt of an activity stands with Temporal. */
export interface Standing {
  /** Ends the work: it was cancelled, another attempt may have taken over, or the worker stops. */
  readonly signal: AbortSignal;
  /** Temporal did not answer when it was asked last. */
  readonly isAlone: () => boolean;
  /**
   * Whether somebody would hear of a result now; to be asked before the work ends with one that can wait. It answers
   * within 2 s, and from the first no on Temporal is asked every 2 s.
   */
  readonly isHeard: () => Promise<boolean>;
}

/** What Temporal answers to a heartbeat of an attempt that it does not want any more. */
const NOT_WANTED = [ActivityNotFoundError, ActivityCancelledError, ActivityPausedError, ActivityResetError];

/**
 * As `beating`, for work that goes on where Temporal can't be reached. The SDK cancels an activity by itself when no
 * heartbeat was answered for its timeout and 5 s more: another worker may have begun it again. Where Temporal is away,
 * none has. From then on Temporal is asked directly, and the attempt ends as soon as it answers that it is not wanted.
 *
 * @param isStopping the worker ends: the SDK tells each activity of one cancellation only, and may have told it of this one
 */
export async function outliving<T>(
  work: (standing: Standing) => Promise<T>,
  details: () => unknown,
  isStopping: () => boolean,
): Promise<T> {
  const context = Context.current();
  const given = context.cancellationSignal;
  const ending = new AbortController();
  const done = new AbortController();
  let alone = false;
  let isAsking = false;

  const end = (): void => ending.abort(given.reason ?? new CancelledFailure('Temporal does not want it any more'));
  const ask = async (): Promise<void> => {
    try {
      const { client, info } = context;
      const beat = (): Promise<void> => client.activity.heartbeat(info.taskToken, details());
      // Else what an activity asks ends with its own cancellation, which may have been.
      await client.withAbortSignal(done.signal, () => client.withDeadline(Date.now() + BEAT_MS, beat));
      alone = false;
    } catch (error) {
      if (NOT_WANTED.some((kind) => error instanceof kind)) end();
      else alone = true;
    }
  };
  const goOn = async (): Promise<void> => {
    alone = true;
    if (isAsking) return;
    isAsking = true;
    context.log.warn('Temporal does not answer: the activity goes on without it');
    while (!done.signal.aborted && !ending.signal.aborted) {
      if (isStopping()) return end();
      await ask();
      await pause(BEAT_MS, done.signal).catch(() => undefined);
    }
  };
  const isHeard = async (): Promise<boolean> => {
    if (alone) return false;
    await ask();
    ending.signal.throwIfAborted();
    if (alone) void goOn();
    return !alone;
  };
  const onCancel = (): void => {
    if (context.cancellationDetails?.timedOut === true) void goOn();
    else end();
  };
  if (given.aborted) onCancel();
  else given.addEventListener('abort', onCancel, { once: true });
  try {
    return await beating(() => work({ signal: ending.signal, isAlone: () => alone, isHeard }), details);
  } finally {
    given.removeEventListener('abort', onCancel);
    done.abort();
  }
}
