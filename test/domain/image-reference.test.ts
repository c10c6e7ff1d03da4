import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isDigest, parseImageReference, splitReference, withDigest } from '../../domain/image-reference.js';
import type { ImageReference } from '../../domain/image-reference.js';

const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;

function parsed(text: string): ImageReference {
  const found = parseImageReference(text);
  return found.ok ? found.reference : assert.fail(`${text}: ${JSON.stringify(found)}`);
}

const component = fc.stringMatching(/^[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}$/);
const repository = fc.array(component, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('/'));
const registry = fc.oneof(
  fc.constantFrom('localhost', '127.0.0.1', 'registry.example.com', '[::1]', 'Registry', 'a-b.c'),
  fc
    .tuple(fc.constantFrom('localhost', 'hub', 'registry.lan', '[fe80::1]'), fc.integer({ min: 1, max: 65535 }))
    .map(([host, port]) => `${host}:${port}`),
);
const tag = fc.stringMatching(/^\w[\w.-]{0,30}$/);
const digest = fc.stringMatching(/^[0-9a-f]{64}$/).map((hex) => `sha256:${hex}`);

describe('an image reference', () => {
  it('gets what runtimes fill in: Docker Hub, its namespace of official images, latest', () => {
    const all: readonly (readonly [string, ImageReference])[] = [
      ['hello', { registry: 'docker.io', repository: 'library/hello', tag: 'latest', digest: null }],
      ['hello:v2', { registry: 'docker.io', repository: 'library/hello', tag: 'v2', digest: null }],
      ['team/hello', { registry: 'docker.io', repository: 'team/hello', tag: 'latest', digest: null }],
      ['docker.io/hello', { registry: 'docker.io', repository: 'library/hello', tag: 'latest', digest: null }],
      ['index.docker.io/a/b:c', { registry: 'docker.io', repository: 'a/b', tag: 'c', digest: null }],
      ['localhost/hello', { registry: 'localhost', repository: 'hello', tag: 'latest', digest: null }],
      ['localhost:5000/hello', { registry: 'localhost:5000', repository: 'hello', tag: 'latest', digest: null }],
      ['[::1]:5000/hello:v2', { registry: '[::1]:5000', repository: 'hello', tag: 'v2', digest: null }],
      ['hub:5000/a/b:c', { registry: 'hub:5000', repository: 'a/b', tag: 'c', digest: null }],
      [`hello@${DIGEST}`, { registry: 'docker.io', repository: 'library/hello', tag: null, digest: DIGEST }],
      [`r.example/hello:v2@${DIGEST}`, { registry: 'r.example', repository: 'hello', tag: 'v2', digest: DIGEST }],
    ];
    for (const [text, expected] of all) assert.deepEqual(parsed(text), expected, text);
  });

  it('is read as it was written, whatever its parts', () => {
    const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
    fc.assert(
      fc.property(registry, repository, maybe(tag), maybe(digest), (host, path, version, bytes) => {
        const text = `${host}/${path}${version === null ? '' : `:${version}`}${bytes === null ? '' : `@${bytes}`}`;
        assert.deepEqual(parsed(text), {
          registry: host,
          repository: path,
          tag: version ?? (bytes === null ? 'latest' : null),
          digest: bytes,
        });
      }),
    );
  });

  it('bound to bytes keeps its tag, names them, and is bound to others as easily', () => {
    fc.assert(
      fc.property(
        registry,
        repository,
        fc.option(tag, { nil: null }),
        digest,
        digest,
        (host, path, version, one, other) => {
          const text = `${host}/${path}${version === null ? '' : `:${version}`}`;
          const bound = withDigest(text, one);
          assert.deepEqual(parsed(bound), { ...parsed(text), digest: one });
          assert.equal(withDigest(bound, other), withDigest(text, other));
        },
      ),
    );
    assert.equal(withDigest('hello:v2', DIGEST), `hello:v2@${DIGEST}`);
    assert.equal(withDigest('hello', DIGEST), `hello:latest@${DIGEST}`);
  });

  it('that no runtime could read is refused by the part that is wrong, with its value and what to write', () => {
    const all: readonly (readonly [string, string, string])[] = [
      ['', 'name', ''],
      [':v2', 'name', ':v2'],
      ['Hello:v2', 'repository', 'Hello'],
      ['team/Hello', 'repository', 'team/Hello'],
      ['hello world:v2', 'repository', 'hello world'],
      ['team//hello', 'repository', 'team//hello'],
      ['team/hello/', 'repository', 'team/hello/'],
      ['/hello', 'repository', '/hello'],
      ['a..b', 'repository', 'a..b'],
      ['a___b', 'repository', 'a___b'],
      [`x/${'a'.repeat(254)}`, 'repository', `x/${'a'.repeat(254)}`],
      ['https://registry.example.com/hello', 'registry', 'https:'],
      ['user@registry.example.com/hello', 'digest', 'registry.example.com/hello'],
      ['-registry.example.com/hello', 'registry', '-registry.example.com'],
      ['registry.example.com:port/hello', 'registry', 'registry.example.com:port'],
      ['hello:', 'tag', ''],
      ['hello:-v2', 'tag', '-v2'],
      ['hello:v 2', 'tag', 'v 2'],
      [`hello:${'v'.repeat(129)}`, 'tag', 'v'.repeat(129)],
      ['hello@', 'digest', ''],
      ['hello@sha256:abc', 'digest', 'sha256:abc'],
      [`hello@${DIGEST.toUpperCase()}`, 'digest', DIGEST.toUpperCase()],
      [`hello@md5:${'a'.repeat(32)}`, 'digest', `md5:${'a'.repeat(32)}`],
      [`hello@${DIGEST}@${DIGEST}`, 'digest', `${DIGEST}@${DIGEST}`],
    ];
    for (const [text, field, value] of all) {
      const found = parseImageReference(text);
      assert.ok(!found.ok, `${text} was accepted`);
      assert.deepEqual([found.field, found.value], [field, value], text);
      assert.match(found.remedy, /^write /, text);
    }
  });

  it('is any text: reading never throws, takes no time, and loses nothing', () => {
    const begun = Date.now();
    const evil = [
      'a-'.repeat(4000),
      'a.'.repeat(4000),
      'a/'.repeat(4000),
      '-'.repeat(8000),
      `a${'-'.repeat(8000)}`,
      `[${':'.repeat(8000)}`,
    ];
    for (const text of evil) parseImageReference(text);
    fc.assert(
      fc.property(fc.string({ maxLength: 80 }), (text) => {
        const { name, tag: version, digest: bytes } = splitReference(text);
        assert.equal(`${name}${version === null ? '' : `:${version}`}${bytes === null ? '' : `@${bytes}`}`, text);
        assert.equal(typeof parseImageReference(text).ok, 'boolean');
      }),
    );
    assert.ok(Date.now() - begun < 10_000);
  });

  it('has a digest of a known algorithm, complete', () => {
    for (const [algorithm, length] of [
      ['sha256', 64],
      ['sha384', 96],
      ['sha512', 128],
    ] as const) {
      assert.ok(isDigest(`${algorithm}:${'a'.repeat(length)}`));
      assert.ok(!isDigest(`${algorithm}:${'a'.repeat(length - 1)}`));
    }
    assert.ok(!isDigest(`toString:${'a'.repeat(64)}`));
  });
});
