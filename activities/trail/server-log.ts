import { headAfter } from '../../domain/trail.js';
import type { TrailFact } from '../../domain/trail.js';
import { readTrail } from '../../formats/trail-file.js';
import type { DatedFact, TrailStore } from './trail-store.js';

/** More than this waiting to be kept is a flood: what comes then is counted, not kept. */
const MOST_WAITING = 1000;
/** Between two tries while the store can't be had, ms. */
const PAUSE_MS = 1000;
/** How far a log goes is written down so long after its last entry at the latest, ms. */
const SEAL_MS = 30_000;
const DAY_MS = 24 * 3600_000;

/** What happens outside of workflows: refused logins and messages, changes of the configuration, tokens. */
export interface ServerLog {
  /** Has a fact kept soon; never throws and never waits. */
  write(fact: TrailFact): void;
  /** Waits until all is kept, `limitMs` at most; whether it was. Nothing is taken after that. */
  close(limitMs: number): Promise<boolean>;
}

export interface ServerLogDeps {
  readonly trails: TrailStore;
  /** Of this server: letters, digits, _ and -. Its logs are `server/<name>.<day>`, a new one each day (UTC). */
  readonly name: string;
  readonly now: () => Date;
  /** Told when entries can't be kept now; it is tried again. */
  readonly onFailure: (error: unknown) => void;
}

export function createServerLog({ trails, name, now, onFailure }: ServerLogDeps): ServerLog {
  let waiting: DatedFact[] = [];
  let dropped = 0;
  let writing: Promise<void> | null = null;
  let closed = false;
  let sealing: NodeJS.Timeout | null = null;
  const logOf = (at: string): string => `server/${name}.${at.slice(0, 10)}`;
  const dayOf = (atMs: number): string => logOf(new Date(atMs).toISOString());
  /** Logs of which it is not written down how far they go. A server of this name may have been killed before it could. */
  const open = new Set([dayOf(now().getTime() - DAY_MS), dayOf(now().getTime())]);

  /** Writes down how far logs go, so that a tail that is cut off shows. */
  async function seal(logs: readonly string[]): Promise<void> {
    for (const log of logs) {
      const [stored] = await trails.read(log);
      const last = stored === undefined ? undefined : readTrail(stored.bytes).entries.at(-1);
      if (last !== undefined) await trails.seal('log', headAfter(last), now().toISOString());
      open.delete(log);
    }
  }

  async function keepAll(): Promise<void> {
    while (waiting.length > 0 || dropped > 0) {
      const [first] = waiting;
      const log = logOf(first?.at ?? now().toISOString());
      const of = waiting.filter(({ at }) => logOf(at) === log);
      const lost = dropped;
      const facts = lost === 0 ? of : [...of, droppedFact(lost, of.at(-1)?.at ?? now().toISOString())];
      try {
        await seal([...open].filter((other) => other !== log));
        await trails.add(log, facts);
        open.add(log);
        waiting = waiting.slice(of.length);
        dropped -= lost;
      } catch (error) {
        onFailure(error);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS).unref());
      }
    }
  }

  function start(work: () => Promise<void> = keepAll): void {
    writing ??= work().finally(() => {
      writing = null;
      // What came in the moment in which it had done with the rest.
      if (waiting.length > 0) start();
      else if (open.size > 0 && !closed) sealing ??= setTimeout(sealSoon, SEAL_MS).unref();
    });
  }

  function sealSoon(): void {
    sealing = null;
    start(() => seal([...open]).catch(onFailure));
  }

  async function finish(): Promise<void> {
    while (writing !== null) await writing;
    if (sealing !== null) clearTimeout(sealing);
    await seal([...open]);
  }

  sealSoon();

  return {
    write(fact) {
      if (closed) return;
      if (waiting.length >= MOST_WAITING) dropped += 1;
      else waiting.push({ ...fact, at: now().toISOString() });
      start();
    },

    async close(limitMs) {
      closed = true;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, limitMs);
      });
      await Promise.race([finish().catch(onFailure), late]);
      clearTimeout(timer);
      return waiting.length === 0;
    },
  };
}

function droppedFact(count: number, at: string): DatedFact {
  const text = `${count} further ${count === 1 ? 'entry was' : 'entries were'} not kept: more came than could be written`;
  return { at, type: 'warning', actor: null, text, data: { dropped: count } };
}
