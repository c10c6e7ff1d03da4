import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createLookMemory } from '../../../activities/watch/look-memory.js';
import { appendSamples } from '../../../activities/watch/sample-buffer.js';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { assess } from '../../../domain/canary/judge.js';
import type { ArmSamples, JudgeInput, JudgeName } from '../../../domain/canary/types.js';

const SCRAPE_MS = 5000;
const START = 1_000_000;
const MINUTES = 6;

interface Arm {
  readonly errorRate: number;
  /** By how much each of its samples comes late, ms. */
  readonly lateMs: number;
  /** From when on it has a histogram, ms after the start. */
  readonly histogramAfterMs: number;
}

/** Samples of an arm that are there at an instant. */
function samplesAt({ errorRate, lateMs, histogramAfterMs }: Arm, atMs: number, fromMs: number): ArmSamples {
  const timesMs: number[] = [];
  for (let ms = START; ms + lateMs <= atMs; ms += SCRAPE_MS) if (ms >= fromMs) timesMs.push(ms);
  const begun = (timesMs.at(-1) ?? 0) >= START + histogramAfterMs;
  const requests = timesMs.map((ms) => Math.round((ms - START) / 50));
  return {
    timesMs,
    leSeconds: begun ? [0.1, 1, null] : [],
    series: [
      {
        instance: 'one',
        requests,
        errors: requests.map((count) => Math.round(count * errorRate)),
        buckets: begun ? requests.map((count) => [Math.round(count * 0.9), count, count]) : [],
      },
    ],
  };
}

/** Watches as a live watch does, each instant with what is there by then; how often tests were made, and at how many looks. */
function watched(canary: Arm, comparison: Arm, judge: JudgeName): { readonly made: number; readonly looks: number } {
  const recallFor = createLookMemory();
  const analysis = { ...defaultAnalysis(SCRAPE_MS), judge };
  let arms: { canary: ArmSamples | null; comparison: ArmSamples | null } = { canary: null, comparison: null };
  let made = 0;
  const looks = new Set<number>();
  const more = (before: ArmSamples | null, arm: Arm, atMs: number): ArmSamples =>
    appendSamples(before, samplesAt(arm, atMs, (before?.timesMs.at(-1) ?? -1) + 1));
  for (let atMs = START + SCRAPE_MS; atMs <= START + MINUTES * 60_000; atMs += SCRAPE_MS) {
    arms = { canary: more(arms.canary, canary, atMs), comparison: more(arms.comparison, comparison, atMs) };
    const input = {
      policy: analysis,
      startMs: START,
      atMs,
      durationMs: MINUTES * 60_000,
      budgetShare: 1,
      expectedShare: 0.5,
      ...arms,
    } as JudgeInput;
    const recall = recallFor(input);
    const said = assess(input, (look, find) => {
      looks.add(look.number);
      return recall(look, () => {
        made += 1;
        return find();
      });
    });
    assert.deepEqual(said, assess(input), `${(atMs - START) / 1000} s after the start`);
  }
  return { made, looks: looks.size };
}

describe('what a look has found', () => {
  const steady: Arm = { errorRate: 0.01, lateMs: 0, histogramAfterMs: 0 };

  for (const judge of ['sequential', 'mann-whitney'] as const) {
    it(`is remembered for the instants that share it (${judge})`, () => {
      const { made, looks } = watched(steady, steady, judge);
      assert.ok(looks >= 1);
      assert.equal(made, looks);
    });

    it(`is never other than what is found anew, whatever comes late (${judge})`, () => {
      const arm = fc.record({
        errorRate: fc.constantFrom(0, 0.01, 0.04),
        lateMs: fc.integer({ min: 0, max: 90_000 }),
        histogramAfterMs: fc.constantFrom(0, 100_000, 1_000_000),
      });
      fc.assert(
        fc.property(arm, arm, (canary, comparison) => void watched(canary, comparison, judge)),
        { numRuns: 25 },
      );
    });
  }
});
