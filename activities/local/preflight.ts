import { canonicalJson } from '../../domain/canonical.js';
import { describeHolder } from './lane-anchor.js';
import { ANNOTATION } from './lane-view.js';
import type { PreflightFinding } from '../../domain/target.js';
import type { GatewayObject } from '../../formats/gateway.js';
import type { PlatformScope } from '../platform.js';
import type { LaneView } from './lane-view.js';

export interface PreflightFacts {
  readonly view: LaneView;
  readonly capacity: { readonly maxReplicas: number; readonly used: number };
  readonly needs: { readonly replicas: number };
}

/** What would stop a rollout on its way, found before it touches anything. */
export function findProblems({ rolloutId }: PlatformScope, facts: PreflightFacts): readonly PreflightFinding[] {
  return [...holder(rolloutId, facts), ...leftovers(facts), ...stableHealth(facts), ...drift(facts), ...room(facts)];
}

function holder(rolloutId: string, { view }: PreflightFacts): PreflightFinding[] {
  const current = view.lane?.spec.current ?? null;
  if (current === null || current.rolloutId === rolloutId) return [];
  return [
    refuse(
      `the lane is held by ${describeHolder(current)}`,
      `wait for it, or see what it waits for with \`slipway status ${current.rolloutId}\``,
    ),
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
        ? `remove it: ${deletion(arm)}`
        : `let that rollout be recovered first, or remove it: ${deletion(arm)}`;
    return [refuse(`there is a ${name} that is ${whose}, with ${share} % of the traffic`, remedy)];
  });
}

function stableHealth({ view }: PreflightFacts): PreflightFinding[] {
  const { stable } = view.arms;
  if (stable === undefined) {
    if (view.route === null) return [];
    return [
      refuse(
        'there is a route but no stable arm',
        `remove the route, then this is a first release: ${deletion(view.route)}`,
      ),
    ];
  }
  const { ready, message } = stable.status;
  if (ready >= stable.spec.replicas) return [];
  const why = message === null ? '' : ` (${message})`;
  return [
    refuse(`stable has ${ready} of ${stable.spec.replicas} replicas ready${why}`, 'bring stable back to health first'),
  ];
}

function drift({ view }: PreflightFacts): PreflightFinding[] {
  return [view.arms.stable, view.route].flatMap((object) => {
    const applied = object?.annotations[ANNOTATION.applied];
    if (object == null || applied === undefined || applied === canonicalJson(object.spec)) return [];
    return [
      refuse(
        `${object.name} was changed since Slipway wrote it: found ${canonicalJson(object.spec)} where Slipway had left ${applied}`,
        `put it back, or keep it as it is by taking the annotation ${ANNOTATION.applied} away`,
      ),
    ];
  });
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

function refuse(problem: string, remedy: string): PreflightFinding {
  return { severity: 'refuse', problem, remedy };
}
