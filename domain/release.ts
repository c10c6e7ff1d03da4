import { digestOf } from './canonical.js';
import type { Brand } from './brand.js';
import type { Digest } from './canonical.js';
import { splitReference } from './image-reference.js';
import type { LaneRef } from './target.js';

/** Names one attempt to ship one release: a hash of tenant, environment, service and the caller's key. */
export type RolloutId = Brand<string, 'RolloutId'>;

/** One changed file, as `git diff --numstat` tells it. */
export interface ChangedFile {
  readonly path: string;
  /** Former path of a rename. */
  readonly oldPath?: string;
  /** Lines; null for binary files or where not known. */
  readonly added: number | null;
  readonly deleted: number | null;
}

/** What changed, for the risk assessment. */
export interface Change {
  readonly commit: string | null;
  readonly author: string | null;
  readonly message: string | null;
  /** Null where the caller could not tell: then the risk floor says "unknown". */
  readonly files: readonly ChangedFile[] | null;
  /** Whether `files` was cut at a limit. */
  readonly truncated: boolean;
}

/**
 * Which ConfigMaps and Secrets stand for those that a service's template refers to: new name by the old one, or by what
 * both begin with (`app-config` means `app-config-9e1b` too).
 */
export interface ConfigNames {
  readonly configMaps: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
}

/** One version of a service to be shipped. */
export interface Release {
  /** Image reference by container. On the local platform the reference is what `{image}` and `{tag}` are filled from. */
  readonly images: Readonly<Record<string, string>>;
  /** Environment variables to set in every container, over those of the template. */
  readonly env: Readonly<Record<string, string>>;
  /** Other ConfigMaps and Secrets for the template to refer to; absent where it keeps those it has. */
  readonly config?: ConfigNames;
  readonly change: Change;
}

/** The part of a release that decides what runs: the same content has the same digest, whoever ships it. */
export interface HashedRelease {
  readonly digest: Digest;
  readonly images: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly config?: ConfigNames;
}

export function hashRelease({ images, env, config }: Release): HashedRelease {
  const content = { images, env, ...(config === undefined ? {} : { config }) };
  return { digest: digestOf(content), ...content };
}

/** How objects of Kubernetes may be called. */
export const OBJECT_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Other names as a release carries them: nothing where there are none. */
export function renamedConfig(names: ConfigNames): Pick<Release, 'config'> {
  const { configMaps, secrets } = names;
  return Object.keys(configMaps).length + Object.keys(secrets).length === 0 ? {} : { config: names };
}

/** What of its configuration a release itself sets, by name: variables, and the objects that it refers to. */
export function settingsOf({ env, config }: Pick<Release, 'env' | 'config'>): readonly string[] {
  return [
    ...Object.keys(env),
    ...Object.keys(config?.configMaps ?? {}).map((name) => `ConfigMap ${name}`),
    ...Object.keys(config?.secrets ?? {}).map((name) => `Secret ${name}`),
  ];
}

/** A release for people: `hello:v2`, or `hello:v2 + proxy:v9`. A digest is shown only where there is no tag. */
export function releaseName(images: Readonly<Record<string, string>>): string {
  return Object.values(images)
    .map((image) => {
      const { name, tag } = splitReference(image);
      const said = tag === null ? image : `${name}:${tag}`;
      return said.slice(said.lastIndexOf('/') + 1);
    })
    .join(' + ');
}

/** The tag (or digest) of an image reference; `latest` where it has none, as registries read it. */
export function imageTag(reference: string): string {
  const { tag, digest } = splitReference(reference);
  return digest ?? tag ?? 'latest';
}

/** An image reference with another tag. */
export function withTag(reference: string, tag: string): string {
  return `${splitReference(reference).name}:${tag}`;
}

/** The id of the rollout that the caller's idempotency key names; 64 bits of SHA-256, as hex. */
export function rolloutIdFor(request: LaneRef & { readonly tenant: string; readonly key: string }): RolloutId {
  const { tenant, environment, service, key } = request;
  return digestOf({ tenant, environment, service, key }).slice('sha256:'.length, 'sha256:'.length + 16) as RolloutId;
}
