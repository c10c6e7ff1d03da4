import { genesis, HEADS_LOG, headAfter, nextEntry } from '../../domain/trail.js';
import type { TrailEntry, TrailFact, TrailHead } from '../../domain/trail.js';
import { readTrail, trailLine } from '../../formats/trail-file.js';
import { keyOf } from '../objects/object-store.js';
import type { ObjectStore } from '../objects/object-store.js';

/** A log whose entries are numbered here has no runs. */
const NO_RUN = 'log';
/** Against others who add at the same time; each try is one that somebody else has won. */
const TRIES = 50;

/** One run's account of a log. A run that was reset shares its beginning with the run that it was reset from. */
export interface StoredTrail {
  readonly run: string;
  /** From entry 0 on, as JSON Lines. */
  readonly bytes: Uint8Array;
  /** Where it was reset: its first own entry, and the run that has those before; null for a run of its own. */
  readonly continues: { readonly run: string; readonly seq: number } | null;
}

/** A fact, and when it was (ISO 8601). */
export type DatedFact = TrailFact & Pick<TrailEntry, 'at'>;

/** Trails, append-only and for ever: whatever is kept is never written over. */
export interface TrailStore {
  /**
   * Keeps entries that were numbered by their only writer, a run of a workflow; those that are kept already are left
   * alone. @throws TrailConflict where something else is kept under one of their numbers
   */
  append(log: string, run: string, entries: readonly TrailEntry[]): Promise<void>;
  /** Numbers facts, links them to the last entry of their log, and keeps them. Any number of writers may do so at once. */
  add(log: string, facts: readonly DatedFact[]): Promise<void>;
  /** Writes down in the log of heads how far a trail goes, so that a tail that is cut off shows; once for each head. */
  seal(run: string, head: TrailHead, at: string): Promise<void>;
  /** All runs' accounts of a log, as they lie there, damaged or not; empty where nothing is kept. */
  read(log: string): Promise<readonly StoredTrail[]>;
  /** Names of all logs but that of the heads. */
  logs(): Promise<readonly string[]>;
}

/** Under this number something else is kept: two writers, or somebody has changed what was kept. */
export class TrailConflict extends Error {
  override readonly name = 'TrailConflict';
}

/**
 * Trails in segments: `trail/<log>/<run>/<number of the first entry>.jsonl`. A segment is written once; the next one begins
 * where the last one ends, and of two writers at one number one wins, so segments never overlap.
 */
export function createTrailStore(objects: ObjectStore): TrailStore {
  /** Where the logs that are numbered here ended when this process last looked: only what is behind that is asked for. */
  const ends = new Map<string, TrailEntry>();

  async function segments(folder: string, after?: string): Promise<readonly Segment[]> {
    const keys = await objects.keys(folder, after);
    return keys.flatMap((key) => {
      const first = /^(\d{8,})\.jsonl$/.exec(key.slice(folder.length))?.[1];
      return first === undefined ? [] : [{ key, first: Number(first) }];
    });
  }

  async function entriesOf({ key }: Segment): Promise<readonly TrailEntry[]> {
    const bytes = await objects.read(key);
    return bytes === null ? [] : readTrail(bytes).entries;
  }

  async function append(log: string, run: string, entries: readonly TrailEntry[]): Promise<void> {
    const [first] = entries;
    if (first === undefined) return;
    const folder = folderOf(log, run);
    for (let n = 0; n < TRIES; n += 1) {
      const kept = await segments(folder);
      const from = kept.findLastIndex((segment) => segment.first <= first.seq);
      const near = (await Promise.all(kept.slice(Math.max(0, from)).map(entriesOf))).flat();
      const known = new Map(near.map((entry) => [entry.seq, entry.hash]));
      const other = entries.find((entry) => known.has(entry.seq) && known.get(entry.seq) !== entry.hash);
      if (other !== undefined) throw conflict(log, run, other.seq);
      const rest = entries.filter((entry) => !known.has(entry.seq));
      const [next] = rest;
      if (next === undefined) return;
      if ((await objects.create(segmentKey(folder, next.seq), rest.map(trailLine).join(''))) === 'created') return;
      // Another try of the same call was faster, or a segment that can't be read has that number.
      const taken = await entriesOf({ key: segmentKey(folder, next.seq), first: next.seq });
      if (!taken.some((entry) => entry.seq === next.seq)) throw conflict(log, run, next.seq);
    }
    throw new Error(`entries of ${log} could not be kept: ${TRIES} times somebody else was faster`);
  }

  async function latestOf(log: string): Promise<TrailEntry | null> {
    const folder = folderOf(log, NO_RUN);
    const known = ends.get(log);
    const newer = await segments(folder, known === undefined ? undefined : segmentKey(folder, known.seq));
    const last = newer.at(-1);
    if (last === undefined) return known ?? null;
    const entry = (await entriesOf(last)).at(-1);
    if (entry === undefined) throw conflict(log, NO_RUN, last.first);
    ends.set(log, entry);
    return entry;
  }

  async function add(log: string, facts: readonly DatedFact[]): Promise<void> {
    for (let n = 0; n < TRIES; n += 1) {
      const latest = await latestOf(log);
      let head = latest === null ? genesis(log) : headAfter(latest);
      const first = head.size;
      const entries = facts.map((fact) => {
        const entry = nextEntry(head, fact);
        head = headAfter(entry);
        return entry;
      });
      const last = entries.at(-1);
      if (last === undefined) return;
      const key = segmentKey(folderOf(log, NO_RUN), first);
      if ((await objects.create(key, entries.map(trailLine).join(''))) === 'created') {
        ends.set(log, last);
        return;
      }
    }
    throw new Error(`entries of ${log} could not be kept: ${TRIES} times somebody else was faster`);
  }

  async function read(log: string): Promise<readonly StoredTrail[]> {
    const names = await objects.folders(`trail/${keyOf(log)}/`);
    const own: OwnPart[] = [];
    for (const run of names) {
      const kept = await segments(folderOf(log, run));
      if (kept.length === 0) continue;
      const parts = await Promise.all(kept.map(({ key }) => objects.read(key)));
      const bytes = Buffer.concat(parts.flatMap((part) => (part === null ? [] : [part])));
      own.push({ run, bytes, entries: readTrail(bytes).entries });
    }
    return own.map((part) => whole(part, own));
  }

  return {
    append,
    add,
    read,

    async seal(run, head, at) {
      const latest = await latestOf(HEADS_LOG);
      // A call that is tried again: what it had written is most likely the last.
      if (latest?.data['log'] === head.log && latest.data['run'] === run && latest.data['hash'] === head.hash) return;
      const text = `${head.log}: ${head.size} entries`;
      await add(HEADS_LOG, [{ at, type: 'head', actor: null, text, data: { ...head, run } }]);
    },

    async logs() {
      const keys = await objects.keys('trail/');
      const names = keys.map((key) => key.split('/').slice(1, -2).join('/'));
      return [...new Set(names)].filter((name) => name !== '' && name !== HEADS_LOG);
    },
  };
}

interface Segment {
  readonly key: string;
  /** Number of its first entry. */
  readonly first: number;
}

interface OwnPart {
  readonly run: string;
  readonly bytes: Buffer;
  readonly entries: readonly TrailEntry[];
}

/** A run's own part, with what it shares with the run that it was reset from before it. */
function whole(part: OwnPart, all: readonly OwnPart[], seen: readonly string[] = []): StoredTrail {
  const { run, bytes, entries } = part;
  const [first] = entries;
  const alone = { run, bytes, continues: null };
  if (first === undefined || first.seq === 0) return alone;
  const others = all.filter((other) => other !== part && !seen.includes(other.run));
  for (const other of others) {
    const before = whole(other, all, [...seen, run]);
    const lines = readTrail(before.bytes).entries.filter((entry) => entry.seq < first.seq);
    if (lines.at(-1)?.hash !== first.prev) continue;
    return {
      run,
      bytes: Buffer.concat([Buffer.from(lines.map(trailLine).join('')), bytes]),
      continues: { run: before.run, seq: first.seq },
    };
  }
  return alone;
}

function folderOf(log: string, run: string): string {
  return `trail/${keyOf(log, run)}/`;
}

function segmentKey(folder: string, seq: number): string {
  return `${folder}${String(seq).padStart(8, '0')}.jsonl`;
}

function conflict(log: string, run: string, seq: number): TrailConflict {
  return new TrailConflict(
    `entry ${seq} of ${log} (run ${run}) is kept already and is another one: somebody has changed the trail, or two writers used one name; see \`slipway audit verify\``,
  );
}
