import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  binomialGreater,
  binomialTwoSided,
  differenceUpperBound,
  fisherGreater,
  resolvableDifference,
  stratifiedScore,
} from '../../../domain/canary/counts.js';
import { erfc, normalUpperTail } from '../../../domain/canary/normal.js';

function pair(canaryEvents: number, canaryTotal: number, comparisonEvents: number, comparisonTotal: number) {
  return { canaryEvents, canaryTotal, comparisonEvents, comparisonTotal };
}

function close(actual: number, expected: number, relative = 1e-9): void {
  assert.ok(Math.abs(actual - expected) <= relative * Math.abs(expected), `${actual}, expected ${expected}`);
}

describe('normal distribution', () => {
  it('has an accurate tail (values of C’s erfc)', () => {
    close(erfc(0.5), 0.4795001221869535, 1e-13);
    close(erfc(2), 0.004677734981047266, 1e-12);
    close(erfc(10), 2.088487583762545e-45, 1e-12);
    close(normalUpperTail(1.6448536269514722), 0.05, 1e-12);
    close(normalUpperTail(-1), 0.8413447460685429, 1e-12);
    close(normalUpperTail(17), 4.105996202099024e-65, 1e-9);
  });
});

describe('fisherGreater', () => {
  it('gives the textbook answers', () => {
    // The lady tasting tea: 3 of 4 right, 17/70.
    close(fisherGreater(pair(3, 4, 1, 4)), 17 / 70);
    // 0 against k errors with equal traffic nears 2^-k.
    close(fisherGreater(pair(10, 1_000_000, 0, 1_000_000)), 2 ** -10, 1e-4);
    assert.equal(fisherGreater(pair(0, 10, 5, 10)), 1);
  });

  it('is milder with a tolerance ratio, and falls with every error of the canary', () => {
    const counts = fc.integer({ min: 1, max: 30 });
    fc.assert(
      fc.property(counts, counts, (own, other) => {
        const plain = fisherGreater(pair(own, 40, other, 50));
        assert.ok(plain <= fisherGreater(pair(own, 40, other, 50), 1.15) + 1e-12);
        assert.ok(fisherGreater(pair(own + 1, 40, other, 50)) <= plain + 1e-12);
      }),
    );
  });

  it('refuses what is no count', () => {
    assert.throws(() => fisherGreater(pair(1.5, 10, 0, 10)), RangeError);
    assert.throws(() => fisherGreater(pair(11, 10, 0, 10)), /11 of 10 are no counts/);
  });
});

describe('binomial tests', () => {
  it('are exact', () => {
    close(binomialGreater(3, 20, 0.005), 0.00013370035856952295);
    close(binomialGreater(1, 20, 0.5), 1 - 2 ** -20);
    close(binomialTwoSided(0, 10, 0.5), 2 / 1024);
    assert.equal(binomialTwoSided(5, 10, 0.5), 1);
    assert.equal(binomialGreater(0, 5, 0), 1);
    assert.throws(() => binomialGreater(1, 5, 1.5), RangeError);
  });

  it('go over into the normal approximation without a step', () => {
    const exact = binomialTwoSided(5150, 10_000, 0.5);
    const normal = binomialTwoSided(5150, 10_001, 0.5);
    close(normal, exact, 0.05);
  });
});

describe('stratifiedScore', () => {
  it('agrees with the plain score test in one stratum', () => {
    const { z, ratio, dispersion } = stratifiedScore([pair(60, 1000, 40, 1000)], 1);
    close(z, 10 / Math.sqrt(25));
    close(ratio, 1.5, 1e-6);
    assert.equal(dispersion, 1);
  });

  it('lets an incident that hits both arms cancel', () => {
    const strata = Array.from({ length: 20 }, (_, i) =>
      i === 7 ? pair(500, 1000, 500, 1000) : pair(5, 1000, 5, 1000),
    );
    assert.equal(Math.round(stratifiedScore(strata, 1).z), 0);
  });

  it('trusts a burst less than a steady rise of the same size', () => {
    const steady = Array.from({ length: 20 }, (_, i) => pair(i % 2 === 0 ? 20 : 22, 1000, i % 3 === 0 ? 9 : 11, 1000));
    const burst = Array.from({ length: 20 }, (_, i) => pair(i === 3 ? 220 : 10, 1000, 10, 1000));
    assert.ok(stratifiedScore(steady, 1.15).p < 1e-9);
    assert.ok(stratifiedScore(burst, 1.15).p > 1e-3);
  });
});

describe('bounds of the difference', () => {
  it('says what zero errors rule out', () => {
    const zero = pair(0, 72, 0, 648);
    close(differenceUpperBound(zero), 0.0362, 0.01);
    assert.ok(resolvableDifference(zero) >= differenceUpperBound(zero));
    assert.ok(differenceUpperBound(pair(0, 7200, 0, 7200)) < 0.004);
  });
});
