import type { z } from 'zod';
import type { Digest } from '../../domain/canonical.js';
import type { Configuration, TemplateSource, Weights } from '../../domain/target.js';

/** What differs between platforms: how a template is written down, and what an object is as it was read. */
export interface PlatformTypes {
  /** The complete description of what a replica runs. */
  readonly template: unknown;
  /** An object as the platform gave it: what a replacement changes and is conditional on. */
  readonly live: unknown;
}

interface Stored<P extends PlatformTypes, Kind extends string, Spec> {
  readonly kind: Kind;
  /** `lane`, `rollout-<id>`, an arm's name, `route` or `route/<name>` for further ones, or `autoscaler`. */
  readonly name: string;
  readonly uid: string;
  /** Uid of the anchor with which it vanishes; null where it stays. */
  readonly owner: string | null;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: Spec;
  readonly live: P['live'];
}

export interface ArmSpec<P extends PlatformTypes> {
  readonly template: P['template'];
  readonly replicas: number;
}

export interface RouteSpec {
  readonly weights: Weights;
}

/** What keeps stable at a size that follows from its load. */
export interface AutoscalerSpec {
  readonly minReplicas: number;
  readonly maxReplicas: number;
}

export interface ArmStatus {
  /** Replicas of the current template that can serve. */
  readonly ready: number;
  /** The platform has not looked at what was written last: what can serve is not known, and counted as none. */
  readonly unseen?: true;
  /** Waiting will not help. */
  readonly failed: boolean;
  /** Why it is not ready, in the platform's words. */
  readonly message: string | null;
}

export type StoredAnchor<P extends PlatformTypes> = Stored<P, 'anchor', unknown>;
export type StoredArm<P extends PlatformTypes> = Stored<P, 'arm', ArmSpec<P>> & { readonly status: ArmStatus };
export type StoredRoute<P extends PlatformTypes> = Stored<P, 'route', RouteSpec>;
export type StoredAutoscaler<P extends PlatformTypes> = Stored<P, 'autoscaler', AutoscalerSpec>;
export type StoredObject<P extends PlatformTypes> =
  StoredAnchor<P> | StoredArm<P> | StoredRoute<P> | StoredAutoscaler<P>;

/** One object of a lane. */
export interface ObjectName {
  readonly kind: StoredObject<PlatformTypes>['kind'];
  readonly name: string;
}

/** One that Slipway makes where it is not there; an autoscaler is its owner's. */
export type NewObject = ObjectName & { readonly kind: Exclude<ObjectName['kind'], 'autoscaler'> };

/** An object as it shall be. Annotations are all of them; those that others have set are among them. */
export interface ObjectWrite {
  readonly spec: unknown;
  readonly annotations: Readonly<Record<string, string>>;
  readonly owner: string | null;
}

/** What a write is credited to in the platform's own log. */
export interface WriteCredit {
  readonly key: string;
  readonly fence: string;
}

export type WriteOutcome =
  | { readonly kind: 'written' }
  /** Somebody else was faster (changed, created or deleted it): read again and decide again. */
  | { readonly kind: 'conflict' }
  | { readonly kind: 'refused'; readonly reason: string };

/** The template that an arm shall run, or why there is none. */
export type TemplateResult<P extends PlatformTypes> =
  { readonly kind: 'template'; readonly template: P['template'] } | { readonly kind: 'none'; readonly reason: string };

/** Stable exactly as it was before a rollout touched anything. */
export interface RecordedTemplate<P extends PlatformTypes> {
  readonly template: P['template'] | null;
  readonly replicas: number;
  readonly weights: Weights | null;
}

/**
 * The objects of one lane, wherever they are kept. It throws `Unavailable` where a retry may help, and `Refused` from
 * reads that will never be answered; a refused write is an outcome.
 */
export interface LaneStore<P extends PlatformTypes> {
  /** The place, for messages. */
  readonly where: string;
  /** Whether shares of traffic are set by weights in a route, or follow from the numbers of replicas. */
  readonly split: 'weights' | 'replicas';
  /** All of them. Those of another lane, or that Slipway has nothing to do with, are not among them. */
  list(signal: AbortSignal | undefined): Promise<readonly StoredObject<P>[]>;
  /**
   * Of them at least what tells whether stable can serve as it did, and where the traffic goes: this rollout's anchor,
   * stable and the routes. In as few calls as the platform allows.
   */
  listServing(rolloutId: string, signal: AbortSignal | undefined): Promise<readonly StoredObject<P>[]>;
  create(
    ref: NewObject,
    write: ObjectWrite,
    credit: WriteCredit,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /** Replaces exactly what was read. */
  replace(
    read: StoredObject<P>,
    write: ObjectWrite,
    credit: WriteCredit,
    signal: AbortSignal | undefined,
  ): Promise<WriteOutcome>;
  /** Deletes exactly what was read. */
  remove(read: StoredObject<P>, credit: WriteCredit, signal: AbortSignal | undefined): Promise<WriteOutcome>;
  /** The leaves that Slipway sets, as canonical JSON: what is compared to notice that somebody else changed them. */
  leaves(ref: ObjectName, spec: unknown): string;
  /** Reads a template back from where it was recorded. */
  readonly template: z.ZodType<P['template']>;
  digest(template: P['template']): Digest;
  /** What a template runs, for people and metrics: `hello:v2`. */
  version(template: P['template']): string;
  /** The configuration that a template refers to and does not contain, by name. */
  configurationNames(template: P['template']): readonly string[];
  /** What stands behind such names now. */
  configuration(names: readonly string[], signal: AbortSignal | undefined): Promise<Configuration>;
  /** The template that an arm shall run. */
  templateFor(source: TemplateSource, recorded: RecordedTemplate<P>): TemplateResult<P>;
}
