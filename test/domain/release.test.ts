import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hashRelease, imageTag, releaseName, rolloutIdFor, withTag } from '../../domain/release.js';
import type { Release } from '../../domain/release.js';
import { SMALL_CHANGE } from '../support/request.js';

const tag = fc.stringMatching(/^\w[\w.-]{0,20}$/);
const repository = fc.constantFrom('hello', 'team/hello', 'registry.example.com/team/hello', 'localhost:5000/hello');

function release(change: Partial<Release> = {}): Release {
  return { images: { app: 'hello:v1', proxy: 'envoy:v3' }, env: { A: 'b' }, change: SMALL_CHANGE, ...change };
}

describe('image references', () => {
  it('are read as registries read them: a port is no tag, a digest beats a tag', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const tags: readonly (readonly [string, string])[] = [
      ['hello', 'latest'],
      ['hello:v2', 'v2'],
      ['localhost:5000/hello', 'latest'],
      ['localhost:5000/hello:v2', 'v2'],
      [`registry.example.com/hello@${digest}`, digest],
      [`registry.example.com/hello:v2@${digest}`, digest],
    ];
    for (const [reference, expected] of tags) assert.equal(imageTag(reference), expected, reference);
  });

  it('get another tag in place of the tag or digest that they had', () => {
    assert.equal(withTag('hello', 'v2'), 'hello:v2');
    assert.equal(withTag('hello:v1', 'v2'), 'hello:v2');
    assert.equal(withTag('localhost:5000/hello', 'v2'), 'localhost:5000/hello:v2');
    assert.equal(withTag(`localhost:5000/hello:v1@sha256:${'a'.repeat(64)}`, 'v2'), 'localhost:5000/hello:v2');
    assert.equal(withTag(`hello@sha256:${'a'.repeat(64)}`, 'v2'), 'hello:v2');
  });

  it('have the tag that they were given, however often', () => {
    fc.assert(
      fc.property(repository, tag, tag, (name, first, second) => {
        assert.equal(imageTag(withTag(name, first)), first);
        assert.equal(withTag(withTag(name, first), second), withTag(name, second));
      }),
    );
  });

  it('are said to people without registry and folder', () => {
    assert.equal(releaseName({ app: 'localhost:5000/team/hello:v2' }), 'hello:v2');
    assert.equal(releaseName({ app: 'hello:v2', proxy: 'registry.example.com/proxy:v9' }), 'hello:v2 + proxy:v9');
  });

  it('are said by their tag also when they are bound to a digest, which is said where nothing else is', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    assert.equal(releaseName({ app: `localhost:5000/team/hello:v2@${digest}` }), 'hello:v2');
    assert.equal(releaseName({ app: `localhost:5000/team/hello@${digest}` }), `hello@${digest}`);
  });
});

describe('the digest of a release', () => {
  const { digest } = hashRelease(release());

  it('is that of what runs: images and environment', () => {
    assert.notEqual(hashRelease(release({ images: { app: 'hello:v2', proxy: 'envoy:v3' } })).digest, digest);
    assert.notEqual(hashRelease(release({ images: { app: 'hello:v1' } })).digest, digest);
    assert.notEqual(hashRelease(release({ env: { A: 'c' } })).digest, digest);
    assert.notEqual(hashRelease(release({ env: {} })).digest, digest);
  });

  it('does not depend on who ships it, what changed, or the order of the containers', () => {
    const change = { ...SMALL_CHANGE, author: 'somebody.else@example.com', commit: 'b'.repeat(40), files: null };
    assert.equal(hashRelease(release({ change })).digest, digest);
    assert.equal(hashRelease(release({ images: { proxy: 'envoy:v3', app: 'hello:v1' } })).digest, digest);
  });

  it('names images and environment beside it, and nothing of the change', () => {
    assert.deepEqual(Object.keys(hashRelease(release())).toSorted(), ['digest', 'env', 'images']);
  });
});

describe('the id of a rollout', () => {
  const request = { tenant: 'default', environment: 'prod', service: 'hello', key: 'build-7' };

  it('is 16 hex digits, the same for the same key', () => {
    assert.match(rolloutIdFor(request), /^[0-9a-f]{16}$/);
    assert.equal(rolloutIdFor({ ...request }), rolloutIdFor(request));
  });

  it('is another one for another tenant, environment, service or key', () => {
    const part = fc.string({ maxLength: 6 });
    const any = fc.record({ tenant: part, environment: part, service: part, key: part });
    fc.assert(
      fc.property(any, any, (one, other) => {
        const same = (['tenant', 'environment', 'service', 'key'] as const).every((name) => one[name] === other[name]);
        assert.equal(rolloutIdFor(one) === rolloutIdFor(other), same);
      }),
    );
    // Parts can't run into one another.
    assert.notEqual(
      rolloutIdFor({ ...request, environment: 'a', service: 'bc' }),
      rolloutIdFor({ ...request, environment: 'ab', service: 'c' }),
    );
  });
});
