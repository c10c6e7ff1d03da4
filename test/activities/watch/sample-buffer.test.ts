import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { appendSamples } from '../../../activities/watch/sample-buffer.js';
import type { ArmSamples, CounterSeries } from '../../../domain/canary/types.js';

/** What `instance` had counted at each of these times: as many requests as seconds, every tenth failed. */
function series(instance: string, timesMs: readonly number[], histogram = true): CounterSeries {
  return {
    instance,
    requests: timesMs.map((ms) => ms / 1000),
    errors: timesMs.map((ms) => Math.floor(ms / 10_000)),
    buckets: histogram ? timesMs.map((ms) => [ms / 2000, ms / 1000]) : [],
  };
}

function samples(timesMs: readonly number[], instances: readonly string[] = ['a'], histogram = true): ArmSamples {
  return {
    timesMs,
    leSeconds: histogram ? [0.1, null] : [],
    series: instances.map((instance) => series(instance, timesMs, histogram)),
  };
}

describe('samples grow look by look', () => {
  it('and begin with what is there', () => {
    const first = samples([1000, 2000]);
    assert.equal(appendSamples(null, first), first);
    assert.equal(appendSamples(samples([]), first), first);
  });

  it('and take only what is newer', () => {
    const before = samples([1000, 2000]);
    assert.deepEqual(appendSamples(before, samples([1000, 2000, 3000])), samples([1000, 2000, 3000]));
    assert.equal(appendSamples(before, samples([1000, 2000])), before);
    assert.equal(appendSamples(before, samples([])), before);
  });

  it('and keep what they have, even where the source now tells it differently', () => {
    const before = samples([1000]);
    const again: ArmSamples = {
      ...samples([1000, 2000]),
      series: [
        {
          instance: 'a',
          requests: [99, 2],
          errors: [99, 0],
          buckets: [
            [99, 99],
            [1, 2],
          ],
        },
      ],
    };
    assert.deepEqual(appendSamples(before, again).series[0]?.requests, [1, 2]);
  });

  it('and take further metrics with them, with gaps where one was not there', () => {
    const before = { ...samples([1000, 2000]), values: { heap: [1, null] } };
    const more = { ...samples([2000, 3000]), values: { heap: [9, 3], depth: [9, 4] } };
    assert.deepEqual(appendSamples(before, more).values, { heap: [1, null, 3], depth: [null, null, 4] });
    assert.deepEqual(appendSamples(before, samples([3000])).values, { heap: [1, null, null] });
    assert.equal(appendSamples(samples([1000]), samples([2000])).values, undefined);
  });

  it('and have gaps, never zeros, where an instance was not there', () => {
    const joined = appendSamples(samples([1000, 2000], ['a']), samples([3000], ['b']));
    assert.deepEqual(joined.series, [
      {
        instance: 'a',
        requests: [1, 2, null],
        errors: [0, 0, null],
        buckets: [[0.5, 1], [1, 2], null],
      },
      { instance: 'b', requests: [null, null, 3], errors: [null, null, 0], buckets: [null, null, [1.5, 3]] },
    ]);
  });

  it('and take the bounds of a histogram that begins late', () => {
    const joined = appendSamples(samples([1000], ['a'], false), samples([2000]));
    assert.deepEqual(joined.leSeconds, [0.1, null]);
    assert.deepEqual(joined.series[0]?.buckets, [null, [1, 2]]);
    const without = appendSamples(samples([1000], ['a'], false), samples([2000], ['a'], false));
    assert.deepEqual(without.series[0]?.buckets, []);
  });

  it('to the same, however they are cut into looks, with overlap or without', () => {
    const cut = fc.record({ from: fc.nat({ max: 20 }), to: fc.nat({ max: 20 }) });
    fc.assert(
      fc.property(fc.array(cut, { maxLength: 12 }), (cuts) => {
        const times = Array.from({ length: 20 }, (_, index) => (index + 1) * 1000);
        // Looks as the watch makes them: each begins where the one before ended, or overlaps it.
        let seen = 0;
        let joined: ArmSamples | null = null;
        for (const { from, to } of [...cuts, { from: 0, to: 20 }]) {
          const begin = Math.min(from, seen);
          const end = Math.max(seen, to);
          joined = appendSamples(joined, samples(times.slice(begin, end), ['a', 'b']));
          seen = end;
        }
        assert.deepEqual(joined, samples(times, ['a', 'b']));
      }),
    );
  });

  it('and are well-formed: times rise, and everything is as long as they are', () => {
    const times = fc.uniqueArray(fc.nat({ max: 50 }), { maxLength: 8 }).map((list) => list.toSorted((a, b) => a - b));
    const part = fc
      .tuple(times, fc.subarray(['a', 'b', 'c']), fc.boolean())
      .map(([at, instances, histogram]) => samples(at, instances, histogram));
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const joined = parts.reduce<ArmSamples | null>(appendSamples, null) ?? assert.fail();
        assert.deepEqual(
          joined.timesMs,
          [...new Set(joined.timesMs)].toSorted((a, b) => a - b),
        );
        for (const { requests, errors, buckets } of joined.series) {
          assert.equal(requests.length, joined.timesMs.length);
          assert.equal(errors.length, joined.timesMs.length);
          assert.ok(buckets.length === 0 || buckets.length === joined.timesMs.length);
        }
      }),
    );
  });
});
