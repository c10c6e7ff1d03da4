import type { CustomQueries, PrometheusTemplate } from '../../domain/policy.js';
import { imageTag } from '../../domain/release.js';
import type { Arm, LaneRef } from '../../domain/target.js';

/** Queries, and what one unit of their `le` label is in seconds. */
export interface QuerySet extends CustomQueries {
  readonly bucketUnitSeconds: number;
}

/**
 * Ready-made queries for usual conventions. Each gives raw counters, one series per process that counts, because a
 * restart resets one process's counters only. `{{workload}}` is the service's name for stable, and the name with the
 * arm behind it for canary and baseline; `{{tag}}` is the image's tag.
 */
export const TEMPLATES: Readonly<Record<PrometheusTemplate, QuerySet>> = {
  'slipway-gateway': counters({
    total: 'slipway_gateway_requests_total',
    buckets: 'slipway_gateway_request_duration_seconds_bucket',
    labels: 'environment="{{environment}}",service="{{service}}",arm="{{arm}}",version="{{version}}"',
    code: 'code=~"5.."',
  }),
  // Traefik names a service <namespace>-<Service>-<port>@<provider>: the Service of each arm is found inside it.
  traefik: counters({
    total: 'traefik_service_requests_total',
    buckets: 'traefik_service_request_duration_seconds_bucket',
    labels: 'service=~"(.+-)?{{workload}}(-[a-z]*[0-9]+)?(@.+)?"',
    code: 'code=~"5.."',
  }),
  istio: {
    ...counters({
      total: 'istio_requests_total',
      buckets: 'istio_request_duration_milliseconds_bucket',
      labels: 'reporter="destination",destination_workload="{{workload}}"',
      code: 'response_code=~"5.."',
    }),
    bucketUnitSeconds: 0.001,
  },
  'ingress-nginx': counters({
    total: 'nginx_ingress_controller_requests',
    buckets: 'nginx_ingress_controller_request_duration_seconds_bucket',
    labels: 'ingress="{{workload}}"',
    code: 'status=~"5.."',
  }),
  // https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, resource attributes promoted to labels.
  'opentelemetry-http': counters({
    total: 'http_server_request_duration_seconds_count',
    buckets: 'http_server_request_duration_seconds_bucket',
    labels: 'service_name="{{service}}",deployment_environment_name="{{environment}}",service_version="{{tag}}"',
    code: 'http_response_status_code=~"5.."',
  }),
};

function counters(names: {
  readonly total: string;
  readonly buckets: string;
  readonly labels: string;
  readonly code: string;
}): QuerySet {
  const { total, buckets, labels, code } = names;
  const by = 'pod, instance';
  return {
    requests: `sum by (${by}) (${total}{${labels}})`,
    errors: `sum by (${by}) (${total}{${labels},${code}})`,
    latencyBuckets: `sum by (${by}, le) (${buckets}{${labels}})`,
    bucketUnitSeconds: 1,
  };
}

/** The queries of a policy: a template's, or its own. */
export function querySetOf(queries: PrometheusTemplate | CustomQueries): QuerySet {
  return typeof queries === 'string' ? TEMPLATES[queries] : { ...queries, bucketUnitSeconds: 1 };
}

/** Fills in the placeholders; values are escaped, so that no name can end a label's string. */
export function fillQuery(
  query: string,
  lane: LaneRef,
  { arm, version }: { readonly arm: Arm; readonly version: string },
): string {
  const values: Readonly<Record<string, string>> = {
    arm,
    version,
    tag: imageTag(version),
    service: lane.service,
    environment: lane.environment,
    workload: arm === 'stable' ? lane.service : `${lane.service}-${arm}`,
  };
  return query.replace(/\{\{(\w+)\}\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  });
}
