import { fisherGreater, sharesOf } from './counts.js';
import { countsWithin, errorPair } from './series.js';
import type { CountPair } from './counts.js';
import type { ArmBlock, ArmEvidence } from './series.js';
import type { JudgeInput, MetricFinding } from './types.js';
import { apart, count, durationText, percent, points, probability, times } from '../words.js';

/** A rise of the error rate by this much, absolute share, is gross: it is not waited for warm-up and looks. */
const GROSS_INCREASE = 0.05;
/** The canary fails at least this many times as often: where errors are common, so are rises by some points. */
const GROSS_RATIO = 2;
/**
 * Tested at every sample: over an hour of 15 s samples 240 times, which spends 0.0002 of the rollout's error budget at
 * most, and less as the windows overlap.
 */
const CHANCE_OF_ALARM = 1e-6;
/** One bad scrape is a blip; a good part of the rise must be there in each of so many. Three where two say too little. */
const SCRAPES = [2, 3] as const;
const PART_IN_EACH = 0.6;
/** What the comparison usually does is known from a longer time than the failure has had. */
const COMPARISON_SCRAPES = 8;

/**
 * ROLLBACK at any instant, warm-up included, when the canary fails grossly more often than the comparison: over the last
 * two or three scrape intervals by 5 points and twice as often, in each of them by 3 points, and more than chance explains
 * by Fisher's exact test, against the comparison's last eight. `null`: nothing of the kind.
 */
export function grossFailure(
  input: JudgeInput,
  canary: ArmEvidence,
  comparison: ArmEvidence | null,
): MetricFinding | null {
  const last = canary.lastSampleMs;
  if (comparison === null || last === null) return null;
  const { scrapeIntervalMs } = input.policy;
  // Half an interval early, so that scrapes which are not on time are counted once, and only once.
  const edge = (scrapes: number) => last - (scrapes - 0.5) * scrapeIntervalMs;
  const within = (arm: ArmEvidence, from: number, to = 0): ArmBlock => ({
    ...countsWithin(arm, edge(from), edge(to), input.startMs),
    histogram: null,
  });
  // In the same scrapes: what hurts both arms at once is no failure of the canary.
  const over = (from: number, to = 0) =>
    errorPair({ canary: within(canary, from, to), comparison: within(comparison, from, to) });
  const usual = within(comparison, COMPARISON_SCRAPES);
  for (const scrapes of SCRAPES) {
    const each = Array.from({ length: scrapes }, (_, i) => increaseOf(over(i + 1, i)));
    if (!each.every((increase) => increase >= PART_IN_EACH * GROSS_INCREASE)) return null;
    const pair = over(scrapes);
    const shares = sharesOf(pair);
    if (increaseOf(pair) < GROSS_INCREASE || shares.canary < GROSS_RATIO * shares.comparison) continue;
    const p = fisherGreater(errorPair({ canary: within(canary, scrapes), comparison: usual }));
    if (p < CHANCE_OF_ALARM) return findingOf(pair, usual, p, scrapes * scrapeIntervalMs);
  }
  return null;
}

function increaseOf(pair: CountPair): number {
  const { canary, comparison } = sharesOf(pair);
  return canary - comparison;
}

function findingOf(pair: CountPair, usual: ArmBlock, p: number, lengthMs: number): MetricFinding {
  const shares = sharesOf(pair);
  const effect = increaseOf(pair);
  return {
    metric: 'error-rate',
    verdict: 'ROLLBACK',
    ...shares,
    unit: 'ratio',
    canaryN: pair.canaryTotal,
    comparisonN: pair.comparisonTotal,
    test: 'fisher-exact',
    statistic: null,
    p,
    alpha: CHANCE_OF_ALARM,
    effect,
    threshold: GROSS_INCREASE,
    why:
      `Error rate ${apart(percent, shares.canary, shares.comparison).join(' against ')} over the last ` +
      `${durationText(lengthMs)} (n = ${count(pair.canaryTotal)} and ${count(pair.comparisonTotal)}): ${points(effect)} ` +
      `more, a gross failure (${points(GROSS_INCREASE)} or more, and ${times(GROSS_RATIO)} the comparison); against the ` +
      `${percent(usual.errors / usual.requests)} that is usual there (n = ${count(usual.requests)}) p = ` +
      `${probability(p)} is below ${probability(CHANCE_OF_ALARM)}.`,
  };
}
