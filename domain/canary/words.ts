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

/** A length of time in ms as "18 s" or "15 min". */
export function duration(ms: number): string {
  return ms >= 120_000 ? `${short(ms / 60_000)} min` : `${short(ms / 1000)} s`;
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

/** Enough digits to tell values apart, and no more: 0.0031, 0.25, 2.4, 45.3, 1,250. */
function short(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 100) return `${value < 0 ? '-' : ''}${count(size)}`;
  return `${Number(size >= 10 ? value.toFixed(1) : value.toPrecision(2))}`;
}
