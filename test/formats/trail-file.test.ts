import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import fc from 'fast-check';
import { genesis, headAfter, nextEntry } from '../../domain/trail.js';
import type { TrailEntry, TrailHead } from '../../domain/trail.js';
import { auditTrail } from '../../formats/trail-audit.js';
import { compareHead, readTrail, trailLine } from '../../formats/trail-file.js';

const LOG = 'rollout/production/checkout/3f2a9c1e5b7d8f00';

/** A trail of so many entries, the last of which is the outcome. */
function trail(size: number, { log = LOG, mark = '' } = {}): readonly TrailEntry[] {
  const entries: TrailEntry[] = [];
  let head: TrailHead = genesis(log);
  for (let i = 0; i < size; i += 1) {
    const entry = nextEntry(head, {
      at: `2026-11-21T20:00:${String(i % 60).padStart(2, '0')}.000Z`,
      type: i === size - 1 ? 'outcome' : 'phase',
      actor: i === 0 ? 'ann@example.com' : null,
      text: `step ${i}${mark}: 25 % – “größer”`,
      data: { weightPercent: 25, ratio: 1 / 3, gate: null, groups: ['owners'] },
    });
    entries.push(entry);
    head = headAfter(entry);
  }
  return entries;
}

function text(entries: readonly TrailEntry[]): string {
  return entries.map(trailLine).join('');
}

function read(content: string | Uint8Array) {
  return readTrail(typeof content === 'string' ? Buffer.from(content) : content);
}

/** What is said of a text: `kind@line/seq`. */
function damagesOf(content: string | Uint8Array): readonly string[] {
  return read(content).damages.map(({ kind, line, seq }) => `${kind}@${line ?? '-'}/${seq ?? '-'}`);
}

/** What an attacker does who may write everything: hashes made anew from an entry on. */
function rechained(entries: readonly TrailEntry[], from: number, change: (entry: TrailEntry) => Partial<TrailEntry>) {
  let head: TrailHead = genesis(LOG);
  return entries.map((entry, i) => {
    const made = i < from ? entry : nextEntry(head, { ...entry, ...(i === from ? change(entry) : {}) });
    head = headAfter(made);
    return made;
  });
}

const SIX = trail(6);
const HEAD = headAfter(SIX.at(-1)!);

test('an unharmed trail reads as it was written', () => {
  const reading = read(text(SIX));
  assert.deepEqual(reading.damages, []);
  assert.deepEqual(reading.entries, JSON.parse(JSON.stringify(SIX.map((entry) => JSON.parse(trailLine(entry))))));
  assert.deepEqual([reading.log, reading.head, reading.closed], [LOG, HEAD, true]);
  assert.equal(compareHead(reading, HEAD).kind, 'matches');
});

describe('each damage is named with its line', () => {
  const lines = SIX.map(trailLine);
  const cases: readonly (readonly [string, string | Uint8Array, readonly string[]])[] = [
    ['an empty file', '', ['empty@-/-']],
    ['a byte order mark', `\uFEFF${text(SIX)}`, ['byte-order-mark@1/-']],
    ['CR LF', text(SIX).replaceAll('\n', '\r\n'), ['line-ends@-/-']],
    ['one CR LF', [lines[0], lines[1]?.replace('\n', '\r\n'), ...lines.slice(2)].join(''), ['line-ends@-/-']],
    ['an empty line', [lines[0], '\n', ...lines.slice(1)].join(''), ['blank-line@2/-']],
    ['an entry that is gone', text(SIX.toSpliced(2, 1)), ['missing@3/2']],
    ['two that are gone', text(SIX.toSpliced(2, 2)), ['missing@3/2']],
    ['the first that is gone', text(SIX.slice(1)), ['missing@1/0']],
    ['an entry twice', text([...SIX.slice(0, 3), SIX[2]!, ...SIX.slice(3)]), ['duplicate@4/2']],
    ['two that are swapped', text([SIX[0]!, SIX[2]!, SIX[1]!, ...SIX.slice(3)]), ['order@3/1']],
    ['another log spliced in', text([...SIX.slice(0, 3), ...trail(6, { mark: '!' }).slice(3)]), ['link@4/3']],
    ['entries of another log', text([...SIX.slice(0, 5), trail(6, { log: 'server/web' })[5]!]), ['other-log@6/5']],
    ['another entry of one number', text([...SIX, trail(6, { mark: '!' })[3]!]), ['conflict@7/3']],
    ['a line that is no JSON', [lines[0], 'no JSON\n', ...lines.slice(2)].join(''), ['not-json@2/-']],
    ['a line that is no entry', [lines[0], '{"v":1}\n', ...lines.slice(2)].join(''), ['not-an-entry@2/-']],
    ['other white space', text(SIX).replace('"actor":null', '"actor": null'), ['other-bytes@2/1']],
    ['an entry that was changed', text(SIX).replace('step 3', 'step 7'), ['changed@4/3']],
    ['entries after the outcome', text([...trail(3), ...afterwards(trail(3))]), ['after-end@3/2']],
    [
      'a log that begins as another',
      text(trail(3)).replaceAll(LOG, 'rollout/x/y/z'),
      ['changed@1/0', 'changed@2/1', 'changed@3/2'],
    ],
    [
      'bytes that are no text',
      Buffer.concat([Buffer.from(lines[0]!), Buffer.from([0xff, 0x0a]), Buffer.from(lines.slice(2).join(''))]),
      ['not-text@2/-'],
    ],
  ];
  for (const [name, content, expected] of cases) {
    test(name, () => assert.deepEqual(damagesOf(content), expected));
  }

  function afterwards(entries: readonly TrailEntry[]): readonly TrailEntry[] {
    return [nextEntry(headAfter(entries.at(-1)!), { ...SIX[0]!, at: '2026-11-21T21:00:00.000Z' })];
  }
});

test('each text says what and where', () => {
  const [damage] = read(text(SIX.toSpliced(2, 2))).damages;
  assert.equal(damage?.text, 'entries 2 to 3 are missing before this line');
  assert.match(read(text(SIX).replace('step 3', 'step 7')).damages[0]?.text ?? '', /^entry 3 was changed/);
});

test('a flip of any bit is found, with its line', () => {
  const short = Buffer.from(text(trail(2)));
  for (let bit = 0; bit < short.length * 8; bit += 1) {
    const flipped = Buffer.from(short);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const { damages } = readTrail(flipped);
    const line = short.subarray(0, bit >> 3).filter((byte) => byte === 0x0a).length + 1;
    assert.ok(
      damages.some((damage) => damage.line === line || damage.kind === 'line-ends' || damage.kind === 'missing'),
      `bit ${bit} in line ${line}: ${JSON.stringify(damages)}`,
    );
  }
});

test('a cut at any byte is found: within a line by itself, between lines by the head that is written down', () => {
  const whole = Buffer.from(text(SIX));
  for (let end = 0; end < whole.length; end += 1) {
    const reading = readTrail(whole.subarray(0, end));
    const atLine = end === 0 || whole[end - 1] === 0x0a;
    if (atLine)
      assert.deepEqual(
        reading.damages.map(({ kind }) => kind),
        end === 0 ? ['empty'] : [],
        `cut at ${end}`,
      );
    else
      assert.deepEqual(
        reading.damages.map(({ kind }) => kind),
        ['cut-off'],
        `cut at ${end}`,
      );
    const finding = auditTrail(reading, [{ from: 'the log of heads', head: HEAD, final: true }]);
    assert.equal(finding.level, 'damaged', `cut at ${end}`);
  }
});

test('what was made anew from an entry on is found by the head only', () => {
  for (let from = 0; from < SIX.length; from += 1) {
    const forged = read(text(rechained(SIX, from, () => ({ text: 'nothing happened' }))));
    assert.deepEqual(forged.damages, []);
    assert.equal(compareHead(forged, HEAD).kind, 'other');
  }
});

test('without a head nothing is called whole', () => {
  assert.equal(auditTrail(read(text(SIX)), []).level, 'cannot-tell');
  assert.equal(auditTrail(read(text(SIX.slice(0, 3))), []).level, 'cannot-tell');
  const head = { from: 'Temporal', head: HEAD, final: true };
  assert.equal(auditTrail(read(text(SIX)), [head]).level, 'whole');
  assert.equal(auditTrail(read(text(SIX.slice(0, 5))), [head]).level, 'damaged');
  // A rollout that runs has entries that are not kept yet.
  assert.equal(auditTrail(read(text(SIX.slice(0, 5))), [{ ...head, final: false }]).level, 'cannot-tell');
  // A head that was noted on the way vouches for what came before it.
  const early = { from: '--head', head: headAfter(SIX[2]!), final: false };
  assert.equal(auditTrail(read(text(SIX)), [early]).level, 'cannot-tell');
  assert.equal(auditTrail(read(text(SIX.slice(0, 2))), [early]).level, 'damaged');
});

test('whatever is done to the lines of a trail, it is not whole any more', () => {
  const lines = SIX.map(trailLine);
  const foreign = trail(6, { mark: '!' }).map(trailLine);
  const anyLine = fc.constantFrom(...lines, ...foreign, '\n', '{}\n');
  fc.assert(
    fc.property(fc.array(anyLine, { maxLength: 9 }), (chosen) => {
      const content = chosen.join('');
      fc.pre(content !== text(SIX));
      const finding = auditTrail(read(content), [{ from: 'Temporal', head: HEAD, final: true }]);
      assert.equal(finding.level, 'damaged', content);
    }),
    { numRuns: 400 },
  );
});

test('any text at all is read without an exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.ok(readTrail(bytes).damages.length > 0);
    }),
  );
});
