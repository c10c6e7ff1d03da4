import { TOLERANCE_RATIO } from './compare-errors.js';
import { fisherGreater } from './counts.js';
import { lookAt, requestsSinceWarmUp } from './judge-sequential.js';
import { smallestMannWhitneyP } from './mann-whitney.js';
import { bothArms } from './opinion.js';
import { countsWithin } from './series.js';
import type { JudgeInput } from './types.js';
import { count, durationText, percent, probability } from '../words.js';

/** Why a policy can't come to a verdict on such a stage, whatever the canary does. */
export interface Obstacle {
  /** The key of the policy, as `AnalysisPolicy` has it, or of the stage. */
  readonly field: string;
  /** The value that is in the way, as people write it. */
  readonly value: string;
  readonly problem: string;
  readonly remedy: string;
}

/** At most so many tests share a look's alpha. */
const TESTS = 4;

/**
 * What keeps a policy from ever giving a PROMOTE or a statistical ROLLBACK on this stage with this traffic. Empty: it can
 * decide. `input.atMs` should be the last instant that is known.
 *
 * @throws RangeError when samples are malformed.
 */
export function obstaclesOf(input: JudgeInput): readonly Obstacle[] {
  const { policy, durationMs } = input;
  if (input.comparison === null) return [];
  const found: Obstacle[] = [];
  const stage = durationText(durationMs);
  // What counts checks or scores says itself what it lacks.
  if (policy.judge === 'threshold' || policy.judge === 'kayenta') return tooQuiet(input);
  const isSequential = policy.judge === 'sequential';
  const firstMs = isSequential ? policy.warmUpMs + policy.lookEveryMs : policy.mannWhitney.checkEveryMs;
  if (!isSequential && durationMs < firstMs) {
    found.push({
      field: 'mannWhitney.checkEveryMs',
      value: durationText(firstMs),
      problem: `the first check is due after the stage of ${stage} is over`,
      remedy: 'let the stage last longer, or check more often',
    });
  }
  if (isSequential && durationMs <= policy.warmUpMs) {
    found.push({
      field: 'warmUpMs',
      value: durationText(policy.warmUpMs),
      problem: `the stage of ${stage} is over before the warm-up is: nothing of it is judged`,
      remedy: `let the stage last ${durationText(firstMs)} or more, or shorten the warm-up`,
    });
  }
  if (policy.minErrorIncrease >= 1) {
    found.push({
      field: 'minErrorIncrease',
      value: percent(policy.minErrorIncrease),
      problem: 'no error rate can rise by so much: errors never are a reason for a rollback',
      remedy: 'write the smallest rise that matters to your users, such as 0.2 %',
    });
  }
  found.push(...tooQuiet(input), ...(isSequential ? unreachableAlpha(input) : unreachableRanks(input)));
  return found;
}

function requestsOf(input: JudgeInput) {
  const fromMs = input.startMs + input.policy.warmUpMs;
  const evidence = bothArms(input, input.atMs);
  const own = countsWithin(evidence.canary, fromMs, input.atMs, fromMs).requests;
  const other = countsWithin(evidence.comparison, fromMs, input.atMs, fromMs).requests;
  return { evidence, own, other };
}

/** More requests asked for than this traffic brings until the stage is over. */
function tooQuiet(input: JudgeInput): readonly Obstacle[] {
  const { policy, startMs, durationMs, atMs } = input;
  const { own, other } = requestsOf(input);
  const seenMs = atMs - startMs - policy.warmUpMs;
  const judgedMs = durationMs - policy.warmUpMs;
  const fewer = Math.min(own, other);
  if (seenMs <= 0 || judgedMs <= 0 || fewer === 0) return [];
  const expected = Math.floor((fewer * judgedMs) / seenMs);
  if (expected >= policy.minRequests) return [];
  const neededMs = policy.warmUpMs + (policy.minRequests * seenMs) / fewer;
  return [
    {
      field: 'minRequests',
      value: count(policy.minRequests),
      problem: `at this traffic the quieter arm has about ${count(expected)} requests after the warm-up of a stage of ${durationText(durationMs)}: it can't be promoted at its end`,
      remedy: `let the stage last about ${durationText(neededMs)}, give the arms more traffic, or ask for fewer requests`,
    },
  ];
}

/** The budget of the last look is below the smallest p that any test could give: not even a canary that fails all. */
function unreachableAlpha(input: JudgeInput): readonly Obstacle[] {
  const { policy, startMs, durationMs, budgetShare } = input;
  const value = `${probability(policy.errorBudget)} (of which this stage has ${percent(budgetShare)})`;
  if (!(policy.errorBudget * budgetShare > 0)) {
    const problem = 'with nothing to spend no test may speak: no difference, however large, is a ROLLBACK';
    return [{ field: 'errorBudget', value, problem, remedy: 'write a probability above 0, such as 1 %' }];
  }
  const { evidence, own, other } = requestsOf(input);
  if (own === 0 || other === 0) return [];
  const atMs = Math.max(input.atMs, startMs + durationMs);
  const look = lookAt({ ...input, atMs }, requestsSinceWarmUp(input, evidence));
  if (look.number === 0) return [];
  const pair = { canaryEvents: own, canaryTotal: own, comparisonEvents: 0, comparisonTotal: other };
  const smallest = fisherGreater(pair, TOLERANCE_RATIO);
  const alpha = look.alpha / TESTS;
  if (smallest < alpha) return [];
  return [
    {
      field: 'errorBudget',
      value,
      problem:
        `a test at the last look speaks below p = ${probability(alpha)}, but with ${count(own)} requests on the canary and ` +
        `${count(other)} on the comparison no p is below ${probability(smallest)}: not even a canary that fails every request would be rolled back by its error rate`,
      remedy: 'write a larger budget, let the stage last longer, look less often, or give the arms more traffic',
    },
  ];
}

/** Fewer samples in a window than a rank test needs to reach its level. */
function unreachableRanks(input: JudgeInput): readonly Obstacle[] {
  const { mannWhitney: rule, scrapeIntervalMs } = input.policy;
  const windowMs = Math.min(rule.windowMs, rule.checkEveryMs * rule.checks, input.durationMs);
  const n = Math.floor(windowMs / scrapeIntervalMs);
  if (n > 0 && smallestMannWhitneyP(n, n) < rule.rollbackP) return [];
  return [
    {
      field: 'mannWhitney.windowMs',
      value: durationText(rule.windowMs),
      problem: `a window holds ${count(n)} samples of an arm at most (one every ${durationText(scrapeIntervalMs)}): no p can be below ${probability(rule.rollbackP)}`,
      remedy: 'write a longer window, a longer stage or a shorter scrape interval',
    },
  ];
}
