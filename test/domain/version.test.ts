import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { SLIPWAY_VERSION } from '../../domain/version.js';

test('the version in the code is that of package.json', async () => {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { readonly version: string };
  assert.equal(SLIPWAY_VERSION, version);
});
