/** Whether a namespace has room for what a rollout starts: pure functions over its ResourceQuotas. */
import { z } from 'zod';
import type { PlannedNeeds, PreflightFinding } from '../../domain/target.js';
import { refuse } from '../fenced/findings.js';
import type { PodTemplate } from './arms.js';
import type { KubeObject } from './kube-client.js';

const Quantities = z.record(z.string(), z.union([z.string(), z.number()]).transform(String)).default({});
const Spec = z.looseObject({
  hard: Quantities,
  scopes: z.array(z.string()).optional(),
  scopeSelector: z.unknown().optional(),
});
const Status = z.looseObject({ used: Quantities });
const Resources = z.looseObject({
  resources: z.looseObject({ requests: Quantities, limits: Quantities }).default({ requests: {}, limits: {} }),
});

/** @see https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A quantity as a number: `250m` is 0.25, `1Gi` is 2^30. NaN: it is none. */
export function quantityOf(text: string): number {
  const found = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)$/.exec(text.trim());
  return found === null ? Number.NaN : Number(found[1]) * (SUFFIXES[found[2] ?? ''] ?? Number.NaN);
}

/** What takes room besides the numbers of the plan. */
export interface Room {
  readonly quotas: readonly KubeObject[];
  /** LimitRanges: what a container asks for that says nothing itself. */
  readonly limitRanges?: readonly KubeObject[];
  /** Objects that the rollout makes, by the name that a quota counts them under: `deployments.apps`. */
  readonly objects?: Readonly<Record<string, number>>;
}

/**
 * What the quotas have no room for, at the moment in which the rollout runs most. Those of a scope are left out: whether
 * they count for these pods can't be told from here.
 */
export function quotaProblems(
  { quotas, limitRanges = [], objects = {} }: Room,
  template: PodTemplate,
  { replicas }: PlannedNeeds,
): readonly PreflightFinding[] {
  const each = needsOfPod(template, defaultsOf(limitRanges));
  return quotas.flatMap((quota) => {
    const { hard, scopes, scopeSelector } = Spec.parse(quota['spec'] ?? {});
    if (scopes !== undefined || scopeSelector !== undefined) return [];
    const { used } = Status.parse(quota['status'] ?? {});
    return Object.entries(hard).flatMap(([name, limit]) => {
      const made = objects[name.replace(/^count\//, '')];
      const needed = made ?? replicas * each(name);
      const taken = used[name] ?? '0';
      // Who needs nothing is not stopped by a quota that is used up.
      if (needed === 0 || !(quantityOf(taken) + needed > quantityOf(limit))) return [];
      const pods = made === undefined ? ` at one time (${replicas} pods)` : '';
      return [
        refuse(
          `ResourceQuota ${quota.metadata.namespace}/${quota.metadata.name} allows ${limit} of ${name}, ${taken} are in use, and the rollout needs ${Number(needed.toPrecision(6))} more${pods}`,
          'raise the quota, or need fewer: promote: in-place, compareWith: stable',
        ),
      ];
    });
  });
}

const LimitRange = z.looseObject({
  limits: z.array(z.looseObject({ type: z.string(), default: Quantities, defaultRequest: Quantities })).default([]),
});
type Defaults = z.infer<typeof Resources>['resources'];

/** What containers ask for that say nothing themselves. */
function defaultsOf(limitRanges: readonly KubeObject[]): Defaults {
  const items = limitRanges.flatMap(({ spec }) => LimitRange.parse(spec ?? {}).limits);
  const own = items.filter(({ type }) => type === 'Container');
  return {
    requests: Object.assign({}, ...own.map(({ defaultRequest }) => defaultRequest)) as Defaults['requests'],
    limits: Object.assign({}, ...own.map((each) => each.default)) as Defaults['limits'],
  };
}

/** How much of a quota's resource one pod of a template takes. */
function needsOfPod(
  { spec: { containers, initContainers = [] } }: PodTemplate,
  defaults: Defaults,
): (name: string) => number {
  const amount = (container: unknown, kind: 'requests' | 'limits', resource: string): number => {
    const { resources } = Resources.parse(container);
    // By the API's word, what has a limit and no request asks for its limit.
    const own = resources[kind][resource] ?? (kind === 'requests' ? resources.limits[resource] : undefined);
    const text = own ?? defaults[kind][resource];
    return text === undefined ? 0 : quantityOf(text);
  };
  return (name) => {
    if (name === 'pods' || name === 'count/pods') return 1;
    const [prefix, rest] = name.split('.', 2);
    const kind = prefix === 'limits' ? 'limits' : 'requests';
    const resource = rest === undefined ? name : rest;
    if (rest === undefined && resource !== 'cpu' && resource !== 'memory') return 0;
    const sum = containers.reduce((total, container) => total + amount(container, kind, resource), 0);
    // Containers of the start run one after the other, before the others.
    return Math.max(sum, ...initContainers.map((container) => amount(container, kind, resource)));
  };
}
