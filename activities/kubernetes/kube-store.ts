import { z } from 'zod';
import { canonicalJson, digestOf } from '../../domain/canonical.js';
import type { Arm, LaneRef } from '../../domain/target.js';
import type { KubernetesTarget } from '../../domain/target.js';
import { LANE, rolloutAnchorName } from '../fenced/lane-view.js';
import type {
  ArmSpec,
  LaneStore,
  ObjectWrite,
  RouteSpec,
  StoredAnchor,
  StoredArm,
  StoredObject,
  StoredRoute,
  WriteOutcome,
} from '../fenced/store.js';
import {
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
  serviceOf,
  ServiceSpec,
  templateFor,
  versionOf,
  withArmSpec,
} from './arms.js';
import type { KubeTypes, Sibling } from './arms.js';
import type { KubeClient, KubeObject, OwnerReference } from './kube-client.js';
import type { Resource } from './resources.js';
import { comparableWeights, weightsOf, withWeights } from './route.js';
import type { RouteWeights } from './route.js';

/** Marks a ConfigMap as an anchor, and says of what. */
export const ANCHOR_LABEL = 'slipway.dev/anchor';
const ANCHOR_KEY = 'anchor.json';

/** Everything of one lane as the API server has it, from one read. */
export interface KubeLane {
  readonly anchors: readonly KubeObject[];
  readonly stable: KubeObject | null;
  readonly siblings: readonly KubeObject[];
  readonly service: KubeObject | null;
  readonly route: KubeObject | null;
}

export function routeResource({ route }: KubernetesTarget): Resource {
  return route.kind === 'HTTPRoute' ? 'httproutes' : 'grpcroutes';
}

/** Reads a lane: five requests, side by side. */
async function readKubeLane(
  client: KubeClient,
  lane: LaneRef,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<KubeLane> {
  const { namespace } = target;
  const ours = selectorOf(lane);
  const [anchors, stable, siblings, service, route] = await Promise.all([
    client.list('configmaps', namespace, `${ANCHOR_LABEL},${ours}`, signal),
    client.get('deployments', namespace, target.deployment, signal),
    client.list('deployments', namespace, `${ARM_LABEL},${ours}`, signal),
    client.get('services', namespace, target.service, signal),
    client.get(routeResource(target), namespace, target.route.name, signal),
  ]);
  return { anchors, stable, siblings, service, route };
}

function selectorOf({ environment, service }: LaneRef): string {
  return `${LANE_LABELS.environment}=${environment},${LANE_LABELS.service}=${service}`;
}

/** Label keys by which siblings differ from stable; none where there is no stable, or it has no Service. */
export function changedOf({ stable, service }: Pick<KubeLane, 'stable' | 'service'>): readonly string[] {
  if (stable === null || service === null) return [];
  const { selector } = DeploymentSpec.parse(stable['spec']);
  return changedLabels(ServiceSpec.parse(service['spec']).selector, selector.matchLabels ?? {});
}

export interface KubeStore extends LaneStore<KubeTypes> {
  /** Everything as it was when it was last listed; null before that. */
  readonly seen: KubeLane | null;
}

/** The objects of one lane on Kubernetes: ConfigMaps as anchors, Deployments as arms, a route of the Gateway API. */
export function createKubeStore(
  client: KubeClient,
  lane: LaneRef,
  target: KubernetesTarget,
  rolloutId: string,
): KubeStore {
  const { namespace } = target;
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
    const changed = changedOf({ stable, service });
    const common = { target, arm, changed, annotations, labels, owner: ownerOf(owner) };
    // The Service first: where it can't be made, no pod is started.
    const made = await client.create('services', namespace, newSiblingService({ ...common, stable: service }), signal);
    if (made.kind === 'refused') return made;
    if (made.kind === 'conflict') {
      // Left by an earlier size of this arm, or by an attempt of which no answer came.
      const there = await client.get('services', namespace, serviceOf(target, arm), signal);
      if (there !== null && !isOwnedBy(there, owner))
        return {
          kind: 'refused',
          reason: `Service ${namespace}/${there.metadata.name} is there already, and is not of this rollout`,
        };
      if (there === null) return { kind: 'conflict' };
    }
    const deployment = newSibling({ ...common, stable, spec: spec as ArmSpec<KubeTypes> });
    const started = await client.create('deployments', namespace, deployment, signal);
    if (started.kind !== 'conflict') return started;
    const there = await client.get('deployments', namespace, deployment.metadata.name, signal);
    if (there === null || isOwnedBy(there, owner)) return started;
    return {
      kind: 'refused',
      reason: `Deployment ${namespace}/${deployment.metadata.name} is there already, and is not of this rollout`,
    };
  }

  return {
    where: `${client.where}, namespace ${namespace}`,
    get seen() {
      return seen;
    },

    async list(signal) {
      seen = await readKubeLane(client, lane, target, signal);
      return storedOf(seen, lane, target);
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
          return {
            kind: 'refused',
            reason: `no rule of ${target.route.kind} ${namespace}/${target.route.name} names the Service ${target.service}`,
          };
      }
    },

    async replace(read, write, _credit, signal) {
      const live = replaced(read, write, target, seen === null ? [] : changedOf(seen));
      return client.replace(resourceOf(read, target), namespace, live, signal);
    },

    async remove(read, _credit, signal) {
      return client.remove(resourceOf(read, target), namespace, read.live, signal);
    },

    leaves(kind, spec) {
      switch (kind) {
        case 'arm':
          return armLeaves(spec as ArmSpec<KubeTypes>);
        case 'route':
          return canonicalJson(comparableWeights(spec as RouteWeights));
        case 'anchor':
          return canonicalJson(spec);
      }
    },
    template: PodTemplate,
    digest: (template) => digestOf(template),
    version: versionOf,
    templateFor: (source, { template }) => templateFor(source, template),
  };
}

function storedOf(found: KubeLane, lane: LaneRef, target: KubernetesTarget): readonly StoredObject<KubeTypes>[] {
  const changed = changedOf(found);
  const siblings = (['canary', 'baseline'] as const).flatMap((arm) => {
    // An object that is being deleted is as good as gone; what is made in its place has another name until it is.
    const live = found.siblings.find(({ metadata }) => metadata.name === deploymentOf(target, arm));
    return live === undefined ? [] : [storedArm(live, arm, changed)];
  });
  return [
    ...found.anchors.map((live) => storedAnchor(live, lane)),
    ...(found.stable === null ? [] : [storedArm(found.stable, 'stable', changed)]),
    ...siblings,
    ...storedRoute(found.route, target),
  ];
}

function storedArm(live: KubeObject, arm: Arm, changed: readonly string[]): StoredArm<KubeTypes> {
  return { kind: 'arm', name: arm, ...headOf(live), spec: armSpecOf(live, changed, arm), status: armStatusOf(live) };
}

function storedRoute(live: KubeObject | null, target: KubernetesTarget): readonly StoredRoute<KubeTypes>[] {
  const spec: RouteSpec | null = live === null ? null : weightsOf(live, target);
  return live === null || spec === null ? [] : [{ kind: 'route', name: 'route', ...headOf(live), spec }];
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

function resourceOf({ kind }: StoredObject<KubeTypes>, target: KubernetesTarget): Resource {
  switch (kind) {
    case 'anchor':
      return 'configmaps';
    case 'arm':
      return 'deployments';
    case 'route':
      return routeResource(target);
  }
}

/** The live object as it shall be: only what Slipway sets is touched. */
function replaced(
  read: StoredObject<KubeTypes>,
  { spec, annotations }: ObjectWrite,
  target: KubernetesTarget,
  changed: readonly string[],
): KubeObject {
  const live = { ...read.live, metadata: { ...read.live.metadata, annotations } };
  // Only the fence is raised: whatever stands there must not be touched, whoever has written it.
  if (spec === read.spec) return live;
  switch (read.kind) {
    case 'anchor':
      return { ...live, data: { [ANCHOR_KEY]: JSON.stringify(spec) } };
    case 'arm':
      return withArmSpec(live, spec as ArmSpec<KubeTypes>, changed, read.name as Arm);
    case 'route':
      return withWeights(live, target, (spec as RouteSpec).weights);
  }
}
