import type { CustomQueries, PrometheusTemplate } from '../../domain/policy.js';
import { imageTag } from '../../domain/release.js';
import { armName } from '../../domain/target.js';
import type { Arm, LaneRef, Target } from '../../domain/target.js';

export interface QuerySet extends CustomQueries {
  /** When the newest sample behind `requests` was taken, seconds since the epoch, by the same labels. */
  readonly scrapedAt: string;
  /** What one unit of the `le` label is in seconds. */
  readonly bucketUnitSeconds: number;
}

/**
 * Ready-made queries for usual conventions. Each gives raw counters, one series per process that counts, because a
 * restart resets one process's counters only. `{{workload}}` is what runs the arm (on Kubernetes its Deployment) and
 * `{{backend}}` what traffic is sent to (its Service): stable's name, with `-canary` or `-baseline` behind it for the
 * siblings. `{{namespace}}` is that of Kubernetes, and `{{route}}` the name of the object there that splits traffic. With
 * `Pattern` behind it a name is fit for a regular expression. `{{tag}}` is the image's tag.
 */
export const TEMPLATES: Readonly<Record<PrometheusTemplate, QuerySet>> = {
  'slipway-gateway': counters({
    total: 'slipway_gateway_requests_total',
    buckets: 'slipway_gateway_request_duration_seconds_bucket',
    labels: 'environment="{{environment}}",service="{{service}}",arm="{{arm}}",version="{{version}}"',
    code: 'code=~"5.."',
  }),
  // Traefik names a service <namespace>-<Service>-<port>@<provider>, from 3.7 with the route before it: the Service of
  // each arm is found inside it. Where the namespace is not known, services whose names end alike (`shop`, `web-shop`)
  // can't be told apart: use own queries there.
  traefik: counters({
    total: 'traefik_service_requests_total',
    buckets: 'traefik_service_request_duration_seconds_bucket',
    labels: 'service=~"(.+-)?{{namespacePrefix}}{{backendPattern}}(-((http|https|h2c|grpc|tcp)-?)?[0-9]+)?(@.+)?"',
    code: 'code=~"5.."',
  }),
  istio: {
    ...counters({
      total: 'istio_requests_total',
      buckets: 'istio_request_duration_milliseconds_bucket',
      labels:
        'reporter="destination",destination_workload="{{workload}}",destination_workload_namespace=~"{{namespaceOrAny}}"',
      code: 'response_code=~"5.."',
    }),
    bucketUnitSeconds: 0.001,
  },
  // Requests of a canary stand under the main Ingress, with the canary's <namespace>-<Service>-<port> as one more label,
  // since controller 1.0.2 (https://github.com/kubernetes/ingress-nginx/pull/7696). One controller serves many namespaces:
  // the Ingress's own is `exported_namespace` where Prometheus has kept `namespace` for the controller's.
  'ingress-nginx': counters({
    total: 'nginx_ingress_controller_requests',
    buckets: 'nginx_ingress_controller_request_duration_seconds_bucket',
    labels: [
      'exported_namespace=~"{{namespaceOrAny}}",ingress="{{route}}",canary=~"{{alternativePattern}}"',
      'exported_namespace="",namespace=~"{{namespaceOrAny}}",ingress="{{route}}",canary=~"{{alternativePattern}}"',
    ],
    code: 'status=~"5.."',
  }),
  // https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, resource attributes promoted to labels. Baseline and
  // stable are of one version: on Kubernetes arms are told apart by their Deployments. All pods may come through one
  // collector, whose `instance` says nothing of them.
  'opentelemetry-http': counters({
    total: 'http_server_request_duration_seconds_count',
    buckets: 'http_server_request_duration_seconds_bucket',
    labels:
      'service_name="{{service}}",deployment_environment_name="{{environment}}",' +
      'service_version=~"{{tagUnlessWorkload}}",k8s_deployment_name=~"{{workloadOnKubernetes}}"',
    code: 'http_response_status_code=~"5.."',
    by: 'service_instance_id, k8s_pod_name, pod, instance',
  }),
};

function counters(names: {
  readonly total: string;
  readonly buckets: string;
  /** Several: series that have the labels of any of them. */
  readonly labels: string | readonly string[];
  readonly code: string;
  /** What tells processes apart. @default 'pod, instance' */
  readonly by?: string;
}): QuerySet {
  const { total, buckets, labels, code, by = 'pod, instance' } = names;
  const each = (query: (labels: string) => string): string => [labels].flat().map(query).join(' or ');
  return {
    requests: `sum by (${by}) (${each((own) => `${total}{${own}}`)})`,
    errors: `sum by (${by}) (${each((own) => `${total}{${own},${code}}`)})`,
    latencyBuckets: `sum by (${by}, le) (${each((own) => `${buckets}{${own}}`)})`,
    scrapedAt: `max by (${by}) (${each((own) => `timestamp(${total}{${own}})`)})`,
    bucketUnitSeconds: 1,
  };
}

/**
 * The queries of a policy: a template's, or its own. `timestamp` tells the age of a plain series; of anything computed
 * it gives the instant of the query, so that nothing is ever taken for old there.
 */
export function querySetOf(queries: PrometheusTemplate | CustomQueries): QuerySet {
  if (typeof queries === 'string') return TEMPLATES[queries];
  // The line break ends a comment at the end of the query.
  return { ...queries, scrapedAt: `timestamp(${queries.requests}\n)`, bucketUnitSeconds: 1 };
}

function patternOf(name: string): string {
  return name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Fills in the placeholders; values are escaped, so that no name can end a label's string. */
export function fillQuery(
  query: string,
  lane: LaneRef,
  target: Target,
  { arm, version }: { readonly arm: Arm; readonly version: string },
): string {
  const onKubernetes = target.platform === 'kubernetes' ? target : null;
  const namespace = onKubernetes?.namespace ?? '';
  const workload = armName(onKubernetes?.deployment ?? lane.service, arm);
  const backend = armName(onKubernetes?.service ?? lane.service, arm);
  const values: Readonly<Record<string, string>> = {
    arm,
    version,
    tag: imageTag(version),
    tagUnlessWorkload: onKubernetes === null ? patternOf(imageTag(version)) : '.*',
    route: onKubernetes === null || onKubernetes.route.kind === 'none' ? lane.service : onKubernetes.route.name,
    service: lane.service,
    environment: lane.environment,
    namespace,
    namespaceOrAny: namespace === '' ? '.*' : patternOf(namespace),
    namespacePrefix: namespace === '' ? '' : `${patternOf(namespace)}-`,
    workload,
    workloadPattern: patternOf(workload),
    workloadOnKubernetes: onKubernetes === null ? '.*' : patternOf(workload),
    backend,
    backendPattern: patternOf(backend),
    alternativePattern: arm === 'stable' ? '' : `(.+-)?${patternOf(backend)}(-[a-z0-9]+)?`,
  };
  return query.replace(/\{\{(\w+)\}\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  });
}
