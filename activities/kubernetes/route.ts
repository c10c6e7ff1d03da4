/** How weights stand in a route of the Gateway API: pure functions from what was read to what shall be written. */
import { z } from 'zod';
import type { Arm, KubernetesTarget, Weights } from '../../domain/target.js';
import { serviceOf } from './arms.js';
import { Conditions } from './conditions.js';
import type { KubeObject } from './kube-client.js';
import { FIELD_MANAGER } from './resources.js';

const BackendRef = z.looseObject({
  group: z.string().default(''),
  kind: z.string().default('Service'),
  name: z.string(),
  namespace: z.string().optional(),
  weight: z.int().default(1),
});
type BackendRef = z.infer<typeof BackendRef>;

const Rule = z.looseObject({ backendRefs: z.array(BackendRef).optional() });
export const RouteSpec = z.looseObject({ rules: z.array(Rule).default([]) });

const RouteStatus = z.looseObject({
  parents: z.array(z.looseObject({ conditions: Conditions })).default([]),
});

const ARMS: readonly Arm[] = ['stable', 'canary', 'baseline'];

/** The weights of the rules that name the Service, in percent. */
export interface RouteWeights {
  readonly weights: Weights;
  /** Where the rules differ among each other: those of each. */
  readonly rules?: readonly Weights[];
}

/** Null: no rule names the Service. */
export function weightsOf(route: KubeObject, target: KubernetesTarget): RouteWeights | null {
  const all = rulesOf(route)
    .filter((rule) => namesService(rule, target))
    .map(({ backendRefs = [] }) => sharesOf(backendRefs, target));
  const [first] = all;
  if (first === undefined) return null;
  const same = all.every((one) => ARMS.every((arm) => one[arm] === first[arm]));
  return same ? { weights: first } : { weights: first, rules: all };
}

/** Backends of the Service's rules that are no arm of it. */
export function strangersOf(route: KubeObject, target: KubernetesTarget): readonly string[] {
  return rulesOf(route)
    .filter((rule) => namesService(rule, target))
    .flatMap(({ backendRefs = [] }) => backendRefs.filter((ref) => armOf(ref, target) === null))
    .map(({ kind, name }) => `${kind} ${name}`);
}

/** The live route with these weights in each rule that names the Service; all else stays as it is. */
export function withWeights(live: KubeObject, target: KubernetesTarget, weights: Weights): KubeObject {
  const rules = rulesOf(live).map((rule) =>
    namesService(rule, target) ? { ...rule, backendRefs: backendsWith(rule.backendRefs ?? [], target, weights) } : rule,
  );
  return { ...live, spec: { ...(live['spec'] as object), rules } };
}

/**
 * Null where all of the route's parents have taken the route as it is now; else who has not, and why. What a controller
 * has not seen is not how the traffic flows.
 */
export function notAcceptedBecause(route: KubeObject): string | null {
  const { parents } = RouteStatus.parse(route['status'] ?? {});
  if (parents.length === 0) return 'no gateway has taken the route yet';
  const { generation = 0 } = route.metadata;
  for (const { conditions } of parents) {
    const accepted = conditions.find(({ type }) => type === 'Accepted');
    if (accepted === undefined || accepted.observedGeneration < generation)
      return `a gateway has not seen generation ${generation} yet`;
    if (accepted.status !== 'True') return `a gateway says ${accepted.reason ?? 'no'}: ${accepted.message ?? ''}`;
  }
  return null;
}

const Managers = z.array(
  z.looseObject({ manager: z.string().optional(), time: z.string().optional(), subresource: z.string().optional() }),
);

/** When Slipway last wrote the route, by the API server's clock; null where it never did. */
export function lastWriteMs({ metadata }: KubeObject): number | null {
  const own = Managers.parse(metadata['managedFields'] ?? []).find(
    ({ manager, subresource }) => manager === FIELD_MANAGER && subresource === undefined,
  );
  return own?.time === undefined ? null : Date.parse(own.time);
}

function rulesOf(route: KubeObject): readonly z.infer<typeof Rule>[] {
  return RouteSpec.parse(route['spec'] ?? {}).rules;
}

function namesService({ backendRefs = [] }: z.infer<typeof Rule>, target: KubernetesTarget): boolean {
  return backendRefs.some((ref) => armOf(ref, target) === 'stable');
}

function armOf({ group, kind, name, namespace }: BackendRef, target: KubernetesTarget): Arm | null {
  if (group !== '' || kind !== 'Service' || (namespace !== undefined && namespace !== target.namespace)) return null;
  return ARMS.find((arm) => serviceOf(target, arm) === name) ?? null;
}

function sharesOf(refs: readonly BackendRef[], target: KubernetesTarget): Weights {
  const weightOf = (arm: Arm): number =>
    refs.filter((ref) => armOf(ref, target) === arm).reduce((sum, { weight }) => sum + weight, 0);
  const sum = ARMS.reduce((total, arm) => total + weightOf(arm), 0);
  const share = (arm: Arm): number => (sum === 0 ? 0 : rounded((weightOf(arm) / sum) * 100));
  return { stable: share('stable'), canary: share('canary'), baseline: share('baseline') };
}

/** As weights are read back, so that what shall be can be compared with what is. */
export function comparableWeights({ weights, ...rest }: RouteWeights): RouteWeights {
  const { stable, canary, baseline } = weights;
  return { ...rest, weights: { stable: rounded(stable), canary: rounded(canary), baseline: rounded(baseline) } };
}

/** Weights are whole numbers: thousandths of a percent are told apart, and rounded to in both directions. */
const SCALE = 1000;

function rounded(percent: number): number {
  return Math.round(percent * SCALE) / SCALE;
}

function backendsWith(refs: readonly BackendRef[], target: KubernetesTarget, weights: Weights): readonly BackendRef[] {
  const scale = ARMS.every((arm) => Number.isInteger(weights[arm])) ? 1 : SCALE;
  const only = weights.canary === 0 && weights.baseline === 0;
  return refs.flatMap((ref) => {
    const arm = armOf(ref, target);
    if (arm === null) return [ref];
    if (arm !== 'stable') return [];
    // Alone, stable stands there as it would without us: with the API's default.
    if (only) return [{ ...ref, weight: 1 }];
    const siblings = (['canary', 'baseline'] as const).filter((name) => weights[name] > 0);
    return (['stable', ...siblings] as const).map((name) => ({
      ...ref,
      name: serviceOf(target, name),
      weight: Math.round(weights[name] * scale),
    }));
  });
}
