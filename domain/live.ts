import { evidenceOf, histogramQuantile } from './canary/series.js';
import type { Histogram, Span } from './canary/series.js';
import type { ArmSamples, Verdict } from './canary/types.js';

/** What a watch has seen so far, small enough to be told with each heartbeat: what the page plots while a stage runs. */
export interface LiveStage {
  /** `stage-2`, `verify`. */
  readonly stage: string;
  /** ms since the epoch. */
  readonly startMs: number;
  readonly durationMs: number;
  /** Decimated to `LIVE_POINTS` at most, oldest first. */
  readonly points: readonly LivePoint[];
  /** The last `LIVE_LOOKS`, oldest first. */
  readonly looks: readonly LiveLook[];
}

export const LIVE_POINTS = 60;
export const LIVE_LOOKS = 30;

/** What happened between the point before and this one. */
export interface LivePoint {
  /** ms since the epoch. */
  readonly atMs: number;
  readonly canary: LiveArm;
  /** Null where nothing is left to compare with. */
  readonly comparison: LiveArm | null;
}

export interface LiveArm {
  readonly requests: number;
  readonly errors: number;
  /** Milliseconds; null where there was no request or there is no histogram. */
  readonly p99Ms: number | null;
}

export interface LiveLook {
  readonly atMs: number;
  readonly kind: Verdict['kind'];
  readonly summary: string;
}

/** A heartbeat may carry so much: Temporal writes each down. JSON characters. */
export const LIVE_CHARACTERS = 8000;
const SUMMARY_CHARACTERS = 80;

export interface LiveInput {
  readonly stage: string;
  readonly startMs: number;
  readonly durationMs: number;
  readonly scrapeIntervalMs: number;
  readonly canary: ArmSamples | null;
  /** Null where nothing is left to compare with, or nothing of it has been seen. */
  readonly comparison: ArmSamples | null;
  readonly looks: readonly LiveLook[];
}

/**
 * What a watch has seen, made small: points of equal length, a power of two of scrape intervals, counted from the
 * stage's start, so that a point that is over never changes until two are joined to one. The last one may be shorter.
 *
 * @throws RangeError where the samples make no sense, as the judge does
 */
export function liveStage(input: LiveInput): LiveStage {
  const { stage, startMs, durationMs } = input;
  const canary = increasesOf(input.canary);
  const comparison = increasesOf(input.comparison);
  const lastMs = Math.max(startMs, canary.lastMs, comparison.lastMs);
  const looks = input.looks
    .slice(-LIVE_LOOKS)
    .map(({ atMs, kind, summary }) => ({ atMs, kind, summary: shortened(summary) }));
  for (let stepMs = input.scrapeIntervalMs; ; stepMs *= 2) {
    const length = Math.ceil((lastMs - startMs) / stepMs);
    if (length > LIVE_POINTS) continue;
    const points = pointsOf(canary, input.comparison === null ? null : comparison, { startMs, lastMs, stepMs, length });
    const live = { stage, startMs, durationMs, points, looks };
    if (points.length <= 1 || JSON.stringify(live).length <= LIVE_CHARACTERS) return live;
  }
}

/** The looks with one more: a look that says the same as the one before takes its place. */
export function withLook(looks: readonly LiveLook[], { atMs, kind, summary, look }: Verdict): readonly LiveLook[] {
  const last = looks.at(-1);
  const same = last !== undefined && last.kind === kind && (last.summary === summary || look === 0);
  return [...(same ? looks.slice(0, -1) : looks), { atMs, kind, summary }].slice(-LIVE_LOOKS);
}

interface Increases {
  readonly boundsSeconds: readonly number[];
  readonly counts: readonly Span[];
  readonly histograms: readonly Span[];
  /** -Infinity where there is none. */
  readonly lastMs: number;
}

interface Grid {
  readonly startMs: number;
  readonly lastMs: number;
  readonly stepMs: number;
  readonly length: number;
}

const NOTHING: Increases = { boundsSeconds: [], counts: [], histograms: [], lastMs: -Infinity };

function increasesOf(arm: ArmSamples | null): Increases {
  if (arm === null) return NOTHING;
  const { boundsSeconds, counts, histograms, lastSampleMs } = evidenceOf(arm, Infinity);
  return { boundsSeconds, counts, histograms, lastMs: lastSampleMs ?? -Infinity };
}

function pointsOf(canary: Increases, comparison: Increases | null, grid: Grid): readonly LivePoint[] {
  const left = armPoints(canary, grid);
  const right = comparison === null ? null : armPoints(comparison, grid);
  return Array.from({ length: grid.length }, (_, i) => i).flatMap((i) => {
    const one = left[i] ?? null;
    const other = right?.[i] ?? null;
    // A scrape that was missed: the next point tells of that time too.
    if (one === null && other === null) return [];
    const atMs = Math.min(grid.startMs + (i + 1) * grid.stepMs, grid.lastMs);
    return [{ atMs, canary: one ?? NO_REQUESTS, comparison: right === null ? null : (other ?? NO_REQUESTS) }];
  });
}

const NO_REQUESTS: LiveArm = { requests: 0, errors: 0, p99Ms: null };

/** What one arm did in each step; null where nothing was scraped. */
function armPoints(
  { boundsSeconds, counts, histograms }: Increases,
  { startMs, stepMs, length }: Grid,
): readonly (LiveArm | null)[] {
  const summed = (spans: readonly Span[]): (number[] | null)[] => {
    const sums: (number[] | null)[] = Array.from({ length }, () => null);
    for (const { toMs, increases } of spans) {
      if (toMs <= startMs) continue;
      const step = Math.ceil((toMs - startMs) / stepMs) - 1;
      const before = sums[step] ?? null;
      sums[step] = before === null ? [...increases] : before.map((value, k) => value + (increases[k] ?? 0));
    }
    return sums;
  };
  const slow = summed(histograms);
  return summed(counts).map((sum, i) => {
    if (sum === null) return null;
    const [requests = 0, errors = 0] = sum;
    return { requests, errors, p99Ms: p99Of(boundsSeconds, slow[i] ?? null) };
  });
}

function p99Of(boundsSeconds: readonly number[], histogram: Histogram | null): number | null {
  const quantile = histogram === null ? null : histogramQuantile(0.99, boundsSeconds, histogram);
  return quantile === null ? null : Number((quantile.seconds * 1000).toPrecision(3));
}

function shortened(summary: string): string {
  const characters = Array.from(summary);
  return characters.length <= SUMMARY_CHARACTERS ? summary : `${characters.slice(0, SUMMARY_CHARACTERS - 1).join('')}…`;
}
