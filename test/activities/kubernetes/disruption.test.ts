/** What keeps drains from taking all pods of a sibling at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newSiblingBudget, protects } from '../../../activities/kubernetes/disruption.js';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { kubeTarget } from '../../support/request.js';

const OWNER = { apiVersion: 'v1', kind: 'ConfigMap', name: 'slipway-x', uid: 'u1' };
const PODS = { app: 'hello', team: 'a' };
const STABLE: KubeObject = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'hello', namespace: 'shop' },
  spec: {
    replicas: 10,
    selector: { matchLabels: { app: 'hello' } },
    template: { metadata: { labels: PODS }, spec: { containers: [{ name: 'app', image: 'hello:v1' }] } },
  },
};

function budget(spec: object, name = 'hello'): KubeObject {
  const selector = { matchLabels: { app: 'hello' } };
  return { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name }, spec: { selector, ...spec } };
}

function made(changed: readonly string[], ...budgets: readonly KubeObject[]): KubeObject | null {
  return newSiblingBudget({
    target: kubeTarget({ namespace: 'shop' }),
    arm: 'canary',
    stable: STABLE,
    budgets,
    changed,
    annotations: { 'slipway.dev/fence': '3.1' },
    labels: { 'slipway.dev/service': 'hello' },
    owner: OWNER,
  });
}

test('a sibling gets a budget of its own, which goes with the rollout', () => {
  assert.deepEqual(made(['app'], budget({ maxUnavailable: '20%' })), {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: {
      name: 'hello-canary',
      namespace: 'shop',
      labels: { 'slipway.dev/service': 'hello', 'slipway.dev/arm': 'canary' },
      annotations: { 'slipway.dev/fence': '3.1' },
      ownerReferences: [OWNER],
    },
    spec: {
      selector: { matchLabels: { app: 'hello-canary', 'slipway.dev/arm': 'canary' } },
      maxUnavailable: '20%',
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    },
  });
});

test('whatever stable’s budget says, a drain can always take one pod of a sibling, and never all of many', () => {
  const allowed = (spec: object): unknown =>
    (made(['app'], budget(spec))?.['spec'] as { maxUnavailable?: unknown } | undefined)?.maxUnavailable;
  for (const spec of [
    { minAvailable: 9 },
    { minAvailable: 10 },
    { minAvailable: '100%' },
    { minAvailable: '50%' },
    { maxUnavailable: 0 },
    { maxUnavailable: '0%' },
    { maxUnavailable: 5 },
  ])
    assert.equal(allowed(spec), 1, JSON.stringify(spec));
  assert.equal(allowed({ maxUnavailable: '1%' }), '1%', 'of which Kubernetes makes one pod at least');
});

test('none is made where stable has none, or where one holds for the sibling’s pods already: two would forbid every eviction', () => {
  const all = budget({ maxUnavailable: 1, selector: { matchLabels: { team: 'a' } } }, 'team');
  assert.equal(made(['app']), null);
  assert.equal(made(['app'], budget({ selector: { matchLabels: { app: 'other' } } })), null);
  assert.equal(made(['app'], budget({ selector: null })), null, 'it selects nothing');
  assert.equal(made(['app'], all), null);
  assert.equal(made(['app'], budget({ maxUnavailable: 1 }), all), null);
  // Where shares follow from the numbers of replicas, all labels stay.
  assert.equal(made([], budget({ maxUnavailable: 1 })), null);
  const own = made(['app'], budget({ maxUnavailable: 1 }));
  assert.ok(own !== null && protects(own, { ...PODS, app: 'hello-canary', 'slipway.dev/arm': 'canary' }));
  assert.equal(made(['app'], budget({ maxUnavailable: 1 }), own), null, 'an earlier attempt has made it');
});
