import { Refused, Unavailable } from './failures.js';
import type {
  ClaimResult,
  Claimant,
  Effect,
  EffectResult,
  LaneAnchor,
  LaneRef,
  PlannedNeeds,
  PreflightFinding,
} from '../domain/target.js';
import type { Arm, ArmReadiness, Inspection, Target, TargetSnapshot } from '../domain/target.js';
import type { Permit } from '../domain/fence.js';

/** What every call names: the lane, where it acts, and for which rollout. */
export interface PlatformScope<T extends Target = Target> {
  readonly lane: LaneRef;
  readonly target: T;
  readonly rolloutId: string;
}

export interface ClaimRequest<T extends Target = Target> extends PlatformScope<T> {
  readonly claimant: Claimant;
  /** The lane's own last generation: the grant is `max(lane, anchor) + 1`. */
  readonly laneGeneration: number;
}

/**
 * A place where versions of a service run and share traffic. Implementations keep these promises, whatever the system:
 * - `apply` reads, decides by `decideWrite`, and writes on the condition that nothing changed since that read; on a
 *   conflict it reads and decides again. An effect is applied exactly once for its key; a stale one is never applied.
 * - objects that a rollout creates belong to the rollout's anchor and vanish with it.
 * - errors that a retry may cure (unreachable, busy, conflict storms) are thrown; all else is a value.
 */
export interface Platform<T extends Target = Target> {
  /** Reads arms, weights, anchor and what was recorded for this rollout. */
  describe(scope: PlatformScope<T>, signal?: AbortSignal): Promise<TargetSnapshot>;
  /** Checks, without touching anything, whether every write of a rollout would be allowed and would fit. */
  preflight(scope: PlatformScope<T>, needs: PlannedNeeds, signal?: AbortSignal): Promise<readonly PreflightFinding[]>;
  /** Grants a new generation by compare-and-set on the lane's anchor, which it creates if need be. */
  claim(request: ClaimRequest<T>, signal?: AbortSignal): Promise<ClaimResult>;
  apply(scope: PlatformScope<T>, effect: Effect, permit: Permit, signal?: AbortSignal): Promise<EffectResult>;
  /** Whether an arm of this template and size can serve now. */
  readiness(scope: PlatformScope<T>, arm: Arm, replicas: number, signal?: AbortSignal): Promise<ArmReadiness>;
  /** What has changed since this rollout last wrote; asked again and again while a rollout only watches. */
  inspect(scope: PlatformScope<T>, signal?: AbortSignal): Promise<Inspection>;
  /** All lane anchors that somebody holds, in the places that this worker looks after, for `reconcile`. */
  anchors(signal?: AbortSignal): Promise<AnchorSweep>;
}

/** What was found in several places. One that is away must not hide what is in the others. */
export interface AnchorSweep {
  readonly anchors: readonly LaneAnchor[];
  /** Places that could not be read, each with the reason. */
  readonly unreachable: readonly string[];
}

/** Reads anchors in all places, side by side. */
export async function sweepAnchors<Place>(
  places: readonly Place[],
  read: (place: Place) => Promise<readonly LaneAnchor[]>,
): Promise<AnchorSweep> {
  const unreachable: string[] = [];
  const found = await Promise.all(
    places.map(async (place) => {
      try {
        return await read(place);
      } catch (error) {
        if (!(error instanceof Unavailable) && !(error instanceof Refused)) throw error;
        unreachable.push(error.message);
        return [];
      }
    }),
  );
  return { anchors: found.flat(), unreachable };
}

/** A platform for each kind of target that this worker can act on. */
export type Platforms = {
  readonly [Kind in Target['platform']]?: Platform<Extract<Target, { readonly platform: Kind }>>;
};

/** @throws Refused when this worker can't act on such a target */
export function platformOf(platforms: Platforms, { platform }: Target): Platform {
  // Each platform is only ever given targets of its own kind.
  const found = platforms[platform] as Platform | undefined;
  if (found === undefined) throw new Refused(`this worker has no platform "${platform}"`);
  return found;
}
