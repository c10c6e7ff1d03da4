import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { startControlPlane, type ControlPlane } from '../../tools/control-plane.js';
import type { KubeObject } from '../../tools/kube-client.js';
import { enterNetworkNamespace } from '../../tools/network-namespace.js';
import { startNodeAgent, type NodeAgent } from '../../tools/node-agent.js';
import {
  findEtcd,
  findGatewayApi,
  findKubeApiServer,
  findKubeControllerManager,
  findTraefik,
  reasonToSkip,
} from '../../tools/toolbox.js';
import { startTraefik, type Traefik } from '../../tools/traefik-server.js';

import { deployment, eventually, pathOfDeployment, podsOf, untilAvailable, type Deployment } from './kube-support.js';

const REQUESTS = 200;
const STABLE_WEIGHT = 90;

/** All is fetched before the namespace is entered, from where nothing can be. */
async function obstacle(): Promise<string | false> {
  for (const finder of [findEtcd, findKubeApiServer, findKubeControllerManager, findGatewayApi, findTraefik]) {
    const reason = await reasonToSkip(finder);
    if (reason !== false) return reason;
  }
  const reason = await enterNetworkNamespace();
  return reason === undefined ? false : `needs a network namespace: ${reason}`;
}

describe('pods as real processes behind Traefik', { skip: await obstacle() }, () => {
  let folder: string;
  let plane: ControlPlane;
  let agent: NodeAgent;
  let traefik: Traefik;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-traefik-'));
    plane = await startControlPlane({ dir: join(folder, 'control-plane') });
    agent = await startNodeAgent({ kubeconfig: plane.kubeconfig, mode: 'processes', logFolder: folder });
  });

  after(async () => {
    await traefik?.stop();
    await agent?.stop();
    await plane?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test('requests are shared exactly as the weights of the route say', async (t) => {
    const started = performance.now();
    traefik = await startTraefik({ kubeconfig: plane.kubeconfig, dir: join(folder, 'traefik') });
    t.diagnostic(`Traefik up, with its Gateway, in ${Math.round(performance.now() - started)} ms`);

    const applied = performance.now();
    await plane.apply([
      deployment({ name: 'stable', image: 'hello:v1', probe: '/healthz' }),
      deployment({ name: 'canary', image: 'hello:v2', probe: '/healthz' }),
      service('stable'),
      service('canary'),
      route(traefik),
    ]);
    await untilAvailable(plane, 'stable', 2);
    await untilAvailable(plane, 'canary', 2);
    await eventually('the route serves both versions', async () => {
      const answers = await ask(traefik.url, 20);
      return answers.has('hello from hello:v1') && answers.has('hello from hello:v2');
    });
    t.diagnostic(`four pods serve ${Math.round(performance.now() - applied)} ms after they were applied`);

    const answers = await ask(traefik.url, REQUESTS);
    const expected = (REQUESTS * STABLE_WEIGHT) / 100;
    t.diagnostic(JSON.stringify(Object.fromEntries(answers)));
    assert.ok(Math.abs((answers.get('hello from hello:v1') ?? 0) - expected) <= 1);
    assert.ok(Math.abs((answers.get('hello from hello:v2') ?? 0) - (REQUESTS - expected)) <= 1);

    const metrics = await (await fetch(traefik.metricsUrl)).text();
    assert.match(metrics, /traefik_service_requests_total\{[^}]*service="[^"]*stable[^"]*"\}/);
    assert.match(metrics, /traefik_service_request_duration_seconds_bucket\{[^}]*canary[^}]*le="0\.025"\}/);
  });

  test('a process that ends by itself is started again, and one whose pod is deleted is not', async () => {
    await plane.apply([deployment({ name: 'mortal', image: 'hello:v1', replicas: 1, probe: '/healthz' })]);
    await untilAvailable(plane, 'mortal', 1);
    const [pod] = await podsOf(plane, 'mortal');
    const pidOfPod = (): number => agent.pidOf('default', pod?.metadata.name ?? '') ?? assert.fail('it has no process');
    process.kill(pidOfPod(), 'SIGKILL');
    const restarted = await eventually('the pod is ready again', async () => {
      const [status] = (await podsOf(plane, 'mortal')).flatMap((each) => each.status.containerStatuses ?? []);
      return status?.restartCount === 1 && status.ready && status;
    });
    assert.equal(restarted.lastState?.terminated?.exitCode, 137);

    const pid = pidOfPod();
    await plane.request('DELETE', pathOfDeployment('mortal'));
    await eventually('no pod of mortal is left', async () => (await podsOf(plane, 'mortal')).length === 0);
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  });

  test('a pod whose readiness probe fails is not ready', async () => {
    const env = { DEMO_ERROR_RATE: '1' };
    await plane.apply([deployment({ name: 'unready', image: 'hello:v3', replicas: 1, probe: '/', env })]);
    const pod = await eventually('the pod runs', async () => {
      const [found] = await podsOf(plane, 'unready');
      return found?.status.phase === 'Running' && found;
    });
    await eventually('it answers, with errors', async () =>
      fetch(`http://${pod.status.podIP}:8080/`).then(
        (response) => response.status === 500,
        () => false,
      ),
    );
    const { status } = await plane.request<Deployment>('GET', pathOfDeployment('unready'));
    assert.equal(status?.readyReplicas, undefined);
  });
});

function service(name: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 'http' }] },
  };
}

function route({ gateway }: Traefik): KubeObject {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: 'hello', namespace: 'default' },
    spec: {
      parentRefs: [gateway],
      rules: [
        {
          backendRefs: [
            { name: 'stable', port: 80, weight: STABLE_WEIGHT },
            { name: 'canary', port: 80, weight: 100 - STABLE_WEIGHT },
          ],
        },
      ],
    },
  };
}

/** How often each answer came. */
async function ask(url: string, requests: number): Promise<ReadonlyMap<string, number>> {
  const answers = new Map<string, number>();
  for (let sent = 0; sent < requests; sent += 1) {
    const answer = (await (await fetch(url)).text()).trim();
    answers.set(answer, (answers.get(answer) ?? 0) + 1);
  }
  return answers;
}
