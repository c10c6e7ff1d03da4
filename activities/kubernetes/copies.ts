/** What siblings carry of stable: pure functions over labels, annotations and selectors. */
import { z } from 'zod';
import type { Arm } from '../../domain/target.js';
import type { KubeMetadata } from './kube-client.js';
import { isOf, isTracking } from './owners.js';
import { LabelSelector } from './selectors.js';
import type { Labels } from './selectors.js';

/** By default Argo CD takes what has this label for a part of its application, and prunes it. */
const INSTANCE = 'app.kubernetes.io/instance';
export const MAX_LABEL = 63;

/**
 * Labels of a sibling's Deployment and Service, as policies ask for them and monitors find them: stable's, but for what
 * says whose an object is. What tells stable from a sibling is the sibling's own here too, so that nobody who sums up by
 * it takes one for the other.
 */
export function copiedLabels({ labels = {} }: KubeMetadata, changed: readonly string[], arm: Arm): Labels {
  const entries = Object.entries(labels)
    .filter(([key]) => !isTracking(key))
    .map(([key, value]) => [key, key === INSTANCE || changed.includes(key) ? `${value}-${arm}` : value] as const);
  return Object.fromEntries(entries.filter(([, value]) => value.length <= MAX_LABEL));
}

/** Whose annotations say how a Service is scraped, and how gateways and meshes speak to its pods. */
const SPOKEN_TO = [
  'prometheus.io',
  'istio.io',
  'linkerd.io',
  'traefik.ingress.kubernetes.io',
  'traefik.io',
  'projectcontour.io',
  'konghq.com',
  'haproxy.org',
];
const TOPOLOGY = ['service.kubernetes.io/topology-mode', 'service.kubernetes.io/topology-aware-hints'];

/**
 * Annotations of a sibling's Service. Only known ones: others claim what there is once (a load balancer, a name in DNS, the
 * Secret of a certificate).
 */
export function copiedAnnotations({ annotations = {} }: KubeMetadata): Labels {
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => TOPOLOGY.includes(key) || isOf(SPOKEN_TO, key)),
  );
}

/** Fields of stable's Service that say how its pods are reached, and that many Services may have alike. */
const REACHED_BY = [
  'sessionAffinity',
  'sessionAffinityConfig',
  'ipFamilies',
  'ipFamilyPolicy',
  'internalTrafficPolicy',
  'trafficDistribution',
  'publishNotReadyAddresses',
  'appProtocol',
];

/** What of a Service's spec its siblings have too. */
export function copiedServiceSpec(spec: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const copied = Object.entries(spec).filter(([key]) => REACHED_BY.includes(key));
  // Its own address no other one can have; that it has none, they can.
  return { ...Object.fromEntries(copied), ...(spec['clusterIP'] === 'None' ? { clusterIP: 'None' } : {}) };
}

/** How selectors that name stable's pods name a sibling's instead, and back. */
export type Renaming = (key: string, value: string) => string;

/**
 * Names a sibling's pods where stable's are named by a changed label. What looks like a sibling's already gets one more
 * ending, so that {@link toStable} knows what was there.
 */
export function toSibling(own: Labels, changed: readonly string[], arm: Arm): Renaming {
  return (key, value) =>
    changed.includes(key) && (value === own[key] || value.startsWith(`${own[key]}-${arm}`)) ? `${value}-${arm}` : value;
}

/** The way back of {@link toSibling}. */
export function toStable(own: Labels, changed: readonly string[], arm: Arm): Renaming {
  const suffix = `-${arm}`;
  return (key, value) =>
    changed.includes(key) && value.startsWith(`${own[key]}${suffix}`) && value.endsWith(suffix)
      ? value.slice(0, -suffix.length)
      : value;
}

/** A selector with other values. */
export function renamedSelector<Selector extends LabelSelector>(selector: Selector, rename: Renaming): Selector {
  const { matchLabels, matchExpressions } = selector;
  return {
    ...selector,
    ...(matchLabels == null
      ? {}
      : {
          matchLabels: Object.fromEntries(Object.entries(matchLabels).map(([key, value]) => [key, rename(key, value)])),
        }),
    ...(matchExpressions == null
      ? {}
      : {
          matchExpressions: matchExpressions.map((each) =>
            each.values == null ? each : { ...each, values: each.values.map((value) => rename(each.key, value)) },
          ),
        }),
  };
}

const Term = z.looseObject({
  labelSelector: LabelSelector.nullish(),
  namespaces: z.array(z.string()).nullish(),
  topologyKey: z.string().optional(),
});
type Term = z.infer<typeof Term>;
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution';
const PREFERRED = 'preferredDuringSchedulingIgnoredDuringExecution';
const Placement = z.looseObject({
  affinity: z
    .looseObject({
      podAntiAffinity: z
        .looseObject({
          [REQUIRED]: z.array(Term).nullish(),
          [PREFERRED]: z.array(z.looseObject({ podAffinityTerm: Term })).nullish(),
        })
        .nullish(),
    })
    .nullish(),
  topologySpreadConstraints: z.array(Term).nullish(),
});

/** What a pod must not share a node, or a zone, with: pods of its own namespace that it requires to be away. */
export function keepsAwayFrom(
  spec: object,
  namespace: string,
): readonly { readonly selector: LabelSelector; readonly topologyKey: string }[] {
  const terms = Placement.parse(spec).affinity?.podAntiAffinity?.[REQUIRED] ?? [];
  return terms.flatMap(({ labelSelector: selector, namespaces, topologyKey = '' }) => {
    const here = namespaces == null || namespaces.length === 0 || namespaces.includes(namespace);
    return selector == null || !here ? [] : [{ selector, topologyKey }];
  });
}

/**
 * A pod's spec that keeps away from, and spreads over, pods of other names. What a pod wants to be near to is left: that
 * is where stable is.
 */
export function renamedPlacement<Spec extends object>(spec: Spec, rename: Renaming): Spec {
  const { affinity, topologySpreadConstraints } = Placement.parse(spec);
  const renamed = (term: Term): Term =>
    term.labelSelector == null ? term : { ...term, labelSelector: renamedSelector(term.labelSelector, rename) };
  const away = affinity?.podAntiAffinity;
  const required = away?.[REQUIRED];
  const preferred = away?.[PREFERRED];
  const podAntiAffinity = {
    ...away,
    ...(required == null ? {} : { [REQUIRED]: required.map(renamed) }),
    ...(preferred == null
      ? {}
      : { [PREFERRED]: preferred.map((each) => ({ ...each, podAffinityTerm: renamed(each.podAffinityTerm) })) }),
  };
  return {
    ...spec,
    ...(away == null ? {} : { affinity: { ...affinity, podAntiAffinity } }),
    ...(topologySpreadConstraints == null ? {} : { topologySpreadConstraints: topologySpreadConstraints.map(renamed) }),
  };
}
