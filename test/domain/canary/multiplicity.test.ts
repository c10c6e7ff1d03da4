import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { benjaminiHochberg, holm } from '../../../domain/canary/multiplicity.js';

const close = (actual: readonly number[], expected: readonly number[]) =>
  assert.ok(
    actual.length === expected.length && actual.every((p, i) => Math.abs(p - expected[i]!) < 1e-12),
    `${actual.join()} and not ${expected.join()}`,
  );
const ps = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 });

describe('p-values of several tests', () => {
  // R 4.2.2: p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.5), method)
  const given = [0.01, 0.04, 0.03, 0.005, 0.5];
  it('by Holm', () => close(holm(given), [0.04, 0.09, 0.09, 0.025, 0.5]));
  it('by Benjamini and Hochberg', () => close(benjaminiHochberg(given), [0.025, 0.05, 0.05, 0.025, 0.5]));

  it('are never smaller than they were, and keep their order', () => {
    fc.assert(
      fc.property(ps, (values) => {
        for (const adjusted of [holm(values), benjaminiHochberg(values)]) {
          assert.ok(adjusted.every((p, i) => p >= values[i]! && p <= 1));
          for (const [i, p] of values.entries())
            for (const [k, other] of values.entries()) if (p < other) assert.ok(adjusted[i]! <= adjusted[k]!);
        }
      }),
    );
  });

  it('are stricter by Holm than by Benjamini and Hochberg, and milder than by Bonferroni', () => {
    fc.assert(
      fc.property(ps, (values) => {
        const [strict, mild] = [holm(values), benjaminiHochberg(values)];
        for (const [i, p] of values.entries()) {
          assert.ok(mild[i]! <= strict[i]! + 1e-15);
          assert.ok(strict[i]! <= Math.min(1, values.length * p) + 1e-15);
        }
      }),
    );
  });

  it('must be p-values', () => {
    assert.throws(() => holm([0.5, Number.NaN]), /a p-value must be between 0 and 1, not NaN/);
    assert.throws(() => benjaminiHochberg([1.5]), RangeError);
    assert.deepEqual(holm([]), []);
  });
});
