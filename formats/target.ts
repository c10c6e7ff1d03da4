import { z } from 'zod';

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
  route: z.object({ kind: z.enum(['HTTPRoute', 'GRPCRoute']), name: z.string() }),
});

export const Target = z.discriminatedUnion('platform', [LocalTarget, KubernetesTarget]);
