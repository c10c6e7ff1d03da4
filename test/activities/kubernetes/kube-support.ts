/** A service on a real API server, as its owner would have applied it, and a rollout of it as a workflow would do it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import { connectKube } from '../../../activities/kubernetes/kube-client.js';
import type { KubeAnswer, KubeClient } from '../../../activities/kubernetes/kube-client.js';
import { createKubernetesPlatform } from '../../../activities/kubernetes/kubernetes-platform.js';
import type { Platform, PlatformScope } from '../../../activities/platform.js';
import type { KubernetesRoute, KubernetesTarget, LaneRef } from '../../../domain/target.js';
import { startControlPlane } from '../../../tools/control-plane.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { namespaceWithRights } from '../../../tools/kube-stack.js';
import { startNodeAgent } from '../../../tools/node-agent.js';
import { startTraefik } from '../../../tools/traefik-server.js';
import { until } from '../../support/drive.js';
import { kubeTarget } from '../../support/request.js';
import { rolloutOn } from '../../support/rollout-steps.js';
import type { Rollout } from '../../support/rollout-steps.js';

export type KubeScope = PlatformScope<KubernetesTarget>;

export interface ServiceOptions {
  readonly namespace: string;
  readonly replicas?: number;
  readonly image?: string;
  /** Whether the worker gets its rights there. @default true */
  readonly rights?: boolean;
}

/** A namespace with a Deployment, a Service and an HTTPRoute named `hello`. */
export async function applyService(
  plane: ControlPlane,
  { namespace, replicas = 2, image = 'registry.example/team/hello:v1', rights = true }: ServiceOptions,
): Promise<void> {
  const labels = { app: 'hello', team: 'a' };
  const [space, ...granted] = await namespaceWithRights(namespace);
  await plane.apply([
    ...(space === undefined ? [] : [space]),
    ...(rights ? granted : []),
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'hello', namespace, labels, annotations: { 'example.com/owner': 'team-a' } },
      spec: {
        replicas,
        selector: { matchLabels: { app: 'hello' } },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: 'app',
                image,
                ports: [{ containerPort: 8080 }],
                env: [{ name: 'GREETING', value: 'hi' }],
                readinessProbe: { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 1 },
              },
              { name: 'proxy', image: 'registry.example/proxy:1.0' },
            ],
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'hello', namespace },
      spec: { selector: { app: 'hello' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    },
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'hello', namespace },
      spec: {
        parentRefs: [{ name: 'edge', namespace: 'default' }],
        hostnames: [`${namespace}.example.com`],
        rules: [
          {
            matches: [{ path: { type: 'PathPrefix', value: '/' } }],
            timeouts: { request: '10s' },
            backendRefs: [{ name: 'hello', port: 80 }],
          },
        ],
      },
    },
  ]);
}

/** A client as a user of the control plane's kubeconfig. */
export function clientOf(
  plane: ControlPlane,
  user: 'admin' | 'slipway' | 'kubectl',
  onAnswer: (answer: KubeAnswer) => void = () => undefined,
): KubeClient {
  return connectKube({
    context: user,
    source: { kubeconfig: [plane.kubeconfig], own: null },
    timeoutMs: 10_000,
    onAnswer,
  });
}

export function platformOn(client: KubeClient, namespace: string): Platform<KubernetesTarget> {
  return createKubernetesPlatform({
    clientFor: () => Promise.resolve(client),
    places: [{ context: null, namespace }],
    // What could not be told is missing on the Deployment, where tests look for it.
    warn: () => undefined,
  });
}

export function kubeRollout(
  client: KubeClient,
  namespace: string,
  rolloutId: string,
  {
    route,
    lane = { environment: 'prod', service: 'hello' },
  }: { route?: KubernetesRoute | undefined; lane?: LaneRef } = {},
): Rollout<KubernetesTarget> {
  const scope: KubeScope = {
    lane,
    rolloutId,
    target: kubeTarget({ namespace, ...(route === undefined ? {} : { route }) }),
  };
  return rolloutOn(platformOn(client, namespace), scope);
}

/** Applies the service, and waits until preflight has nothing to say against a rollout of it. */
export async function restingService(
  plane: ControlPlane,
  client: KubeClient,
  namespace: string,
  replicas = 2,
): Promise<void> {
  await applyService(plane, { namespace, replicas });
  const nobody = kubeRollout(client, namespace, 'nobody');
  await nobody.ready('stable', replicas);
  await until('the service is at rest', async () => {
    const found = await nobody.platform.preflight(nobody.scope, { replicas: 1, shares: [] });
    if (found.length > 0) throw new Error(JSON.stringify(found));
    return true;
  });
}

/** An API server with controllers, pods that are only told of, and Traefik: all ends with `stop`. */
export async function startKube(): Promise<{ readonly plane: ControlPlane; stop(): Promise<void> }> {
  const dir = await mkdtemp(path.join(tmpdir(), 'slipway-kube-'));
  const stops: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true, maxRetries: 5 })];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const plane = await startControlPlane({ dir, audit: true });
    stops.push(() => plane.stop());
    const agent = await startNodeAgent({ kubeconfig: plane.kubeconfig, mode: 'pretend' });
    stops.push(() => agent.stop());
    const traefik = await startTraefik({ kubeconfig: plane.kubeconfig, dir });
    stops.push(() => traefik.stop());
    return { plane, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** An API server for all tests of a file, unless they are skipped; `use` is told of it before the first. */
export function beforeAllOnKube(skip: string | false, use: (plane: ControlPlane) => void | Promise<void>): void {
  let stop = (): Promise<void> => Promise.resolve();
  before(async () => {
    if (skip !== false) return;
    const kube = await startKube();
    stop = () => kube.stop();
    await use(kube.plane);
  });
  after(() => stop());
}
