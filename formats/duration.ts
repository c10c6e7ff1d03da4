/** The units of a duration, largest first, in ms. */
const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];

/** What a duration looks like. `parseDuration` is stricter: units come once each, the largest first. */
export const DURATION_PATTERN = /^(\d+(\.\d+)?(ms|s|m|h|d))+$/;

/**
 * The ms that a duration such as `200ms`, `90s`, `15m`, `1h30m` or `1.5h` says; null for anything else. A unit is always
 * needed, and an amount too large to count in ms is no duration.
 */
export function parseDuration(text: string): number | null {
  if (!DURATION_PATTERN.test(text)) return null;
  let total = 0;
  let last = -1;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ms|s|m|h|d)/g)) {
    const place = UNITS.findIndex(([name]) => name === unit);
    if (place <= last) return null;
    last = place;
    total += Number(amount) * (UNITS[place]?.[1] ?? Number.NaN);
  }
  const ms = Math.round(total);
  return Number.isSafeInteger(ms) ? ms : null;
}

/** Writes ms as the shortest text that `parseDuration` reads back: `1h30m`, `90ms`, `0s`. */
export function formatDuration(ms: number): string {
  let rest = Math.round(ms);
  if (rest <= 0) return '0s';
  let text = '';
  for (const [unit, size] of UNITS) {
    const amount = Math.floor(rest / size);
    if (amount > 0) text += `${amount}${unit}`;
    rest -= amount * size;
  }
  return text;
}
