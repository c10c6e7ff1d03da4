import { z } from 'zod';

/**
 * The objects of the local gateway's admin API: a small API server with the promises that Kubernetes makes (revisions,
 * conditional writes, owners, readiness, capacity). Both sides read these schemas: the gateway checks what it is sent,
 * the platform client what it is answered.
 */

/** Path segment of an environment, a service or an object's name. */
export const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits, - and . (63 at most)');

export const ObjectKind = z.enum(['anchor', 'arm', 'route']);
export type ObjectKind = z.infer<typeof ObjectKind>;

/** The complete description of what a replica runs: recorded before a rollout, restored by a rollback. */
export const ArmTemplate = z.strictObject({
  /** For people and metrics: `hello:v2`. */
  version: z.string().min(1).max(300),
  /** Program and arguments; `{image}`, `{tag}` and `{port}` are filled in when a replica starts. */
  command: z.array(z.string()).min(1),
  cwd: z.string().nullable(),
  env: z.record(z.string(), z.string()),
  healthPath: z.string().startsWith('/'),
  images: z.record(z.string(), z.string()),
});
export type ArmTemplate = z.infer<typeof ArmTemplate>;

export const ArmSpec = z.strictObject({ template: ArmTemplate, replicas: z.int().min(0).max(1000) });
export type ArmSpec = z.infer<typeof ArmSpec>;

/** Where an arm stands. Like a Deployment's status it is the gateway's to write, not the client's. */
export const ArmStatus = z.object({
  /** Replicas of the current template that answer their health path and receive traffic when the route says so. */
  ready: z.int(),
  /** Processes of earlier templates or sizes that still serve or drain. */
  old: z.int(),
  /** True when the progress deadline passed (or the command can't be started): waiting will not help. */
  failed: z.boolean(),
  /** Why it is not ready: exit code and last lines of output, no room, health answers. */
  message: z.string().nullable(),
  replicas: z.array(
    z.object({ pid: z.int().nullable(), port: z.int(), state: z.enum(['starting', 'ready', 'draining', 'exited']) }),
  ),
});
export type ArmStatus = z.infer<typeof ArmStatus>;

export const RouteSpec = z.strictObject({
  weights: z.strictObject({
    stable: z.number().min(0).max(100),
    canary: z.number().min(0).max(100),
    baseline: z.number().min(0).max(100),
  }),
});
export type RouteSpec = z.infer<typeof RouteSpec>;

/** Anchors carry what Slipway wants to keep there, up to 256 KiB. */
export const AnchorSpec = z.record(z.string(), z.json());
export type AnchorSpec = z.infer<typeof AnchorSpec>;

const head = {
  environment: Name,
  service: Name,
  name: Name,
  /** Changes with every change of the object; never seen twice, even after deletion. */
  revision: z.int(),
  uid: z.string(),
  /** Uid of the anchor it belongs to: it is removed when that anchor is gone, even if it is created later. */
  owner: z.string().nullable(),
  annotations: z.record(z.string(), z.string()),
};

export const GatewayObject = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('anchor'), ...head, spec: AnchorSpec }),
  z.object({ kind: z.literal('arm'), ...head, spec: ArmSpec, status: ArmStatus }),
  z.object({ kind: z.literal('route'), ...head, spec: RouteSpec }),
]);
export type GatewayObject = z.infer<typeof GatewayObject>;
export type AnchorObject = Extract<GatewayObject, { kind: 'anchor' }>;
export type ArmObject = Extract<GatewayObject, { kind: 'arm' }>;
export type RouteObject = Extract<GatewayObject, { kind: 'route' }>;

/** Body of a create (POST) or a replace (PUT, with the revision that the writer had read). */
export const GatewayWrite = z.strictObject({
  spec: z.unknown(),
  annotations: z.record(z.string(), z.string()),
  owner: z.string().nullable(),
});
export type GatewayWrite = z.infer<typeof GatewayWrite>;

/** One applied write, in the order applied: the ground truth of tests and operators. Writes that change nothing are not in it. */
export const JournalEntry = z.object({
  seq: z.int(),
  at: z.string(),
  verb: z.enum(['create', 'replace', 'delete', 'collect']),
  environment: z.string(),
  service: z.string(),
  kind: ObjectKind,
  name: z.string(),
  revision: z.int(),
  /** Headers `slipway-key` and `slipway-fence` of the request. */
  key: z.string().nullable(),
  fence: z.string().nullable(),
  /** Short text of what changed, e.g. `weights 90/10/0`. */
  change: z.string(),
});
export type JournalEntry = z.infer<typeof JournalEntry>;

/** Every error of the admin API. `reason` decides; `message` is for people. */
export const GatewayError = z.object({
  reason: z.enum([
    'NotFound',
    'AlreadyExists',
    'Conflict',
    'Invalid',
    'NoRoom',
    'Forbidden',
    'TooManyRequests',
    'Internal',
  ]),
  message: z.string(),
});
export type GatewayError = z.infer<typeof GatewayError>;
