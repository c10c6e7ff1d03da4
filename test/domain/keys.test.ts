import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IDLE, keyLines, press } from '../../domain/keys.js';
import type { Pressed, Typing } from '../../domain/keys.js';
import type { Offer } from '../../domain/offers.js';

function offer(verb: Offer['verb'], change: Partial<Offer> = {}): Offer {
  return { verb, allowed: true, why: null, does: `does ${verb}`, command: '', needsReason: false, ...change };
}

const OFFERS = [
  offer('approve'),
  offer('reject', { needsReason: true }),
  offer('pause'),
  offer('abort', { allowed: false, why: 'it is already going back' }),
];

/** Presses key after key. */
function typed(keys: readonly string[], offers: readonly Offer[] = OFFERS): Pressed {
  let last: Pressed = { kind: 'stay', typing: IDLE };
  for (const key of keys) {
    if (last.kind === 'leave') break;
    last = press(last.typing, key, offers);
  }
  return last;
}

const lines = (pressed: Pressed): string =>
  pressed.kind === 'leave' ? '' : keyLines(pressed.typing, OFFERS).join('\n');

describe('keys of a watched rollout', () => {
  test('the keys that are shown are those that would do something', () => {
    assert.deepEqual(keyLines(IDLE, OFFERS), ['[a] approve   [r] reject   [p] pause   [q] leave, it goes on']);
  });

  test('a decision takes its key, a reason, and Enter', () => {
    const sent = typed(['a', 'r', 'e', 'ad', ' ', 'i', '\u007F', 'it', '\r']);
    assert.deepEqual(sent.kind === 'send' && [sent.verb, sent.reason], ['approve', 'read it']);
    const without = typed(['a', '\r']);
    assert.deepEqual(without.kind === 'send' && [without.verb, without.reason], ['approve', null]);
  });

  test('what needs a reason is not said without one', () => {
    const empty = typed(['r', ' ', '\r']);
    assert.equal(empty.kind, 'stay');
    assert.match(lines(empty), /reject needs a reason/);
    assert.equal(typed(['r', ' ', '\r', 'n', 'o', '\r']).kind, 'send');
  });

  test('what is not allowed says why, what is not offered does nothing, Escape takes back', () => {
    assert.match(lines(typed(['x'])), /you can't abort: it is already going back/);
    assert.deepEqual(typed(['n']), { kind: 'stay', typing: IDLE });
    assert.match(lines(typed(['a', 'y', '\u001B'])), /nothing was said/);
    assert.equal(typed(['a', 'y', '\u001B', '\r']).kind, 'stay');
  });

  test('a key is never a second decision while the first is on its way; leaving always works', () => {
    const sending: Typing = { kind: 'sending', offer: offer('approve') };
    for (const key of ['\r', 'a', 'x', 'q'])
      assert.deepEqual(press(sending, key, OFFERS), { kind: 'stay', typing: sending });
    for (const keys of [['q'], ['\u0003'], ['a', '\u0003'], ['a', '\u0004']]) assert.equal(typed(keys).kind, 'leave');
    // In a reason it is a letter.
    assert.equal(typed(['a', 'q']).kind, 'stay');
  });

  test('arrows and pasted control characters write nothing that moves a cursor', () => {
    const pasted = typed(['a', '\u001B[A', 'x\u0007\u009By\n', '\r']);
    assert.equal(pasted.kind === 'send' && pasted.reason, 'x  y');
  });
});
