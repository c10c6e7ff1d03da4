import type { MetricsPolicy } from '../../domain/policy.js';
import { createGatewaySource } from './gateway-scrape.js';
import type { MetricsSource } from './metrics-source.js';
import { createPrometheusSource } from './prometheus.js';

export interface MetricsDeps {
  /** Folder for scrapes of local gateways, shared by all workers. */
  readonly scrapeDir: string;
  /** `Authorization` headers by name, lower case. */
  readonly secrets: Readonly<Record<string, string>>;
}

/** Gives the source that a policy names. One for each policy's source, for the life of the worker. */
export function createMetricsFactory(deps: MetricsDeps): (policy: MetricsPolicy) => MetricsSource {
  const gateway = createGatewaySource({ scrapeDir: deps.scrapeDir });
  return (policy) => {
    if (policy.source === 'gateway') return gateway;
    const { url, queries, authorization, values = {} } = policy;
    if (authorization === null) return createPrometheusSource({ url, queries, values, authorization: null });
    const header = deps.secrets[authorization.toLowerCase()];
    if (header === undefined) {
      const reason = `the policy names the secret ${authorization}, which this worker does not have: set SLIPWAY_SECRET_${authorization.toUpperCase()}`;
      return { samples: () => Promise.resolve({ kind: 'unreachable', reason }) };
    }
    return createPrometheusSource({ url, queries, values, authorization: header });
  };
}
