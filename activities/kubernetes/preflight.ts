import { z } from 'zod';
import type { KubernetesTarget, PreflightFinding } from '../../domain/target.js';
import { changedSince, heldByAnother, refuse, stableUnhealthy } from '../fenced/findings.js';
import { readLane } from '../fenced/lane-view.js';
import type { PlatformScope } from '../platform.js';
import { changedLabels, deploymentOf, DeploymentSpec, serviceOf, ServiceSpec, siblingLabels } from './arms.js';
import type { Sibling } from './arms.js';
import { groupOf } from './resources.js';
import type { Resource } from './resources.js';
import type { KubeClient, KubeObject } from './kube-client.js';
import { createKubeStore, routeResource } from './kube-store.js';
import type { KubeLane } from './kube-store.js';
import { notAcceptedBecause, strangersOf, weightsOf } from './route.js';

type Scope = PlatformScope<KubernetesTarget>;

const SIBLINGS: readonly Sibling[] = ['canary', 'baseline'];

/** What else in the namespace has to do with stable's pods. */
interface Neighbours {
  readonly services: readonly KubeObject[];
  readonly networkPolicies: readonly KubeObject[];
  readonly disruptionBudgets: readonly KubeObject[];
  readonly autoscalers: readonly KubeObject[];
  /** Deployments that have the name that a sibling would have. */
  readonly namesakes: readonly KubeObject[];
}

/** What would stop a rollout on its way, all of it at once, found before anything is touched. */
export async function findKubeProblems(
  client: KubeClient,
  scope: Scope,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  const { lane, target, rolloutId } = scope;
  const denied = await permissions(client, target, signal);
  // Without them what follows could not be read, or would be guessed.
  if (denied.length > 0) return denied;
  const store = createKubeStore(client, lane, target, rolloutId);
  const [view, neighbours] = await Promise.all([
    readLane(store, rolloutId, signal),
    readNeighbours(client, target, signal),
  ]);
  const found = store.seen;
  if (found === null) throw new TypeError('a lane was read without being listed');
  return [
    ...heldByAnother(view, rolloutId),
    ...objectsMissing(found, target),
    ...labels(found, target),
    ...routeProblems(found, target),
    ...stableUnhealthy(view),
    ...stablePaused(found, target),
    ...changedSince(store, view),
    ...leftovers(found, neighbours, scope),
    ...neighbourProblems(found, neighbours, target),
    ...otherOwners(found, target),
  ];
}

/** Every verb that a rollout needs, by resource. The RBAC of the installation grants the same list. */
export function neededPermissions(target: KubernetesTarget): Readonly<Partial<Record<Resource, readonly string[]>>> {
  return {
    configmaps: ['get', 'list', 'create', 'update', 'delete'],
    deployments: ['get', 'list', 'create', 'update', 'delete'],
    services: ['get', 'list', 'create'],
    [routeResource(target)]: ['get', 'update'],
    pods: ['list'],
    endpointslices: ['list'],
    networkpolicies: ['list'],
    poddisruptionbudgets: ['list'],
    horizontalpodautoscalers: ['list'],
  };
}

async function permissions(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  const { namespace } = target;
  const findings = await Promise.all(
    Object.entries(neededPermissions(target)).map(async ([name, verbs]) => {
      const resource = name as Resource;
      const answers = await Promise.all(
        verbs.map(async (verb) => ({ verb, ...(await client.mayI(verb, resource, namespace, signal)) })),
      );
      const denied = answers.filter(({ allowed }) => !allowed);
      if (denied.length === 0) return [];
      const what = denied.map(({ verb }) => verb).join(', ');
      const group = groupOf(resource);
      return [
        refuse(
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
  const [services, networkPolicies, disruptionBudgets, autoscalers, ...namesakes] = await Promise.all([
    all('services'),
    all('networkpolicies'),
    all('poddisruptionbudgets'),
    all('horizontalpodautoscalers'),
    ...SIBLINGS.map((arm) => client.get('deployments', target.namespace, deploymentOf(target, arm), signal)),
  ]);
  return {
    services,
    networkPolicies,
    disruptionBudgets,
    autoscalers,
    namesakes: namesakes.filter((found) => found !== null),
  };
}

function objectsMissing({ stable, service, route }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  const { namespace } = target;
  const missing = (what: string, key: string): PreflightFinding =>
    refuse(`there is no ${what}`, `apply it, or name another one in slipway.yaml (kubernetes.${key})`);
  return [
    ...(stable === null ? [missing(`Deployment ${namespace}/${target.deployment}`, 'deployment')] : []),
    ...(service === null ? [missing(`Service ${namespace}/${target.service}`, 'service')] : []),
    ...(route === null ? [missing(`${target.route.kind} ${namespace}/${target.route.name}`, 'route')] : []),
  ];
}

const MAX_LABEL = 63;

/** Stable's labels must allow for siblings that nobody takes for stable. */
function labels({ stable, service }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  if (stable === null || service === null) return [];
  const { selector: chosen } = ServiceSpec.parse(service['spec']);
  const { selector, template } = DeploymentSpec.parse(stable['spec']);
  const name = `Service ${target.namespace}/${target.service}`;
  if (Object.keys(chosen).length === 0)
    return [refuse(`${name} selects no pods`, 'give it a selector of the pods of stable')];
  const own = template.metadata?.labels ?? {};
  if (!matches(chosen, own)) {
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
  const changed = changedLabels(chosen, matchLabels);
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

function routeProblems({ route }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  if (route === null) return [];
  const name = `${target.route.kind} ${target.namespace}/${target.route.name}`;
  const found = weightsOf(route, target);
  if (found === null) {
    return [
      refuse(
        `no rule of ${name} sends traffic to the Service ${target.service}`,
        'name the route that does (kubernetes.route)',
      ),
    ];
  }
  const strangers = strangersOf(route, target);
  const pending = notAcceptedBecause(route);
  const { canary, baseline } = found.weights;
  return [
    ...(strangers.length === 0
      ? []
      : [
          refuse(
            `${name} splits the traffic of ${target.service} with ${strangers.join(', ')}`,
            'leave one backend in each rule that names the Service: the shares of a rollout would not be what they say',
          ),
        ]),
    ...(found.rules === undefined
      ? []
      : [
          refuse(
            `the rules of ${name} have different weights`,
            'give all rules that name the Service the same weights',
          ),
        ]),
    ...(canary > 0 || baseline > 0
      ? [
          refuse(
            `${name} sends ${canary} % to a canary and ${baseline} % to a baseline already`,
            `send all of it to ${target.service}, or let the rollout that did this be recovered`,
          ),
        ]
      : []),
    ...(pending === null ? [] : [refuse(`${name} is not in effect: ${pending}`, 'see why with `kubectl describe`')]),
  ];
}

function stablePaused({ stable }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  if (stable === null || DeploymentSpec.parse(stable['spec'])['paused'] !== true) return [];
  const name = `Deployment ${target.namespace}/${target.deployment}`;
  return [
    refuse(
      `${name} is paused: it would never run the new version`,
      `kubectl rollout resume deployment/${target.deployment} -n ${target.namespace}`,
    ),
  ];
}

/** Siblings of other rollouts, or of nobody that Slipway knows. */
function leftovers(
  { anchors }: KubeLane,
  { namesakes, services }: Neighbours,
  { target, rolloutId }: Scope,
): readonly PreflightFinding[] {
  const own = anchors.find(({ metadata }) => metadata.name.endsWith(`-rollout-${rolloutId}`))?.metadata.uid;
  const names = SIBLINGS.map((arm) => serviceOf(target, arm));
  const found = [...namesakes, ...services.filter(({ metadata }) => names.includes(metadata.name))];
  return found
    .filter(({ metadata }) => !(metadata.ownerReferences ?? []).some(({ uid }) => uid === own))
    .map(({ kind, metadata: { name } }) =>
      refuse(
        `there is a ${kind} ${target.namespace}/${name} that is not of this rollout`,
        `let the rollout that made it be recovered, or remove it: kubectl delete ${kind.toLowerCase()} ${name} -n ${target.namespace}`,
      ),
    );
}

const Selector = z.looseObject({ matchLabels: z.record(z.string(), z.string()).optional() });
const Policy = z.looseObject({ podSelector: Selector.default({}) });
const Budget = z.looseObject({ selector: Selector.nullish() });
const Autoscaler = z.looseObject({ scaleTargetRef: z.looseObject({ kind: z.string(), name: z.string() }) });

/** What holds for stable's pods but would not hold for its siblings', or the other way round. */
function neighbourProblems(
  { stable, service }: KubeLane,
  { services, networkPolicies, disruptionBudgets, autoscalers }: Neighbours,
  target: KubernetesTarget,
): readonly PreflightFinding[] {
  if (stable === null || service === null) return [];
  const { namespace, deployment } = target;
  const { selector, template } = DeploymentSpec.parse(stable['spec']);
  const own = template.metadata?.labels ?? {};
  const changed = changedLabels(ServiceSpec.parse(service['spec']).selector, selector.matchLabels ?? {});
  const sibling = siblingLabels(own, changed, 'canary');
  const onlyStable = (chosen: Readonly<Record<string, string>>): boolean =>
    matches(chosen, own) && !matches(chosen, sibling);

  const scaled = autoscalers.filter((each) => {
    const { scaleTargetRef } = Autoscaler.parse(each['spec']);
    return scaleTargetRef.kind === 'Deployment' && scaleTargetRef.name === deployment;
  });
  const policies = networkPolicies.filter((each) => {
    const { matchLabels = {} } = Policy.parse(each['spec']).podSelector;
    return onlyStable(matchLabels);
  });
  const budgets = disruptionBudgets.filter((each) =>
    onlyStable(Budget.parse(each['spec']).selector?.matchLabels ?? {}),
  );
  const others = services.filter((each) => {
    const { selector: chosen } = ServiceSpec.parse(each['spec'] ?? {});
    return each.metadata.name !== target.service && Object.keys(chosen).length > 0 && matches(chosen, own);
  });
  return [
    ...scaled.map(({ metadata: { name } }) =>
      refuse(
        `HorizontalPodAutoscaler ${namespace}/${name} scales Deployment ${deployment}: it would shrink stable while the canary has its traffic`,
        'take it away while the rollout runs; Slipway does not drive autoscaled Deployments yet',
      ),
    ),
    ...policies.map(({ metadata: { name } }) =>
      refuse(
        `NetworkPolicy ${namespace}/${name} holds for the pods of stable, and would not hold for a canary (${changed.join(', ')} differs)`,
        'select the pods by a label that all arms have',
      ),
    ),
    ...budgets.map(({ metadata: { name } }) =>
      warn(
        `PodDisruptionBudget ${namespace}/${name} protects the pods of stable, not those of a canary`,
        'select the pods by a label that all arms have',
      ),
    ),
    ...others.map(({ metadata: { name }, spec }) =>
      matches(ServiceSpec.parse(spec ?? {}).selector, sibling)
        ? refuse(
            `Service ${namespace}/${name} selects the pods of stable, and would select a canary's too: they would get its traffic whatever the weights say`,
            `let it select by ${changed.join(' or ')}`,
          )
        : warn(
            `Service ${namespace}/${name} selects the pods of stable, and not those of a canary: its traffic always goes to stable`,
            'send its traffic through the route, if the canary shall get a share of it',
          ),
    ),
  ];
}

function warn(problem: string, remedy: string): PreflightFinding {
  return { severity: 'warn', problem, remedy };
}

/** Tools that would put back what Slipway sets, by how they mark what they look after. */
const OWNERS: readonly { readonly tool: string; readonly marks: (metadata: KubeObject['metadata']) => boolean }[] = [
  {
    tool: 'Argo CD',
    marks: ({ annotations = {}, labels = {} }) =>
      'argocd.argoproj.io/tracking-id' in annotations || 'argocd.argoproj.io/instance' in labels,
  },
  {
    tool: 'Flux',
    marks: ({ labels = {} }) => 'kustomize.toolkit.fluxcd.io/name' in labels || 'helm.toolkit.fluxcd.io/name' in labels,
  },
];

function otherOwners({ stable, route }: KubeLane, target: KubernetesTarget): readonly PreflightFinding[] {
  return [stable, route].flatMap((object) => {
    const owner = object === null ? undefined : OWNERS.find(({ marks }) => marks(object.metadata));
    if (object === null || owner === undefined) return [];
    const pointer = object.kind === 'Deployment' ? ['/spec/template', '/spec/replicas'] : ['/spec/rules'];
    const group = object.apiVersion.split('/')[0];
    return [
      refuse(
        `${object.kind} ${target.namespace}/${object.metadata.name} is kept by ${owner.tool}, which would put back what a rollout sets`,
        owner.tool === 'Argo CD'
          ? `add to the Application: ignoreDifferences: [{group: ${group}, kind: ${object.kind}, name: ${object.metadata.name}, jsonPointers: [${pointer.join(', ')}]}] with the sync option RespectIgnoreDifferences=true, and take the tracking annotation off the object`
          : `annotate it with kustomize.toolkit.fluxcd.io/ssa: IfNotPresent, or take it out of the Kustomization`,
      ),
    ];
  });
}

function matches(selector: Readonly<Record<string, string>>, own: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => own[key] === value);
}

function labelText(all: Readonly<Record<string, string>>): string {
  const text = Object.entries(all).map(([key, value]) => `${key}=${value}`);
  return text.length === 0 ? 'no labels' : text.join(', ');
}
