import { standOut } from '../../domain/canary/stand-out.js';
import type { Effect } from '../../domain/canary/effects.js';
import type { MetricFinding, Verdict } from '../../domain/canary/types.js';
import { amount, count, durationText, percent, points, probability, seconds, times } from '../../domain/words.js';
import type { Opined } from '../judging/judgement.js';

/** What the reports, on the terminal and as a page, say alike. */

const METRICS: Readonly<Record<string, string>> = {
  'error-rate': 'Error rate',
  'latency-p99': 'p99 latency',
  'hard-limit': 'Hard limit',
  'traffic-split': 'Traffic split',
};

const TESTS: Readonly<Record<string, string>> = {
  'mann-whitney': 'Mann-Whitney U',
  'fisher-exact': "Fisher's exact test",
  score: 'stratified score test',
  limit: 'limit',
  binomial: 'binomial test',
  none: 'not tested',
};

/** `Error rate over the last 3 min`: the same metric may be there for two stretches of time; its sentence says which. */
export function metricName({ metric, why }: MetricFinding): string {
  const window = /(?:since the warm-up|over the last [0-9.]+ [a-z]+)(?= \()/.exec(why)?.[0];
  return `${METRICS[metric] ?? metric}${window === undefined ? '' : ` ${window}`}`;
}

export function testName({ test }: MetricFinding): string {
  return TESTS[test] ?? test;
}

/** A metric's value on an arm, in its unit. */
export function valueText(value: number | null, unit: string): string {
  if (value === null) return 'not known';
  if (unit === 'seconds') return seconds(value);
  return unit === 'ratio' || unit === 'share' ? percent(value) : amount(value);
}

/** The value of a finding on an arm; where latency is compared by the share of slow requests, it says so. */
export function armText(finding: MetricFinding, value: number | null): string {
  const text = valueText(value, finding.unit);
  return finding.unit === 'share' && finding.metric.startsWith('latency') && value !== null ? `${text} slow` : text;
}

/** What a finding did to the verdict that it tipped. */
export function tippedText(finding: MetricFinding): string {
  return finding.verdict === 'HOLD' ? 'holds it' : 'tipped it';
}

/** `600 and 580 requests`, or blocks where ranks were compared. */
export function sizesText({ canaryN, comparisonN, test }: MetricFinding): string {
  const noun = test === 'mann-whitney' ? 'blocks' : 'requests';
  return `${count(canaryN)} and ${count(comparisonN)} ${noun}`;
}

/** `U = 212`, `z = 3.1`; null where the test has no statistic. */
export function statisticText({ statistic, test }: MetricFinding): string | null {
  if (statistic === null) return null;
  return test === 'mann-whitney' ? `U = ${count(statistic)}` : `z = ${Number(statistic.toPrecision(3))}`;
}

export function probabilityText(p: number | null): string {
  return p === null ? 'none' : probability(p);
}

export function effectText(finding: MetricFinding, interval: Effect | null): string {
  const { effect } = finding;
  if (effect === null) return 'not known';
  return isDifference(finding, interval) ? signed(effect) : times(effect);
}

/** `3.2 to 6.7 points`. */
export function intervalText(interval: Effect | null): string {
  if (interval === null) return 'not known';
  const { kind, lower, upper } = interval;
  if (kind === 'difference') return `${signed(lower).replace(' points', '')} to ${signed(upper ?? 1)}`;
  return `${times(lower).replace(' times', '')} to ${upper === null ? 'any number of times' : times(upper)}`;
}

export function thresholdText(finding: MetricFinding, interval: Effect | null): string {
  const { threshold, metric, unit } = finding;
  if (threshold === null) return 'none';
  if (metric === 'hard-limit') return valueText(threshold, unit);
  return isDifference(finding, interval) ? points(threshold) : times(threshold);
}

function isDifference({ unit, metric }: MetricFinding, interval: Effect | null): boolean {
  if (interval !== null) return interval.kind === 'difference';
  return unit === 'ratio' || metric === 'traffic-split';
}

function signed(difference: number): string {
  return `${difference > 0 ? '+' : ''}${points(difference)}`;
}

/** Which metrics are worse when it is counted how many were tested; null where none is. */
export function standOutText({ verdict: { findings } }: Opined): string | null {
  const { followed, advisory } = standOut(findings);
  const named = (metrics: readonly string[]): string => metrics.map((metric) => METRICS[metric] ?? metric).join(', ');
  const parts = [
    ...(followed.length > 0 ? [`${named(followed)} (Holm, 5 %)`] : []),
    ...(advisory.length > 0
      ? [`of the metrics that are only shown ${named(advisory)} (Benjamini and Hochberg, 5 %)`]
      : []),
  ];
  return parts.length === 0
    ? null
    : `Worse beyond chance and tolerance, counting all that were tested together: ${parts.join('; ')}.`;
}

/** `at 2 min 15 s, look 3`: when the verdict fell, from the start of the stage. */
export function whenText({ verdict, input }: Opined): string {
  const look = verdict.look === 0 ? 'before the first look' : `look ${verdict.look}`;
  return `${momentText(verdict.atMs - input.startMs)} after the start, ${look}`;
}

/** `75 s`, `2 min 15 s`, `1 h 5 min`: to the second, unlike durations. */
export function momentText(ms: number): string {
  const whole = Math.round(ms / 1000);
  if (whole < 120) return durationText(ms);
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const parts = [h > 0 ? `${h} h` : '', min > 0 ? `${min} min` : '', s > 0 && h === 0 ? `${s} s` : ''];
  return parts.filter((part) => part !== '').join(' ');
}

const HOLDS: Readonly<Record<NonNullable<Verdict['hold']>, string>> = {
  watching: 'still watching',
  'insufficient-data': 'too little data',
  'no-data': 'no data',
  inconclusive: 'inconclusive',
  'shared-incident': 'shared incident',
  'split-mismatch': 'traffic not split as set',
};

/** `HOLD: inconclusive`. */
export function verdictText({ kind, hold }: Pick<Verdict, 'kind' | 'hold'>): string {
  return hold === null ? kind : `${kind}: ${HOLDS[hold] ?? hold}`;
}
