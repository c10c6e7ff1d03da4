import { z } from 'zod';
import { ALL_STABLE } from '../../domain/target.js';
import type { KubernetesTarget, PlannedNeeds, PreflightFinding } from '../../domain/target.js';
import { percentText } from '../../domain/words.js';
import { changedSince, heldByAnother, refuse, stableUnhealthy, warn } from '../fenced/findings.js';
import { Refused, Unavailable } from '../failures.js';
import { readLane } from '../fenced/lane-view.js';
import type { LaneView } from '../fenced/lane-view.js';
import type { TemplateResult } from '../fenced/store.js';
import type { PlatformScope } from '../platform.js';
import { ARM_LABEL, deploymentOf, DeploymentSpec, serviceOf, ServiceSpec, siblingLabels, templateFor } from './arms.js';
import type { KubeTypes, Sibling } from './arms.js';
import { Conditions } from './conditions.js';
import { missingConfiguration } from './config-references.js';
import { MAX_LABEL } from './copies.js';
import { ofStableAlone } from './disruption.js';
import { otherOwners } from './preflight-owners.js';
import { policyProblems, stickySessions } from './preflight-policies.js';
import { besideStable } from './preflight-template.js';
import { quotaProblems } from './quota.js';
import { groupOf } from './resources.js';
import type { Resource } from './resources.js';
import { selects } from './selectors.js';
import type { KubeClient, KubeObject } from './kube-client.js';
import { changedOf, createKubeStore, routeName, scales } from './kube-store.js';
import type { KubeLane } from './kube-store.js';
import { routerOf } from './traffic/router.js';
import type { TrafficRouter } from './traffic/router.js';

type Scope = PlatformScope<KubernetesTarget>;

const SIBLINGS: readonly Sibling[] = ['canary', 'baseline'];

/** What else in the namespace has to do with stable's pods. */
interface Neighbours {
  readonly services: readonly KubeObject[];
  readonly networkPolicies: readonly KubeObject[];
  readonly disruptionBudgets: readonly KubeObject[];
  readonly autoscalers: readonly KubeObject[];
  readonly quotas: readonly KubeObject[];
  /** What is looked at where it may be; null: the worker may not list it. */
  readonly looked: Readonly<Record<Looked, readonly KubeObject[] | null>>;
  /** All objects of the kind that splits the traffic. */
  readonly routes: readonly KubeObject[];
  /** Deployments that have the name that a sibling would have. */
  readonly namesakes: readonly KubeObject[];
  /** Those of canaries and baselines. */
  readonly pods: readonly KubeObject[];
}

/**
 * What would stop a rollout on its way, all of it at once, found before anything is touched.
 * @throws Unavailable where nothing would but what the cluster is taking away by itself
 */
export async function findKubeProblems(
  client: KubeClient,
  scope: Scope,
  needs: PlannedNeeds,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  const { lane, target, rolloutId } = scope;
  const denied = await permissions(client, target, signal);
  // Without them what follows could not be read, or would be guessed.
  if (denied.some(({ severity }) => severity === 'refuse')) return denied;
  const store = createKubeStore(client, lane, target, rolloutId);
  const [view, neighbours] = await Promise.all([
    readLane(store, rolloutId, signal),
    readNeighbours(client, target, signal),
  ]);
  const found = store.seen;
  if (found === null) throw new TypeError('a lane was read without being listed');
  const left = leftovers(found, neighbours, scope);
  const released = releasedTemplate(view, needs);
  const findings = [
    ...denied,
    ...heldByAnother(view, rolloutId),
    ...objectsMissing(found, target),
    ...labels(found, target),
    ...routeProblems(found, neighbours, target, view.rollout !== null),
    ...routesOfOtherKind(neighbours, target),
    ...sharesTooLarge(target, needs),
    ...stableHealth(view, found),
    ...stableStill(found, target),
    ...templateProblems(view, found, neighbours, target, needs),
    ...(released?.kind === 'none' ? [refuse(released.reason, wrongNames(needs))] : []),
    ...(released?.kind === 'template' ? await missingConfiguration(client, released.template, target, signal) : []),
    ...changedSince(store, view),
    ...left.kept,
    ...policyProblems(found, neighbours, target),
    ...stickySessions(found, neighbours.looked.destinationrules ?? [], target),
    ...autoscalerProblems(neighbours, target),
    ...otherOwners(found, target),
    ...unseen(neighbours, target),
  ];
  if (left.collected.length === 0) return findings;
  // The next rollout often begins in the moment in which the one before it has ended.
  if (!findings.some(({ severity }) => severity === 'refuse'))
    throw new Unavailable(
      `what an ended rollout left is still being taken away: ${left.collected.map(({ problem }) => problem).join('; ')}`,
    );
  return [...findings, ...left.collected];
}

type Permissions = Readonly<Partial<Record<Resource, readonly string[]>>>;

/** Every verb that a rollout needs, by resource. The RBAC of the installation grants the same list. */
export function neededPermissions(target: KubernetesTarget): Permissions {
  const router = routerOf(target);
  return {
    configmaps: ['get', 'list', 'create', 'update', 'delete'],
    deployments: ['get', 'list', 'create', 'update', 'delete'],
    services: ['get', 'list', 'create'],
    ...(router === null
      ? {}
      : { [router.resource]: ['get', 'list', ...(router.source === null ? [] : ['create']), 'update'] }),
    pods: ['list'],
    endpointslices: ['list'],
    networkpolicies: ['list'],
    poddisruptionbudgets: ['get', 'list', 'create'],
    resourcequotas: ['list'],
    horizontalpodautoscalers: ['list', 'update'],
  };
}

/** What a rollout can do without: its steps are then not told on the Deployment. */
export const COURTESIES: Permissions = { events: ['create'] };

/** What preflight looks at where it may: most of these kinds only some clusters have. */
const LOOKED = [
  'limitranges',
  'persistentvolumeclaims',
  'authorizationpolicies',
  'peerauthentications',
  'destinationrules',
  'ciliumnetworkpolicies',
  'podmonitors',
  'servicemonitors',
  'httproutes',
  'grpcroutes',
] as const satisfies readonly Resource[];
type Looked = (typeof LOOKED)[number];
export const LOOKS: Permissions = Object.fromEntries(LOOKED.map((resource) => [resource, ['list']]));

/** What the worker may not do there and must be allowed to. */
export async function missingRights(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  return (await permissions(client, target, signal)).filter(({ severity }) => severity === 'refuse');
}

async function permissions(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  const { namespace } = target;
  const asked = [
    ...Object.entries(neededPermissions(target)).map((entry) => [...entry, refuse] as const),
    ...Object.entries(COURTESIES).map((entry) => [...entry, warn] as const),
  ];
  const findings = await Promise.all(
    asked.map(async ([name, verbs, finding]) => {
      const resource = name as Resource;
      const answers = await Promise.all(
        verbs.map(async (verb) => ({ verb, ...(await client.mayI(verb, resource, namespace, signal)) })),
      );
      const denied = answers.filter(({ allowed }) => !allowed);
      if (denied.length === 0) return [];
      const what = denied.map(({ verb }) => verb).join(', ');
      const group = groupOf(resource);
      return [
        finding(
          `the worker may not ${what} ${resource} in namespace ${namespace}${saying(denied[0]?.reason ?? '')}`,
          `grant it, e.g. as deploy/kubernetes/role.yaml does: apiGroups: ["${group}"], resources: ["${resource}"], verbs: [${denied.map(({ verb }) => `"${verb}"`).join(', ')}]`,
        ),
      ];
    }),
  );
  return findings.flat();
}

function saying(reason: string): string {
  return reason === '' ? '' : ` (${reason})`;
}

async function readNeighbours(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<Neighbours> {
  const all = (resource: Resource): Promise<readonly KubeObject[]> =>
    client.list(resource, target.namespace, null, signal);
  const router = routerOf(target);
  const [services, networkPolicies, disruptionBudgets, autoscalers, quotas, routes, looked, pods, ...namesakes] =
    await Promise.all([
      all('services'),
      all('networkpolicies'),
      all('poddisruptionbudgets'),
      all('horizontalpodautoscalers'),
      all('resourcequotas'),
      router === null ? [] : all(router.resource),
      lookAround(client, target, signal),
      client.list('pods', target.namespace, `${ARM_LABEL} in (${SIBLINGS.join(', ')})`, signal),
      ...SIBLINGS.map((arm) => client.get('deployments', target.namespace, deploymentOf(target, arm), signal)),
    ]);
  return {
    services,
    networkPolicies,
    disruptionBudgets,
    autoscalers,
    quotas,
    routes,
    looked,
    pods,
    namesakes: namesakes.filter((found) => found !== null),
  };
}

async function lookAround(
  client: KubeClient,
  { namespace, route }: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<Neighbours['looked']> {
  const look = async (resource: Looked): Promise<readonly KubeObject[] | null> => {
    if (resource.endsWith('routes') && route.kind !== 'HTTPRoute' && route.kind !== 'GRPCRoute') return [];
    try {
      return await client.list(resource, namespace, null, signal);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      // Who may list it was told that there is no such kind.
      const { allowed } = await client.mayI('list', resource, namespace, signal);
      return allowed ? [] : null;
    }
  };
  const found = await Promise.all(LOOKED.map(async (resource) => [resource, await look(resource)] as const));
  return Object.fromEntries(found) as Neighbours['looked'];
}

/** What could not be looked at is said once, for all of it. */
function unseen({ looked }: Neighbours, { namespace }: KubernetesTarget): readonly PreflightFinding[] {
  const kinds = LOOKED.filter((resource) => looked[resource] === null);
  if (kinds.length === 0) return [];
  return [
    warn(
      `the worker may not list ${kinds.join(', ')} in namespace ${namespace}: what they would do to a canary is not known`,
      'grant it, as deploy/kubernetes/role.yaml does',
    ),
  ];
}

function objectsMissing(
  { stable, service, route, routeSource }: KubeLane,
  target: KubernetesTarget,
): readonly PreflightFinding[] {
  const { namespace } = target;
  const router = routerOf(target);
  const named = router?.source === null ? route : routeSource;
  const missing = (what: string, key: string): PreflightFinding =>
    refuse(`there is no ${what}`, `apply it, or name another one in slipway.yaml (kubernetes.${key})`);
  return [
    ...(stable === null ? [missing(`Deployment ${namespace}/${target.deployment}`, 'deployment')] : []),
    ...(service === null ? [missing(`Service ${namespace}/${target.service}`, 'service')] : []),
    ...(router !== null && named === null ? [missing(routeName(target), 'route')] : []),
  ];
}

/** Stable's labels must allow for siblings that nobody takes for stable. */
function labels(found: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  const { stable, service } = found;
  if (stable === null || service === null) return [];
  const { selector: chosen } = ServiceSpec.parse(service['spec']);
  const { selector, template } = DeploymentSpec.parse(stable['spec']);
  const name = `Service ${target.namespace}/${target.service}`;
  if (Object.keys(chosen).length === 0)
    return [refuse(`${name} selects no pods`, 'give it a selector of the pods of stable')];
  const own = template.metadata?.labels ?? {};
  if (!selects({ matchLabels: chosen }, own)) {
    return [
      refuse(
        `${name} does not select the pods of Deployment ${target.deployment}: it wants ${labelText(chosen)}, they have ${labelText(own)}`,
        'name the Service that selects them (kubernetes.service)',
      ),
    ];
  }
  const matchLabels = selector.matchLabels ?? {};
  if (Object.keys(matchLabels).length === 0) {
    return [
      refuse(
        `Deployment ${target.deployment} selects its pods by expressions only`,
        'give it matchLabels: siblings differ from it by one of them',
      ),
    ];
  }
  const changed = changedOf(found, target);
  const tooLong = changed.filter((key) => `${own[key] ?? ''}-baseline`.length > MAX_LABEL);
  const longNames = SIBLINGS.map((arm) => serviceOf(target, arm)).filter((each) => each.length > MAX_LABEL);
  return [
    ...tooLong.map((key) =>
      refuse(
        `label ${key} of the pods is too long for a sibling's: ${own[key] ?? ''}-baseline has more than ${MAX_LABEL} characters`,
        'use a shorter value',
      ),
    ),
    ...longNames.map((each) =>
      refuse(
        `${each} is too long for the name of a Service: ${MAX_LABEL} characters`,
        'give the Service a shorter name',
      ),
    ),
  ];
}

/** @param own whether this rollout has an anchor: then the shares are its own, of before it was reset */
function routeProblems(
  { route, moreRoutes, routeSource }: KubeLane,
  { routes }: Neighbours,
  target: KubernetesTarget,
  own: boolean,
): readonly PreflightFinding[] {
  const router = routerOf(target);
  const written = router?.source === null ? route : routeSource;
  if (router === null || written === null) return [];
  const named = (live: KubeObject): boolean =>
    (router.source === null ? router.read(live) : router.create(live, ALL_STABLE)) !== null;
  if (!named(written)) {
    return [
      refuse(
        `no rule of ${routeName(target)} sends traffic to the Service ${target.service}`,
        'name the route that does (kubernetes.route)',
      ),
    ];
  }
  const changed = [...(route === null ? [] : [route]), ...moreRoutes];
  const names = [written, ...changed].map(({ metadata: { name } }) => name);
  const others = routes.filter((each) => !names.includes(each.metadata.name) && named(each));
  return [
    ...[written, ...moreRoutes].flatMap((live) => router.problems(live)),
    ...changed.flatMap((live) => problemsOfShares(router, live, target, own)),
    ...others.map((each) => otherRoute(each, router, target)),
  ];
}

/** A route as it stands must give all to stable, unless the shares are its own, in all of its rules, and be in effect. */
function problemsOfShares(
  router: TrafficRouter,
  live: KubeObject,
  { namespace, service }: KubernetesTarget,
  own: boolean,
): readonly PreflightFinding[] {
  const name = `${live.kind} ${namespace}/${live.metadata.name}`;
  const shares = router.read(live);
  const pending = router.pending(live);
  const { canary, baseline } = shares?.weights ?? ALL_STABLE;
  return [
    ...(shares?.rules === undefined
      ? []
      : [
          refuse(
            `the rules of ${name} have different weights`,
            'give all rules that name the Service the same weights',
          ),
        ]),
    ...(!own && (canary > 0 || baseline > 0)
      ? [
          refuse(
            `${name} sends ${canary} % to a canary and ${baseline} % to a baseline already`,
            `send all of it to ${service}, or let the rollout that did this be recovered`,
          ),
        ]
      : []),
    ...(pending === null ? [] : [refuse(`${name} is not in effect: ${pending}`, 'see why with `kubectl describe`')]),
  ];
}

function otherRoute(live: KubeObject, router: TrafficRouter, target: KubernetesTarget): PreflightFinding {
  const problem = `${live.kind} ${target.namespace}/${live.metadata.name} sends traffic to the Service ${target.service} too`;
  const consequence = 'all of that goes to stable, so the canary would get less than its share of the whole';
  const move = `move its rules into ${routeName(target)}`;
  return router.others === 'refused'
    ? refuse(
        `${problem}: ${consequence}`,
        `${move}, or let it have the same weights: kubernetes: { route: { multiRoute: allow } }`,
      )
    : warn(`${problem}: ${consequence}`, `${move}, or leave it so if that traffic shall not see a canary`);
}

/** The Gateway API has a kind for each protocol, and a Service may speak both: of the other one all goes to stable. */
function routesOfOtherKind({ looked }: Neighbours, target: KubernetesTarget): readonly PreflightFinding[] {
  const { kind } = target.route;
  if (kind !== 'HTTPRoute' && kind !== 'GRPCRoute') return [];
  const other = routerOf({ ...target, route: { kind: kind === 'HTTPRoute' ? 'GRPCRoute' : 'HTTPRoute', name: '' } });
  const found = other?.resource === 'httproutes' ? looked.httproutes : looked.grpcroutes;
  return (found ?? [])
    .filter((live) => other?.read(live) != null)
    .map((live) =>
      warn(
        `${live.kind} ${target.namespace}/${live.metadata.name} sends traffic to the Service ${target.service} too: all of that goes to stable, and no canary is tried on it`,
        `nothing, if it is enough that a canary is tried on the traffic of ${routeName(target)}; else name the route that has most of it (kubernetes.route)`,
      ),
    );
}

/** Where shares follow from the numbers of replicas, the smallest may be far larger than what a stage asks for. */
function sharesTooLarge(
  { route, deployment }: KubernetesTarget,
  { shares }: PlannedNeeds,
): readonly PreflightFinding[] {
  if (route.kind !== 'none') return [];
  return shares.flatMap(({ asked, given }, index) => {
    const excess = given - asked;
    if (excess <= route.maxExcessPoints) return [];
    const replicas = Math.ceil(100 / (asked + route.maxExcessPoints)) - 1;
    return [
      refuse(
        `stage ${index + 1} asks for ${percentText(asked)} of the traffic, and the smallest canary would get ${percentText(given)}: ${percentText(excess)} more, above the limit of ${route.maxExcessPoints} points`,
        `run ${replicas} replicas or more of ${deployment}, split the traffic by a route (kubernetes.route), or allow it with kubernetes: { route: none, maxExcessPoints: ${Math.ceil(excess)} }`,
      ),
    ];
  });
}

/** What the release and its plan make of stable's template. */
function templateProblems(
  view: LaneView<KubeTypes>,
  found: KubeLane,
  neighbours: Neighbours,
  target: KubernetesTarget,
  needs: PlannedNeeds,
): readonly PreflightFinding[] {
  const { stable } = view.arms;
  if (stable === undefined) return [];
  const { template } = stable.spec;
  const room = {
    quotas: neighbours.quotas,
    limitRanges: neighbours.looked.limitranges ?? [],
    objects: objectsMade(view, found, neighbours, target, needs),
  };
  return [
    ...quotaProblems(room, template, needs),
    ...besideStable(found, neighbours.looked.persistentvolumeclaims, target, needs),
  ];
}

/** What the canary will run; null where that is not known. */
function releasedTemplate(
  { arms: { stable }, rollout }: LaneView<KubeTypes>,
  { release }: PlannedNeeds,
): TemplateResult<KubeTypes> | null {
  const template = rollout?.spec.recorded.template ?? stable?.spec.template;
  return release === undefined || template === undefined ? null : templateFor({ from: 'release', release }, template);
}

function wrongNames({ release }: PlannedNeeds): string {
  const names = 'name the containers in slipway.yaml (images) as the Deployment does';
  return release?.config === undefined ? names : `${names}, and ConfigMaps and Secrets as its template does`;
}

/** How many objects the rollout adds, by the names that quotas count them under. */
function objectsMade(
  { arms, lane, rollout }: LaneView<KubeTypes>,
  found: KubeLane,
  { disruptionBudgets }: Neighbours,
  target: KubernetesTarget,
  { siblings = [] }: PlannedNeeds,
): Readonly<Record<string, number>> {
  // Those that are there are this rollout's own, of before it was reset.
  const made = siblings.filter((arm) => arms[arm] === undefined);
  return {
    'deployments.apps': made.length,
    // Stable gets a new one too.
    'replicasets.apps': made.length + 1,
    services: routerOf(target) === null ? 0 : made.length,
    'poddisruptionbudgets.policy': made.filter((arm) => getsBudget(found, disruptionBudgets, target, arm)).length,
    configmaps: [lane, rollout].filter((anchor) => anchor === null).length,
    'ingresses.networking.k8s.io': found.routeSource !== null && found.route === null ? 1 : 0,
  };
}

const Scaled = z.looseObject({ lastScaleTime: z.string().optional() });
const Patience = z.looseObject({ progressDeadlineSeconds: z.int().default(600) });
const Available = z.looseObject({
  conditions: Conditions,
  replicas: z.int().default(0),
  updatedReplicas: z.int().default(0),
});

/**
 * A stable that is not as large as it should be is not touched, but where its autoscaler has just made it larger: pods
 * that are starting are no harm where the Deployment counts as available, all of one template.
 */
export function stableHealth(
  view: LaneView<KubeTypes>,
  { stable, autoscaler }: Pick<KubeLane, 'stable' | 'autoscaler'>,
  nowMs: number = Date.now(),
): readonly PreflightFinding[] {
  const found = stableUnhealthy(view);
  if (found.length === 0 || stable === null || autoscaler === null) return found;
  const { lastScaleTime } = Scaled.parse(autoscaler['status'] ?? {});
  const { progressDeadlineSeconds } = Patience.parse(stable['spec']);
  const { conditions, replicas, updatedReplicas } = Available.parse(stable['status'] ?? {});
  const growing = nowMs - Date.parse(lastScaleTime ?? '') < progressDeadlineSeconds * 1000;
  const available = conditions.some(({ type, status }) => type === 'Available' && status === 'True');
  if (!growing || !available || updatedReplicas < replicas) return found;
  return found.map(({ problem }) =>
    warn(
      `${problem}: its autoscaler has just changed its size`,
      'nothing, unless they stay away: bring stable back to health then',
    ),
  );
}

/** A Deployment that runs nothing, or would never run anything new. */
function stableStill({ stable }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  if (stable === null) return [];
  const name = `Deployment ${target.namespace}/${target.deployment}`;
  const { replicas, paused } = DeploymentSpec.parse(stable['spec']);
  return [
    ...(paused === true
      ? [
          refuse(
            `${name} is paused: it would never run the new version`,
            `kubectl rollout resume deployment/${target.deployment} -n ${target.namespace}`,
          ),
        ]
      : []),
    ...(replicas === 0
      ? [
          refuse(
            `${name} is scaled to 0: nothing serves, so there is nothing to compare a canary with`,
            `kubectl scale deployment/${target.deployment} --replicas=1 -n ${target.namespace}`,
          ),
        ]
      : []),
  ];
}

/** Siblings of other rollouts, or of nobody that Slipway knows. */
function leftovers(
  lane: KubeLane,
  { namesakes, services, disruptionBudgets, pods }: Neighbours,
  { target, rolloutId }: Scope,
): Leftovers {
  const { anchors, route, routeSource } = lane;
  const own = anchors.find(({ metadata }) => metadata.name.endsWith(`-rollout-${rolloutId}`))?.metadata.uid;
  const names = SIBLINGS.map((arm) => serviceOf(target, arm));
  const found = [
    ...namesakes,
    ...services.filter(({ metadata }) => names.includes(metadata.name)),
    ...inTheWay(lane, disruptionBudgets, target),
    // What holds the shares is the rollout's own there.
    ...(routeSource === null || route === null ? [] : [route]),
  ].filter(({ metadata }) => !(metadata.ownerReferences ?? []).some(({ uid }) => uid === own));
  const isLeft = ({ metadata: { deletionTimestamp, ownerReferences = [] } }: KubeObject): boolean =>
    deletionTimestamp !== undefined ||
    (ownerReferences.length > 0 &&
      !ownerReferences.some(({ uid }) => anchors.some(({ metadata }) => metadata.uid === uid)));
  return {
    kept: found.filter((each) => !isLeft(each)).map((each) => inUse(each, target)),
    collected: [...found.filter(isLeft), ...podsLeft(lane, namesakes, pods, target)].map((each) => inUse(each, target)),
  };
}

/** What stands where the siblings of this rollout shall. */
interface Leftovers {
  readonly kept: readonly PreflightFinding[];
  /** Its owner is gone already: the cluster's garbage collector takes it away, mostly within a second. */
  readonly collected: readonly PreflightFinding[];
}

function inUse({ kind, metadata: { name } }: KubeObject, { namespace }: KubernetesTarget): PreflightFinding {
  return refuse(
    `${kind} ${namespace}/${name} is there already, and is not of this rollout`,
    `let the rollout that made it be recovered, or remove it: kubectl delete ${kind.toLowerCase()} ${name} -n ${namespace}`,
  );
}

/** Pods of a canary whose Deployment is gone: the Service of the next one would send it users just the same. */
function podsLeft(
  lane: KubeLane,
  namesakes: readonly KubeObject[],
  pods: readonly KubeObject[],
  target: KubernetesTarget,
): readonly KubeObject[] {
  if (lane.service === null) return [];
  const { selector } = ServiceSpec.parse(lane.service['spec'] ?? {});
  const changed = changedOf(lane, target);
  const gone = SIBLINGS.filter((arm) => !namesakes.some(({ metadata }) => metadata.name === deploymentOf(target, arm)));
  return pods
    .filter(({ metadata: { labels = {}, deletionTimestamp } }) => {
      const isOf = (arm: Sibling): boolean => selects({ matchLabels: siblingLabels(selector, changed, arm) }, labels);
      return deletionTimestamp === undefined && gone.some(isOf);
    })
    .map((pod) => ({ ...pod, kind: 'Pod' }));
}

/** Budgets that have the name of a sibling's own, where it gets one. */
function inTheWay(lane: KubeLane, budgets: readonly KubeObject[], target: KubernetesTarget): readonly KubeObject[] {
  return SIBLINGS.filter((arm) => getsBudget(lane, budgets, target, arm)).flatMap((arm) =>
    budgets.filter(({ metadata: { name } }) => name === deploymentOf(target, arm)),
  );
}

function getsBudget(lane: KubeLane, budgets: readonly KubeObject[], target: KubernetesTarget, arm: Sibling): boolean {
  if (lane.stable === null) return false;
  const pods = DeploymentSpec.parse(lane.stable['spec']).template.metadata?.labels ?? {};
  return ofStableAlone(budgets, pods, siblingLabels(pods, changedOf(lane, target), arm)) !== null;
}

/** What else sets the size of stable. */
function autoscalerProblems(
  { autoscalers }: Neighbours,
  { namespace, deployment, route }: KubernetesTarget,
): readonly PreflightFinding[] {
  const own = autoscalers.filter((each) => scales(each, deployment));
  const names = own.map(({ metadata: { name } }) => `HorizontalPodAutoscaler ${namespace}/${name}`);
  if (own.length > 1) return [refuse(`${names.join(' and ')} all scale Deployment ${deployment}`, 'leave one of them')];
  const [autoscaler] = own;
  if (autoscaler === undefined) return [];
  const keeper = (autoscaler.metadata.ownerReferences ?? []).find(({ kind }) => kind === 'ScaledObject');
  return [
    ...(keeper === undefined
      ? []
      : [
          refuse(
            `${names.join('')} is kept by KEDA (ScaledObject ${keeper.name}), which would put back the size that a rollout keeps stable at`,
            `pause it while the rollout runs: kubectl annotate scaledobject ${keeper.name} autoscaling.keda.sh/paused=true -n ${namespace}, and scale stable by hand`,
          ),
        ]),
    ...(route.kind === 'none'
      ? [
          refuse(
            `${names.join('')} scales Deployment ${deployment}, and the canary's share follows from its size: it would change with the load`,
            'split the traffic by a route (kubernetes.route), or take the autoscaler away while the rollout runs',
          ),
        ]
      : []),
  ];
}

function labelText(all: Readonly<Record<string, string>>): string {
  const text = Object.entries(all).map(([key, value]) => `${key}=${value}`);
  return text.length === 0 ? 'no labels' : text.join(', ');
}
