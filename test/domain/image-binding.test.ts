import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindImages } from '../../domain/image-binding.js';
import type { ImageResolution } from '../../domain/image-binding.js';
import { hashRelease } from '../../domain/release.js';
import { SMALL_CHANGE } from '../support/request.js';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const IMAGES = { app: 'team/hello:v2', proxy: `envoy:v3@sha256:${'b'.repeat(64)}`, setup: 'setup' };
const RESOLVED: ImageResolution = { kind: 'resolved', digest: DIGEST };

function only(app: ImageResolution, mode: Parameters<typeof bindImages>[2] = 'best-effort') {
  return bindImages({ app: 'team/hello:v2' }, { app }, mode);
}

describe('the images of a release', () => {
  it('are bound to the bytes that their tags name; a digest that is written stands', () => {
    assert.deepEqual(bindImages(IMAGES, { app: RESOLVED, setup: RESOLVED }, 'required'), {
      images: { app: `team/hello:v2@${DIGEST}`, proxy: IMAGES.proxy, setup: `setup:latest@${DIGEST}` },
      findings: [],
    });
  });

  it('make another release as soon as a tag names other bytes', () => {
    const digestFor = (digest: string): string => {
      const { images } = only({ kind: 'resolved', digest });
      return hashRelease({ images, env: {}, change: SMALL_CHANGE }).digest;
    };
    assert.notEqual(digestFor(DIGEST), digestFor(`sha256:${'c'.repeat(64)}`));
  });

  it('that do not exist, or can’t, are refused in every mode', () => {
    for (const mode of ['best-effort', 'required'] as const) {
      for (const kind of ['missing', 'invalid'] as const) {
        const { images, findings } = only({ kind, reason: 'so it is' }, mode);
        assert.deepEqual(images, { app: 'team/hello:v2' });
        assert.deepEqual(
          findings.map(({ severity }) => severity),
          ['refuse'],
        );
        assert.match(findings[0]?.problem ?? '', /team\/hello:v2 .*\(container app\).*so it is/);
      }
    }
  });

  it('of which nobody can say go on by tag with a warning, or are refused where digests are required', () => {
    for (const [kind, access] of [
      ['unreachable', /let the worker reach the registry/],
      ['unauthorised', /give the worker a login .*DOCKER_CONFIG/],
    ] as const) {
      for (const [mode, severity] of [
        ['best-effort', 'warn'],
        ['required', 'refuse'],
      ] as const) {
        const { images, findings } = only({ kind, reason: 'so it is' }, mode);
        assert.deepEqual(images, { app: 'team/hello:v2' });
        const [finding] = findings;
        assert.equal(finding?.severity, severity);
        assert.match(finding?.problem ?? '', /team\/hello:v2 \(container app\).*so it is$/);
        assert.match(finding?.remedy ?? '', access);
        assert.match(finding?.remedy ?? '', /deploy by digest/);
      }
    }
  });
});
