/** What keeps a drain of nodes from taking all pods of a sibling at once: pure functions over PodDisruptionBudgets. */
import { z } from 'zod';
import type { KubernetesTarget } from '../../domain/target.js';
import { ARM_LABEL, deploymentOf, DeploymentSpec, siblingLabels, siblingSelector } from './arms.js';
import type { Sibling } from './arms.js';
import type { KubeObject, OwnerReference } from './kube-client.js';
import { LabelSelector, selects } from './selectors.js';
import type { Labels } from './selectors.js';

const Budget = z.looseObject({
  selector: LabelSelector.nullish(),
  maxUnavailable: z.union([z.int(), z.string()]).optional(),
});

/** Whether a budget counts for pods with these labels. */
export function protects(budget: KubeObject, pods: Labels): boolean {
  const { selector } = Budget.parse(budget['spec'] ?? {});
  return selector != null && selects(selector, pods);
}

/** Stable's budget, where none holds for the pods of a sibling. */
export function ofStableAlone(budgets: readonly KubeObject[], stable: Labels, sibling: Labels): KubeObject | null {
  if (budgets.some((each) => protects(each, sibling))) return null;
  return budgets.find((each) => protects(each, stable)) ?? null;
}

/**
 * The budget of a sibling whose pods none of stable's holds for; null where it needs none: stable has none either, or one
 * holds for both. Never a second one: pods that have two can't be evicted at all.
 */
export function newSiblingBudget(options: {
  readonly target: KubernetesTarget;
  readonly arm: Sibling;
  readonly stable: KubeObject;
  readonly budgets: readonly KubeObject[];
  readonly changed: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: OwnerReference;
}): KubeObject | null {
  const { target, arm, stable, budgets, changed, annotations, labels, owner } = options;
  const spec = DeploymentSpec.parse(stable['spec']);
  const pods = spec.template.metadata?.labels ?? {};
  const own = ofStableAlone(budgets, pods, siblingLabels(pods, changed, arm));
  if (own === null) return null;
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: {
      name: deploymentOf(target, arm),
      namespace: target.namespace,
      labels: { ...labels, [ARM_LABEL]: arm },
      annotations,
      ownerReferences: [owner],
    },
    spec: {
      selector: siblingSelector(spec, changed, arm),
      maxUnavailable: allowanceOf(own),
      // A canary that never becomes ready must not keep a node from being drained.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
    },
  };
}

/**
 * How many pods of a sibling may be away at once: stable's share where it is one, else one. A sibling has another size
 * than stable, at first a single pod: numbers of stable's pods mean nothing there, and of `minAvailable` even a share
 * would let no node be drained that this pod is on.
 */
function allowanceOf(budget: KubeObject): number | string {
  const { maxUnavailable } = Budget.parse(budget['spec'] ?? {});
  // A share is rounded up to whole pods: it lets one go, unless it is none at all.
  return typeof maxUnavailable === 'string' && Number.parseInt(maxUnavailable, 10) > 0 ? maxUnavailable : 1;
}
