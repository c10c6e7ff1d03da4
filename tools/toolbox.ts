import { find, PartUnavailable, type Found, type Part } from './part.js';
import { prometheusPart } from './parts/prometheus.js';
import { temporalPart, temporalTestServerPart } from './parts/temporal.js';

/** All real programs that Slipway can run against. */
export const parts: readonly Part[] = [temporalPart, temporalTestServerPart, prometheusPart];

/** The Temporal dev server: `SLIPWAY_TEMPORAL_CLI`, PATH, the cache, else fetched. */
export function findTemporal(): Promise<Found> {
  return find(temporalPart);
}

/** The time-skipping Temporal test server: `SLIPWAY_TEMPORAL_TEST_SERVER`, the cache, else fetched. */
export function findTemporalTestServer(): Promise<Found> {
  return find(temporalTestServerPart);
}

/** Prometheus: `SLIPWAY_PROMETHEUS`, PATH, the cache, else fetched. */
export function findPrometheus(): Promise<Found> {
  return find(prometheusPart);
}

/**
 * For a test's `skip` option: false when the part is here, else `needs <part>: <why it is not>`.
 * The test runner counts a skip that starts with `needs ` as a failure in CI.
 */
export async function reasonToSkip(finder: () => Promise<Found>): Promise<string | false> {
  try {
    await finder();
    return false;
  } catch (error) {
    if (error instanceof PartUnavailable) return `needs ${error.message}`;
    throw error;
  }
}
