/**
 * A namespace of Kubernetes in memory: optimistic locking, owners and collection as an API server has them, and models of
 * the controllers that matter for capacity. It is for properties over thousands of topologies; what an API server does
 * is tried on a real one.
 */
import { randomUUID } from 'node:crypto';
import type { KubeClient, KubeObject } from '../../activities/kubernetes/kube-client.js';
import type { WriteOutcome } from '../../activities/fenced/store.js';
import type { Resource } from '../../activities/kubernetes/resources.js';
import { canonicalJson } from '../../domain/canonical.js';

interface Pod {
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly template: string;
  ready: boolean;
}

/** The parts of a Deployment's spec that its controller reads. */
export interface DeploymentView {
  readonly replicas: number;
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly strategy?: { readonly rollingUpdate?: { readonly maxSurge?: number; readonly maxUnavailable?: number } };
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: unknown;
  };
}

export interface MemoryCluster {
  readonly client: KubeClient;
  apply(objects: readonly KubeObject[]): void;
  object(resource: Resource, name: string): KubeObject | null;
  /** Pods of a Deployment that can serve. */
  ready(deployment: string): number;
  /** Pods that can serve and are selected by these labels. */
  serving(selector: Readonly<Record<string, string>>): number;
  /** Lets the controllers do one thing. */
  tick(): void;
}

export interface MemoryClusterOptions {
  /** Called after each change, with the client's write that made it, or null where a controller did. */
  readonly onChange: (write: { readonly before: KubeObject | null; readonly after: KubeObject | null } | null) => void;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** How many replicas the load asks an autoscaled Deployment for. */
  readonly wanted: () => number;
  /** What others make of an object before it is stored, at each write. */
  readonly admit: (object: KubeObject) => KubeObject;
}

const KINDS: Readonly<Partial<Record<Resource, string>>> = {
  configmaps: 'ConfigMap',
  deployments: 'Deployment',
  services: 'Service',
  httproutes: 'HTTPRoute',
  ingresses: 'Ingress',
  virtualservices: 'VirtualService',
  horizontalpodautoscalers: 'HorizontalPodAutoscaler',
  poddisruptionbudgets: 'PodDisruptionBudget',
  events: 'Event',
};

export function createMemoryCluster({ onChange, random, wanted, admit }: MemoryClusterOptions): MemoryCluster {
  const objects = new Map<string, KubeObject>();
  const pods = new Map<string, Pod[]>();
  let version = 1;
  let addresses = 0;

  const idOf = (resource: Resource, name: string): string => `${resource}/${name}`;
  const all = (resource: Resource): readonly KubeObject[] =>
    [...objects].filter(([id]) => id.startsWith(`${resource}/`)).map(([, object]) => object);
  const specOf = (object: KubeObject): DeploymentView => object['spec'] as DeploymentView;

  function store(resource: Resource, asked: KubeObject, before: KubeObject | null): KubeObject {
    const object = admit(asked);
    version += 1;
    const changed = before === null || canonicalJson(before['spec'] ?? null) !== canonicalJson(object['spec'] ?? null);
    const generation = (before?.metadata.generation ?? 0) + (changed ? 1 : 0);
    const stored: KubeObject = structuredClone({
      ...object,
      metadata: {
        ...object.metadata,
        uid: before?.metadata.uid ?? randomUUID(),
        resourceVersion: String(version),
        generation,
      },
      ...(resource === 'httproutes' ? { status: accepted(generation) } : {}),
    });
    objects.set(idOf(resource, object.metadata.name), stored);
    if (resource === 'deployments' && before === null) pods.set(object.metadata.name, []);
    return stored;
  }

  function collect(): void {
    for (const [id, object] of objects) {
      const owners = object.metadata.ownerReferences ?? [];
      const lost = owners.some(({ uid }) => ![...objects.values()].some(({ metadata }) => metadata.uid === uid));
      if (!lost) continue;
      objects.delete(id);
      pods.delete(object.metadata.name);
      onChange(null);
      return collect();
    }
  }

  const matches = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean =>
    Object.entries(selector).every(([key, value]) => labels[key] === value);
  const serving = (selector: Readonly<Record<string, string>>): readonly Pod[] =>
    [...pods.values()].flat().filter(({ ready, labels }) => ready && matches(selector, labels));

  function sliceOf(service: string): KubeObject {
    const object = objects.get(idOf('services', service));
    const chosen = (object?.['spec'] as { selector: Record<string, string> } | undefined)?.selector;
    const endpoints = (chosen === undefined ? [] : serving(chosen)).map(({ ip }) => ({ addresses: [ip] }));
    const labels = { 'kubernetes.io/service-name': service };
    return { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: service, labels }, endpoints };
  }

  function put(resource: Resource, object: KubeObject): Promise<WriteOutcome> {
    const before = objects.get(idOf(resource, object.metadata.name)) ?? null;
    const { uid, resourceVersion } = object.metadata;
    if (before?.metadata.uid !== uid || before?.metadata.resourceVersion !== resourceVersion)
      return answer({ kind: 'conflict' });
    onChange({ before, after: store(resource, object, before) });
    return answer({ kind: 'written' });
  }

  const client: KubeClient = {
    where: 'a cluster in memory',
    nowMs: () => Date.now(),
    get: (resource, _namespace, name) => answer(objects.get(idOf(resource, name)) ?? null),
    peek: (resource, _namespace, name) => answer(objects.get(idOf(resource, name)) ?? null),
    list(resource, _namespace, selector) {
      if (resource === 'endpointslices') {
        // `kubernetes.io/service-name=x`, or `kubernetes.io/service-name in (x,y)`
        const names = /(?:=|in \()([^)]*)/.exec(selector ?? '')?.[1]?.split(',') ?? [];
        return answer(names.map(sliceOf));
      }
      const terms = (selector ?? '').split(',').filter((term) => term !== '');
      return answer(
        all(resource).filter(({ metadata: { labels = {} } }) =>
          terms.every((term) => {
            const [key = '', value] = term.split('=');
            return value === undefined ? key in labels : labels[key] === value;
          }),
        ),
      );
    },
    create(resource, _namespace, object) {
      if (objects.has(idOf(resource, object.metadata.name))) return answer({ kind: 'conflict' });
      onChange({ before: null, after: store(resource, object, null) });
      // A late create, whose owner is gone.
      collect();
      return answer({ kind: 'written' });
    },
    replace: (resource, _namespace, object) => put(resource, object),
    annotate: (resource, _namespace, object) => put(resource, object),
    rehearse: (_resource, _namespace, object) => answer(admit(object)),
    remove(resource, _namespace, { metadata: { name, uid, resourceVersion } }) {
      const before = objects.get(idOf(resource, name)) ?? null;
      if (before?.metadata.uid !== uid || before?.metadata.resourceVersion !== resourceVersion)
        return answer({ kind: 'conflict' });
      objects.delete(idOf(resource, name));
      onChange({ before, after: null });
      pods.delete(name);
      collect();
      return answer({ kind: 'written' });
    },
    mayI: () => answer({ allowed: true, reason: '' }),
  };

  /** One thing that the Deployment controller or a kubelet would do; false: nothing is to be done. */
  function roll(deployment: KubeObject): boolean {
    const { name } = deployment.metadata;
    const { replicas, strategy, template } = specOf(deployment);
    const { maxSurge = 1, maxUnavailable = 0 } = strategy?.rollingUpdate ?? {};
    const digest = canonicalJson(template);
    const own = pods.get(name) ?? [];
    const unready = own.filter(({ ready }) => !ready);
    const old = own.filter((pod) => pod.template !== digest);
    const fresh = own.length - old.length;
    const readyCount = own.length - unready.length;
    const least = replicas - maxUnavailable;
    const drop = (pod: Pod): void => void own.splice(own.indexOf(pod), 1);
    const surplus = fresh > replicas ? own.find((pod) => pod.template === digest && !pod.ready) : undefined;
    const lastFresh = fresh > replicas ? own.findLast((pod) => pod.template === digest) : undefined;
    const oldUnready = old.find(({ ready }) => !ready);
    const [firstOld] = old;
    const [starting] = unready;
    if (surplus ?? lastFresh) drop((surplus ?? lastFresh) as Pod);
    else if (oldUnready) drop(oldUnready);
    else if (firstOld && readyCount > least) drop(firstOld);
    else if (fresh < replicas && own.length < replicas + (old.length > 0 ? maxSurge : 0)) {
      addresses += 1;
      own.push({ ip: `10.0.0.${addresses}`, labels: template.metadata.labels, template: digest, ready: false });
    } else if (starting) starting.ready = true;
    else return false;
    pods.set(name, own);
    return true;
  }

  function report(deployment: KubeObject): void {
    const own = pods.get(deployment.metadata.name) ?? [];
    const digest = canonicalJson(specOf(deployment).template);
    const status = {
      observedGeneration: deployment.metadata.generation,
      replicas: own.length,
      updatedReplicas: own.filter(({ template }) => template === digest).length,
      availableReplicas: own.filter(({ ready }) => ready).length,
    };
    if (canonicalJson(status) === canonicalJson(deployment['status'] ?? null)) return;
    version += 1;
    const metadata = { ...deployment.metadata, resourceVersion: String(version) };
    objects.set(idOf('deployments', deployment.metadata.name), { ...deployment, metadata, status });
  }

  function autoscale(): void {
    const [autoscaler] = all('horizontalpodautoscalers');
    if (autoscaler === undefined) return;
    const { scaleTargetRef, minReplicas, maxReplicas } = autoscaler['spec'] as {
      scaleTargetRef: { name: string };
      minReplicas: number;
      maxReplicas: number;
    };
    const deployment = objects.get(idOf('deployments', scaleTargetRef.name));
    if (deployment === undefined) return;
    const replicas = Math.min(Math.max(wanted(), minReplicas), maxReplicas);
    if (specOf(deployment).replicas === replicas) return;
    store('deployments', { ...deployment, spec: { ...specOf(deployment), replicas } }, deployment);
    onChange(null);
  }

  return {
    client,
    apply(list) {
      for (const object of list) {
        const resource = (Object.keys(KINDS) as Resource[]).find((name) => KINDS[name] === object.kind);
        if (resource === undefined) throw new Error(`this cluster has no ${object.kind}`);
        store(resource, object, objects.get(idOf(resource, object.metadata.name)) ?? null);
      }
    },
    object: (resource, name) => objects.get(idOf(resource, name)) ?? null,
    ready: (deployment) => (pods.get(deployment) ?? []).filter(({ ready }) => ready).length,
    serving: (selector) => serving(selector).length,
    tick() {
      autoscale();
      const deployments = all('deployments');
      const chosen = deployments[Math.floor(random() * deployments.length)];
      if (chosen !== undefined && roll(chosen)) onChange(null);
      for (const deployment of all('deployments')) report(deployment);
    },
  };
}

/** Copies: nobody changes what is stored but by a write. */
function answer<T>(value: T): Promise<T> {
  return Promise.resolve(structuredClone(value));
}

function accepted(observedGeneration: number): object {
  const conditions = [{ type: 'Accepted', status: 'True', observedGeneration }];
  return { parents: [{ parentRef: { name: 'gateway' }, conditions }] };
}
