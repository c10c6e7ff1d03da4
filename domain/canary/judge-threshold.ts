import { tooFewRequests } from './opinion.js';
import type { Opinion } from './opinion.js';
import { countsWithin, histogramQuantile, histogramWithin, isAbove, totalOf, valuesWithin } from './series.js';
import type { ArmEvidence, Span } from './series.js';
import type { JudgeInput, MetricFinding, ThresholdPolicy, VerdictKind } from './types.js';
import { amount, apart, count, durationText, percent, plural, seconds } from '../words.js';

/** A limit on one number of the canary. */
interface Limit {
  readonly metric: string;
  readonly unit: string;
  readonly bound: number;
  /** The number at one measurement; `null` without data. */
  measure(window: Window): Measurement | null;
}

interface Measurement {
  /** In the metric's unit. */
  readonly value: number;
  readonly broken: boolean;
  /** What was measured, against what: "success rate 97.2 % below 99 % (n = 340)". */
  readonly text: string;
}

/** What one measurement looks at. */
interface Window {
  readonly fromMs: number;
  readonly toMs: number;
  /** What a process counted counts in the window in which it was scraped, if it was all counted after this instant. */
  readonly notBeforeMs: number;
  /** The canary, with nothing outside of the window. */
  readonly canary: ArmEvidence;
}

/** How a limit fared over all measurements so far. */
interface Tally {
  readonly limit: Limit;
  readonly measurements: readonly (Measurement | null)[];
  readonly failures: number;
  /** Measurements without data in a row, at the latest one. */
  readonly errorsInARow: number;
}

/**
 * What Argo Rollouts and Flagger do: at each interval the canary is held against limits; nothing is compared. ROLLBACK:
 * more failed measurements than the policy allows, by either tool's way of counting (see `ThresholdPolicy.counting`).
 * PROMOTE: the stage is over and it did not come to that. Where Argo calls an analysis successful although it measured
 * nothing, this is a HOLD.
 *
 * It can't tell a canary that is worse from a service that is having a bad day, nor see a fault that keeps the limits.
 */
export function judgeThreshold(input: JudgeInput, canary: ArmEvidence): Opinion {
  const rule = input.policy.threshold;
  const windows = windowsOf(input, canary);
  const look = windows.length;
  const limits = limitsOf(input, canary);
  const ends = input.startMs + input.durationMs;
  const watching = { kind: 'HOLD', hold: 'watching', look } as const;
  if (limits.length === 0) {
    const summary =
      'There is no limit to hold the canary against: set threshold.minSuccessRate, threshold.maxP99Seconds, or min or max of a metric.';
    return { kind: 'HOLD', hold: 'inconclusive', summary, findings: [], look };
  }
  if (look === 0) {
    const due = durationText(rule.initialDelayMs + rule.intervalMs);
    return { ...watching, summary: `Watching: the first check is due ${due} after the start.`, findings: [] };
  }
  const tallies = limits.map((limit) => tallyOf(limit, windows));
  const { failure, state } = rule.counting === 'argo' ? byLimit(rule, tallies) : byCheck(rule, tallies);
  const findings = tallies.map((tally) => findingOf(rule, tally, failure !== null));
  const common = { findings, look };
  if (failure !== null) return { ...common, kind: 'ROLLBACK', hold: null, summary: failure };
  const planned = rule.counting === 'argo' ? (rule.count ?? 0) : 0;
  const left = Math.max(ends - input.atMs, (planned - look) * rule.intervalMs);
  if (left > 0) return { ...common, ...watching, summary: `Watching: ${state}; ${durationText(left)} to go.` };
  const unmeasured = tallies.find(({ measurements }) => measurements.every((one) => one === null));
  const tooFew = tooFewRequests(
    input,
    countsWithin(canary, input.startMs, input.atMs, input.startMs).requests,
    Infinity,
  );
  const missing = unmeasured === undefined ? tooFew : nothingMeasured(unmeasured);
  if (missing !== null) return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary: missing };
  // Flagger goes on from a failed check only after one that passes.
  const open = rule.counting === 'argo' ? undefined : tallies.find(({ measurements }) => failed(measurements.at(-1)));
  if (open !== undefined) {
    const summary = `The stage is over, but its latest check failed (${latestText(open)}); ${state}.`;
    return { ...common, kind: 'HOLD', hold: 'inconclusive', summary };
  }
  return { ...common, kind: 'PROMOTE', hold: null, summary: `Within the limits by the end of the stage: ${state}.` };
}

/** One window for each measurement that is due. */
function windowsOf(input: JudgeInput, canary: ArmEvidence): readonly Window[] {
  const { initialDelayMs, intervalMs, windowMs, counting, count } = input.policy.threshold;
  const beginMs = input.startMs + initialDelayMs;
  const due = Math.max(0, Math.floor((input.atMs - beginMs) / intervalMs));
  const taken = counting === 'argo' && count !== null ? Math.min(count, due) : due;
  const ends = Array.from({ length: taken }, (_, i) => beginMs + (i + 1) * intervalMs);
  const counts = spansByWindow(canary.counts, ends, windowMs);
  const histograms = spansByWindow(canary.histograms, ends, windowMs);
  return ends.map((toMs, i) => ({
    fromMs: Math.max(beginMs, toMs - windowMs),
    toMs,
    notBeforeMs: input.startMs,
    canary: { ...canary, counts: counts[i]!, histograms: histograms[i]! },
  }));
}

/** The spans that end in each window, by one walk over all: a stage may be held for a day, and is looked at every few seconds. */
function spansByWindow(
  spans: readonly Span[],
  ends: readonly number[],
  windowMs: number,
): readonly (readonly Span[])[] {
  const inOrder = [...spans].sort((a, b) => a.toMs - b.toMs);
  let first = 0;
  let end = 0;
  return ends.map((toMs) => {
    while (end < inOrder.length && inOrder[end]!.toMs <= toMs) end++;
    while (first < end && inOrder[first]!.toMs <= toMs - windowMs) first++;
    return inOrder.slice(first, end);
  });
}

function limitsOf({ policy }: JudgeInput, canary: ArmEvidence): readonly Limit[] {
  const { minSuccessRate, maxP99Seconds } = policy.threshold;
  const limits: Limit[] = [];
  if (minSuccessRate !== null) limits.push(successLimit(minSuccessRate));
  // Without any histogram latency has no voice; otherwise each of its checks would fail for want of data.
  if (maxP99Seconds !== null && canary.boundsSeconds.length > 0) limits.push(latencyLimit(maxP99Seconds));
  for (const { name, min, max } of policy.metrics) {
    if (min !== null) limits.push(valueLimit(name, min, 'min'));
    if (max !== null) limits.push(valueLimit(name, max, 'max'));
  }
  return limits;
}

function successLimit(bound: number): Limit {
  return {
    metric: 'error-rate',
    unit: 'ratio',
    bound: 1 - bound,
    measure({ canary, fromMs, toMs, notBeforeMs }) {
      const { requests, errors } = countsWithin(canary, fromMs, toMs, notBeforeMs);
      if (requests === 0) return null;
      const success = 1 - errors / requests;
      const broken = success < bound;
      const [value, limit] = apart(percent, success, bound);
      return {
        value: errors / requests,
        broken,
        text: `success rate ${value} ${broken ? 'below' : 'not below'} ${limit} (n = ${count(requests)})`,
      };
    },
  };
}

function latencyLimit(bound: number): Limit {
  return {
    metric: 'latency-p99',
    unit: 'seconds',
    bound,
    measure({ canary, fromMs, toMs, notBeforeMs }) {
      const histogram = histogramWithin(canary, fromMs, toMs, notBeforeMs);
      const quantile = histogram === null ? null : histogramQuantile(0.99, canary.boundsSeconds, histogram);
      if (histogram === null || quantile === null) return null;
      const broken = isAbove(quantile, bound);
      const [read, limit] = apart(seconds, quantile.seconds, bound);
      const value = `${quantile.saturated ? 'at least ' : ''}${read}`;
      const against = `${broken ? 'above' : 'not above'} ${limit}`;
      return { value: quantile.seconds, broken, text: `p99 ${value} ${against} (n = ${count(totalOf(histogram))})` };
    },
  };
}

function valueLimit(metric: string, bound: number, side: 'min' | 'max'): Limit {
  return {
    metric,
    unit: 'value',
    bound,
    measure({ canary, fromMs, toMs }) {
      const latest = valuesWithin(canary, metric, fromMs, toMs).at(-1);
      if (latest === undefined) return null;
      const broken = side === 'min' ? latest.value < bound : latest.value > bound;
      const [value, limit] = apart(amount, latest.value, bound);
      const against = `${broken ? '' : 'not '}${side === 'min' ? 'below' : 'above'} ${limit}`;
      return { value: latest.value, broken, text: `metric ${metric} ${value} ${against}` };
    },
  };
}

function tallyOf(limit: Limit, windows: readonly Window[]): Tally {
  const measurements = windows.map((window) => limit.measure(window));
  const lastWithData = measurements.findLastIndex((one) => one !== null);
  return {
    limit,
    measurements,
    failures: measurements.filter((one) => one?.broken === true).length,
    errorsInARow: measurements.length - 1 - lastWithData,
  };
}

/** Whether a measurement fails a check of Flagger's: what can't be measured does. */
function failed(measurement: Measurement | null | undefined): boolean {
  return measurement === null || measurement?.broken === true;
}

interface Count {
  /** Why the canary has failed; `null` where it has not. */
  readonly failure: string | null;
  /** How many failures there are, and how many there may be. */
  readonly state: string;
}

/** Argo's way: failed when failures > failureLimit, of any one limit. */
function byLimit({ failureLimit, consecutiveErrorLimit }: ThresholdPolicy, tallies: readonly Tally[]): Count {
  const most = tallies.reduce((worst, tally) => (tally.failures > worst.failures ? tally : worst));
  const checks = most.measurements.length;
  const state = `${count(most.failures)} of ${plural(checks, 'check')} failed; more than ${count(failureLimit)} may not`;
  if (most.failures > failureLimit) {
    const latest = most.measurements.findLast((one) => one?.broken === true)?.text;
    const sum = `${count(most.failures)} of ${plural(checks, 'check')} failed; limit ${count(failureLimit)}`;
    return { failure: `${sum}: ${latest}.`, state };
  }
  const blind = tallies.find(({ errorsInARow }) => errorsInARow > consecutiveErrorLimit);
  if (blind === undefined) return { failure: null, state };
  const row = `${plural(blind.errorsInARow, 'check')} in a row`;
  return {
    failure: `${row} had no data of ${nameOf(blind.limit)}; consecutiveErrorLimit ${count(consecutiveErrorLimit)}.`,
    state,
  };
}

/** Flagger's way: a check fails as a whole; failed when there are `failureLimit`, with or without others between them. */
function byCheck({ failureLimit }: ThresholdPolicy, tallies: readonly Tally[]): Count {
  const checks = tallies[0]?.measurements.length ?? 0;
  const failing = Array.from({ length: checks }, (_, i) => tallies.find(({ measurements }) => failed(measurements[i])));
  const failures = failing.filter((tally) => tally !== undefined).length;
  const state = `${count(failures)} of ${plural(checks, 'check')} failed; limit ${count(failureLimit)}`;
  if (failures === 0 || failures < failureLimit) return { failure: null, state };
  const index = failing.findLastIndex((tally) => tally !== undefined);
  const { limit, measurements } = failing[index]!;
  return { failure: `${state}: ${measurements[index]?.text ?? `no data of ${nameOf(limit)}`}.`, state };
}

function nameOf({ metric }: Limit): string {
  return metric === 'error-rate' ? 'the success rate' : metric === 'latency-p99' ? 'p99' : `metric ${metric}`;
}

function latestText({ limit, measurements }: Tally): string {
  return measurements.at(-1)?.text ?? `no data of ${nameOf(limit)}`;
}

function nothingMeasured({ limit, measurements }: Tally): string {
  return `Nothing was measured of ${nameOf(limit)} in ${plural(measurements.length, 'check')}: the canary had no requests, or no values.`;
}

function findingOf(rule: ThresholdPolicy, tally: Tally, canaryFailed: boolean): MetricFinding {
  const { limit, measurements, failures, errorsInARow } = tally;
  const argo = rule.counting === 'argo';
  const missing = measurements.filter((one) => one === null).length;
  const bad = argo ? failures > rule.failureLimit || errorsInARow > rule.consecutiveErrorLimit : failures + missing > 0;
  const verdict: VerdictKind = canaryFailed && bad ? 'ROLLBACK' : failed(measurements.at(-1)) ? 'HOLD' : 'PROMOTE';
  const measured = measurements.length - missing;
  const without = missing === 0 ? '' : `, ${count(missing)} had no data`;
  const latest = measurements.findLast((one) => one !== null);
  return {
    metric: limit.metric,
    verdict,
    canary: latest?.value ?? null,
    comparison: null,
    unit: limit.unit,
    canaryN: measured,
    comparisonN: 0,
    test: 'limit',
    statistic: null,
    p: null,
    alpha: null,
    effect: failures,
    threshold: limit.bound,
    why:
      `${count(failures)} of ${plural(measurements.length, 'check')} broke the limit${without} ` +
      `(${argo ? 'more than' : 'of all limits together'} ${count(rule.failureLimit)}${argo ? ' may not' : ' fail the canary'}); ` +
      `latest: ${latestText(tally)}.`,
  };
}
