/** Trails as JSON Lines: one entry a line, as canonical JSON, each line ended by one `\n`. Writes, reads and verifies them. */
import { z } from 'zod';
import { canonicalJson } from '../domain/canonical.js';
import { genesis, hashOf, headAfter, TRAIL_TYPES } from '../domain/trail.js';
import type { TrailEntry, TrailHead } from '../domain/trail.js';
import { firstProblem } from './jsonl.js';

const DigestText = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hex digits');

const Entry = z.strictObject({
  v: z.literal(1),
  log: z.string().min(1),
  seq: z.int().nonnegative(),
  at: z.iso.datetime(),
  type: z.enum(TRAIL_TYPES),
  actor: z.string().nullable(),
  text: z.string(),
  data: z.record(z.string(), z.unknown()),
  prev: DigestText,
  hash: DigestText,
});

/** What is wrong with a trail, by kind. */
export type DamageKind =
  | 'empty'
  | 'byte-order-mark'
  | 'line-ends'
  | 'blank-line'
  /** The last line has no end: a write or a copy was cut off. */
  | 'cut-off'
  | 'not-text'
  | 'not-json'
  | 'not-an-entry'
  /** The same facts in other bytes. */
  | 'other-bytes'
  /** The hash does not fit what the entry says. */
  | 'changed'
  | 'other-log'
  | 'duplicate'
  /** Two entries of one number that say different things. */
  | 'conflict'
  | 'order'
  | 'missing'
  /** It does not follow the entry before it: spliced, or made anew from here on. */
  | 'link'
  | 'after-end';

export interface TrailDamage {
  readonly kind: DamageKind;
  /** Counted from 1; null where it is no line's. */
  readonly line: number | null;
  /** The entry's number as far as it can be told. */
  readonly seq: number | null;
  readonly text: string;
}

/** A trail as it was read. */
export interface TrailReading {
  /** Null where no entry can be read. */
  readonly log: string | null;
  /** The entries that can be read, in the order of their lines, whether or not they are in their place. */
  readonly entries: readonly TrailEntry[];
  /** Of the last entry that is what its hash says. */
  readonly head: TrailHead | null;
  /** The last entry is the outcome: nothing is missing after it. */
  readonly closed: boolean;
  /** Empty: every entry is what its hash says and follows the one before. */
  readonly damages: readonly TrailDamage[];
}

export function trailLine(entry: TrailEntry): string {
  return `${canonicalJson(entry)}\n`;
}

interface Line {
  readonly number: number;
  readonly entry: TrailEntry;
}

/**
 * Reads a trail and names everything that is wrong with it by itself. What it can't tell: whether entries were cut off at
 * its end, or all hashes made anew; for that see `compareHead`.
 */
export function readTrail(bytes: Uint8Array): TrailReading {
  const damages: TrailDamage[] = [];
  const add = (kind: DamageKind, line: number | null, seq: number | null, text: string): void => {
    damages.push({ kind, line, seq, text });
  };
  const lines: Line[] = [];
  /** Numbers of lines with no entry that can be trusted: each may stand for one that is not found. */
  const lost: number[] = [];
  let log: string | null = null;

  for (const { number, text, terminated } of linesOf(bytes, add)) {
    if (text === null) {
      lost.push(number);
      continue;
    }
    if (text === '') {
      if (terminated) add('blank-line', number, null, 'an empty line');
      continue;
    }
    const parsed = parseEntry(text);
    if (!terminated)
      add('cut-off', number, parsed.ok ? parsed.entry.seq : null, 'the last line is cut off: it has no end of line');
    if (!parsed.ok) {
      // Of a line that is cut off nothing else can be said.
      if (terminated) add(parsed.kind, number, null, parsed.problem);
      lost.push(number);
      continue;
    }
    const { entry } = parsed;
    const { hash, ...body } = entry;
    if (hashOf(body) !== hash) {
      add('changed', number, entry.seq, `entry ${entry.seq} was changed: its hash is of something else`);
      lost.push(number);
      continue;
    }
    if (text !== canonicalJson(entry))
      add('other-bytes', number, entry.seq, `entry ${entry.seq} was written anew: the same facts in other bytes`);
    log ??= entry.log;
    if (entry.log !== log) {
      add('other-log', number, entry.seq, `an entry of another log, ${entry.log}, in that of ${log}`);
      continue;
    }
    lines.push({ number, entry });
  }

  const chain = inOrder(lines, add);
  findGaps(chain, lost, add);
  checkLinks(chain, add);
  const last = chain.at(-1)?.entry ?? null;
  for (const { number, entry } of chain) {
    if (entry.type === 'outcome' && entry !== last)
      add('after-end', number, entry.seq, `entry ${entry.seq} is the outcome, and entries follow it`);
  }
  return {
    log,
    entries: lines.map(({ entry }) => entry),
    head: last === null ? null : headAfter(last),
    closed: last?.type === 'outcome',
    damages: damages.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)),
  };
}

/** How a trail compares with a head that was written down elsewhere. */
export type HeadComparison =
  | { readonly kind: 'matches' }
  /** It ends before the head. */
  | { readonly kind: 'cut'; readonly missing: number; readonly text: string }
  /** It goes on behind the head. */
  | { readonly kind: 'longer'; readonly more: number; readonly text: string }
  | { readonly kind: 'other'; readonly text: string };

export function compareHead({ entries, head }: TrailReading, anchor: TrailHead): HeadComparison {
  const size = head?.size ?? 0;
  if (size < anchor.size) {
    const missing = anchor.size - size;
    const text = `it ends after ${count(size)}, and once had ${anchor.size}: the last ${missing === 1 ? 'one is' : `${missing} are`} cut off`;
    return { kind: 'cut', missing, text };
  }
  const same = anchor.size === 0 || entries.some(({ seq, hash }) => seq === anchor.size - 1 && hash === anchor.hash);
  if (!same) {
    const text = `entry ${anchor.size - 1} is not the one that was written down (${anchor.hash}): the trail was made anew`;
    return { kind: 'other', text };
  }
  if (size === anchor.size) return { kind: 'matches' };
  const more = size - anchor.size;
  return { kind: 'longer', more, text: `${count(more)} follow${more === 1 ? 's' : ''} the head that was written down` };
}

function count(entries: number): string {
  return `${entries} ${entries === 1 ? 'entry' : 'entries'}`;
}

type AddDamage = (kind: DamageKind, line: number | null, seq: number | null, text: string) => void;

/** The lines of a file; `text` null where they are none. */
function linesOf(
  bytes: Uint8Array,
  add: AddDamage,
): readonly { readonly number: number; readonly text: string | null; readonly terminated: boolean }[] {
  const lines: { number: number; text: string | null; terminated: boolean }[] = [];
  if (bytes.length === 0) {
    add('empty', null, null, 'the file is empty');
    return lines;
  }
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  if (marked) add('byte-order-mark', 1, null, 'the file begins with a byte order mark: a program has rewritten it');
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let returns = 0;
  for (let start = marked ? 3 : 0; start < bytes.length;) {
    const found = bytes.indexOf(0x0a, start);
    const terminated = found >= 0;
    let end = terminated ? found : bytes.length;
    const next = end + 1;
    if (terminated && end > start && bytes[end - 1] === 0x0d) {
      end -= 1;
      returns += 1;
    }
    const number = lines.length + 1;
    let text: string | null = null;
    try {
      text = decoder.decode(bytes.subarray(start, end));
    } catch {
      // A line that is cut off may end in the midst of a character.
      if (terminated) add('not-text', number, null, 'bytes that are no UTF-8 text');
      else add('cut-off', number, null, 'the last line is cut off: it has no end of line');
    }
    lines.push({ number, text, terminated });
    start = next;
  }
  if (returns > 0)
    add(
      'line-ends',
      null,
      null,
      `${returns} of ${lines.length} lines end with CR LF: a program has rewritten the file`,
    );
  return lines;
}

type Parsed =
  | { readonly ok: true; readonly entry: TrailEntry }
  | { readonly ok: false; readonly kind: 'not-json' | 'not-an-entry'; readonly problem: string };

function parseEntry(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return {
      ok: false,
      kind: 'not-json',
      problem: `not JSON: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
  const parsed = Entry.safeParse(value);
  if (!parsed.success)
    return { ok: false, kind: 'not-an-entry', problem: `no entry of a trail: ${firstProblem(parsed.error)}` };
  return { ok: true, entry: parsed.data as unknown as TrailEntry };
}

/** One line for each number, in the order of the numbers; what stands twice or in the wrong place is told of. */
function inOrder(lines: readonly Line[], add: AddDamage): readonly Line[] {
  const first = new Map<number, Line>();
  let highest: Line | null = null;
  for (const line of lines) {
    const { number, entry } = line;
    const known = first.get(entry.seq);
    if (known !== undefined) {
      if (known.entry.hash === entry.hash)
        add('duplicate', number, entry.seq, `entry ${entry.seq} stands here again, as in line ${known.number}`);
      else add('conflict', number, entry.seq, `another entry ${entry.seq} than that in line ${known.number}`);
      continue;
    }
    first.set(entry.seq, line);
    if (highest !== null && entry.seq < highest.entry.seq)
      add('order', number, entry.seq, `entry ${entry.seq} stands behind entry ${highest.entry.seq}`);
    else highest = line;
  }
  return [...first.values()].toSorted((a, b) => a.entry.seq - b.entry.seq);
}

/** Numbers that no line has. A line that can't be read, in the place of a number, is the damage that was told already. */
function findGaps(chain: readonly Line[], lost: readonly number[], add: AddDamage): void {
  let before = { number: 0, seq: -1 };
  for (const { number, entry } of chain) {
    const gap = entry.seq - before.seq - 1;
    const from = Math.min(before.number, number);
    const to = Math.max(before.number, number);
    const explained = lost.filter((line) => line > from && line < to).length;
    if (gap > explained) {
      const names = gap === 1 ? `entry ${before.seq + 1} is` : `entries ${before.seq + 1} to ${entry.seq - 1} are`;
      const some = explained > 0 ? ` (or ${gap - explained} of them)` : '';
      add('missing', number, before.seq + 1, `${names} missing before this line${some}`);
    }
    before = { number, seq: entry.seq };
  }
}

function checkLinks(chain: readonly Line[], add: AddDamage): void {
  for (const [i, { number, entry }] of chain.entries()) {
    if (entry.seq === 0) {
      if (entry.prev !== genesis(entry.log).hash) add('link', number, 0, `entry 0 does not begin the log ${entry.log}`);
      continue;
    }
    const before = chain[i - 1]?.entry;
    if (before?.seq === entry.seq - 1 && before.hash !== entry.prev)
      add('link', number, entry.seq, `entry ${entry.seq} does not follow entry ${before.seq}: spliced, or made anew`);
  }
}
