import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { ARM_NAMES } from './validate.js';
import type { ArmController } from './arm-controller.js';
import type { Store } from './store.js';

/** Whom a request is counted to. */
export interface RequestLabels {
  readonly environment: string;
  readonly service: string;
  readonly arm: string;
  readonly version: string;
}

export interface GatewayMetrics {
  readonly contentType: string;
  observe(labels: RequestLabels, code: number, seconds: number): void;
  render(): Promise<string>;
}

const ARM_LABELS = ['environment', 'service', 'arm', 'version'] as const;
const BUCKETS_SECONDS = [0.005, 0.01, 0.015, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10];

/** Series that exist at 0 before the first request: Prometheus does not see the increase that creates a series. */
const CODES_FROM_START = [200, 500, 502, 503];

export function createMetrics(store: Store, arms: ArmController): GatewayMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: 'slipway_gateway_requests_total',
    help: 'Requests by the arm that they were given to, answered or not.',
    labelNames: [...ARM_LABELS, 'code'],
    registers,
  });
  const durations = new Histogram({
    name: 'slipway_gateway_request_duration_seconds',
    help: 'From the request to the last byte of its answer.',
    labelNames: ARM_LABELS,
    buckets: BUCKETS_SECONDS,
    registers,
  });
  const weights = new Gauge({
    name: 'slipway_gateway_weight_percent',
    help: 'Share of traffic that the route gives an arm.',
    labelNames: ['environment', 'service', 'arm'],
    registers,
  });
  const ready = new Gauge({
    name: 'slipway_gateway_ready_replicas',
    help: 'Replicas of the current template that can serve.',
    labelNames: ARM_LABELS,
    registers,
  });

  function refresh(): void {
    weights.reset();
    ready.reset();
    for (const object of store.list({})) {
      const { environment, service } = object;
      if (object.kind === 'route') {
        for (const arm of ARM_NAMES) weights.set({ environment, service, arm }, object.spec.weights[arm]);
      } else if (object.kind === 'arm') {
        const labels = { environment, service, arm: object.name, version: object.spec.template.version };
        ready.set(labels, arms.status(object).ready);
        for (const code of CODES_FROM_START) requests.inc({ ...labels, code }, 0);
      }
    }
  }

  return {
    contentType: registry.contentType,
    observe(labels, code, seconds) {
      requests.inc({ ...labels, code }, 1);
      durations.observe({ ...labels }, seconds);
    },
    render() {
      refresh();
      return registry.metrics();
    },
  };
}
