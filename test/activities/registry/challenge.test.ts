import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { parseChallenges } from '../../../activities/registry/challenge.js';

it('challenges are read with their parameters, quoted or bare, one after the other', () => {
  assert.deepEqual(
    parseChallenges(
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"',
    ),
    [
      {
        scheme: 'bearer',
        parameters: {
          realm: 'https://auth.docker.io/token',
          service: 'registry.docker.io',
          scope: 'repository:a/b:pull',
        },
      },
    ],
  );
  assert.deepEqual(parseChallenges('Negotiate, BASIC Realm = "a \\"b\\", c" , Bearer realm=x,service=y'), [
    { scheme: 'negotiate', parameters: {} },
    { scheme: 'basic', parameters: { realm: 'a "b", c' } },
    { scheme: 'bearer', parameters: { realm: 'x', service: 'y' } },
  ]);
  assert.deepEqual(parseChallenges(''), []);
  assert.deepEqual(parseChallenges('realm="no scheme"'), []);
});

it('challenges are read as they were written, and no text takes long', () => {
  const name = fc.stringMatching(/^[a-z]{1,8}$/);
  const value = fc.string({ maxLength: 20 });
  const challenge = fc.record(
    { scheme: name, parameters: fc.dictionary(name, value, { noNullPrototype: true, minKeys: 1 }) },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(challenge, { maxLength: 3 }), (challenges) => {
      const header = challenges
        .map(({ scheme, parameters }) => {
          const pairs = Object.entries(parameters).map(([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`);
          return `${scheme} ${pairs.join(', ')}`;
        })
        .join(', ');
      assert.deepEqual(parseChallenges(header), challenges);
    }),
  );
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => Array.isArray(parseChallenges(text))));
  const begun = Date.now();
  for (const text of [
    'a '.repeat(8000),
    ' '.repeat(16_000),
    `a b="${'\\'.repeat(16_000)}`,
    'a='.repeat(8000),
    `x${' '.repeat(16000)}y`,
  ])
    parseChallenges(text);
  assert.ok(Date.now() - begun < 10_000);
});
