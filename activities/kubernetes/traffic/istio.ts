/**
 * How weights stand in an Istio VirtualService, v1: as destinations of the routes that name the Service's host
 * (https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRouteDestination).
 */
import { z } from 'zod';
import type { Arm, KubernetesTarget, NamedRoute } from '../../../domain/target.js';
import { refuse } from '../../fenced/findings.js';
import { serviceOf } from '../arms.js';
import { Conditions } from '../conditions.js';
import type { KubeObject } from '../kube-client.js';
import { UNSEEN_DRAIN_MS } from './last-write.js';
import type { TrafficRouter } from './router.js';
import { agreedOf, ARMS, sharesOf, spread } from './shares.js';

const Destination = z.looseObject({
  destination: z.looseObject({ host: z.string(), subset: z.string().optional() }),
  // A destination alone needs none; one of several without a weight gets nothing.
  weight: z.int().optional(),
});
type Destination = z.infer<typeof Destination>;
const Route = z.looseObject({ route: z.array(Destination).optional() });
type Route = z.infer<typeof Route>;

/** The lists of routes that a VirtualService may have; all of them split by weights in the same way. */
const SECTIONS = ['http', 'tls', 'tcp'] as const;
const Spec = z.looseObject({
  http: z.array(Route).optional(),
  tls: z.array(Route).optional(),
  tcp: z.array(Route).optional(),
});
/** Istio writes a status only where it is told to. */
const Status = z.looseObject({ conditions: Conditions });

/** VirtualService, networking.istio.io/v1. */
export function istio(target: KubernetesTarget, { name, multiRoute }: NamedRoute<'VirtualService'>): TrafficRouter {
  const { namespace } = target;
  const title = `VirtualService ${namespace}/${name}`;

  /** A short name is one of the VirtualService's own namespace. */
  function armOf({ destination: { host } }: Destination): Arm | null {
    const [service, ...domain] = host.split('.');
    const local = ['', namespace, `${namespace}.svc`, `${namespace}.svc.cluster.local`].includes(domain.join('.'));
    return local ? (ARMS.find((arm) => serviceOf(target, arm) === service) ?? null) : null;
  }
  const namesService = ({ route = [] }: Route): boolean => route.some((each) => armOf(each) === 'stable');

  function routeWith(all: readonly Destination[], weights: Parameters<typeof spread>[0]): readonly Destination[] {
    return all.flatMap((each) => {
      const arm = armOf(each);
      if (arm === null) return [each];
      if (arm !== 'stable') return [];
      const { weight: _, ...alone } = each;
      return spread<Destination>(weights, alone, (sibling, weight) => {
        const { host } = each.destination;
        const theirs = serviceOf(target, sibling) + host.slice(target.service.length);
        return { ...each, destination: { ...each.destination, host: theirs }, weight };
      });
    });
  }

  return {
    resource: 'virtualservices',
    holder: name,
    source: null,
    others: multiRoute === 'allow' ? 'changed' : 'refused',
    read: (live) =>
      agreedOf(
        routesOf(live)
          .filter(namesService)
          .map(({ route = [] }) =>
            sharesOf(
              route.flatMap((each) => {
                const arm = armOf(each);
                return arm === null ? [] : [{ arm, weight: each.weight ?? (route.length === 1 ? 100 : 0) }];
              }),
            ),
          ),
      ),
    write(live, weights) {
      const spec = Spec.parse(live['spec'] ?? {});
      const sections = SECTIONS.flatMap((section) => {
        const routes = spec[section];
        if (routes === undefined) return [];
        const written = routes.map((each) =>
          namesService(each) ? { ...each, route: routeWith(each.route ?? [], weights) } : each,
        );
        return [[section, written] as const];
      });
      return { ...live, spec: { ...(live['spec'] as object), ...Object.fromEntries(sections) } };
    },
    create: () => null,
    problems(live) {
      const all = routesOf(live)
        .filter(namesService)
        .flatMap(({ route = [] }) => route);
      const strangers = all.filter((each) => armOf(each) === null).map(({ destination: { host } }) => host);
      const subsets = all.flatMap((each) =>
        armOf(each) !== null && each.destination.subset !== undefined ? [each.destination.subset] : [],
      );
      return [
        ...(strangers.length === 0
          ? []
          : [
              refuse(
                `${title} splits the traffic of ${target.service} with ${strangers.join(', ')}`,
                'leave one destination in each route that names the Service: the shares of a rollout would not be what they say',
              ),
            ]),
        ...(subsets.length === 0
          ? []
          : [
              refuse(
                `${title} sends traffic to the subset ${subsets.join(', ')} of ${target.service}: the Services of a canary and a baseline have none`,
                'send it to the Service without a subset',
              ),
            ]),
      ];
    },
    introduce: null,
    drainMs: () => UNSEEN_DRAIN_MS,
    pending(live) {
      const { conditions } = Status.parse(live['status'] ?? {});
      const { generation = 0 } = live.metadata;
      const reconciled = conditions.find(({ type }) => type === 'Reconciled');
      if (reconciled === undefined || reconciled.status === 'True') return null;
      return reconciled.observedGeneration < generation
        ? `the proxies have not all taken generation ${generation} yet`
        : `Istio says ${reconciled.reason ?? 'no'}: ${reconciled.message ?? ''}`;
    },
  };
}

function routesOf(live: KubeObject): readonly Route[] {
  const spec = Spec.parse(live['spec'] ?? {});
  return SECTIONS.flatMap((section) => spec[section] ?? []);
}
