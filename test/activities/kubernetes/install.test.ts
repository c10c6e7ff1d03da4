/** What is installed on a cluster is what the API server understands, and grants what preflight asks for, no more. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { COURTESIES, LOOKS, neededPermissions } from '../../../activities/kubernetes/preflight.js';
import { groupOf } from '../../../activities/kubernetes/resources.js';
import type { Resource } from '../../../activities/kubernetes/resources.js';
import { loadServerConfig } from '../../../client/server/config.js';
import { loadSigningKey } from '../../../client/server/signing-key.js';
import { ROUTE_KINDS } from '../../../domain/target.js';
import type { KubernetesTarget } from '../../../domain/target.js';
import { startControlPlane } from '../../../tools/control-plane.js';
import type { KubeObject } from '../../../tools/kube-client.js';
import { findKubeApiServer, reasonToSkip } from '../../../tools/toolbox.js';

const FOLDER = path.resolve('deploy/kubernetes');

async function documents(name: string): Promise<readonly KubeObject[]> {
  return parseAllDocuments(await readFile(path.join(FOLDER, name), 'utf8')).map(
    (document) => document.toJS() as KubeObject,
  );
}

test('the Role grants every verb that preflight checks, and none besides', async () => {
  const [role] = await documents('role.yaml');
  const rules = role?.['rules'] as { apiGroups: string[]; resources: string[]; verbs: string[] }[];
  const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
    resources.flatMap((resource) => verbs.map((verb) => `${apiGroups.join()} ${resource} ${verb}`)),
  );
  const needed = ROUTE_KINDS.flatMap((kind) => {
    const target = { route: { kind, name: 'x' } } as KubernetesTarget;
    return [neededPermissions(target), COURTESIES, LOOKS]
      .flatMap(Object.entries<readonly string[]>)
      .flatMap(([resource, verbs]) => verbs.map((verb) => `${groupOf(resource as Resource)} ${resource} ${verb}`));
  });
  assert.deepEqual(granted.toSorted(), [...new Set(needed)].toSorted());
});

interface Pod {
  readonly automountServiceAccountToken?: boolean;
  readonly serviceAccountName: string;
  readonly securityContext: { readonly runAsNonRoot: boolean };
  readonly containers: readonly {
    readonly args: readonly string[];
    readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: object }[];
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly readinessProbe: object;
    readonly livenessProbe: object;
    readonly resources: { readonly requests: object; readonly limits: object };
    readonly securityContext: { readonly readOnlyRootFilesystem: boolean };
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly persistentVolumeClaim?: { readonly claimName: string };
  }[];
}

async function podOf(name: string): Promise<Pod> {
  const { spec } = (await documents(name)).find(({ kind }) => kind === 'Deployment') as unknown as {
    spec: { template: { spec: Pod } };
  };
  return spec.template.spec;
}

function claimAt({ containers, volumes }: Pod, place: string): string | undefined {
  const mount = containers[0]?.volumeMounts.find(({ mountPath }) => mountPath === place);
  return volumes.find(({ name }) => name === mount?.name)?.persistentVolumeClaim?.claimName;
}

test('the server has no rights in the cluster, and is locked down as the worker is', async () => {
  const objects = await documents('server.yaml');
  const pod = await podOf('server.yaml');
  const [account] = objects;
  assert.deepEqual([account?.['automountServiceAccountToken'], pod.automountServiceAccountToken], [false, false]);
  assert.equal(pod.serviceAccountName, account?.metadata?.name);
  assert.deepEqual(
    objects.filter(({ kind }) => /Role/.test(kind ?? '')),
    [],
  );
  const [server] = pod.containers;
  const [worker] = (await podOf('worker.yaml')).containers;
  assert.deepEqual(pod.securityContext, (await podOf('worker.yaml')).securityContext);
  assert.deepEqual(server?.securityContext, worker?.securityContext);
  for (const part of ['readinessProbe', 'livenessProbe'] as const) assert.deepEqual(server?.[part], worker?.[part]);
  assert.ok(server?.resources.requests !== undefined && server.resources.limits !== undefined);
});

test('the server starts with what is installed, and only the public half of its key lies where workers look', async () => {
  const pod = await podOf('server.yaml');
  const [server] = pod.containers;
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-server-'));
  try {
    const map = (await documents('server.yaml')).find(({ kind }) => kind === 'ConfigMap');
    for (const [name, text] of Object.entries(map?.['data'] as Record<string, string>))
      await writeFile(path.join(folder, name), text);
    const values = (server?.env ?? []).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]]));
    const env = Object.fromEntries(values) as Record<string, string>;
    const config = await loadServerConfig(
      { ...env, SLIPWAY_SERVER_FILE: path.join(folder, path.basename(env['SLIPWAY_SERVER_FILE'] ?? '')) },
      folder,
    );
    assert.deepEqual([config.local, config.port], [false, server?.ports[0]?.containerPort]);
    assert.ok(config.file.roles.length > 0);
    const worker = await podOf('worker.yaml');
    // What the worker reads by default, on the volume that both have.
    assert.equal(config.trustedKeysFile, '/data/keys/trusted.json');
    assert.equal(claimAt(pod, '/data'), claimAt(worker, '/data'));
    assert.equal(path.dirname(config.signingKeyFile), '/keys');
    assert.ok(claimAt(pod, '/keys') !== undefined && claimAt(pod, '/keys') !== claimAt(worker, '/data'));
    assert.doesNotMatch(JSON.stringify(map), /sha256|secret:/i);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a drained node, or one that is lost, leaves a worker', async () => {
  const objects = await documents('worker.yaml');
  const specOf = <T>(kind: string): T => objects.find((each) => each.kind === kind)?.['spec'] as T;
  const { replicas, template } = specOf<{
    replicas: number;
    template: { metadata: { labels: object }; spec: { topologySpreadConstraints: object[] } };
  }>('Deployment');
  const selector = { matchLabels: template.metadata.labels };
  assert.deepEqual(specOf('PodDisruptionBudget'), { minAvailable: replicas - 1, selector });
  assert.deepEqual(template.spec.topologySpreadConstraints, [
    {
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'ScheduleAnyway',
      labelSelector: selector,
    },
  ]);
});

const KUBECTL = await promisify(execFile)('kubectl', ['version', '--client']).then(
  () => false as const,
  () => 'kubectl is not installed',
);

test(
  'without shared volumes all is kept in a bucket, and workers trust the key of the Secret',
  { skip: KUBECTL },
  async () => {
    const { stdout } = await promisify(execFile)('kubectl', ['kustomize', path.resolve('deploy/kubernetes-s3')]);
    const objects = parseAllDocuments(stdout).map((document) => document.toJS() as KubeObject);
    assert.deepEqual(
      objects.filter(({ kind }) => kind === 'PersistentVolumeClaim'),
      [],
    );
    assert.doesNotMatch(stdout, /persistentVolumeClaim/);
    const settings = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && /storage/.test(metadata?.name ?? ''));
    const data = settings?.['data'] as Record<string, string> | undefined;
    assert.match(data?.['SLIPWAY_EVIDENCE_STORE'] ?? '', /^s3:\/\//);
    const pods = objects
      .filter(({ kind }) => kind === 'Deployment')
      .map(
        (each) => (each['spec'] as { template: { spec: Pod & { containers: { envFrom: object[] }[] } } }).template.spec,
      );
    assert.equal(pods.length, 2);
    for (const { containers, volumes } of pods) {
      const [only] = containers;
      assert.deepEqual(only?.envFrom, [
        { configMapRef: { name: settings?.metadata?.name } },
        { secretRef: { name: 'slipway-s3' } },
      ]);
      assert.deepEqual(
        volumes.find(({ name }) => name === 'data'),
        { name: 'data', emptyDir: {} },
      );
      for (const { name } of only.volumeMounts)
        assert.ok(
          volumes.some((volume) => volume.name === name),
          name,
        );
    }
    const worker = pods.find(({ containers }) => containers[0]?.args[0] === 'worker');
    assert.ok(
      worker?.containers[0]?.env.some(
        ({ name, value }) => name === 'SLIPWAY_TRUSTED_KEYS_FILE' && value === '/trusted/trusted.json',
      ),
    );
  },
);

test('the key pair that the documentation makes is one that the server signs with and workers trust', async () => {
  const text = await readFile(path.resolve('docs/kubernetes.md'), 'utf8');
  const script = /node -e '([^']+)'/.exec(text)?.[1] ?? assert.fail('the documentation makes no key pair');
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-keys-'));
  try {
    await promisify(execFile)(process.execPath, ['-e', script], { cwd: folder });
    const trusted = path.join(folder, 'trusted.json');
    const before = await readFile(trusted, 'utf8');
    const { id } = await loadSigningKey(path.join(folder, 'signing-key.json'), trusted);
    assert.equal((JSON.parse(before) as { keys: { kid: string }[] }).keys[0]?.kid, id);
    assert.equal(await readFile(trusted, 'utf8'), before, 'the server has nothing to add');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test(
  'an API server takes all of it, with no field that it does not know',
  { skip: await reasonToSkip(findKubeApiServer) },
  async () => {
    const { resources } = parse(await readFile(path.join(FOLDER, 'kustomization.yaml'), 'utf8')) as {
      resources: string[];
    };
    const objects = (await Promise.all(resources.map(documents))).flat();
    const dir = await mkdtemp(path.join(tmpdir(), 'slipway-install-'));
    const plane = await startControlPlane({ dir });
    try {
      for (const object of objects) {
        const { apiVersion = '', kind = '' } = object;
        const prefix = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
        const made = await plane.request(
          'POST',
          `${prefix}/namespaces/default/${kind.toLowerCase()}s?fieldValidation=Strict`,
          object,
        );
        assert.equal(made.kind, kind);
      }
      assert.equal(
        objects.map(({ kind }) => kind).join(' '),
        'Role ServiceAccount RoleBinding Deployment PodDisruptionBudget PersistentVolumeClaim ' +
          'ServiceAccount ConfigMap Deployment Service PersistentVolumeClaim',
      );
    } finally {
      await plane.stop();
      await rm(dir, { recursive: true, force: true });
    }
  },
);
