import { addPairs, sharesOf, stratifiedScore, wilson } from './counts.js';
import type { CountPair } from './counts.js';
import { AS_PROMETHEUS, blockP99s, BY_TAIL } from './compare-latency.js';
import type { P99Reading } from './compare-latency.js';
import { valuesApart } from './compare-values.js';
import { furtherMetrics } from './defaults.js';
import { hodgesLehmannInterval, hodgesLehmannShift } from './hodges-lehmann.js';
import { lookAt, recentOf, requestsSinceWarmUp } from './judge-sequential.js';
import { checkAt, windowOf } from './judge-mann-whitney.js';
import { sorted } from './median.js';
import { bothArms, latencyObstacle } from './opinion.js';
import { errorPair, evidenceOf } from './series.js';
import type { Block } from './series.js';
import { stageBlocks } from './stage-blocks.js';
import type { JudgeInput, MetricFinding } from './types.js';

/** z of a two-sided 95 % interval. */
const Z_975 = 1.959963984540054;

/** How far apart the arms are, with the 95 % interval. Judges decide by their tests; this is for people to look at. */
export interface Effect {
  /**
   * `difference` of two shares (canary minus comparison, or a rate minus its limit), or `ratio` (canary / comparison).
   */
  readonly kind: 'difference' | 'ratio';
  readonly value: number;
  readonly lower: number;
  /** `null`: nothing bounds it, as where the comparison has no events at all. */
  readonly upper: number | null;
}

/** An interval; `upper` is null where nothing bounds it. */
export type Interval = Pick<Effect, 'lower' | 'upper'>;

/**
 * The two-sided 95 % interval of the difference of two shares (canary minus comparison), by Newcombe's hybrid of two
 * Wilson intervals (1998, method 10), which is sound at zero events too. Dispersion (1 or more) widens it.
 */
export function differenceInterval(
  pair: CountPair,
  dispersion = 1,
): { readonly lower: number; readonly upper: number } {
  const { canary, comparison } = sharesOf(pair);
  const own = wilson(canary, pair.canaryTotal / dispersion, Z_975);
  const other = wilson(comparison, pair.comparisonTotal / dispersion, Z_975);
  const difference = canary - comparison;
  return {
    lower: difference - Math.hypot(canary - own.lower, other.upper - comparison),
    upper: difference + Math.hypot(own.upper - canary, comparison - other.lower),
  };
}

/**
 * The two-sided 95 % interval of the ratio of two shares: Wilson's interval of the canary's part of all events, given
 * their sum (conditional, as the score test has it), turned into a ratio. `null` without any event.
 */
export function ratioInterval(pair: CountPair, dispersion = 1): Interval | null {
  const events = pair.canaryEvents + pair.comparisonEvents;
  if (events === 0) return null;
  const { lower, upper } = wilson(pair.canaryEvents / events, events / dispersion, Z_975);
  const toRatio = (part: number) => (part / (1 - part)) * (pair.comparisonTotal / pair.canaryTotal);
  return {
    lower: pair.canaryEvents === 0 ? 0 : toRatio(lower),
    upper: pair.comparisonEvents === 0 ? null : toRatio(upper),
  };
}

/** The windows that a finding may rest on, by what their judges look at. */
function windowsOf(input: JudgeInput): readonly (readonly Block[])[] {
  if (input.comparison === null) return [];
  if (input.policy.judge === 'mann-whitney') {
    const { atMs } = checkAt(input);
    return [windowOf(input, bothArms(input, atMs), atMs).blocks];
  }
  const all = bothArms(input, input.atMs);
  const { atMs } = lookAt(input, requestsSinceWarmUp(input, all));
  if (atMs <= input.startMs + input.policy.warmUpMs) return [];
  const blocks = stageBlocks(bothArms(input, atMs), input, atMs);
  return [blocks, recentOf(blocks, input.policy, atMs)];
}

const TESTS: readonly string[] = ['mann-whitney', 'fisher-exact', 'score', 'binomial', 'none'];

/**
 * Whether statistic, effect and threshold of a finding mean what they mean for every such test. What `threshold` and
 * `kayenta` count, and values of further metrics, are told by their sentence alone.
 */
export function isTested({ metric, test, unit }: MetricFinding): boolean {
  if (test === 'limit') return metric === 'hard-limit';
  return TESTS.includes(test) && (unit === 'ratio' || unit === 'share' || unit === 'seconds');
}

/**
 * The effect of a finding with its 95 % interval, from the samples that it rests on; `null` where it has none (a p99
 * against a limit, a metric without data). Of counts: Newcombe's interval of the difference. Of ranks: the
 * Hodges-Lehmann interval (`hodgesLehmannInterval`, as R's `wilcox.test(conf.int = TRUE)`) of the logarithms, as a ratio.
 */
export function effectOf(finding: MetricFinding, input: JudgeInput): Effect | null {
  const { effect: value, canary, comparison, canaryN, comparisonN, unit } = finding;
  if (value === null || canary === null || canaryN === 0 || !isTested(finding)) return null;
  switch (finding.test) {
    case 'limit':
    case 'binomial': {
      if (unit === 'seconds') return null;
      const total = finding.test === 'limit' ? canaryN : canaryN + comparisonN;
      const against = canary - value;
      const { lower, upper } = wilson(canary, total, Z_975);
      return { kind: 'difference', value, lower: lower - against, upper: upper - against };
    }
    case 'fisher-exact':
    case 'score': {
      if (comparison === null || comparisonN === 0) return null;
      const pair = {
        canaryEvents: Math.round(canary * canaryN),
        canaryTotal: canaryN,
        comparisonEvents: Math.round(comparison * comparisonN),
        comparisonTotal: comparisonN,
      };
      if (unit === 'share') {
        const interval = ratioInterval(pair);
        return interval === null ? null : { kind: 'ratio', value, ...interval };
      }
      const dispersion = finding.test === 'score' ? dispersionOf(pair, input) : 1;
      return { kind: 'difference', value, ...differenceInterval(pair, dispersion) };
    }
    case 'mann-whitney': {
      if (unit === 'ratio') {
        const [blocks] = windowsOf(input);
        const pair = addPairs((blocks ?? []).map(errorPair));
        if (blocks?.length !== canaryN || pair.canaryTotal === 0 || pair.comparisonTotal === 0) return null;
        return { kind: 'difference', value, ...differenceInterval(pair, dispersionWithin(blocks)) };
      }
      const { boundsSeconds } = evidenceOf(input.canary, input.atMs);
      for (const blocks of windowsOf(input)) {
        const isRule = input.policy.judge === 'mann-whitney';
        const shift = shiftOf(blocks, boundsSeconds, isRule ? AS_PROMETHEUS : BY_TAIL);
        if (shift === null || shift.blocks !== canaryN) continue;
        // Both windows may have as many blocks as the finding; the estimate tells which of them it was.
        if (isRule || near(shift.effect.value, value)) return { ...shift.effect, value };
      }
      return null;
    }
    default:
      return null;
  }
}

function near(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-9 * Math.abs(b);
}

function dispersionOf(pair: CountPair, input: JudgeInput): number {
  for (const blocks of windowsOf(input)) {
    const { canaryTotal, comparisonTotal } = addPairs(blocks.map(errorPair));
    if (canaryTotal === pair.canaryTotal && comparisonTotal === pair.comparisonTotal) return dispersionWithin(blocks);
  }
  return 1;
}

function dispersionWithin(blocks: readonly Block[]): number {
  return stratifiedScore(blocks.map(errorPair), 1).dispersion;
}

/** The ratio of p99s by ranks; `null` where no block of both arms has requests enough. */
function shiftOf(
  blocks: readonly Block[],
  boundsSeconds: readonly number[],
  how: P99Reading,
): { readonly effect: Effect; readonly blocks: number } | null {
  const { canary: x, comparison: y } = blockP99s(blocks, boundsSeconds, how);
  if (x.length === 0) return null;
  const { lower, upper, level } = hodgesLehmannInterval(x, y);
  // So few blocks can't bound it: all their differences together are less sure than that.
  const bounds = level < 0.95 ? { lower: 0, upper: null } : { lower: Math.exp(lower), upper: Math.exp(upper) };
  const value = Math.exp(hodgesLehmannShift(sorted(x), sorted(y)));
  return { effect: { kind: 'ratio', value, ...bounds }, blocks: x.length };
}

/** What there is to see of both arms from the warm-up to `input.atMs`, whatever the judge makes of it: for plots. */
export interface StageEffects {
  /** Difference of the error rates, share of 0 to 1. */
  readonly errors: Effect | null;
  /** Ratio of the p99 latencies. */
  readonly latency: Effect | null;
  /** Of each further metric of the policy, as its tolerance has it: a ratio, or a difference in its own unit. */
  readonly metrics: ReadonlyMap<string, Effect | null>;
}

/** The effects over the whole stage so far, with 95 % intervals. */
export function stageEffects(input: JudgeInput): StageEffects {
  const fromMs = input.startMs + input.policy.warmUpMs;
  if (input.comparison === null || input.atMs <= fromMs) return { errors: null, latency: null, metrics: new Map() };
  const evidence = bothArms(input, input.atMs);
  const blocks = stageBlocks(evidence, input, input.atMs);
  const strata = blocks.map(errorPair);
  const pair = addPairs(strata);
  const { canary, comparison } = sharesOf(pair);
  const errors =
    pair.canaryTotal === 0 || pair.comparisonTotal === 0
      ? null
      : {
          kind: 'difference' as const,
          value: canary - comparison,
          ...differenceInterval(pair, stratifiedScore(strata, 1).dispersion),
        };
  const ranks = latencyObstacle(evidence) === null ? shiftOf(blocks, evidence.canary.boundsSeconds, BY_TAIL) : null;
  const metrics = new Map(
    furtherMetrics(input.policy).map((metric) => [metric.name, valuesApart(metric, evidence, blocks)]),
  );
  return { errors, latency: ranks?.effect ?? null, metrics };
}
