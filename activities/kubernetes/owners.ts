/** Tools that keep objects as somebody has written them down elsewhere, and how they mark what they look after. */
import type { KubeMetadata } from './kube-client.js';

/** A tool that puts objects back, or would with its next release. */
export interface Owner {
  readonly tool: 'Argo CD' | 'Flux' | 'Config Sync' | 'Fleet' | 'kapp' | 'Helm';
  readonly annotations: readonly string[];
  readonly labels: readonly string[];
  /** As whom it writes. */
  readonly managers: readonly string[];
}

/** Helm comes last, for others install its charts too. */
const OWNERS: readonly Owner[] = [
  {
    tool: 'Argo CD',
    annotations: ['argocd.argoproj.io/tracking-id'],
    labels: ['argocd.argoproj.io/instance'],
    managers: ['argocd-controller', 'argocd-application-controller'],
  },
  {
    tool: 'Flux',
    annotations: [],
    labels: ['kustomize.toolkit.fluxcd.io/name', 'helm.toolkit.fluxcd.io/name'],
    managers: ['kustomize-controller', 'helm-controller'],
  },
  { tool: 'Config Sync', annotations: ['configsync.gke.io/resource-id'], labels: [], managers: ['configsync'] },
  { tool: 'Fleet', annotations: ['objectset.rio.cattle.io/id'], labels: [], managers: ['fleetagent'] },
  { tool: 'kapp', annotations: [], labels: ['kapp.k14s.io/app'], managers: ['kapp'] },
  { tool: 'Helm', annotations: ['meta.helm.sh/release-name'], labels: [], managers: [] },
];

/** Who marks an object as its own. */
export function markedBy({ annotations = {}, labels = {} }: KubeMetadata): Owner | null {
  const marks = (owner: Owner): boolean =>
    owner.annotations.some((key) => key in annotations) || owner.labels.some((key) => key in labels);
  return OWNERS.find(marks) ?? null;
}

/** Who manages something of an object, as the API server knows it. */
export function managedBy(manages: (manager: string) => boolean): Owner | null {
  return OWNERS.find(({ managers }) => managers.some(manages)) ?? null;
}

/** Domains of keys by which these tools, and kubectl, find what they look after: a copy that has them gets pruned. */
const TRACKING = [
  'argocd.argoproj.io',
  'toolkit.fluxcd.io',
  'configmanagement.gke.io',
  'configsync.gke.io',
  'lifecycle.config.k8s.io',
  'cattle.io',
  'kapp.k14s.io',
  'helm.sh',
  'applyset.kubernetes.io',
  'kubectl.kubernetes.io',
];

/** Whether a label or annotation says whose an object is, or what its owner shall do with it. */
export function isTracking(key: string): boolean {
  return key === 'app.kubernetes.io/managed-by' || isOf(TRACKING, key);
}

/** Whether a key is of one of these domains, or of one below. */
export function isOf(domains: readonly string[], key: string): boolean {
  const [domain = '', name] = key.split('/', 2);
  return name !== undefined && domains.some((each) => domain === each || domain.endsWith(`.${each}`));
}
