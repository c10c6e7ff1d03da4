import { createHash } from 'node:crypto';

import type { KubeObject } from '../kube-client.js';

/** What the node agent reads of a Pod. */
export interface Pod extends KubeObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly schedulerName?: string;
    readonly terminationGracePeriodSeconds?: number;
    readonly containers: readonly Container[];
  };
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
  readonly readinessProbe?: ReadinessProbe;
  readonly lifecycle?: { readonly preStop?: { readonly sleep?: { readonly seconds: number } } };
}

export interface ReadinessProbe {
  readonly httpGet?: { readonly path?: string; readonly port: number | string };
  readonly initialDelaySeconds?: number;
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
}

/** How a container is, as the agent knows it. */
export interface ContainerCondition {
  readonly ready: boolean;
  readonly restarts: number;
  /** Why it does not run; absent while it runs. */
  readonly waiting?: { readonly reason: string; readonly message: string };
  /** The exit code of its previous run. */
  readonly lastExitCode?: number;
}

/** Runs pods: the part of a node agent that differs between its modes. */
export interface PodRuntime {
  /** Starts a pod; `report` is called with the condition of each container, in order, whenever one has changed. */
  start(pod: Pod, ip: string, report: (containers: readonly ContainerCondition[]) => void): RunningPod;
}

export interface RunningPod {
  /** The id of the process that serves for the pod, while there is one. */
  readonly pid: number | undefined;
  /** Ends the pod, by force after the grace period; may be called again with a shorter one. */
  stop(graceSeconds: number): Promise<void>;
}

/** A container that runs and is ready. */
export const RUNNING: ContainerCondition = { ready: true, restarts: 0 };

/** The tag of an image reference, without its digest; empty when it has none. */
export function tagOf(image: string): string {
  const [reference = ''] = image.split('@');
  const lastPart = reference.slice(reference.lastIndexOf('/') + 1);
  return lastPart.includes(':') ? lastPart.slice(lastPart.indexOf(':') + 1) : '';
}

/** `<repository>@<digest>`: the digest of the reference itself when it names one, else the hash of the reference. */
export function imageId(image: string): string {
  const [reference = '', digest] = image.split('@');
  const tag = tagOf(image);
  const repository = tag === '' ? reference : reference.slice(0, -tag.length - 1);
  return `${repository}@${digest ?? `sha256:${createHash('sha256').update(image).digest('hex')}`}`;
}

/** The status of a pod that a kubelet would report, as a strategic merge patch takes it. */
export function podStatus(
  pod: Pod,
  ip: string,
  startedAt: string,
  containers: readonly ContainerCondition[],
): Readonly<Record<string, unknown>> {
  const now = new Date().toISOString();
  const unready = pod.spec.containers.filter((_, index) => containers[index]?.ready !== true).map(({ name }) => name);
  const readiness =
    unready.length === 0
      ? { status: 'True', reason: null, message: null }
      : {
          status: 'False',
          reason: 'ContainersNotReady',
          message: `containers with unready status: [${unready.join(' ')}]`,
        };
  const neverRan = containers.some(({ waiting, restarts }) => waiting !== undefined && restarts === 0);
  return {
    phase: neverRan ? 'Pending' : 'Running',
    hostIP: '127.0.0.1',
    podIP: ip,
    podIPs: [{ ip }],
    startTime: startedAt,
    conditions: [
      { type: 'Initialized', status: 'True', lastTransitionTime: startedAt },
      { type: 'ContainersReady', ...readiness, lastTransitionTime: now },
      { type: 'Ready', ...readiness, lastTransitionTime: now },
    ],
    containerStatuses: pod.spec.containers.map((container, index) =>
      containerStatus(container, containers[index] ?? RUNNING, now),
    ),
  };
}

function containerStatus(
  { name, image }: Container,
  { ready, restarts, waiting, lastExitCode }: ContainerCondition,
  now: string,
): Readonly<Record<string, unknown>> {
  const lastState =
    lastExitCode === undefined
      ? {}
      : { lastState: { terminated: { exitCode: lastExitCode, reason: 'Error', finishedAt: now } } };
  return {
    name,
    image,
    imageID: waiting?.reason === 'ImagePullBackOff' ? '' : imageId(image),
    ready,
    started: waiting === undefined,
    restartCount: restarts,
    // A strategic merge keeps the fields that are not named, and a container is in one state only.
    state: waiting === undefined ? { running: { startedAt: now }, waiting: null } : { waiting, running: null },
    ...lastState,
  };
}
