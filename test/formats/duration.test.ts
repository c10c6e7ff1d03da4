import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from '../../formats/duration.js';

test('durations are read with their units', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['0s', 0],
    ['200ms', 200],
    ['90s', 90_000],
    ['15m', 900_000],
    ['24h', 86_400_000],
    ['3d', 259_200_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['1.1h', 3_960_000],
    ['1m5s20ms', 65_020],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, text);
});

test('everything else is no duration', () => {
  const texts = [
    '',
    '5',
    's',
    '5 m',
    '5min',
    '-5s',
    '+5s',
    '5S',
    '1e3s',
    '30m1h',
    '5s5s',
    '1:30',
    '.5s',
    '5.s',
    'NaNs',
    '५s',
    '1h\n',
  ];
  for (const text of [...texts, `${'9'.repeat(30)}d`]) assert.equal(parseDuration(text), null, text);
});

test('a formatted duration is read back', () => {
  assert.equal(formatDuration(5_400_000), '1h30m');
  assert.equal(formatDuration(0), '0s');
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e14 }), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)),
  );
});

test('a long text is refused quickly', () => {
  const started = performance.now();
  assert.equal(parseDuration(`${'1'.repeat(100_000)}x`), null);
  assert.equal(parseDuration('1s'.repeat(100_000)), null);
  assert.ok(performance.now() - started < 1000);
});
