/** What of stable's own template and strategy a second version beside it can't have. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { besideStable } from '../../../activities/kubernetes/preflight-template.js';
import type { KubernetesTarget } from '../../../domain/target.js';
import { kubeTarget } from '../../support/request.js';

const BY_REPLICAS = kubeTarget({ route: { kind: 'none', maxExcessPoints: 5 } });
const RECREATE = { strategy: { type: 'Recreate' } };

interface Case {
  readonly spec?: object;
  readonly pod?: object;
  readonly target?: KubernetesTarget;
  readonly inPlace?: boolean;
  readonly modes?: readonly string[] | null;
}

function said({ spec = {}, pod = {}, target = kubeTarget(), inPlace = false, modes = [] }: Case): readonly string[] {
  const stable: KubeObject = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'hello' },
    spec: {
      selector: { matchLabels: { app: 'hello' } },
      template: {
        metadata: { labels: { app: 'hello', team: 'a' } },
        spec: { containers: [{ name: 'app', image: 'hello:v1', ports: [{ containerPort: 80 }] }], ...pod },
      },
      ...spec,
    },
  };
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'hello' },
    spec: { selector: { app: 'hello' } },
  };
  const claim = (name: string): KubeObject => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name },
    spec: { accessModes: modes },
  });
  const claims = modes === null ? null : [claim('data'), claim('other')];
  return besideStable({ stable, service }, claims, target, { replicas: 1, shares: [], inPlace }).map(
    ({ severity, problem, remedy }) => `${severity}: ${problem} → ${remedy}`,
  );
}

test('a Deployment that ends all pods before it starts new ones is not promoted in place', () => {
  const outage =
    /^refuse: Deployment shop\/hello has the strategy Recreate, and is promoted in place: .* nothing would serve/;
  const inPlace = said({ spec: RECREATE, inPlace: true });
  assert.equal(inPlace.length, 1);
  assert.match(inPlace.join(), outage);
  assert.match(inPlace.join(), /→ kubectl patch deployment hello -n shop .*"RollingUpdate".* promote: verified/);
  assert.match(said({ spec: RECREATE, target: BY_REPLICAS }).join(), outage);
  assert.match(said({ spec: RECREATE, target: BY_REPLICAS }).join(), /kubernetes\.route/);
  assert.match(said({ spec: RECREATE }).join(), /^warn: .* two versions will run at once/);
  assert.deepEqual(said({ spec: { strategy: { type: 'RollingUpdate' } }, inPlace: true }), []);
});

test('a volume for one node, of pods that must not run side by side, or for one pod only, is refused', () => {
  const pod = {
    volumes: [
      { name: 'data', persistentVolumeClaim: { claimName: 'data' } },
      { name: 'tmp', emptyDir: {} },
    ],
  };
  const recreated = said({ spec: RECREATE, pod, modes: ['ReadWriteOnce'] });
  assert.equal(recreated.length, 2, 'it also says that two versions will run at once');
  assert.match(
    recreated[0] ?? '',
    /^refuse: .* Recreate and writes the volume of PersistentVolumeClaim data \(ReadWriteOnce\)/,
  );
  assert.match(
    said({ pod, modes: ['ReadWriteOncePod'] }).join(),
    /^refuse: .* writes the volume .* data \(ReadWriteOncePod\)/,
  );
  assert.deepEqual(said({ pod, modes: ['ReadWriteOnce'] }), [], 'its owner lets pods overlap');
  assert.equal(said({ spec: RECREATE, pod, modes: ['ReadWriteOnce', 'ReadWriteMany'] }).length, 1);
  assert.equal(said({ spec: RECREATE, pod, modes: null }).length, 1, 'claims could not be listed');
});

test('pods that take a port of their node need nodes without each other', () => {
  const containers = [{ name: 'app', image: 'a', ports: [{ containerPort: 80, hostPort: 9000 }, { hostPort: 9000 }] }];
  assert.match(
    said({ pod: { containers } }).join(),
    /^warn: the pods of .* take port 9000 of their node: a canary's start on/,
  );
});

test('pods that must not be beside stable’s are told of; those that siblings only keep from their own are not', () => {
  const away = (labels: object, more: object = {}): Case => ({
    pod: {
      affinity: {
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            { labelSelector: { matchLabels: labels }, topologyKey: 'kubernetes.io/hostname', ...more },
          ],
        },
      },
    },
  });
  assert.deepEqual(said(away({ app: 'hello' })), []);
  assert.deepEqual(said(away({ team: 'b' })), []);
  const shared = said(away({ team: 'a' }));
  assert.equal(shared.length, 1, 'once, though each keeps away from the other');
  assert.match(
    shared.join(),
    /^warn: the pods of .* must not share a kubernetes\.io\/hostname with pods that have their labels/,
  );
  assert.equal(said({ ...away({ app: 'hello' }), target: BY_REPLICAS }).length, 1, 'all labels stay');
  assert.deepEqual(said(away({ team: 'a' }, { namespaces: ['elsewhere'] })), []);
  assert.match(said(away({ app: 'hello-canary' })).join(), /^warn/, 'stable keeps away from its canary');
});
