import { fisherGreater, sharesOf } from './counts.js';
import { countsWithin, errorPair } from './series.js';
import type { ArmEvidence } from './series.js';
import type { JudgeInput, MetricFinding } from './types.js';
import { count, durationText, percent, points, probability } from '../words.js';

/** A rise of the error rate by this much, absolute share, is gross: it is not waited for warm-up and looks. */
const GROSS_INCREASE = 0.05;
/** So much worse may an arm be by chance that no model knows: a burst, a cold start. */
const TOLERANCE_RATIO = 2;
/**
 * Tested at every sample: over an hour of 15 s samples 240 times, which spends 0.0002 of the rollout's error budget at
 * most, and less as the windows overlap.
 */
const CHANCE_OF_ALARM = 1e-6;
/** One bad scrape is a blip; the rise must be there in each of so many. */
const SCRAPES = 2;

/**
 * ROLLBACK at any instant, warm-up included, when the canary fails grossly more often than the comparison: by 5 points or
 * more in each of the last two scrape intervals, and beyond twice the comparison's rate by Fisher's exact test over both.
 * `null`: nothing of the kind.
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
  const pairOver = (fromMs: number, toMs: number) =>
    errorPair({
      canary: { ...countsWithin(canary, fromMs, toMs, input.startMs), histogram: null },
      comparison: { ...countsWithin(comparison, fromMs, toMs, input.startMs), histogram: null },
    });
  for (let i = 0; i < SCRAPES; i++) {
    const shares = sharesOf(pairOver(edge(i + 1), edge(i)));
    if (!(shares.canary - shares.comparison >= GROSS_INCREASE)) return null;
  }
  const pair = pairOver(edge(SCRAPES), edge(0));
  const p = fisherGreater(pair, TOLERANCE_RATIO);
  if (p >= CHANCE_OF_ALARM) return null;
  const shares = sharesOf(pair);
  const effect = shares.canary - shares.comparison;
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
      `Error rate ${percent(shares.canary)} against ${percent(shares.comparison)} over the last ` +
      `${durationText(SCRAPES * scrapeIntervalMs)} (n = ${count(pair.canaryTotal)} and ${count(pair.comparisonTotal)}, ` +
      `p = ${probability(p)}): ${points(effect)} more, a gross failure (${points(GROSS_INCREASE)} or more in each of ` +
      `${SCRAPES} scrapes), and p is below ${probability(CHANCE_OF_ALARM)}.`,
  };
}
