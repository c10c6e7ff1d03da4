/** What pods say of themselves, as pure functions. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { differingImages } from '../../../activities/kubernetes/health.js';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';

const A = `sha256:${'a'.repeat(64)}`;
const B = `sha256:${'b'.repeat(64)}`;

interface PodOptions {
  readonly image?: string;
  readonly imageID?: string;
  readonly kind?: 'containers' | 'initContainers';
  readonly container?: string;
  readonly ending?: boolean;
}

function pod(name: string, options: PodOptions = {}): KubeObject {
  const {
    image = 'hello:v2',
    imageID = `hello@${A}`,
    kind = 'containers',
    container = 'app',
    ending = false,
  } = options;
  const statuses = kind === 'containers' ? 'containerStatuses' : 'initContainerStatuses';
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(ending ? { deletionTimestamp: '2026-07-01T12:00:00Z' } : {}) },
    spec: { [kind]: [{ name: container, image }] },
    status: { [statuses]: [{ name: container, imageID }] },
  };
}

describe('the bytes that the pods of an arm run', () => {
  test('agree, however runtimes and mirrors name them', () => {
    assert.equal(differingImages([]), null);
    const names = [`hello@${A}`, `docker.io/library/hello@${A}`, `docker-pullable://mirror.lan/hello@${A}`, A];
    assert.equal(differingImages(names.map((imageID, index) => pod(`p${index}`, { imageID }))), null);
  });

  test('differ where a tag was moved between two starts, in init containers too', () => {
    for (const kind of ['containers', 'initContainers'] as const)
      assert.equal(
        differingImages([pod('p1', { kind }), pod('p2', { kind }), pod('p3', { kind, imageID: `hello@${B}` })]),
        `hello:v2 (container app) is ${'a'.repeat(12)} in pod p1 and ${'b'.repeat(12)} in pod p3: its tag was moved; deploy by digest`,
      );
  });

  test('are of no interest where the name is another one, or is a digest, or is not known yet, or the pod ends', () => {
    const others: readonly PodOptions[] = [
      { image: 'hello:v1' },
      { container: 'proxy' },
      { imageID: '' },
      { ending: true },
    ];
    for (const other of others)
      assert.equal(
        differingImages([pod('p1'), pod('p2', { imageID: `hello@${B}`, ...other })]),
        null,
        JSON.stringify(other),
      );
    const image = `hello:v2@${A}`;
    assert.equal(differingImages([pod('p1', { image }), pod('p2', { image, imageID: `hello@${B}` })]), null);
  });
});
