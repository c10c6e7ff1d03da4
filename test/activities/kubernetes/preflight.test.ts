/** Every refusal of preflight, tried on a real API server: all findings at once, each with its remedy, nothing touched. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Unavailable } from '../../../activities/failures.js';
import type { KubeClient, KubeObject } from '../../../activities/kubernetes/kube-client.js';
import type { KubernetesRoute, PlannedNeeds, PreflightFinding } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';
import { digestOf } from '../../../domain/canonical.js';
import { appliedWrites } from '../../../tools/audit.js';
import { until } from '../../support/drive.js';
import { runCommand, story } from '../../support/cli.js';
import { startFakeRegistry } from '../../support/fake-registry.js';
import { fromRelease } from '../local/rollout-support.js';
import { applyService, beforeAllOnKube, clientOf, kubeRollout } from './kube-support.js';

const skip = await reasonToSkip(findKubeApiServer);

let plane: ControlPlane;
let client: KubeClient;

beforeAllOnKube(skip, (started) => {
  plane = started;
  client = clientOf(plane, 'slipway');
});

function newNamespace(): string {
  return `p-${randomUUID().slice(0, 8)}`;
}

/** How the traffic of a namespace's service is split, where it is not by its HTTPRoute. */
const routes = new Map<string, KubernetesRoute>();
/** What a namespace's rollout needs besides one more replica. */
const needs = new Map<string, Partial<PlannedNeeds>>();

async function preflight(
  namespace: string,
  shares: PlannedNeeds['shares'] = [],
  more: Partial<PlannedNeeds> = {},
): Promise<readonly PreflightFinding[]> {
  const { platform, scope } = kubeRollout(client, namespace, 'r9', { route: routes.get(namespace) });
  return platform.preflight(scope, { replicas: 1, shares, ...needs.get(namespace), ...more });
}

/** A healthy service, of which preflight says nothing. */
async function healthy(): Promise<string> {
  const namespace = newNamespace();
  await applyService(plane, { namespace });
  await eventually(namespace, (found) => found.length === 0);
  return namespace;
}

async function eventually(
  namespace: string,
  holds: (found: readonly PreflightFinding[]) => boolean,
): Promise<readonly PreflightFinding[]> {
  for (const until = Date.now() + 20_000; ;) {
    const found = await preflight(namespace).catch((error: unknown) => {
      if (!(error instanceof Unavailable)) throw error;
      return error;
    });
    if (!(found instanceof Unavailable) && holds(found)) return found;
    assert.ok(Date.now() < until, JSON.stringify(found, null, 1));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Applies objects, or changes of them, and waits until preflight says just this. */
async function says(
  namespace: string,
  objects: readonly KubeObject[],
  problem: RegExp,
  remedy: RegExp,
  severity: PreflightFinding['severity'] = 'refuse',
): Promise<void> {
  await plane.apply(objects);
  const found = await eventually(namespace, (all) => all.some((each) => problem.test(each.problem)));
  const finding = found.find((each) => problem.test(each.problem));
  assert.equal(finding?.severity, severity);
  assert.match(finding?.remedy ?? '', remedy);
  assert.deepEqual(await slipwayWrites(namespace), [], 'preflight touched something');
}

async function slipwayWrites(namespace: string): Promise<readonly string[]> {
  const all = await appliedWrites(plane.auditLog, namespace);
  return all.filter(({ user }) => user === 'slipway').map(({ object }) => object);
}

describe('preflight on Kubernetes', { skip, concurrency: 5 }, () => {
  test('without rights every missing one is named, with the rule to add', async () => {
    const namespace = newNamespace();
    await applyService(plane, { namespace, rights: false });
    const found = await preflight(namespace);
    const text = found.map(({ problem, remedy }) => `${problem} → ${remedy}`).join('\n');
    assert.match(text, /may not get, list, create, update, delete deployments in namespace/);
    assert.match(text, /may not get, list, update httproutes/);
    assert.match(text, /apiGroups: \["apps"\], resources: \["deployments"\], verbs: \["get", "list"/);
    assert.deepEqual(
      found.filter(({ severity }) => severity === 'warn').map(({ problem }) => problem),
      [`the worker may not create events in namespace ${namespace}`],
      'a rollout can do without telling what it does',
    );
    assert.equal(found.length, 11, text);
    assert.match(text, /may not get, list, create poddisruptionbudgets/);
    // A rollout reads its target before preflight, and gets no further: so this says the same.
    const { platform, scope } = kubeRollout(client, namespace, 'r9');
    await assert.rejects(platform.describe(scope), (error: Error) => {
      assert.equal(error.name, 'Refused');
      assert.match(error.message, /may not get, list, create, update, delete configmaps in namespace .*: grant it/);
      assert.doesNotMatch(error.message, /events/);
      return true;
    });
  });

  test('what is not there is named, all of it at once', async () => {
    const namespace = newNamespace();
    await applyService(plane, { namespace });
    for (const [resource, path_] of [
      ['Deployment', `/apis/apps/v1/namespaces/${namespace}/deployments/hello`],
      ['Service', `/api/v1/namespaces/${namespace}/services/hello`],
      ['HTTPRoute', `/apis/gateway.networking.k8s.io/v1/namespaces/${namespace}/httproutes/hello`],
    ] as const)
      assert.ok(await plane.request('DELETE', path_), resource);
    const found = await eventually(namespace, (all) => all.length === 3);
    assert.deepEqual(
      found.map(({ problem }) => problem),
      [
        `there is no Deployment ${namespace}/hello`,
        `there is no Service ${namespace}/hello`,
        `there is no HTTPRoute ${namespace}/hello`,
      ],
    );
  });

  test('the lane of another rollout, and what it left', async () => {
    const namespace = await healthy();
    const first = kubeRollout(client, namespace, 'r1');
    await first.claim();
    await first.apply({ op: 'open-rollout' });
    await first.apply({ op: 'start-arm', arm: 'canary', template: fromRelease('v2'), replicas: 1 });
    await first.apply({ op: 'set-weights', weights: { stable: 90, canary: 10, baseline: 0 } });
    const found = await preflight(namespace);
    const text = found.map(({ problem, remedy }) => `${problem} → ${remedy}`).join('\n');
    assert.match(text, /the lane is held by rollout r1 → wait for it/);
    assert.match(text, /Deployment .*\/hello-canary is there already, and is not of this rollout/);
    assert.match(text, /Service .*\/hello-canary is there already, and is not of this rollout/);
    assert.match(text, /sends 10 % to a canary/);
  });

  test('what an ended rollout left is waited for while the cluster takes it away, its pods too', async () => {
    const namespace = await healthy();
    const uid = randomUUID();
    const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'an-anchor-that-is-gone', uid }];
    const labels = { app: 'hello-canary', 'slipway.dev/arm': 'canary' };
    // The finalizer stands for a garbage collector that is late.
    const metadata = { name: 'hello-canary', namespace, labels, ownerReferences, finalizers: ['test.example/late'] };
    const ports = [{ name: 'http', port: 80, targetPort: 8080 }];
    await plane.apply([{ apiVersion: 'v1', kind: 'Service', metadata, spec: { selector: labels, ports } }]);
    await assert.rejects(preflight(namespace), (error: Error) => {
      assert.equal(error.name, 'Unavailable');
      assert.match(error.message, /still being taken away: Service .*\/hello-canary is there already/);
      return true;
    });
    const service = `/api/v1/namespaces/${namespace}/services/hello-canary`;
    await plane.request('PATCH', service, { metadata: { finalizers: null } }, 'application/merge-patch+json');
    await eventually(namespace, (all) => all.length === 0);

    const spec = { containers: [{ name: 'app', image: 'registry.example/team/hello:v1' }] };
    await plane.apply([{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'late', namespace, labels }, spec }]);
    await assert.rejects(preflight(namespace), /still being taken away: Pod .*\/late is there already/);
    await plane.request('DELETE', `/api/v1/namespaces/${namespace}/pods/late`);
    await eventually(namespace, (all) => all.length === 0);
  });

  test('a Service that does not select stable', async () => {
    const namespace = await healthy();
    const spec = { selector: { app: 'other' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] };
    await says(
      namespace,
      [{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'hello', namespace }, spec }],
      /does not select the pods of Deployment hello: it wants app=other, they have app=hello, team=a/,
      /kubernetes\.service/,
    );
  });

  test('a route that sends the traffic elsewhere, splits it, or is not in effect', async () => {
    const route = (namespace: string, ...rules: readonly object[]): KubeObject => ({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'hello', namespace },
      spec: { parentRefs: [{ name: 'edge', namespace: 'default' }], rules },
    });
    const to = (...refs: readonly object[]): object => ({ backendRefs: refs });
    const one = await healthy();
    await says(
      one,
      [route(one, to({ name: 'other', port: 80 }))],
      /no rule of .* sends traffic to/,
      /kubernetes\.route/,
    );
    const two = await healthy();
    const refs = [
      { name: 'hello', port: 80, weight: 9 },
      { name: 'legacy', port: 80, weight: 1 },
    ];
    await says(two, [route(two, to(...refs))], /splits the traffic of hello with Service legacy/, /leave one backend/);
    const three = await healthy();
    const uneven = [
      to({ name: 'hello', port: 80, weight: 3 }, { name: 'hello-canary', port: 80, weight: 1 }),
      to({ name: 'hello', port: 80 }),
    ];
    await says(three, [route(three, ...uneven)], /the rules of .* have different weights/, /the same weights/);
    const four = await healthy();
    const lost = { ...route(four, to({ name: 'hello', port: 80 })) };
    await plane.request('DELETE', `/apis/gateway.networking.k8s.io/v1/namespaces/${four}/httproutes/hello`);
    await says(
      four,
      [{ ...lost, spec: { parentRefs: [{ name: 'nowhere' }], rules: [to({ name: 'hello', port: 80 })] } }],
      /is not in effect: /,
      /kubectl describe/,
    );
  });

  test('a stable that is not healthy, is paused, or was changed since Slipway wrote it', async () => {
    const namespace = await healthy();
    const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/hello`;
    const patch = (body: object): Promise<unknown> =>
      plane.request('PATCH', deployment, body, 'application/merge-patch+json');
    await patch({ spec: { paused: true } });
    await says(namespace, [], /is paused: it would never run/, /kubectl rollout resume/);
    await patch({ spec: { paused: false, replicas: 0 } });
    await says(namespace, [], /is scaled to 0: nothing serves/, /kubectl scale deployment\/hello --replicas=1/);
    await patch({ spec: { replicas: 3, template: { metadata: { annotations: { never: 'ready' } } } } });
    await patch({ metadata: { annotations: { 'slipway.dev/applied': '{"template":"another"}' } } });
    await says(namespace, [], /stable was changed since Slipway wrote it/, /slipway\.dev\/applied away/);
  });

  test('autoscalers that could not be kept from shrinking stable', async () => {
    const namespace = await healthy();
    const autoscaler = (name: string, more: object = {}): KubeObject => ({
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name, namespace, ...more },
      spec: { maxReplicas: 9, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'hello' } },
    });
    await plane.apply([autoscaler('one')]);
    assert.deepEqual(await preflight(namespace), [], 'one of its own is kept from shrinking stable');
    await says(
      namespace,
      [autoscaler('two')],
      /one and HorizontalPodAutoscaler .*two all scale Deployment/,
      /leave one/,
    );
    await plane.request('DELETE', `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/two`);
    const keeper = { apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject', name: 'hello-queue', uid: randomUUID() };
    await says(
      namespace,
      [autoscaler('one', { ownerReferences: [keeper] })],
      /is kept by KEDA \(ScaledObject hello-queue\)/,
      /kubectl annotate scaledobject hello-queue/,
    );
    routes.set(namespace, { kind: 'none', maxExcessPoints: 5 });
    await says(namespace, [], /the canary's share follows from its size/, /split the traffic by a route/);
  });

  test('a canary whose share would be larger than its stage asks for', async () => {
    const namespace = await healthy();
    routes.set(namespace, { kind: 'none', maxExcessPoints: 5 });
    assert.deepEqual(await preflight(namespace, [{ asked: 30, given: 33.333 }]), []);
    const [finding, ...others] = await preflight(namespace, [{ asked: 10, given: 33.333 }]);
    assert.deepEqual(others, []);
    assert.match(
      finding?.problem ?? '',
      /^stage 1 asks for 10 % of the traffic, and the smallest canary would get 33\.\d* %: 23\.\d* % more, above the limit of 5 points$/,
    );
    assert.match(finding?.remedy ?? '', /^run 6 replicas or more of hello, .* maxExcessPoints: 24 \}$/);
  });

  test('a quota that has no room for the canary', async () => {
    const namespace = await healthy();
    const quota: KubeObject = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'few', namespace },
      spec: { hard: { pods: '0' } },
    };
    await says(
      namespace,
      [quota],
      /ResourceQuota .*\/few allows 0 of pods, .* needs 1 more at one time/,
      /raise the quota/,
    );
  });

  test('a quota that has no room for what else the rollout makes', async () => {
    const namespace = await healthy();
    needs.set(namespace, { siblings: ['canary', 'baseline'] });
    const quota = (name: string, limit: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'few', namespace },
      spec: { hard: { [name]: limit } },
    });
    const used = /allows 1 of \S+, 0 are in use, and the rollout needs 2 more$/;
    await says(namespace, [quota('count/deployments.apps', '1')], used, /raise the quota/);
    await says(namespace, [quota('services', '1')], used, /raise the quota/);
    await plane.apply([quota('count/deployments.apps', '2')]);
    await eventually(namespace, (found) => found.length === 0);
  });

  test('a release of a container that the Deployment does not have', async () => {
    const namespace = await healthy();
    const of = (images: Readonly<Record<string, string>>) =>
      preflight(namespace, [], { release: { digest: digestOf(images), images, env: {} } });
    assert.deepEqual(await of({ app: 'hello:v2' }), []);
    assert.deepEqual(await of({ app: 'hello:v2', sidecar: 'x:1' }), [
      {
        severity: 'refuse',
        problem: "there is no container sidecar: the Deployment's containers are app, proxy",
        remedy: 'name the containers in slipway.yaml (images) as the Deployment does',
      },
    ]);
  });

  test('what the worker may not look at is one remark, and no more than that', async () => {
    const namespace = await healthy();
    const at = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles/slipway-worker`;
    const role = await plane.request('GET', at);
    const rules = (role['rules'] as { resources: string[] }[]).map((rule) => ({
      ...rule,
      resources: rule.resources.filter((each) => each !== 'limitranges'),
    }));
    await plane.request('PUT', at, { ...role, rules });
    await says(
      namespace,
      [],
      /^the worker may not list limitranges in namespace .*: what they would do to a canary is not known$/,
      /role\.yaml/,
      'warn',
    );
    assert.equal((await preflight(namespace)).length, 1);
  });

  test('a second route that sends traffic to the Service', async () => {
    const namespace = await healthy();
    const second: KubeObject = {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'second', namespace },
      spec: {
        parentRefs: [{ name: 'edge', namespace: 'default' }],
        hostnames: [`second.${namespace}.example.com`],
        rules: [{ backendRefs: [{ name: 'hello', port: 80 }] }],
      },
    };
    await says(namespace, [second], /HTTPRoute .*\/second sends traffic to the Service hello too/, /multiRoute: allow/);
    routes.set(namespace, { kind: 'HTTPRoute', name: 'hello', multiRoute: 'allow' });
    await eventually(namespace, (found) => found.length === 0);
    const grpc = { ...second, kind: 'GRPCRoute', metadata: { name: 'rpc', namespace } };
    await says(
      namespace,
      [grpc],
      /^GRPCRoute .*\/rpc sends traffic to the Service hello too: .* no canary is tried on it$/,
      /of HTTPRoute .*\/hello/,
      'warn',
    );
  });

  test('an Ingress that is not there, does not name the Service, or has a canary already', async () => {
    const namespace = await healthy();
    routes.set(namespace, { kind: 'Ingress', name: 'hello' });
    await says(namespace, [], /there is no Ingress .*\/hello/, /kubernetes\.route/);
    const ingress = (name: string, service: string, annotations: object = {}): KubeObject => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name, namespace, annotations: { ...annotations } },
      spec: {
        rules: [
          {
            http: {
              paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: service, port: { number: 80 } } } }],
            },
          },
        ],
      },
    });
    await says(
      namespace,
      [ingress('hello', 'other')],
      /no rule of Ingress .* sends traffic to the Service/,
      /name the route/,
    );
    await says(
      namespace,
      [ingress('hello', 'hello'), ingress('second', 'hello')],
      /Ingress .*\/second sends traffic to the Service hello too/,
      /move its rules/,
      'warn',
    );
    const canary = { 'nginx.ingress.kubernetes.io/canary': 'true' };
    await says(
      namespace,
      [ingress('hello-canary', 'x', canary)],
      /Ingress .*hello-canary is there already/,
      /remove it/,
    );
  });

  test('policies that would not hold for a canary', async () => {
    const namespace = await healthy();
    const meta = { name: 'x', namespace };
    const matchLabels = { app: 'hello' };
    await says(
      namespace,
      [
        {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: meta,
          spec: { podSelector: { matchLabels } },
        },
      ],
      /NetworkPolicy .* would not hold for a canary \(app differs\)/,
      /a label that all arms have/,
    );
    const other = (name: string, selector: object): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: { selector, ports: [{ port: 80 }] },
    });
    await says(namespace, [other('internal', { app: 'hello' })], /always goes to stable/, /through the route/, 'warn');
    await says(namespace, [other('team', { team: 'a' })], /would select a canary's too/, /let it select by app/);
  });

  test('policies of kinds that only some clusters have, where they are served', async () => {
    const namespace = await healthy();
    const group = 'security.istio.io';
    const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
    await plane.apply([
      {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: `authorizationpolicies.${group}` },
        spec: {
          group,
          names: { kind: 'AuthorizationPolicy', plural: 'authorizationpolicies', singular: 'authorizationpolicy' },
          scope: 'Namespaced',
          versions: [{ name: 'v1', served: true, storage: true, schema }],
        },
      },
    ]);
    const selector = { matchLabels: { app: 'hello' } };
    const policies = `/apis/${group}/v1/namespaces/${namespace}/authorizationpolicies`;
    const policy = {
      apiVersion: `${group}/v1`,
      kind: 'AuthorizationPolicy',
      metadata: { name: 'x' },
      spec: { selector },
    };
    await until('it is served', () =>
      plane.request('POST', policies, policy).then(
        () => true,
        () => false,
      ),
    );
    await says(
      namespace,
      [],
      /AuthorizationPolicy .*\/x holds for the pods of stable, and would not hold for a canary \(app differs\)/,
      /a label that all arms have/,
    );
    assert.equal((await preflight(namespace)).length, 1);
  });

  test('a Deployment that would be away while it is promoted', async () => {
    const namespace = await healthy();
    await plane.request(
      'PATCH',
      `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
      { spec: { strategy: { type: 'Recreate', rollingUpdate: null } } },
      'application/merge-patch+json',
    );
    await says(namespace, [], /two versions will run at once/, /the same data/, 'warn');
    needs.set(namespace, { inPlace: true });
    await says(namespace, [], /nothing would serve meanwhile/, /promote: verified/);
    routes.set(namespace, { kind: 'none', maxExcessPoints: 5 });
    await says(namespace, [], /nothing would serve meanwhile/, /kubernetes\.route/);
  });

  test('a disruption budget of stable is nothing to say: a canary gets its own, unless its name is taken', async () => {
    const namespace = await healthy();
    const budget = (name: string, app: string): KubeObject => ({
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name, namespace },
      spec: { minAvailable: 1, selector: { matchLabels: { app } } },
    });
    await plane.apply([budget('hello-canary', 'other')]);
    assert.deepEqual(await preflight(namespace), [], 'where stable has none, none is made');
    await says(
      namespace,
      [budget('hello', 'hello')],
      /PodDisruptionBudget .*\/hello-canary is there already, and is not of this rollout/,
      /kubectl delete poddisruptionbudget hello-canary/,
    );
    await plane.apply([budget('hello-canary', 'hello-canary')]);
    assert.deepEqual(await preflight(namespace), [], 'it protects the canary already');
  });

  test('objects that another tool would put back', async () => {
    const namespace = await healthy();
    const patch = (path_: string, metadata: object): Promise<unknown> =>
      plane.request('PATCH', path_, { metadata }, 'application/merge-patch+json');
    await patch(`/apis/apps/v1/namespaces/${namespace}/deployments/hello`, {
      annotations: { 'argocd.argoproj.io/tracking-id': 'hello:apps/Deployment:x/hello' },
    });
    await patch(`/apis/gateway.networking.k8s.io/v1/namespaces/${namespace}/httproutes/hello`, {
      labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps' },
    });
    await says(
      namespace,
      [],
      /Deployment .* is kept by Argo CD/,
      /ignoreDifferences: \[\{group: apps, kind: Deployment/,
    );
    await says(namespace, [], /HTTPRoute .* is kept by Flux/, /Kustomization/);
  });

  test('objects of Helm, and those that nothing but their managed fields gives away', async () => {
    const helm = await healthy();
    const deployment = `/apis/apps/v1/namespaces/${helm}/deployments/hello`;
    const patch = (metadata: object): Promise<unknown> =>
      plane.request('PATCH', deployment, { metadata }, 'application/merge-patch+json');
    await patch({ labels: { 'app.kubernetes.io/managed-by': 'Helm' } });
    await says(helm, [], /Deployment .* is labelled as Helm's/, /take the label/, 'warn');
    await patch({ annotations: { 'meta.helm.sh/release-name': 'hello' } });
    await says(helm, [], /Deployment .* is kept by Helm/, /helm\.sh\/resource-policy: keep/);

    const managed = await healthy();
    const apply = (path_: string, manager: string, body: object): Promise<unknown> =>
      plane.request('PATCH', `${path_}?fieldManager=${manager}&force=true`, body, 'application/apply-patch+yaml');
    const stable = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'hello', namespace: managed } };
    const path_ = `/apis/apps/v1/namespaces/${managed}/deployments/hello`;
    await apply(path_, 'argocd-controller', { ...stable, spec: { revisionHistoryLimit: 3 } });
    assert.deepEqual(await preflight(managed), [], 'what a rollout does not set may be anybody’s');
    await apply(path_, 'argocd-controller', { ...stable, spec: { replicas: 2 } });
    await says(managed, [], /Deployment .* is kept by Argo CD/, /RespectIgnoreDifferences.*"managedFields":\[\{\}\]/);
  });

  test('objects that are made from others, and marks of further tools', async () => {
    const namespace = await healthy();
    const patch = (metadata: object): Promise<unknown> =>
      plane.request(
        'PATCH',
        `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
        { metadata },
        'application/merge-patch+json',
      );
    for (const [annotations, problem, remedy] of [
      [{ 'configsync.gke.io/resource-id': 'apps_deployment_x_hello' }, /kept by Config Sync/, /managed: disabled/],
      [{ 'objectset.rio.cattle.io/id': 'default-shop' }, /kept by Fleet/, /out of the bundle/],
    ] as const) {
      await patch({ annotations });
      await says(namespace, [], problem, remedy);
      await patch({ annotations: Object.fromEntries(Object.keys(annotations).map((key) => [key, null])) });
    }
    await patch({ labels: { 'kapp.k14s.io/app': '17' } });
    await says(namespace, [], /kept by kapp/, /labels kapp\.k14s\.io/);
    await patch({ labels: { 'kapp.k14s.io/app': null } });
    // It must be there, or the Deployment is collected.
    await plane.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'shop', namespace }, data: {} }]);
    const { metadata } = await plane.request('GET', `/api/v1/namespaces/${namespace}/configmaps/shop`);
    const owner = { apiVersion: 'v1', kind: 'ConfigMap', name: 'shop', uid: metadata?.uid };
    await patch({ ownerReferences: [owner] });
    assert.deepEqual(await preflight(namespace), [], 'what is collected with another object is not kept by it');
    await patch({ ownerReferences: [{ ...owner, controller: true }] });
    await says(
      namespace,
      [],
      /Deployment .* is made by ConfigMap shop \(v1\), whose controller would put back/,
      /stop the controller of ConfigMap shop/,
    );
  });

  test('a further route that another tool would put back', async () => {
    const namespace = await healthy();
    routes.set(namespace, { kind: 'HTTPRoute', name: 'hello', multiRoute: 'allow' });
    const second: KubeObject = {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'second', namespace, labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps' } },
      spec: {
        parentRefs: [{ name: 'edge', namespace: 'default' }],
        hostnames: [`second.${namespace}.example.com`],
        rules: [{ backendRefs: [{ name: 'hello', port: 80 }] }],
      },
    };
    await says(namespace, [second], /HTTPRoute .*\/second is kept by Flux/, /Kustomization/);
  });

  test('policies of others that would not let a canary through', async () => {
    const namespace = await healthy();
    const from = [{ podSelector: { matchLabels: { app: 'hello' } } }];
    const policy: KubeObject = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'database', namespace },
      spec: { podSelector: { matchLabels: { app: 'database' } }, ingress: [{ from }] },
    };
    await says(
      namespace,
      [policy],
      /NetworkPolicy .*\/database lets the pods of stable through, and would not .* \(app differs\)/,
      /a label that all arms have/,
      'warn',
    );
    const own = { podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['hello', 'other'] }] } };
    await says(
      namespace,
      [{ ...policy, metadata: { name: 'own', namespace }, spec: own }],
      /NetworkPolicy .*\/own holds for the pods of stable, and would not hold for a canary/,
      /a label that all arms have/,
    );
  });

  test('names and labels that leave no room for a sibling’s', async () => {
    const namespace = newNamespace();
    await applyService(plane, { namespace });
    const long = 'a'.repeat(60);
    const path_ = `/apis/apps/v1/namespaces/${namespace}/deployments/hello`;
    const before_ = await plane.request('GET', path_);
    await plane.request('DELETE', path_);
    const spec = structuredClone(before_['spec']) as {
      selector: { matchLabels: { app: string } };
      template: { metadata: { labels: { app: string } } };
    };
    spec.selector.matchLabels.app = long;
    spec.template.metadata.labels.app = long;
    const service: KubeObject = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'hello', namespace },
      spec: { selector: { app: long }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    };
    await says(
      namespace,
      [service, { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'hello', namespace }, spec }],
      /label app of the pods is too long/,
      /a shorter value/,
    );
  });

  test('a plan shows the digests that it would be bound to, or why it would not, with the login of the settings', async () => {
    const namespace = await healthy();
    const registry = await startFakeRegistry();
    const folder = await mkdtemp(path.join(tmpdir(), 'slipway-plan-'));
    try {
      registry.auth = 'token';
      registry.reader = 'reader:pass-word-9f2c';
      const digest = registry.push('team/hello', 'v2');
      const login = Buffer.from(registry.reader).toString('base64');
      await writeFile(
        path.join(folder, 'config.json'),
        JSON.stringify({ auths: { [registry.host]: { auth: login } } }),
      );
      await writeFile(
        path.join(folder, 'slipway.yaml'),
        [
          'service: hello',
          `images: { app: '${registry.host}/team/hello' }`,
          'environments:',
          '  prod:',
          '    platform: kubernetes',
          `    kubernetes: { context: slipway, namespace: ${namespace} }`,
          '    metrics: { prometheus: http://127.0.0.1:9090 }',
        ].join('\n'),
      );
      const plan = (tag: string, env: Readonly<Record<string, string>> = {}) =>
        runCommand(['plan', '--no-git', '--tag', tag], folder, {
          KUBECONFIG: plane.kubeconfig,
          DOCKER_CONFIG: folder,
          SLIPWAY_REGISTRY_TIMEOUT_MS: '8000',
          ...env,
        });
      const image = `${registry.host}/team/hello:v2`;
      // One after the other: side by side, commands start slowly.
      const bound = await plan('v2');
      const unbound = await plan('v2', { DOCKER_CONFIG: '' });
      const missing = await plan('v9');
      const misread = await plan('v2', { DOCKER_CONFIG: path.join(folder, 'nowhere') });
      assert.equal(bound.code, 0, story(bound));
      assert.ok(bound.out.includes(`  image app: ${image} is ${digest}\n`), story(bound));
      assert.doesNotMatch(bound.out, /warning/);
      assert.equal(unbound.code, 0, story(unbound));
      assert.ok(unbound.out.includes(`  image app: ${image}, by tag alone\n`), story(unbound));
      assert.match(
        unbound.out,
        /^warning: .*not bound to a digest.*no login for 127.*\n  → deploy by digest, or give/m,
      );
      assert.equal(missing.code, 3, story(missing));
      assert.match(missing.out, /^REFUSED: there is no image .*team\/hello:v9 .*\n  → push it first/m);
      assert.equal(misread.code, 2, story(misread));
      assert.match(misread.err, /DOCKER_CONFIG: .*nowhere\/config\.json can't be read/);
      for (const said of [bound, unbound, missing, misread]) assert.doesNotMatch(story(said), /9f2c/);
    } finally {
      await registry.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
});
