/** The platform `kubernetes` on a real API server: its promises, one by one, with the audit log as the ground truth. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import type { KubeClient, KubeObject } from '../../../activities/kubernetes/kube-client.js';
import { digestOf } from '../../../domain/canonical.js';
import { ALL_STABLE } from '../../../domain/target.js';
import type { Effect, EffectResult } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';
import { appliedWrites } from '../../../tools/audit.js';
import { until } from '../../support/drive.js';
import { fromRelease } from '../local/rollout-support.js';
import { beforeAllOnKube, clientOf, kubeRollout, platformOn, restingService } from './kube-support.js';

const skip = await reasonToSkip(findKubeApiServer);
const APPLIED: EffectResult = { kind: 'applied', drift: [] };
const TO_CANARY = { stable: 90, canary: 10, baseline: 0 };

let plane: ControlPlane;
let client: KubeClient;
/** A person with kubectl, or another tool. */
let other: KubeClient;

beforeAllOnKube(skip, (started) => {
  plane = started;
  client = clientOf(plane, 'slipway');
  other = clientOf(plane, 'admin');
});

/** A service of its own for each test, at rest. */
async function service(replicas = 2): Promise<string> {
  const namespace = `t-${randomUUID().slice(0, 8)}`;
  await restingService(plane, client, namespace, replicas);
  return namespace;
}

async function object(
  resource: Parameters<KubeClient['get']>[0],
  namespace: string,
  name: string,
): Promise<KubeObject | null> {
  return other.get(resource, namespace, name, undefined);
}

function specOf<Spec>(found: KubeObject | null): Spec {
  assert.ok(found !== null);
  return found['spec'] as Spec;
}

/** Waits until what is collected has gone. */
async function gone(resource: Parameters<KubeClient['get']>[0], namespace: string, name: string): Promise<void> {
  for (const until = Date.now() + 15_000; (await object(resource, namespace, name)) !== null;) {
    assert.ok(Date.now() < until, `${resource} ${name} is still there`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A whole rollout with everything that it may do. */
const RELEASE = fromRelease('v2', { FLAG: 'on' });
const LIFE: readonly Effect[] = [
  { op: 'open-rollout' },
  { op: 'raise-fence' },
  { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 },
  { op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 },
  { op: 'set-weights', weights: { stable: 80, canary: 10, baseline: 10 } },
  { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 2 },
  { op: 'set-weights', weights: { stable: 0, canary: 100, baseline: 0 } },
  { op: 'remove-arm', arm: 'baseline' },
  { op: 'set-stable-template', template: RELEASE, replicas: 2 },
  { op: 'set-weights', weights: ALL_STABLE },
  { op: 'remove-arm', arm: 'canary' },
  { op: 'close-rollout', outcome: 'completed' },
];

describe('effects on Kubernetes', { skip, concurrency: 5 }, () => {
  test('each effect of a rollout is done once, though two workers do each twice', async () => {
    const namespace = await service();
    const routeBefore = await object('httproutes', namespace, 'hello');
    const rollout = kubeRollout(client, namespace, 'r2');
    assert.deepEqual(await rollout.claim(), { kind: 'granted', generation: 1 });
    const twin = platformOn(clientOf(plane, 'slipway'), namespace);

    for (const effect of LIFE) {
      const permit = rollout.permit(effect);
      const results = await Promise.all(
        [rollout.platform, twin, rollout.platform, twin].map((platform) =>
          platform.apply(rollout.scope, effect, permit),
        ),
      );
      results.push(await rollout.platform.apply(rollout.scope, effect, permit));
      const kinds = results.map(({ kind }) => kind);
      assert.ok(kinds.includes('applied'), `${effect.op}: ${JSON.stringify(results)}`);
      assert.ok(
        kinds.every((kind) => kind === 'applied' || kind === 'already'),
        `${effect.op}: ${JSON.stringify(results)}`,
      );
      if (effect.op === 'set-stable-template') await rollout.ready('stable', 2);
    }

    const writes = (await appliedWrites(plane.auditLog, namespace)).filter(({ key }) => key?.startsWith('r2/test/'));
    assert.deepEqual(new Set(writes.map(({ user }) => user)), new Set(['slipway']));
    const done = writes.map(({ key, object: name }) => `${key} ${name}`);
    assert.deepEqual(
      done.filter((each, index) => done.indexOf(each) !== index),
      [],
      'a key was applied twice to one object',
    );

    const after_ = await rollout.platform.describe(rollout.scope);
    assert.deepEqual(Object.keys(after_.arms), ['stable']);
    assert.equal(after_.arms.stable?.version, 'hello:v2 + proxy:1.0');
    assert.deepEqual(after_.weights, ALL_STABLE);
    assert.deepEqual(after_.anchor?.ended, [{ rolloutId: 'r2', outcome: 'completed' }]);
    // What Slipway made is gone, and what it found is as it was but for the release.
    await gone('services', namespace, 'hello-canary');
    await gone('services', namespace, 'hello-baseline');
    const route = await object('httproutes', namespace, 'hello');
    assert.deepEqual(route?.['spec'], routeBefore?.['spec'], 'the route is as its owner wrote it');
    const stable = await object('deployments', namespace, 'hello');
    assert.equal(stable?.metadata.annotations?.['example.com/owner'], 'team-a');
    const { template } = specOf<{ template: { spec: { containers: { env?: unknown }[] } } }>(stable);
    assert.deepEqual(template.spec.containers[0]?.env, [
      { name: 'GREETING', value: 'hi' },
      { name: 'FLAG', value: 'on' },
    ]);
  });

  test('a canary of a stable that has a disruption budget is evicted pod by pod, and its budget goes with the rollout', async () => {
    const namespace = await service();
    const budget: KubeObject = {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'hello', namespace },
      spec: { minAvailable: '50%', selector: { matchLabels: { app: 'hello' } } },
    };
    await plane.apply([budget]);
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    for (const replicas of [1, 2])
      assert.deepEqual(await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas }), APPLIED);
    await rollout.ready('canary', 2);
    const evictable = async (allowed: number): Promise<void> => {
      for (const until = Date.now() + 15_000; ;) {
        const found = (await object('poddisruptionbudgets', namespace, 'hello-canary'))?.['status'];
        const { disruptionsAllowed, expectedPods } = (found ?? {}) as Readonly<Record<string, number>>;
        if (disruptionsAllowed === allowed && expectedPods === 2) return;
        assert.ok(Date.now() < until, JSON.stringify(found));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    await evictable(1);
    const pods = (await other.list('pods', namespace, 'slipway.dev/arm=canary', undefined)).map(
      ({ metadata }) => metadata.name,
    );
    const evict = (name = ''): Promise<unknown> =>
      plane.request('POST', `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name, namespace },
      });
    await evict(pods[0]);
    await assert.rejects(evict(pods[1]), /disruption budget/);
    await rollout.apply({ op: 'remove-arm', arm: 'canary' });
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' });
    await gone('poddisruptionbudgets', namespace, 'hello-canary');
    assert.ok(await object('poddisruptionbudgets', namespace, 'hello'));
  });

  test('a rollback restores the recorded template to the byte, and the route', async () => {
    const namespace = await service();
    const deployed = await object('deployments', namespace, 'hello');
    const route = await object('httproutes', namespace, 'hello');
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    const { recorded } = await rollout.platform.describe(rollout.scope);
    assert.equal(recorded?.version, 'hello:v1 + proxy:1.0');
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    assert.deepEqual(await rollout.apply({ op: 'set-weights', weights: TO_CANARY }), APPLIED);
    await rollout.apply({ op: 'set-stable-template', template: RELEASE, replicas: 2 });

    await rollout.claim('recover');
    assert.deepEqual(await rollout.apply({ op: 'raise-fence' }, 'overwrite'), APPLIED);
    for (const effect of [
      { op: 'set-weights', weights: ALL_STABLE },
      { op: 'set-stable-template', template: { from: 'recorded' }, replicas: 2 },
      { op: 'remove-arm', arm: 'canary' },
      { op: 'close-rollout', outcome: 'rolled-back' },
    ] as const)
      assert.equal((await rollout.apply(effect, 'overwrite')).kind, 'applied', effect.op);
    const template = (found: KubeObject | null): unknown => specOf<{ template: unknown }>(found).template;
    const now = await object('deployments', namespace, 'hello');
    assert.deepEqual(template(now), template(deployed));
    assert.equal(digestOf(template(now)), recorded?.templateDigest);
    assert.deepEqual((await object('httproutes', namespace, 'hello'))?.['spec'], route?.['spec']);
  });

  test('siblings get nothing of the traffic of stable, and no two arms share a selector', async () => {
    const namespace = await service();
    const labelSelector = { matchLabels: { app: 'hello' } };
    const spread = {
      labelSelector,
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'ScheduleAnyway',
    };
    const term = { labelSelector, topologyKey: 'kubernetes.io/hostname' };
    const podAntiAffinity = { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: term }] };
    await plane.request(
      'PATCH',
      `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
      { spec: { template: { spec: { affinity: { podAntiAffinity }, topologySpreadConstraints: [spread] } } } },
      'application/merge-patch+json',
    );
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.ready('stable', 2);
    await until(
      'the old pods are gone',
      async () => (await other.list('pods', namespace, null, undefined)).length === 2,
    );
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 2 });
    await rollout.apply({ op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 });
    await rollout.ready('canary', 2);
    await rollout.ready('baseline', 1);
    const selectors = await Promise.all(
      ['hello', 'hello-canary', 'hello-baseline'].map(async (name) => {
        const found = await object('deployments', namespace, name);
        return specOf<{ selector: { matchLabels: Record<string, string> } }>(found).selector.matchLabels;
      }),
    );
    const pods = await other.list('pods', namespace, null, undefined);
    assert.equal(pods.length, 5);
    for (const pod of pods) {
      const chosenBy = selectors.filter((selector) =>
        Object.entries(selector).every(([key, value]) => pod.metadata.labels?.[key] === value),
      );
      assert.equal(chosenBy.length, 1, `${pod.metadata.name} is chosen by ${chosenBy.length} Deployments`);
    }
    const slices = await other.list('endpointslices', namespace, 'kubernetes.io/service-name=hello', undefined);
    const addresses = slices.flatMap((slice) => slice['endpoints'] as readonly unknown[]);
    assert.equal(addresses.length, 2, 'stable’s Service has the pods of stable only');
    const { arms } = await rollout.platform.describe(rollout.scope);
    assert.equal(arms.baseline?.templateDigest, arms.stable?.templateDigest, 'the baseline is stable’s copy');
    assert.equal(arms.canary?.version, 'hello:v2 + proxy:1.0');
    const canary = await object('deployments', namespace, 'hello-canary');
    assert.equal(
      canary?.metadata.annotations?.['example.com/owner'],
      undefined,
      'annotations of other tools stay behind',
    );
    assert.equal(canary?.metadata.labels?.['team'], 'a');
    const { template } = specOf<{ template: { spec: object } }>(canary);
    const placed = JSON.stringify(template.spec);
    assert.equal(placed.match(/"app":"hello-canary"/g)?.length, 2, 'it keeps away from its own pods');
    assert.doesNotMatch(placed, /"app":"hello"/);
    await rollout.apply({ op: 'set-stable-template', template: RELEASE, replicas: 2 });
    const promoted = specOf<{ template: { spec: object } }>(await object('deployments', namespace, 'hello'));
    assert.equal(JSON.stringify(promoted.template.spec), placed.replaceAll('hello-canary', 'hello'));
  });

  test('after the fence was raised no late attempt writes, not even where it had nothing to wait for', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    const late: readonly Effect[] = [
      { op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 },
      { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 2 },
      { op: 'set-weights', weights: TO_CANARY },
      { op: 'set-stable-template', template: RELEASE, replicas: 1 },
      { op: 'raise-fence' },
      { op: 'remove-arm', arm: 'canary' },
      { op: 'open-rollout' },
      { op: 'close-rollout', outcome: 'completed' },
    ];
    const permits = late.map((effect) => rollout.permit(effect, 'overwrite'));
    await rollout.claim('recover');
    await rollout.apply({ op: 'raise-fence' }, 'overwrite');
    // A fence is a change of stable that its controller has yet to see: a rollback reads right after it what can serve.
    const { arms } = await rollout.platform.describe(rollout.scope);
    assert.equal(arms.stable?.ready, arms.stable?.replicas);
    const raised = (await appliedWrites(plane.auditLog, namespace)).length;
    for (const [index, effect] of late.entries()) {
      const result = await rollout.platform.apply(rollout.scope, effect, permits[index] as (typeof permits)[number]);
      assert.equal(result.kind, 'stale', `${effect.op}: ${JSON.stringify(result)}`);
    }
    await rollout.apply({ op: 'remove-arm', arm: 'canary' }, 'overwrite');
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' }, 'overwrite');
    for (const [index, effect] of late.entries()) {
      const result = await rollout.platform.apply(rollout.scope, effect, permits[index] as (typeof permits)[number]);
      assert.notEqual(result.kind, 'applied', `${effect.op}: ${JSON.stringify(result)}`);
    }
    const after_ = (await appliedWrites(plane.auditLog, namespace)).filter(({ key }) =>
      permits.some((permit) => permit.key === key),
    );
    assert.deepEqual(after_, [], `${raised} writes before`);
  });

  test('a create that was decided before the rollback and arrives after it is collected', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    // A worker that is frozen between its read and its write.
    let thaw = (): void => undefined;
    const thawed = new Promise<void>((resolve) => (thaw = resolve));
    let reached = (): void => undefined;
    const atWrite = new Promise<void>((resolve) => (reached = resolve));
    const frozen: KubeClient = {
      ...client,
      async create(...args) {
        reached();
        await thawed;
        return client.create(...args);
      },
    };
    const effect: Effect = { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 };
    const zombie = platformOn(frozen, namespace).apply(rollout.scope, effect, rollout.permit(effect));
    await atWrite;
    await rollout.claim('recover');
    await rollout.apply({ op: 'raise-fence' }, 'overwrite');
    await rollout.apply({ op: 'close-rollout', outcome: 'rolled-back' }, 'overwrite');
    thaw();
    await zombie;
    await gone('deployments', namespace, 'hello-canary');
    await gone('services', namespace, 'hello-canary');
    const route = await object('httproutes', namespace, 'hello');
    assert.equal(JSON.stringify(route?.['spec']).includes('hello-canary'), false);
  });

  test('a value that someone else changed holds a rollout, and is written over and told in a rollback', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    const forward: Effect = { op: 'set-weights', weights: TO_CANARY };
    const permit = rollout.permit(forward);
    assert.deepEqual(await rollout.platform.apply(rollout.scope, forward, permit), APPLIED);

    const route = await object('httproutes', namespace, 'hello');
    assert.ok(route !== null);
    const spec = structuredClone(route['spec']) as { rules: { backendRefs: { name: string; weight: number }[] }[] };
    for (const ref of spec.rules[0]?.backendRefs ?? []) ref.weight = 50;
    assert.equal((await other.replace('httproutes', namespace, { ...route, spec }, undefined)).kind, 'written');
    for (const attempt of [permit, rollout.permit({ op: 'set-weights', weights: TO_CANARY })]) {
      const held = await rollout.platform.apply(rollout.scope, forward, attempt);
      assert.equal(held.kind, 'drift', JSON.stringify(held));
      assert.match(held.kind === 'drift' ? held.found : '', /"canary":50/);
    }
    const back = await rollout.apply({ op: 'set-weights', weights: ALL_STABLE }, 'overwrite');
    assert.match(back.kind === 'applied' ? back.drift.join() : '', /route: found .*50.* where Slipway had left .*90/);

    // A person deploys by hand in the middle of a rollout.
    await rollout.apply({ op: 'set-stable-template', template: RELEASE, replicas: 2 });
    await plane.request(
      'PATCH',
      `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
      { spec: { template: { spec: { containers: [{ name: 'app', image: 'registry.example/team/hello:hotfix' }] } } } },
      'application/strategic-merge-patch+json',
    );
    const drift = await rollout.apply({ op: 'set-stable-template', template: { from: 'recorded' }, replicas: 2 });
    assert.match(drift.kind === 'drift' ? drift.found : '', /hello:hotfix/);
    const undone = await rollout.apply({ op: 'raise-fence' });
    assert.deepEqual(undone, APPLIED, 'a fence is not about values');
  });

  test('an arm that never gets ready says why, in the words of its pods', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    const broken = fromRelease('crash');
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: broken, replicas: 1 });
    for (const until = Date.now() + 10_000; ;) {
      const now = await rollout.platform.readiness(rollout.scope, 'canary', 1);
      assert.equal(now.kind, 'waiting');
      if (/CrashLoopBackOff/.test(now.kind === 'waiting' ? (now.message ?? '') : '')) break;
      assert.ok(Date.now() < until, JSON.stringify(now));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });

  test('an arm whose pods run different bytes under one name is not ready: a tag was moved while they started', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 2 });
    await rollout.ready('canary', 2);
    const [pod] = (await other.list('pods', namespace, 'slipway.dev/arm=canary', undefined)).toSorted((one, two) =>
      one.metadata.name < two.metadata.name ? -1 : 1,
    );
    const moved = `registry.example/team/hello@sha256:${'b'.repeat(64)}`;
    await plane.request(
      'PATCH',
      `/api/v1/namespaces/${namespace}/pods/${pod?.metadata.name}/status`,
      { status: { containerStatuses: [{ name: 'app', imageID: moved }] } },
      'application/strategic-merge-patch+json',
    );
    const now = await rollout.platform.readiness(rollout.scope, 'canary', 2);
    assert.equal(now.kind, 'failed');
    assert.match(
      now.kind === 'failed' ? now.message : '',
      /hello:v2 \(container app\) is [0-9a-f]{12} in pod hello-canary-.* and [0-9a-f]{12} in pod hello-canary-.*deploy by digest$/,
    );
    assert.equal((await rollout.platform.readiness(rollout.scope, 'stable', 2)).kind, 'ready');
  });

  test('what can never be done is a value: no such container, a sibling that is somebody else’s', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    await rollout.claim();
    await rollout.apply({ op: 'open-rollout' });
    const images = { sidecar: 'registry.example/x:1' };
    const release = { digest: digestOf({ images, env: {} }), images, env: {} };
    const unknown = await rollout.apply({
      op: 'start-arm',
      arm: 'canary',
      template: { from: 'release', release },
      replicas: 1,
    });
    assert.match(
      unknown.kind === 'refused' ? unknown.reason : '',
      /no container sidecar: the Deployment's containers are app, proxy/,
    );
    const foreign = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'hello-canary', namespace } };
    await plane.apply([{ ...foreign, spec: { ports: [{ port: 80 }] } }]);
    const taken = await rollout.apply({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    assert.match(
      taken.kind === 'refused' ? taken.reason : '',
      /hello-canary is there already, and is not of this rollout/,
    );
    assert.equal(await object('deployments', namespace, 'hello-canary'), null, 'nothing half done');
  });

  test('anchors are found where the worker looks for them', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r2');
    assert.deepEqual(await rollout.platform.anchors(), { anchors: [], unreachable: [] });
    await rollout.claim();
    const [anchor] = (await rollout.platform.anchors()).anchors;
    assert.deepEqual(anchor?.current, { rolloutId: 'r2', claimant: 'rollout' });
    assert.deepEqual(anchor?.target, rollout.scope.target);
  });
});
