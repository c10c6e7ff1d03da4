/** A service on a real API server, as its owner would have applied it, and a rollout of it as a workflow would do it. */
import { connectKube } from '../../../activities/kubernetes/kube-client.js';
import type { KubeClient } from '../../../activities/kubernetes/kube-client.js';
import { createKubernetesPlatform } from '../../../activities/kubernetes/kubernetes-platform.js';
import type { Platform, PlatformScope } from '../../../activities/platform.js';
import { idempotencyKey } from '../../../domain/fence.js';
import type { Permit } from '../../../domain/fence.js';
import type { Arm, Claimant, Effect, EffectResult, KubernetesTarget } from '../../../domain/target.js';
import type { ControlPlane } from '../../../tools/control-plane.js';
import { namespaceWithRights } from '../../../tools/kube-stack.js';

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
export function clientOf(plane: ControlPlane, user: 'admin' | 'slipway' | 'kubectl'): KubeClient {
  process.env['KUBECONFIG'] = plane.kubeconfig;
  return connectKube({ context: user, timeoutMs: 10_000 });
}

export function platformOn(client: KubeClient, namespace: string): Platform<KubernetesTarget> {
  return createKubernetesPlatform({
    clientFor: () => Promise.resolve(client),
    places: [{ context: null, namespace }],
  });
}

/** What a workflow does of itself: counts steps, keeps its generation, names its intents. */
export interface KubeRollout {
  readonly platform: Platform<KubernetesTarget>;
  readonly scope: KubeScope;
  claim(claimant?: Claimant): ReturnType<Platform['claim']>;
  permit(effect: Effect, onDrift?: Permit['onDrift']): Permit;
  apply(effect: Effect, onDrift?: Permit['onDrift']): Promise<EffectResult>;
  /** Waits until the arm can serve. */
  ready(arm: Arm, replicas: number): Promise<void>;
}

export function kubeRollout(client: KubeClient, namespace: string, rolloutId: string): KubeRollout {
  const platform = platformOn(client, namespace);
  const scope: KubeScope = {
    lane: { environment: 'prod', service: 'hello' },
    rolloutId,
    target: {
      platform: 'kubernetes',
      context: null,
      namespace,
      deployment: 'hello',
      service: 'hello',
      route: { kind: 'HTTPRoute', name: 'hello' },
    },
  };
  let generation = 0;
  let step = 0;
  let intents = 0;
  function permit(effect: Effect, onDrift: Permit['onDrift'] = 'hold'): Permit {
    step += 1;
    intents += 1;
    const key = idempotencyKey({ rolloutId, stage: 'test', operation: effect.op, object: 'x', n: intents });
    return { key, fence: { generation, step }, onDrift };
  }
  return {
    platform,
    scope,
    permit,
    async claim(claimant = 'rollout') {
      const result = await platform.claim({ ...scope, claimant, laneGeneration: generation });
      if (result.kind === 'granted') {
        generation = result.generation;
        step = 0;
      }
      return result;
    },
    apply: (effect, onDrift) => platform.apply(scope, effect, permit(effect, onDrift)),
    async ready(arm, replicas) {
      let last: unknown;
      for (const until = Date.now() + 30_000; Date.now() < until;) {
        last = await platform.readiness(scope, arm, replicas);
        if ((last as { kind: string }).kind === 'ready') return;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      throw new Error(`${arm} was not ready within 30 s: ${JSON.stringify(last)}`);
    },
  };
}
