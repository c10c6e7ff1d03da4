import { looks } from './activity-profiles.js';

/**
 * Run by a Temporal Schedule every minute: wakes the lane of every anchor that has a rollout in flight. The lane follows
 * it if its run is open, and recovers it if not, so that an emptied Temporal database or a terminated run strands nothing.
 */
export async function reconcile(): Promise<{ readonly woken: number; readonly unreachable: readonly string[] }> {
  // What can't be read now is asked for again in a minute; until then its lanes keep what they have.
  const { anchors, unreachable } = await looks().listAnchors();
  for (const { lane, target } of anchors) await looks().wakeLane({ lane, target });
  return { woken: anchors.length, unreachable };
}
