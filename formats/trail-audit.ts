/** What can be said of a trail, given what was written down elsewhere of how far it goes. */
import type { TrailHead } from '../domain/trail.js';
import { compareHead } from './trail-file.js';
import type { TrailReading } from './trail-file.js';

/** Where a head was written down. */
export interface Anchor {
  /** `the log of heads`, `Temporal`, `--head`. */
  readonly from: string;
  readonly head: TrailHead;
  /** Nothing was added after it. Not so of a rollout that runs, or of a head that somebody noted on the way. */
  readonly final: boolean;
}

export type Level =
  /** Every entry is what it was, in its place, and none is missing at the end. */
  | 'whole'
  /** Nothing wrong was found; whether entries are missing at the end can't be told. */
  | 'cannot-tell'
  | 'damaged';

export interface AuditFinding {
  readonly level: Level;
  /** What is wrong, or why it can't be told; empty where it is whole. */
  readonly problems: readonly string[];
  /** What vouches for it, for people. */
  readonly vouched: readonly string[];
}

export function auditTrail(reading: TrailReading, anchors: readonly Anchor[]): AuditFinding {
  const damages = reading.damages.map(({ line, text }) => (line === null ? text : `line ${line}: ${text}`));
  const doubts: string[] = [];
  /** By who vouches: a log that goes on has many heads, of which the last one says most. */
  const furthest = new Map<string, { readonly size: number; readonly text: string }>();
  const vouch = (from: string, size: number, text: string): void => {
    if (size >= (furthest.get(from)?.size ?? 0)) furthest.set(from, { size, text: `${from}: ${text}` });
  };
  let told = false;
  for (const { from, head, final } of anchors) {
    const compared = compareHead(reading, head);
    switch (compared.kind) {
      case 'matches':
        vouch(from, head.size, `${head.size} entries`);
        told = true;
        break;
      case 'other':
        damages.push(`${compared.text} (${from})`);
        break;
      case 'cut':
        if (final || from === '--head') damages.push(`${compared.text} (${from})`);
        else doubts.push(`it runs: ${compared.missing} of its entries wait in the workflow, or are missing (${from})`);
        break;
      case 'longer':
        if (final) damages.push(`${compared.text}, which was its last one (${from})`);
        else vouch(from, head.size, `the first ${head.size} entries`);
        break;
    }
  }
  const vouched = [...furthest.values()].map(({ text }) => text);
  if (damages.length > 0) return { level: 'damaged', problems: damages, vouched };
  if (told && doubts.length === 0) return { level: 'whole', problems: [], vouched };
  if (doubts.length === 0)
    doubts.push(
      reading.closed
        ? 'it ends with its outcome, but nothing kept elsewhere vouches for it'
        : 'whether entries are missing at its end can’t be told: nothing kept elsewhere says how far it goes',
    );
  return { level: 'cannot-tell', problems: doubts, vouched };
}
