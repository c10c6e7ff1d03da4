import type { ImageResolution } from '../../domain/image-binding.js';
import type { ImageReference } from '../../domain/image-reference.js';

/** Tells which bytes a tag names. It throws only when it is cancelled: what can't be told is an answer. */
export interface ImageRegistry {
  /** @param reference with a tag and without a digest */
  resolve(reference: ImageReference, signal?: AbortSignal): Promise<ImageAnswer>;
}

export type ImageAnswer = Exclude<ImageResolution, { readonly kind: 'invalid' }>;
