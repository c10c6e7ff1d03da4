import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { mannWhitney } from '../../../domain/canary/mann-whitney.js';
import type { Alternative } from '../../../domain/canary/mann-whitney.js';

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

function close(actual: number, expected: number, what: string): void {
  const error = Math.abs(actual - expected) / Math.max(Math.abs(expected), Number.MIN_VALUE);
  assert.ok(actual === expected || error < 1e-9, `${what}: ${actual}, expected ${expected}`);
}

describe('mannWhitney against R and SciPy', () => {
  for (const { id, notes, alternative, expected, ...samples } of vectors) {
    const x = samples.x.map(Number);
    const y = samples.y.map(Number);
    it(`${id}: ${notes}`, () => {
      if (expected.error !== undefined) {
        assert.throws(() => mannWhitney({ x, y, alternative }), RangeError);
        return;
      }
      const asymptotic = mannWhitney({ x, y, alternative, method: 'asymptotic' });
      close(asymptotic.p, expected.p_asymptotic_cc, 'asymptotic p');
      assert.equal(asymptotic.u1, expected.U1);
      assert.equal(asymptotic.u2, expected.U2);
      close(asymptotic.cles, expected.cles, 'cles');
      assert.ok(Math.abs(asymptotic.cliffsDelta - expected.cliffs_delta) < 1e-12, 'cliffs delta');
      close(asymptotic.hodgesLehmann, expected.hodges_lehmann_shift, 'Hodges-Lehmann');
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
        const lower = all[(all.length - 1) >> 1]!;
        const expected = lower + (all[all.length >> 1]! - lower) / 2;
        const { hodgesLehmann } = mannWhitney({ x, y });
        assert.ok(hodgesLehmann === expected, `${hodgesLehmann}, expected ${expected}`);
      }),
    );
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
