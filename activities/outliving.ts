import { Context } from '@temporalio/activity';
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
  /** Temporal has not answered for so long that the SDK has given the attempt up. */
  readonly isAlone: () => boolean;
}

/** What Temporal answers to a heartbeat of an attempt that it does not want any more. */
const NOT_WANTED = [ActivityNotFoundError, ActivityCancelledError, ActivityPausedError, ActivityResetError];

/**
 * As `beating`, for work that goes on where Temporal can't be reached. The SDK cancels an activity by itself when no
 * heartbeat was answered for its timeout and 5 s more: another worker may have begun it again. Where Temporal is away,
 * none has. From then on Temporal is asked directly, and the attempt ends as soon as it answers that it is not wanted.
 *
 * @param isStopping the worker ends: the SDK tells each activity of one cancellation only, and has told it of this one
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

  const isWanted = async (): Promise<boolean> => {
    try {
      const { client, info } = context;
      const beat = (): Promise<void> => client.activity.heartbeat(info.taskToken, details());
      // Else what an activity asks ends with its own cancellation, which has been.
      await client.withAbortSignal(done.signal, () => client.withDeadline(Date.now() + BEAT_MS, beat));
      alone = false;
      return true;
    } catch (error) {
      alone = true;
      return !NOT_WANTED.some((kind) => error instanceof kind);
    }
  };
  const goOn = async (): Promise<void> => {
    context.log.warn('Temporal does not answer: the activity goes on without it');
    for (alone = true; !done.signal.aborted; await pause(BEAT_MS, done.signal).catch(() => undefined))
      if (isStopping() || !(await isWanted())) return ending.abort(given.reason);
  };
  const onCancel = (): void => {
    if (context.cancellationDetails?.timedOut === true) void goOn();
    else ending.abort(given.reason);
  };
  if (given.aborted) onCancel();
  else given.addEventListener('abort', onCancel, { once: true });
  try {
    return await beating(() => work({ signal: ending.signal, isAlone: () => alone }), details);
  } finally {
    given.removeEventListener('abort', onCancel);
    done.abort();
  }
}
