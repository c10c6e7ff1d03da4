/** How weights stand in a route of the Gateway API. */
import { z } from 'zod';
import type { Arm, KubernetesTarget, NamedRoute, Weights } from '../../../domain/target.js';
import { refuse } from '../../fenced/findings.js';
import { serviceOf } from '../arms.js';
import { Conditions } from '../conditions.js';
import type { KubeObject } from '../kube-client.js';
import type { TrafficRouter } from './router.js';
import { agreedOf, ARMS, sharesOf, spread } from './shares.js';
import type { RouteWeights } from './shares.js';

const BackendRef = z.looseObject({
  group: z.string().default(''),
  kind: z.string().default('Service'),
  name: z.string(),
  namespace: z.string().optional(),
  weight: z.int().default(1),
});
type BackendRef = z.infer<typeof BackendRef>;

const Rule = z.looseObject({ backendRefs: z.array(BackendRef).optional() });
type Rule = z.infer<typeof Rule>;
/** By whom a route wants to be taken, or says that it was. */
const ParentRef = z.looseObject({
  kind: z.string().default('Gateway'),
  name: z.string(),
  namespace: z.string().optional(),
  sectionName: z.string().optional(),
  port: z.int().optional(),
});
type ParentRef = z.infer<typeof ParentRef>;

const RouteSpec = z.looseObject({ rules: z.array(Rule).default([]), parentRefs: z.array(ParentRef).default([]) });

const RouteStatus = z.looseObject({
  parents: z
    .array(z.looseObject({ parentRef: ParentRef, controllerName: z.string().default(''), conditions: Conditions }))
    .default([]),
});

/** A gateway in the cluster has taken a route before it acts on it: Traefik 2 s. Times of writes have whole seconds. */
const DRAIN_MS = 3000;
/** Gateways outside of the cluster say that they have taken a route when they have read it: it is then on its way. */
const OUTER_DRAIN_MS = 120_000;
/** Controllers of load balancers that a cloud runs: GKE, AWS (ALB, NLB, VPC Lattice), Azure. */
const OUTER_CONTROLLERS = [
  'networking.gke.io/',
  'gateway.k8s.aws/',
  'application-networking.k8s.aws/',
  'alb.networking.azure.io/',
];

/** HTTPRoute and GRPCRoute, v1. */
export function gatewayApi(target: KubernetesTarget, route: NamedRoute<'HTTPRoute' | 'GRPCRoute'>): TrafficRouter {
  const armOf = ({ group, kind, name, namespace = target.namespace }: BackendRef): Arm | null =>
    group === '' && kind === 'Service' && namespace === target.namespace
      ? (ARMS.find((arm) => serviceOf(target, arm) === name) ?? null)
      : null;
  const namesService = ({ backendRefs = [] }: Rule): boolean => backendRefs.some((ref) => armOf(ref) === 'stable');

  function backendsWith(refs: readonly BackendRef[], weights: Weights): readonly BackendRef[] {
    return refs.flatMap((ref) => {
      const arm = armOf(ref);
      if (arm === null) return [ref];
      if (arm !== 'stable') return [];
      return spread(weights, { ...ref, weight: 1 }, (name, weight) => ({
        ...ref,
        name: serviceOf(target, name),
        weight,
      }));
    });
  }

  const read = (live: KubeObject): RouteWeights | null =>
    agreedOf(
      rulesOf(live)
        .filter(namesService)
        .map(({ backendRefs = [] }) =>
          sharesOf(
            backendRefs.flatMap((ref) => {
              const arm = armOf(ref);
              return arm === null ? [] : [{ arm, weight: ref.weight }];
            }),
          ),
        ),
    );

  function withBackends(
    live: KubeObject,
    backends: (refs: readonly BackendRef[]) => readonly BackendRef[],
  ): KubeObject {
    const rules = rulesOf(live).map((rule) =>
      namesService(rule) ? { ...rule, backendRefs: backends(rule.backendRefs ?? []) } : rule,
    );
    return { ...live, spec: { ...(live['spec'] as object), rules } };
  }

  return {
    resource: route.kind === 'HTTPRoute' ? 'httproutes' : 'grpcroutes',
    holder: route.name,
    source: null,
    others: route.multiRoute === 'allow' ? 'changed' : 'refused',
    read,
    write: (live, weights) => withBackends(live, (refs) => backendsWith(refs, weights)),
    introduce(live, weights) {
      const now = read(live)?.weights;
      const arms = ARMS.filter((arm) => arm !== 'stable' && weights[arm] > 0 && now?.[arm] === 0);
      if (arms.length === 0) return null;
      const missingIn = (refs: readonly BackendRef[]): readonly Arm[] =>
        arms.filter((arm) => refs.every((ref) => armOf(ref) !== arm));
      const ours = rulesOf(live).filter(namesService);
      if (ours.every(({ backendRefs = [] }) => missingIn(backendRefs).length === 0)) return { arms, named: live };
      const named = withBackends(live, (refs) => [
        ...refs,
        ...refs
          .filter((ref) => armOf(ref) === 'stable')
          .flatMap((ref) => missingIn(refs).map((arm) => ({ ...ref, name: serviceOf(target, arm), weight: 0 }))),
      ]);
      return { arms, named };
    },
    create: () => null,
    problems(live) {
      const strangers = rulesOf(live)
        .filter(namesService)
        .flatMap(({ backendRefs = [] }) => backendRefs.filter((ref) => armOf(ref) === null))
        .map(({ kind, name }) => `${kind} ${name}`);
      if (strangers.length === 0) return [];
      return [
        refuse(
          `${route.kind} ${target.namespace}/${route.name} splits the traffic of ${target.service} with ${strangers.join(', ')}`,
          'leave one backend in each rule that names the Service: the shares of a rollout would not be what they say',
        ),
      ];
    },
    pending: notAcceptedBecause,
    drainMs: drainOf,
  };
}

function rulesOf(live: KubeObject): readonly Rule[] {
  return RouteSpec.parse(live['spec'] ?? {}).rules;
}

/** Those of whom the route is; a parent that was left may never speak again. */
function parentsOf(live: KubeObject): z.infer<typeof RouteStatus>['parents'] {
  const { parentRefs } = RouteSpec.parse(live['spec'] ?? {});
  const same = (one: ParentRef, other: ParentRef): boolean =>
    one.kind === other.kind &&
    one.name === other.name &&
    (one.namespace ?? live.metadata.namespace) === (other.namespace ?? live.metadata.namespace) &&
    one.sectionName === other.sectionName &&
    one.port === other.port;
  return RouteStatus.parse(live['status'] ?? {}).parents.filter(({ parentRef }) =>
    parentRefs.some((wanted) => same(parentRef, wanted)),
  );
}

/** What a controller has not seen is not how the traffic flows. */
function notAcceptedBecause(live: KubeObject): string | null {
  const parents = parentsOf(live);
  if (parents.length === 0) return 'no gateway has taken the route yet';
  const { generation = 0 } = live.metadata;
  for (const { conditions } of parents) {
    const accepted = conditions.find(({ type }) => type === 'Accepted');
    if (accepted === undefined || accepted.observedGeneration < generation)
      return `a gateway has not seen generation ${generation} yet`;
    if (accepted.status !== 'True') return `a gateway says ${accepted.reason ?? 'no'}: ${accepted.message ?? ''}`;
  }
  return null;
}

function drainOf(live: KubeObject): number {
  return parentsOf(live).some(({ controllerName }) =>
    OUTER_CONTROLLERS.some((prefix) => controllerName.startsWith(prefix)),
  )
    ? OUTER_DRAIN_MS
    : DRAIN_MS;
}
