/** What templates refer to changes while a rollout is under way: seen, held, and recorded anew where a person says so. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { CONFIG_ANNOTATION } from '../../../activities/kubernetes/config-references.js';
import type { KubeClient } from '../../../activities/kubernetes/kube-client.js';
import { digestOf } from '../../../domain/canonical.js';
import { hashRelease } from '../../../domain/release.js';
import type { ConfigNames } from '../../../domain/release.js';
import type { Configuration, Effect, EffectResult, KubernetesTarget } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';
import type { Rollout } from '../../support/rollout-steps.js';
import { beforeAllOnKube, clientOf, kubeRollout, restingService } from './kube-support.js';

const skip = await reasonToSkip(findKubeApiServer);
const STRATEGIC = 'application/strategic-merge-patch+json';
const SECRET = 'hunter2-and-a-bit';

let plane: ControlPlane;
let client: KubeClient;

beforeAllOnKube(skip, (started) => {
  plane = started;
  client = clientOf(plane, 'slipway');
});

type Kind = 'ConfigMap' | 'Secret';
const at = (namespace: string, kind: Kind, name: string): string =>
  `/api/v1/namespaces/${namespace}/${kind === 'Secret' ? 'secrets' : 'configmaps'}/${name}`;

function change(namespace: string, kind: Kind, name: string, patch: object | null): Promise<unknown> {
  return patch === null
    ? plane.request('DELETE', at(namespace, kind, name))
    : plane.request('PATCH', at(namespace, kind, name), patch, STRATEGIC);
}

/** A service at rest whose template refers to `settings` and, optional, `extra`, and to the Secret `db`. */
async function service(rights: 'with secrets' | 'as installed' = 'as installed'): Promise<string> {
  const namespace = `t-${randomUUID().slice(0, 8)}`;
  await restingService(plane, client, namespace);
  const metadata = (name: string) => ({ name, namespace });
  await plane.apply([
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('settings'), data: { level: 'info' } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: metadata('settings-2'), data: { level: 'debug' } },
    { apiVersion: 'v1', kind: 'Secret', metadata: metadata('db'), stringData: { password: SECRET } },
    ...(rights === 'with secrets'
      ? [
          {
            apiVersion: 'rbac.authorization.k8s.io/v1',
            kind: 'Role',
            metadata: metadata('secrets'),
            rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get'], resourceNames: ['db'] }],
          },
          {
            apiVersion: 'rbac.authorization.k8s.io/v1',
            kind: 'RoleBinding',
            metadata: metadata('secrets'),
            roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'secrets' },
            subjects: [{ kind: 'User', name: 'slipway', apiGroup: 'rbac.authorization.k8s.io' }],
          },
        ]
      : []),
  ]);
  const envFrom = [
    { configMapRef: { name: 'settings' } },
    { configMapRef: { name: 'extra', optional: true } },
    { secretRef: { name: 'db' } },
  ];
  await plane.request(
    'PATCH',
    `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
    { spec: { template: { spec: { containers: [{ name: 'app', envFrom }] } } } },
    STRATEGIC,
  );
  await kubeRollout(client, namespace, 'nobody').ready('stable', 2);
  return namespace;
}

function releaseWith(config?: Partial<ConfigNames>) {
  return hashRelease({
    images: { app: 'registry.example/team/hello:v2' },
    env: {},
    ...(config === undefined ? {} : { config: { configMaps: {}, secrets: {}, ...config } }),
    change: { commit: null, author: null, message: null, files: null, truncated: false },
  });
}

const canary = (release = releaseWith(), replicas = 1): Effect => ({
  op: 'start-arm',
  arm: 'canary',
  template: { from: 'release', release },
  replicas,
});

async function opened(
  namespace: string,
  release = releaseWith(),
): Promise<{ readonly rollout: Rollout<KubernetesTarget>; readonly configuration: Configuration }> {
  const rollout = kubeRollout(client, namespace, 'r1');
  await rollout.claim();
  const effect: Effect = { op: 'open-rollout', release };
  const permit = rollout.permit(effect);
  const open = (): Promise<EffectResult> => rollout.platform.apply(rollout.scope, effect, permit);
  const [first, again] = [await open(), await open()];
  assert.ok(first.kind === 'applied' && first.configuration !== undefined, JSON.stringify(first));
  assert.deepEqual(again, { kind: 'already', configuration: first.configuration });
  assert.equal((await rollout.apply({ op: 'raise-fence' })).kind, 'applied');
  return { rollout, configuration: first.configuration };
}

const driftsOf = async (rollout: Rollout<KubernetesTarget>): Promise<readonly string[]> =>
  (await rollout.platform.inspect(rollout.scope)).disturbances.map(
    ({ kind, object, text }) => `${kind} ${object}: ${text}`,
  );

const contentOf = (level: string) => digestOf({ data: { level }, binaryData: {} });
const short = (level: string) => contentOf(level).slice(0, 'sha256:'.length + 12);

describe('what templates refer to', { skip, concurrency: 3 }, () => {
  test('is recorded, that of the release too; of a Secret its version alone, where the worker may', async () => {
    const config = { configMaps: { settings: 'settings-2' } };
    const with_ = await opened(await service('with secrets'), releaseWith(config));
    const { 'Secret db': version, ...maps } = with_.configuration;
    assert.match(version ?? '', /^version \d+$/);
    const expected = {
      'ConfigMap extra': 'none',
      'ConfigMap settings': contentOf('info'),
      'ConfigMap settings-2': contentOf('debug'),
    };
    assert.deepEqual(maps, expected);
    assert.deepEqual((await opened(await service(), releaseWith(config))).configuration, expected, 'as installed');
  });

  test('a Secret’s content does not come to the worker', async () => {
    const namespace = await service('with secrets');
    const found = await client.peek('secrets', namespace, 'db', undefined);
    assert.deepEqual(Object.keys(found ?? {}), ['apiVersion', 'kind', 'metadata']);
    // `kubectl apply` leaves a copy in the metadata.
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': SECRET, [CONFIG_ANNOTATION]: 'compare' };
    await change(namespace, 'Secret', 'db', { metadata: { annotations } });
    const copied = await client.peek('secrets', namespace, 'db', undefined);
    assert.deepEqual(copied?.metadata.annotations, { [CONFIG_ANNOTATION]: 'compare' });
    assert.ok(!JSON.stringify(copied).includes(SECRET));
    assert.equal(found?.kind, 'PartialObjectMetadata', 'it is the API server that leaves the content out');
    assert.equal(await client.peek('configmaps', namespace, 'nowhere', undefined), null);
  });

  test('changed: held before each step forward, and not where that was done; recorded anew it goes on', async () => {
    const namespace = await service();
    const { rollout } = await opened(namespace);
    const start = canary();
    const permit = rollout.permit(start);
    const again = (): Promise<EffectResult> => rollout.platform.apply(rollout.scope, start, permit);
    assert.equal((await again()).kind, 'applied');
    await rollout.ready('canary', 1);
    await change(namespace, 'ConfigMap', 'settings', { data: { level: 'trace' } });
    assert.deepEqual(await again(), { kind: 'already' }, 'what is there is not taken back');

    const weights: Effect = { op: 'set-weights', weights: { stable: 90, canary: 10, baseline: 0 } };
    const drift = {
      kind: 'drift',
      object: 'configuration',
      found: `ConfigMap settings ${short('trace')}`,
      expected: `ConfigMap settings ${short('info')}`,
    };
    assert.deepEqual(await rollout.apply(weights), drift);
    assert.deepEqual(await rollout.apply(canary(releaseWith({ configMaps: { settings: 'settings-2' } }))), drift);
    assert.equal((await rollout.apply(canary(releaseWith(), 2))).kind, 'applied', 'more of what there is is no step');
    const atLast = await rollout.apply({ op: 'set-weights', weights: { stable: 100, canary: 0, baseline: 0 } });
    assert.deepEqual(atLast, drift, 'a stable that was copied with it');
    const text = `it is ${drift.found}, and was ${drift.expected} when it was recorded; pods read it when they start, and from volumes at any time`;
    assert.deepEqual(await driftsOf(rollout), [`drift configuration: ${text}`]);
    assert.deepEqual(await driftsOf(rollout), [`drift configuration: ${text}`], 'it is not forgotten');

    const record: Effect = { op: 'record-configuration' };
    const recording = rollout.permit(record);
    const recorded = await rollout.platform.apply(rollout.scope, record, recording);
    assert.ok(recorded.kind === 'applied', JSON.stringify(recorded));
    assert.equal(recorded.configuration?.['ConfigMap settings'], contentOf('trace'));
    assert.equal((await rollout.platform.apply(rollout.scope, record, recording)).kind, 'already');
    await change(namespace, 'ConfigMap', 'settings', { data: { level: 'fatal' } });
    // A run that was reset means the same again, under a newer fence.
    const later = { ...rollout.permit(record), key: recording.key };
    const again_ = await rollout.platform.apply(rollout.scope, record, later);
    assert.ok(again_.kind === 'applied', JSON.stringify(again_));
    assert.equal(again_.configuration?.['ConfigMap settings'], contentOf('fatal'));
    assert.equal((await rollout.platform.apply(rollout.scope, record, recording)).kind, 'stale');
    assert.deepEqual(await driftsOf(rollout), []);
    assert.equal((await rollout.apply(weights)).kind, 'applied');
    const { recorded: stable, arms } = await rollout.platform.describe(rollout.scope);
    assert.equal(stable?.templateDigest, arms.stable?.templateDigest, 'what a rollback restores is still there');
  });

  test('gone, or there where it was not: held too', async () => {
    const namespace = await service();
    const { rollout } = await opened(namespace);
    await change(namespace, 'ConfigMap', 'settings', null);
    const { disturbances } = await rollout.platform.inspect(rollout.scope);
    assert.deepEqual(
      disturbances.map(({ object, passing }) => [object, passing]),
      [['configuration', true]],
      'it may be replaced just now',
    );
    const metadata = { name: 'extra', namespace };
    await plane.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { level: 'info' } }]);
    const [found, ...more] = await driftsOf(rollout);
    assert.deepEqual(more, []);
    assert.match(
      found ?? '',
      /it is ConfigMap extra sha256:\w{12}, ConfigMap settings none, and was ConfigMap extra none, /,
    );
  });

  test('a Secret: seen where the worker may, else not asked for', async () => {
    const seen = await service('with secrets');
    const { rollout } = await opened(seen);
    await change(seen, 'Secret', 'db', { stringData: { password: `${SECRET}!` } });
    const [found = ''] = await driftsOf(rollout);
    assert.match(found, /it is Secret db version \d+, and was Secret db version \d+ when/);
    assert.ok(!found.includes(SECRET));
    const unseen = await service();
    const other = await opened(unseen);
    await change(unseen, 'Secret', 'db', { stringData: { password: `${SECRET}!` } });
    assert.deepEqual(await driftsOf(other.rollout), []);
  });

  test('what is said to change by itself is left out', async () => {
    const namespace = await service();
    await change(namespace, 'ConfigMap', 'settings', { metadata: { annotations: { [CONFIG_ANNOTATION]: 'ignore' } } });
    const { rollout, configuration } = await opened(namespace);
    assert.deepEqual(configuration, { 'ConfigMap extra': 'none' });
    await change(namespace, 'ConfigMap', 'settings', { data: { level: 'trace' } });
    assert.deepEqual(await driftsOf(rollout), []);
  });

  test('the way back does not wait for it', async () => {
    const namespace = await service();
    const { rollout } = await opened(namespace);
    assert.equal((await rollout.apply(canary())).kind, 'applied');
    await change(namespace, 'ConfigMap', 'settings', { data: { level: 'trace' } });
    const back: Effect = { op: 'set-weights', weights: { stable: 100, canary: 0, baseline: 0 } };
    assert.notEqual((await rollout.apply(back, 'overwrite')).kind, 'drift');
    assert.equal((await rollout.apply({ op: 'remove-arm', arm: 'canary' }, 'overwrite')).kind, 'applied');
    assert.equal((await rollout.apply({ op: 'close-rollout', outcome: 'aborted' }, 'overwrite')).kind, 'applied');
  });

  test('preflight says what the release’s pods could not start without', async () => {
    const namespace = await service('with secrets');
    const findings = async (config?: Partial<ConfigNames>): Promise<readonly string[]> => {
      const { platform, scope } = kubeRollout(client, namespace, 'r1');
      const needs = { replicas: 1, shares: [], release: releaseWith(config) };
      return (await platform.preflight(scope, needs)).map(
        ({ severity, problem, remedy }) => `${severity}: ${problem} → ${remedy}`,
      );
    };
    assert.deepEqual(await findings(), []);
    assert.deepEqual(await findings({ configMaps: { settings: 'settings-2' } }), []);
    const start = 'pods of Deployment';
    assert.deepEqual(await findings({ configMaps: { settings: 'settings-3' } }), [
      `refuse: there is no ConfigMap ${namespace}/settings-3: ${start} ${namespace}/hello with this release refer to it, and would not start → apply it first, or name another one (--use-config-map)`,
    ]);
    assert.deepEqual(await findings({ configMaps: { other: 'settings-2' } }), [
      "refuse: the Deployment's template refers to no ConfigMap other: it refers to settings, extra → name the containers in slipway.yaml (images) as the Deployment does, and ConfigMaps and Secrets as its template does",
    ]);
    await plane.request(
      'PATCH',
      `/apis/apps/v1/namespaces/${namespace}/deployments/hello`,
      {
        spec: {
          template: {
            spec: {
              containers: [
                {
                  name: 'app',
                  env: [{ name: 'L', valueFrom: { configMapKeyRef: { name: 'settings', key: 'port' } } }],
                },
              ],
            },
          },
        },
      },
      STRATEGIC,
    );
    const [lacks] = (await findings()).filter((each) => each.includes('has no'));
    assert.match(lacks ?? '', /refuse: ConfigMap t-\w+\/settings has no port: pods of/);
    await change(namespace, 'ConfigMap', 'settings', { data: { port: '80' } });
    await change(namespace, 'Secret', 'db', null);
    const [gone] = (await findings()).filter((each) => each.includes('Secret'));
    assert.match(gone ?? '', /refuse: there is no Secret t-\w+\/db: .*--use-secret/);
  });
});
