/** Does one call of a piece of work in its turn. */
export type Turn = <T>(call: () => Promise<T>, signal: AbortSignal | undefined) => Promise<T>;

/** What goes before what: users that are on a bad version, then what else a rollback does, then everything else. */
const ORDER = ['cut', 'rollback', 'usual'] as const;
export type Urgency = (typeof ORDER)[number];

/** Hands out turns, in all not more often, and not more at a time, than it was made for. */
export interface Pace {
  /**
   * A piece of work of several calls. What is more urgent goes first; among the equally urgent what was begun earlier, so
   * that under load some is done in time, rather than nothing.
   */
  work(urgency: Urgency): Turn;
}

export interface PaceOptions {
  readonly perSecond: number;
  /** How many may begin at once after a time of rest. */
  readonly burst: number;
  /**
   * How many may be under way. Where the far side or this process is slower than `perSecond`, those beyond wait here,
   * where what is urgent overtakes them, and not there.
   */
  readonly atOnce: number;
}

interface Waiting {
  readonly rank: number;
  readonly work: number;
  readonly go: () => void;
}

/**
 * Lets `burst` calls begin at once and `perSecond` after that: many rollouts that go bad together must not make an API
 * server slow for everybody else. A token bucket.
 */
export function createPace({ perSecond, burst, atOnce }: PaceOptions): Pace {
  const stepMs = 1000 / perSecond;
  /** In the order of their turns. */
  const queue: Waiting[] = [];
  let works = 0;
  let underWay = 0;
  let tokens = burst;
  let countedMs = performance.now();
  let timer: NodeJS.Timeout | null = null;

  /** Takes a turn, where there is one now. */
  function take(): boolean {
    const nowMs = performance.now();
    tokens = Math.min(burst, tokens + (nowMs - countedMs) / stepMs);
    countedMs = nowMs;
    if (tokens < 1 || underWay >= atOnce) return false;
    tokens -= 1;
    underWay += 1;
    return true;
  }

  function serve(): void {
    // A turn is due already, and comes soon enough for all.
    if (timer !== null) return;
    while (queue.length > 0 && take()) queue.shift()?.go();
    if (queue.length === 0 || underWay >= atOnce) return;
    timer = setTimeout(
      () => {
        timer = null;
        serve();
      },
      Math.ceil((1 - tokens) * stepMs),
    );
  }

  function myTurn(rank: number, work: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry = {
        rank,
        work,
        go() {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
      };
      function leave(): void {
        queue.splice(queue.indexOf(entry), 1);
        reject(signal?.reason as Error);
      }
      signal?.addEventListener('abort', leave, { once: true });
      const before = (other: Waiting): boolean => (other.rank === rank ? other.work <= work : other.rank < rank);
      queue.splice(queue.findLastIndex(before) + 1, 0, entry);
      serve();
    });
  }

  return {
    work(urgency) {
      const work = works++;
      const rank = ORDER.indexOf(urgency);
      return async (call, signal) => {
        signal?.throwIfAborted();
        if (queue.length > 0 || !take()) await myTurn(rank, work, signal);
        try {
          return await call();
        } finally {
          underWay -= 1;
          serve();
        }
      };
    },
  };
}
