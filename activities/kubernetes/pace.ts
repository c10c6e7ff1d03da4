/** Waits for the next turn of one piece of work. */
export type Turn = (signal: AbortSignal | undefined) => Promise<void>;

/** Hands out turns, in all not more often than it was made for. */
export interface Pace {
  /**
   * A piece of work of several calls. What was begun earlier goes first, so that under load some is done in time, rather
   * than nothing; what is urgent goes before everything else.
   */
  work(urgent: boolean): Turn;
}

interface Waiting {
  readonly urgent: boolean;
  readonly work: number;
  readonly go: () => void;
}

/**
 * Lets `burst` calls begin at once and `perSecond` after that: many rollouts that go bad together must not make an API
 * server slow for everybody else. A token bucket.
 */
export function createPace({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }): Pace {
  const stepMs = 1000 / perSecond;
  /** In the order of their turns. */
  const queue: Waiting[] = [];
  let works = 0;
  let tokens = burst;
  let countedMs = performance.now();
  let timer: NodeJS.Timeout | null = null;

  function serve(): void {
    timer = null;
    const nowMs = performance.now();
    tokens = Math.min(burst, tokens + (nowMs - countedMs) / stepMs);
    countedMs = nowMs;
    for (; tokens >= 1 && queue.length > 0; tokens -= 1) queue.shift()?.go();
    if (queue.length > 0) timer = setTimeout(serve, Math.ceil((1 - tokens) * stepMs));
  }

  return {
    work(urgent) {
      const work = works++;
      return (signal) =>
        new Promise((resolve, reject) => {
          signal?.throwIfAborted();
          // A signal of its own: many wait on that of one activity, and Node warns of more than ten listeners.
          const own = signal && AbortSignal.any([signal]);
          const entry = {
            urgent,
            work,
            go() {
              own?.removeEventListener('abort', leave);
              resolve();
            },
          };
          function leave(): void {
            queue.splice(queue.indexOf(entry), 1);
            reject(own?.reason as Error);
          }
          own?.addEventListener('abort', leave, { once: true });
          const before = (other: Waiting): boolean =>
            other.urgent === urgent ? other.work <= work : other.urgent && !urgent;
          queue.splice(queue.findLastIndex(before) + 1, 0, entry);
          if (timer === null) serve();
        });
    },
  };
}
