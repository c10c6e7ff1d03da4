/** One plot: a canvas by uPlot, a sentence for whoever does not see it, and the numbers behind it. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { VerdictKind } from '../../../domain/canary/types.js';
import type { Line } from '../series.js';
import { clockText } from './words.js';

export interface PlotLine {
  readonly name: string;
  readonly values: Line;
  /** Name of the colour in the style sheet. */
  readonly color: '--canary' | '--comparison' | '--ink';
  readonly dashed?: boolean;
}

export interface PlotProps {
  readonly title: string;
  /** What it shows, in a sentence with the numbers of now. */
  readonly sentence: string;
  /** Seconds since the epoch. */
  readonly times: readonly number[];
  readonly lines: readonly PlotLine[];
  /** An interval around the first line. */
  readonly band?: { readonly lower: Line; readonly upper: Line };
  /** Where the judge looked, and what it said. */
  readonly looks: readonly { readonly atMs: number; readonly kind: VerdictKind }[];
  /** The stretch of time that is shown, seconds. */
  readonly from: number;
  readonly until: number;
  /** The value at which both arms are alike: 0 for differences, 1 for ratios. */
  readonly alike?: number;
  /** The axis goes up to this at least. */
  readonly atLeast: number;
  readonly format: (value: number) => string;
}

const HEIGHT = 150;

export function Plot(props: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<Drawn | null>(null);
  // What a plot is made of is fixed when it is made; numbers are put into it.
  const shape = `${props.lines.map((line) => line.name).join()} ${props.band === undefined}`;
  useEffect(() => {
    if (place.current === null) return undefined;
    const drawn = new Drawn(place.current, props);
    plot.current = drawn;
    return () => drawn.destroy();
  }, [shape]);
  useEffect(() => plot.current?.show(props));
  return (
    <figure class="plot">
      <figcaption>{props.title}</figcaption>
      <div ref={place} class="canvas" role="img" aria-label={`${props.title}. ${props.sentence}`} />
      <p class="soft sentence">{props.sentence}</p>
      <Numbers {...props} />
    </figure>
  );
}

function Numbers({ title, times, lines, band, format }: PlotProps) {
  const show = (value: number | null | undefined): string => (value == null ? '–' : format(value));
  return (
    <details class="numbers">
      <summary>
        The numbers<span class="unseen"> of {title}</span>
      </summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={`The numbers of ${title}`}>
        <table class="dense">
          <thead>
            <tr>
              <th scope="col">at</th>
              {lines.map((line) => (
                <th key={line.name} scope="col" class="number">
                  {line.name}
                </th>
              ))}
              {band !== undefined && (
                <th scope="col" class="number">
                  95 % interval
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {times.map((time, i) => (
              <tr key={time}>
                <td>{clockText(time * 1000)}</td>
                {lines.map((line) => (
                  <td key={line.name} class="number">
                    {show(line.values[i])}
                  </td>
                ))}
                {band !== undefined && (
                  <td class="number">
                    {show(band.lower[i])} … {show(band.upper[i])}
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

/** A uPlot that follows the width of its place and the colours of the style sheet. */
class Drawn {
  private plot: uPlot;
  private readonly sizes: ResizeObserver;
  private readonly dark = matchMedia('(prefers-color-scheme: dark)');
  private readonly recolor = (): void => {
    this.plot.destroy();
    this.plot = this.make();
  };

  constructor(
    private readonly place: HTMLElement,
    private props: PlotProps,
  ) {
    this.plot = this.make();
    this.sizes = new ResizeObserver(() => {
      const width = this.place.clientWidth;
      if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    });
    this.sizes.observe(place);
    this.dark.addEventListener('change', this.recolor);
  }

  show(props: PlotProps): void {
    if (props === this.props) return;
    this.props = props;
    this.plot.setData(dataOf(props));
  }

  destroy(): void {
    this.dark.removeEventListener('change', this.recolor);
    this.sizes.disconnect();
    this.plot.destroy();
  }

  private make(): uPlot {
    const { lines, band, format } = this.props;
    const style = getComputedStyle(this.place);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: color('--soft'),
      font: `11px ${style.fontFamily}`,
      ticks: { show: false },
      grid: { stroke: color('--rule'), width: 1 },
    };
    const hidden = { stroke: 'transparent', width: 0, points: { show: false } };
    return new uPlot(
      {
        width: Math.max(this.place.clientWidth, 120),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: true, range: () => [this.props.from, this.props.until] },
          y: { range: (_plot, low, high) => this.yRange(low, high) },
        },
        axes: [
          { ...axis, space: 70, size: 24, values: (_plot, splits) => splits.map((at) => clockText(at * 1000)) },
          { ...axis, space: 32, size: 56, values: (_plot, splits) => splits.map(format) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            stroke: color(line.color),
            width: 2,
            ...(line.dashed === true ? { dash: [6, 4] } : {}),
            // A line of one value has no length: it is a point.
            points: { show: line.values.filter((value) => value !== null).length < 3, size: 5 },
          })),
          ...(band === undefined ? [] : [hidden, hidden]),
        ],
        ...(band === undefined
          ? {}
          : { bands: [{ series: [lines.length + 2, lines.length + 1] as [number, number], fill: color('--band') }] }),
        hooks: { draw: [(plot) => this.marks(plot, color)] },
      },
      dataOf(this.props),
      this.place,
    );
  }

  private yRange(low: number | null, high: number | null): [number, number] {
    const { alike = 0, atLeast } = this.props;
    const bottom = Math.min(low ?? alike, alike);
    const top = Math.max(high ?? alike, alike + atLeast);
    const room = (top - bottom) * 0.08;
    return [bottom < alike ? bottom - room : alike === 0 ? 0 : Math.max(0, alike - atLeast), top + room];
  }

  /** Looks as ticks on the axis of time, and a line where both arms are alike. */
  private marks(plot: uPlot, color: (name: string) => string): void {
    const { ctx, bbox } = plot;
    const { alike, looks } = this.props;
    const unit = devicePixelRatio;
    ctx.save();
    if (alike !== undefined && alike !== 0) {
      const y = Math.round(plot.valToPos(alike, 'y', true)) + 0.5;
      ctx.strokeStyle = color('--soft');
      ctx.lineWidth = unit;
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    for (const { atMs, kind } of looks) {
      const x = plot.valToPos(atMs / 1000, 'x', true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const tall = kind === 'HOLD' ? 7 * unit : bbox.height;
      ctx.strokeStyle = color(`--${kind}`);
      ctx.lineWidth = (kind === 'HOLD' ? 1.5 : 2) * unit;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x, bbox.top + bbox.height - tall);
      ctx.stroke();
    }
    ctx.restore();
  }
}

function dataOf({ times, lines, band }: PlotProps): uPlot.AlignedData {
  const columns = [...lines.map((line) => line.values), ...(band === undefined ? [] : [band.lower, band.upper])];
  return [[...times], ...columns.map((column) => [...column])];
}
