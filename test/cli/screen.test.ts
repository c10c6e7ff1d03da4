import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fitting, heightOf } from '../../client/cli/follow.js';

describe('what is drawn over and over at a terminal', () => {
  const lines = (count: number): string[] => Array.from({ length: count }, (_, at) => `line ${at}`);

  it('is as high as the terminal breaks it', () => {
    assert.equal(heightOf(['', 'short', 'x'.repeat(80), 'x'.repeat(81), 'x'.repeat(161)], 80), 1 + 1 + 1 + 2 + 3);
    assert.equal(heightOf([`\u001B[31m${'x'.repeat(80)}\u001B[0m`], 80), 1, 'colours take no room');
  });

  it('is all there is, where it has room', () => {
    assert.deepEqual(fitting(lines(20), ['keys'], { columns: 80, rows: 24 }), [...lines(20), 'keys']);
  });

  it('leaves out the end of the story where it has none, never the keys', () => {
    for (const [columns, rows] of [
      [80, 24],
      [40, 24],
      [20, 10],
      [5, 3],
    ] as const) {
      const shown = fitting([...lines(26), 'y'.repeat(200)], ['', '[q] leave'], { columns, rows });
      assert.equal(shown.at(-1), '[q] leave');
      assert.match(shown.at(-3) ?? '', /slipway status/);
      if (rows > 5) assert.ok(heightOf(shown, columns) < rows, `${columns} × ${rows}: ${heightOf(shown, columns)}`);
      if (rows > 20) assert.equal(shown[0], 'line 0');
    }
  });
});
