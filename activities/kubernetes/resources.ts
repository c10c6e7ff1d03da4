/** How the API server knows what Slipway has written. */
export const FIELD_MANAGER = 'slipway';
/** What tells where a rollout stands, and is nothing that it depends on, is kept apart from what it sets. */
export const STATUS_MANAGER = 'slipway-status';

/** The resources that Slipway reads and writes, by the name that a permission has. */
const RESOURCES = {
  configmaps: { prefix: '/api/v1', group: '' },
  secrets: { prefix: '/api/v1', group: '' },
  services: { prefix: '/api/v1', group: '' },
  pods: { prefix: '/api/v1', group: '' },
  deployments: { prefix: '/apis/apps/v1', group: 'apps' },
  endpointslices: { prefix: '/apis/discovery.k8s.io/v1', group: 'discovery.k8s.io' },
  httproutes: { prefix: '/apis/gateway.networking.k8s.io/v1', group: 'gateway.networking.k8s.io' },
  grpcroutes: { prefix: '/apis/gateway.networking.k8s.io/v1', group: 'gateway.networking.k8s.io' },
  virtualservices: { prefix: '/apis/networking.istio.io/v1', group: 'networking.istio.io' },
  ingresses: { prefix: '/apis/networking.k8s.io/v1', group: 'networking.k8s.io' },
  events: { prefix: '/apis/events.k8s.io/v1', group: 'events.k8s.io' },
  resourcequotas: { prefix: '/api/v1', group: '' },
  limitranges: { prefix: '/api/v1', group: '' },
  persistentvolumeclaims: { prefix: '/api/v1', group: '' },
  networkpolicies: { prefix: '/apis/networking.k8s.io/v1', group: 'networking.k8s.io' },
  poddisruptionbudgets: { prefix: '/apis/policy/v1', group: 'policy' },
  horizontalpodautoscalers: { prefix: '/apis/autoscaling/v2', group: 'autoscaling' },
  authorizationpolicies: { prefix: '/apis/security.istio.io/v1', group: 'security.istio.io' },
  peerauthentications: { prefix: '/apis/security.istio.io/v1', group: 'security.istio.io' },
  destinationrules: { prefix: '/apis/networking.istio.io/v1', group: 'networking.istio.io' },
  ciliumnetworkpolicies: { prefix: '/apis/cilium.io/v2', group: 'cilium.io' },
  podmonitors: { prefix: '/apis/monitoring.coreos.com/v1', group: 'monitoring.coreos.com' },
  servicemonitors: { prefix: '/apis/monitoring.coreos.com/v1', group: 'monitoring.coreos.com' },
} as const;
export type Resource = keyof typeof RESOURCES;

/** The API group of a resource, as permissions name it. */
export function groupOf(resource: Resource): string {
  return RESOURCES[resource].group;
}

/** Where the API server has a resource, or one object of it. */
export function pathOf(resource: Resource, namespace: string, name?: string): string {
  const all = `${RESOURCES[resource].prefix}/namespaces/${encodeURIComponent(namespace)}/${resource}`;
  return name === undefined ? all : `${all}/${encodeURIComponent(name)}`;
}
