import { z } from 'zod';

/** The conditions of any object's status; none where a controller has not said anything yet. */
export const Conditions = z
  .array(
    z.looseObject({
      type: z.string(),
      status: z.string(),
      reason: z.string().optional(),
      message: z.string().optional(),
      /** The generation that it speaks of, where the kind says so. */
      observedGeneration: z.int().default(0),
    }),
  )
  .default([]);
