/** How numbers, times and shares are said to people, everywhere the same. */

/** `90 s`, `15 min`, `24 h`, `2 days`: the largest unit of which there are two, or exactly one (but never `1 days`). */
export function durationText(ms: number): string {
  const units: readonly [number, string][] = [
    [86_400_000, 'days'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ];
  for (const [size, unit] of units) {
    if (ms >= 2 * size || (ms === size && unit !== 'days')) return `${trim(ms / size)} ${unit}`;
  }
  return ms >= 1000 ? `${trim(ms / 1000)} s` : `${Math.round(ms)} ms`;
}

function trim(value: number): string {
  return value >= 10 ? String(Math.round(value)) : String(Number(value.toFixed(1)));
}

/** `10 %`, `2.5 %`. */
export function percentText(percent: number): string {
  return `${Number(percent.toFixed(2))} %`;
}

/** 4210 as "4,210"; fractions are rounded. Not `toLocaleString`: that depends on the machine. */
export function count(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A value of a rank sum, of which ties make halves: "1,250", "12.5". */
export function halves(value: number): string {
  return Number.isInteger(value) ? count(value) : `${count(Math.floor(value))}.5`;
}

/**
 * How a number is said: with so many digits more than it usually has. Where two are compared `apart` finds out how many it
 * takes.
 */
type Said = (value: number, more?: number) => string;

/** A share of 0 to 1 as "2.4 %"; near the whole by what is missing, so that 99.99 % is not 100 %. */
export function percent(share: number, more = 0): string {
  const missing = 100 - 100 * share;
  if (!(missing > 0 && missing < 10)) return `${short(100 * share, more)} %`;
  return `${Number((100 - Number(missing.toPrecision(2 + more))).toFixed(10))} %`;
}

/** A difference of two shares as "0.5 points" (percentage points). */
export function points(difference: number, more = 0): string {
  return `${short(100 * difference, more)} points`;
}

/** Seconds as "120 ms" or "1.3 s". */
export function seconds(value: number, more = 0): string {
  return value < 1 ? `${short(1000 * value, more)} ms` : `${short(value, more)} s`;
}

/** More digits than these tell nothing to anybody. */
const MOST_DIGITS = 10;

/** Two numbers that are compared, with as many digits as it takes to tell them apart: never "99 % is below 99 %". */
export function apart(said: Said, one: number, other: number): readonly [string, string] {
  for (let more = 0; ; more++) {
    const [a, b] = [said(one, more), said(other, more)];
    if (a !== b || one === other || more === MOST_DIGITS) return [a, b];
  }
}

/** A probability as "0.031" or "2e-9". */
export function probability(p: number, more = 0): string {
  if (p > 0 && p < 0.001) return p.toExponential(more);
  return short(p, more);
}

/** A ratio as "1.18 times". */
export function times(ratio: number, more = 0): string {
  return Number.isFinite(ratio) ? `${Number(ratio.toPrecision(3 + more))} times` : 'infinitely many times';
}

/** "1 block", "3 blocks". */
export function plural(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? '' : 's'}`;
}

/** A number without a unit, as "0.25" or "1,250". */
export function amount(value: number, more = 0): string {
  return short(value, more);
}

/** As many digits as a person needs, and some more: 0.0031, 0.25, 2.4, 45.3, 1,250. */
function short(value: number, more = 0): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 100) return `${Number(size >= 10 ? value.toFixed(1 + more) : value.toPrecision(2 + more))}`;
  const [whole = '', fraction = ''] = size.toFixed(more).split('.');
  const digits = fraction.replace(/0+$/, '');
  return `${value < 0 ? '-' : ''}${count(Number(whole))}${digits === '' ? '' : `.${digits}`}`;
}
