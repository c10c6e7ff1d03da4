import type { ArmSamples, CounterSeries } from '../../domain/canary/types.js';

/** Samples of one arm, growing look by look, so that each look asks only for what is new. */
export function appendSamples(before: ArmSamples | null, more: ArmSamples): ArmSamples {
  if (before === null || before.timesMs.length === 0) return more;
  const last = before.timesMs.at(-1) ?? -Infinity;
  const fresh = more.timesMs.flatMap((time, index) => (time > last ? [index] : []));
  if (fresh.length === 0) return before;
  const instances = [...new Set([...before.series, ...more.series].map((series) => series.instance))];
  const oldLength = before.timesMs.length;
  return {
    timesMs: [...before.timesMs, ...fresh.map((index) => more.timesMs[index] ?? 0)],
    // A histogram that begins late brings the bounds.
    leSeconds: before.leSeconds.length >= more.leSeconds.length ? before.leSeconds : more.leSeconds,
    series: instances.map((instance) => {
      const head = before.series.find((series) => series.instance === instance);
      const tail = more.series.find((series) => series.instance === instance);
      return {
        instance,
        requests: [...(head?.requests ?? nulls(oldLength)), ...pick(tail?.requests, fresh)],
        errors: [...(head?.errors ?? nulls(oldLength)), ...pick(tail?.errors, fresh)],
        buckets: joinBuckets(head, tail, oldLength, fresh),
      };
    }),
    ...joinValues(before, more, fresh),
  };
}

function joinValues(before: ArmSamples, more: ArmSamples, fresh: readonly number[]): Pick<ArmSamples, 'values'> {
  if (before.values === undefined && more.values === undefined) return {};
  const names = [...new Set([...Object.keys(before.values ?? {}), ...Object.keys(more.values ?? {})])];
  const joined = names.map((name) => {
    const head = before.values?.[name] ?? nulls(before.timesMs.length);
    return [name, [...head, ...pick(more.values?.[name], fresh)]] as const;
  });
  return { values: Object.fromEntries(joined) };
}

function joinBuckets(
  head: CounterSeries | undefined,
  tail: CounterSeries | undefined,
  oldLength: number,
  fresh: readonly number[],
): CounterSeries['buckets'] {
  const known = (head?.buckets.length ?? 0) > 0 || (tail?.buckets.length ?? 0) > 0;
  if (!known) return [];
  const before = head !== undefined && head.buckets.length > 0 ? head.buckets : nulls(oldLength);
  return [...before, ...pick(tail?.buckets, fresh)];
}

function pick<T>(values: readonly (T | null)[] | undefined, indices: readonly number[]): readonly (T | null)[] {
  return indices.map((index) => values?.[index] ?? null);
}

function nulls(length: number): readonly null[] {
  return Array.from({ length }, () => null);
}
