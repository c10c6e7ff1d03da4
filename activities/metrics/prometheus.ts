import { z } from 'zod';
import type { ArmSamples } from '../../domain/canary/types.js';
import { canonicalNumber } from '../../domain/canonical.js';
import type { CustomQueries, PrometheusTemplate } from '../../domain/policy.js';
import type { Arm } from '../../domain/target.js';
import { reasonOf } from './metrics-source.js';
import type { MetricsAnswer, MetricsQuery, MetricsSource } from './metrics-source.js';
import { ScrapeCadence } from './scrape-cadence.js';
import { fillQuery, querySetOf } from './templates.js';
import type { QuerySet } from './templates.js';

/** Prometheus refuses more points than this in one series; a day and a half at 15 s is far from any look. */
const MAX_POINTS = 10_000;
/**
 * Prometheus shows the last sample of a series for five minutes where nothing marks it as stale: after a crash of its
 * own, or behind remote write. What is older than two scrapes is no sample of this instant.
 */
const FRESH_STEPS = 2;
/** Errors of the far side go into histories and messages. */
const MAX_ERROR_LENGTH = 300;

/** The label that tells the parts of a query apart. */
const PART = 'slipway_part';

/** Seconds since the epoch, and the value as text. */
type Point = readonly [number, string];

const Matrix = z.object({
  status: z.literal('success'),
  data: z.object({
    resultType: z.literal('matrix'),
    result: z.array(
      z.object({
        metric: z.record(z.string(), z.string()),
        // Points by the hundred thousand, which a schema of each would hold up all other watches for.
        values: z.custom<readonly Point[]>((values) => Array.isArray(values) && values.every(isPoint)),
      }),
    ),
  }),
});
type Series = z.infer<typeof Matrix>['data']['result'][number];

function isPoint(value: unknown): value is Point {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'number' && typeof value[1] === 'string';
}

const Failure = z.object({ status: z.literal('error'), errorType: z.string(), error: z.string() });

export interface PrometheusOptions {
  /** Base address, e.g. `http://prometheus:9090`. */
  readonly url: string;
  readonly queries: PrometheusTemplate | CustomQueries;
  /** PromQL of further metrics by name: one series an arm. @default {} */
  readonly values?: Readonly<Record<string, string>>;
  /** The whole `Authorization` header, or null. Never shown. */
  readonly authorization: string | null;
  /** Limit for each call, body included, ms. @default 2500 */
  readonly timeoutMs?: number;
}

/**
 * Raw counters by range query, on the grid of the query: one stretch after the other gives the same samples as all at
 * once. A target that can't be scraped has no sample at that instant, instead of one that stands still.
 */
export function createPrometheusSource(options: PrometheusOptions): MetricsSource {
  const set = querySetOf(options.queries);
  const further = Object.entries(options.values ?? {});
  const unusable = whyUnusable(options);
  if (unusable !== null) return { samples: () => Promise.resolve({ kind: 'unreachable', reason: unusable }) };
  const cadence = new ScrapeCadence();
  return {
    async samples(query, signal): Promise<MetricsAnswer> {
      const { stepMs, arms, originMs } = query;
      const startMs = originMs + Math.ceil((query.fromMs - originMs) / stepMs) * stepMs;
      const endMs = originMs + Math.floor((query.toMs - originMs) / stepMs) * stepMs;
      if (endMs < startMs) return { kind: 'value', arms: {} };
      const grid = { startMs: Math.max(startMs, endMs - MAX_POINTS * stepMs), endMs, stepMs };
      try {
        const parts = arms.flatMap((arm) => partsOf(set, further, query, arm));
        const found = await ask(options, parts, grid, signal);
        const of = (part: Part['name']): readonly Series[] => found.filter(({ metric }) => metric[PART] === part);
        const samplesOf = (arm: Arm): ArmSamples | null => {
          const samples = armSamples(set, grid, (kind) => of(`${arm}/${kind}`));
          if (samples === null || further.length === 0) return samples;
          const values = further.map(
            ([name], index) => [name, valuesOf(name, of(`${arm}/value-${index}`), grid)] as const,
          );
          return { ...samples, values: Object.fromEntries(values) };
        };
        const seen = arms.map(({ arm }) => [arm, samplesOf(arm)] as const).filter(([, samples]) => samples !== null);
        const unfit = arms.flatMap(({ arm, version }) => {
          const instants = scrapesOf(of(`${arm}/scrapedAt`), version);
          const everyMs = cadence.slower(instants, stepMs);
          return everyMs === null ? [] : [tooSeldom(arm, everyMs, stepMs)];
        });
        if (seen.length > 0) {
          const found = Object.fromEntries(seen) as Partial<Record<Arm, ArmSamples>>;
          return { kind: 'value', arms: found, ...(unfit[0] === undefined ? {} : { unfit: unfit[0] }) };
        }
        const [first] = arms;
        const text = first === undefined ? set.requests : fillQuery(set.requests, query.lane, query.target, first);
        const seconds = (FRESH_STEPS * stepMs) / 1000;
        return {
          kind: 'no-data',
          detail: `Prometheus has no series, or none scraped within ${seconds} s, for ${text}`,
        };
      } catch (error) {
        if (signal.aborted && !(signal.reason instanceof Error && signal.reason.name === 'TimeoutError')) throw error;
        return { kind: 'unreachable', reason: `Prometheus at ${origin(options.url)}: ${reasonOf(error)}` };
      }
    },
  };
}

interface Grid {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

type Kind = 'requests' | 'errors' | 'latencyBuckets' | 'scrapedAt' | `value-${number}`;

/** One of the queries that a look consists of. */
interface Part {
  readonly name: `${Arm}/${Kind}`;
  readonly text: string;
}

function partsOf(
  { requests, errors, latencyBuckets, scrapedAt }: QuerySet,
  further: readonly (readonly [name: string, query: string])[],
  { lane, target }: MetricsQuery,
  arm: MetricsQuery['arms'][number],
): readonly Part[] {
  const part = (kind: Kind, text: string): Part => ({
    name: `${arm.arm}/${kind}`,
    text: fillQuery(text, lane, target, arm),
  });
  return [
    part('requests', requests),
    part('errors', errors),
    ...(latencyBuckets === null ? [] : [part('latencyBuckets', latencyBuckets)]),
    part('scrapedAt', scrapedAt),
    // By number: a name may hold what `label_replace` would take for a reference.
    ...further.map(([, text], index) => part(`value-${index}`, text)),
  ];
}

/** When the samples of each series were taken, ms since the epoch. */
function scrapesOf(series: readonly Series[], version: string): ReadonlyMap<string, readonly number[]> {
  const instants = series.map(({ metric, values }) => {
    const inOrder = values.map(([, text]) => 1000 * Number(text)).filter((atMs) => Number.isFinite(atMs));
    return [JSON.stringify([version, metric]), inOrder] as const;
  });
  return new Map(instants);
}

/** Of samples that come so seldom most are stale when they are asked for, and what is between two of them is taken for a gap. */
function tooSeldom(arm: Arm, everyMs: number, stepMs: number): string {
  const seconds = (ms: number): number => Number((ms / 1000).toPrecision(ms < 10_000 ? 2 : 3));
  const [real, said] = [seconds(everyMs), seconds(stepMs)];
  return (
    `Prometheus scrapes the ${arm} every ${real} s, and analysis.scrapeInterval says ${said} s: ` +
    `what is between two of its samples can't be judged; set scrapeInterval to ${real}s, or let Prometheus scrape every ${said} s`
  );
}

/** One value an instant; NaN and infinities are none. */
function valuesOf(name: string, series: readonly Series[], grid: Grid): readonly (number | null)[] {
  // Whether pods' values are to be added or averaged, only the query's author knows.
  if (series.length > 1)
    throw new Error(
      `metric ${name}: its query gives ${series.length} series of one arm; aggregate them to one, as in avg(…)`,
    );
  return onGrid(series, grid, Math.floor((grid.endMs - grid.startMs) / grid.stepMs) + 1);
}

/**
 * All parts in one query, so that all are of one instant: a scrape that is stored between a query for errors and one for
 * requests would look as if the errors had been reset, and at the next look as if all of them were new.
 */
async function ask(
  options: PrometheusOptions,
  parts: readonly Part[],
  grid: Grid,
  signal: AbortSignal,
): Promise<readonly Series[]> {
  // The line break ends a comment at the end of a part.
  const labelled = parts.map(({ name, text }) => `label_replace((${text}\n), "${PART}", "${name}", "", "")`);
  try {
    return await rangeQuery(options, labelled.join(' or '), grid, signal);
  } catch (error) {
    if (!(error instanceof QueryRefused)) throw error;
    // Which part it was can't be told from an answer to all of them.
    for (const { text } of parts) await rangeQuery(options, text, grid, signal);
    throw error;
  }
}

function armSamples(set: QuerySet, grid: Grid, those: (kind: Kind) => readonly Series[]): ArmSamples | null {
  const [requests, errors, buckets] = [those('requests'), those('errors'), those('latencyBuckets')];
  const scrapes = those('scrapedAt');
  const instances = [...new Set(requests.map(instanceOf))];
  const stranger = [...errors, ...buckets].map(instanceOf).find((instance) => !instances.includes(instance));
  // Left out, they would make every release look healthy.
  if (stranger !== undefined)
    throw new Error(`errors or latencies of ${stranger} belong to no series of requests: the queries' labels differ`);
  const length = Math.floor((grid.endMs - grid.startMs) / grid.stepMs) + 1;
  const timesMs = Array.from({ length }, (_, index) => grid.startMs + index * grid.stepMs);
  const bounds = boundsOf(buckets);
  const series = instances.map((instance) => {
    const of = (all: readonly Series[]): readonly Series[] => all.filter((one) => instanceOf(one) === instance);
    const scrapedAt = onGrid(of(scrapes), grid, length, Math.max);
    const counted = onGrid(of(requests), grid, length).map((value, index) => {
      const ageMs = (timesMs[index] ?? 0) - (scrapedAt[index] ?? -Infinity) * 1000;
      return ageMs <= FRESH_STEPS * grid.stepMs ? value : null;
    });
    const failed = onGrid(of(errors), grid, length);
    const mine = of(buckets);
    return {
      instance,
      requests: counted,
      // A counter of errors that is not there yet has counted none.
      errors: counted.map((value, index) => (value === null ? null : (failed[index] ?? 0))),
      buckets:
        mine.length === 0
          ? []
          : rows(mine, bounds, grid, length).map((row, index) => (counted[index] === null ? null : row)),
    };
  });
  const seen = series.filter(({ requests: counted }) => counted.some((value) => value !== null));
  if (seen.length === 0) return null;
  return {
    timesMs,
    leSeconds: bounds.map((bound) =>
      bound === '+Inf' ? null : canonicalNumber(Number(bound) * set.bucketUnitSeconds),
    ),
    series: seen,
  };
}

function rows(
  series: readonly Series[],
  bounds: readonly string[],
  grid: Grid,
  length: number,
): readonly (readonly number[] | null)[] {
  const columns = bounds.map((bound) =>
    onGrid(
      series.filter((one) => boundOf(one) === bound),
      grid,
      length,
    ),
  );
  return Array.from({ length }, (_, index) => {
    const row = columns.map((column) => column[index] ?? null);
    return row.every((value) => value !== null) ? row : null;
  });
}

function boundsOf(series: readonly Series[]): readonly string[] {
  const bounds = [...new Set(series.map(boundOf))];
  const value = (bound: string): number => (bound === '+Inf' ? Infinity : Number(bound));
  return bounds.sort((a, b) => value(a) - value(b));
}

function boundOf({ metric }: Series): string {
  return metric['le'] ?? '+Inf';
}

/**
 * The values of one process: summed, where it counts in several series (by status code, say). With as many digits as a
 * store keeps, so that what is judged is what can be judged again.
 */
function onGrid(
  several: readonly Series[],
  { startMs, stepMs }: Grid,
  length: number,
  join: (one: number, other: number) => number = (one, other) => one + other,
): readonly (number | null)[] {
  const joined: (number | null)[] = Array.from({ length }, () => null);
  for (const series of several) {
    for (const [at, text] of series.values) {
      const index = Math.round((at * 1000 - startMs) / stepMs);
      const value = Number(text);
      if (index < 0 || index >= length || !Number.isFinite(value)) continue;
      const before = joined[index] ?? null;
      joined[index] = before === null ? value : join(before, value);
    }
  }
  return joined.map((value) => (value === null ? null : canonicalNumber(value)));
}

/** What names a process, the surest first: behind a collector `pod` and `instance` are the collector's. */
const PROCESS_LABELS = ['service_instance_id', 'k8s_pod_name', 'pod', 'instance'] as const;

/** What resets on its own: the process or pod where it is named, else the scrape target, else whatever labels there are. */
function instanceOf({ metric }: Series): string {
  const { le: _, __name__: __, [PART]: ___, ...labels } = metric;
  const named = PROCESS_LABELS.find((label) => labels[label] !== undefined);
  return named === undefined ? JSON.stringify(labels) : labels[named]!;
}

/** `fetch` would refuse these with an error that shows the secret. */
function whyUnusable({ url, authorization }: PrometheusOptions): string | null {
  const { username, password, origin } = new URL(url);
  if (username !== '' || password !== '')
    return `Prometheus at ${origin}: its address holds a password, which belongs into the secret of \`authorization\``;
  try {
    new Headers({ authorization: authorization ?? '' });
    return null;
  } catch {
    return `Prometheus at ${origin}: the secret of \`authorization\` is no header: it holds a line break or the like`;
  }
}

/** What Prometheus says of a query that it will never answer: no syntax, or types and labels that don't go together. */
const REFUSALS: ReadonlySet<string> = new Set(['bad_data', 'execution']);

class QueryRefused extends Error {
  override readonly name = 'QueryRefused';
}

async function rangeQuery(
  options: PrometheusOptions,
  query: string,
  grid: Grid,
  signal: AbortSignal,
): Promise<readonly Series[]> {
  const { url, authorization, timeoutMs = 2500 } = options;
  const address = new URL(url);
  address.pathname = `${address.pathname.replace(/\/$/, '')}/api/v1/query_range`;
  const response = await fetch(address, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      ...(authorization === null ? {} : { authorization }),
    },
    body: new URLSearchParams({
      query,
      start: String(grid.startMs / 1000),
      end: String(grid.endMs / 1000),
      step: String(grid.stepMs / 1000),
    }),
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    redirect: 'error',
  });
  const text = await response.text();
  const parsed = Matrix.safeParse(jsonOf(text));
  if (parsed.success) return parsed.data.data.result;
  const failure = Failure.safeParse(jsonOf(text));
  if (!failure.success) throw new Error(`answered ${response.status} with something that is no range of samples`);
  const { errorType, error } = failure.data;
  const said = `${errorType}: ${error.slice(0, MAX_ERROR_LENGTH)} (query ${query.slice(0, MAX_ERROR_LENGTH)})`;
  throw REFUSALS.has(errorType) ? new QueryRefused(said) : new Error(said);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not JSON: a proxy's page, say. The caller tells the status instead.
    return null;
  }
}

function origin(url: string): string {
  return new URL(url).origin;
}
