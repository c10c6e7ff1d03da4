/** Label selectors as Kubernetes evaluates them: pure functions. */
import { z } from 'zod';

export type Labels = Readonly<Record<string, string>>;

const Requirement = z.object({
  key: z.string(),
  operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
  values: z.array(z.string()).nullish(),
});
type Requirement = z.infer<typeof Requirement>;

/** A selector without any condition selects everything. */
export const LabelSelector = z.looseObject({
  matchLabels: z.record(z.string(), z.string()).nullish(),
  matchExpressions: z.array(Requirement).nullish(),
});
export type LabelSelector = z.infer<typeof LabelSelector>;

const Peer = z.looseObject({ podSelector: LabelSelector.nullish() });
const Rule = z.looseObject({
  from: z.array(Peer).nullish(),
  to: z.array(Peer).nullish(),
  ports: z.unknown().optional(),
});
type Rule = z.infer<typeof Rule>;

/** Of a NetworkPolicy, whom it holds for and whom it lets through. */
export const NetworkPolicySpec = z.looseObject({
  podSelector: LabelSelector.default({}),
  ingress: z.array(Rule).nullish(),
  egress: z.array(Rule).nullish(),
});
export type NetworkPolicySpec = z.infer<typeof NetworkPolicySpec>;

export function selects({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (matchExpressions ?? []).every((each) => meets(each, labels[each.key]))
  );
}

/** What is not there is in no list. */
function meets({ operator, values }: Requirement, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && (values ?? []).includes(value);
    case 'NotIn':
      return value === undefined || !(values ?? []).includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** Whether a policy names pods with the first labels as whom traffic may come from, or go to, and those with the others not. */
export function admitsOnly({ ingress, egress }: NetworkPolicySpec, own: Labels, other: Labels): boolean {
  return [ingress ?? [], egress ?? []].some((rules) =>
    rules.some(
      (rule) =>
        names(rule, own) && !names(rule, other) && !rules.some((each) => samePorts(each, rule) && names(each, other)),
    ),
  );
}

/** Whether one of the peers is such pods. Of which namespaces they are is left out: labels of namespaces are not read. */
function names({ from, to }: Rule, labels: Labels): boolean {
  const peers = from ?? to ?? [];
  return (
    peers.length === 0 ||
    peers.some(({ podSelector, namespaceSelector, ipBlock }) =>
      podSelector == null ? namespaceSelector !== undefined && ipBlock === undefined : selects(podSelector, labels),
    )
  );
}

function samePorts(one: Rule, other: Rule): boolean {
  return one.ports === undefined || JSON.stringify(one.ports) === JSON.stringify(other.ports);
}
