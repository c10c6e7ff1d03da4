import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What the worker counts of its domain. No label names a rollout: their number would grow for ever. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    effects: new Counter({
      name: 'slipway_effects_total',
      help: 'Effects on platforms, by operation and what came of them.',
      labelNames: ['op', 'result'],
      registers,
    }),
    looks: new Counter({
      name: 'slipway_looks_total',
      help: 'Looks at canaries, by what they said.',
      labelNames: ['verdict'],
      registers,
    }),
    lookDelay: new Histogram({
      name: 'slipway_look_delay_seconds',
      help: 'How late a look was taken.',
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10],
      registers,
    }),
    ended: new Counter({
      name: 'slipway_rollouts_ended_total',
      help: 'Rollouts that ended, by outcome.',
      labelNames: ['outcome', 'environment'],
      registers,
    }),
    kubernetesRequests: new Counter({
      name: 'slipway_kubernetes_requests_total',
      help: 'Calls to the API servers of clusters, by method, resource and status; status 0: no answer.',
      labelNames: ['method', 'resource', 'status'],
      registers,
    }),
    notifications: new Counter({
      name: 'slipway_notifications_total',
      help: 'Messages to people, by severity and result.',
      labelNames: ['severity', 'result'],
      registers,
    }),
    info: new Gauge({
      name: 'slipway_worker_info',
      help: 'Version and configuration of this worker.',
      labelNames: ['version', 'config'],
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
