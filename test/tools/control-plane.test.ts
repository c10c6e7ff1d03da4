import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { startControlPlane, type ControlPlane } from '../../tools/control-plane.js';
import { connect, readKubeconfig, type KubeClient, type KubeObject } from '../../tools/kube-client.js';
import { startNodeAgent, type NodeAgent } from '../../tools/node-agent.js';
import {
  findEtcd,
  findGatewayApi,
  findKubeApiServer,
  findKubeControllerManager,
  reasonToSkip,
} from '../../tools/toolbox.js';

import { deployment, eventually, pathOfDeployment, podsOf, untilAvailable } from './kube-support.js';

interface AuditEvent {
  readonly user: { readonly username: string };
  readonly verb: string;
  readonly stage: string;
  readonly objectRef: { readonly resource: string; readonly name: string };
  readonly requestObject?: unknown;
  readonly responseObject?: KubeObject;
}

const skip =
  (await reasonToSkip(findEtcd)) ||
  (await reasonToSkip(findKubeApiServer)) ||
  (await reasonToSkip(findKubeControllerManager)) ||
  (await reasonToSkip(findGatewayApi));

describe('a Kubernetes control plane', { skip }, () => {
  let folder: string;
  let plane: ControlPlane;
  let agent: NodeAgent;
  let slipway: KubeClient;
  let upMs: number;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-control-plane-'));
    const started = performance.now();
    plane = await startControlPlane({ dir: join(folder, 'first') });
    upMs = performance.now() - started;
    agent = await startNodeAgent({ kubeconfig: plane.kubeconfig, mode: 'pretend' });
    slipway = connect(await readKubeconfig(plane.kubeconfig, 'slipway'));
  });

  after(async () => {
    await slipway?.close();
    await agent?.stop();
    await plane?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('is of the version that it was built from, and serves the Gateway API', async (t) => {
    t.diagnostic(`control plane up in ${Math.round(upMs)} ms`);
    const version = await plane.request<{ readonly gitVersion: string }>('GET', '/version');
    assert.match(version.gitVersion, /^v1\.\d+\.\d+$/);
    const { resources } = await plane.request<{ readonly resources: readonly { readonly kind: string }[] }>(
      'GET',
      '/apis/gateway.networking.k8s.io/v1',
    );
    assert.ok(resources.some(({ kind }) => kind === 'HTTPRoute'));
  });

  test('a Deployment becomes available, and its pods go away with it', async (t) => {
    const started = performance.now();
    await plane.apply([deployment({ name: 'good', image: 'registry.example/team/good:v1' })]);
    await untilAvailable(plane, 'good', 2);
    t.diagnostic(`available ${Math.round(performance.now() - started)} ms after it was applied`);

    const pods = await podsOf(plane, 'good');
    assert.equal(new Set(pods.map(({ status }) => status.podIP)).size, 2);
    for (const { spec, status } of pods) {
      assert.equal(spec.nodeName, agent.node);
      assert.match(status.podIP ?? '', /^10\.244\./);
      const [container] = status.containerStatuses ?? [];
      assert.equal(container?.image, 'registry.example/team/good:v1');
      assert.match(container?.imageID ?? '', /^registry\.example\/team\/good@sha256:[0-9a-f]{64}$/);
    }

    const deleted = performance.now();
    await plane.request('DELETE', pathOfDeployment('good'));
    await eventually('no pod of good is left', async () => (await podsOf(plane, 'good')).length === 0);
    t.diagnostic(`its pods gone ${Math.round(performance.now() - deleted)} ms after it was deleted`);
  });

  test('the tag of an image says how its pods fare', async () => {
    const images = { never: 'app:never-ready-1', slow: 'app:slow-1', crash: 'app:crash-1', missing: 'app:missing-1' };
    for (const [name, image] of Object.entries(images)) await plane.apply([deployment({ name, image, replicas: 1 })]);
    const settled = await eventually('all pods are reported', async () => {
      const pods = (await Promise.all(Object.keys(images).map((name) => podsOf(plane, name)))).flat();
      return pods.length === 4 && pods.every(({ status }) => status.podIP !== undefined) && pods;
    });
    const [never, slow, crash, missing] = settled.map(({ status }) => ({
      phase: status.phase,
      ready: status.conditions?.find(({ type }) => type === 'Ready'),
      waiting: status.containerStatuses?.[0]?.state.waiting?.reason,
      restarts: status.containerStatuses?.[0]?.restartCount,
    }));
    assert.equal(never?.phase, 'Running');
    assert.equal(never?.ready?.status, 'False');
    assert.match(never?.ready?.message ?? '', /unready status: \[app\]/);
    assert.equal(slow?.ready?.status, 'False');
    assert.deepEqual([crash?.waiting, crash?.restarts], ['CrashLoopBackOff', 1]);
    assert.deepEqual([missing?.phase, missing?.waiting], ['Pending', 'ImagePullBackOff']);

    await untilAvailable(plane, 'slow', 1);
    const { status } = (await plane.request('GET', pathOfDeployment('never'))) as {
      status: { readyReplicas?: number };
    };
    assert.equal(status.readyReplicas, undefined);
  });

  test('a user may do nothing until a role is bound; the audit log tells who wrote what', async () => {
    await plane.apply([deployment({ name: 'audited', image: 'app:v1' })]);
    const scale = (): Promise<KubeObject> =>
      slipway.request('PATCH', pathOfDeployment('audited'), { spec: { replicas: 3 } }, 'application/merge-patch+json');
    await assert.rejects(scale(), { name: 'KubeRefusal', status: 403, reason: 'Forbidden' });

    await plane.apply([
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: 'slipway' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'edit' },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'slipway' }],
      },
    ]);
    await eventually('slipway may scale', async () =>
      scale().then(
        () => true,
        () => false,
      ),
    );

    const events = await eventually('the audit log has both writes', async () => {
      const written = (await auditEvents(plane.auditLog)).filter(
        ({ objectRef, responseObject }) => objectRef.name === 'audited' && responseObject?.kind === 'Deployment',
      );
      return written.some(({ user }) => user.username === 'slipway') && written;
    });
    assert.deepEqual(
      events.map(({ user, verb }) => `${user.username} ${verb}`),
      ['admin patch', 'slipway patch'],
    );
    assert.ok(events.every(({ stage }) => stage === 'ResponseComplete'));
    assert.deepEqual(events[1]?.requestObject, { spec: { replicas: 3 } });
    assert.equal(events[1]?.responseObject?.metadata['managedFields'], undefined);
  });

  test('it goes on when its API server was killed, and the node agent with it', async (t) => {
    await plane.apply([deployment({ name: 'before', image: 'app:v1', replicas: 1 })]);
    await untilAvailable(plane, 'before', 1);
    const killed = performance.now();
    await plane.apiServer.kill('SIGKILL');
    await plane.apiServer.restart();
    t.diagnostic(`API server back in ${Math.round(performance.now() - killed)} ms`);
    await plane.apply([deployment({ name: 'after', image: 'app:v1', replicas: 1 })]);
    await untilAvailable(plane, 'after', 1);
    await untilAvailable(plane, 'before', 1);
  });

  test('a second one runs beside it, all of it ends with stop, and it goes on when it is started again', async () => {
    const options = { dir: join(folder, 'second'), audit: false, bindAddress: '0.0.0.0' };
    const path = '/api/v1/namespaces/default/configmaps/mine';
    const second = await startControlPlane(options);
    const pids = pidsOf(second);
    try {
      await second.apply([{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'mine' }, data: { kept: 'yes' } }]);
      await assert.rejects(plane.request('GET', path), { status: 404 });
      await assert.rejects(readFile(second.auditLog), { code: 'ENOENT' });
      assert.ok(pids.every(isAlive));
    } finally {
      await second.stop();
    }
    assert.deepEqual(pids.filter(isAlive), []);

    const again = await startControlPlane(options);
    try {
      assert.deepEqual((await again.request('GET', path))['data'], { kept: 'yes' });
    } finally {
      await again.stop();
    }
  });

  test('all of it is gone within 5 s of the death of its parent', async (t) => {
    const module = new URL('../../tools/control-plane.js', import.meta.url).href;
    const script = `
      import { startControlPlane } from ${JSON.stringify(module)};
      const plane = await startControlPlane({ dir: ${JSON.stringify(join(folder, 'orphaned'))} });
      console.log([plane.etcd, plane.apiServer, plane.controllerManager].map(({ pid }) => pid).join(' '));
      setInterval(() => {}, 1000);
    `;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
    const pids = line.split(' ').map(Number);
    assert.equal(pids.filter(isAlive).length, 3);

    parent.kill('SIGKILL');
    const killed = performance.now();
    while (pids.some(isAlive)) {
      assert.ok(performance.now() - killed < 5000, `still there: ${pids.filter(isAlive).join(', ')}`);
      await sleep(20);
    }
    t.diagnostic(`gone ${Math.round(performance.now() - killed)} ms after its parent`);
  });
});

/** All whole lines; the last one may be in the middle of being written. */
async function auditEvents(file: string): Promise<readonly AuditEvent[]> {
  const text = await readFile(file, 'utf8');
  const lines = text.slice(0, text.lastIndexOf('\n')).split('\n');
  return lines.map((line) => JSON.parse(line) as AuditEvent);
}

function pidsOf({ etcd, apiServer, controllerManager }: ControlPlane): number[] {
  return [etcd, apiServer, controllerManager].map(({ pid }) => pid);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
