import { z } from 'zod';
import type { LiveStage } from '../../../domain/live.js';

const Arm = z.object({ requests: z.number(), errors: z.number(), p99Ms: z.number().nullable() });
export const LiveStageShape = z.object({
  stage: z.string(),
  startMs: z.number(),
  durationMs: z.number(),
  points: z.array(z.object({ atMs: z.number(), canary: Arm, comparison: Arm.nullable() })),
  looks: z.array(z.object({ atMs: z.number(), kind: z.enum(['PROMOTE', 'HOLD', 'ROLLBACK']), summary: z.string() })),
});

interface Pending {
  readonly activityType?: { readonly name?: string | null } | null;
  readonly heartbeatDetails?: { readonly payloads?: readonly { readonly data?: Uint8Array | null }[] | null } | null;
}

/** What a watch under way has told with its last heartbeat; null where none is, or it tells something else. */
export function liveStageOf(pending: readonly Pending[]): LiveStage | null {
  for (const { activityType, heartbeatDetails } of pending) {
    if (activityType?.name !== 'watch') continue;
    for (const { data } of heartbeatDetails?.payloads ?? []) {
      const read = LiveStageShape.safeParse(jsonOf(data));
      if (read.success) return read.data;
      const inside = z.object({ live: LiveStageShape }).safeParse(jsonOf(data));
      if (inside.success) return inside.data.live;
    }
  }
  return null;
}

function jsonOf(data: Uint8Array | null | undefined): unknown {
  if (data == null) return null;
  try {
    return JSON.parse(Buffer.from(data).toString('utf8')) as unknown;
  } catch {
    // Not JSON: an encrypted payload, or a heartbeat of another kind. There is nothing to plot then.
    return null;
  }
}
