import { find, PartUnavailable, type Found, type Part } from './part.js';
import { chromiumPart } from './parts/chromium.js';
import { etcdPart } from './parts/etcd.js';
import { gatewayApiPart, kubeApiServerPart, kubeControllerManagerPart } from './parts/kubernetes.js';
import { prometheusPart } from './parts/prometheus.js';
import { temporalPart, temporalTestServerPart } from './parts/temporal.js';
import { traefikPart } from './parts/traefik.js';

/** All real programs that Slipway can run against. */
export const parts: readonly Part[] = [
  temporalPart,
  temporalTestServerPart,
  prometheusPart,
  etcdPart,
  kubeApiServerPart,
  kubeControllerManagerPart,
  gatewayApiPart,
  traefikPart,
  chromiumPart,
];

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

/** etcd: `SLIPWAY_ETCD`, PATH, the cache, else fetched. */
export function findEtcd(): Promise<Found> {
  return find(etcdPart);
}

/** The Kubernetes API server: `SLIPWAY_KUBE_APISERVER`, PATH, the cache, else built. */
export function findKubeApiServer(): Promise<Found> {
  return find(kubeApiServerPart);
}

/** The Kubernetes controller manager: `SLIPWAY_KUBE_CONTROLLER_MANAGER`, PATH, the cache, else built. */
export function findKubeControllerManager(): Promise<Found> {
  return find(kubeControllerManagerPart);
}

/** The folder of the Gateway API's definitions: `SLIPWAY_GATEWAY_API`, the cache, else fetched. */
export function findGatewayApi(): Promise<Found> {
  return find(gatewayApiPart);
}

/** Traefik: `SLIPWAY_TRAEFIK`, PATH, the cache, else fetched. */
export function findTraefik(): Promise<Found> {
  return find(traefikPart);
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
