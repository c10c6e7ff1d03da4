import { replay } from '../../domain/canary/replay.js';
import type { Recording } from '../../domain/canary/replay.js';
import { wilson } from '../../domain/canary/counts.js';
import type { JudgeName, NoiseFloor, VerdictKind } from '../../domain/canary/types.js';
import { parseScenario } from '../../formats/scenario.js';
import { median } from '../numbers.js';
import type { Sample, Truth } from './sets.js';

/** What a judge made of a rollout. */
export interface Outcome {
  readonly truth: Truth;
  readonly verdict: VerdictKind;
  /** s after the canary was ready. */
  readonly decidedAtS: number;
  readonly hold: string | null;
  readonly summary: string;
}

/** A scenario as a judge sees it. @throws Error when the document is no scenario */
export function recordingOf({ truth, document }: Sample): {
  readonly recording: Recording;
  readonly horizonMs: number;
} {
  const parsed = parseScenario(document, 'sequential');
  if ('problem' in parsed) throw new Error(`${truth.id} is no scenario: ${parsed.problem}`);
  return parsed;
}

/** Judges one sample by several judges; it is parsed once. */
export function judgeBy(
  judges: readonly JudgeName[],
  sample: Sample,
  noiseFloor: NoiseFloor | null = null,
): ReadonlyMap<JudgeName, Outcome> {
  const { recording, horizonMs } = recordingOf(sample);
  const outcomes = judges.map((judge) => {
    const policy = { ...recording.policy, judge, noiseFloor };
    const { kind, atMs, hold, summary } = replay({ ...recording, policy }, horizonMs);
    const decidedAtS = (atMs - recording.startMs) / 1000;
    return [judge, { truth: sample.truth, verdict: kind, decidedAtS, hold, summary }] as const;
  });
  return new Map(outcomes);
}

/** So many of so many. */
export interface Share {
  readonly hits: number;
  readonly of: number;
}

const Z_TWO_SIDED_95 = 1.959963984540054;

/** Wilson's 95 % interval, two-sided. */
export function intervalOf({ hits, of }: Share): { readonly lower: number; readonly upper: number } {
  return of === 0 ? { lower: 0, upper: 1 } : wilson(hits / of, of, Z_TWO_SIDED_95);
}

/** The verdicts on rollouts of one label, or of one kind. */
export interface Tally {
  readonly rollback: Share;
  readonly promote: Share;
  readonly hold: Share;
  /** From the onset to the ROLLBACK, s; `null` where there was none. One before the onset has no time. */
  readonly medianSecondsToRollback: number | null;
}

export function tally(outcomes: readonly Outcome[]): Tally {
  const share = (kind: VerdictKind): Share => ({
    hits: outcomes.filter(({ verdict }) => verdict === kind).length,
    of: outcomes.length,
  });
  const times = secondsToRollback(outcomes);
  return {
    rollback: share('ROLLBACK'),
    promote: share('PROMOTE'),
    hold: share('HOLD'),
    medianSecondsToRollback: times.length === 0 ? null : median(times),
  };
}

/** From the onset to the ROLLBACK, s, of those that were rolled back after their onset. */
export function secondsToRollback(outcomes: readonly Outcome[]): readonly number[] {
  return outcomes
    .filter(({ verdict, decidedAtS, truth }) => verdict === 'ROLLBACK' && decidedAtS > truth.onset_s)
    .map(({ decidedAtS, truth }) => decidedAtS - truth.onset_s);
}

/** The columns by which judges are compared. */
export interface Score {
  readonly good: Tally;
  readonly bad: Tally;
}

export function scoreOf(outcomes: readonly Outcome[]): Score {
  const labelled = (label: Truth['label']) => tally(outcomes.filter(({ truth }) => truth.label === label));
  return { good: labelled('good'), bad: labelled('bad') };
}

/** The outcomes by kind, in the order in which kinds first came. */
export function byKind(outcomes: readonly Outcome[]): ReadonlyMap<string, readonly Outcome[]> {
  const kinds = new Map<string, Outcome[]>();
  for (const outcome of outcomes) {
    const same = kinds.get(outcome.truth.kind);
    if (same === undefined) kinds.set(outcome.truth.kind, [outcome]);
    else same.push(outcome);
  }
  return kinds;
}
