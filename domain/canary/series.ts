import type { ArmSamples } from './types.js';
import type { CountPair } from './counts.js';

/** What a process counted between two of its scrapes that follow each other. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
  /** The increases of its counters, in the order in which they were given. */
  readonly increases: readonly number[];
}

/** Requests and failed requests. */
export interface Counts {
  readonly requests: number;
  readonly errors: number;
}

/** An arm's counters as increases. Spans of one process never overlap; those of several do. */
export interface ArmHistory {
  /** Upper bounds of the latency buckets in seconds, without +Inf; empty where there is no histogram. */
  readonly boundsSeconds: readonly number[];
  /** Increases of [requests, errors]. */
  readonly counts: readonly Span[];
  /** Increases of the cumulative buckets, of which the last is +Inf: all requests. */
  readonly histograms: readonly Span[];
  /** Further metrics by name: what was measured, in order of time. */
  readonly values: ReadonlyMap<string, readonly Measured[]>;
}

/** All that is known of an arm by an instant. */
export interface ArmEvidence extends ArmHistory {
  /** Instant of the last scrape that any process answered, ms since the epoch. */
  readonly lastSampleMs: number | null;
}

/** A value of a further metric. */
export interface Measured {
  readonly atMs: number;
  readonly value: number;
}

/** Cumulative bucket counts; the last one counts all requests. */
export type Histogram = readonly number[];

/** One arm in one block. */
export interface ArmBlock extends Counts {
  /** `null` where the arm has no histogram, or the block no observation. */
  readonly histogram: Histogram | null;
}

/** The same stretch of time on both arms. */
export interface Block {
  readonly fromMs: number;
  readonly toMs: number;
  readonly canary: ArmBlock;
  readonly comparison: ArmBlock;
}

/** A quantile that was read from a histogram. */
export interface Quantile {
  /** Seconds; where `saturated`, only a lower bound. */
  readonly seconds: number;
  /** The quantile lies beyond the largest finite bound: it is at least that. */
  readonly saturated: boolean;
}

/** Whether a quantile is above a limit. One beyond the largest bound is above whatever limit that bound reaches. */
export function isAbove({ seconds, saturated }: Quantile, limit: number): boolean {
  return saturated ? seconds >= limit : seconds > limit;
}

/** A span that is longer than this many scrape intervals bridges a missing scrape. */
const GAP_SCRAPES = 1.5;

/**
 * Turns an arm's raw counters into increases, leaving out what was scraped after `untilMs`.
 *
 * A process counts from its first scrape on: what it counted before has no known time. A counter that went down was
 * reset, and what it shows is what it counted since (as Prometheus has it). A missing scrape makes one longer span.
 *
 * @throws RangeError when arrays differ in length, instants do not ascend or bounds do not ascend.
 */
export function evidenceOf(arm: ArmSamples, untilMs: number): ArmEvidence {
  checkArm(arm);
  const end = arm.timesMs.findIndex((time) => time > untilMs);
  const times = end < 0 ? arm.timesMs : arm.timesMs.slice(0, end);
  const boundsSeconds = arm.leSeconds.filter((bound) => bound !== null);
  const hasInfinity = boundsSeconds.length < arm.leSeconds.length;
  const counts: Span[] = [];
  const histograms: Span[] = [];
  let lastSampleMs: number | null = null;
  for (const { requests, errors, buckets } of arm.series) {
    const counters = times.map((_, i) => {
      const [all, failed] = [requests[i] ?? null, errors[i] ?? null];
      return all === null || failed === null ? null : [all, failed];
    });
    counts.push(...increasesOf(times, counters));
    const last = counters.findLastIndex((row) => row !== null);
    if (last >= 0) lastSampleMs = Math.max(lastSampleMs ?? -Infinity, times[last]!);
    if (boundsSeconds.length === 0) continue;
    // Without a +Inf bucket the slowest requests are in none: the counter of all requests stands in for it.
    const rows = times.map((_, i) => {
      const row = buckets[i] ?? null;
      const all = requests[i] ?? null;
      if (row === null || row.length !== arm.leSeconds.length) return null;
      if (hasInfinity) return row;
      return all === null ? null : [...row, Math.max(all, row.at(-1) ?? 0)];
    });
    histograms.push(...increasesOf(times, rows));
  }
  return { boundsSeconds, counts, histograms, lastSampleMs, values: measuredUntil(arm, times.length) };
}

function measuredUntil({ timesMs, values = {} }: ArmSamples, length: number): ArmEvidence['values'] {
  const found = new Map<string, readonly Measured[]>();
  for (const [name, all] of Object.entries(values)) {
    const measured: Measured[] = [];
    for (let i = 0; i < length; i++) {
      const value = all[i] ?? null;
      if (value !== null) measured.push({ atMs: timesMs[i]!, value });
    }
    found.set(name, measured);
  }
  return found;
}

/** The same as `evidenceOf` at an earlier instant, without going through the counters again. */
export function evidenceUntil(evidence: ArmEvidence, untilMs: number): ArmHistory {
  const { boundsSeconds, counts, histograms, values } = evidence;
  if (evidence.lastSampleMs !== null && evidence.lastSampleMs <= untilMs) return evidence;
  const before = (spans: readonly Span[]): readonly Span[] => spans.filter(({ toMs }) => toMs <= untilMs);
  return {
    boundsSeconds,
    counts: before(counts),
    histograms: before(histograms),
    values: new Map([...values].map(([name, all]) => [name, all.filter(({ atMs }) => atMs <= untilMs)])),
  };
}

function checkArm({ timesMs, leSeconds, series, values = {} }: ArmSamples): void {
  if (!ascends(timesMs)) throw new RangeError('the instants of the scrapes must ascend');
  const finite = leSeconds[leSeconds.length - 1] === null ? leSeconds.slice(0, -1) : leSeconds;
  if (finite.some((bound) => bound === null) || !ascends(finite as readonly number[])) {
    throw new RangeError('the bounds of the latency buckets must ascend, with +Inf (null) at the end only');
  }
  for (const { instance, requests, errors, buckets } of series) {
    for (const [name, values] of Object.entries({ requests, errors, buckets })) {
      if (values.length === timesMs.length || (name === 'buckets' && values.length === 0)) continue;
      throw new RangeError(`${instance}: ${values.length} values of ${name} for ${timesMs.length} scrapes`);
    }
  }
  for (const [name, all] of Object.entries(values)) {
    if (all.length !== timesMs.length)
      throw new RangeError(`metric ${name}: ${all.length} values for ${timesMs.length} scrapes`);
    const index = all.findIndex((value) => value !== null && !Number.isFinite(value));
    if (index >= 0)
      throw new RangeError(
        `metric ${name}: ${all[index]} at scrape ${index} is no measurement: give null for a missing one`,
      );
  }
}

function ascends(values: readonly number[]): boolean {
  return values.every((value, i) => Number.isFinite(value) && (i === 0 || value > values[i - 1]!));
}

/** The increases between scrapes that were answered. If any of the counters went down, the process restarted. */
function increasesOf(timesMs: readonly number[], rows: readonly (readonly number[] | null)[]): Span[] {
  const spans: Span[] = [];
  let before: readonly number[] | null = null;
  let fromMs = 0;
  for (const [i, row] of rows.entries()) {
    if (row === null) continue;
    const toMs = timesMs[i]!;
    if (before !== null) {
      const previous: readonly number[] = before;
      const reset = row.some((value, k) => value < (previous[k] ?? 0));
      spans.push({ fromMs, toMs, increases: reset ? row : row.map((value, k) => value - (previous[k] ?? 0)) });
    }
    before = row;
    fromMs = toMs;
  }
  return spans;
}

/** Requests and errors of the spans that end within (fromMs, toMs] and begin at `notBeforeMs` or later. */
export function countsWithin(arm: ArmHistory, fromMs: number, toMs: number, notBeforeMs: number): Counts {
  return toCounts(addUp(spansWithin(arm.counts, fromMs, toMs, notBeforeMs)));
}

/**
 * The requests of the spans that end by an instant and begin at `notBeforeMs` or later. It is asked for each look of a stage
 * that may be held for a day, at every look: so spans are added up once.
 */
export function requestsBy(arm: ArmHistory, notBeforeMs: number): (atMs: number) => number {
  const spans = arm.counts.filter(({ fromMs }) => fromMs >= notBeforeMs).sort((a, b) => a.toMs - b.toMs);
  const sums = new Float64Array(spans.length + 1);
  for (const [i, { increases }] of spans.entries()) sums[i + 1] = sums[i]! + (increases[0] ?? 0);
  return (atMs) => {
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle]!.toMs <= atMs) low = middle + 1;
      else high = middle;
    }
    return Math.round(sums[low]!);
  };
}

/** The histogram of the spans that end within (fromMs, toMs] and begin at `notBeforeMs` or later. */
export function histogramWithin(arm: ArmHistory, fromMs: number, toMs: number, notBeforeMs: number): Histogram | null {
  return toHistogram(addUp(spansWithin(arm.histograms, fromMs, toMs, notBeforeMs)));
}

function spansWithin(spans: readonly Span[], fromMs: number, toMs: number, notBeforeMs: number): readonly Span[] {
  return spans.filter((span) => span.toMs > fromMs && span.toMs <= toMs && span.fromMs >= notBeforeMs);
}

export interface BlockGrid {
  readonly fromMs: number;
  readonly toMs: number;
  readonly blockMs: number;
  readonly scrapeIntervalMs: number;
}

/**
 * Cuts both arms into the same blocks of time. Increases are counted once, in the block in which their span ends, so
 * blocks share no data. A span over a missing scrape counts only in a block that contains all of it. Blocks in which an
 * arm was not seen at all are left out for both; a last block that is not over yet is there, but shorter.
 */
export function blocksOf(canary: ArmHistory, comparison: ArmHistory, grid: BlockGrid): Block[] {
  const a = { counts: byBlock(canary.counts, grid), histograms: byBlock(canary.histograms, grid) };
  const b = { counts: byBlock(comparison.counts, grid), histograms: byBlock(comparison.histograms, grid) };
  const blocks: Block[] = [];
  for (const [index, counts] of a.counts) {
    const others = b.counts.get(index);
    if (others === undefined) continue;
    const fromMs = grid.fromMs + index * grid.blockMs;
    blocks.push({
      fromMs,
      toMs: Math.min(fromMs + grid.blockMs, grid.toMs),
      canary: { ...toCounts(counts), histogram: toHistogram(a.histograms.get(index)) },
      comparison: { ...toCounts(others), histogram: toHistogram(b.histograms.get(index)) },
    });
  }
  return blocks.sort((x, y) => x.fromMs - y.fromMs);
}

/**
 * One arm in each block of the grid; `null` where it was not seen. Where arms are not compared block by block, each keeps
 * what the other lacks.
 */
export function armBlocksOf(arm: ArmHistory, grid: BlockGrid): (ArmBlock | null)[] {
  const counts = byBlock(arm.counts, grid);
  const histograms = byBlock(arm.histograms, grid);
  const length = Math.max(0, Math.ceil((grid.toMs - grid.fromMs) / grid.blockMs));
  return Array.from({ length }, (_, index) => {
    const counted = counts.get(index);
    return counted === undefined ? null : { ...toCounts(counted), histogram: toHistogram(histograms.get(index)) };
  });
}

/** The values of a further metric that were measured within (fromMs, toMs], in order of time. */
export function valuesWithin(arm: ArmHistory, metric: string, fromMs: number, toMs: number): readonly Measured[] {
  return (arm.values.get(metric) ?? []).filter(({ atMs }) => atMs > fromMs && atMs <= toMs);
}

function byBlock(spans: readonly Span[], grid: BlockGrid): Map<number, number[]> {
  const { fromMs, toMs, blockMs, scrapeIntervalMs } = grid;
  const sums = new Map<number, number[]>();
  for (const span of spans) {
    if (span.fromMs < fromMs || span.toMs > toMs) continue;
    const index = Math.ceil((span.toMs - fromMs) / blockMs) - 1;
    const bridgesGap = span.toMs - span.fromMs > GAP_SCRAPES * scrapeIntervalMs;
    if (bridgesGap && span.fromMs < fromMs + index * blockMs - scrapeIntervalMs / 2) continue;
    const sum = sums.get(index);
    if (sum === undefined) sums.set(index, [...span.increases]);
    else addTo(sum, span.increases);
  }
  return sums;
}

function addUp(spans: readonly Span[]): number[] | undefined {
  let sum: number[] | undefined;
  for (const span of spans) {
    if (sum === undefined) sum = [...span.increases];
    else addTo(sum, span.increases);
  }
  return sum;
}

function addTo(sum: number[], increases: readonly number[]): void {
  for (let k = 0; k < sum.length; k++) sum[k]! += increases[k] ?? 0;
}

/** Counters of one process are not read at one instant: an error may be seen before its request. */
function toCounts(sum: readonly number[] | undefined): Counts {
  const requests = Math.round(sum?.[0] ?? 0);
  return { requests, errors: Math.min(requests, Math.round(sum?.[1] ?? 0)) };
}

/** Makes the counts grow from bucket to bucket, as Prometheus does: buckets are not read at one instant either. */
function toHistogram(sum: readonly number[] | undefined): Histogram | null {
  if (sum === undefined) return null;
  let highest = 0;
  const monotone = sum.map((value) => (highest = Math.max(highest, Math.round(value))));
  return highest === 0 ? null : monotone;
}

/** Requests in a histogram. */
export function totalOf(histogram: Histogram): number {
  return histogram[histogram.length - 1] ?? 0;
}

/** Requests that took longer than the bound with this index. */
export function slowerThan(histogram: Histogram, boundIndex: number): number {
  return totalOf(histogram) - (histogram[boundIndex] ?? 0);
}

/** Adds histograms of the same bounds; `null` if there is none. */
export function addHistograms(histograms: readonly (Histogram | null)[]): Histogram | null {
  const present = histograms.filter((histogram) => histogram !== null);
  return toHistogram(addUp(present.map((increases) => ({ fromMs: 0, toMs: 0, increases }))));
}

/**
 * A quantile of a histogram as Prometheus's `histogram_quantile` reads it: linear within the bucket, from 0 in the first.
 * In the +Inf bucket it is the largest finite bound, and flagged, as the true value may be anything above.
 *
 * @param q 0 to 1
 * @returns seconds; `null` without observations
 */
export function histogramQuantile(q: number, boundsSeconds: readonly number[], histogram: Histogram): Quantile | null {
  const index = bucketOf(q, boundsSeconds, histogram);
  return index === null ? null : linearWithin(index, q, boundsSeconds, histogram);
}

/** Index of the bucket in which a quantile lies, -1 if it is above the largest bound; `null` without observations. */
function bucketOf(q: number, boundsSeconds: readonly number[], histogram: Histogram): number | null {
  const rank = q * totalOf(histogram);
  if (totalOf(histogram) === 0 || boundsSeconds.length === 0) return null;
  return boundsSeconds.findIndex((_, i) => (histogram[i] ?? 0) >= rank);
}

function linearWithin(index: number, q: number, boundsSeconds: readonly number[], histogram: Histogram): Quantile {
  if (index < 0) return { seconds: boundsSeconds.at(-1)!, saturated: true };
  const rank = q * totalOf(histogram);
  const upper = boundsSeconds[index]!;
  if (index === 0 && upper <= 0) return { seconds: upper, saturated: false };
  const lower = index === 0 ? 0 : boundsSeconds[index - 1]!;
  const below = index === 0 ? 0 : histogram[index - 1]!;
  const inside = histogram[index]! - below;
  return { seconds: lower + (upper - lower) * (inside === 0 ? 1 : (rank - below) / inside), saturated: false };
}

/**
 * A high quantile of a histogram, for comparing: within its bucket the share of slower requests falls as a power of the
 * latency (a straight line between two bounds on logarithmic paper), as the tails of latencies do. Read linearly, a p99
 * that rises by a third within one wide bucket moves by a few percent only. Elsewhere as `histogramQuantile`.
 */
export function tailQuantile(q: number, boundsSeconds: readonly number[], histogram: Histogram): Quantile | null {
  const index = bucketOf(q, boundsSeconds, histogram);
  if (index === null) return null;
  const linear = linearWithin(index, q, boundsSeconds, histogram);
  const [lower, upper] = [boundsSeconds[index - 1] ?? 0, boundsSeconds[index]];
  if (upper === undefined || lower <= 0) return linear;
  const total = totalOf(histogram);
  const slower = total - histogram[index - 1]!;
  // Nobody was slower than the bucket: half a request stands for those who might have been.
  const slowest = Math.max(0.5, total - histogram[index]!);
  if (slower <= slowest) return linear;
  const part = Math.log(slower / Math.max(0.5, (1 - q) * total)) / Math.log(slower / slowest);
  return { seconds: lower * Math.exp(Math.log(upper / lower) * Math.min(1, Math.max(0, part))), saturated: false };
}

/** The errors of a block, as a pair of counts. */
export function errorPair(block: Pick<Block, 'canary' | 'comparison'>): CountPair {
  return {
    canaryEvents: block.canary.errors,
    canaryTotal: block.canary.requests,
    comparisonEvents: block.comparison.errors,
    comparisonTotal: block.comparison.requests,
  };
}
