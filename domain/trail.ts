import { canonicalJson, digestOfText } from './canonical.js';
import type { Digest } from './canonical.js';

/** What an entry is about. */
export const TRAIL_TYPES = [
  'request',
  'assessment',
  'plan',
  'gate',
  'decision',
  'refusal',
  'weights',
  'effect',
  'verdict',
  'phase',
  'wait',
  'warning',
  'outcome',
  'head',
] as const;
export type TrailType = (typeof TRAIL_TYPES)[number];

/** One line of a trail, hash-linked to the one before it. */
export interface TrailEntry {
  readonly v: 1;
  /** The workflow, `rollout/<environment>/<service>/<rolloutId>`; a server's own log is `server/<name>`. */
  readonly log: string;
  /** 0, 1, 2 …: the order, whatever clocks say. */
  readonly seq: number;
  /** ISO 8601, the workflow's time. */
  readonly at: string;
  readonly type: TrailType;
  /** Who, where somebody did it: the subject. */
  readonly actor: string | null;
  readonly text: string;
  /** Facts: ids, digests, numbers. Never a secret. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Hash of the entry before; of the log's name for the first. */
  readonly prev: Digest;
  readonly hash: Digest;
}

/** What an entry says: the rest follows from the trail that it is added to. */
export type TrailFact = Pick<TrailEntry, 'type' | 'actor' | 'text' | 'data'>;

/** How far a trail goes: what is written elsewhere, so that a tail that was cut off shows. */
export interface TrailHead {
  readonly log: string;
  readonly size: number;
  readonly hash: Digest;
}

const DOMAIN = 'slipway-trail-v1\n';

export function genesis(log: string): TrailHead {
  return { log, size: 0, hash: digestOfText(`${DOMAIN}${log}`) };
}

/** The next entry of a trail. Pure: the same head and facts give the same bytes. */
export function nextEntry(
  head: TrailHead,
  { at, type, actor, text, data }: Pick<TrailEntry, 'at' | 'type' | 'actor' | 'text' | 'data'>,
): TrailEntry {
  const body = { v: 1, log: head.log, seq: head.size, at, type, actor, text, data, prev: head.hash } as const;
  return { ...body, hash: hashOf(body) };
}

/** The log of all heads: a trail of its own, with an entry of type `head` for each trail that was closed. */
export const HEADS_LOG = 'heads';

export function headAfter({ log, seq, hash }: TrailEntry): TrailHead {
  return { log, size: seq + 1, hash };
}

export function hashOf(body: Omit<TrailEntry, 'hash'>): Digest {
  return digestOfText(`${DOMAIN}${canonicalJson(body)}`);
}
