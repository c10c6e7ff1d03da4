import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { compareFences, decideWrite, formatFence, idempotencyKey, parseFence } from '../../domain/fence.js';
import type { Fence, HeldValue, IdempotencyKey, Permit } from '../../domain/fence.js';

const fence = fc.record({ generation: fc.nat({ max: 1000 }), step: fc.nat({ max: 1000 }) }, { noNullPrototype: true });
const text = fc.constantFrom('"a"', '"b"', '"c"');
const key = fc.constantFrom('k1', 'k2', 'k3');

const held: fc.Arbitrary<HeldValue> = fc.record({
  fence: fc.option(fence),
  key: fc.option(key),
  applied: fc.option(text),
  actual: text,
});
const permit: fc.Arbitrary<Permit> = fc.record({
  key: key.map((name) => name as IdempotencyKey),
  fence,
  onDrift: fc.constantFrom('hold', 'overwrite'),
});
const question = fc.record({ held, permit, wanted: text });

function at(generation: number, step: number): Fence {
  return { generation, step };
}

function write(change: Partial<HeldValue>, permitChange: Partial<Permit> = {}, wanted = '"b"') {
  return decideWrite({
    held: { fence: at(3, 4), key: 'earlier', applied: '"a"', actual: '"a"', ...change },
    permit: { key: 'mine' as IdempotencyKey, fence: at(3, 5), onDrift: 'hold', ...permitChange },
    wanted,
  });
}

describe('the order of fences', () => {
  it('counts, it does not spell: 3.10 is after 3.9, 10.1 after 9.99', () => {
    assert.ok(compareFences(at(3, 10), at(3, 9)) > 0);
    assert.ok(compareFences(at(10, 1), at(9, 99)) > 0);
    assert.ok(compareFences(at(2, 99), at(3, 0)) < 0);
    assert.equal(compareFences(at(3, 9), at(3, 9)), 0);
  });

  it('is total', () => {
    fc.assert(
      fc.property(fence, fence, fence, (a, b, c) => {
        assert.equal(Math.sign(compareFences(a, b)), -Math.sign(compareFences(b, a)) + 0);
        assert.equal(compareFences(a, b) === 0, a.generation === b.generation && a.step === b.step);
        if (compareFences(a, b) <= 0 && compareFences(b, c) <= 0) assert.ok(compareFences(a, c) <= 0);
      }),
    );
  });

  it('survives the annotation', () => {
    fc.assert(fc.property(fence, (one) => assert.deepEqual(parseFence(formatFence(one)), one)));
    assert.equal(formatFence(at(3, 10)), '3.10');
  });

  it('is not read out of what is no fence', () => {
    for (const bad of [
      undefined,
      null,
      '',
      '3',
      '3.',
      '.3',
      '3.1.2',
      '-3.1',
      '3.1 ',
      ' 3.1',
      '3,1',
      'a.b',
      '1e3.1',
      '9'.repeat(16) + '.1',
    ])
      assert.equal(parseFence(bad), null, String(bad));
  });
});

it('an idempotency key names the intent, part by part', () => {
  assert.equal(
    idempotencyKey({ rolloutId: '3f2a', stage: 'stage-2', operation: 'set-weights', object: 'route', n: 1 }),
    '3f2a/stage-2/set-weights/route/1',
  );
});

describe('one fenced write', () => {
  it('is applied over what Slipway left, and over an object that it never wrote', () => {
    assert.deepEqual(write({}), { kind: 'apply', drift: null });
    assert.deepEqual(write({ fence: null, key: null, applied: null, actual: '"z"' }), { kind: 'apply', drift: null });
  });

  it('is done already when its own key and its value are there', () => {
    assert.deepEqual(write({ key: 'mine', fence: at(3, 5), applied: '"b"', actual: '"b"' }), { kind: 'already' });
    // Also when the retry carries a newer fence than the try that was applied.
    assert.deepEqual(write({ key: 'mine', fence: at(3, 4), applied: '"b"', actual: '"b"' }), { kind: 'already' });
  });

  it('is drift when its own key is there and its value is not: a tool reset the value and kept our annotations', () => {
    const reset = { key: 'mine', fence: at(3, 5), applied: '"b"', actual: '"a"' };
    assert.deepEqual(write(reset), { kind: 'drift', found: '"a"', expected: '"b"' });
    const over = write(reset, { onDrift: 'overwrite' });
    assert.equal(over.kind, 'apply');
    assert.match(over.kind === 'apply' ? (over.drift ?? '') : '', /found "a" where Slipway had left "b"/);
  });

  it('is stale under a newer fence, even where its own key and value are there', () => {
    assert.deepEqual(write({ fence: at(3, 6) }), { kind: 'stale', held: at(3, 6) });
    assert.deepEqual(write({ fence: at(4, 0), key: 'mine', actual: '"b"' }), { kind: 'stale', held: at(4, 0) });
  });

  it('is stale under its own fence when another effect has used it', () => {
    assert.deepEqual(write({ fence: at(3, 5) }), { kind: 'stale', held: at(3, 5) });
  });

  it('holds on a change by somebody else, unless that is what was wanted anyway', () => {
    assert.deepEqual(write({ actual: '"x"' }), { kind: 'drift', found: '"x"', expected: '"a"' });
    assert.deepEqual(write({ actual: '"b"' }), { kind: 'apply', drift: null });
  });

  it('writes over a change by somebody else in a rollback, and reports it', () => {
    const over = write({ actual: '"x"' }, { onDrift: 'overwrite' });
    assert.deepEqual(over, { kind: 'apply', drift: 'found "x" where Slipway had left "a"' });
  });

  it('never writes under a newer fence, whatever else is there', () => {
    fc.assert(
      fc.property(question, (asked) => {
        const newer = asked.held.fence !== null && compareFences(asked.held.fence, asked.permit.fence) > 0;
        const decision = decideWrite(asked);
        if (newer) assert.deepEqual(decision, { kind: 'stale', held: asked.held.fence });
      }),
    );
  });

  it('never stops a rollback for drift, and never overwrites on the way forward', () => {
    fc.assert(
      fc.property(question, (asked) => {
        const decision = decideWrite(asked);
        if (asked.permit.onDrift === 'overwrite') assert.notEqual(decision.kind, 'drift');
        else if (decision.kind === 'apply') assert.equal(decision.drift, null);
      }),
    );
  });

  it('settles: the same attempt after its own write is done already, and never writes twice', () => {
    fc.assert(
      fc.property(question, (asked) => {
        if (decideWrite(asked).kind !== 'apply') return;
        const after = { ...asked.permit, applied: asked.wanted, actual: asked.wanted };
        assert.deepEqual(decideWrite({ ...asked, held: after }), { kind: 'already' });
      }),
    );
  });

  it('refuses every earlier attempt once a later one has written', () => {
    fc.assert(
      fc.property(question, fence, (asked, later) => {
        fc.pre(compareFences(later, asked.permit.fence) > 0);
        const after: HeldValue = { fence: later, key: 'rollback', applied: '"r"', actual: '"r"' };
        assert.equal(decideWrite({ ...asked, held: after }).kind, 'stale');
      }),
    );
  });
});
