import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Addresses } from '../../tools/node-agent/addresses.js';
import { imageId, tagOf } from '../../tools/node-agent/pod.js';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

describe('the node agent', () => {
  test('reads tags of all forms of image references', () => {
    assert.equal(tagOf('app'), '');
    assert.equal(tagOf('app:v1'), 'v1');
    assert.equal(tagOf('registry.example:5000/team/app'), '');
    assert.equal(tagOf('registry.example:5000/team/app:v1'), 'v1');
    assert.equal(tagOf(`registry.example:5000/team/app:v1@${DIGEST}`), 'v1');
    assert.equal(tagOf(`app@${DIGEST}`), '');
  });

  test('gives each image reference a digest of its own, unless the reference has one', () => {
    assert.match(
      imageId('registry.example:5000/team/app:v1'),
      /^registry\.example:5000\/team\/app@sha256:[0-9a-f]{64}$/,
    );
    assert.equal(imageId('app:v1'), imageId('app:v1'));
    assert.notEqual(imageId('app:v1'), imageId('app:v2'));
    assert.equal(imageId(`team/app:v1@${DIGEST}`), `team/app@${DIGEST}`);
  });

  test('gives each pod an address, none of them reserved, and reuses them last', () => {
    const few = new Addresses('10.244.255.248/29');
    assert.equal(few.first, '10.244.255.249');
    const given = Array.from({ length: 5 }, () => few.take());
    assert.deepEqual(
      given,
      [249, 250, 251, 252, 253].map((last) => `10.244.255.${last}`),
    );
    assert.throws(() => few.take(), /all 8 addresses for pods are in use/);
    few.giveBack('10.244.255.251');
    assert.equal(few.take(), '10.244.255.251');

    const many = new Addresses('10.244.0.0/16');
    many.giveBack(many.take());
    assert.equal(many.take(), '10.244.0.2');
    assert.throws(() => new Addresses('10.244.0.0'), /not of the form/);
  });
});
