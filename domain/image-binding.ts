import { withDigest } from './image-reference.js';
import type { Policy } from './policy.js';
import type { PreflightFinding } from './target.js';

/** What came of the question which bytes a tag names. */
export type ImageResolution =
  | { readonly kind: 'resolved'; readonly digest: string }
  /** The registry says that there is no such image. */
  | { readonly kind: 'missing'; readonly reason: string }
  /** No runtime could read the reference. */
  | { readonly kind: 'invalid'; readonly reason: string }
  /** Nobody can say: the registry can't be reached or makes no sense, or it does not tell this worker. */
  | { readonly kind: 'unreachable' | 'unauthorised'; readonly reason: string };

/** The images of a release with their digests, and what people must know of those that have none. */
export interface BoundImages {
  readonly images: Readonly<Record<string, string>>;
  readonly findings: readonly PreflightFinding[];
}

/**
 * Binds a release's images to the bytes that their tags name now. Images without a resolution stay as they are.
 *
 * @param resolutions by container
 */
export function bindImages(
  images: Readonly<Record<string, string>>,
  resolutions: Readonly<Record<string, ImageResolution>>,
  mode: Policy['resolveTags'],
): BoundImages {
  const bound = Object.entries(images).map(([container, image]) => {
    const resolution = resolutions[container];
    return [container, resolution?.kind === 'resolved' ? withDigest(image, resolution.digest) : image] as const;
  });
  const findings = Object.entries(images).flatMap(([container, image]) => {
    const resolution = resolutions[container];
    return resolution === undefined || resolution.kind === 'resolved'
      ? []
      : [findingOf(container, image, resolution, mode)];
  });
  return { images: Object.fromEntries(bound), findings };
}

function findingOf(
  container: string,
  image: string,
  { kind, reason }: Exclude<ImageResolution, { kind: 'resolved' }>,
  mode: Policy['resolveTags'],
): PreflightFinding {
  switch (kind) {
    case 'missing':
      return {
        severity: 'refuse',
        problem: `there is no image ${image} (container ${container}): ${reason}`,
        remedy: 'push it first, or correct the tag',
      };
    case 'invalid':
      return {
        severity: 'refuse',
        problem: `${image} (container ${container}) is no image reference: ${reason}`,
        remedy: 'correct --image, or images in slipway.yaml',
      };
    case 'unreachable':
    case 'unauthorised': {
      const access =
        kind === 'unreachable'
          ? 'let the worker reach the registry'
          : "give the worker a login that may read there (config.json in the worker's DOCKER_CONFIG)";
      return mode === 'required'
        ? {
            severity: 'refuse',
            problem: `${image} (container ${container}) can't be resolved to a digest, which resolveTags: required asks for: ${reason}`,
            remedy: `${access}, or deploy by digest`,
          }
        : {
            severity: 'warn',
            problem: `${image} (container ${container}) is not bound to a digest, so that its tag may name other bytes by the time that pods start: ${reason}`,
            remedy: `deploy by digest, or ${access}`,
          };
    }
  }
}
