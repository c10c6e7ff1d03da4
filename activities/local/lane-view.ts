import { z } from 'zod';
import { digestOf } from '../../domain/canonical.js';
import { parseFence } from '../../domain/fence.js';
import { ArmTemplate, RouteSpec } from '../../formats/gateway.js';
import { PlatformUnavailable } from './errors.js';
import type { Fence } from '../../domain/fence.js';
import type { Arm, ArmState, LaneAnchor, LaneRef, RecordedStable } from '../../domain/target.js';
import type { AnchorObject, ArmObject, GatewayObject, RouteObject } from '../../formats/gateway.js';
import type { PlatformScope } from '../platform.js';
import type { GatewayClient } from './gateway-client.js';

/** Name of a lane's anchor. */
export const LANE = 'lane';

/** Name of a rollout's anchor. */
export function rolloutAnchorName(rolloutId: string): string {
  return `${ROLLOUT_PREFIX}${rolloutId}`;
}
const ROLLOUT_PREFIX = 'rollout-';

export const ANNOTATION = {
  fence: 'slipway.dev/fence',
  key: 'slipway.dev/key',
  /** Canonical JSON of the spec as Slipway last wrote it. */
  applied: 'slipway.dev/applied',
} as const;

const Target = z.strictObject({
  platform: z.literal('local'),
  gateway: z.string(),
  run: z.strictObject({
    command: z.array(z.string()),
    cwd: z.string().nullable(),
    env: z.record(z.string(), z.string()),
    healthPath: z.string(),
    replicas: z.int(),
  }),
});

/** What a lane's anchor holds. */
export const LaneSpec = z.object({
  generation: z.int(),
  current: z.object({ rolloutId: z.string(), claimant: z.enum(['rollout', 'recover']) }).nullable(),
  ended: z.array(z.object({ rolloutId: z.string(), outcome: z.string() })),
  target: Target,
});
export type LaneSpec = z.infer<typeof LaneSpec>;

/** What a rollout's anchor holds: stable exactly as it was before anything was touched. */
export const RolloutSpec = z.object({
  rolloutId: z.string(),
  recorded: z.object({
    templateDigest: z.string().nullable(),
    version: z.string().nullable(),
    replicas: z.int(),
    template: ArmTemplate.nullable(),
    weights: RouteSpec.shape.weights.nullable(),
  }),
});
export type RolloutSpec = z.infer<typeof RolloutSpec>;

export interface Held<Spec> {
  readonly object: AnchorObject;
  readonly spec: Spec;
}

/** All objects of a lane, from one read. */
export interface LaneView {
  readonly lane: Held<LaneSpec> | null;
  /** The anchor of the rollout that asks. */
  readonly rollout: Held<RolloutSpec> | null;
  /** Anchors of other rollouts that are still there. */
  readonly others: readonly Held<RolloutSpec>[];
  readonly arms: Readonly<Partial<Record<Arm, ArmObject>>>;
  readonly route: RouteObject | null;
}

/** @throws PlatformUnavailable when the gateway can't be read, or an anchor can't be understood */
export async function readLane(
  client: GatewayClient,
  { lane: { environment, service }, rolloutId }: Pick<PlatformScope, 'lane' | 'rolloutId'>,
  signal: AbortSignal | undefined,
): Promise<LaneView> {
  const objects = await client.list({ environment, service }, signal);
  const anchors = objects.filter((object) => object.kind === 'anchor');
  const rollouts = anchors
    .filter((object) => object.name.startsWith(ROLLOUT_PREFIX))
    .map((object) => held(client, RolloutSpec, object));
  const lane = anchors.find((object) => object.name === LANE);
  const arms: Partial<Record<Arm, ArmObject>> = {};
  for (const object of objects) if (object.kind === 'arm') arms[object.name as Arm] = object;
  return {
    lane: lane === undefined ? null : held(client, LaneSpec, lane),
    rollout: rollouts.find(({ object }) => object.name === rolloutAnchorName(rolloutId)) ?? null,
    others: rollouts.filter(({ object }) => object.name !== rolloutAnchorName(rolloutId)),
    arms,
    route: objects.find((object) => object.kind === 'route') ?? null,
  };
}

/** An anchor with its content. */
export function held<Schema extends z.ZodType>(
  client: GatewayClient,
  schema: Schema,
  object: AnchorObject,
): Held<z.infer<Schema>> {
  const parsed = schema.safeParse(object.spec);
  if (parsed.success) return { object, spec: parsed.data };
  const where = `${object.environment}/${object.service}/anchor/${object.name}`;
  throw new PlatformUnavailable(
    client.baseUrl,
    `${where} can't be read, put it right: ${z.prettifyError(parsed.error)}`,
  );
}

export function fenceOf(object: GatewayObject): Fence | null {
  return parseFence(object.annotations[ANNOTATION.fence]);
}

export function laneAnchorOf(lane: LaneRef, { target, generation, current, ended }: LaneSpec): LaneAnchor {
  return { lane, target, generation, current, ended };
}

export function armStateOf({ spec, status }: ArmObject): ArmState {
  return {
    templateDigest: digestOf(spec.template),
    version: spec.template.version,
    replicas: spec.replicas,
    ready: status.ready,
    message: status.message,
  };
}

/** Stable and weights as they are, for the rollout's anchor. */
export function recordOf(view: LaneView): RolloutSpec['recorded'] {
  const stable = view.arms.stable;
  return {
    templateDigest: stable ? digestOf(stable.spec.template) : null,
    version: stable?.spec.template.version ?? null,
    replicas: stable?.spec.replicas ?? 0,
    template: stable?.spec.template ?? null,
    weights: view.route?.spec.weights ?? null,
  };
}

export function recordedStableOf({ rolloutId, recorded }: RolloutSpec): RecordedStable {
  const { version, replicas, template } = recorded;
  return { rolloutId, templateDigest: template && digestOf(template), version, replicas };
}
