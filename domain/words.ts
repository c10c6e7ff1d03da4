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

/** A share of 0 to 1 as "2.4 %". */
export function percent(share: number): string {
  return `${short(100 * share)} %`;
}

/** A difference of two shares as "0.5 points" (percentage points). */
export function points(difference: number): string {
  return `${short(100 * difference)} points`;
}

/** Seconds as "120 ms" or "1.3 s". */
export function seconds(value: number): string {
  return value < 1 ? `${short(1000 * value)} ms` : `${short(value)} s`;
}

/** A probability as "0.031" or "2e-9". */
export function probability(p: number): string {
  if (p > 0 && p < 0.001) return p.toExponential(0);
  return short(p);
}

/** A ratio as "1.18 times". */
export function times(ratio: number): string {
  return Number.isFinite(ratio) ? `${Number(ratio.toPrecision(3))} times` : 'infinitely many times';
}

/** "1 block", "3 blocks". */
export function plural(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? '' : 's'}`;
}

/** A number without a unit, as "0.25" or "1,250". */
export function amount(value: number): string {
  return short(value);
}

/** Enough digits to tell values apart, and no more: 0.0031, 0.25, 2.4, 45.3, 1,250. */
function short(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 100) return `${value < 0 ? '-' : ''}${count(size)}`;
  return `${Number(size >= 10 ? value.toFixed(1) : value.toPrecision(2))}`;
}
