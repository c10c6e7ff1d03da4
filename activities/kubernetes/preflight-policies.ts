/** What preflight finds of policies, monitors and Services that take stable's pods for other than its siblings'. */
import { z } from 'zod';
import { trafficSplitOf } from '../../domain/target.js';
import type { KubernetesTarget, PreflightFinding } from '../../domain/target.js';
import { refuse, warn } from '../fenced/findings.js';
import { ARM_LABEL, DeploymentSpec, serviceOf, ServiceSpec, siblingLabels } from './arms.js';
import type { Sibling } from './arms.js';
import { copiedLabels } from './copies.js';
import type { KubeObject } from './kube-client.js';
import { changedOf } from './kube-store.js';
import type { KubeLane } from './kube-store.js';
import { admitsOnly, LabelSelector, NetworkPolicySpec, selects } from './selectors.js';
import type { Labels } from './selectors.js';

/** Policies of a namespace; of kinds that only some clusters have: null where the worker may not list them. */
export interface Policies {
  readonly services: readonly KubeObject[];
  readonly networkPolicies: readonly KubeObject[];
  readonly looked: Readonly<
    Record<
      | 'authorizationpolicies'
      | 'peerauthentications'
      | 'destinationrules'
      | 'ciliumnetworkpolicies'
      | 'podmonitors'
      | 'servicemonitors',
      readonly KubeObject[] | null
    >
  >;
}

/** Stable's pods and Service, and those of each sibling, as selectors see them. */
interface Arms {
  readonly pods: Labels;
  readonly service: KubeObject;
  readonly siblings: readonly { readonly arm: Sibling; readonly pods: Labels; readonly service: Labels }[];
  /** The labels that differ, for messages. */
  readonly differs: string;
  readonly target: KubernetesTarget;
}

const LABEL_REMEDY = 'select the pods by a label that all arms have';

/** What holds for stable's pods but would not hold for its siblings', or the other way round. */
export function policyProblems(
  { stable, service }: KubeLane,
  { services, networkPolicies, looked }: Policies,
  target: KubernetesTarget,
): readonly PreflightFinding[] {
  if (stable === null || service === null) return [];
  const pods = DeploymentSpec.parse(stable['spec']).template.metadata?.labels ?? {};
  const changed = changedOf({ stable, service }, target);
  const each = (['canary', 'baseline'] as const).filter((arm) => arm === 'canary' || trafficSplitOf(target).baseline);
  const siblings = each.map((arm) => ({
    arm,
    pods: siblingLabels(pods, changed, arm),
    service: { ...copiedLabels(service.metadata, changed, arm), [ARM_LABEL]: arm },
  }));
  const arms: Arms = { pods, service, siblings, differs: `${changed.join(', ')} differs`, target };
  return [
    ...networkPolicies.flatMap((policy) =>
      networkProblems(policy, [NetworkPolicySpec.parse(policy['spec'] ?? {})], arms),
    ),
    ...(looked.ciliumnetworkpolicies ?? []).flatMap((policy) => networkProblems(policy, ciliumRules(policy), arms)),
    ...[...(looked.authorizationpolicies ?? []), ...(looked.peerauthentications ?? [])].flatMap((policy) =>
      meshProblems(policy, arms),
    ),
    ...(looked.destinationrules ?? []).flatMap((rule) =>
      destinationProblems(rule, looked.destinationrules ?? [], arms),
    ),
    ...(looked.podmonitors ?? []).flatMap((monitor) =>
      monitorProblems(
        monitor,
        pods,
        siblings.map((one) => one.pods),
        arms,
      ),
    ),
    ...(target.route.kind === 'none'
      ? []
      : (looked.servicemonitors ?? []).flatMap((monitor) =>
          monitorProblems(
            monitor,
            service.metadata.labels ?? {},
            siblings.map((one) => one.service),
            arms,
          ),
        )),
    ...services.flatMap((other) => serviceProblems(other, changed, arms)),
  ];
}

function nameOf({ kind, metadata: { name } }: KubeObject, { target }: Arms): string {
  return `${kind} ${target.namespace}/${name}`;
}

function networkProblems(
  policy: KubeObject,
  rules: readonly NetworkPolicySpec[],
  arms: Arms,
): readonly PreflightFinding[] {
  const { pods, siblings, differs } = arms;
  const name = nameOf(policy, arms);
  const held = rules.map(({ podSelector }) => podSelector);
  const admits = rules.some((rule) => siblings.some((sibling) => admitsOnly(rule, pods, sibling.pods)));
  return [
    ...unequal(held, name, arms),
    ...(admits
      ? [
          warn(
            `${name} lets the pods of stable through, and would not let those of a canary or baseline (${differs})`,
            'name them in its from and to by a label that all arms have',
          ),
        ]
      : []),
  ];
}

/** A policy whose selectors don't hold for all arms alike. */
function unequal(
  selectors: readonly LabelSelector[],
  name: string,
  { pods, siblings, differs }: Arms,
): readonly PreflightFinding[] {
  const alone = selectors.some((each) => selects(each, pods) && siblings.some((one) => !selects(each, one.pods)));
  const strange = selectors.some((each) => !selects(each, pods) && siblings.some((one) => selects(each, one.pods)));
  return [
    ...(alone
      ? [refuse(`${name} holds for the pods of stable, and would not hold for a canary (${differs})`, LABEL_REMEDY)]
      : []),
    ...(strange
      ? [
          refuse(
            `${name} does not hold for the pods of stable, and would hold for a canary or baseline (${differs})`,
            LABEL_REMEDY,
          ),
        ]
      : []),
  ];
}

const Endpoints = z.array(LabelSelector).nullish();
const CiliumRule = z.looseObject({
  fromEndpoints: Endpoints,
  toEndpoints: Endpoints,
  toPorts: z.unknown().optional(),
});
const CiliumSpec = z.looseObject({
  endpointSelector: LabelSelector.optional(),
  ingress: z.array(CiliumRule).nullish(),
  egress: z.array(CiliumRule).nullish(),
});
const Cilium = z.looseObject({ spec: CiliumSpec.optional(), specs: z.array(CiliumSpec).default([]) });

/** Cilium's policies in the words of Kubernetes' own. Those for nodes, which have no selector of pods, are left out. */
function ciliumRules(policy: KubeObject): readonly NetworkPolicySpec[] {
  const { spec, specs } = Cilium.parse(policy);
  // Whom a rule names besides endpoints (addresses, names, the cluster) is no pod.
  const peers = (rule: z.infer<typeof CiliumRule>, endpoints: z.infer<typeof Endpoints>, others: string): object[] => [
    ...(endpoints ?? []).map((each) => ({ podSelector: podLabels(each) })),
    ...(Object.keys(rule).some((key) => key.startsWith(others) && !/Endpoints|Ports/.test(key))
      ? [{ ipBlock: {} }]
      : []),
  ];
  return [...(spec === undefined ? [] : [spec]), ...specs].flatMap(({ endpointSelector, ingress, egress }) =>
    endpointSelector === undefined
      ? []
      : [
          NetworkPolicySpec.parse({
            podSelector: podLabels(endpointSelector),
            ingress: (ingress ?? []).map((rule) => ({
              from: peers(rule, rule.fromEndpoints, 'from'),
              ports: rule.toPorts,
            })),
            egress: (egress ?? []).map((rule) => ({ to: peers(rule, rule.toEndpoints, 'to'), ports: rule.toPorts })),
          }),
        ],
  );
}

/** Cilium's keys say where a label comes from, and may name the namespace: only this one is looked at. */
function podLabels({ matchLabels, matchExpressions }: LabelSelector): LabelSelector {
  const bare = (key: string): string => key.replace(/^(k8s|any)[:.]/, '');
  const isOfPod = (key: string): boolean => !bare(key).startsWith('io.kubernetes.pod.namespace');
  return {
    matchLabels: Object.fromEntries(
      Object.entries(matchLabels ?? {}).flatMap(([key, value]) => (isOfPod(key) ? [[bare(key), value]] : [])),
    ),
    matchExpressions: (matchExpressions ?? []).flatMap((each) =>
      isOfPod(each.key) ? [{ ...each, key: bare(each.key) }] : [],
    ),
  };
}

const TargetRef = z.looseObject({ kind: z.string(), name: z.string() });
const MeshPolicy = z.looseObject({
  selector: LabelSelector.nullish(),
  targetRef: TargetRef.nullish(),
  targetRefs: z.array(TargetRef).nullish(),
});

/** Who may call, and how: of Istio. Without a selector it holds for the whole namespace. */
function meshProblems(policy: KubeObject, arms: Arms): readonly PreflightFinding[] {
  const { selector, targetRef, targetRefs } = MeshPolicy.parse(policy['spec'] ?? {});
  const name = nameOf(policy, arms);
  const { target, siblings } = arms;
  const refs = [...(targetRefs ?? []), ...(targetRef == null ? [] : [targetRef])];
  const named = (service: string): boolean => refs.some((each) => each.kind === 'Service' && each.name === service);
  return [
    ...(selector == null ? [] : unequal([selector], name, arms)),
    ...(named(target.service) && siblings.some(({ arm }) => !named(serviceOf(target, arm)))
      ? [
          refuse(
            `${name} holds for the Service ${target.service}, and would not hold for a canary's`,
            `name ${siblings.map(({ arm }) => serviceOf(target, arm)).join(' and ')} in its targetRefs too, or let it hold for the namespace`,
          ),
        ]
      : []),
  ];
}

const DestinationRule = z.looseObject({
  host: z.string(),
  workloadSelector: LabelSelector.nullish(),
  trafficPolicy: z
    .looseObject({ loadBalancer: z.looseObject({ consistentHash: z.unknown().optional() }).nullish() })
    .nullish(),
});

function isHostOf(host: string, service: string, namespace: string): boolean {
  return [service, `${service}.${namespace}`].includes(host) || host.startsWith(`${service}.${namespace}.svc`);
}

function destinationProblems(rule: KubeObject, rules: readonly KubeObject[], arms: Arms): readonly PreflightFinding[] {
  const { target, siblings, pods, differs } = arms;
  const { host, workloadSelector } = DestinationRule.parse(rule['spec']);
  const hosts = rules.map(({ spec }) => DestinationRule.parse(spec).host);
  const name = nameOf(rule, arms);
  const missing = siblings
    .map(({ arm }) => serviceOf(target, arm))
    .filter((service) => !hosts.some((each) => isHostOf(each, service, target.namespace)));
  const alone =
    workloadSelector != null &&
    selects(workloadSelector, pods) &&
    siblings.some((one) => !selects(workloadSelector, one.pods));
  return [
    ...(target.route.kind !== 'none' && isHostOf(host, target.service, target.namespace) && missing.length > 0
      ? [
          warn(
            `${name} is for the Service ${target.service} by name: what it says of TLS, connections and outliers does not hold for ${missing.join(' and ')}`,
            `apply the same for ${missing.join(' and ')}, or for all hosts of the namespace`,
          ),
        ]
      : []),
    ...(alone
      ? [
          warn(
            `${name} holds for calls of stable's pods, and would not hold for those of a canary (${differs})`,
            LABEL_REMEDY,
          ),
        ]
      : []),
  ];
}

const Monitor = z.looseObject({ selector: LabelSelector.default({}) });

/** What is not scraped has no metrics: a canary that shows none is not promoted. */
function monitorProblems(
  monitor: KubeObject,
  own: Labels,
  theirs: readonly Labels[],
  arms: Arms,
): readonly PreflightFinding[] {
  const { selector } = Monitor.parse(monitor['spec'] ?? {});
  if (!selects(selector, own) || theirs.every((labels) => selects(selector, labels))) return [];
  const what = monitor.kind === 'PodMonitor' ? 'pods' : 'Service';
  return [
    warn(
      `${nameOf(monitor, arms)} scrapes the ${what} of stable, and would not scrape those of a canary or baseline: queries of their own metrics would find nothing`,
      'select by a label that all arms have, or judge by metrics of the gateway',
    ),
  ];
}

function serviceProblems(other: KubeObject, changed: readonly string[], arms: Arms): readonly PreflightFinding[] {
  const { pods, siblings, target } = arms;
  const matchLabels = ServiceSpec.parse(other['spec'] ?? {}).selector;
  // Where shares follow from the numbers of replicas, every Service shares in the same way.
  const another =
    target.route.kind !== 'none' && other.metadata.name !== target.service && Object.keys(matchLabels).length > 0;
  if (!another || !selects({ matchLabels }, pods)) return [];
  const name = nameOf(other, arms);
  return siblings.some((one) => selects({ matchLabels }, one.pods))
    ? [
        refuse(
          `${name} selects the pods of stable, and would select a canary's too: they would get its traffic whatever the weights say`,
          `let it select by ${changed.join(' or ')}`,
        ),
      ]
    : [
        warn(
          `${name} selects the pods of stable, and not those of a canary: its traffic always goes to stable`,
          'send its traffic through the route, if the canary shall get a share of it',
        ),
      ];
}

const Persistent = z.looseObject({
  rules: z.array(z.looseObject({ sessionPersistence: z.unknown().optional() })).default([]),
});
/** Annotations that keep users with a pod, of Ingresses and Services. */
const STICKY = [
  'nginx.ingress.kubernetes.io/affinity',
  'nginx.ingress.kubernetes.io/upstream-hash-by',
  'traefik.ingress.kubernetes.io/service.sticky.cookie',
];

/** What keeps users with the pods that they first came to: their requests are then not split by the weights alone. */
export function stickySessions(
  { service, route, moreRoutes, routeSource }: KubeLane,
  destinationRules: readonly KubeObject[],
  { namespace, service: serviceName }: KubernetesTarget,
): readonly PreflightFinding[] {
  const marks = [service, route, ...moreRoutes, routeSource].flatMap((object) => {
    if (object === null) return [];
    const { annotations = {} } = object.metadata;
    const set = STICKY.filter((key) => !['', 'false', undefined].includes(annotations[key]));
    const persistent =
      /^(HTTP|GRPC)Route$/.test(object.kind) &&
      Persistent.parse(object['spec'] ?? {}).rules.some(({ sessionPersistence }) => sessionPersistence != null);
    const byAddress =
      object.kind === 'Service' && (object['spec'] as { sessionAffinity?: string }).sessionAffinity === 'ClientIP';
    const what = [
      ...set,
      ...(persistent ? ['sessionPersistence'] : []),
      ...(byAddress ? ['sessionAffinity: ClientIP'] : []),
    ];
    return what.map((each) => ({ object, what: each }));
  });
  const hashed = destinationRules.flatMap((object) => {
    const { host, trafficPolicy } = DestinationRule.parse(object['spec']);
    const sticky = trafficPolicy?.loadBalancer?.consistentHash != null;
    return sticky && isHostOf(host, serviceName, namespace) ? [{ object, what: 'consistentHash' }] : [];
  });
  return [...marks, ...hashed].map(({ object: { kind, metadata }, what }) =>
    warn(
      `${kind} ${namespace}/${metadata.name} keeps users with the pods that they first came to (${what}): who came to the canary stays with it, its share follows the weights slowly, and one user's requests all count in one arm`,
      'switch it off for what is rolled out, or judge by metrics that count sessions',
    ),
  );
}
