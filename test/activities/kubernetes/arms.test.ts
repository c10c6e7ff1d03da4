/** Deployments and routes as pure functions: what a rollout writes, for any topology. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ARM_LABEL,
  armLeaves,
  armSpecOf,
  armStatusOf,
  asSibling,
  asStable,
  changedLabels,
  DeploymentSpec,
  newSibling,
  newSiblingService,
  PodTemplate,
  siblingLabels,
  surgeOf,
  templateFor,
  withArmSpec,
} from '../../../activities/kubernetes/arms.js';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import type { KubernetesTarget } from '../../../domain/target.js';

const TARGET: KubernetesTarget = {
  platform: 'kubernetes',
  context: null,
  namespace: 'shop',
  deployment: 'hello',
  service: 'front',
  route: { kind: 'HTTPRoute', name: 'edge' },
};
const OWNER = { apiVersion: 'v1', kind: 'ConfigMap', name: 'slipway-x', uid: 'u1' };

const label = fc.constantFrom('app', 'app.kubernetes.io/name', 'team', 'tier', 'zone', 'k8s-app');
const labels = fc.dictionary(label, fc.constantFrom('a', 'b', 'hello', 'web-canary'), { minKeys: 1 });
const container = fc.record({
  name: fc.constantFrom('app', 'proxy', 'log'),
  image: fc.constantFrom('hello:v1', 'r.example/x/y@sha256:00', 'proxy'),
  env: fc.option(
    fc.constant([
      { name: 'FLAG', value: 'off' },
      { name: 'SECRET', valueFrom: { secretKeyRef: {} } },
    ]),
    {
      nil: undefined,
    },
  ),
  securityContext: fc.constant({ runAsNonRoot: true }),
});

/** A Deployment and the Service that selects its pods, as people write them. */
const topology = fc
  .record({
    own: labels,
    matched: fc.nat(3),
    selected: fc.nat(3),
    replicas: fc.integer({ min: 0, max: 50 }),
    /** Selectors of its own placement: also such as look like a sibling's. */
    away: fc.dictionary(label, fc.constantFrom('hello', 'hello-canary', 'hello-canary-x', 'web-canary', 'a')),
    near: fc.array(fc.constantFrom('hello', 'hello-canary', 'web-canary-canary'), { maxLength: 3 }),
    containers: fc.uniqueArray(container, { minLength: 1, maxLength: 3, selector: ({ name }) => name }),
  })
  .map(({ own, matched, selected, replicas, containers, away, near }) => {
    const some = (count: number): Record<string, string> =>
      Object.fromEntries(Object.entries(own).slice(0, Math.max(1, count)));
    const labelSelector = { matchLabels: away, matchExpressions: [{ key: 'app', operator: 'In', values: near }] };
    const placement = {
      affinity: {
        nodeAffinity: {},
        podAntiAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector, topologyKey: 'host' }],
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 1, podAffinityTerm: { labelSelector, topologyKey: 'zone' } },
          ],
        },
      },
      topologySpreadConstraints: [{ labelSelector, maxSkew: 1 }, { maxSkew: 2 }],
    };
    const spec = {
      replicas,
      selector: { matchLabels: some(matched) },
      template: {
        metadata: { labels: own, annotations: { kept: 'yes' } },
        spec: { containers, dnsPolicy: 'Default', ...placement },
      },
      strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      paused: true,
    };
    const meta = { name: 'hello', namespace: 'shop', labels: { 'argocd.argoproj.io/instance': 'x' } };
    const stable: KubeObject = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: meta, spec };
    return { stable, spec, chosen: Object.fromEntries(Object.entries(own).reverse().slice(0, Math.max(1, selected))) };
  });

function picks(selector: Readonly<Record<string, string>>, own: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => own[key] === value);
}

describe('siblings of any Deployment', () => {
  test('share no selector with stable or with each other, and stable’s Service does not pick their pods', () => {
    fc.assert(
      fc.property(topology, ({ stable, spec, chosen }) => {
        const changed = changedLabels(chosen, spec.selector.matchLabels);
        const common = { target: TARGET, stable, changed, annotations: {}, labels: {}, owner: OWNER };
        const arm = (name: 'canary' | 'baseline'): DeploymentSpec =>
          DeploymentSpec.parse(
            newSibling({ ...common, arm: name, spec: { template: PodTemplate.parse(spec.template), replicas: 2 } })[
              'spec'
            ],
          );
        const arms = [DeploymentSpec.parse(spec), arm('canary'), arm('baseline')].map(({ selector, template }) => ({
          selector: selector.matchLabels ?? {},
          own: template.metadata?.labels ?? {},
        }));
        for (const [index, { own }] of arms.entries())
          assert.deepEqual(
            arms.map(({ selector }) => picks(selector, own)),
            arms.map((_, other) => other === index),
          );
        assert.deepEqual(
          arms.map(({ own }) => picks(chosen, own)),
          [true, false, false],
        );
        const service = newSiblingService({
          ...common,
          arm: 'canary',
          stable: {
            apiVersion: 'v1',
            kind: 'Service',
            metadata: { name: 'front' },
            spec: {
              selector: chosen,
              ports: [{ port: 80, nodePort: 30_000 }],
              clusterIP: '10.0.0.1',
              type: 'NodePort',
            },
          },
        });
        const { selector } = service['spec'] as { selector: Record<string, string> };
        assert.deepEqual(
          arms.map(({ own }) => picks(selector, own)),
          [false, true, false],
        );
        assert.doesNotMatch(
          JSON.stringify(service),
          /30000|10\.0\.0\.1|NodePort/,
          'what belongs to stable’s Service only',
        );
      }),
    );
  });

  test('run what stable would run: their template reads back as it was, and nothing of stable’s owner is copied', () => {
    fc.assert(
      fc.property(topology, fc.integer({ min: 1, max: 9 }), ({ stable, spec, chosen }, replicas) => {
        const changed = changedLabels(chosen, spec.selector.matchLabels);
        const wanted = { template: PodTemplate.parse(spec.template), replicas };
        const common = { target: TARGET, stable, changed, annotations: {}, labels: {}, owner: OWNER };
        const made = newSibling({ ...common, arm: 'canary', spec: wanted });
        assert.equal(armLeaves(armSpecOf(made, changed, 'canary'), 'canary'), armLeaves(wanted, 'canary'));
        assert.doesNotMatch(JSON.stringify(made.metadata), /argocd/);
        const { paused, strategy } = made['spec'] as { paused: boolean; strategy: unknown };
        assert.deepEqual([paused, strategy], [false, spec.strategy]);
        const grown = withArmSpec(made, { ...wanted, replicas: replicas + 1 }, changed, 'canary');
        assert.equal(
          armLeaves(armSpecOf(grown, changed, 'canary'), 'canary'),
          armLeaves({ ...wanted, replicas: replicas + 1 }, 'canary'),
        );
      }),
    );
  });

  test('keep away from each other and spread by themselves, where stable’s pods do; what they are near to stays', () => {
    const term = (app: string) => ({ labelSelector: { matchLabels: { app, team: 'a' } }, topologyKey: 'host' });
    const expression = (...values: string[]) => ({
      labelSelector: { matchExpressions: [{ key: 'app', operator: 'In', values }] },
      maxSkew: 1,
    });
    const template = (app: string, ...spread: string[]): PodTemplate => ({
      metadata: { labels: { app, team: 'a', ...(app === 'hello' ? {} : { [ARM_LABEL]: 'canary' }) } },
      spec: {
        containers: [{ name: 'app', image: 'hello:v1' }],
        affinity: {
          podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term('hello')] },
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [term(app), term('other')],
            preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 5, podAffinityTerm: term(app) }],
          },
        },
        topologySpreadConstraints: [expression(...spread)],
      },
    });
    const stable = template('hello', 'hello', 'other');
    const canary = asSibling(stable, ['app'], 'canary');
    assert.deepEqual(canary, template('hello-canary', 'hello-canary', 'other'));
    assert.deepEqual(asStable(canary, ['app'], 'canary'), stable);
    assert.deepEqual(asSibling(stable, [], 'canary').spec, stable.spec, 'where all labels stay');
    // One that an earlier version of Slipway made: only its labels were changed.
    const earlier = { ...canary, spec: stable.spec };
    assert.deepEqual(asStable(earlier, ['app'], 'canary'), stable);
  });

  test('carry the labels and annotations of stable that policies and monitors ask for, and none by which tools find their own', () => {
    const labels = {
      app: 'hello',
      team: 'a',
      'app.kubernetes.io/instance': 'hello',
      'app.kubernetes.io/managed-by': 'Helm',
      'argocd.argoproj.io/instance': 'hello',
      'helm.sh/chart': 'hello-1.0',
      'example.com/long': 'x'.repeat(63),
    };
    const carried = {
      app: 'hello-canary',
      team: 'a',
      'app.kubernetes.io/instance': 'hello-canary',
      'example.com/long': 'x'.repeat(63),
      'slipway.dev/service': 'hello',
      [ARM_LABEL]: 'canary',
    };
    const common = {
      target: TARGET,
      arm: 'canary',
      changed: ['app'],
      annotations: { 'slipway.dev/fence': '1.2' },
      labels: { 'slipway.dev/service': 'hello' },
      owner: OWNER,
    } as const;
    const template: PodTemplate = {
      metadata: { labels: { app: 'hello' } },
      spec: { containers: [{ name: 'a', image: 'b' }] },
    };
    const deployment = newSibling({
      ...common,
      stable: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'hello', labels, annotations: { 'deployment.kubernetes.io/revision': '7' } },
        spec: {
          replicas: 3,
          selector: {
            matchLabels: { app: 'hello' },
            matchExpressions: [{ key: 'app', operator: 'In', values: ['hello'] }],
          },
          template,
        },
      },
      spec: { template, replicas: 1 },
    });
    assert.deepEqual(deployment.metadata.labels, carried);
    assert.deepEqual(deployment.metadata.annotations, common.annotations);
    const { selector } = DeploymentSpec.parse(deployment['spec']);
    assert.deepEqual(selector.matchExpressions, [{ key: 'app', operator: 'In', values: ['hello-canary'] }]);

    const service = newSiblingService({
      ...common,
      stable: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: {
          name: 'front',
          labels,
          annotations: {
            'prometheus.io/scrape': 'true',
            'traefik.ingress.kubernetes.io/service.serversscheme': 'h2c',
            'networking.istio.io/exportTo': '.',
            'service.kubernetes.io/topology-mode': 'Auto',
            'service.beta.kubernetes.io/aws-load-balancer-type': 'nlb',
            'service.beta.openshift.io/serving-cert-secret-name': 'hello-tls',
            'external-dns.alpha.kubernetes.io/hostname': 'hello.example.com',
            'kubectl.kubernetes.io/last-applied-configuration': '{}',
            'slipway.dev/fence': '0.1',
          },
        },
        spec: {
          type: 'LoadBalancer',
          selector: { app: 'hello' },
          ports: [{ name: 'grpc', port: 80, nodePort: 30_000, appProtocol: 'grpc' }],
          clusterIP: '10.0.0.1',
          clusterIPs: ['10.0.0.1'],
          loadBalancerIP: '203.0.113.1',
          externalTrafficPolicy: 'Local',
          healthCheckNodePort: 30_001,
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
          ipFamilies: ['IPv6', 'IPv4'],
          ipFamilyPolicy: 'PreferDualStack',
          internalTrafficPolicy: 'Cluster',
        },
      },
    });
    assert.deepEqual(service.metadata.labels, carried);
    assert.deepEqual(service.metadata.annotations, {
      'prometheus.io/scrape': 'true',
      'traefik.ingress.kubernetes.io/service.serversscheme': 'h2c',
      'networking.istio.io/exportTo': '.',
      'service.kubernetes.io/topology-mode': 'Auto',
      'slipway.dev/fence': '1.2',
    });
    assert.deepEqual(service['spec'], {
      type: 'ClusterIP',
      selector: { app: 'hello-canary', [ARM_LABEL]: 'canary' },
      ports: [{ name: 'grpc', port: 80, nodePort: undefined, appProtocol: 'grpc' }],
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      ipFamilies: ['IPv6', 'IPv4'],
      ipFamilyPolicy: 'PreferDualStack',
      internalTrafficPolicy: 'Cluster',
    });
  });

  test('have no address where stable’s Service has none', () => {
    const made = newSiblingService({
      target: TARGET,
      arm: 'canary',
      changed: ['app'],
      annotations: {},
      labels: {},
      owner: OWNER,
      stable: {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'front' },
        spec: { clusterIP: 'None', selector: { app: 'hello' }, ports: [{ port: 80 }] },
      },
    });
    assert.equal((made['spec'] as { clusterIP?: string }).clusterIP, 'None');
  });

  test('labels that people gave themselves, with the same endings, are not taken for ours', () => {
    const own = { app: 'web-canary', team: 'a' };
    const sibling = siblingLabels(own, ['app'], 'canary');
    assert.deepEqual(sibling, { app: 'web-canary-canary', team: 'a', [ARM_LABEL]: 'canary' });
    const template: PodTemplate = { metadata: { labels: sibling }, spec: { containers: [{ name: 'a', image: 'b' }] } };
    assert.deepEqual(asStable(template, ['app'], 'canary').metadata?.labels, own);
  });
});

describe('the template of a release', () => {
  const recorded: PodTemplate = {
    metadata: { labels: { app: 'hello' } },
    spec: {
      containers: [
        {
          name: 'app',
          image: 'hello:v1',
          env: [
            { name: 'A', value: '1' },
            { name: 'B', value: '2' },
          ],
        },
        { name: 'proxy', image: 'proxy:1' },
      ],
      initContainers: [{ name: 'migrate', image: 'hello:v1' }],
      volumes: [{ name: 'v' }],
    },
  };
  const release = (images: Record<string, string>, env: Record<string, string> = {}) =>
    templateFor({ from: 'release', release: { digest: 'sha256:0' as never, images, env } }, recorded);

  test('is stable’s, with its images and environment, and all else as it was', () => {
    const found = release({ app: 'hello:v2', migrate: 'hello:v2' }, { B: '3', C: '4' });
    assert.ok(found.kind === 'template');
    assert.deepEqual(found.template, {
      metadata: { labels: { app: 'hello' } },
      spec: {
        containers: [
          {
            name: 'app',
            image: 'hello:v2',
            env: [
              { name: 'A', value: '1' },
              { name: 'B', value: '3' },
              { name: 'C', value: '4' },
            ],
          },
          {
            name: 'proxy',
            image: 'proxy:1',
            env: [
              { name: 'B', value: '3' },
              { name: 'C', value: '4' },
            ],
          },
        ],
        initContainers: [{ name: 'migrate', image: 'hello:v2' }],
        volumes: [{ name: 'v' }],
      },
    });
  });

  test('a variable that is set anew stays before those that name it', () => {
    const env = [
      { name: 'BASE_URL', valueFrom: { configMapKeyRef: { name: 'urls', key: 'base' } } },
      { name: 'API_URL', value: '$(BASE_URL)/api' },
    ];
    const source = {
      from: 'release',
      release: { digest: 'sha256:0' as never, images: {}, env: { NEW: '$(API_URL)', BASE_URL: 'https://b.example' } },
    } as const;
    const found = templateFor(source, { spec: { containers: [{ name: 'web', image: 'hello:v1', env }] } });
    assert.deepEqual(found.kind === 'template' && found.template.spec.containers[0]?.env, [
      { name: 'BASE_URL', value: 'https://b.example' },
      { name: 'API_URL', value: '$(BASE_URL)/api' },
      { name: 'NEW', value: '$(API_URL)' },
    ]);
  });

  test('an image for a container that is not there is refused; one image for the only container needs no name', () => {
    const unknown = release({ app: 'hello:v2', sidecar: 'x' });
    assert.match(unknown.kind === 'none' ? unknown.reason : '', /no container sidecar: .* app, proxy, migrate/);
    const single: PodTemplate = { spec: { containers: [{ name: 'web', image: 'hello:v1' }] } };
    const source = {
      from: 'release',
      release: { digest: 'sha256:0' as never, images: { app: 'hello:v2' }, env: {} },
    } as const;
    const found = templateFor(source, single);
    assert.equal(found.kind === 'template' && found.template.spec.containers[0]?.image, 'hello:v2');
    assert.equal(templateFor(source, null).kind, 'none');
  });
});

test('what a Deployment adds while it replaces its template is its strategy’s surge, rounded up, and never more than its size', () => {
  const surge = (replicas: number, strategy?: object): number =>
    surgeOf({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'hello' }, spec: { replicas, strategy } });
  const rolling = (maxSurge: number | string): object => ({ type: 'RollingUpdate', rollingUpdate: { maxSurge } });
  assert.equal(surge(10), 3);
  assert.equal(surge(10, { type: 'RollingUpdate' }), 3);
  assert.equal(surge(10, rolling('50%')), 5);
  assert.equal(surge(10, rolling(2)), 2);
  assert.equal(surge(10, rolling(0)), 0);
  assert.equal(surge(2, rolling(5)), 2);
  assert.equal(surge(10, { type: 'Recreate' }), 0);
});

describe('the state of an arm', () => {
  const deployment = (status: object, generation = 2): KubeObject => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'hello', generation },
    status,
  });

  test('counts only pods of the current template, and none before the controller has seen it', () => {
    const whole = { observedGeneration: 2, replicas: 3, updatedReplicas: 3, availableReplicas: 3 };
    assert.equal(armStatusOf(deployment(whole)).ready, 3);
    const { ready, unseen } = armStatusOf(deployment({ ...whole, observedGeneration: 1 }));
    assert.deepEqual([ready, unseen], [0, true]);
    assert.equal(
      armStatusOf(deployment({ ...whole, replicas: 4, updatedReplicas: 1 })).ready,
      0,
      'three old ones serve',
    );
    assert.equal(armStatusOf(deployment({ ...whole, replicas: 4, availableReplicas: 4 })).ready, 3);
    assert.equal(armStatusOf(deployment({})).ready, 0);
  });

  test('has failed once its progress deadline is over, and says what the controllers say', () => {
    const late = { type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded', message: 'timed out' };
    assert.deepEqual(armStatusOf(deployment({ observedGeneration: 2, conditions: [late] })), {
      ready: 0,
      failed: true,
      message: 'timed out',
    });
    const quota = { type: 'ReplicaFailure', status: 'True', message: 'exceeded quota' };
    assert.equal(armStatusOf(deployment({ observedGeneration: 2, conditions: [quota] })).message, 'exceeded quota');
  });
});
