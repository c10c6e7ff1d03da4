import { z } from 'zod';
import { LIVE_LOOKS, LIVE_POINTS } from '../domain/live.js';
import type { LiveStage } from '../domain/live.js';

const Count = z.number().nonnegative();
const Arm = z.object({ requests: Count, errors: Count, p99Ms: Count.nullable() });
const Live = z.object({
  stage: z.string().min(1).max(100),
  startMs: z.number(),
  durationMs: Count,
  points: z.array(z.object({ atMs: z.number(), canary: Arm, comparison: Arm.nullable() })).max(LIVE_POINTS),
  looks: z
    .array(z.object({ atMs: z.number(), kind: z.enum(['PROMOTE', 'HOLD', 'ROLLBACK']), summary: z.string().max(200) }))
    .max(LIVE_LOOKS),
});

/**
 * What a watch has seen, out of the details of a heartbeat as they were decoded; null where they are none: other activities
 * beat without, and so do workers of other versions.
 */
export function parseLive(details: unknown): LiveStage | null {
  const parsed = Live.safeParse(details);
  return parsed.success ? parsed.data : null;
}
