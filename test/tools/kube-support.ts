import { setTimeout as sleep } from 'node:timers/promises';

import type { KubeList, KubeObject } from '../../tools/kube-client.js';
import type { ControlPlane } from '../../tools/control-plane.js';
import type { Pod } from '../../tools/node-agent/pod.js';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly message?: string;
}

export interface Deployment extends KubeObject {
  readonly status?: { readonly readyReplicas?: number; readonly conditions?: readonly Condition[] };
}

export interface PodWithStatus extends Pod {
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly Condition[];
    readonly containerStatuses?: readonly {
      readonly image: string;
      readonly imageID: string;
      readonly ready: boolean;
      readonly restartCount: number;
      readonly state: { readonly waiting?: { readonly reason: string } };
      readonly lastState?: { readonly terminated?: { readonly exitCode: number } };
    }[];
  };
}

export interface DeploymentOptions {
  readonly name: string;
  readonly image: string;
  readonly replicas?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** The path that its readiness probe asks, each second; without one there is no probe. */
  readonly probe?: string;
}

export function deployment({ name, image, replicas = 2, env = {}, probe }: DeploymentOptions): KubeObject {
  const labels = { app: name };
  const container = {
    name: 'app',
    image,
    ports: [{ name: 'http', containerPort: 8080 }],
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
    ...(probe === undefined ? {} : { readinessProbe: { httpGet: { path: probe, port: 'http' }, periodSeconds: 1 } }),
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default' },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 2, containers: [container] } },
    },
  };
}

export function pathOfDeployment(name: string): string {
  return `/apis/apps/v1/namespaces/default/deployments/${name}`;
}

/** The pods of a Deployment, those included that are being deleted. */
export async function podsOf(plane: ControlPlane, name: string): Promise<readonly PodWithStatus[]> {
  const path = `/api/v1/namespaces/default/pods?labelSelector=app%3D${name}`;
  return (await plane.request<KubeList<PodWithStatus>>('GET', path)).items;
}

export async function untilAvailable(plane: ControlPlane, name: string, replicas: number): Promise<void> {
  await eventually(`${name} has ${replicas} ready replicas and is available`, async () => {
    const { status } = await plane.request<Deployment>('GET', pathOfDeployment(name));
    const available = status?.conditions?.find(({ type }) => type === 'Available');
    return status?.readyReplicas === replicas && available?.status === 'True';
  });
}

export async function eventually<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
  const limitMs = 20_000;
  for (const deadline = Date.now() + limitMs; ; await sleep(50)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${limitMs} ms`);
  }
}
