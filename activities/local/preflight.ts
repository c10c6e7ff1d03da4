import { changedSince, heldByAnother, refuse, stableUnhealthy } from '../fenced/findings.js';
import type { PreflightFinding } from '../../domain/target.js';
import type { GatewayObject } from '../../formats/gateway.js';
import type { PlatformScope } from '../platform.js';
import type { LaneView } from '../fenced/lane-view.js';
import type { LaneStore } from '../fenced/store.js';
import type { GatewayTypes } from './gateway-store.js';

export interface PreflightFacts {
  readonly store: LaneStore<GatewayTypes>;
  readonly view: LaneView<GatewayTypes>;
  readonly capacity: { readonly maxReplicas: number; readonly used: number };
  readonly needs: { readonly replicas: number };
}

/** What would stop a rollout on its way, found before it touches anything. */
export function findProblems({ rolloutId }: PlatformScope, facts: PreflightFacts): readonly PreflightFinding[] {
  const { store, view } = facts;
  return [
    ...heldByAnother(view, rolloutId),
    ...leftovers(facts),
    ...routeAlone(facts),
    ...stableUnhealthy(view),
    ...changedSince(store, view),
    ...room(facts),
  ];
}

function leftovers({ view }: PreflightFacts): PreflightFinding[] {
  return (['canary', 'baseline'] as const).flatMap((name) => {
    const arm = view.arms[name];
    if (arm === undefined || (view.rollout !== null && arm.owner === view.rollout.object.uid)) return [];
    const owner = view.others.find(({ object }) => object.uid === arm.owner);
    const whose = owner === undefined ? 'not of this rollout' : `of rollout ${owner.spec.rolloutId}`;
    const share = view.route?.spec.weights[name] ?? 0;
    const remedy =
      owner === undefined
        ? `remove it: ${deletion(arm.live)}`
        : `let that rollout be recovered first, or remove it: ${deletion(arm.live)}`;
    return [refuse(`there is a ${name} that is ${whose}, with ${share} % of the traffic`, remedy)];
  });
}

function routeAlone({ view }: PreflightFacts): PreflightFinding[] {
  if (view.arms.stable !== undefined || view.route === null) return [];
  return [
    refuse(
      'there is a route but no stable arm',
      `remove the route, then this is a first release: ${deletion(view.route.live)}`,
    ),
  ];
}

function room({ view, capacity, needs }: PreflightFacts): PreflightFinding[] {
  const { canary, baseline } = view.arms;
  // What this rollout runs already counts as used, but it is part of what it needs.
  const own = [canary, baseline].filter((arm) => arm !== undefined && arm.owner === view.rollout?.object.uid);
  const ours = own.reduce((sum, arm) => sum + (arm?.spec.replicas ?? 0), 0);
  const free = capacity.maxReplicas - capacity.used + ours;
  if (free >= needs.replicas) return [];
  return [
    refuse(
      `no room: the rollout needs ${needs.replicas} more replicas, ${Math.max(0, free)} of ${capacity.maxReplicas} are free`,
      `start the gateway with --max-replicas ${capacity.maxReplicas + needs.replicas - free} or more, or plan fewer replicas`,
    ),
  ];
}

function deletion({ environment, service, kind, name, revision }: GatewayObject): string {
  return `DELETE /v1/objects/${environment}/${service}/${kind}/${name}?revision=${revision} at the gateway`;
}
