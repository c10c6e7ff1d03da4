/** Markup as text: everything that comes from outside passes `escaped`, so that a service's name can't be a script. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for markup and for attributes in quotes; characters that turn the direction of text or have no glyph are shown as such. */
export function escaped(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g, '\uFFFD')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

export type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An element; `inside` is markup already. */
export function element(name: string, attributes: Attributes, inside = ''): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? short(value) : escaped(String(value))}"`);
  return `<${name}${written.join('')}>${inside}</${name}>`;
}

/** A coordinate: a hundredth of a pixel is nothing that anyone sees. */
function short(value: number): string {
  return String(Number(value.toFixed(2)));
}

/** Maps values to pixels. */
export interface Scale {
  (value: number): number;
  readonly ticks: readonly number[];
}

/** A linear scale with about `wanted` round ticks. */
export function linear(domain: readonly [number, number], range: readonly [number, number], wanted = 4): Scale {
  const [low, high] = domain[1] > domain[0] ? domain : [domain[0], domain[0] + 1];
  const scale = (value: number) => range[0] + ((value - low) / (high - low)) * (range[1] - range[0]);
  return Object.assign(scale, { ticks: roundTicks(low, high, wanted) });
}

/** Multiples of 1, 2 or 5 times a power of ten, or of minutes that clocks have, within the ends. */
export function roundTicks(low: number, high: number, wanted: number): readonly number[] {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw) ?? raw;
  return multiples(low, high, step);
}

/** Times in ms at round seconds, minutes or hours. */
export function timeTicks(high: number, wanted: number): readonly number[] {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];
  const step = steps.find((size) => 1000 * size * wanted >= high) ?? 86_400 * Math.ceil(high / wanted / 86_400_000);
  return multiples(0, high, 1000 * step);
}

function multiples(low: number, high: number, step: number): readonly number[] {
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** `M` and `L` through the points; a gap where one is null. */
export function pathThrough(points: readonly (readonly [number, number] | null)[]): string {
  let pen = false;
  return points
    .flatMap((point) => {
      if (point === null) {
        pen = false;
        return [];
      }
      const command = pen ? 'L' : 'M';
      pen = true;
      return [`${command}${short(point[0])} ${short(point[1])}`];
    })
    .join('');
}
