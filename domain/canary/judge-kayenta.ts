import { kayentaMetric } from './defaults.js';
import { classify, scoreOf } from './kayenta.js';
import type { Classified, KayentaClass, KayentaScore, KayentaValues } from './kayenta.js';
import { tooFewRequests } from './opinion.js';
import type { Evidence, Opinion } from './opinion.js';
import { armBlocksOf, countsWithin, histogramQuantile, valuesWithin } from './series.js';
import type { ArmBlock, ArmHistory, BlockGrid } from './series.js';
import { BUILT_IN_METRICS } from './types.js';
import type { AnalysisPolicy, JudgeInput, KayentaMetric, MetricFinding, VerdictKind } from './types.js';
import { amount, count, durationText, percent, plural, seconds, times } from '../words.js';

/** Fewer values than this are too few by the advice of Kayenta's own authors; its interface warns of them. */
const ADVISED_VALUES = 50;

/** One run of the judge over the values so far. */
interface Run {
  readonly number: number;
  readonly atMs: number;
  readonly last: boolean;
  readonly metrics: readonly Classified[];
  readonly score: KayentaScore;
}

/**
 * Spinnaker's automated canary analysis: Kayenta's classes and scores (see `kayenta.ts`) over the values of single scrape
 * intervals (or of `stepMs`), in runs at each `intervalMs`, the last of them at the stage's end. ROLLBACK: a score below `marginalScore` at
 * any run, or below `passScore` at the last. PROMOTE: the last reaches `passScore`. A score that is 0 only because half of
 * the metrics or more have no data fails in Spinnaker; here it is a HOLD, as missing data is under every judge, unless the
 * policy says that they must have data (`critical`, `mustHaveData`).
 *
 * Its test compares locations: what only scatters more passes. It knows no correction for several runs.
 */
export function judgeKayenta(input: JudgeInput, evidence: Evidence): Opinion {
  const { intervalMs, delayMs, marginalScore, passScore } = input.policy.kayenta;
  const ends = runEnds(input);
  const left = input.startMs + input.durationMs - input.atMs;
  if (ends.length === 0) {
    const due = durationText(Math.min(input.durationMs, delayMs + intervalMs));
    const summary = `Watching: the first run is due ${due} after the start.`;
    return { kind: 'HOLD', hold: 'watching', summary, findings: [], look: 0 };
  }
  let latest: Opinion | null = null;
  for (const [index, atMs] of ends.entries()) {
    const last = atMs >= input.startMs + input.durationMs;
    const run = { number: index + 1, atMs, last };
    const newest = index === ends.length - 1;
    if (!newest && opinionOf(runAt(input, evidence, run, 'label')).kind !== 'ROLLBACK') continue;
    // What failed at an earlier run has failed, whatever came in since.
    latest = opinionOf(runAt(input, evidence, run, 'all'));
    break;
  }
  return latest!;

  function requestsOf(arm: ArmHistory): number {
    return countsWithin(arm, input.startMs, input.atMs, input.startMs).requests;
  }

  function opinionOf(run: Run): Opinion {
    const findings = [...run.metrics.map((one) => metricFinding(input, one)), scoreFinding(input, run)];
    const common = { findings, look: run.number };
    const { score, tooLittleData, criticalFailures } = run.score;
    const summary = summaryOf(input, run);
    if (tooLittleData && criticalFailures.length === 0)
      return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary };
    if (score < (run.last ? Math.max(passScore, marginalScore) : marginalScore))
      return { ...common, kind: 'ROLLBACK', hold: null, summary };
    if (run.last) {
      const tooFew = tooFewRequests(input, requestsOf(evidence.canary), requestsOf(evidence.comparison));
      if (tooFew !== null) return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary: tooFew };
      return { ...common, kind: 'PROMOTE', hold: null, summary };
    }
    return { ...common, kind: 'HOLD', hold: 'watching', summary: `Watching: ${summary} ${durationText(left)} to go.` };
  }
}

/** Instants of the runs that are due: each interval of the stage, its end, and while it is held the latest one since. */
function runEnds(input: JudgeInput): readonly number[] {
  const { intervalMs, delayMs } = input.policy.kayenta;
  const { startMs, durationMs, atMs } = input;
  const ends: number[] = [];
  for (let due = startMs + delayMs + intervalMs; due < startMs + durationMs && due <= atMs; due += intervalMs) {
    ends.push(due);
  }
  const since = Math.floor((atMs - startMs - durationMs) / intervalMs);
  return since < 0 ? ends : [...ends, startMs + durationMs + since * intervalMs];
}

function runAt(
  input: JudgeInput,
  evidence: Evidence,
  run: Pick<Run, 'number' | 'atMs' | 'last'>,
  detail: 'all' | 'label',
): Run {
  const { policy, startMs } = input;
  const { delayMs, stepMs, lookbackMs, groupWeights } = policy.kayenta;
  const fromMs = Math.max(startMs + delayMs, lookbackMs === null ? -Infinity : run.atMs - lookbackMs);
  const { scrapeIntervalMs } = policy;
  const grid = { fromMs, toMs: run.atMs, blockMs: Math.max(stepMs ?? 0, scrapeIntervalMs), scrapeIntervalMs };
  // Each arm on its own: Kayenta compares what both have, not what both have at once.
  const blocks = { canary: armBlocksOf(evidence.canary, grid), comparison: armBlocksOf(evidence.comparison, grid) };
  // Without any histogram latency has no voice, as under every judge, unless the policy says that it must have data.
  const noLatency = evidence.canary.boundsSeconds.length + evidence.comparison.boundsSeconds.length === 0;
  const voiceless = ({ name, critical, mustHaveData }: KayentaMetric) =>
    name === 'latency-p99' && noLatency && !critical && !mustHaveData;
  const scored = metricsOf(policy).filter((metric) => !voiceless(metric));
  const metrics = scored.map((metric) => {
    const of = (arm: 'canary' | 'comparison') => valuesOf(metric.name, evidence[arm], blocks[arm], grid);
    const values: KayentaValues = { canary: of('canary'), comparison: of('comparison') };
    return { metric, found: classify(metric, values, policy.kayenta, detail) };
  });
  return { ...run, metrics, score: scoreOf(metrics, groupWeights) };
}

/** The metrics that are scored: those that the policy describes for this judge, and the others with its defaults. */
function metricsOf({ kayenta, metrics }: AnalysisPolicy): readonly KayentaMetric[] {
  const described = new Set(kayenta.metrics.map(({ name }) => name));
  const known = new Set<string>([...BUILT_IN_METRICS, ...metrics.map(({ name }) => name)]);
  const stranger = kayenta.metrics.find(({ name }) => !known.has(name));
  if (stranger !== undefined) {
    throw new RangeError(
      `kayenta.metrics names ${stranger.name}, which is no metric: there are ${[...known].join(', ')}`,
    );
  }
  const others = metrics.filter(({ name }) => !described.has(name));
  return [
    ...kayenta.metrics,
    ...others.map(({ name, direction, critical, weight }) => ({ ...kayentaMetric(name), direction, critical, weight })),
  ];
}

/** One value a scrape interval; `null` where PromQL would give NaN or nothing. */
function valuesOf(
  name: string,
  arm: ArmHistory,
  blocks: readonly (ArmBlock | null)[],
  grid: BlockGrid,
): readonly (number | null)[] {
  if (name === 'error-rate')
    return blocks.map((block) => (block === null || block.requests === 0 ? null : block.errors / block.requests));
  if (name === 'latency-p99') {
    return blocks.map((block) => {
      const histogram = block?.histogram ?? null;
      return histogram === null ? null : (histogramQuantile(0.99, arm.boundsSeconds, histogram)?.seconds ?? null);
    });
  }
  const values: (number | null)[] = blocks.map(() => null);
  for (const { atMs, value } of valuesWithin(arm, name, grid.fromMs, grid.toMs)) {
    values[Math.ceil((atMs - grid.fromMs) / grid.blockMs) - 1] = value;
  }
  return values;
}

/** A value of a metric with its unit. */
function valueText(name: string, value: number): string {
  if (name === 'error-rate') return percent(value);
  return name === 'latency-p99' ? seconds(value) : amount(value);
}

const UNITS: Readonly<Record<string, string>> = { 'error-rate': 'ratio', 'latency-p99': 'seconds' };

function metricFinding(input: JudgeInput, { metric, found }: Classified): MetricFinding {
  const verdicts: Readonly<Record<KayentaClass['label'], VerdictKind>> = {
    Pass: 'PROMOTE',
    High: 'ROLLBACK',
    Low: 'ROLLBACK',
    NodataFailMetric: 'ROLLBACK',
    Nodata: metric.critical ? 'ROLLBACK' : 'HOLD',
  };
  return {
    metric: metric.name,
    verdict: verdicts[found.label],
    canary: found.canaryMean,
    comparison: found.comparisonMean,
    unit: UNITS[metric.name] ?? 'value',
    canaryN: found.canaryN,
    comparisonN: found.comparisonN,
    test: 'shift-interval',
    statistic: found.shift?.estimate ?? null,
    p: null,
    alpha: null,
    effect: found.effect,
    threshold: found.shift === null ? null : input.policy.kayenta.tolerance * Math.abs(found.shift.estimate),
    why: `Metric ${metric.name} is ${found.label}${found.critical ? ', and critical' : ''}: ${reasonOf(input, metric, found)}.`,
  };
}

function reasonOf({ policy }: JudgeInput, metric: KayentaMetric, found: KayentaClass): string {
  const { tolerance, confidenceLevel } = policy.kayenta;
  const missing = [
    ...(found.canaryN === 0 ? ['the canary'] : []),
    ...(found.comparisonN === 0 ? ['the comparison'] : []),
  ].join(' and ');
  if (missing !== '') return `no values on ${missing}`;
  const sizes = `n = ${count(found.canaryN)} and ${count(found.comparisonN)}`;
  if (found.shift === null) return `the values of both arms are the same (${sizes})`;
  const few =
    Math.min(found.canaryN, found.comparisonN) < ADVISED_VALUES ? `, fewer than ${ADVISED_VALUES} advised` : '';
  const value = (of: number) => valueText(metric.name, of);
  const { lower, upper, estimate } = found.shift;
  const ends = `${value(lower)} to ${value(upper)}`;
  const interval = `the ${percent(confidenceLevel)} interval of the shift, ${ends}`;
  const bound = `${value(tolerance * Math.abs(estimate))}, ${amount(tolerance)} of the estimate ${value(estimate)}`;
  const means = `means ${value(found.canaryMean ?? 0)} against ${value(found.comparisonMean ?? 0)}`;
  const beyond = found.label === 'High' ? 'lies above' : found.label === 'Low' ? 'lies below minus' : 'against';
  return `${interval}, ${beyond} ${bound} (${means}, ${sizes}${few}; ${effectText(metric, found)})`;
}

function effectText(
  { effect: { measure, allowedIncrease, allowedDecrease } }: KayentaMetric,
  found: KayentaClass,
): string {
  if (found.effect === null) return 'no ratio of means, as one of them is 0';
  const allowed = `allowed ${amount(allowedDecrease)} to ${amount(allowedIncrease)}`;
  if (measure === 'cles')
    return `the canary's value is the larger one in ${percent(found.effect)} of pairs, ${allowed}`;
  return `${times(found.effect)} the mean, ${allowed}`;
}

function scoreFinding(input: JudgeInput, run: Run): MetricFinding {
  const { passScore, marginalScore } = input.policy.kayenta;
  const { score } = run.score;
  const least = run.last ? passScore : marginalScore;
  return {
    metric: 'score',
    verdict: score < least ? 'ROLLBACK' : run.last ? 'PROMOTE' : 'HOLD',
    canary: score,
    comparison: null,
    unit: 'score',
    canaryN: run.metrics.length,
    comparisonN: 0,
    test: 'score',
    statistic: null,
    p: null,
    alpha: null,
    effect: null,
    threshold: least,
    why: summaryOf(input, run),
  };
}

function summaryOf(input: JudgeInput, run: Run): string {
  const { passScore, marginalScore } = input.policy.kayenta;
  const { score, groups, criticalFailures, tooLittleData } = run.score;
  const passed = run.metrics.filter(({ found }) => found.label === 'Pass').length;
  const sum = groups
    .map(
      ({ name, score, weight }) => `${name} ${score === null ? 'without data' : amount(score)} at ${amount(weight)} %`,
    )
    .join(', ');
  const parts = `${count(passed)} of ${plural(run.metrics.length, 'metric')} passed; ${sum}`;
  const zero =
    criticalFailures.length > 0
      ? `critical: ${criticalFailures.join(', ')}; ${parts}`
      : tooLittleData
        ? `half of the metrics or more have no data; ${parts}`
        : parts;
  const least = run.last ? passScore : marginalScore;
  const against = `${score < least ? 'below' : 'not below'} the ${run.last ? 'pass' : 'marginal'} score of ${amount(least)}`;
  const failed = run.metrics
    .filter(({ found }) => found.label !== 'Pass')
    .map((one) => ` ${metricFinding(input, one).why}`);
  return `${run.last ? 'The last run' : `Run ${count(run.number)}`} scored ${amount(score)}, ${against} (${zero}).${failed.join('')}`;
}
