import { z } from 'zod';
import { parseFence } from '../../domain/fence.js';
import { Target } from '../../formats/target.js';
import { Unavailable } from '../failures.js';
import type { Fence } from '../../domain/fence.js';
import type { Arm, ArmState, LaneAnchor, LaneRef, RecordedStable } from '../../domain/target.js';
import type {
  LaneStore,
  PlatformTypes,
  StoredAnchor,
  StoredArm,
  StoredAutoscaler,
  StoredObject,
  StoredRoute,
} from './store.js';

/** Name of a lane's anchor. */
export const LANE = 'lane';

/** Name of the route by which weights are told. */
export const ROUTE = 'route';

/** Name of a rollout's anchor. */
export function rolloutAnchorName(rolloutId: string): string {
  return `${ROLLOUT_PREFIX}${rolloutId}`;
}
const ROLLOUT_PREFIX = 'rollout-';

export const ANNOTATION = {
  fence: 'slipway.dev/fence',
  key: 'slipway.dev/key',
  /** How small an autoscaler may make stable once no rollout needs it at full size. */
  minReplicas: 'slipway.dev/min-replicas',
  /** The leaves as Slipway last left them. */
  applied: 'slipway.dev/applied',
  /** The leaves as Slipway meant them, where others have a say in what is stored and have made something else of it. */
  meant: 'slipway.dev/meant',
} as const;

/** What a lane's anchor holds. */
export const LaneSpec = z.object({
  generation: z.int(),
  current: z.object({ rolloutId: z.string(), claimant: z.enum(['rollout', 'recover']) }).nullable(),
  ended: z.array(z.object({ rolloutId: z.string(), outcome: z.string() })),
  target: Target,
});
export type LaneSpec = z.infer<typeof LaneSpec>;

const Percent = z.number().min(0).max(100);

/** What a rollout's anchor holds: stable exactly as it was before anything was touched. */
const RolloutSpec = z.object({
  rolloutId: z.string(),
  recorded: z.object({
    templateDigest: z.string().nullable(),
    version: z.string().nullable(),
    replicas: z.int(),
    template: z.unknown(),
    weights: z.object({ stable: Percent, canary: Percent, baseline: Percent }).nullable(),
    /** Absent where there is none, and in anchors of before it was recorded. */
    configuration: z.record(z.string(), z.string()).optional(),
  }),
});

type Recorded<P extends PlatformTypes> = Omit<z.infer<typeof RolloutSpec>['recorded'], 'template'> & {
  readonly template: P['template'] | null;
};

export interface RolloutSpec<P extends PlatformTypes> {
  readonly rolloutId: string;
  readonly recorded: Recorded<P>;
}

export interface Held<P extends PlatformTypes, Spec> {
  readonly object: StoredAnchor<P>;
  readonly spec: Spec;
}

/** All objects of a lane, from one read. */
export interface LaneView<P extends PlatformTypes> {
  readonly lane: Held<P, LaneSpec> | null;
  /** The anchor of the rollout that asks. */
  readonly rollout: Held<P, RolloutSpec<P>> | null;
  /** Anchors of other rollouts that are still there. */
  readonly others: readonly Held<P, RolloutSpec<P>>[];
  readonly arms: Readonly<Partial<Record<Arm, StoredArm<P>>>>;
  readonly route: StoredRoute<P> | null;
  /** Further routes, which have the same weights. */
  readonly moreRoutes: readonly StoredRoute<P>[];
  readonly autoscaler: StoredAutoscaler<P> | null;
}

/** What tells whether stable can serve as it did, and where the traffic goes. */
export type ServingView<P extends PlatformTypes> = Pick<LaneView<P>, 'rollout' | 'arms' | 'route' | 'moreRoutes'>;

/** @throws Unavailable when the objects can't be read, or an anchor can't be understood */
export async function readLane<P extends PlatformTypes>(
  store: LaneStore<P>,
  rolloutId: string,
  signal: AbortSignal | undefined,
): Promise<LaneView<P>> {
  return viewOf(store, rolloutId, await store.list(signal));
}

/** As {@link readLane}, with fewer calls. Of the arms only stable is surely among what is read. */
export async function readServing<P extends PlatformTypes>(
  store: LaneStore<P>,
  rolloutId: string,
  signal: AbortSignal | undefined,
): Promise<ServingView<P>> {
  return viewOf(store, rolloutId, await store.listServing(rolloutId, signal));
}

function viewOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  rolloutId: string,
  objects: readonly StoredObject<P>[],
): LaneView<P> {
  const anchors = objects.filter((object) => object.kind === 'anchor');
  const rollouts = anchors
    .filter((object) => object.name.startsWith(ROLLOUT_PREFIX))
    .map((object) => heldRollout(store, object));
  const lane = anchors.find((object) => object.name === LANE);
  const arms: Partial<Record<Arm, StoredArm<P>>> = {};
  for (const object of objects) if (object.kind === 'arm') arms[object.name as Arm] = object;
  const routes = objects.filter((object) => object.kind === 'route');
  return {
    lane: lane === undefined ? null : { object: lane, spec: readAnchor(store.where, LaneSpec, lane) },
    rollout: rollouts.find(({ object }) => object.name === rolloutAnchorName(rolloutId)) ?? null,
    others: rollouts.filter(({ object }) => object.name !== rolloutAnchorName(rolloutId)),
    arms,
    route: routes.find(({ name }) => name === ROUTE) ?? null,
    moreRoutes: routes.filter(({ name }) => name !== ROUTE),
    autoscaler: objects.find((object) => object.kind === 'autoscaler') ?? null,
  };
}

function heldRollout<P extends PlatformTypes>(store: LaneStore<P>, object: StoredAnchor<P>): Held<P, RolloutSpec<P>> {
  const schema = RolloutSpec.extend({
    recorded: RolloutSpec.shape.recorded.extend({ template: store.template.nullable() }),
  });
  return { object, spec: readAnchor(store.where, schema, object) as RolloutSpec<P> };
}

/**
 * What an anchor holds.
 * @throws Unavailable when it can't be understood: a person must put it right before anything is changed
 */
export function readAnchor<Schema extends z.ZodType>(
  where: string,
  schema: Schema,
  object: { readonly name: string; readonly spec: unknown },
): z.infer<Schema> {
  const parsed = schema.safeParse(object.spec);
  if (parsed.success) return parsed.data;
  throw new Unavailable(
    `${where}: anchor ${object.name} can't be read, put it right: ${z.prettifyError(parsed.error)}`,
  );
}

export function fenceOf(object: StoredObject<PlatformTypes>): Fence | null {
  return parseFence(object.annotations[ANNOTATION.fence]);
}

export function laneAnchorOf(lane: LaneRef, { target, generation, current, ended }: LaneSpec): LaneAnchor {
  return { lane, target, generation, current, ended };
}

export function armStateOf<P extends PlatformTypes>(store: LaneStore<P>, { spec, status }: StoredArm<P>): ArmState {
  return {
    templateDigest: store.digest(spec.template),
    version: store.version(spec.template),
    replicas: spec.replicas,
    ready: status.ready,
    ...(status.unseen === undefined ? {} : { unseen: status.unseen }),
    message: status.message,
  };
}

/** Stable and weights as they are, for the rollout's anchor. */
export function recordOf<P extends PlatformTypes>(store: LaneStore<P>, view: LaneView<P>): Recorded<P> {
  const stable = view.arms.stable;
  return {
    templateDigest: stable === undefined ? null : store.digest(stable.spec.template),
    version: stable === undefined ? null : store.version(stable.spec.template),
    replicas: stable?.spec.replicas ?? 0,
    template: stable?.spec.template ?? null,
    weights: view.route?.spec.weights ?? null,
  };
}

export function recordedStableOf<P extends PlatformTypes>(
  store: LaneStore<P>,
  { rolloutId, recorded }: RolloutSpec<P>,
): RecordedStable {
  const { version, replicas, template } = recorded;
  return { rolloutId, templateDigest: template === null ? null : store.digest(template), version, replicas };
}

/** Why the route is as it is after a cut, for people. */
export const SENT_BACK = 'a watch that saw harm has sent users back to stable, and was lost before it could say why';

/** Whether users were taken from this rollout's new version, and nothing has moved them since. */
export function wasCut({ rollout, route }: Pick<LaneView<PlatformTypes>, 'rollout' | 'route'>): boolean {
  const key = route?.annotations[ANNOTATION.key] ?? '';
  return rollout !== null && key.startsWith(`${rollout.spec.rolloutId}/`) && key.includes('/cut-traffic/');
}
