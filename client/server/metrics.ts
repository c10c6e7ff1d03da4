import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** What the server counts. No label names a rollout, a service or a person: `/metrics` is open to all. */
export function createServerMetrics(of: { readonly streams: () => number; readonly followed: () => number }) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    requests: new Histogram({
      name: 'slipway_http_request_duration_seconds',
      help: 'Requests by endpoint and status; of streams the time to the first byte.',
      labelNames: ['endpoint', 'status'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    refused: new Counter({
      name: 'slipway_http_refused_total',
      help: 'Requests that were refused, by the problem’s code.',
      labelNames: ['code'],
      registers,
    }),
    decisions: new Counter({
      name: 'slipway_http_decisions_total',
      help: 'Decisions, by verb and what came of them.',
      labelNames: ['verb', 'result'],
      registers,
    }),
    alerts: new Counter({
      name: 'slipway_http_alerts_total',
      help: 'Alerts, by what was done.',
      labelNames: ['did'],
      registers,
    }),
    streams: new Gauge({
      name: 'slipway_http_event_streams',
      help: 'Open event streams.',
      registers,
      collect() {
        this.set(of.streams());
      },
    }),
    followed: new Gauge({
      name: 'slipway_http_followed_rollouts',
      help: 'Rollouts that somebody watches.',
      registers,
      collect() {
        this.set(of.followed());
      },
    }),
  };
}
export type ServerMetrics = ReturnType<typeof createServerMetrics>;
