/** Line plots as SVG: small enough to be read in a diff, and legible on light and dark pages. */

export interface PlotPoint {
  readonly x: number;
  /** 0 to 1. */
  readonly y: number;
  /** 95 % interval of y. */
  readonly interval?: { readonly lower: number; readonly upper: number };
}

export interface PlotSeries {
  readonly name: string;
  readonly points: readonly PlotPoint[];
}

export interface Plot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xTicks: readonly { readonly at: number; readonly label: string }[];
  /** Distances on the x axis are those of the logarithms. */
  readonly logarithmic: boolean;
  /** The top of the y axis, a share of 0 to 1. */
  readonly yMax: number;
  readonly series: readonly PlotSeries[];
}

const WIDTH = 760;
const HEIGHT = 420;
const MARGIN = { left: 64, right: 24, top: 44, bottom: 92 } as const;
/** Colours that colour-blind people tell apart (Okabe and Ito, 2008); dashes say the same once more. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const DASHES = ['', '7 4', '2 3', '9 3 2 3', '4 2', '1 4'];
const LEGEND_COLUMN = 170;

/** Draws a plot of shares in percent. */
export function svgOf(plot: Plot): string {
  const scaled = (x: number) => (plot.logarithmic ? Math.log(x) : x);
  const ends = plot.xTicks.map(({ at }) => scaled(at));
  const [first, last] = [Math.min(...ends), Math.max(...ends)];
  const xAt = (x: number) =>
    MARGIN.left + ((scaled(x) - first) / (last - first || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const yAt = (y: number) => HEIGHT - MARGIN.bottom - (Math.min(y, plot.yMax) / plot.yMax) * plotHeight();
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${escaped(plot.title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(MARGIN.left, 24, plot.title, 'start', 15),
  ];
  for (let i = 0; i <= 5; i++) {
    const share = (i / 5) * plot.yMax;
    const y = round(yAt(share));
    parts.push(`<path d="M${MARGIN.left} ${y}H${WIDTH - MARGIN.right}" stroke="#dddddd"/>`);
    parts.push(text(MARGIN.left - 8, y + 4, `${Number((100 * share).toFixed(1))} %`, 'end'));
  }
  for (const { at, label } of plot.xTicks) {
    parts.push(`<path d="M${round(xAt(at))} ${HEIGHT - MARGIN.bottom}v5" stroke="#555555"/>`);
    parts.push(text(xAt(at), HEIGHT - MARGIN.bottom + 20, label, 'middle'));
  }
  parts.push(text((MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - MARGIN.bottom + 40, plot.xLabel, 'middle'));
  parts.push(
    `<text x="16" y="${HEIGHT / 2 - 20}" text-anchor="middle" fill="#222222" transform="rotate(-90 16 ${HEIGHT / 2 - 20})">${escaped(plot.yLabel)}</text>`,
  );
  for (const [index, { name, points }] of plot.series.entries()) {
    const colour = COLOURS[index % COLOURS.length]!;
    const line = `stroke="${colour}" stroke-width="2" stroke-dasharray="${DASHES[index % DASHES.length]!}" fill="none"`;
    const path = points.map(({ x, y }, i) => `${i === 0 ? 'M' : 'L'}${round(xAt(x))} ${round(yAt(y))}`).join('');
    parts.push(`<path d="${path}" ${line}/>`);
    for (const { x, y, interval } of points) {
      if (interval === undefined) continue;
      const at = round(xAt(x) + 3 * (index - (plot.series.length - 1) / 2));
      parts.push(`<path d="M${at} ${round(yAt(interval.lower))}V${round(yAt(interval.upper))}" stroke="${colour}"/>`);
      parts.push(`<circle cx="${at}" cy="${round(yAt(y))}" r="3" fill="${colour}"/>`);
    }
    const x = MARGIN.left + (index % 4) * LEGEND_COLUMN;
    const y = HEIGHT - 28 + 18 * Math.floor(index / 4);
    parts.push(`<path d="M${x} ${y}h28" ${line}/>`, text(x + 34, y + 4, name, 'start'));
  }
  return `${[...parts, '</svg>'].join('\n')}\n`;
}

function plotHeight(): number {
  return HEIGHT - MARGIN.top - MARGIN.bottom;
}

function text(x: number, y: number, words: string, anchor: 'start' | 'middle' | 'end', size = 12): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="${size}" fill="#222222">${escaped(words)}</text>`;
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
