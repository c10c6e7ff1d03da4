/** How arms stand in Deployments: pure functions from what was read to what shall be written. */
import { canonicalJson, digestOf } from '../../domain/canonical.js';
import type { Digest } from '../../domain/canonical.js';
import { releaseName } from '../../domain/release.js';
import type { HashedRelease } from '../../domain/release.js';
import { armName } from '../../domain/target.js';
import type { Arm, KubernetesTarget, TemplateSource } from '../../domain/target.js';
import { z } from 'zod';
import type { ArmSpec, ArmStatus, TemplateResult } from '../fenced/store.js';
import { Conditions } from './conditions.js';
import { withConfig } from './config-references.js';
import {
  copiedAnnotations,
  copiedLabels,
  copiedServiceSpec,
  renamedPlacement,
  renamedSelector,
  toSibling,
  toStable,
} from './copies.js';
import type { Renaming } from './copies.js';
import type { KubeObject, OwnerReference } from './kube-client.js';
import { LabelSelector } from './selectors.js';

const Labels = z.record(z.string(), z.string());
const EnvVar = z.looseObject({ name: z.string() });
const Container = z.looseObject({
  name: z.string(),
  image: z.string(),
  env: z.array(EnvVar).optional(),
});

/** A pod template with every field that the API server has, as stable would run it. */
export const PodTemplate = z.looseObject({
  metadata: z.looseObject({ labels: Labels.optional() }).optional(),
  spec: z.looseObject({
    containers: z.array(Container).min(1),
    initContainers: z.array(Container).optional(),
    volumes: z.unknown().optional(),
  }),
});
export type PodTemplate = z.infer<typeof PodTemplate>;

/** How this platform keeps things. */
export interface KubeTypes {
  readonly template: PodTemplate;
  readonly live: KubeObject;
}

export const DeploymentSpec = z.looseObject({
  replicas: z.int().default(1),
  selector: LabelSelector,
  template: PodTemplate,
});
export type DeploymentSpec = z.infer<typeof DeploymentSpec>;

/** Kubernetes' own, where a Deployment says nothing else. */
const USUAL_SURGE = '25%';
const Surge = z.looseObject({
  replicas: z.int().default(1),
  strategy: z
    .looseObject({
      type: z.string().default('RollingUpdate'),
      rollingUpdate: z.looseObject({ maxSurge: z.union([z.int(), z.string()]).default(USUAL_SURGE) }).nullish(),
    })
    .default({ type: 'RollingUpdate' }),
});

/** How many pods a Deployment has above its size while it replaces its template: shares are rounded up, as Kubernetes does. */
export function surgeOf(deployment: KubeObject): number {
  const { replicas, strategy } = Surge.parse(deployment['spec']);
  if (strategy.type !== 'RollingUpdate') return 0;
  const most = strategy.rollingUpdate?.maxSurge ?? USUAL_SURGE;
  const pods = typeof most === 'number' ? most : Math.ceil((replicas * Number.parseInt(most, 10)) / 100);
  // There are never more new pods than it has replicas.
  return Math.min(pods, replicas);
}

const DeploymentStatus = z.looseObject({
  observedGeneration: z.int().default(0),
  replicas: z.int().default(0),
  updatedReplicas: z.int().default(0),
  availableReplicas: z.int().default(0),
  conditions: Conditions,
});

/** Label and annotation keys. */
export const ARM_LABEL = 'slipway.dev/arm';
export const LANE_LABELS = { environment: 'slipway.dev/environment', service: 'slipway.dev/service' } as const;

export type Sibling = Exclude<Arm, 'stable'>;

/** The name of an arm's Deployment. */
export function deploymentOf(target: KubernetesTarget, arm: Arm): string {
  return armName(target.deployment, arm);
}

/** The name of an arm's Service. */
export function serviceOf(target: KubernetesTarget, arm: Arm): string {
  return armName(target.service, arm);
}

/**
 * The labels by which siblings differ from stable: one that the Service selects by, so that siblings get nothing of
 * stable's traffic and don't count in its autoscaler, and one that the Deployment selects by, so that no two arms share a
 * selector. Mostly they are one and the same.
 */
export function changedLabels(
  serviceSelector: Readonly<Record<string, string>>,
  matchLabels: Readonly<Record<string, string>>,
): readonly string[] {
  const ofService = preferred(Object.keys(serviceSelector));
  if (ofService === null) return [];
  if (ofService in matchLabels) return [ofService];
  const ofDeployment = preferred(Object.keys(matchLabels));
  return ofDeployment === null ? [ofService] : [ofService, ofDeployment];
}

const USUAL_LABELS = ['app.kubernetes.io/name', 'app', 'k8s-app', 'name'];

function preferred(keys: readonly string[]): string | null {
  return USUAL_LABELS.find((key) => keys.includes(key)) ?? keys.toSorted()[0] ?? null;
}

/** Labels as a sibling has them. */
export function siblingLabels(
  labels: Readonly<Record<string, string>>,
  changed: readonly string[],
  arm: Sibling,
): Readonly<Record<string, string>> {
  const entries = Object.entries(labels).map(([key, value]) => [
    key,
    changed.includes(key) ? `${value}-${arm}` : value,
  ]);
  return { ...Object.fromEntries(entries), [ARM_LABEL]: arm };
}

/** A sibling's template, as stable would run it: what two arms run is compared in this form. */
export function asStable(template: PodTemplate, changed: readonly string[], arm: Arm): PodTemplate {
  if (arm === 'stable') return template;
  const { [ARM_LABEL]: _, ...labels } = template.metadata?.labels ?? {};
  const suffix = `-${arm}`;
  const entries = Object.entries(labels).map(([key, value]) => [
    key,
    changed.includes(key) && value.endsWith(suffix) ? value.slice(0, -suffix.length) : value,
  ]);
  const own = Object.fromEntries(entries) as Readonly<Record<string, string>>;
  return renamed(template, own, toStable(own, changed, arm));
}

/** A template as a sibling runs it: under labels of its own, and away from its own pods instead of stable's. */
export function asSibling(template: PodTemplate, changed: readonly string[], arm: Sibling): PodTemplate {
  const own = template.metadata?.labels ?? {};
  return renamed(template, siblingLabels(own, changed, arm), toSibling(own, changed, arm));
}

function renamed(template: PodTemplate, labels: Readonly<Record<string, string>>, rename: Renaming): PodTemplate {
  return {
    ...template,
    metadata: { ...template.metadata, labels: { ...labels } },
    spec: renamedPlacement(template.spec, rename),
  };
}

/** What selects a sibling's pods, as its Deployment does. */
export function siblingSelector(
  { selector, template }: Pick<DeploymentSpec, 'selector' | 'template'>,
  changed: readonly string[],
  arm: Sibling,
): LabelSelector {
  return {
    ...renamedSelector(selector, toSibling(template.metadata?.labels ?? {}, changed, arm)),
    matchLabels: siblingLabels(selector.matchLabels ?? {}, changed, arm),
  };
}

/** What an arm's Deployment says, in stable's form. */
export function armSpecOf(deployment: KubeObject, changed: readonly string[], arm: Arm): ArmSpec<KubeTypes> {
  const { replicas, template } = DeploymentSpec.parse(deployment['spec']);
  return { template: asStable(template, changed, arm), replicas };
}

/** Where an arm stands, by its Deployment's own word. */
export function armStatusOf(deployment: KubeObject): ArmStatus {
  const { generation = 0 } = deployment.metadata;
  const { observedGeneration, replicas, updatedReplicas, availableReplicas, conditions } = DeploymentStatus.parse(
    deployment['status'] ?? {},
  );
  const progressing = conditions.find(({ type }) => type === 'Progressing');
  const failure = conditions.find(({ type, status }) => type === 'ReplicaFailure' && status === 'True');
  const seen = observedGeneration >= generation;
  // Old pods are available too while a new template rolls out; only what is left over is surely new.
  const old = Math.max(0, replicas - updatedReplicas);
  return {
    ready: seen ? Math.max(0, Math.min(updatedReplicas, availableReplicas - old)) : 0,
    ...(seen ? {} : { unseen: true as const }),
    failed: seen && progressing?.reason === 'ProgressDeadlineExceeded',
    message: failure?.message ?? (progressing?.status === 'False' ? (progressing.message ?? null) : null),
  };
}

/** A sibling's Deployment: stable's own, but for what makes it a copy. */
export function newSibling(options: {
  readonly target: KubernetesTarget;
  readonly arm: Sibling;
  readonly stable: KubeObject;
  readonly changed: readonly string[];
  readonly spec: ArmSpec<KubeTypes>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: OwnerReference;
}): KubeObject {
  const { target, arm, stable, changed, spec, annotations, labels, owner } = options;
  const stableSpec = DeploymentSpec.parse(stable['spec']);
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: deploymentOf(target, arm),
      namespace: target.namespace,
      labels: { ...copiedLabels(stable.metadata, changed, arm), ...labels, [ARM_LABEL]: arm },
      annotations,
      ownerReferences: [owner],
    },
    spec: {
      ...stableSpec,
      paused: false,
      replicas: spec.replicas,
      selector: siblingSelector(stableSpec, changed, arm),
      template: asSibling(spec.template, changed, arm),
    },
  };
}

/** The Service of a sibling: stable's ports, and the sibling's pods. */
export function newSiblingService(options: {
  readonly target: KubernetesTarget;
  readonly arm: Sibling;
  readonly stable: KubeObject;
  readonly changed: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: OwnerReference;
}): KubeObject {
  const { target, arm, stable, changed, annotations, labels, owner } = options;
  const spec = ServiceSpec.parse(stable['spec']);
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: serviceOf(target, arm),
      namespace: target.namespace,
      labels: { ...copiedLabels(stable.metadata, changed, arm), ...labels, [ARM_LABEL]: arm },
      annotations: { ...copiedAnnotations(stable.metadata), ...annotations },
      ownerReferences: [owner],
    },
    spec: {
      ...copiedServiceSpec(spec),
      type: 'ClusterIP',
      selector: siblingLabels(spec.selector, changed, arm),
      // Ports of the nodes belong to one Service only.
      ports: spec.ports.map((port) => ({ ...port, nodePort: undefined })),
    },
  };
}

export const ServiceSpec = z.looseObject({
  selector: Labels.default({}),
  ports: z.array(z.looseObject({ port: z.int(), nodePort: z.int().optional() })).default([]),
});

/**
 * The live Deployment with another template and size; all else stays as it is. Stable is never made smaller: whoever made
 * it larger, a person or an autoscaler, had a reason.
 */
export function withArmSpec(
  live: KubeObject,
  { template, replicas }: ArmSpec<KubeTypes>,
  changed: readonly string[],
  arm: Arm,
): KubeObject {
  const written = arm === 'stable' ? template : asSibling(template, changed, arm);
  const { replicas: before } = DeploymentSpec.parse(live['spec']);
  const size = arm === 'stable' ? Math.max(before, replicas) : replicas;
  return { ...live, spec: { ...(live['spec'] as object), template: written, replicas: size } };
}

/**
 * What is compared to notice that somebody else changed an arm; short, for it stands in an annotation. The size of stable
 * is not Slipway's.
 */
export function armLeaves({ template, replicas }: ArmSpec<KubeTypes>, arm: Arm): string {
  const what = { images: imagesOf(template), template: templateDigest(template) };
  return canonicalJson(arm === 'stable' ? what : { ...what, replicas });
}

/** The digest of what a template says, in whatever of the ways in which API servers write it down. */
export function templateDigest(template: PodTemplate): Digest {
  const { containers, initContainers } = template.spec;
  const spec = {
    ...template.spec,
    containers: containers.map(withoutEmptyValues),
    ...(initContainers === undefined ? {} : { initContainers: initContainers.map(withoutEmptyValues) }),
  };
  return digestOf(withoutNulls({ ...template, spec }));
}

/** No API server keeps an empty value of a variable: without one it is the same. */
function withoutEmptyValues(container: z.infer<typeof Container>): z.infer<typeof Container> {
  const { env } = container;
  if (env === undefined) return container;
  return { ...container, env: env.map(({ value, ...others }) => (value === '' ? others : { ...others, value })) };
}

/** Servers before 1.34 write `creationTimestamp: null` into each template. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== null);
  return Object.fromEntries(entries.map(([key, item]) => [key, withoutNulls(item)]));
}

const AppliedLeaves = z.looseObject({ template: z.string() });

/**
 * Leaves as they were recorded, in the form of {@link armLeaves}. Before that was independent of how a server writes a
 * template down, the digest was one of its very bytes: what it was taken of is still there, or is not.
 */
export function appliedLeaves(recorded: string, template: PodTemplate): string {
  const leaves = AppliedLeaves.safeParse(jsonOf(recorded));
  const now = templateDigest(template);
  if (!leaves.success || leaves.data.template === now) return recorded;
  const earlier = [template, { ...template, metadata: { ...template.metadata, creationTimestamp: null } }];
  const isSame = earlier.some((bytes) => digestOf(bytes) === leaves.data.template);
  return isSame ? canonicalJson({ ...leaves.data, template: now }) : recorded;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not Slipway's: it equals nothing, and is shown as it is.
    return undefined;
  }
}

function imagesOf({ spec }: PodTemplate): Readonly<Record<string, string>> {
  return Object.fromEntries(spec.containers.map(({ name, image }) => [name, image]));
}

/** What a template runs, for people. */
export function versionOf(template: PodTemplate): string {
  return releaseName(imagesOf(template));
}

/** The template that an arm shall run: stable's as it was recorded, with the release's images, environment and references. */
export function templateFor(source: TemplateSource, recorded: PodTemplate | null): TemplateResult<KubeTypes> {
  if (recorded === null)
    return { kind: 'none', reason: 'stable had no Deployment when the rollout opened: there is no template' };
  return source.from === 'recorded' ? { kind: 'template', template: recorded } : released(recorded, source.release);
}

function released(recorded: PodTemplate, { images, env, config }: HashedRelease): TemplateResult<KubeTypes> {
  const { containers, initContainers } = recorded.spec;
  const [only] = containers;
  const names = Object.keys(images);
  // One image for one container needs no name: the container is often named otherwise than the file says.
  const single = names.length === 1 && containers.length === 1 && only !== undefined ? only.name : null;
  const imageOf = (name: string): string | undefined =>
    images[name] ?? (name === single ? Object.values(images)[0] : undefined);
  const known = [...containers, ...(initContainers ?? [])].map(({ name }) => name);
  const unknown = single === null ? names.filter((name) => !known.includes(name)) : [];
  if (unknown.length > 0) {
    return {
      kind: 'none',
      reason: `there is no container ${unknown.join(', ')}: the Deployment's containers are ${known.join(', ')}`,
    };
  }
  const withImage = <T extends z.infer<typeof Container>>(container: T): T => ({
    ...container,
    image: imageOf(container.name) ?? container.image,
  });
  const template = {
    ...recorded,
    spec: {
      ...recorded.spec,
      containers: containers.map((container) => withEnv(withImage(container), env)),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(withImage) }),
    },
  };
  return config === undefined ? { kind: 'template', template } : withConfig(template, config);
}

function withEnv(
  container: z.infer<typeof Container>,
  env: Readonly<Record<string, string>>,
): z.infer<typeof Container> {
  const names = Object.keys(env);
  if (names.length === 0) return container;
  const before = container.env ?? [];
  const isNew = (name: string): boolean => before.every((each) => each.name !== name);
  const set = (name: string): z.infer<typeof EnvVar> => ({ name, value: env[name] });
  // Each in its place: `$(NAME)` in a later variable means only what stands before it.
  return {
    ...container,
    env: [
      ...before.map((each) => (names.includes(each.name) ? set(each.name) : each)),
      ...names.filter(isNew).map(set),
    ],
  };
}
