import { z } from 'zod';
import { ROUTE_KINDS } from '../domain/target.js';

/** A target as a lane's anchor keeps it: what `recover` needs where Temporal's memory is gone. */
export const LocalTarget = z.object({
  platform: z.literal('local'),
  gateway: z.string(),
  run: z.object({
    command: z.array(z.string()).readonly(),
    cwd: z.string().nullable(),
    env: z.record(z.string(), z.string()),
    healthPath: z.string(),
    replicas: z.int(),
  }),
});

/** @see {@link LocalTarget} */
export const KubernetesTarget = z.object({
  platform: z.literal('kubernetes'),
  context: z.string().nullable(),
  namespace: z.string(),
  deployment: z.string(),
  service: z.string(),
  route: z.discriminatedUnion('kind', [
    z.object({
      kind: z.enum(ROUTE_KINDS),
      name: z.string(),
      multiRoute: z.literal('allow').exactOptional(),
      drainMs: z.int().exactOptional(),
    }),
    z.object({ kind: z.literal('none'), maxExcessPoints: z.number() }),
  ]),
});

export const Target = z.discriminatedUnion('platform', [LocalTarget, KubernetesTarget]);
