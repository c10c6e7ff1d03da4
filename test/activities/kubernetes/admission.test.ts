/** A cluster that makes something else of each Deployment as it is stored: what Slipway has left is what is found of it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { ANNOTATION } from '../../../activities/fenced/lane-view.js';
import type { KubeClient } from '../../../activities/kubernetes/kube-client.js';
import { ALL_STABLE } from '../../../domain/target.js';
import type { Effect, EffectResult } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { appliedWrites } from '../../../tools/audit.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';
import { until } from '../../support/drive.js';
import type { Rollout } from '../../support/rollout-steps.js';
import type { KubernetesTarget } from '../../../domain/target.js';
import { fromRelease } from '../local/rollout-support.js';
import { beforeAllOnKube, clientOf, kubeRollout, restingService } from './kube-support.js';

const skip = await reasonToSkip(findKubeApiServer);
const RELEASE = fromRelease('v2', { FLAG: 'on' });
const MIRRORED = 'mirror.example/team/hello:v2';

let plane: ControlPlane;
let client: KubeClient;
let other: KubeClient;

beforeAllOnKube(skip, (started) => {
  plane = started;
  client = clientOf(plane, 'slipway');
  other = clientOf(plane, 'admin');
});

const ADMISSION = 'admissionregistration.k8s.io/v1';

/** As Kyverno and its like do: images from the cluster's own registry, and a label on each pod. */
async function mirror(namespace: string): Promise<void> {
  const metadata = { name: `mirror-${namespace}` };
  const container = 'Object.spec.template.spec.containers';
  const expression = `Object{spec: Object.spec{template: Object.spec.template{
    metadata: Object.spec.template.metadata{labels: {"zone": "a"}},
    spec: Object.spec.template.spec{containers: object.spec.template.spec.containers.map(c,
      ${container}{name: c.name, image: c.image.replace("registry.example/", "mirror.example/")})}}}}`;
  await plane.apply([
    {
      apiVersion: ADMISSION,
      kind: 'MutatingAdmissionPolicy',
      metadata,
      spec: {
        matchConstraints: {
          namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
          resourceRules: [
            { apiGroups: ['apps'], apiVersions: ['v1'], operations: ['CREATE', 'UPDATE'], resources: ['deployments'] },
          ],
        },
        failurePolicy: 'Fail',
        reinvocationPolicy: 'Never',
        mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression } }],
      },
    },
    {
      apiVersion: ADMISSION,
      kind: 'MutatingAdmissionPolicyBinding',
      metadata,
      spec: { policyName: metadata.name },
    },
  ]);
}

async function imageOf(namespace: string, name: string): Promise<string | undefined> {
  const found = await other.get('deployments', namespace, name, undefined);
  const spec = found?.['spec'] as { template: { spec: { containers: { image: string }[] } } } | undefined;
  return spec?.template.spec.containers[0]?.image;
}

/** A service in a namespace of its own whose Deployment was changed as it was stored. */
async function service(): Promise<string> {
  const namespace = `t-${randomUUID().slice(0, 8)}`;
  await mirror(namespace);
  // The server takes a new policy into account a moment later.
  await until('the policy is in force', async () => {
    await restingService(plane, client, namespace);
    return (await imageOf(namespace, 'hello')) === 'mirror.example/team/hello:v1';
  });
  return namespace;
}

/** Each effect twice, as where no answer came to the first. */
async function done(
  rollout: Rollout<KubernetesTarget>,
  effect: Effect,
  onDrift: 'hold' | 'overwrite' = 'hold',
): Promise<void> {
  const permit = rollout.permit(effect, onDrift);
  const apply = (): Promise<EffectResult> => rollout.platform.apply(rollout.scope, effect, permit);
  assert.deepEqual(await apply(), { kind: 'applied', drift: [] }, effect.op);
  assert.deepEqual(await apply(), { kind: 'already' }, `${effect.op}, again`);
}

describe('where the cluster changes what is stored', { skip, concurrency: 2 }, () => {
  test('a release is watched without a disturbance, promoted, and the next one finds stable as it was left', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r1');
    const seen = async () => (await rollout.platform.inspect(rollout.scope)).disturbances;
    await rollout.claim();
    await done(rollout, { op: 'open-rollout' });
    await done(rollout, { op: 'raise-fence' });
    await done(rollout, { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    await done(rollout, { op: 'start-arm', arm: 'baseline', template: { from: 'recorded' }, replicas: 1 });
    await rollout.ready('canary', 1);
    await rollout.ready('baseline', 1);
    await done(rollout, { op: 'set-weights', weights: { stable: 80, canary: 10, baseline: 10 } });
    assert.equal(await imageOf(namespace, 'hello-canary'), MIRRORED);
    assert.deepEqual(await seen(), []);
    await done(rollout, { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 2 });
    await rollout.ready('canary', 2);
    await done(rollout, { op: 'set-weights', weights: { stable: 0, canary: 100, baseline: 0 } });
    await done(rollout, { op: 'set-stable-template', template: RELEASE, replicas: 2 });
    await rollout.ready('stable', 2);
    assert.equal(await imageOf(namespace, 'hello'), MIRRORED);
    assert.deepEqual(await seen(), []);
    await done(rollout, { op: 'set-weights', weights: ALL_STABLE });
    await done(rollout, { op: 'remove-arm', arm: 'canary' });
    await done(rollout, { op: 'remove-arm', arm: 'baseline' });
    await done(rollout, { op: 'close-rollout', outcome: 'completed' });

    const next = kubeRollout(client, namespace, 'r2');
    assert.deepEqual(await next.platform.preflight(next.scope, { replicas: 1, shares: [] }), []);
    // The log has the questions too: none of them is taken for a write, and each key was written once.
    const writes = (await appliedWrites(plane.auditLog, namespace)).filter(({ key }) => key?.startsWith('r1/test/'));
    const names = writes.map(({ key, object }) => `${key} ${object}`);
    assert.deepEqual(
      names.filter((each, index) => names.indexOf(each) !== index),
      [],
    );
    assert.ok(writes.length >= 8, names.join('\n'));
  });

  test('stable is restored as it was, and what somebody else makes of a canary is seen all the same', async () => {
    const namespace = await service();
    const rollout = kubeRollout(client, namespace, 'r1');
    await rollout.claim();
    await done(rollout, { op: 'open-rollout' });
    await done(rollout, { op: 'raise-fence' });
    await done(rollout, { op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    await rollout.ready('canary', 1);
    await done(rollout, { op: 'set-weights', weights: { stable: 90, canary: 10, baseline: 0 } });
    await done(rollout, { op: 'set-stable-template', template: RELEASE, replicas: 2 });
    // Under the key of an effect that is done, but not for what it means now.
    const permit = rollout.permit({ op: 'start-arm', arm: 'canary', template: RELEASE, replicas: 1 });
    const start = (tag: string): Promise<EffectResult> =>
      rollout.platform.apply(
        rollout.scope,
        { op: 'start-arm', arm: 'canary', template: fromRelease(tag, { FLAG: 'on' }), replicas: 1 },
        permit,
      );
    assert.equal((await start('v2')).kind, 'applied');
    assert.equal((await start('v2')).kind, 'already');
    assert.equal((await start('v3')).kind, 'drift', 'a reset run means another release by the same key');

    await plane.request(
      'PATCH',
      `/apis/apps/v1/namespaces/${namespace}/deployments/hello-canary`,
      { spec: { template: { spec: { containers: [{ name: 'app', image: 'registry.example/team/hello:hotfix' }] } } } },
      'application/strategic-merge-patch+json',
    );
    const [harm] = (await rollout.platform.inspect(rollout.scope)).disturbances;
    assert.match(harm?.text ?? '', /somebody changed what it runs: it is hello:hotfix/);

    await rollout.claim('recover');
    await done(rollout, { op: 'raise-fence' }, 'overwrite');
    await done(rollout, { op: 'set-stable-template', template: { from: 'recorded' }, replicas: 2 }, 'overwrite');
    await rollout.ready('stable', 2);
    const { arms, recorded } = await rollout.platform.describe(rollout.scope);
    assert.equal(arms.stable?.templateDigest, recorded?.templateDigest);
    // Nothing was made of that: it is what the cluster had made of it before.
    const stable = await other.get('deployments', namespace, 'hello', undefined);
    assert.equal(stable?.metadata.annotations?.[ANNOTATION.meant], undefined);
    await done(rollout, { op: 'cut-traffic' }, 'overwrite');
  });

  test('an empty value in the release’s environment is no change that somebody makes', async () => {
    const namespace = `t-${randomUUID().slice(0, 8)}`;
    await restingService(plane, client, namespace);
    const rollout = kubeRollout(client, namespace, 'r1');
    await rollout.claim();
    await done(rollout, { op: 'open-rollout' });
    await done(rollout, { op: 'raise-fence' });
    const template = fromRelease('v2', { GREETING: '', FLAG: 'on' });
    await done(rollout, { op: 'start-arm', arm: 'canary', template, replicas: 1 });
    await rollout.ready('canary', 1);
    await done(rollout, { op: 'set-weights', weights: { stable: 90, canary: 10, baseline: 0 } });
    assert.deepEqual((await rollout.platform.inspect(rollout.scope)).disturbances, []);
    const canary = await other.get('deployments', namespace, 'hello-canary', undefined);
    assert.equal(canary?.metadata.annotations?.[ANNOTATION.meant], undefined, 'it is what was meant');
  });
});
