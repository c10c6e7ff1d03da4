import { hodgesLehmannShift } from './hodges-lehmann.js';
import { sorted } from './median.js';
import { normalUpperTail } from './normal.js';
import { choose, rankTogether, shareOfRankSums, uOf } from './rank-sums.js';
import type { Ranks } from './rank-sums.js';

/** What is claimed of x against y: `greater` means that x tends to be larger. */
export type Alternative = 'two-sided' | 'greater' | 'less';

export interface MannWhitneyInput {
  readonly x: readonly number[];
  readonly y: readonly number[];
  /** @default 'two-sided' */
  readonly alternative?: Alternative;
  /** `auto`: exact up to 100 values in both samples together, asymptotic above. @default 'auto' */
  readonly method?: 'auto' | 'exact' | 'asymptotic';
}

export interface MannWhitneyResult {
  /** Pairs (x, y) with x > y; a tie counts one half. */
  readonly u1: number;
  /** Pairs with y > x: `n1 * n2 - u1`. */
  readonly u2: number;
  readonly p: number;
  readonly method: 'exact' | 'asymptotic';
  /** Common-language effect size: P(x > y) + P(x = y) / 2. */
  readonly cles: number;
  /** Cliff's delta: P(x > y) - P(x < y), from -1 to 1. */
  readonly cliffsDelta: number;
  /** Hodges-Lehmann shift: the median of all differences x - y, in the unit of the samples. */
  readonly hodgesLehmann: number;
}

const AUTO_EXACT_UP_TO = 100;
/** Above this the exact distribution takes seconds, and the normal one is as good. */
const EXACT_UP_TO = 300;

/** Why two samples can't be tested. */
export interface SampleProblem {
  readonly code: 'empty-sample' | 'not-finite' | 'too-many-for-exact';
  /** What is wrong, and where. */
  readonly message: string;
}

/** What keeps these samples from being tested, or `null`. For samples that come from outside. */
export function mannWhitneyProblem({ x, y, method = 'auto' }: MannWhitneyInput): SampleProblem | null {
  const total = x.length + y.length;
  if (method === 'exact' && total > EXACT_UP_TO) {
    const message = `${total} values are too many for the exact test (at most ${EXACT_UP_TO}): use 'asymptotic'`;
    return { code: 'too-many-for-exact', message };
  }
  return sampleProblem('x', x) ?? sampleProblem('y', y);
}

function sampleProblem(name: string, values: readonly number[]): SampleProblem | null {
  if (values.length === 0) {
    return { code: 'empty-sample', message: `sample ${name} is empty: a rank test needs at least one value in each` };
  }
  const index = values.findIndex((value) => !Number.isFinite(value));
  if (index < 0) return null;
  const message = `sample ${name} has ${values[index]} at index ${index}: leave out what was not measured`;
  return { code: 'not-finite', message };
}

/**
 * The Mann-Whitney U test (Wilcoxon rank sum), with mid-ranks for ties.
 *
 * `exact` is the conditional permutation distribution given the ties (Streitberg and Röhmel, 1986), as R >= 4.6 has it;
 * `asymptotic` is the normal approximation with the tie-corrected variance and the continuity correction, as R's
 * `wilcox.test` and SciPy's `mannwhitneyu` have it. If all values are equal, p is 1. Tails are accurate to a relative
 * 1e-9 for as long as p is a normal double (above 1e-307).
 *
 * @throws RangeError where `mannWhitneyProblem` finds one.
 */
export function mannWhitney(input: MannWhitneyInput): MannWhitneyResult {
  return { ...rankTest(input), hodgesLehmann: hodgesLehmannShift(sorted(input.x), sorted(input.y)) };
}

/**
 * `mannWhitney` without the shift, which takes longer than the test where samples are large.
 *
 * @throws RangeError as `mannWhitney`.
 */
export function rankTest(input: MannWhitneyInput): Omit<MannWhitneyResult, 'hodgesLehmann'> {
  const problem = mannWhitneyProblem(input);
  if (problem !== null) throw new RangeError(problem.message);
  const { alternative = 'two-sided', method = 'auto' } = input;
  return rankTestOfSorted(sorted(input.x), sorted(input.y), alternative, method);
}

/** `rankTest` of samples that ascend and are known to be sound: sorting takes most of the time where there are many tests. */
export function rankTestOfSorted(
  xs: Float64Array,
  ys: Float64Array,
  alternative: Alternative,
  method: 'auto' | 'exact' | 'asymptotic',
): Omit<MannWhitneyResult, 'hodgesLehmann'> {
  const [n1, n2] = [xs.length, ys.length];
  const ranks = rankTogether(xs, ys);
  const u1 = uOf(ranks, n1);
  const exact = method === 'exact' || (method === 'auto' && n1 + n2 <= AUTO_EXACT_UP_TO);
  return {
    u1,
    u2: n1 * n2 - u1,
    p: exact ? exactP(ranks, n1, alternative) : asymptoticP(ranks, u1, n1, n2, alternative),
    method: exact ? 'exact' : 'asymptotic',
    cles: u1 / (n1 * n2),
    // Not 2 * cles - 1: that loses digits where the samples are almost alike.
    cliffsDelta: (2 * u1 - n1 * n2) / (n1 * n2),
  };
}

/** The smallest one-sided p that samples of these sizes can give: all of one above all of the other, without ties. */
export function smallestMannWhitneyP(n1: number, n2: number): number {
  return 1 / choose(n1 + n2, Math.min(n1, n2));
}

function exactP(ranks: Ranks, n1: number, alternative: Alternative): number {
  if (alternative === 'less') return shareOfRankSums(ranks, n1, 'at-most');
  if (alternative === 'greater') return shareOfRankSums(ranks, n1, 'at-least');
  return Math.min(1, 2 * Math.min(shareOfRankSums(ranks, n1, 'at-most'), shareOfRankSums(ranks, n1, 'at-least')));
}

function asymptoticP(ranks: Ranks, u1: number, n1: number, n2: number, alternative: Alternative): number {
  const total = n1 + n2;
  const variance = ((n1 * n2) / 12) * (total + 1 - ranks.tieTerm / (total * (total - 1)));
  // All values equal: nothing speaks against the null hypothesis. (Rounding may leave a variance just above 0.)
  if (ranks.tieTerm === total ** 3 - total) return 1;
  const sigma = Math.sqrt(variance);
  const distance = u1 - (n1 * n2) / 2;
  if (alternative === 'greater') return normalUpperTail((distance - 0.5) / sigma);
  if (alternative === 'less') return normalUpperTail((-distance - 0.5) / sigma);
  return Math.min(1, 2 * normalUpperTail((Math.abs(distance) - 0.5) / sigma));
}
