import { stageEffects } from './effects.js';
import type { StageEffects } from './effects.js';
import { assess } from './judge.js';
import type { Recording } from './replay.js';
import type { JudgeInput, Verdict } from './types.js';

/** What was seen at one look, and what the judge made of it. */
export interface LookSeen extends StageEffects {
  /** ms since the epoch. */
  readonly atMs: number;
  readonly verdict: Omit<Verdict, 'inputDigest'>;
}

/** A stage that is held for hours has more looks than a plot can show: of so many, every n-th is taken. */
const MOST_LOOKS = 240;

/**
 * The verdict at every look of a recording until `untilMs`, also after the one that decided: what a plot of the looks
 * needs. `alsoMs` are instants that must be among them, as the one at which the verdict fell.
 *
 * @throws RangeError as `judge`.
 */
export function looksOf(recording: Recording, untilMs: number, alsoMs: readonly number[] = []): readonly LookSeen[] {
  const grid = gridOf(recording, untilMs);
  const every = Math.ceil(grid.length / MOST_LOOKS);
  const thinned = grid.filter((_, i) => (grid.length - 1 - i) % every === 0);
  const instants = [...new Set([...thinned, ...alsoMs.filter((atMs) => atMs <= untilMs)])].sort((a, b) => a - b);
  return instants.map((atMs) => {
    const input: JudgeInput = { ...recording, atMs };
    return { atMs, verdict: assess(input), ...stageEffects(input) };
  });
}

/** The instants at which the judge spends its budget: up to the stage's end, which is one, and on from there. */
function gridOf({ startMs, durationMs, policy }: Recording, untilMs: number): readonly number[] {
  const everyMs = policy.judge === 'mann-whitney' ? policy.mannWhitney.checkEveryMs : policy.lookEveryMs;
  const instants: number[] = [];
  if (!(everyMs > 0)) return [untilMs];
  for (let atMs = startMs + everyMs; atMs < Math.min(untilMs, startMs + durationMs); atMs += everyMs)
    instants.push(atMs);
  for (let atMs = startMs + durationMs; atMs < untilMs; atMs += everyMs) instants.push(atMs);
  return [...instants, untilMs];
}
