/** What was recorded of a template is found again, whatever server or Slipway wrote it down. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changedSince } from '../../../activities/fenced/findings.js';
import { ANNOTATION, readLane } from '../../../activities/fenced/lane-view.js';
import { appliedLeaves, armLeaves, templateDigest } from '../../../activities/kubernetes/arms.js';
import type { PodTemplate } from '../../../activities/kubernetes/arms.js';
import { createKubeStore } from '../../../activities/kubernetes/kube-store.js';
import { canonicalJson, digestOf } from '../../../domain/canonical.js';
import { createMemoryCluster } from '../../support/memory-cluster.js';
import { kubeTarget } from '../../support/request.js';

const NOW: PodTemplate = {
  metadata: { labels: { app: 'hello' } },
  spec: {
    containers: [{ name: 'app', image: 'hello:v1', env: [{ name: 'EMPTY' }, { name: 'A', value: '1' }] }],
    initContainers: [{ name: 'init', image: 'init:v1', env: [{ name: 'EMPTY' }] }],
  },
};
/** As servers before 1.34 write it. */
const BEFORE: PodTemplate = { ...NOW, metadata: { creationTimestamp: null, labels: { app: 'hello' } } };
const OTHER: PodTemplate = { ...NOW, spec: { containers: [{ name: 'app', image: 'hello:v1' }] } };

/** As an earlier Slipway recorded it. */
function earlier(template: PodTemplate, replicas?: number): string {
  const images = { app: 'hello:v1' };
  return canonicalJson({ images, template: digestOf(template), ...(replicas === undefined ? {} : { replicas }) });
}

describe('a template', () => {
  test('is the same with nulls, and with an empty value or none, and another with any other change', () => {
    const [app] = NOW.spec.containers;
    const [init] = NOW.spec.initContainers ?? [];
    assert.ok(app !== undefined && init !== undefined);
    const valued: PodTemplate = {
      ...NOW,
      spec: {
        containers: [
          {
            ...app,
            env: [
              { name: 'EMPTY', value: '' },
              { name: 'A', value: '1' },
            ],
            resources: null,
          },
        ],
        initContainers: [{ ...init, env: [{ name: 'EMPTY', value: '' }] }],
      },
    };
    assert.equal(templateDigest(BEFORE), templateDigest(NOW));
    assert.equal(templateDigest(valued), templateDigest(NOW));
    assert.equal(templateDigest(NOW), digestOf(NOW), 'in the form of servers of today it is of the very bytes');
    assert.notEqual(templateDigest(OTHER), templateDigest(NOW));
    const set: PodTemplate = {
      ...NOW,
      spec: { ...NOW.spec, containers: [{ ...app, env: [{ name: 'A', value: '' }] }] },
    };
    assert.notEqual(templateDigest(set), templateDigest(NOW));
  });

  test('that an earlier Slipway recorded is known again, also by a server that writes it in another way', () => {
    for (const live of [NOW, BEFORE])
      assert.equal(appliedLeaves(earlier(BEFORE, 3), live), armLeaves({ template: live, replicas: 3 }, 'canary'));
    assert.equal(appliedLeaves(earlier(NOW), NOW), armLeaves({ template: NOW, replicas: 1 }, 'stable'));
    for (const wrong of [earlier(OTHER), 'no json', '{}', '{"template":7}'])
      assert.equal(appliedLeaves(wrong, NOW), wrong);
  });

  test('that an earlier Slipway left in stable keeps no release away, unless somebody changed it', async () => {
    const cluster = createMemoryCluster({
      onChange: () => undefined,
      random: () => 0,
      wanted: () => 1,
      admit: (same) => same,
    });
    const target = kubeTarget();
    const store = createKubeStore(cluster.client, { environment: 'prod', service: 'hello' }, target, 'r1');
    const found = async (applied: string) => {
      const annotations = { [ANNOTATION.applied]: applied };
      const spec = { replicas: 1, selector: { matchLabels: { app: 'hello' } }, template: BEFORE };
      const metadata = { name: target.deployment, annotations };
      cluster.apply([{ apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec }]);
      return changedSince(store, await readLane(store, 'r1', undefined));
    };
    assert.deepEqual(await found(earlier(BEFORE)), []);
    assert.match((await found(earlier(OTHER)))[0]?.problem ?? '', /stable was changed since Slipway wrote it/);
  });
});
