/** Each way of splitting traffic, and autoscalers, on a real API server: what stands in the objects at each step. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, test } from 'node:test';
import type { KubeClient, KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { STATUS_ANNOTATION } from '../../../activities/kubernetes/tell.js';
import { ALL_STABLE } from '../../../domain/target.js';
import type { Effect, EffectResult, KubernetesRoute, KubernetesTarget } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';
import { until } from '../../support/drive.js';
import type { Rollout } from '../../support/rollout-steps.js';
import { fromRelease } from '../local/rollout-support.js';
import { applyService, beforeAllOnKube, clientOf, kubeRollout, platformOn } from './kube-support.js';

const skip = await reasonToSkip(findKubeApiServer);
const APPLIED: EffectResult = { kind: 'applied', drift: [] };
const ALREADY: EffectResult = { kind: 'already' };
const RELEASE = fromRelease('v2', {});
const QUARTER = { stable: 75, canary: 25, baseline: 0 };
const ALL_CANARY = { stable: 0, canary: 100, baseline: 0 };

let plane: ControlPlane;
let client: KubeClient;

beforeAllOnKube(skip, async (started) => {
  plane = started;
  client = clientOf(plane, 'slipway');
  await plane.apply([VIRTUAL_SERVICES]);
});

/** Enough of Istio's definition for an API server to keep such objects. */
const VIRTUAL_SERVICES: KubeObject = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'virtualservices.networking.istio.io' },
  spec: {
    group: 'networking.istio.io',
    names: {
      kind: 'VirtualService',
      listKind: 'VirtualServiceList',
      plural: 'virtualservices',
      singular: 'virtualservice',
    },
    scope: 'Namespaced',
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};

/** A service at rest, with what else it needs, and a rollout of it that has been opened. */
async function opened(
  route: KubernetesRoute | undefined,
  replicas: number,
  more: (namespace: string) => readonly KubeObject[] = () => [],
): Promise<{ rollout: Rollout<KubernetesTarget>; namespace: string }> {
  const namespace = `s-${randomUUID().slice(0, 8)}`;
  await applyService(plane, { namespace, replicas });
  await plane.apply(more(namespace));
  const rollout = kubeRollout(client, namespace, 'r1', { route });
  await rollout.ready('stable', replicas);
  await until('preflight finds nothing', async () => {
    const found = await rollout.platform.preflight(rollout.scope, { replicas: 1, shares: [] });
    return found.length === 0;
  });
  assert.equal((await rollout.claim()).kind, 'granted');
  assert.deepEqual(await rollout.apply({ op: 'open-rollout' }), APPLIED);
  assert.deepEqual(await rollout.apply({ op: 'raise-fence' }), APPLIED);
  return { rollout, namespace };
}

async function startCanary(rollout: Rollout<KubernetesTarget>, replicas: number): Promise<void> {
  assert.deepEqual(await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas }), APPLIED);
  await rollout.ready('canary', replicas);
}

async function setWeights(rollout: Rollout<KubernetesTarget>, weights: typeof QUARTER): Promise<EffectResult> {
  return rollout.apply({ op: 'set-weights', weights });
}

/** Cuts the traffic as a rollback does, and says what came of it, and of which calls it was made. */
async function cut(rollout: Rollout<KubernetesTarget>): Promise<{ result: EffectResult; calls: string[] }> {
  // What was just told on it is a new generation, of which nothing is known until the controller has seen it.
  await rollout.ready('stable', 1);
  const effect: Effect = { op: 'cut-traffic' };
  const calls: string[] = [];
  const counted = clientOf(plane, 'slipway', ({ method, resource }) => calls.push(`${method} ${resource}`));
  const { scope } = rollout;
  const platform = platformOn(counted, scope.target.namespace);
  const result = await platform.apply(scope, effect, rollout.permit(effect, 'overwrite'));
  return { result, calls: calls.toSorted() };
}

/** All that a cut may ask and write: each further call is paid for by users, where many canaries turn bad at once. */
function callsOf(routes: string): readonly string[] {
  return ['GET configmaps', 'GET deployments', `GET ${routes}`, `PUT ${routes}`];
}

/** A second route to the service. */
function innerRoute(where: string): readonly KubeObject[] {
  return [
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'inner', namespace: where },
      spec: {
        parentRefs: [{ name: 'edge', namespace: 'default' }],
        hostnames: [`inner.${where}.example.com`],
        rules: [{ backendRefs: [{ name: 'hello', port: 80 }] }],
      },
    },
  ];
}

/** An autoscaler of the service, of two to six replicas. */
function autoscalerOf(where: string): readonly KubeObject[] {
  return [
    {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'hello', namespace: where },
      spec: {
        minReplicas: 2,
        maxReplicas: 6,
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'hello' },
      },
    },
  ];
}

async function limitsIn(namespace: string): Promise<{ minReplicas?: number; maxReplicas?: number }> {
  return (await client.list('horizontalpodautoscalers', namespace, null, undefined))[0]?.['spec'] as object;
}

describe('traffic that is split', { skip, concurrency: 5 }, () => {
  test('with an autoscaler: a cut leaves it pinned, and the rest of the way back gives it its own limit again', async () => {
    const { rollout, namespace } = await opened(undefined, 3, autoscalerOf);
    await startCanary(rollout, 1);
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.deepEqual(await cut(rollout), { result: APPLIED, calls: callsOf('httproutes') });
    assert.equal((await limitsIn(namespace)).minReplicas, 3);
    assert.equal((await setWeights(rollout, QUARTER)).kind, 'refused');
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    assert.equal((await limitsIn(namespace)).minReplicas, 2, 'as its owner wrote it');
  });

  test('with an autoscaler: it can’t make stable smaller until all traffic is back, and no late step pins it again', async () => {
    const { rollout, namespace } = await opened(undefined, 3, autoscalerOf);
    const autoscaler = () => limitsIn(namespace);
    const scaleStable = async (replicas: number): Promise<unknown> =>
      plane.request(
        'PATCH',
        `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
        { spec: { replicas } },
        'application/merge-patch+json',
      );
    const size = async (): Promise<number | undefined> =>
      (await rollout.platform.describe(rollout.scope)).arms.stable?.replicas;

    assert.equal((await rollout.platform.describe(rollout.scope)).autoscaled, true);
    await startCanary(rollout, 1);
    assert.equal((await autoscaler()).minReplicas, 2, 'pinned before any traffic has moved');
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.equal((await autoscaler()).minReplicas, 3, 'what was recorded');
    // The load grows: the autoscaler makes stable larger, and that is no drift; who watches is told of the size.
    await scaleStable(5);
    await rollout.ready('stable', 5);
    assert.deepEqual(await rollout.platform.inspect(rollout.scope), { disturbances: [], stableReplicas: 5 });
    await startCanary(rollout, 5);
    const late = rollout.permit({ op: 'set-weights', weights: ALL_CANARY });
    assert.deepEqual(await setWeights(rollout, ALL_CANARY), APPLIED);
    assert.deepEqual(await autoscaler(), { ...(await autoscaler()), minReplicas: 5, maxReplicas: 6 });

    assert.deepEqual(await rollout.apply({ op: 'set-stable-template', template: RELEASE, replicas: 3 }), APPLIED);
    assert.equal(await size(), 5, 'stable is never made smaller');
    await rollout.ready('stable', 5);
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    const restored = await autoscaler();
    assert.equal(restored.minReplicas, 2, 'as its owner wrote it');
    const stale = await rollout.platform.apply(rollout.scope, { op: 'set-weights', weights: ALL_CANARY }, late);
    assert.equal(stale.kind, 'stale');
    assert.deepEqual(await autoscaler(), restored);

    // Outside a rollout the limit is its owner's: what Slipway had left there is nothing that the next one must find.
    const [{ metadata } = assert.fail('the autoscaler is gone')] = await client.list(
      'horizontalpodautoscalers',
      namespace,
      null,
      undefined,
    );
    await plane.request(
      'PATCH',
      `/apis/autoscaling/v2/namespaces/${namespace}/horizontalpodautoscalers/${metadata.name}`,
      { spec: { minReplicas: 1 } },
      'application/merge-patch+json',
    );
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.equal((await autoscaler()).minReplicas, 5);
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    assert.equal((await autoscaler()).minReplicas, 1, 'as its owner wrote it last');
  });

  test('by the number of replicas: one Service for all arms, and no share is a size of none', async () => {
    const { rollout, namespace } = await opened({ kind: 'none', maxExcessPoints: 50 }, 3);
    await startCanary(rollout, 1);
    assert.deepEqual(await setWeights(rollout, QUARTER), ALREADY, 'the canary has its share since it can serve');
    const endpoints = async (): Promise<number> => {
      const slices = await client.list('endpointslices', namespace, 'kubernetes.io/service-name=hello', undefined);
      return slices.flatMap((slice) => slice['endpoints'] as readonly object[]).length;
    };
    await until('the canary is one of four', async () => (await endpoints()) === 4);
    const reason = 'shares of traffic follow from the numbers of replicas';
    assert.deepEqual((await cut(rollout)).result, { kind: 'declined', reason });
    assert.equal(await client.get('services', namespace, 'hello-canary', undefined), null);
    const canary = await client.get('deployments', namespace, 'hello-canary', undefined);
    const spec = canary?.['spec'] as { selector: { matchLabels: object } } | undefined;
    assert.deepEqual(spec?.selector.matchLabels, { app: 'hello', 'slipway.dev/arm': 'canary' });

    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    await until('only stable is left', async () => (await endpoints()) === 3);
    const { arms } = await rollout.platform.describe(rollout.scope);
    assert.deepEqual([arms.canary?.replicas, arms.stable?.replicas], [0, 3]);
    assert.deepEqual(await rollout.apply({ op: 'remove-arm', arm: 'canary' }), APPLIED);
    assert.deepEqual(await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' }), APPLIED);
    const stable = await client.get('deployments', namespace, 'hello', undefined);
    assert.equal((stable?.['spec'] as { replicas: number } | undefined)?.replicas, 3);
  });

  test('by an Ingress of ingress-nginx: the canary has one of its own, which goes with the rollout', async () => {
    const { rollout, namespace } = await opened({ kind: 'Ingress', name: 'hello' }, 2, (where) => [
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: { name: 'hello', namespace: where },
        spec: {
          ingressClassName: 'nginx',
          rules: [
            {
              host: 'a.example',
              http: {
                paths: [
                  { path: '/', pathType: 'Prefix', backend: { service: { name: 'hello', port: { number: 80 } } } },
                ],
              },
            },
          ],
        },
      },
    ]);
    const ingress = (name: string): Promise<KubeObject | null> => client.get('ingresses', namespace, name, undefined);
    const owners = await ingress('hello');
    const weight = async (): Promise<string | undefined> =>
      (await ingress('hello-canary'))?.metadata.annotations?.['nginx.ingress.kubernetes.io/canary-weight'];
    await startCanary(rollout, 1);
    const late = rollout.permit({ op: 'set-weights', weights: QUARTER });
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.equal(await weight(), '25');
    assert.deepEqual((await rollout.platform.describe(rollout.scope)).weights, QUARTER);
    assert.deepEqual(await cut(rollout), { result: APPLIED, calls: callsOf('ingresses') });
    assert.equal(await weight(), '0');
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    assert.equal(await weight(), '0', 'it stays, with a fence that refuses whoever is late');
    const stale = await rollout.platform.apply(rollout.scope, { op: 'set-weights', weights: QUARTER }, late);
    assert.equal(stale.kind, 'stale');
    await rollout.apply({ op: 'remove-arm', arm: 'canary' }).catch(() => undefined);
    assert.deepEqual(await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' }), APPLIED);
    await until('it is collected', async () => (await ingress('hello-canary')) === null);
    assert.deepEqual(await ingress('hello'), owners, 'the owner’s own was never written');
  });

  test('no pod is taken away before the time is over that requests may still be on their way to it', async () => {
    const { rollout } = await opened({ kind: 'HTTPRoute', name: 'hello', drainMs: 7000 }, 1, () => []);
    await startCanary(rollout, 1);
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    const begunMs = Date.now();
    // Stable has lost nothing: what goes back to it does not wait.
    await rollout.apply({ op: 'set-stable-template', template: { from: 'recorded' }, replicas: 1 });
    assert.ok(Date.now() - begunMs < 5000, `after ${Date.now() - begunMs} ms`);
    await assert.rejects(rollout.apply({ op: 'remove-arm', arm: 'canary' }), /requests may still be on their way/);
    await until('it is removed', async () => {
      const result = await rollout.apply({ op: 'remove-arm', arm: 'canary' }).catch(() => null);
      return result?.kind === 'applied';
    });
    // The API server's times have whole seconds.
    assert.ok(Date.now() - begunMs > 5000, `after ${Date.now() - begunMs} ms`);
  });

  test('a load balancer outside of the cluster knows of the canary before it gets a share, by each route', async () => {
    const settlesMs = 12_000;
    const { rollout, namespace } = await opened(
      { kind: 'HTTPRoute', name: 'hello', multiRoute: 'allow', drainMs: settlesMs },
      1,
      innerRoute,
    );
    const entriesOf = async (route: string): Promise<readonly string[]> => {
      const live = await client.get('httproutes', namespace, route, undefined);
      assert.ok(live !== null);
      const { rules } = live['spec'] as { rules: { backendRefs: { name: string; weight?: number }[] }[] };
      return rules.flatMap(({ backendRefs }) => backendRefs.map(({ name, weight }) => `${name} ${weight}`));
    };
    const entries = async (): Promise<readonly string[]> => {
      const [hello, inner] = [await entriesOf('hello'), await entriesOf('inner')];
      assert.deepEqual(inner, hello, 'both routes say the same');
      return hello;
    };
    const scaled = (replicas: number) =>
      plane.request(
        'PATCH',
        `/apis/apps/v1/namespaces/${namespace}/deployments/hello-canary/scale`,
        { spec: { replicas } },
        'application/merge-patch+json',
      );
    await startCanary(rollout, 1);
    const late = rollout.permit({ op: 'set-weights', weights: QUARTER });
    const begunMs = Date.now();
    const waits = /HTTPRoute s-\w+\/hello names canary without a share for 12 s/;
    await assert.rejects(setWeights(rollout, QUARTER), waits);
    assert.deepEqual(await entries(), ['hello 1', 'hello-canary 0']);
    assert.deepEqual((await rollout.platform.describe(rollout.scope)).weights, ALL_STABLE);
    assert.deepEqual((await rollout.platform.inspect(rollout.scope)).disturbances, []);
    await scaled(0);
    await until(
      'the wait is over, and nobody would answer',
      () =>
        setWeights(rollout, QUARTER).then(
          () => assert.fail('nobody could have answered'),
          (error: Error) => error.message === 'canary: none of its replicas can serve any more',
        ),
      40_000,
    );
    // The API server's times have whole seconds.
    assert.ok(Date.now() - begunMs > settlesMs - 1500, `after ${Date.now() - begunMs} ms`);
    assert.deepEqual(await entries(), ['hello 1', 'hello-canary 0']);
    await scaled(1);
    await rollout.ready('canary', 1);
    const moreMs = Date.now();
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.deepEqual(await entries(), ['hello 75', 'hello-canary 25']);
    assert.deepEqual(await setWeights(rollout, { stable: 50, canary: 50, baseline: 0 }), APPLIED);
    assert.ok(
      Date.now() - moreMs < settlesMs - 1500,
      'both routes are waited for at once, and nobody for more of a share',
    );

    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    assert.deepEqual(await entries(), ['hello 1']);
    await assert.rejects(setWeights(rollout, QUARTER), waits);
    assert.deepEqual(await entries(), ['hello 1', 'hello-canary 0']);
    assert.deepEqual(await rollout.apply({ op: 'set-weights', weights: ALL_STABLE }, 'overwrite'), APPLIED);
    assert.deepEqual(await entries(), ['hello 1'], 'who goes back before it had a share leaves nothing of it');
    const stale = await rollout.platform.apply(rollout.scope, { op: 'set-weights', weights: QUARTER }, late);
    assert.equal(stale.kind, 'stale');
    assert.deepEqual(await entries(), ['hello 1'], 'who is late names nobody');
  });

  test('by two HTTPRoutes, where that is allowed: both have the same weights, and both are fenced', async () => {
    const { rollout, namespace } = await opened(
      { kind: 'HTTPRoute', name: 'hello', multiRoute: 'allow' },
      1,
      innerRoute,
    );
    const backends = async (name: string): Promise<readonly string[]> => {
      const route = await client.get('httproutes', namespace, name, undefined);
      const spec = route?.['spec'] as { rules: { backendRefs: { name: string; weight: number }[] }[] } | undefined;
      return (spec?.rules ?? []).flatMap(({ backendRefs }) => backendRefs.map((ref) => `${ref.name} ${ref.weight}`));
    };
    await startCanary(rollout, 1);
    const late = rollout.permit({ op: 'set-weights', weights: ALL_CANARY });
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    for (const name of ['hello', 'inner'])
      assert.deepEqual(await backends(name), ['hello 75', 'hello-canary 25'], name);
    assert.deepEqual(await cut(rollout), { result: APPLIED, calls: [...callsOf('httproutes'), 'PUT httproutes'] });
    for (const name of ['hello', 'inner']) assert.deepEqual(await backends(name), ['hello 1'], name);
    const stale = await rollout.platform.apply(rollout.scope, { op: 'set-weights', weights: ALL_CANARY }, late);
    assert.equal(stale.kind, 'stale');
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    for (const name of ['hello', 'inner']) assert.deepEqual(await backends(name), ['hello 1'], name);
  });

  test('by a VirtualService of Istio: a destination for each arm, and afterwards as it was', async () => {
    const { rollout, namespace } = await opened({ kind: 'VirtualService', name: 'hello' }, 2, (where) => [
      {
        apiVersion: 'networking.istio.io/v1',
        kind: 'VirtualService',
        metadata: { name: 'hello', namespace: where },
        spec: { hosts: ['a.example'], http: [{ route: [{ destination: { host: 'hello' } }] }] },
      },
    ]);
    const spec = async (): Promise<unknown> =>
      (await client.get('virtualservices', namespace, 'hello', undefined))?.['spec'];
    const written = await spec();
    await startCanary(rollout, 1);
    assert.deepEqual(await setWeights(rollout, QUARTER), APPLIED);
    assert.deepEqual(await spec(), {
      hosts: ['a.example'],
      http: [
        {
          route: [
            { destination: { host: 'hello' }, weight: 75 },
            { destination: { host: 'hello-canary' }, weight: 25 },
          ],
        },
      ],
    });
    // Somebody takes stable away: it could not carry any of the traffic. With one pod fewer than it had it can.
    const scaleStable = async (replicas: number): Promise<unknown> =>
      plane.request(
        'PATCH',
        `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
        { spec: { replicas } },
        'application/merge-patch+json',
      );
    await scaleStable(0);
    const result = await rollout.apply({ op: 'cut-traffic' }, 'overwrite');
    assert.match(result.kind === 'declined' ? result.reason : '', /^stable: none of its replicas can serve$/);
    await scaleStable(1);
    await rollout.ready('stable', 1);
    assert.equal((await rollout.platform.describe(rollout.scope)).progressMs, 600_000, 'as the API server fills it in');
    assert.deepEqual(await cut(rollout), { result: APPLIED, calls: callsOf('virtualservices') });
    assert.deepEqual(await spec(), written);
    assert.deepEqual(await setWeights(rollout, ALL_STABLE), APPLIED);
    assert.deepEqual(await spec(), written);
  });

  test('is told on the Deployment: an Event once for each step, and where the rollout stands', async () => {
    const { rollout, namespace } = await opened(undefined, 1);
    const effects: readonly Effect[] = [
      { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 },
      { op: 'set-weights', weights: QUARTER },
    ];
    for (const effect of effects) {
      const permit = rollout.permit(effect);
      for (let times = 0; times < 3; times++) await rollout.platform.apply(rollout.scope, effect, permit);
    }
    const events = (await plane.request('GET', `/apis/events.k8s.io/v1/namespaces/${namespace}/events`)) as unknown as {
      items: { reportingController: string; reason: string; note: string; regarding: { name: string } }[];
    };
    const own = events.items.filter(({ reportingController }) => reportingController === 'slipway.dev/worker');
    assert.deepEqual(own.map(({ reason, note }) => `${reason}: ${note}`).toSorted(), [
      'CanaryStarted: canary: 1 replicas of hello:v2 (rollout r1)',
      'RolloutStarted: recorded what serves now (rollout r1)',
      'TrafficShifted: traffic: stable 75 %, canary 25 %, baseline 0 % (rollout r1)',
    ]);
    const stable = await client.get('deployments', namespace, 'hello', undefined);
    const status = JSON.parse(stable?.metadata.annotations?.[STATUS_ANNOTATION] ?? '{}') as Record<string, string>;
    const { lastTransitionTime, ...said } = status;
    assert.ok(Math.abs(Date.parse(lastTransitionTime ?? '') - Date.now()) < 60_000);
    assert.deepEqual(said, {
      type: 'Progressing',
      status: 'True',
      reason: 'TrafficShifted',
      message: 'traffic: stable 75 %, canary 25 %, baseline 0 %',
      rollout: 'r1',
      fence: said['fence'],
    });
  });
});

test('calls share connections: a TLS handshake costs more than a call', { skip }, async () => {
  const fresh = clientOf(plane, 'admin');
  let connected = 0;
  const count = (): void => void (connected += 1);
  subscribe('undici:client:connected', count);
  for (let calls = 0; calls < 20; calls++) await fresh.list('services', 'default', null, undefined);
  unsubscribe('undici:client:connected', count);
  assert.ok(connected >= 1 && connected <= 2, `${connected} connections for 20 calls`);
});
