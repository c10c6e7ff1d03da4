/** What somebody else has changed while a rollout only watches: seen at a look, and not only by the next write. */
import { z } from 'zod';
import type { Arm, Disturbance } from '../../domain/target.js';
import { expectedLeaves } from './fenced-write.js';
import { ANNOTATION, fenceOf, SENT_BACK, wasCut } from './lane-view.js';
import type { LaneView } from './lane-view.js';
import type { LaneStore, PlatformTypes, StoredArm, StoredObject } from './store.js';

const SIBLINGS = ['canary', 'baseline'] as const;
const Sized = z.looseObject({ replicas: z.int() });

/** @param serving how many replicas of an arm get the traffic that is sent to it */
export function disturbancesOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  serving: (arm: Arm) => number,
): readonly Disturbance[] {
  if (view.rollout === null)
    return [harm('anchor', "the rollout's anchor is gone: what it owns, the canary above all, goes with it")];
  return [...harmTo(store, view, serving), ...driftOf(store, view, serving)];
}

function harmTo<P extends PlatformTypes>(
  store: LaneStore<P>,
  { arms, route, rollout }: LaneView<P>,
  serving: (arm: Arm) => number,
): readonly Disturbance[] {
  // A watch that has taken users back may be lost before its word comes to the workflow. The next one most likely sees the
  // same harm, and can say what it is: it is given the time.
  if (wasCut({ rollout, route })) return [harm('route', SENT_BACK, true)];
  const { weights } = route?.spec ?? {};
  // Where shares follow from the numbers of replicas, whatever runs has one; and what is gone has none.
  const has = (arm: Arm): boolean =>
    store.split === 'weights' ? (weights?.[arm] ?? 0) > 0 : (arms[arm]?.spec.replicas ?? 0) > 0;
  const siblings = SIBLINGS.filter(has).flatMap((arm) => {
    const object = arms[arm];
    if (object === undefined) return [harm(arm, 'it has traffic, and it is gone')];
    if (!runsWhatWasApplied(store, object))
      return [harm(arm, `somebody changed what it runs: it is ${store.version(object.spec.template)} now`)];
    return serving(arm) > 0 ? [] : [harm(arm, 'it has traffic, and none of its replicas can serve', true)];
  });
  const isStopped = arms.stable?.spec.replicas === 0 && (rollout?.spec.recorded.replicas ?? 0) > 0;
  return isStopped && (store.split === 'replicas' || (weights?.stable ?? 0) > 0)
    ? [...siblings, harm('stable', 'it has traffic, and somebody scaled it to zero')]
    : siblings;
}

function driftOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  serving: (arm: Arm) => number,
): readonly Disturbance[] {
  const { arms, route, moreRoutes, rollout } = view;
  // A first release has nothing to go back to.
  const served = rollout?.spec.recorded.template != null;
  const missing = [
    ...(store.split === 'weights' && route === null
      ? [drift('route', 'it is gone, or no rule of it names the service any more')]
      : []),
    ...(served && arms.stable === undefined ? [drift('stable', 'it is gone')] : []),
  ];
  const changed = [route, ...moreRoutes, arms.stable, arms.canary, arms.baseline].flatMap((object) => {
    const found = object == null ? null : changeOf(store, view, object);
    return object == null || found === null ? [] : [drift(object.name, found)];
  });
  const dead =
    served &&
    arms.stable !== undefined &&
    (store.split === 'replicas' || (route?.spec.weights.stable ?? 0) > 0) &&
    serving('stable') === 0
      ? [drift('stable', 'it has traffic, and none of its replicas can serve', true)]
      : [];
  return [...missing, ...changed, ...dead];
}

/** How an object differs from what Slipway left there; null where it does not. */
function changeOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: LaneView<P>,
  object: StoredObject<P>,
): string | null {
  // Each object got one when the rollout began: whoever replaces a whole object takes away all that Slipway wrote on it.
  if (fenceOf(object) === null) return `its ${ANNOTATION.fence} was taken away`;
  const expected = expectedLeaves(store, view, object);
  const found = store.leaves(object, object.spec);
  return expected === null || expected === found ? null : `it is ${found}, Slipway had left ${expected}`;
}

/** Whatever its size is. */
function runsWhatWasApplied<P extends PlatformTypes>(store: LaneStore<P>, object: StoredArm<P>): boolean {
  const applied = object.annotations[ANNOTATION.applied];
  // Without it nothing can be said; that it is missing is drift.
  if (applied === undefined) return true;
  const { replicas } = Sized.parse(JSON.parse(applied));
  return store.leaves(object, { ...object.spec, replicas }) === applied;
}

function harm(object: string, text: string, passing = false): Disturbance {
  return { kind: 'harm', object, text, passing };
}

function drift(object: string, text: string, passing = false): Disturbance {
  return { kind: 'drift', object, text, passing };
}
