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
