import type { Arm, ArmReadiness, ArmState, TargetSnapshot } from '../../domain/target.js';
import type { PlatformScope } from '../platform.js';
import { ANNOTATION, armStateOf, laneAnchorOf, recordedStableOf } from './lane-view.js';
import type { LaneView } from './lane-view.js';
import type { ArmStatus, LaneStore, PlatformTypes } from './store.js';

/** What a rollout needs to know of its target. */
export function snapshotOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  { lane, rolloutId }: PlatformScope,
  view: LaneView<P>,
  freeReplicas: number | null,
): TargetSnapshot {
  const arms: Partial<Record<Arm, ArmState>> = {};
  for (const [name, arm] of Object.entries(view.arms)) arms[name as Arm] = armStateOf(store, arm);
  return {
    arms,
    weights: view.route?.spec.weights ?? null,
    freeReplicas,
    autoscaled: view.autoscaler !== null,
    anchor: view.lane && laneAnchorOf(lane, view.lane.spec),
    recorded: view.rollout && recordedStableOf(store, view.rollout.spec),
    recordLost:
      view.rollout === null && view.arms.stable?.annotations[ANNOTATION.key]?.startsWith(`${rolloutId}/`) === true,
  };
}

/** Whether an arm of this size can serve now. */
export function readinessOf(arm: Arm, status: ArmStatus | null, replicas: number): ArmReadiness {
  if (status === null) return { kind: 'failed', message: `there is no arm ${arm}` };
  const { ready, failed, message } = status;
  if (ready >= replicas) return { kind: 'ready', replicas: ready };
  return failed
    ? { kind: 'failed', message: message ?? `${arm} did not come up` }
    : { kind: 'waiting', ready, wanted: replicas, message };
}
