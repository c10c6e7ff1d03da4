import type { ArmSamples } from './types.js';
import { count, plural } from '../words.js';

/** What makes samples no raw counters: the place, the value, and what to do. */
export interface SampleFault {
  /** Such as `canary.requests_total[3]`. */
  readonly field: string;
  readonly problem: string;
  readonly remedy: string;
}

/** How the fields are called where the samples come from. */
export interface FieldNames {
  readonly times: string;
  readonly bounds: string;
  readonly requests: (series: number) => string;
  readonly errors: (series: number) => string;
  readonly buckets: (series: number) => string;
  /** The values of a further metric. */
  readonly values: (metric: string) => string;
}

/** The names of the fields in a stored question to the judge. */
export function storedNames(arm: 'canary' | 'comparison'): FieldNames {
  const of = (name: string) => (series: number) => `${arm}.series[${series}].${name}`;
  return {
    times: `${arm}.timesMs`,
    bounds: `${arm}.leSeconds`,
    requests: of('requests'),
    errors: of('errors'),
    buckets: of('buckets'),
    values: (metric) => `${arm}.values.${metric}`,
  };
}

/** A counter goes down when its process restarts; one that does so in more than this share of its steps is no counter. */
const MOST_RESETS = 1 / 3;
const RESETS_TO_SAY_SO = 6;

/**
 * The first thing that keeps an arm's samples from being what the judge takes them for, or `null`. It is stricter than
 * the judge itself, which must not go blind over a single odd scrape: recordings come from people, who may have written
 * rates in place of counters.
 */
export function sampleFault(arm: ArmSamples, names: FieldNames): SampleFault | null {
  const { timesMs, leSeconds } = arm;
  const disorder = timesMs.findIndex((time, i) => !Number.isFinite(time) || (i > 0 && time <= timesMs[i - 1]!));
  if (disorder >= 0) {
    const before = timesMs[disorder - 1];
    const problem = `${timesMs[disorder]}${before === undefined ? ' is no instant' : ` does not come after ${before}`}`;
    return {
      field: `${names.times}[${disorder}]`,
      problem,
      remedy: 'give the instants of the scrapes in ascending order',
    };
  }
  const infinity = leSeconds.indexOf(null);
  const finite = infinity < 0 ? leSeconds : leSeconds.slice(0, infinity);
  const unordered = finite.findIndex((bound, i) => i > 0 && bound! <= finite[i - 1]!);
  if ((infinity >= 0 && infinity < leSeconds.length - 1) || unordered >= 0) {
    const at = unordered >= 0 ? unordered : infinity;
    const problem = unordered >= 0 ? 'the bounds do not ascend here' : '+Inf is not the last bound';
    return { field: `${names.bounds}[${at}]`, problem, remedy: 'give the upper bounds in ascending order, +Inf last' };
  }
  for (const [i, series] of arm.series.entries()) {
    const fault =
      counterFault(series.requests, names.requests(i), timesMs.length, names.times) ??
      counterFault(series.errors, names.errors(i), timesMs.length, names.times) ??
      moreErrors(series, names.requests(i), names.errors(i)) ??
      bucketFault(series.buckets, names.buckets(i), arm, names);
    if (fault !== null) return fault;
  }
  for (const [metric, values] of Object.entries(arm.values ?? {})) {
    const fault = valuesFault(values, names.values(metric), timesMs.length, names.times);
    if (fault !== null) return fault;
  }
  return null;
}

function valuesFault(
  values: readonly (number | null)[],
  field: string,
  scrapes: number,
  times: string,
): SampleFault | null {
  if (values.length !== scrapes) return unequal(field, values.length, scrapes, times);
  const odd = values.findIndex((value) => value !== null && !Number.isFinite(value));
  if (odd < 0) return null;
  const remedy = 'give a number, or null where nothing was measured';
  return { field: `${field}[${odd}]`, problem: `${values[odd]} is no measurement`, remedy };
}

function counterFault(
  values: readonly (number | null)[],
  field: string,
  scrapes: number,
  times: string,
): SampleFault | null {
  if (values.length !== scrapes) return unequal(field, values.length, scrapes, times);
  const odd = values.findIndex((value) => value !== null && !(value >= 0 && Number.isFinite(value)));
  if (odd >= 0) {
    const problem = `${values[odd]} is no counter value`;
    return {
      field: `${field}[${odd}]`,
      problem,
      remedy: 'give raw cumulative counters: 0 or more, null for a missing scrape',
    };
  }
  const seen = values.filter((value) => value !== null);
  const falls = seen.filter((value, k) => k > 0 && value < seen[k - 1]!).length;
  if (falls < RESETS_TO_SAY_SO || falls <= MOST_RESETS * (seen.length - 1)) return null;
  const problem =
    `goes down at ${count(falls)} of ${plural(seen.length - 1, 'step')}: a counter only does so when its process ` +
    'restarts, so these look like rates or counts per scrape';
  return { field, problem, remedy: 'give the raw cumulative counter, as the process exposes it' };
}

function moreErrors(
  series: ArmSamples['series'][number],
  requestsField: string,
  errorsField: string,
): SampleFault | null {
  const last = series.errors.findLastIndex((value, k) => value !== null && series.requests[k] != null);
  const [errors, requests] = [series.errors[last] ?? 0, series.requests[last] ?? 0];
  // The two counters are not read at one instant: a few more may be seen.
  if (last < 0 || errors <= requests + Math.max(10, 0.01 * requests)) return null;
  const problem = `${count(errors)} errors, of ${count(requests)} requests (${requestsField}[${last}])`;
  return {
    field: `${errorsField}[${last}]`,
    problem,
    remedy: 'errors must be counted among the requests: are the two swapped?',
  };
}

function bucketFault(
  rows: ArmSamples['series'][number]['buckets'],
  field: string,
  arm: ArmSamples,
  names: FieldNames,
): SampleFault | null {
  if (rows.length === 0) return null;
  if (rows.length !== arm.timesMs.length) return unequal(field, rows.length, arm.timesMs.length, names.times);
  let falls = 0;
  let first = -1;
  let seen = 0;
  for (const [k, row] of rows.entries()) {
    if (row === null) continue;
    if (row.length !== arm.leSeconds.length) {
      return unequal(`${field}[${k}]`, row.length, arm.leSeconds.length, names.bounds);
    }
    const odd = row.findIndex((value) => !(value >= 0 && Number.isFinite(value)));
    if (odd >= 0) {
      const problem = `${row[odd]} is no counter value`;
      return { field: `${field}[${k}][${odd}]`, problem, remedy: 'give raw cumulative buckets: 0 or more' };
    }
    seen++;
    if (!row.some((value, b) => b > 0 && value < row[b - 1]!)) continue;
    falls++;
    if (first < 0) first = k;
  }
  if (falls <= MOST_RESETS * seen) return null;
  const problem = `goes down from one bound to the next, as in ${plural(falls, 'row')} of ${count(seen)}`;
  const remedy = 'give cumulative buckets: each counts all requests up to its bound, as Prometheus has it';
  return { field: `${field}[${first}]`, problem, remedy };
}

function unequal(field: string, has: number, wanted: number, other: string): SampleFault {
  const problem = `has ${plural(has, 'value')} where ${other} has ${count(wanted)}`;
  return { field, problem, remedy: 'give one value for each; null stands for a scrape that is missing' };
}

/** A fault in one line. */
export function faultText({ field, problem, remedy }: SampleFault): string {
  return `${field}: ${problem}; ${remedy}`;
}
