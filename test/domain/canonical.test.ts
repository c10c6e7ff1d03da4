import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { canonicalJson, digestOf, digestOfText, shortDigest } from '../../domain/canonical.js';

const value = fc.jsonValue({ maxDepth: 4 });

/** The same value with the keys of every object in another order. */
function shuffled(input: unknown): unknown {
  if (Array.isArray(input)) return input.map(shuffled);
  if (typeof input !== 'object' || input === null) return input;
  return Object.fromEntries(
    Object.entries(input)
      .toReversed()
      .map(([key, item]) => [key, shuffled(item)]),
  );
}

describe('canonical JSON', () => {
  it('sorts keys, has no white space and leaves undefined out, at every depth', () => {
    assert.equal(
      canonicalJson({ b: 1, a: { d: [true, null, 'x'], c: undefined, B: 'é' } }),
      '{"a":{"B":"é","d":[true,null,"x"]},"b":1}',
    );
    assert.equal(canonicalJson([undefined, 1]), '[null,1]');
    assert.equal(canonicalJson({}), '{}');
  });

  it('sorts keys by code unit, never by the machine’s language', () => {
    assert.equal(canonicalJson({ ä: 1, z: 2, Z: 3, a: 4 }), '{"Z":3,"a":4,"z":2,"ä":1}');
  });

  it('writes numbers with 12 significant digits, integers in full', () => {
    assert.equal(canonicalJson(0.1 + 0.2), '0.3');
    assert.equal(canonicalJson(1 / 3), '0.333333333333');
    assert.equal(canonicalJson(Number.MAX_SAFE_INTEGER), '9007199254740991');
    assert.equal(canonicalJson(-0), '0');
    assert.equal(canonicalJson(1e-7), '1e-7');
  });

  it('refuses what has no JSON instead of changing it silently', () => {
    for (const bad of [Number.NaN, Infinity, -Infinity, undefined, () => 1, Symbol('x'), 1n])
      assert.throws(() => canonicalJson(bad), TypeError, String(bad));
    assert.throws(() => canonicalJson({ deep: [{ p: Number.NaN }] }), TypeError);
    assert.throws(() => canonicalJson({ f: () => 1 }), TypeError);
  });

  it('does not depend on the order in which keys were written', () => {
    fc.assert(fc.property(value, (input) => assert.equal(canonicalJson(shuffled(input)), canonicalJson(input))));
  });

  it('is JSON, and reading it back changes nothing more', () => {
    fc.assert(
      fc.property(value, (input) => {
        const text = canonicalJson(input);
        assert.equal(canonicalJson(JSON.parse(text)), text);
      }),
    );
  });

  it('tells different values apart', () => {
    const values = [fc.boolean(), fc.integer({ min: 0, max: 3 }), fc.constantFrom('', '0', 'a'), fc.constant(null)];
    const exact = fc.anything({ values, key: fc.constantFrom('a', 'b'), maxDepth: 2, maxKeys: 2 });
    fc.assert(
      fc.property(exact, exact, (one, other) =>
        assert.equal(canonicalJson(one) === canonicalJson(other), isDeepStrictEqual(one, other)),
      ),
      { numRuns: 1000 },
    );
    assert.notEqual(canonicalJson(1), canonicalJson('1'));
    assert.notEqual(canonicalJson([]), canonicalJson({}));
    assert.notEqual(canonicalJson({ a: null }), canonicalJson({}));
  });
});

describe('digests', () => {
  it('are the SHA-256 of the UTF-8 bytes, as Node computes it', () => {
    const node = (text: string): string => `sha256:${createHash('sha256').update(text, 'utf8').digest('hex')}`;
    assert.equal(digestOfText(''), 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => assert.equal(digestOfText(text), node(text))));
    fc.assert(fc.property(value, (input) => assert.equal(digestOf(input), node(canonicalJson(input)))));
  });

  it('are shortened for people to 12 hex digits, with the prefix or without', () => {
    const digest = digestOf({ a: 1 });
    assert.equal(shortDigest(digest), digest.slice(7, 19));
    assert.equal(shortDigest(digest.slice(7)), digest.slice(7, 19));
  });
});
