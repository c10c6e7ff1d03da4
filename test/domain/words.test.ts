import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  amount,
  apart,
  durationText,
  halves,
  percent,
  percentText,
  points,
  seconds,
  times,
} from '../../domain/words.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('durations for people', () => {
  it('use the largest unit that says it well', () => {
    const said: readonly (readonly [number, string])[] = [
      [0, '0 ms'],
      [1, '1 ms'],
      [999, '999 ms'],
      [SECOND, '1 s'],
      [1500, '1.5 s'],
      [8 * SECOND, '8 s'],
      [MINUTE, '1 min'],
      [90 * SECOND, '90 s'],
      [15 * MINUTE, '15 min'],
      [HOUR, '1 h'],
      [90 * MINUTE, '90 min'],
      [2.5 * HOUR, '2.5 h'],
      [DAY, '24 h'],
      [36 * HOUR, '36 h'],
      [2 * DAY, '2 days'],
      [30 * DAY, '30 days'],
    ];
    for (const [ms, text] of said) assert.equal(durationText(ms), text, String(ms));
  });

  it('are never off by more than one in twenty, and have at most four digits', () => {
    const size: Readonly<Record<string, number>> = { ms: 1, s: SECOND, min: MINUTE, h: HOUR, days: DAY };
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 * DAY }), (ms) => {
        const [amount = '', unit = ''] = durationText(ms).split(' ');
        const back = Number(amount) * (size[unit] ?? Number.NaN);
        assert.ok(Math.abs(back - ms) <= 0.05 * ms, `${ms} ms was said as ${amount} ${unit}`);
        assert.ok(amount.length <= 4, amount);
      }),
    );
  });
});

it('shares for people have two decimals at most, and none that say nothing', () => {
  assert.equal(percentText(10), '10 %');
  assert.equal(percentText(2.5), '2.5 %');
  assert.equal(percentText(33.333333), '33.33 %');
  assert.equal(percentText(100 - 0.1 - 0.1), '99.8 %');
  assert.equal(percentText(0), '0 %');
});

describe('numbers for people', () => {
  it('near the whole say what is missing, so that 99.99 % is not 100 %', () => {
    const said: readonly (readonly [number, string])[] = [
      [1, '100 %'],
      [0.9999, '99.99 %'],
      [0.99945, '99.945 %'],
      [0.995, '99.5 %'],
      [0.95, '95 %'],
      [0.5, '50 %'],
      [0.0024, '0.24 %'],
    ];
    for (const [share, text] of said) assert.equal(percent(share), text);
  });

  it('that are compared are never printed alike', () => {
    assert.deepEqual(apart(percent, 0.9896, 0.99), ['98.96 %', '99 %']);
    assert.deepEqual(apart(points, 0.00201, 0.002), ['0.201 points', '0.2 points']);
    assert.deepEqual(apart(seconds, 0.5004, 0.5), ['500.4 ms', '500 ms']);
    assert.deepEqual(apart(amount, 1250.04, 1250), ['1,250.04', '1,250']);
    assert.deepEqual(apart(times, 1.1801, 1.18), ['1.1801 times', '1.18 times']);
    assert.deepEqual(apart(percent, 0.02, 0.02), ['2 %', '2 %']);
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(share, share, (a, b) => {
        const [one, other] = apart(percent, a, b);
        assert.ok(one !== other || Math.abs(a - b) < 1e-9, `${a} and ${b} are both ${one}`);
      }),
    );
  });

  it('of ranks keep their halves, which are of ties', () => {
    assert.deepEqual([halves(12.5), halves(12), halves(1250.5)], ['12.5', '12', '1,250.5']);
  });
});
