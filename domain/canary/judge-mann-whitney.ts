import { advice, missingValues, standing, valuesNotJudged } from './compare-values.js';
import { furtherMetrics } from './defaults.js';
import { mannWhitney, smallestMannWhitneyP } from './mann-whitney.js';
import type { MannWhitneyResult } from './mann-whitney.js';
import { latencyNotJudged, latencyObstacle, tooFewRequests } from './opinion.js';
import type { Evidence, Opinion, Recall } from './opinion.js';
import { median } from './median.js';
import { addHistograms, blocksOf, histogramQuantile, valuesWithin } from './series.js';
import type { Block } from './series.js';
import type { JudgeInput, MetricFinding, MetricPolicy, VerdictKind } from './types.js';
import {
  amount,
  apart,
  count,
  durationText,
  halves,
  percent,
  plural,
  points,
  probability,
  seconds,
  times,
} from '../words.js';

/** A check of the rule. */
export interface Check {
  /** 1 for the first; 0 where none is due yet. */
  readonly number: number;
  readonly atMs: number;
}

/** The latest check at or before `input.atMs`; after the last one it stays the last. */
export function checkAt(input: JudgeInput): Check {
  const { checkEveryMs, checks } = input.policy.mannWhitney;
  const due = Math.floor((input.atMs - input.startMs) / checkEveryMs);
  const number = Math.max(0, Math.min(checks, due));
  return { number, atMs: input.startMs + number * checkEveryMs };
}

/**
 * The rule that was asked for, as it stands (semantics.md, "The asked-for rule, made exact"): one-sided Mann-Whitney on
 * the error rates and p99s of single scrape intervals, over the last 15 minutes clipped at the moment the canary was
 * ready, at three checks five minutes apart. ROLLBACK: p < 0.05 on either metric, or a limit that the canary crosses and
 * the comparison does not. PROMOTE: p > 0.3 on both, once the stage is over. Undecided after the last check: HOLD.
 *
 * It knows no correction for looking three times or for series that depend on themselves, and rolls many good releases
 * back; the default judge is `sequential`. `evidence` holds nothing later than the check.
 */
export function judgeMannWhitney(input: JudgeInput, evidence: Evidence, check: Check, recall: Recall): Opinion {
  const { mannWhitney: rule } = input.policy;
  const ends = input.startMs + input.durationMs;
  const watching = { kind: 'HOLD', hold: 'watching', look: check.number } as const;
  if (check.number === 0) {
    const summary = `Watching: the first check is due ${durationText(rule.checkEveryMs)} after the start.`;
    return { ...watching, summary, findings: [] };
  }
  const { fromMs, blocks } = windowOf(input, evidence, check.atMs);
  const isLast = check.number >= rule.checks;
  const tooFew = shortage(input, blocks, isLast);
  if (tooFew !== null) {
    const none = { kind: 'HOLD', findings: [], look: check.number } as const;
    if (!isLast) return { ...none, hold: 'insufficient-data', summary: tooFew };
    const summary = `Undecided after the last check. ${tooFew} No other check follows: only a person can decide.`;
    return { ...none, hold: input.atMs < ends ? 'watching' : 'inconclusive', summary };
  }
  const obstacle = latencyObstacle(evidence);
  const latency = () =>
    obstacle === null ? latencyFinding(input, blocks, evidence.comparison.boundsSeconds) : latencyNotJudged(obstacle);
  const findings = recall(check, () => [
    errorFinding(input, blocks),
    latency(),
    ...furtherMetrics(input.policy).map((metric) => valuesFinding(input, metric, evidence, fromMs, check.atMs)),
  ]);
  const followed = findings.filter(({ advisory }) => advisory !== true);
  const common = { findings, look: check.number };
  const rollback = followed.find((finding) => finding.verdict === 'ROLLBACK');
  if (rollback !== undefined) return { ...common, kind: 'ROLLBACK', hold: null, summary: rollback.why };
  const open = followed.find((finding) => finding.verdict === 'HOLD');
  const checks = `Check ${check.number} of ${rule.checks}`;
  if (open === undefined) {
    const all = findings.map(({ why }) => why).join(' ');
    if (input.atMs >= ends)
      return { ...common, kind: 'PROMOTE', hold: null, summary: `${checks}: no difference. ${all}` };
    const summary = `${checks} found no difference; the stage has ${durationText(ends - input.atMs)} to go. ${all}`;
    return { ...common, ...watching, summary };
  }
  if (!isLast) return { ...common, ...watching, summary: `${checks} is undecided. ${open.why}` };
  if (input.atMs < ends) return { ...common, ...watching, summary: `The last check is undecided. ${open.why}` };
  return { ...common, kind: 'HOLD', hold: 'inconclusive', summary: `Undecided after the last check. ${open.why}` };
}

/** What a check looks at: the scrape intervals of its window in which both arms had requests. */
export function windowOf(
  { startMs, policy: { mannWhitney, scrapeIntervalMs } }: JudgeInput,
  { canary, comparison }: Evidence,
  atMs: number,
): { readonly fromMs: number; readonly blocks: readonly Block[] } {
  const fromMs = Math.max(startMs, atMs - mannWhitney.windowMs);
  const grid = { fromMs, toMs: atMs, blockMs: scrapeIntervalMs, scrapeIntervalMs };
  const blocks = blocksOf(canary, comparison, grid);
  return { fromMs, blocks: blocks.filter((block) => block.canary.requests > 0 && block.comparison.requests > 0) };
}

/** A rank test must be able to reach the rollback level, or its silence means nothing. */
function shortage(input: JudgeInput, blocks: readonly Block[], isLast: boolean): string | null {
  const { rollbackP } = input.policy.mannWhitney;
  const n = blocks.length;
  if (n === 0 || smallestMannWhitneyP(n, n) >= rollbackP) {
    let needed = 1;
    while (smallestMannWhitneyP(needed, needed) >= rollbackP) needed++;
    const more = plural(needed - n, 'more sample');
    return `Too few samples: ${count(n)} on both arms; p can't be below ${probability(rollbackP)} without ${more}.`;
  }
  const sum = (arm: 'canary' | 'comparison') => blocks.reduce((all, block) => all + block[arm].requests, 0);
  return tooFewRequests(input, sum('canary'), sum('comparison'), !isLast);
}

function errorFinding(input: JudgeInput, blocks: readonly Block[]): MetricFinding {
  const { mannWhitney: rule } = input.policy;
  const x = blocks.map(({ canary }) => canary.errors / canary.requests);
  const y = blocks.map(({ comparison }) => comparison.errors / comparison.requests);
  const test = mannWhitney({ x, y, alternative: 'greater' });
  const own = rateOver(blocks, 'canary');
  const other = rateOver(blocks, 'comparison');
  const increase = own - other;
  const unsuccessful = 1 - own < rule.minSuccessRate && 1 - other >= rule.minSuccessRate;
  const [rise, mostRise] = apart(points, increase, rule.maxErrorIncrease);
  const [success, leastSuccess] = apart(percent, 1 - own, rule.minSuccessRate);
  const crossed =
    increase > rule.maxErrorIncrease
      ? `${rise} more, above the limit of ${mostRise}`
      : unsuccessful
        ? `a success rate of ${success} is below ${leastSuccess}, which the comparison keeps`
        : null;
  return {
    ...ruled(input, test, crossed, `Error rate ${apart(percent, own, other).join(' against ')}`),
    metric: 'error-rate',
    canary: own,
    comparison: other,
    unit: 'ratio',
    canaryN: x.length,
    comparisonN: y.length,
    effect: increase,
    threshold: rule.maxErrorIncrease,
  };
}

function latencyFinding(input: JudgeInput, blocks: readonly Block[], boundsSeconds: readonly number[]): MetricFinding {
  const { mannWhitney: rule } = input.policy;
  const measured = blocks.filter(
    ({ canary, comparison }) => canary.histogram !== null && comparison.histogram !== null,
  );
  const x: number[] = [];
  const y: number[] = [];
  for (const block of measured) {
    x.push(histogramQuantile(0.99, boundsSeconds, block.canary.histogram!)?.seconds ?? 0);
    y.push(histogramQuantile(0.99, boundsSeconds, block.comparison.histogram!)?.seconds ?? 0);
  }
  const p99 = (arm: 'canary' | 'comparison') => {
    const all = addHistograms(measured.map((block) => block[arm].histogram));
    return all === null ? null : histogramQuantile(0.99, boundsSeconds, all);
  };
  const [own, other] = [p99('canary'), p99('comparison')];
  if (own === null || other === null) {
    return latencyNotJudged({
      absent: false,
      why: "Latencies can't be compared: no requests were measured on both arms.",
    });
  }
  const test = mannWhitney({ x, y, alternative: 'greater' });
  const ratio = other.seconds > 0 ? own.seconds / other.seconds : 1;
  const [longer, most] = apart(times, ratio, rule.maxLatencyRatio);
  const crossed = ratio > rule.maxLatencyRatio ? `${longer} as long, above the limit of ${most}` : null;
  return {
    ...ruled(input, test, crossed, `p99 ${apart(seconds, own.seconds, other.seconds).join(' against ')}`),
    metric: 'latency-p99',
    canary: own.seconds,
    comparison: other.seconds,
    unit: 'seconds',
    canaryN: x.length,
    comparisonN: y.length,
    effect: ratio,
    threshold: rule.maxLatencyRatio,
  };
}

const ALTERNATIVES = { increase: 'greater', decrease: 'less', either: 'two-sided' } as const;

/** A further metric by the same rule as the others: every value of the window, and no tolerance. */
function valuesFinding(
  input: JudgeInput,
  metric: MetricPolicy,
  evidence: Evidence,
  fromMs: number,
  toMs: number,
): MetricFinding {
  const { rollbackP } = input.policy.mannWhitney;
  const of = (arm: 'canary' | 'comparison') =>
    valuesWithin(evidence[arm], metric.name, fromMs, toMs).map(({ value }) => value);
  const [x, y] = [of('canary'), of('comparison')];
  const missing = missingValues(metric.name, evidence);
  if (missing !== null) return valuesNotJudged(metric, missing);
  if (Math.min(x.length, y.length) === 0 || smallestMannWhitneyP(x.length, y.length) >= rollbackP) {
    const few = `metric ${metric.name}: ${count(x.length)} and ${plural(y.length, 'value')} are too few for a p below ${probability(rollbackP)}`;
    return valuesNotJudged(metric, few);
  }
  const test = mannWhitney({ x, y, alternative: ALTERNATIVES[metric.direction] });
  const [own, other] = [median(x), median(y)];
  return {
    ...ruled(
      input,
      test,
      null,
      `Metric ${metric.name}${standing(metric)}: ${apart(amount, own, other).join(' against ')}`,
    ),
    metric: metric.name,
    canary: own,
    comparison: other,
    unit: 'value',
    canaryN: x.length,
    comparisonN: y.length,
    effect: test.hodgesLehmann,
    threshold: null,
    ...advice(metric),
  };
}

function ruled(
  input: JudgeInput,
  test: MannWhitneyResult,
  crossed: string | null,
  against: string,
): Pick<MetricFinding, 'verdict' | 'test' | 'statistic' | 'p' | 'alpha' | 'why'> {
  const { rollbackP, promoteP } = input.policy.mannWhitney;
  const values = { test: 'mann-whitney', statistic: test.u1, p: test.p, alpha: rollbackP };
  const ranks = `U = ${halves(test.u1)} of ${count(test.u1 + test.u2)}, p = ${probability(test.p)}`;
  const say = (verdict: VerdictKind, reason: string) => ({
    ...values,
    verdict,
    why: `${against} (${ranks}): ${reason}.`,
  });
  if (crossed !== null) return say('ROLLBACK', crossed);
  if (test.p < rollbackP) return say('ROLLBACK', `p is below ${rollbackP}`);
  if (test.p > promoteP) return say('PROMOTE', `p is above ${promoteP}`);
  return say('HOLD', `p is neither below ${rollbackP} nor above ${promoteP}`);
}

function rateOver(blocks: readonly Block[], arm: 'canary' | 'comparison'): number {
  let requests = 0;
  let errors = 0;
  for (const block of blocks) {
    requests += block[arm].requests;
    errors += block[arm].errors;
  }
  return errors / requests;
}
