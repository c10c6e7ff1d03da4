/** What preflight finds of others who keep the objects that a rollout writes: they would put back what it sets. */
import { z } from 'zod';
import type { KubernetesTarget, PreflightFinding } from '../../domain/target.js';
import { refuse, warn } from '../fenced/findings.js';
import type { KubeMetadata, KubeObject } from './kube-client.js';
import type { KubeLane } from './kube-store.js';
import { managedBy, markedBy } from './owners.js';
import type { Owner } from './owners.js';

/** What a rollout sets in each kind; in routes of the Gateway API their rules. */
const SET_IN: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['/spec/template', '/spec/replicas'],
  HorizontalPodAutoscaler: ['/spec/minReplicas'],
  VirtualService: ['/spec/http', '/spec/tls', '/spec/tcp'],
};

/** Who else keeps what a rollout writes; who rolls out the same service. */
export function otherOwners(
  { stable, service, route, moreRoutes, routeSource, autoscaler }: KubeLane,
  { namespace }: KubernetesTarget,
): readonly PreflightFinding[] {
  const written = [stable, ...(routeSource === null ? [route, ...moreRoutes] : []), autoscaler].filter(
    (object) => object !== null,
  );
  return [
    ...written.flatMap((object) => ownersOf(object, namespace)),
    // It owns the Service, and the route where it made that.
    ...(service === null ? [] : flaggerOf(service, namespace)),
  ];
}

function ownersOf(object: KubeObject, namespace: string): readonly PreflightFinding[] {
  const { kind, metadata } = object;
  const name = `${kind} ${namespace}/${metadata.name}`;
  const flagger = flaggerOf(object, namespace);
  if (flagger.length > 0) return flagger;
  const controller = (metadata.ownerReferences ?? []).find((each) => each['controller'] === true);
  // An autoscaler of KEDA is told of by what scales.
  if (controller !== undefined && controller.kind !== 'ScaledObject') {
    const owner = `${controller.kind} ${controller.name}`;
    return [
      refuse(
        `${name} is made by ${owner} (${controller.apiVersion}), whose controller would put back what a rollout sets`,
        `name a ${kind} that nobody makes from something else, or let this one stand on its own: stop the controller of ${owner}, and take the owner out of metadata.ownerReferences`,
      ),
    ];
  }
  const pointers = SET_IN[kind] ?? ['/spec/rules'];
  const marked = markedBy(metadata);
  const owner = marked ?? managedBy((manager) => manages(manager, metadata, pointers));
  if (owner !== null) {
    return [
      refuse(
        `${name} is kept by ${owner.tool}, which would put back what a rollout sets`,
        marked === null
          ? `${releaseOf(owner, object, pointers)}, and let it be the manager of these fields no longer: kubectl patch ${kind.toLowerCase()} ${metadata.name} -n ${namespace} --type=merge -p '{"metadata":{"managedFields":[{}]}}'`
          : releaseOf(owner, object, pointers),
      ),
    ];
  }
  return metadata.labels?.['app.kubernetes.io/managed-by'] === 'Helm'
    ? [
        warn(
          `${name} is labelled as Helm's, and belongs to no release: who applies its chart again puts back what a rollout sets`,
          'deploy it with Slipway only, and take the label app.kubernetes.io/managed-by away',
        ),
      ]
    : [];
}

function flaggerOf({ kind, metadata }: KubeObject, namespace: string): readonly PreflightFinding[] {
  const canary = (metadata.ownerReferences ?? []).find(({ apiVersion }) => apiVersion.startsWith('flagger.app/'));
  if (canary === undefined) return [];
  return [
    refuse(
      `${kind} ${namespace}/${metadata.name} is made by Flagger (${canary.kind} ${canary.name}), which rolls this service out itself`,
      `let one of both do it: set spec.revertOnDeletion: true there, and kubectl delete ${canary.kind.toLowerCase()} ${canary.name} -n ${namespace}`,
    ),
  ];
}

/** How an object is taken from its owner's hands. */
function releaseOf(
  { tool }: Owner,
  { kind, apiVersion, metadata: { name } }: KubeObject,
  pointers: readonly string[],
): string {
  switch (tool) {
    case 'Argo CD':
      return `add to the Application: ignoreDifferences: [{group: ${apiVersion.split('/')[0]}, kind: ${kind}, name: ${name}, jsonPointers: [${pointers.join(', ')}]}] with the sync option RespectIgnoreDifferences=true, and take the tracking annotation off the object`;
    case 'Flux':
      return 'annotate it with kustomize.toolkit.fluxcd.io/ssa: IfNotPresent, or take it out of the Kustomization';
    case 'Config Sync':
      return 'annotate it in its source with configmanagement.gke.io/managed: disabled: it is then left as it is, and loses its marks';
    case 'Fleet':
      return 'annotate it with helm.sh/resource-policy: keep, take it out of the bundle, and then its annotations and labels objectset.rio.cattle.io/… away';
    case 'kapp':
      return 'take its labels kapp.k14s.io/… away, for kapp deletes what it finds by them, and then it out of the app';
    case 'Helm':
      return 'annotate it with helm.sh/resource-policy: keep, take it out of the chart, and then its annotations meta.helm.sh/release-name and meta.helm.sh/release-namespace and its label app.kubernetes.io/managed-by away';
  }
}

const ManagedFields = z
  .array(z.looseObject({ manager: z.string().optional(), fieldsV1: z.unknown().optional() }))
  .catch([]);

/** Whether the API server knows somebody as the manager of one of these fields, or of a part of it. */
function manages(manager: string, metadata: KubeMetadata, pointers: readonly string[]): boolean {
  return ManagedFields.parse(metadata['managedFields']).some(
    (entry) => entry.manager === manager && pointers.some((pointer) => isIn(entry.fieldsV1, pointer)),
  );
}

/** @see https://kubernetes.io/docs/reference/using-api/server-side-apply/ */
function isIn(fields: unknown, pointer: string): boolean {
  const steps = pointer.split('/').slice(1);
  let at: unknown = fields;
  for (const step of steps) {
    if (typeof at !== 'object' || at === null) return false;
    at = (at as Readonly<Record<string, unknown>>)[`f:${step}`];
  }
  return at !== undefined;
}
