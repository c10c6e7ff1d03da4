/** What is kept of rollouts that are over, for when Temporal has forgotten them. */
import { z } from 'zod';
import type { Outcome, Reason, RolloutView } from '../domain/rollout.js';
import type { LaneRef } from '../domain/target.js';
import { firstProblem } from './jsonl.js';

/** A rollout that is over, as lists show it. */
export interface EndedRollout {
  readonly version: 1;
  readonly rolloutId: string;
  readonly lane: LaneRef;
  readonly release: string;
  readonly outcome: Outcome;
  readonly reason: Reason | null;
  readonly risk: number | null;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string;
  /** Digest of its decision record. */
  readonly record: string;
}

const Text = z.string().min(1);
/** Loose: a later version may know more. */
const Ended = z.looseObject({
  version: z.literal(1),
  rolloutId: Text,
  lane: z.looseObject({ service: Text, environment: Text }),
  release: z.string(),
  outcome: Text,
  reason: z.looseObject({ code: Text, text: z.string() }).nullable(),
  risk: z.number().nullable(),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  record: z.string().regex(/^sha256:[0-9a-f]{64}$/),
});

/** Of a decision record what has to be there to show it. */
const Record_ = z.looseObject({
  version: z.literal(1),
  view: z.looseObject({
    rolloutId: Text,
    lane: z.looseObject({ service: Text, environment: Text }),
    phase: Text,
    releaseName: z.string(),
    decisions: z.array(z.looseObject({})),
    verdicts: z.array(z.looseObject({})),
    timeline: z.array(z.looseObject({})),
  }),
});

/** @throws Error that says what is wrong with it */
export function parseEnded(document: unknown): EndedRollout {
  const parsed = Ended.safeParse(document);
  if (!parsed.success) throw new Error(`not the entry of a rollout: ${firstProblem(parsed.error)}`);
  return parsed.data as unknown as EndedRollout;
}

/** The view that a decision record holds. @throws Error that says what is wrong with it */
export function parseRecordedView(document: unknown): RolloutView {
  const parsed = Record_.safeParse(document);
  if (!parsed.success) throw new Error(`not a decision record: ${firstProblem(parsed.error)}`);
  return parsed.data.view as unknown as RolloutView;
}
