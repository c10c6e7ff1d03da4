/** What activities that wait have in common: heartbeats, and sleep that ends with a cancellation. */
import { Context } from '@temporalio/activity';

/** Below the heartbeat timeout of 5 s. More often would be for nothing: Temporal's SDK holds them back for 80 % of it. */
export const BEAT_MS = 2000;

/**
 * Heartbeats for as long as the work lasts, by a clock of its own: work that beats once a step is taken for dead as soon
 * as a step takes as long as the timeout. What may hang needs a deadline of its own.
 *
 * @param details what each heartbeat tells: it is not in history, a new attempt is given the last
 */
export async function beating<T>(work: () => Promise<T>, details: () => unknown = () => undefined): Promise<T> {
  const context = Context.current();
  const beatOnce = (): void => context.heartbeat(details());
  beatOnce();
  const beat = setInterval(beatOnce, BEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(beat);
  }
}

/** Sleeps, and rejects with the signal's reason as soon as it is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** Something that ends when another signal does, or by itself when its time is over. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** Its time was over first. */
  isOver(): boolean;
  /** To be called when nothing is left to be ended. */
  clear(): void;
}

/** As `AbortSignal.any` with `AbortSignal.timeout`, which cost more than the short calls that they limit. */
export function deadline(ms: number, signal: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  let over = false;
  const timer = setTimeout(() => {
    over = true;
    controller.abort(new DOMException(`no end within ${ms} ms`, 'TimeoutError'));
  }, ms);
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    isOver: () => over,
    clear() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    },
  };
}
