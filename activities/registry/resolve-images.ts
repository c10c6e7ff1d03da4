import { cancellationSignal } from '@temporalio/activity';
import type { ImageResolution } from '../../domain/image-binding.js';
import { parseImageReference } from '../../domain/image-reference.js';
import type { Activities } from '../contract.js';
import type { ImageRegistry } from './image-registry.js';

export interface ImageDeps {
  readonly registry: ImageRegistry;
}

/** The activity over a registry. */
export function createImageActivities({ registry }: ImageDeps): Pick<Activities, 'resolveImages'> {
  return { resolveImages: ({ images }) => resolveImages(registry, images, cancellationSignal()) };
}

/** Resolves all tags side by side, by container. Images that name a digest already are left out: there is nothing to ask. */
export async function resolveImages(
  registry: ImageRegistry,
  images: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, ImageResolution>>> {
  const entries = await Promise.all(
    Object.entries(images).map(async ([container, image]): Promise<readonly [string, ImageResolution][]> => {
      const parsed = parseImageReference(image);
      if (!parsed.ok) {
        const { field, value, remedy } = parsed;
        return [[container, { kind: 'invalid', reason: `its ${field} is ${JSON.stringify(value)}; ${remedy}` }]];
      }
      if (parsed.reference.digest !== null) return [];
      return [[container, await registry.resolve(parsed.reference, signal)]];
    }),
  );
  return Object.fromEntries(entries.flat());
}
