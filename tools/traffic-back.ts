const OF_ROLLBACK = /([0-9a-z-]+)\/rollback\/(?:cut-traffic|set-weights)\//;

/**
 * When rollbacks took the traffic back to stable, ms since the epoch by rollout: at the first of the writes that they do
 * it with. Of writes to routes, in their order.
 */
export function trafficBack(
  writes: Iterable<{ readonly key: string | null; readonly atMs: number }>,
): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const { key, atMs } of writes) {
    const rolloutId = OF_ROLLBACK.exec(key ?? '')?.[1];
    if (rolloutId !== undefined && !found.has(rolloutId)) found.set(rolloutId, atMs);
  }
  return found;
}
