import type { Effect } from '../../domain/canary/effects.js';
import type { LookSeen } from '../../domain/canary/looks.js';
import type { ArmMoment, LatencyShares, Moment } from '../../domain/canary/portrait.js';
import type { VerdictKind } from '../../domain/canary/types.js';
import { percent, probability, seconds } from '../../domain/words.js';
import { element, escaped, linear, pathThrough, timeTicks } from './svg.js';
import type { Scale } from './svg.js';
import { momentText } from './words.js';

/** Drawn small, so that a phone shows it at its own size; larger screens scale it up. */
const WIDTH = 440;
const HEIGHT = 254;
const PLOT = { left: 60, right: 424, top: 30, bottom: 206 } as const;

/** What all charts over time share. */
export interface TimeFrame {
  /** ms since the epoch. */
  readonly startMs: number;
  readonly untilMs: number;
  readonly warmUpMs: number;
  readonly looks: readonly Pick<LookSeen, 'atMs' | 'verdict'>[];
  readonly decided: { readonly atMs: number; readonly kind: VerdictKind };
}

interface ChartText {
  /** Unique in the page: labels refer to it. */
  readonly id: string;
  readonly title: string;
  /** What is to be seen, for those who can't see it. */
  readonly desc: string;
}

function svg({ id, title, desc }: ChartText, inside: string): string {
  const labels =
    element('title', { id: `${id}-t` }, escaped(title)) + element('desc', { id: `${id}-d` }, escaped(desc));
  const attributes = {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: 'img',
    'aria-labelledby': `${id}-t ${id}-d`,
    class: 'plot',
  };
  return element('svg', attributes, labels + inside);
}

function line(x1: number, y1: number, x2: number, y2: number, className: string): string {
  return element('line', { x1, y1, x2, y2, class: className });
}

function label(x: number, y: number, text: string, className: string, anchor = 'middle'): string {
  return element('text', { x, y, class: className, 'text-anchor': anchor }, escaped(text));
}

function yAxis(scale: Scale, format: (value: number) => string): string {
  return scale.ticks
    .map((tick) => {
      const y = scale(tick);
      return line(PLOT.left, y, PLOT.right, y, 'grid') + label(PLOT.left - 6, y + 4, format(tick), 'tick', 'end');
    })
    .join('');
}

function timeAxis(frame: TimeFrame, x: Scale): string {
  const ticks = timeTicks(frame.untilMs - frame.startMs, 6).map((ms) => {
    const at = x(frame.startMs + ms);
    return line(at, PLOT.bottom, at, PLOT.bottom + 4, 'axis') + axisLabel(at, PLOT.bottom + 30, clock(ms));
  });
  return line(PLOT.left, PLOT.bottom, PLOT.right, PLOT.bottom, 'axis') + ticks.join('');
}

/** A label below an axis that does not run out of the picture at its right end. */
function axisLabel(x: number, y: number, text: string): string {
  return x > PLOT.right - 12 ? label(WIDTH - 2, y, text, 'tick', 'end') : label(x, y, text, 'tick');
}

/** `5`, in minutes, or `30 s`, `2 h`: for an axis, where room is short. */
function clock(ms: number): string {
  if (ms === 0) return '0';
  if (ms < 60_000 || ms % 60_000 !== 0)
    return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Number((ms / 60_000).toFixed(1))} min`;
  return ms % 3_600_000 === 0 ? `${ms / 3_600_000} h` : `${ms / 60_000} min`;
}

/** The warm-up, the looks along the axis, and where the verdict fell. */
function landmarks(frame: TimeFrame, x: Scale): string {
  const { startMs, warmUpMs, decided, looks, untilMs } = frame;
  const warm = Math.min(untilMs, startMs + warmUpMs);
  const shade =
    warmUpMs > 0 && warm > startMs
      ? element('rect', {
          x: PLOT.left,
          y: PLOT.top,
          width: x(warm) - PLOT.left,
          height: PLOT.bottom - PLOT.top,
          class: 'warmup',
        })
      : '';
  const marks = looks.map(({ atMs, verdict }) =>
    mark(x(atMs), PLOT.bottom + 11, verdict.kind, momentText(atMs - startMs)),
  );
  const at = x(decided.atMs);
  const anchor = at > PLOT.right - 80 ? 'end' : at < PLOT.left + 80 ? 'start' : 'middle';
  const flag = line(at, PLOT.top - 6, at, PLOT.bottom, `verdict ${decided.kind}`);
  const name = label(
    at,
    PLOT.top - 11,
    `${decided.kind} ${momentText(decided.atMs - startMs)}`,
    `flag ${decided.kind}`,
    anchor,
  );
  return shade + marks.join('') + flag + name;
}

/** A look: a ring (HOLD), a cross (ROLLBACK) or a triangle (PROMOTE), so that colour is not all that tells. */
function mark(x: number, y: number, kind: VerdictKind, when: string): string {
  const title = element('title', {}, escaped(`${kind} at ${when}`));
  const className = `look ${kind}`;
  if (kind === 'HOLD') return element('circle', { cx: x, cy: y, r: 2.6, class: className }, title);
  const d =
    kind === 'ROLLBACK'
      ? `M${x - 3.2} ${y - 3.2}L${x + 3.2} ${y + 3.2}M${x + 3.2} ${y - 3.2}L${x - 3.2} ${y + 3.2}`
      : `M${x} ${y - 3.6}L${x + 3.6} ${y + 3}L${x - 3.6} ${y + 3}Z`;
  return element('path', { d: d.replace(/\d+\.\d+/g, (value) => Number(value).toFixed(1)), class: className }, title);
}

function timeScale({ startMs, untilMs }: TimeFrame): Scale {
  return linear([startMs, Math.max(untilMs, startMs + 1000)], [PLOT.left, PLOT.right]);
}

/** A metric of both arms over time. */
export interface OverTime extends ChartText {
  readonly moments: readonly Moment[];
  readonly value: (arm: ArmMoment) => number | null;
  readonly format: (value: number) => string;
  /** The highest value that the axis shows at least. */
  readonly atLeast: number;
}

/** Canary against comparison, block by block. */
export function overTimeChart(chart: OverTime, frame: TimeFrame): string {
  const { moments, value, format } = chart;
  const values = moments.flatMap(({ canary, comparison }) => [
    value(canary),
    comparison === null ? null : value(comparison),
  ]);
  const top = Math.max(chart.atLeast, ...values.filter((one) => one !== null)) * 1.08;
  const x = timeScale(frame);
  const bottom = Math.min(0, ...values.filter((one) => one !== null)) * 1.08;
  const y = linear([bottom, top], [PLOT.bottom, PLOT.top]);
  const curve = (arm: 'canary' | 'comparison') => {
    const points = moments.map((moment) => {
      const seen = moment[arm];
      const height = seen === null ? null : value(seen);
      return height === null ? null : ([x((moment.fromMs + moment.toMs) / 2), y(height)] as const);
    });
    const dots = points.length > 40 ? [] : points.filter((point) => point !== null);
    return (
      element('path', { d: pathThrough(points), class: `curve ${arm}` }) +
      dots.map(([cx, cy]) => element('circle', { cx, cy, r: 2, class: `dot ${arm}` })).join('')
    );
  };
  return svg(
    chart,
    yAxis(y, format) + landmarks(frame, x) + timeAxis(frame, x) + curve('comparison') + curve('canary'),
  );
}

/** The effect at every look with its 95 % interval. */
export interface OverLooks extends ChartText {
  readonly points: readonly { readonly atMs: number; readonly effect: Effect | null }[];
  readonly format: (value: number) => string;
  /** Where the arms are alike: 0 or 1. */
  readonly alike: number;
  /** What matters: what lies beyond. None, one, or one for either side. */
  readonly limits: readonly number[];
}

export function overLooksChart(chart: OverLooks, frame: TimeFrame): string {
  const seen = chart.points.flatMap(({ atMs, effect }) => (effect === null ? [] : [{ atMs, effect }]));
  // The first looks' intervals are wide: the axis goes by the later three quarters, or the rest could not be seen.
  const settled = seen.slice(Math.floor(seen.length / 4));
  const spread = [
    ...settled.flatMap(({ effect }) => [effect.lower, effect.upper ?? effect.value]),
    chart.alike,
    ...chart.limits,
  ];
  const [low, high] = [Math.min(...spread), Math.max(...spread)];
  const room = 0.08 * (high - low || 1);
  const x = timeScale(frame);
  const y = linear([low - room, high + room], [PLOT.bottom, PLOT.top]);
  const clamp = (value: number) => Math.max(PLOT.top, Math.min(PLOT.bottom, y(value)));
  const bars = seen.map(({ atMs, effect }) => {
    const at = x(atMs);
    const [from, to] = [clamp(effect.lower), effect.upper === null ? PLOT.top : clamp(effect.upper)];
    const text = `${momentText(atMs - frame.startMs)}: ${chart.format(effect.value)}, 95 % interval ${chart.format(effect.lower)} to ${effect.upper === null ? 'any' : chart.format(effect.upper)}`;
    const inside = element('title', {}, escaped(text)) + line(at, from, at, to, 'interval');
    const dot =
      effect.value >= low - room && effect.value <= high + room
        ? element('circle', { cx: at, cy: y(effect.value), r: 3, class: 'dot effect' })
        : '';
    return element('g', {}, inside + dot);
  });
  const rules =
    line(PLOT.left, y(chart.alike), PLOT.right, y(chart.alike), 'alike') +
    chart.limits.map((limit) => line(PLOT.left, y(limit), PLOT.right, y(limit), 'limit')).join('');
  const note = chart.limits
    .map((limit) => label(PLOT.left + 3, y(limit) - 4, `limit ${chart.format(limit)}`, 'note', 'start'))
    .join('');
  return svg(chart, yAxis(y, chart.format) + landmarks(frame, x) + timeAxis(frame, x) + rules + bars.join('') + note);
}

/** How near each look came to a rollback: the p of a test against what it would have had to be below. */
export interface OverBudget extends ChartText {
  readonly points: readonly {
    readonly atMs: number;
    readonly p: number;
    readonly alpha: number;
    readonly name: string;
  }[];
}

/** Less likely than this is all the same to the eye. */
const LOWEST_EXPONENT = -12;

export function overBudgetChart(chart: OverBudget, frame: TimeFrame): string {
  const exponent = (p: number) => Math.max(LOWEST_EXPONENT, p > 0 ? Math.log10(p) : LOWEST_EXPONENT);
  const lowest = Math.min(-3, ...chart.points.flatMap(({ p, alpha }) => [exponent(p), exponent(alpha)]));
  const x = timeScale(frame);
  const y = linear([lowest - 0.4, 0], [PLOT.bottom, PLOT.top]);
  const limit = chart.points.map(({ atMs, alpha }) => [x(atMs), y(exponent(alpha))] as const);
  const dots = chart.points.map(({ atMs, p, alpha, name }) => {
    const title = `${momentText(atMs - frame.startMs)}, ${name}: p = ${probability(p)}, a rollback below ${probability(alpha)}`;
    return element(
      'circle',
      { cx: x(atMs), cy: y(exponent(p)), r: 3, class: 'dot effect' },
      element('title', {}, escaped(title)),
    );
  });
  const [first] = limit;
  const note = first === undefined ? '' : label(first[0], first[1] - 5, 'rollback below', 'note', 'start');
  const format = (tick: number) => (tick === 0 ? '1' : tick >= -2 ? String(10 ** tick) : `1e${tick}`);
  const whole = Object.assign((value: number) => y(value), { ticks: y.ticks.filter((tick) => Number.isInteger(tick)) });
  const rule = element('path', { d: pathThrough(limit), class: 'curve limit' });
  return svg(chart, yAxis(whole, format) + landmarks(frame, x) + timeAxis(frame, x) + rule + note + dots.join(''));
}

/** How values of both arms are spread: the share of blocks at or below each value. */
export interface Spread extends ChartText {
  readonly canary: readonly number[];
  readonly comparison: readonly number[];
  readonly format: (value: number) => string;
  readonly unit: string;
}

export function spreadChart(chart: Spread): string {
  const all = [...chart.canary, ...chart.comparison];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = 0.05 * (high - low || Math.abs(high) || 0.01);
  // What is never below 0 is not drawn as if it could be.
  const x = linear([low < 0 ? low - room : Math.max(0, low - room), high + room], [PLOT.left, PLOT.right]);
  const y = linear([0, 1], [PLOT.bottom, PLOT.top]);
  const steps = (values: readonly number[]) => {
    const sorted = [...values].sort((a, b) => a - b);
    const points: [number, number][] = [[PLOT.left, y(0)]];
    for (const [i, value] of sorted.entries())
      points.push([x(value), y(i / sorted.length)], [x(value), y((i + 1) / sorted.length)]);
    return [...points, [PLOT.right, y(1)] as [number, number]];
  };
  const curve = (arm: 'canary' | 'comparison') =>
    chart[arm].length === 0 ? '' : element('path', { d: pathThrough(steps(chart[arm])), class: `curve ${arm}` });
  const ticks = x.ticks.map(
    (tick) =>
      line(x(tick), PLOT.bottom, x(tick), PLOT.bottom + 4, 'axis') +
      axisLabel(x(tick), PLOT.bottom + 18, chart.format(tick)),
  );
  const half = label(PLOT.left, PLOT.top - 11, 'share of blocks at or below', 'note', 'start');
  const unit = label(PLOT.right, PLOT.bottom + 36, chart.unit, 'note', 'end');
  const axis = line(PLOT.left, PLOT.bottom, PLOT.right, PLOT.bottom, 'axis') + ticks.join('');
  return svg(chart, yAxis(y, percent) + half + unit + axis + curve('comparison') + curve('canary'));
}

/** Where the requests of both arms fell among the latency buckets. */
export function bucketsChart(text: ChartText, { boundsSeconds, canary, comparison }: LatencyShares): string {
  const used = canary.flatMap((share, i) => (share > 0 || (comparison?.[i] ?? 0) > 0 ? [i] : []));
  const [first, last] = [used[0] ?? 0, used.at(-1) ?? 0];
  const n = last - first + 1;
  const highest = Math.max(...canary, ...(comparison ?? [0]), 0.01);
  const y = linear([0, highest * 1.05], [PLOT.bottom, PLOT.top]);
  const step = (PLOT.right - PLOT.left) / n;
  const wide = Math.min(18, step * 0.36);
  const bars: string[] = [];
  for (let i = first; i <= last; i++) {
    const middle = PLOT.left + (i - first + 0.5) * step;
    const bucket = bucketName(boundsSeconds, i);
    for (const [arm, shares, x] of [
      ['comparison', comparison, middle],
      ['canary', canary, middle - wide],
    ] as const) {
      const share = shares?.[i] ?? 0;
      if (share <= 0) continue;
      const title = element('title', {}, escaped(`${arm}: ${percent(share)} of requests took ${bucket}`));
      bars.push(
        element(
          'rect',
          { x, y: y(share), width: wide, height: Math.max(0.6, PLOT.bottom - y(share)), class: `bar ${arm}` },
          title,
        ),
      );
    }
  }
  const every = Math.ceil(n / 7);
  const ticks = Array.from({ length: n }, (_, k) => k + first)
    .filter((i) => (i - first) % every === 0 && boundsSeconds[i] !== undefined)
    .map((i) => axisLabel(PLOT.left + (i - first + 1) * step, PLOT.bottom + 18, seconds(boundsSeconds[i] ?? 0)));
  const axis = line(PLOT.left, PLOT.bottom, PLOT.right, PLOT.bottom, 'axis') + ticks.join('');
  const unit = label(PLOT.right, PLOT.bottom + 36, 'upper bound of the bucket', 'note', 'end');
  const note = label(PLOT.left, PLOT.top - 11, 'share of requests', 'note', 'start');
  return svg(text, yAxis(y, percent) + note + unit + axis + bars.join(''));
}

/** `50 ms to 75 ms`. */
export function bucketName(boundsSeconds: readonly number[], i: number): string {
  const [from, to] = [boundsSeconds[i - 1], boundsSeconds[i]];
  if (to === undefined) return `more than ${seconds(from ?? 0)}`;
  return from === undefined ? `up to ${seconds(to)}` : `${seconds(from)} to ${seconds(to)}`;
}
