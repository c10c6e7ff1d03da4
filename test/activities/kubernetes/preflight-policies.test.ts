/** Policies, monitors and Services that take stable's pods for other than its siblings': each kind by its own rules. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import type { KubeLane } from '../../../activities/kubernetes/kube-store.js';
import { policyProblems, stickySessions } from '../../../activities/kubernetes/preflight-policies.js';
import type { Policies } from '../../../activities/kubernetes/preflight-policies.js';
import type { KubernetesTarget } from '../../../domain/target.js';
import { kubeTarget } from '../../support/request.js';

const TARGET = kubeTarget();
const NOTHING: Policies['looked'] = {
  authorizationpolicies: [],
  peerauthentications: [],
  destinationrules: [],
  ciliumnetworkpolicies: [],
  podmonitors: [],
  servicemonitors: [],
};

function object(kind: string, spec: object, metadata: object = {}): KubeObject {
  return { apiVersion: 'x/v1', kind, metadata: { name: 'x', namespace: 'shop', ...metadata }, spec };
}

function lane(change: Partial<KubeLane> = {}): KubeLane {
  const labels = { app: 'hello', team: 'a' };
  const containers = [{ name: 'app', image: 'hello:v1' }];
  return {
    anchors: [],
    siblings: [],
    moreRoutes: [],
    routeSource: null,
    autoscaler: null,
    route: null,
    stable: object('Deployment', {
      selector: { matchLabels: { app: 'hello' } },
      template: { metadata: { labels }, spec: { containers } },
    }),
    service: object(
      'Service',
      { selector: { app: 'hello' } },
      { name: 'hello', labels: { app: 'hello', tier: 'web' } },
    ),
    ...change,
  };
}

function found(looked: Partial<Policies['looked']>, target: KubernetesTarget = TARGET): readonly string[] {
  const policies = { services: [], networkPolicies: [], looked: { ...NOTHING, ...looked } };
  return policyProblems(lane(), policies, target).map(({ severity, problem }) => `${severity}: ${problem}`);
}

const HELLO = { matchLabels: { app: 'hello' } };
const TEAM = { matchLabels: { team: 'a' } };
const HELD = (kind: string): string =>
  `refuse: ${kind} shop/x holds for the pods of stable, and would not hold for a canary (app differs)`;
const STRANGE = (kind: string): string =>
  `refuse: ${kind} shop/x does not hold for the pods of stable, and would hold for a canary or baseline (app differs)`;

describe('policies that hold for some arms only', () => {
  test('of Istio: by selector, or by the name of a Service', () => {
    const policy = (spec: object): KubeObject => object('AuthorizationPolicy', spec);
    const said = (spec: object): readonly string[] => found({ authorizationpolicies: [policy(spec)] });
    assert.deepEqual(said({ action: 'DENY' }), [], 'it holds for the namespace');
    assert.deepEqual(said({ selector: TEAM }), []);
    assert.deepEqual(said({ selector: HELLO }), [HELD('AuthorizationPolicy')]);
    assert.deepEqual(said({ selector: { matchLabels: { app: 'hello-baseline' } } }), [STRANGE('AuthorizationPolicy')]);
    const ref = (...names: readonly string[]): object => ({
      targetRefs: names.map((name) => ({ kind: 'Service', group: '', name })),
    });
    assert.deepEqual(said(ref('hello', 'hello-canary')), [
      "refuse: AuthorizationPolicy shop/x holds for the Service hello, and would not hold for a canary's",
    ]);
    assert.deepEqual(said(ref('hello', 'hello-canary', 'hello-baseline')), []);
    assert.deepEqual(said(ref('other')), []);
    assert.deepEqual(found({ peerauthentications: [object('PeerAuthentication', { selector: HELLO })] }), [
      HELD('PeerAuthentication'),
    ]);
    const none = kubeTarget({ route: { kind: 'none', maxExcessPoints: 5 } });
    assert.deepEqual(found({ authorizationpolicies: [policy({ selector: HELLO })] }, none), [], 'all labels stay');
  });

  test('of Cilium: with its own prefixes of keys, and all of its rules', () => {
    const said = (policy: object): readonly string[] =>
      found({ ciliumnetworkpolicies: [{ ...object('CiliumNetworkPolicy', {}), spec: undefined, ...policy }] });
    const k8s = { matchLabels: { 'k8s:app': 'hello', 'k8s:io.kubernetes.pod.namespace': 'shop' } };
    assert.deepEqual(said({ spec: { endpointSelector: k8s } }), [HELD('CiliumNetworkPolicy')]);
    assert.deepEqual(said({ specs: [{ endpointSelector: TEAM }, { endpointSelector: k8s }] }), [
      HELD('CiliumNetworkPolicy'),
    ]);
    assert.deepEqual(said({ spec: { endpointSelector: { matchLabels: { 'any:team': 'a' } } } }), []);
    assert.deepEqual(said({ spec: { nodeSelector: {} } }), [], 'it is for nodes');
    const database = { matchLabels: { app: 'database' } };
    const lets = [
      'warn: CiliumNetworkPolicy shop/x lets the pods of stable through, and would not let those of a canary or baseline (app differs)',
    ];
    assert.deepEqual(said({ spec: { endpointSelector: database, ingress: [{ fromEndpoints: [k8s] }] } }), lets);
    assert.deepEqual(said({ spec: { endpointSelector: database, egress: [{ toEndpoints: [k8s] }] } }), lets);
    assert.deepEqual(said({ spec: { endpointSelector: database, ingress: [{ fromEndpoints: [k8s, {}] }] } }), []);
    assert.deepEqual(said({ spec: { endpointSelector: database, ingress: [{ fromCIDR: ['10.0.0.0/8'] }] } }), []);
  });

  test('a DestinationRule for the Service by name, and one for the calls of its pods', () => {
    const rule = (spec: object): KubeObject => object('DestinationRule', spec);
    const byName =
      /^warn: DestinationRule shop\/x is for the Service hello by name: .* hello-canary and hello-baseline$/;
    for (const host of ['hello', 'hello.shop', 'hello.shop.svc.cluster.local'])
      assert.match(found({ destinationrules: [rule({ host })] }).join(), byName, host);
    for (const host of ['*.shop.svc.cluster.local', 'other', 'hello.other.svc.cluster.local'])
      assert.deepEqual(found({ destinationrules: [rule({ host })] }), [], host);
    const all = ['hello', 'hello-canary', 'hello-baseline.shop.svc.cluster.local'].map((host) => rule({ host }));
    assert.deepEqual(found({ destinationrules: all }), []);
    assert.match(
      found({ destinationrules: [rule({ host: 'other', workloadSelector: HELLO })] }).join(),
      /^warn: .* holds for calls of stable's pods, and would not hold for those of a canary/,
    );
  });

  test('monitors that would not scrape a canary', () => {
    const monitor = (kind: string, selector: object): KubeObject => object(kind, { selector });
    const pods = (selector: object): string => found({ podmonitors: [monitor('PodMonitor', selector)] }).join();
    const services = (selector: object): string =>
      found({ servicemonitors: [monitor('ServiceMonitor', selector)] }).join();
    assert.match(pods(HELLO), /^warn: PodMonitor shop\/x scrapes the pods of stable, and would not scrape those/);
    assert.equal(pods(TEAM), '');
    assert.match(services(HELLO), /^warn: ServiceMonitor shop\/x scrapes the Service of stable/);
    assert.equal(services({ matchLabels: { tier: 'web' } }), '', 'siblings carry the labels of stable’s Service');
    assert.equal(services(TEAM), '', 'it is none of this Service’s');
  });
});

test('what the worker may not list stops nothing', () => {
  const looked = Object.fromEntries(Object.keys(NOTHING).map((kind) => [kind, null])) as unknown as Policies['looked'];
  assert.deepEqual(found(looked), []);
});

test('whatever keeps users with a pod is warned of', () => {
  const sticky = (change: Partial<KubeLane>, rules: readonly KubeObject[] = []): readonly string[] =>
    stickySessions(lane(change), rules, TARGET).map(({ severity, problem }) => `${severity}: ${problem.split(':')[0]}`);
  const keeps = (name: string, what: string): readonly string[] => [
    `warn: ${name} keeps users with the pods that they first came to (${what}`,
  ];
  const route = (rule: object): KubeObject => object('HTTPRoute', { rules: [{}, rule] });
  assert.deepEqual(sticky({ route: route({}) }), []);
  assert.deepEqual(
    sticky({ route: route({ sessionPersistence: { type: 'Cookie' } }) }),
    keeps('HTTPRoute shop/x', 'sessionPersistence)'),
  );
  assert.deepEqual(
    sticky({ service: object('Service', { sessionAffinity: 'ClientIP' }) }),
    keeps('Service shop/x', 'sessionAffinity'),
  );
  assert.deepEqual(sticky({ service: object('Service', { sessionAffinity: 'None' }) }), []);
  const ingress = (affinity: string): KubeObject =>
    object('Ingress', {}, { annotations: { 'nginx.ingress.kubernetes.io/affinity': affinity } });
  assert.deepEqual(
    sticky({ routeSource: ingress('cookie') }),
    keeps('Ingress shop/x', 'nginx.ingress.kubernetes.io/affinity)'),
  );
  assert.deepEqual(sticky({ routeSource: ingress('') }), []);
  const rule = (host: string, loadBalancer: object): KubeObject =>
    object('DestinationRule', { host, trafficPolicy: { loadBalancer } });
  assert.deepEqual(
    sticky({}, [rule('hello', { consistentHash: { useSourceIp: true } })]),
    keeps('DestinationRule shop/x', 'consistentHash)'),
  );
  assert.deepEqual(sticky({}, [rule('hello', { simple: 'RANDOM' }), rule('other', { consistentHash: {} })]), []);
});
