import { setTimeout as sleep } from 'node:timers/promises';

import { KubeRefusal, mayPass, type KubeClient, type Method } from '../kube-client.js';
import type { Observer } from '../kube-watch.js';

import type { Addresses } from './addresses.js';
import { podStatus, type ContainerCondition, type Pod, type PodRuntime, type RunningPod } from './pod.js';

const SCHEDULER = 'default-scheduler';
const DEFAULT_GRACE_SECONDS = 30;
/** For pods that still run when the agent ends. */
const LAST_GRACE_SECONDS = 1;
const RETRY_MS = 200;
/** The pod is gone, or another has its name, or the same was done before: nothing is left to write. */
const SETTLED: readonly number[] = [404, 409];

/** Binds pods to the node, runs those of the node, and removes those that were deleted. */
export class PodKeeper implements Observer<Pod> {
  private readonly bound = new Set<string>();
  private readonly tended = new Map<string, TendedPod>();

  constructor(
    private readonly node: string,
    private readonly runtime: PodRuntime,
    private readonly addresses: Addresses,
    private readonly write: Write,
  ) {}

  present(pod: Pod): void {
    const { uid = '', deletionTimestamp } = pod.metadata;
    if (pod.spec.nodeName === undefined) {
      if (deletionTimestamp === undefined) this.bind(pod, uid);
      return;
    }
    if (pod.spec.nodeName !== this.node) return;
    const tended = this.tended.get(uid) ?? this.start(pod, uid);
    if (deletionTimestamp !== undefined) void tended.end(pod.metadata.deletionGracePeriodSeconds);
  }

  gone(uid: string): void {
    this.bound.delete(uid);
    const tended = this.tended.get(uid);
    if (tended === undefined) return;
    void tended.stop(0).then(() => {
      this.tended.delete(uid);
      this.addresses.giveBack(tended.ip);
    });
  }

  /** The process that serves for a pod, while there is one. */
  pidOf(namespace: string, name: string): number | undefined {
    return [...this.tended.values()].find((tended) => tended.is(namespace, name))?.pid;
  }

  /** Ends all that runs, and waits until it has ended. */
  async stop(): Promise<void> {
    await Promise.all([...this.tended.values()].map((tended) => tended.stop(LAST_GRACE_SECONDS)));
  }

  private bind(pod: Pod, uid: string): void {
    if ((pod.spec.schedulerName ?? SCHEDULER) !== SCHEDULER || this.bound.has(uid)) return;
    this.bound.add(uid);
    const { name, namespace } = pod.metadata;
    const target = { apiVersion: 'v1', kind: 'Node', name: this.node };
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name, namespace, uid }, target };
    void this.write('POST', `${pathOf(pod)}/binding`, binding);
  }

  private start(pod: Pod, uid: string): TendedPod {
    const tended = new TendedPod(pod, this.addresses.take(), this.runtime, this.write);
    this.tended.set(uid, tended);
    return tended;
  }
}

/** Writes to the API server, for as long as it takes; a write that has become pointless is done. */
export type Write = (method: Method, path: string, body: unknown, contentType?: string) => Promise<void>;

/** Writes that are repeated while the server is away, until the signal; throws when the server calls one wrong. */
export function persistentWrite(client: KubeClient, stopped: AbortSignal): Write {
  return async (...request) => {
    while (!stopped.aborted) {
      try {
        await client.request(...request);
        return;
      } catch (error) {
        if (error instanceof KubeRefusal && SETTLED.includes(error.status)) return;
        if (!mayPass(error)) throw error;
        await sleep(RETRY_MS);
      }
    }
  };
}

/** One pod of the node: what runs for it, and what was reported of it. */
class TendedPod {
  private readonly startedAt = new Date().toISOString();
  private readonly running: RunningPod;
  private unreported: readonly ContainerCondition[] | undefined;
  private isReporting = false;
  private isEnding = false;

  constructor(
    private readonly pod: Pod,
    readonly ip: string,
    runtime: PodRuntime,
    private readonly write: Write,
  ) {
    this.running = runtime.start(pod, ip, (containers) => {
      this.unreported = containers;
      if (!this.isReporting) void this.report();
    });
  }

  get pid(): number | undefined {
    return this.running.pid;
  }

  is(namespace: string, name: string): boolean {
    return this.pod.metadata.namespace === namespace && this.pod.metadata.name === name;
  }

  /** Ends the pod within its grace period and has it removed. */
  async end(graceSeconds = DEFAULT_GRACE_SECONDS): Promise<void> {
    if (this.isEnding) return;
    this.isEnding = true;
    await this.stop(graceSeconds);
    const { uid } = this.pod.metadata;
    await this.write('DELETE', pathOf(this.pod), { gracePeriodSeconds: 0, preconditions: { uid } });
  }

  stop(graceSeconds: number): Promise<void> {
    return this.running.stop(graceSeconds);
  }

  /** One write at a time: of conditions that follow each other quickly only the last is reported. */
  private async report(): Promise<void> {
    this.isReporting = true;
    while (this.unreported !== undefined) {
      const status = podStatus(this.pod, this.ip, this.startedAt, this.unreported);
      this.unreported = undefined;
      // With its uid it is refused for another pod of the same name.
      const patch = { metadata: { uid: this.pod.metadata.uid }, status };
      await this.write('PATCH', `${pathOf(this.pod)}/status`, patch, 'application/strategic-merge-patch+json');
    }
    this.isReporting = false;
  }
}

function pathOf({ metadata }: Pod): string {
  return `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`;
}
