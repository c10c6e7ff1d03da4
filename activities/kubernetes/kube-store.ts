import { z } from 'zod';
import { canonicalJson, digestOf } from '../../domain/canonical.js';
import type { Arm, LaneRef } from '../../domain/target.js';
import type { KubernetesTarget } from '../../domain/target.js';
import { ANNOTATION, LANE, rolloutAnchorName, ROUTE } from '../fenced/lane-view.js';
import type {
  ArmSpec,
  AutoscalerSpec,
  LaneStore,
  ObjectWrite,
  RouteSpec,
  StoredAnchor,
  StoredArm,
  StoredAutoscaler,
  StoredObject,
  StoredRoute,
  WriteOutcome,
} from '../fenced/store.js';
import {
  appliedLeaves,
  ARM_LABEL,
  armLeaves,
  armSpecOf,
  armStatusOf,
  changedLabels,
  deploymentOf,
  DeploymentSpec,
  LANE_LABELS,
  newSibling,
  newSiblingService,
  PodTemplate,
  ServiceSpec,
  templateDigest,
  templateFor,
  versionOf,
  withArmSpec,
} from './arms.js';
import type { KubeTypes, Sibling } from './arms.js';
import { configurationNames, readConfiguration } from './config-references.js';
import { newSiblingBudget } from './disruption.js';
import type { KubeClient, KubeObject, OwnerReference } from './kube-client.js';
import type { Resource } from './resources.js';
import { routerOf } from './traffic/router.js';
import type { TrafficRouter } from './traffic/router.js';
import { comparableWeights } from './traffic/shares.js';
import type { RouteWeights } from './traffic/shares.js';

/** Marks a ConfigMap as an anchor, and says of what. */
export const ANCHOR_LABEL = 'slipway.dev/anchor';
const ANCHOR_KEY = 'anchor.json';

/** Everything of one lane as the API server has it, from one read. */
export interface KubeLane {
  readonly anchors: readonly KubeObject[];
  readonly stable: KubeObject | null;
  readonly siblings: readonly KubeObject[];
  readonly service: KubeObject | null;
  /** What holds the shares of traffic; always null where they follow from the numbers of replicas. */
  readonly route: KubeObject | null;
  /** Further routes of that kind that send traffic to the Service, where they are allowed. */
  readonly moreRoutes: readonly KubeObject[];
  /** What the holder of the shares is made from, where Slipway makes it. */
  readonly routeSource: KubeObject | null;
  /** What sets the size of stable. */
  readonly autoscaler: KubeObject | null;
}

/** Reads a lane: six requests, side by side; one more where the holder of the shares is made by Slipway, or not alone. */
async function readKubeLane(
  client: KubeClient,
  lane: LaneRef,
  target: KubernetesTarget,
  router: TrafficRouter | null,
  signal: AbortSignal | undefined,
): Promise<KubeLane> {
  const { namespace } = target;
  const ours = selectorOf(lane);
  const routed = (name: string | null | undefined): Promise<KubeObject | null> =>
    router === null || name == null ? Promise.resolve(null) : client.get(router.resource, namespace, name, signal);
  const all = router?.others === 'changed';
  const [anchors, stable, siblings, service, autoscalers, route, routeSource, routes] = await Promise.all([
    client.list('configmaps', namespace, `${ANCHOR_LABEL},${ours}`, signal),
    client.get('deployments', namespace, target.deployment, signal),
    client.list('deployments', namespace, `${ARM_LABEL},${ours}`, signal),
    client.get('services', namespace, target.service, signal),
    client.list('horizontalpodautoscalers', namespace, null, signal),
    routed(router?.holder),
    routed(router?.source),
    all ? client.list(router.resource, namespace, null, signal) : [],
  ]);
  const moreRoutes = routes.filter((each) => each.metadata.name !== router?.holder && router?.read(each) != null);
  const autoscaler = autoscalers.find((each) => scales(each, target.deployment)) ?? null;
  return { anchors, stable, siblings, service, route, moreRoutes, routeSource, autoscaler };
}

/**
 * Reads of a lane only what tells whether stable can serve as it did, and where the traffic goes: three requests, side by
 * side. What else there is stands here as if it were not there.
 */
async function readServing(
  client: KubeClient,
  anchor: string,
  { namespace, deployment }: KubernetesTarget,
  router: TrafficRouter | null,
  signal: AbortSignal | undefined,
): Promise<KubeLane> {
  const routesOf = async ({ resource, holder, others }: TrafficRouter): Promise<readonly KubeObject[]> => {
    if (others === 'changed') return client.list(resource, namespace, null, signal);
    const only = await client.get(resource, namespace, holder, signal);
    return only === null ? [] : [only];
  };
  const [held, stable, routes] = await Promise.all([
    client.get('configmaps', namespace, anchor, signal),
    client.get('deployments', namespace, deployment, signal),
    router === null ? [] : routesOf(router),
  ]);
  return {
    anchors: held === null ? [] : [held],
    stable,
    siblings: [],
    service: null,
    route: routes.find(({ metadata }) => metadata.name === router?.holder) ?? null,
    moreRoutes: routes.filter((each) => each.metadata.name !== router?.holder && router?.read(each) != null),
    routeSource: null,
    autoscaler: null,
  };
}

const AutoscalerObject = z.looseObject({
  scaleTargetRef: z.looseObject({ kind: z.string(), name: z.string() }),
  minReplicas: z.int().default(1),
  maxReplicas: z.int(),
});

/** Whether an autoscaler sets the size of a Deployment. */
export function scales(autoscaler: KubeObject, deployment: string): boolean {
  const { scaleTargetRef } = AutoscalerObject.parse(autoscaler['spec']);
  return scaleTargetRef.kind === 'Deployment' && scaleTargetRef.name === deployment;
}

function selectorOf({ environment, service }: LaneRef): string {
  return `${LANE_LABELS.environment}=${environment},${LANE_LABELS.service}=${service}`;
}

/** What splits the traffic, for messages: `HTTPRoute shop/hello`. */
export function routeName({ namespace, route }: KubernetesTarget): string {
  return route.kind === 'none' ? `the replicas in ${namespace}` : `${route.kind} ${namespace}/${route.name}`;
}

/**
 * Label keys by which siblings differ from stable. None where there is no stable, or it has no Service; and where shares
 * follow from the numbers of replicas, for there the Service must select the pods of all arms.
 */
export function changedOf(
  { stable, service }: Pick<KubeLane, 'stable' | 'service'>,
  { route }: KubernetesTarget,
): readonly string[] {
  if (stable === null || service === null || route.kind === 'none') return [];
  const { selector } = DeploymentSpec.parse(stable['spec']);
  return changedLabels(ServiceSpec.parse(service['spec']).selector, selector.matchLabels ?? {});
}

export interface KubeStore extends LaneStore<KubeTypes> {
  /** Everything as it was when it was last listed; null before that. */
  readonly seen: KubeLane | null;
}

/** The objects of one lane on Kubernetes: ConfigMaps as anchors, Deployments as arms, and what holds the shares of traffic. */
export function createKubeStore(
  client: KubeClient,
  lane: LaneRef,
  target: KubernetesTarget,
  rolloutId: string,
): KubeStore {
  const { namespace } = target;
  const router = routerOf(target);
  const labels = { [LANE_LABELS.environment]: lane.environment, [LANE_LABELS.service]: lane.service };
  /** As it was when last listed: what siblings are made from. A write always follows a read. */
  let seen: KubeLane | null = null;

  function ownerOf(uid: string): OwnerReference {
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      name: anchorName(lane, rolloutAnchorName(rolloutId)),
      uid,
      // The anchor is deleted last, and must not wait for what it owns.
      blockOwnerDeletion: false,
    };
  }

  /** Null: it is there, and of this rollout. */
  async function createBeside(
    resource: 'services' | 'poddisruptionbudgets',
    wanted: KubeObject,
    owner: string,
    signal: AbortSignal | undefined,
  ): Promise<Exclude<WriteOutcome, { kind: 'written' }> | null> {
    const made = await client.create(resource, namespace, wanted, signal);
    if (made.kind === 'written') return null;
    if (made.kind === 'refused') return made;
    // Left by an earlier size of this arm, or by an attempt of which no answer came.
    const there = await client.get(resource, namespace, wanted.metadata.name, signal);
    if (there === null) return made;
    return isOwnedBy(there, owner) ? null : notOurs(there);
  }

  function notOurs({ kind, metadata: { name } }: KubeObject): Extract<WriteOutcome, { kind: 'refused' }> {
    return { kind: 'refused', reason: `${kind} ${namespace}/${name} is there already, and is not of this rollout` };
  }

  /** What holds the shares, where it is the rollout's own. */
  async function createRoute(
    { spec, annotations, owner }: ObjectWrite,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome> {
    const source = seen?.routeSource ?? null;
    const made = source === null ? null : (router?.create(source, (spec as RouteSpec).weights) ?? null);
    if (router === null || made === null || owner === null)
      return { kind: 'refused', reason: `no rule of ${routeName(target)} names the Service ${target.service}` };
    const metadata = {
      ...made.metadata,
      labels,
      annotations: { ...made.metadata.annotations, ...annotations },
      ownerReferences: [ownerOf(owner)],
    };
    return client.create(router.resource, namespace, { ...made, metadata }, signal);
  }

  async function createSibling(
    arm: Sibling,
    { spec, annotations, owner }: ObjectWrite,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome> {
    const { stable = null, service = null } = seen ?? {};
    if (stable === null)
      return { kind: 'refused', reason: `there is no Deployment ${namespace}/${target.deployment} to copy` };
    if (service === null) return { kind: 'refused', reason: `there is no Service ${namespace}/${target.service}` };
    if (owner === null) throw new TypeError(`${arm} must belong to the rollout's anchor`);
    const changed = changedOf({ stable, service }, target);
    const common = { target, arm, changed, annotations, labels, owner: ownerOf(owner) };
    // The Service and the budget first: where they can't be made, no pod is started.
    if (router !== null) {
      const wanted = newSiblingService({ ...common, stable: service });
      const failed = await createBeside('services', wanted, owner, signal);
      if (failed !== null) return failed;
    }
    const budgets = await client.list('poddisruptionbudgets', namespace, null, signal);
    const budget = newSiblingBudget({ ...common, stable, budgets });
    const failed = budget === null ? null : await createBeside('poddisruptionbudgets', budget, owner, signal);
    if (failed !== null) return failed;
    const deployment = await asStored(
      newSibling({ ...common, stable, spec: spec as ArmSpec<KubeTypes> }),
      arm,
      changed,
      signal,
    );
    const started = await client.create('deployments', namespace, deployment, signal);
    if (started.kind !== 'conflict') return started;
    const there = await client.get('deployments', namespace, deployment.metadata.name, signal);
    return there === null || isOwnedBy(there, owner) ? started : notOurs(there);
  }

  /**
   * An arm with what will be found of it on record: on admission others may give it another registry, more labels or other
   * limits, and none of that is a change that somebody makes to what was approved.
   */
  async function asStored(
    wanted: KubeObject,
    arm: Arm,
    changed: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<KubeObject> {
    const stored = await client.rehearse('deployments', namespace, wanted, signal);
    const [meant, applied] = [wanted, stored ?? wanted].map((each) => armLeaves(armSpecOf(each, changed, arm), arm));
    if (meant === undefined || applied === undefined || meant === applied) return wanted;
    const annotations = { ...wanted.metadata.annotations, [ANNOTATION.applied]: applied, [ANNOTATION.meant]: meant };
    return { ...wanted, metadata: { ...wanted.metadata, annotations } };
  }

  return {
    where: `${client.where}, namespace ${namespace}`,
    get seen() {
      return seen;
    },

    split: router === null ? 'replicas' : 'weights',

    async list(signal) {
      seen = await readKubeLane(client, lane, target, router, signal);
      return storedOf(seen, lane, target, router);
    },

    async listServing(id, signal) {
      const found = await readServing(client, anchorName(lane, rolloutAnchorName(id)), target, router, signal);
      return storedOf(found, lane, target, router);
    },

    async create({ kind, name }, write, _credit, signal) {
      switch (kind) {
        case 'anchor':
          return client.create('configmaps', namespace, newAnchor(lane, namespace, name, labels, write), signal);
        case 'arm':
          return name === 'stable'
            ? { kind: 'refused', reason: `there is no Deployment ${namespace}/${target.deployment}: apply it first` }
            : createSibling(name as Sibling, write, signal);
        case 'route':
          return createRoute(write, signal);
      }
    },

    async replace(read, write, _credit, signal) {
      const changed = seen === null ? [] : changedOf(seen, target);
      const wanted = replaced(read, write, router, changed);
      // What is stored of the template that is there is known: it is there.
      const isNew = read.kind === 'arm' && (write.spec as ArmSpec<KubeTypes>).template !== read.spec.template;
      const live = isNew ? await asStored(wanted, read.name as Arm, changed, signal) : wanted;
      return client.replace(resourceOf(read, router), namespace, live, signal);
    },

    async remove(read, _credit, signal) {
      return client.remove(resourceOf(read, router), namespace, read.live, signal);
    },

    leaves({ kind, name }, spec) {
      switch (kind) {
        case 'arm':
          return armLeaves(spec as ArmSpec<KubeTypes>, name as Arm);
        case 'autoscaler':
          return canonicalJson({ minReplicas: (spec as AutoscalerSpec).minReplicas });
        case 'route':
          return canonicalJson(comparableWeights(spec as RouteWeights));
        case 'anchor':
          return canonicalJson(spec);
      }
    },
    template: PodTemplate,
    digest: templateDigest,
    version: versionOf,
    configurationNames,
    configuration: (names, signal) => readConfiguration(client, namespace, names, signal),
    templateFor: (source, { template }) => templateFor(source, template),
  };
}

function storedOf(
  found: KubeLane,
  lane: LaneRef,
  target: KubernetesTarget,
  router: TrafficRouter | null,
): readonly StoredObject<KubeTypes>[] {
  const changed = changedOf(found, target);
  const siblings = (['canary', 'baseline'] as const).flatMap((arm) => {
    // An object that is being deleted is as good as gone; what is made in its place has another name until it is.
    const live = found.siblings.find(({ metadata }) => metadata.name === deploymentOf(target, arm));
    return live === undefined ? [] : [storedArm(live, arm, changed)];
  });
  return [
    ...found.anchors.map((live) => storedAnchor(live, lane)),
    ...(found.stable === null ? [] : [storedArm(found.stable, 'stable', changed)]),
    ...siblings,
    ...storedRoute(found.route, ROUTE, router),
    ...found.moreRoutes.flatMap((live) => storedRoute(live, `${ROUTE}/${live.metadata.name}`, router)),
    ...storedAutoscaler(found.autoscaler),
  ];
}

function storedArm(live: KubeObject, arm: Arm, changed: readonly string[]): StoredArm<KubeTypes> {
  const spec = armSpecOf(live, changed, arm);
  const head = headOf(live);
  const { [ANNOTATION.applied]: applied } = head.annotations;
  const annotations =
    applied === undefined
      ? head.annotations
      : { ...head.annotations, [ANNOTATION.applied]: appliedLeaves(applied, spec.template) };
  return { kind: 'arm', name: arm, ...head, annotations, spec, status: armStatusOf(live) };
}

function storedRoute(
  live: KubeObject | null,
  name: string,
  router: TrafficRouter | null,
): readonly StoredRoute<KubeTypes>[] {
  const spec: RouteSpec | null = live === null || router === null ? null : router.read(live);
  return live === null || spec === null ? [] : [{ kind: 'route', name, ...headOf(live), spec }];
}

function storedAutoscaler(live: KubeObject | null): readonly StoredAutoscaler<KubeTypes>[] {
  if (live === null) return [];
  const { minReplicas, maxReplicas } = AutoscalerObject.parse(live['spec']);
  return [{ kind: 'autoscaler', name: 'autoscaler', ...headOf(live), spec: { minReplicas, maxReplicas } }];
}

function storedAnchor(live: KubeObject, lane: LaneRef): StoredAnchor<KubeTypes> {
  const prefix = anchorName(lane, '');
  const { name } = live.metadata;
  return {
    kind: 'anchor',
    name: name === anchorName(lane, LANE) ? LANE : name.slice(prefix.length),
    ...headOf(live),
    spec: anchorSpecOf(live),
  };
}

const AnchorData = z.looseObject({ [ANCHOR_KEY]: z.string() });

/** What an anchor holds; undefined, which no schema takes, where it holds nothing that can be read. */
export function anchorSpecOf(live: KubeObject): unknown {
  const data = AnchorData.safeParse(live['data']);
  if (!data.success) return undefined;
  try {
    return JSON.parse(data.data[ANCHOR_KEY]) as unknown;
  } catch {
    // Whoever asks says which anchor can't be read, by its schema.
    return undefined;
  }
}

/**
 * `slipway-<environment>-<service>-<hash>-lane`: lanes of several environments may live in one namespace, and names may
 * hold hyphens of their own.
 */
export function anchorName({ environment, service }: LaneRef, name: string): string {
  const hash = digestOf({ environment, service }).slice('sha256:'.length, 'sha256:'.length + 8);
  return `slipway-${environment}-${service}-${hash}-${name}`;
}

function newAnchor(
  lane: LaneRef,
  namespace: string,
  name: string,
  labels: Readonly<Record<string, string>>,
  { spec, annotations }: ObjectWrite,
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: anchorName(lane, name),
      namespace,
      labels: {
        ...labels,
        [ANCHOR_LABEL]: name === LANE ? 'lane' : 'rollout',
        'app.kubernetes.io/managed-by': 'slipway',
      },
      annotations,
    },
    data: { [ANCHOR_KEY]: JSON.stringify(spec) },
  };
}

function headOf(live: KubeObject) {
  const { metadata } = live;
  return { uid: metadata.uid ?? '', owner: ownerUid(metadata), annotations: metadata.annotations ?? {}, live };
}

function ownerUid({ ownerReferences = [] }: KubeObject['metadata']): string | null {
  return ownerReferences.find(({ kind, name }) => kind === 'ConfigMap' && name.startsWith('slipway-'))?.uid ?? null;
}

function isOwnedBy({ metadata }: KubeObject, uid: string): boolean {
  return ownerUid(metadata) === uid;
}

function resourceOf({ kind }: StoredObject<KubeTypes>, router: TrafficRouter | null): Resource {
  switch (kind) {
    case 'anchor':
      return 'configmaps';
    case 'arm':
      return 'deployments';
    case 'autoscaler':
      return 'horizontalpodautoscalers';
    case 'route':
      return routed(router).resource;
  }
}

/** A route was read, so there is a router that has read it. */
function routed(router: TrafficRouter | null): TrafficRouter {
  if (router === null) throw new TypeError('there is no route where traffic is split by replicas');
  return router;
}

/** The live object as it shall be: only what Slipway sets is touched. */
function replaced(
  read: StoredObject<KubeTypes>,
  { spec, annotations }: ObjectWrite,
  router: TrafficRouter | null,
  changed: readonly string[],
): KubeObject {
  const live: KubeObject = { ...read.live, metadata: { ...read.live.metadata, annotations } };
  // Only the fence is raised: whatever stands there must not be touched, whoever has written it.
  if (spec === read.spec) return live;
  switch (read.kind) {
    case 'anchor':
      return { ...live, data: { [ANCHOR_KEY]: JSON.stringify(spec) } };
    case 'arm':
      return withArmSpec(live, spec as ArmSpec<KubeTypes>, changed, read.name as Arm);
    case 'autoscaler':
      return { ...live, spec: { ...(live['spec'] as object), minReplicas: (spec as AutoscalerSpec).minReplicas } };
    case 'route':
      return routed(router).write(live, (spec as RouteSpec).weights);
  }
}
