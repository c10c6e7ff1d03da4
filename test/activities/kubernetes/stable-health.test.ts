/** When a stable that is not at its full size stops a rollout, and when it is only growing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { stableHealth } from '../../../activities/kubernetes/preflight.js';
import { armSpecOf, armStatusOf } from '../../../activities/kubernetes/arms.js';

const NOW = Date.parse('2026-01-01T12:00:00Z');

function deployment(ready: number, change: object = {}): KubeObject {
  const template = { spec: { containers: [{ name: 'app', image: 'hello:v1' }] } };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'hello', generation: 1 },
    spec: { replicas: 50, selector: {}, template },
    status: {
      observedGeneration: 1,
      replicas: 50,
      updatedReplicas: 50,
      availableReplicas: ready,
      conditions: [{ type: 'Available', status: 'True' }],
      ...change,
    },
  };
}

function autoscaler(lastScaleTime?: string): KubeObject {
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'hello' },
    spec: { maxReplicas: 60 },
    status: { lastScaleTime },
  };
}

function said(live: KubeObject, scaler: KubeObject | null): readonly string[] {
  const stable = {
    kind: 'arm',
    name: 'stable',
    uid: '',
    owner: null,
    annotations: {},
    live,
    spec: armSpecOf(live, [], 'stable'),
    status: armStatusOf(live),
  } as const;
  const view = {
    arms: { stable },
    route: null,
    moreRoutes: [],
    autoscaler: null,
    lane: null,
    rollout: null,
    others: [],
  };
  return stableHealth(view, { stable: live, autoscaler: scaler }, NOW).map(
    ({ severity, problem }) => `${severity}: ${problem}`,
  );
}

const REFUSED = ['refuse: stable has 49 of 50 replicas ready'];

test('pods that an autoscaler has just added are waited for by nobody; any others that are missing are', () => {
  const lately = autoscaler('2026-01-01T11:59:30Z');
  assert.deepEqual(said(deployment(50), null), []);
  assert.deepEqual(said(deployment(49), lately), [
    'warn: stable has 49 of 50 replicas ready: its autoscaler has just changed its size',
  ]);
  assert.deepEqual(said(deployment(49), null), REFUSED);
  assert.deepEqual(said(deployment(49), autoscaler()), REFUSED, 'it has never scaled anything');
  assert.deepEqual(said(deployment(49), autoscaler('2026-01-01T11:49:59Z')), REFUSED, 'longer ago than pods may take');
  const unavailable = { conditions: [{ type: 'Available', status: 'False' }] };
  assert.deepEqual(said(deployment(49, unavailable), lately), REFUSED, 'more are away than its owner allows');
  assert.match(said(deployment(49, { updatedReplicas: 49 }), lately).join(), /^refuse/, 'it replaces its template');
});
