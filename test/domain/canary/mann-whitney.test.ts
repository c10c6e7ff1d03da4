import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hodgesLehmannInterval } from '../../../domain/canary/hodges-lehmann.js';
import { mannWhitney, mannWhitneyProblem } from '../../../domain/canary/mann-whitney.js';
import type { Alternative } from '../../../domain/canary/mann-whitney.js';
import { seededRandom } from '../../../bench/canary/random.js';
import { normalSample } from './simulate.js';

/** Vectors with the answers of R 4.2.2 and SciPy 1.17.1. JSON has no NaN, so those samples hold it as a string. */
interface Vector {
  readonly id: string;
  readonly x: readonly (number | string)[];
  readonly y: readonly (number | string)[];
  readonly alternative: Alternative;
  readonly notes: string;
  readonly expected: {
    readonly error?: string;
    readonly U1: number;
    readonly U2: number;
    readonly p_exact_conditional: number | null;
    readonly p_asymptotic_cc: number;
    readonly cles: number;
    readonly cliffs_delta: number;
    readonly hodges_lehmann_shift: number;
  };
}

const vectors = JSON.parse(readFileSync('test/domain/canary/mwu_vectors.json', 'utf8')) as readonly Vector[];

function close(actual: number, expected: number, what: string, tolerance = 1e-9): void {
  const error = Math.abs(actual - expected) / Math.max(Math.abs(expected), Number.MIN_VALUE);
  assert.ok(actual === expected || error <= tolerance, `${what}: ${actual}, expected ${expected}`);
}

describe('mannWhitney against R and SciPy', () => {
  for (const { id, notes, alternative, expected, ...samples } of vectors) {
    const x = samples.x.map(Number);
    const y = samples.y.map(Number);
    it(`${id}: ${notes}`, () => {
      if (expected.error !== undefined) {
        assert.equal(mannWhitneyProblem({ x, y, alternative })?.code, 'not-finite');
        assert.throws(() => mannWhitney({ x, y, alternative }), RangeError);
        return;
      }
      const asymptotic = mannWhitney({ x, y, alternative, method: 'asymptotic' });
      close(asymptotic.p, expected.p_asymptotic_cc, 'asymptotic p');
      assert.equal(asymptotic.u1, expected.U1);
      assert.equal(asymptotic.u2, expected.U2);
      close(asymptotic.cles, expected.cles, 'cles', 1e-12);
      assert.ok(Math.abs(asymptotic.cliffsDelta - expected.cliffs_delta) < 1e-12, 'cliffs delta');
      close(asymptotic.hodgesLehmann, expected.hodges_lehmann_shift, 'Hodges-Lehmann', 1e-12);
      const auto = mannWhitney({ x, y, alternative });
      assert.equal(auto.method, x.length + y.length <= 100 ? 'exact' : 'asymptotic');
      if (expected.p_exact_conditional === null) return;
      close(mannWhitney({ x, y, alternative, method: 'exact' }).p, expected.p_exact_conditional, 'exact p');
    });
  }

  it('has an exact far tail: 60 against 60, almost apart', () => {
    const vector = vectors.find(({ id }) => id === 'v-020-p99-cont')!;
    const { p } = mannWhitney({ x: vector.x.map(Number), y: vector.y.map(Number), method: 'exact' });
    close(p, 2.1096955146682877e-23, 'exact p');
  });
});

describe('mannWhitney', () => {
  // Few distinct values, so that ties are common.
  const sample = fc.array(fc.integer({ min: -6, max: 6 }), { minLength: 1, maxLength: 12 });
  const method = fc.constantFrom('exact' as const, 'asymptotic' as const);

  it('says of y against x the mirror of what it says of x against y', () => {
    fc.assert(
      fc.property(sample, sample, method, (x, y, method) => {
        const forth = mannWhitney({ x, y, alternative: 'greater', method });
        const back = mannWhitney({ x: y, y: x, alternative: 'less', method });
        close(forth.p, back.p, 'p');
        assert.equal(forth.u1, back.u2);
        assert.ok(Math.abs(forth.hodgesLehmann + back.hodgesLehmann) < 1e-12);
      }),
    );
  });

  it('does not change under a monotone map or another order', () => {
    fc.assert(
      fc.property(sample, sample, method, (x, y, method) => {
        const { p, u1 } = mannWhitney({ x, y, alternative: 'greater', method });
        const map = (values: readonly number[]) => values.map((value) => Math.exp(value) + value).reverse();
        const mapped = mannWhitney({ x: map(x), y: map(y), alternative: 'greater', method });
        assert.deepEqual({ p: mapped.p, u1: mapped.u1 }, { p, u1 });
      }),
    );
  });

  it('counts the exact distribution as trying all splits does', () => {
    const small = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(small, small, (x, y) => {
        const all = [...x, ...y];
        const observed = mannWhitney({ x, y, alternative: 'greater', method: 'exact' });
        let splits = 0;
        let atLeast = 0;
        for (let mask = 0; mask < 2 ** all.length; mask++) {
          const chosen = all.filter((_, i) => mask & (1 << i));
          if (chosen.length !== x.length) continue;
          const others = all.filter((_, i) => !(mask & (1 << i)));
          splits++;
          const u = chosen.flatMap((a) => others.map((b): number => (a > b ? 1 : a === b ? 0.5 : 0)));
          if (u.reduce((sum, value) => sum + value, 0) >= observed.u1) atLeast++;
        }
        close(observed.p, atLeast / splits, 'p');
      }),
    );
  });

  it('finds the median of all differences', () => {
    const doubles = fc.array(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(doubles, doubles, (x, y) => {
        const all = x.flatMap((a) => y.map((b) => a - b)).sort((a, b) => a - b);
        const expected = (all[(all.length - 1) >> 1]! + all[all.length >> 1]!) / 2;
        const { hodgesLehmann } = mannWhitney({ x, y });
        assert.ok(hodgesLehmann === expected, `${hodgesLehmann}, expected ${expected}`);
      }),
    );
  });

  it('does not see a shift of both, and its effect follows a shift of one', () => {
    fc.assert(
      fc.property(sample, sample, method, fc.integer({ min: -50, max: 50 }), (x, y, method, by) => {
        const move = (values: readonly number[]) => values.map((value) => value + by);
        const before = mannWhitney({ x, y, method });
        assert.deepEqual(mannWhitney({ x: move(x), y: move(y), method }), before);
        assert.equal(mannWhitney({ x: move(x), y, method }).hodgesLehmann, before.hodgesLehmann + by);
      }),
    );
  });

  it('has one-sided p that overlap in what was observed, and a two-sided p of twice the smaller', () => {
    fc.assert(
      fc.property(sample, sample, method, (x, y, method) => {
        const [greater, less, both] = (['greater', 'less', 'two-sided'] as const).map(
          (alternative) => mannWhitney({ x, y, alternative, method }).p,
        );
        assert.ok(greater! + less! >= 1 - 1e-12, `${greater} + ${less}`);
        close(both!, Math.min(1, 2 * Math.min(greater!, less!)), 'two-sided p', 1e-12);
      }),
    );
  });

  it('exact and asymptotic agree the better the more values there are', () => {
    const apart = [10, 30, 90].map((n) => {
      const differences = Array.from({ length: 12 }, (_, seed) => {
        const random = seededRandom(seed);
        const x = normalSample(n, random).map((value) => value + 0.2);
        const y = normalSample(n, random);
        const [exact, asymptotic] = (['exact', 'asymptotic'] as const).map((method) => mannWhitney({ x, y, method }).p);
        return Math.abs(exact! - asymptotic!);
      });
      return Math.max(...differences);
    });
    assert.ok(apart[0]! < 0.02 && apart[1]! < apart[0]! / 2 && apart[2]! < apart[1]! / 2, String(apart));
  });

  it('takes values at the ends of the range of doubles', () => {
    const most = Number.MAX_VALUE;
    const { u1, hodgesLehmann } = mannWhitney({ x: [most, -most], y: [most, -most] });
    assert.equal(u1, 2);
    assert.equal(hodgesLehmann, 0);
    assert.equal(mannWhitney({ x: [5e-324], y: [0] }).hodgesLehmann, 5e-324);
  });

  it('compares 5,000 with 5,000 values in some ms', () => {
    const random = seededRandom(7);
    const [x, y] = [normalSample(5000, random), normalSample(5000, random)];
    // Time of the processor, as other tests run beside this one; it takes about 5 ms.
    const tookMs = Array.from({ length: 9 }, () => {
      const before = process.cpuUsage();
      mannWhitney({ x, y });
      return process.cpuUsage(before).user / 1000;
    });
    assert.ok(Math.min(...tookMs) < 20, String(tookMs));
  });

  it('calls samples of one value equal', () => {
    for (const alternative of ['two-sided', 'greater', 'less'] as const) {
      for (const method of ['exact', 'asymptotic'] as const) {
        assert.equal(mannWhitney({ x: [7, 7, 7], y: [7], alternative, method }).p, 1);
      }
    }
  });

  it('refuses what was not measured, and says where it is', () => {
    assert.throws(() => mannWhitney({ x: [], y: [1] }), /sample x is empty/);
    assert.throws(() => mannWhitney({ x: [1], y: [1, NaN] }), /sample y has NaN at index 1/);
    assert.throws(() => mannWhitney({ x: [-Infinity], y: [1] }), /sample x has -Infinity at index 0/);
    const many = Array.from({ length: 151 }, (_, i) => i);
    assert.throws(() => mannWhitney({ x: many, y: many, method: 'exact' }), /too many for the exact test/);
  });
});

describe('hodgesLehmannInterval', () => {
  it('is that of the textbook (Hollander and Wolfe, example 4.1; R gives the same)', () => {
    const x = [0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    const y = [1.15, 0.88, 0.9, 0.74, 1.21];
    const { lower, upper, level } = hodgesLehmannInterval(x, y, 0.95);
    close(lower, 0.73 - 0.88, 'lower', 1e-9);
    close(upper, 1.64 - 0.88, 'upper', 1e-9);
    close(level, 1 - 2 * (60 / 3003), 'level');
  });

  it('covers the shift as often as it says, and is as wide as it must be', () => {
    for (const [n1, n2] of [
      [6, 5],
      [12, 9],
      [70, 60],
    ] as const) {
      const random = seededRandom(n1);
      const runs = 2000;
      let covered = 0;
      let level = 0;
      for (let run = 0; run < runs; run++) {
        const x = normalSample(n1, random).map((value) => value + 0.7);
        const found = hodgesLehmannInterval(x, normalSample(n2, random), 0.9);
        level = found.level;
        if (found.lower <= 0.7 && 0.7 <= found.upper) covered++;
      }
      assert.ok(level >= 0.9 && level < 0.95, `${n1} and ${n2}: ${level}`);
      const deviation = Math.sqrt((level * (1 - level)) / runs);
      assert.ok(Math.abs(covered / runs - level) < 4 * deviation, `${n1} and ${n2}: ${covered / runs} for ${level}`);
    }
  });

  it('mirrors when the samples change places, and holds the estimate', () => {
    const sample = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sample, sample, (x, y) => {
        const forth = hodgesLehmannInterval(x, y, 0.9);
        const back = hodgesLehmannInterval(y, x, 0.9);
        assert.deepEqual([forth.lower, forth.upper], [0 - back.upper, 0 - back.lower]);
        const { hodgesLehmann } = mannWhitney({ x, y });
        assert.ok(forth.lower <= hodgesLehmann && hodgesLehmann <= forth.upper);
      }),
    );
  });

  it('says the level that so few values can reach', () => {
    const found = hodgesLehmannInterval([1, 2, 3], [4, 6, 8], 0.99);
    assert.deepEqual([found.lower, found.upper], [-7, -1]);
    close(found.level, 0.9, 'level', 1e-12);
  });

  it('refuses empty samples, what is not finite, and levels that are none', () => {
    assert.throws(() => hodgesLehmannInterval([], [1]), RangeError);
    assert.throws(() => hodgesLehmannInterval([NaN], [1]), RangeError);
    assert.throws(() => hodgesLehmannInterval([1], [1], 1), /between 0 and 1, not 1/);
  });
});
