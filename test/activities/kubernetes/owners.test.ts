/** Whose an object is, by its marks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeLane } from '../../../activities/kubernetes/kube-store.js';
import { isTracking } from '../../../activities/kubernetes/owners.js';
import { otherOwners } from '../../../activities/kubernetes/preflight-owners.js';
import { kubeTarget } from '../../support/request.js';

test('marks by which tools find, prune and put back objects are known; labels that only describe are not among them', () => {
  for (const key of [
    'argocd.argoproj.io/instance',
    'argocd.argoproj.io/sync-wave',
    'kustomize.toolkit.fluxcd.io/name',
    'helm.toolkit.fluxcd.io/namespace',
    'configsync.gke.io/declared-version',
    'client.lifecycle.config.k8s.io/mutation',
    'objectset.rio.cattle.io/hash',
    'kapp.k14s.io/association',
    'meta.helm.sh/release-name',
    'helm.sh/chart',
    'app.kubernetes.io/managed-by',
    'applyset.kubernetes.io/part-of',
    'kubectl.kubernetes.io/last-applied-configuration',
  ])
    assert.ok(isTracking(key), key);
  for (const key of ['app', 'helm.sh', 'app.kubernetes.io/name', 'team', 'nothelm.sh/x', 'prometheus.io/scrape'])
    assert.ok(!isTracking(key), key);
});

test('a service that Flagger rolls out is refused once for each object that it made', () => {
  const owner = { apiVersion: 'flagger.app/v1beta1', kind: 'Canary', name: 'hello', uid: 'u1', controller: true };
  const metadata = { name: 'hello', namespace: 'shop', ownerReferences: [owner] };
  const lane: KubeLane = {
    anchors: [],
    siblings: [],
    moreRoutes: [],
    stable: { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'hello' } },
    service: { apiVersion: 'v1', kind: 'Service', metadata },
    route: { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata },
    routeSource: null,
    autoscaler: null,
  };
  const found = otherOwners(lane, kubeTarget());
  assert.deepEqual(
    found.map(({ severity, problem }) => `${severity}: ${problem}`),
    ['HTTPRoute', 'Service'].map(
      (kind) => `refuse: ${kind} shop/hello is made by Flagger (Canary hello), which rolls this service out itself`,
    ),
  );
  assert.match(found[0]?.remedy ?? '', /revertOnDeletion: true there, and kubectl delete canary hello -n shop/);
});
