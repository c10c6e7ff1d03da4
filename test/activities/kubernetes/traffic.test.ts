/** How shares of traffic are written into each kind of object: golden YAML before and after, and properties of all. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parse, stringify } from 'yaml';
import type { KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { routerOf } from '../../../activities/kubernetes/traffic/router.js';
import type { TrafficRouter } from '../../../activities/kubernetes/traffic/router.js';
import { ALL_STABLE } from '../../../domain/target.js';
import type { KubernetesTarget, RouteKind, Weights } from '../../../domain/target.js';

function targetOf(kind: RouteKind): KubernetesTarget {
  const names = { namespace: 'shop', deployment: 'hello', service: 'front' };
  return { platform: 'kubernetes', context: null, ...names, route: { kind, name: 'edge' } };
}

function routerFor(kind: RouteKind): TrafficRouter {
  const router = routerOf(targetOf(kind));
  assert.ok(router !== null);
  return router;
}

const HTTP_ROUTE = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: edge
  generation: 3
spec:
  parentRefs:
    - name: gw
  hostnames:
    - a.example
  rules:
    - timeouts:
        request: 3s
      backendRefs:
        - name: front
          port: 80
          weight: 1
          group: ""
          kind: Service
          filters:
            - type: RequestHeaderModifier
    - matches:
        - path:
            value: /other
      backendRefs:
        - name: else
          port: 1
          group: ""
          kind: Service
          weight: 1
`;

const VIRTUAL_SERVICE = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: edge
spec:
  hosts:
    - a.example
  gateways:
    - istio-system/public
  http:
    - match:
        - uri:
            prefix: /other
      route:
        - destination:
            host: else
    - timeout: 3s
      retries:
        attempts: 2
      route:
        - destination:
            host: front.shop.svc.cluster.local
            port:
              number: 80
          headers:
            request:
              set:
                x-from: edge
  tcp:
    - match:
        - port: 5432
      route:
        - destination:
            host: front
`;

const INGRESS = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: edge
  annotations:
    nginx.ingress.kubernetes.io/proxy-read-timeout: "3"
    kubectl.kubernetes.io/last-applied-configuration: "{}"
spec:
  ingressClassName: nginx
  tls:
    - hosts:
        - a.example
      secretName: cert
  rules:
    - host: a.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: front
                port:
                  number: 80
          - path: /other
            pathType: Prefix
            backend:
              service:
                name: else
                port:
                  number: 80
    - host: b.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: else
                port:
                  number: 80
`;

const GOLDEN: Readonly<
  Record<Exclude<RouteKind, 'Ingress'>, { before: string; changed: readonly [string, string][] }>
> = {
  HTTPRoute: {
    before: HTTP_ROUTE,
    changed: [
      [
        `          weight: 1
          group: ""
          kind: Service
          filters:
            - type: RequestHeaderModifier
`,
        `          weight: 80
          group: ""
          kind: Service
          filters:
            - type: RequestHeaderModifier
        - name: front-canary
          port: 80
          weight: 10
          group: ""
          kind: Service
          filters:
            - type: RequestHeaderModifier
        - name: front-baseline
          port: 80
          weight: 10
          group: ""
          kind: Service
          filters:
            - type: RequestHeaderModifier
`,
      ],
    ],
  },
  GRPCRoute: {
    before: `apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata:
  name: edge
spec:
  rules:
    - backendRefs:
        - name: front
          port: 50051
          weight: 1
          group: ""
          kind: Service
`,
    changed: [
      [
        `          weight: 1
          group: ""
          kind: Service
`,
        `          weight: 80
          group: ""
          kind: Service
        - name: front-canary
          port: 50051
          weight: 10
          group: ""
          kind: Service
        - name: front-baseline
          port: 50051
          weight: 10
          group: ""
          kind: Service
`,
      ],
    ],
  },
  VirtualService: {
    before: VIRTUAL_SERVICE,
    changed: [
      [
        `              set:
                x-from: edge
`,
        `              set:
                x-from: edge
          weight: 80
        - destination:
            host: front-canary.shop.svc.cluster.local
            port:
              number: 80
          headers:
            request:
              set:
                x-from: edge
          weight: 10
        - destination:
            host: front-baseline.shop.svc.cluster.local
            port:
              number: 80
          headers:
            request:
              set:
                x-from: edge
          weight: 10
`,
      ],
      [
        `        - destination:
            host: front
`,
        `        - destination:
            host: front
          weight: 80
        - destination:
            host: front-canary
          weight: 10
        - destination:
            host: front-baseline
          weight: 10
`,
      ],
    ],
  },
};

const THREE: Weights = { stable: 80, canary: 10, baseline: 10 };

function objectOf(yaml: string): KubeObject {
  return parse(yaml) as KubeObject;
}

/** Without anchors, and with the keys in one order, for neither says anything. */
function yamlOf(object: unknown): string {
  return stringify(JSON.parse(JSON.stringify(object)), { sortMapEntries: true });
}

for (const [name, { before, changed }] of Object.entries(GOLDEN)) {
  const kind = name as keyof typeof GOLDEN;
  const router = routerFor(kind);
  describe(kind, () => {
    test('holds the shares in each rule that names the Service, and is afterwards what it was before', () => {
      const live = objectOf(before);
      let after = before;
      for (const [from, to] of changed) {
        assert.ok(after.includes(from));
        after = after.replace(from, to);
      }
      const set = router.write(live, THREE);
      assert.equal(yamlOf(set), yamlOf(objectOf(after)));
      assert.equal(yamlOf(router.write(set, ALL_STABLE)), yamlOf(live));
      assert.equal(yamlOf(live), yamlOf(objectOf(before)), 'what was read is not changed');
    });

    test('reads shares back as they were set, to a thousandth of a percent', () => {
      const weights = fc
        .tuple(fc.integer({ min: 0, max: 100_000 }), fc.integer({ min: 0, max: 100_000 }))
        .filter(([canary, baseline]) => canary + baseline <= 100_000)
        .map(([canary, baseline]) => ({
          stable: (100_000 - canary - baseline) / 1000,
          canary: canary / 1000,
          baseline: baseline / 1000,
        }));
      fc.assert(
        fc.property(weights, weights, (first, second) => {
          const set = router.write(router.write(objectOf(before), first), second);
          assert.deepEqual(router.read(set), { weights: second });
          assert.equal(yamlOf(router.write(set, ALL_STABLE)), yamlOf(objectOf(before)));
        }),
      );
    });

    test('that names another Service only has nothing to do with it', () => {
      assert.equal(router.read(objectOf(before.replaceAll(/front/g, 'another'))), null);
    });
  });
}

describe('a route of the Gateway API', () => {
  const router = routerFor('HTTPRoute');
  const front = { name: 'front', port: 80 };
  const route = (rules: readonly object[], status: object = {}): KubeObject => ({
    ...objectOf(HTTP_ROUTE),
    spec: { rules, parentRefs: [{ name: 'gateway' }] },
    status,
  });

  test('whose rules differ is told apart, foreign backends are named, another namespace is another Service', () => {
    const split = {
      backendRefs: [
        { ...front, weight: 3 },
        { name: 'front-canary', port: 80 },
      ],
    };
    assert.equal(router.read(route([split, { backendRefs: [front] }]))?.rules?.length, 2);
    const [problem] = router.problems(route([{ backendRefs: [front, { name: 'old', port: 1 }] }]));
    assert.match(problem?.problem ?? '', /splits the traffic of front with Service old$/);
    assert.equal(router.read(route([{ backendRefs: [{ ...front, namespace: 'other' }] }])), null);
  });

  test('names an arm before its first share, and once only', () => {
    const weights = { stable: 80, canary: 10, baseline: 10 };
    const filtered = { ...front, filters: [{ type: 'RequestHeaderModifier' }] };
    const other = { backendRefs: [{ name: 'else', port: 1 }] };
    const live = route([{ backendRefs: [filtered] }, other]);
    const introduce = (object: KubeObject, shares: Weights) => router.introduce?.(object, shares) ?? null;
    const { arms, named } = introduce(live, weights) ?? { arms: [], named: live };
    assert.deepEqual(arms, ['canary', 'baseline']);
    const refsOf = ({ spec }: KubeObject) =>
      (spec as { rules: { backendRefs: { name: string; weight?: number; filters?: unknown }[] }[] }).rules.map(
        ({ backendRefs }) => backendRefs.map(({ name, weight, filters }) => [name, weight ?? 1, filters !== undefined]),
      );
    assert.deepEqual(refsOf(named), [
      [
        ['front', 1, true],
        ['front-canary', 0, true],
        ['front-baseline', 0, true],
      ],
      [['else', 1, false]],
    ]);
    assert.deepEqual(router.read(named)?.weights, ALL_STABLE, 'no share is changed');
    assert.equal(introduce(named, weights)?.named, named, 'there is nothing to be written');
    assert.equal(introduce(live, ALL_STABLE), null);
    const shared = router.write(named, { stable: 90, canary: 10, baseline: 0 });
    assert.equal(introduce(shared, { stable: 50, canary: 50, baseline: 0 }), null, 'it has a share');
    assert.deepEqual(refsOf(introduce(shared, weights)?.named ?? live)[0]?.at(-1), ['front-baseline', 0, true]);
    assert.deepEqual(refsOf(router.write(named, ALL_STABLE))[0], [['front', 1, true]]);
  });

  test('is in effect when every gateway has taken it', () => {
    const parent = (observedGeneration: number, status = 'True', name = 'gateway') => ({
      parentRef: { name },
      conditions: [{ type: 'Accepted', status, reason: 'NoMatchingParent', message: 'no', observedGeneration }],
    });
    const pending = (...parents: readonly object[]): string =>
      router.pending(route([{ backendRefs: [front] }], { parents })) ?? 'in effect';
    assert.equal(pending(parent(3), parent(4)), 'in effect');
    assert.match(pending(), /no gateway has taken/);
    assert.match(pending(parent(3), parent(2)), /has not seen generation 3/);
    assert.match(pending(parent(3, 'False')), /NoMatchingParent: no/);
    // A gateway that the route has left says nothing of it any more.
    assert.equal(pending(parent(3), parent(1, 'True', 'left')), 'in effect');
    assert.match(pending(parent(3, 'True', 'left')), /no gateway has taken/);
  });

  test('takes longer to be in effect at load balancers outside of the cluster', () => {
    const drainMs = (controllerName: string): number =>
      router.drainMs(
        route([{ backendRefs: [front] }], { parents: [{ parentRef: { name: 'gateway' }, controllerName }] }),
      );
    assert.equal(drainMs('traefik.io/gateway-controller'), 3000);
    assert.equal(drainMs('networking.gke.io/gateway'), 120_000);
    assert.equal(drainMs('gateway.k8s.aws/alb'), 120_000);
  });
});

describe('a VirtualService', () => {
  const router = routerFor('VirtualService');
  const http = (...route: readonly object[]): KubeObject => ({
    ...objectOf(VIRTUAL_SERVICE),
    spec: { http: [{ route }] },
  });

  test('is refused where a subset or a stranger gets traffic', () => {
    const problems = router.problems(
      http({ destination: { host: 'front', subset: 'v1' }, weight: 90 }, { destination: { host: 'old' }, weight: 10 }),
    );
    assert.deepEqual(
      problems.map(({ severity, problem }) => [severity, problem]),
      [
        ['refuse', 'VirtualService shop/edge splits the traffic of front with old'],
        [
          'refuse',
          'VirtualService shop/edge sends traffic to the subset v1 of front: the Services of a canary and a baseline have none',
        ],
      ],
    );
    assert.deepEqual(router.problems(objectOf(VIRTUAL_SERVICE)), []);
  });

  test('takes a host for the Service by its short and its full names, and no other', () => {
    for (const host of ['front', 'front.shop', 'front.shop.svc', 'front.shop.svc.cluster.local'])
      assert.deepEqual(router.read(http({ destination: { host } })), { weights: ALL_STABLE }, host);
    for (const host of ['front.other', 'front.example.com', 'front-canary'])
      assert.equal(router.read(http({ destination: { host } })), null, host);
  });

  test('gives nothing to a destination without a weight beside others', () => {
    const two = http({ destination: { host: 'front' } }, { destination: { host: 'front-canary' }, weight: 100 });
    assert.deepEqual(router.read(two)?.weights, { stable: 0, canary: 100, baseline: 0 });
  });

  test('is in effect unless Istio, told to write a status, says that it is not', () => {
    const live = { ...objectOf(VIRTUAL_SERVICE), metadata: { name: 'edge', generation: 2 } };
    const with_ = (status: string, observedGeneration: number): KubeObject => ({
      ...live,
      status: { conditions: [{ type: 'Reconciled', status, observedGeneration, message: '1/3 proxies up to date' }] },
    });
    assert.equal(router.pending(live), null);
    assert.equal(router.pending(with_('True', 2)), null);
    assert.match(router.pending(with_('False', 1)) ?? '', /have not all taken generation 2/);
    assert.match(router.pending(with_('False', 2)) ?? '', /1\/3 proxies/);
  });
});

describe('an Ingress of ingress-nginx', () => {
  const router = routerFor('Ingress');

  test('is left alone: the canary has one of its own, with the same hosts and paths', () => {
    const made = router.create(objectOf(INGRESS), { stable: 75, canary: 25, baseline: 0 });
    assert.equal(
      yamlOf(made),
      yamlOf(
        objectOf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: edge-canary
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/canary: "true"
    nginx.ingress.kubernetes.io/canary-weight: "25"
    nginx.ingress.kubernetes.io/canary-weight-total: "100"
spec:
  ingressClassName: nginx
  rules:
    - host: a.example
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: front-canary
                port:
                  number: 80
`),
      ),
    );
    assert.equal(router.create(objectOf(INGRESS.replaceAll('name: front', 'name: another')), ALL_STABLE), null);
  });

  test('reads the canary’s share back as it was set, and keeps what else stands on it', () => {
    const made = router.create(objectOf(INGRESS), ALL_STABLE);
    assert.ok(made !== null);
    assert.deepEqual(router.read(made), { weights: ALL_STABLE });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100_000 }), (thousandths) => {
        const canary = thousandths / 1000;
        const weights = { stable: (100_000 - thousandths) / 1000, canary, baseline: 0 };
        const live = { ...made, metadata: { ...made.metadata, annotations: { mine: 'kept' } } };
        const set = router.write(live, weights);
        assert.deepEqual(router.read(set), { weights });
        assert.equal(set.metadata.annotations?.['mine'], 'kept');
      }),
    );
  });

  test('of the older form keeps its class, and a canary of somebody else is refused', () => {
    const old = objectOf(INGRESS);
    const classed = { ...old, metadata: { name: 'edge', annotations: { 'kubernetes.io/ingress.class': 'inner' } } };
    const made = router.create(classed, ALL_STABLE);
    assert.equal(made?.metadata.annotations?.['kubernetes.io/ingress.class'], 'inner');
    const canary = {
      ...old,
      metadata: { name: 'edge', annotations: { 'nginx.ingress.kubernetes.io/canary': 'true' } },
    };
    assert.match(router.problems(canary)[0]?.problem ?? '', /is itself a canary/);
  });
});
