/** What preflight finds on any platform that keeps its objects in a `LaneStore`. */
import type { PreflightFinding } from '../../domain/target.js';
import { describeHolder } from './lane-anchor.js';
import { ANNOTATION } from './lane-view.js';
import type { LaneView } from './lane-view.js';
import type { LaneStore, PlatformTypes } from './store.js';

export function refuse(problem: string, remedy: string): PreflightFinding {
  return { severity: 'refuse', problem, remedy };
}

export function warn(problem: string, remedy: string): PreflightFinding {
  return { severity: 'warn', problem, remedy };
}

/** The lane belongs to another rollout. */
export function heldByAnother(view: LaneView<PlatformTypes>, rolloutId: string): readonly PreflightFinding[] {
  const current = view.lane?.spec.current ?? null;
  if (current === null || current.rolloutId === rolloutId) return [];
  return [
    refuse(
      `the lane is held by ${describeHolder(current)}`,
      `wait for it, or see what it waits for with \`slipway status ${current.rolloutId}\``,
    ),
  ];
}

/** Stable is not as large as it should be. */
export function stableUnhealthy({ arms: { stable } }: LaneView<PlatformTypes>): readonly PreflightFinding[] {
  if (stable === undefined || stable.status.ready >= stable.spec.replicas) return [];
  const { ready, message } = stable.status;
  const why = message === null ? '' : ` (${message})`;
  return [
    refuse(`stable has ${ready} of ${stable.spec.replicas} replicas ready${why}`, 'bring stable back to health first'),
  ];
}

/** Stable or the route are not as Slipway left them. */
export function changedSince<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
): readonly PreflightFinding[] {
  return [view.arms.stable, view.route, ...view.moreRoutes].flatMap((object) => {
    const applied = object?.annotations[ANNOTATION.applied];
    if (object == null || applied === undefined) return [];
    const found = store.leaves(object, object.spec);
    if (applied === found) return [];
    return [
      refuse(
        `${object.name} was changed since Slipway wrote it: found ${found} where Slipway had left ${applied}`,
        `put it back, or keep it as it is by taking the annotation ${ANNOTATION.applied} away`,
      ),
    ];
  });
}
