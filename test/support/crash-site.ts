/** A platform as the crash tests see it: the same tests run on each. */
import { z } from 'zod';
import type { Policy } from '../../domain/policy.js';
import type { Weights } from '../../domain/target.js';
import { GatewayObject } from '../../formats/gateway.js';
import { readJournal, startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import type { TemporalServer } from '../../tools/temporal-server.js';
import { startTraffic } from '../../tools/traffic.js';
import type { Traffic } from '../../tools/traffic.js';
import { CRASH_WORKER } from './crash-track.js';
import type { Call, Upstream, Write } from './fault-proxy.js';

/** The environment that all services of these tests are in. */
export const ENVIRONMENT = 'test';

/** What serves for a service, and how it is described, byte for byte. */
export interface StableState {
  readonly version: string;
  readonly template: string;
  readonly replicas: number;
  readonly ready: number;
}

/** What is there of a service, by the platform's own word. */
export interface ServiceState {
  /** All objects but those that no rollout touches, sorted: `anchor/lane`, `arm/stable`, `route/route`. */
  readonly objects: readonly string[];
  /** Those of them that go when something else goes. */
  readonly owned: readonly string[];
  /** What the lane's anchor holds. */
  readonly lane: unknown;
  readonly weights: Weights | null;
  readonly stable: StableState | null;
}

/** A platform with its Temporal server and workers. What it tells of a service comes from the platform itself. */
export interface CrashSite {
  readonly platform: Policy['target']['platform'];
  readonly temporal: TemporalServer;
  /** Environment of clients. */
  readonly env: Readonly<Record<string, string>>;
  /** What the proxies stand before. */
  readonly upstream: Upstream;
  /** Starts a worker that reaches the platform through a proxy. */
  startWorker(
    proxy: { readonly name: string; readonly url: string },
    env: Readonly<Record<string, string>>,
  ): ReturnType<Stack['startWorker']>;
  /** A policy for the service, to be reached through a proxy. @param broken every request to its canary fails */
  policy(policy: Policy, proxyUrl: string, broken: boolean): Policy;
  /** Puts a first version there and waits until it serves; null where a rollout does that. */
  readonly seed: ((service: string, tag: string) => Promise<void>) | null;
  /** Users of a service; null where nothing real serves. */
  traffic(service: string): Traffic | null;
  /** All writes of our workers to a service, in the order in which they were applied, and what was collected. */
  journal(service: string, calls: readonly Call[]): Promise<readonly Write[]>;
  state(service: string): Promise<ServiceState>;
  weights(service: string): Promise<Weights | null>;
  /** What the journal has of a canary that is created after its rollout's anchor has gone, sorted. */
  readonly lateCanary: readonly string[];
  /** Takes away all that is left of a service, so that its processes end. */
  retire(service: string): Promise<void>;
  stop(): Promise<void>;
}

/** The local platform, with processes that serve; its ground truth is the gateway's journal. */
export async function startLocalSite(): Promise<CrashSite> {
  const stack = await startStack({ workerScript: CRASH_WORKER, maxReplicas: 64 });

  async function objects(service: string): Promise<readonly GatewayObject[]> {
    const query = new URLSearchParams({ environment: ENVIRONMENT, service }).toString();
    const response = await fetch(`${stack.adminUrl}/v1/objects?${query}`, { signal: AbortSignal.timeout(5000) });
    return z.object({ objects: z.array(GatewayObject) }).parse(await response.json()).objects;
  }

  return {
    platform: 'local',
    temporal: stack.temporal,
    env: stack.env,
    upstream: { url: stack.adminUrl, ca: null, writeOf: writeToGateway },
    seed: null,
    lateCanary: ['collect arm/canary', 'create arm/canary'],
    stop: () => stack.stop(),
    startWorker: (_proxy, env) => stack.startWorker(env),
    policy(policy, proxyUrl) {
      const { target } = policy;
      return target.platform === 'local' ? { ...policy, target: { ...target, gateway: proxyUrl } } : policy;
    },
    traffic: (service) => startTraffic({ url: `${stack.dataUrl}/${ENVIRONMENT}/${service}/`, perSecond: 40 }),

    async journal(service) {
      const entries = await readJournal(stack.adminUrl);
      return entries.filter((entry) => entry.environment === ENVIRONMENT && entry.service === service);
    },

    async state(service) {
      const found = await objects(service);
      const nameOf = ({ kind, name }: GatewayObject): string => `${kind}/${name}`;
      const stable = found.find((object) => object.kind === 'arm' && object.name === 'stable');
      return {
        objects: found.map(nameOf).toSorted(),
        owned: found.filter(({ owner }) => owner !== null).map(nameOf),
        lane: found.find(({ kind, name }) => kind === 'anchor' && name === 'lane')?.spec,
        weights: weightsOf(found),
        stable:
          stable?.kind === 'arm'
            ? {
                version: stable.spec.template.version,
                template: JSON.stringify(stable.spec.template),
                replicas: stable.spec.replicas,
                ready: stable.status.ready,
              }
            : null,
      };
    },
    weights: async (service) => weightsOf(await objects(service)),

    async retire(service) {
      for (const { kind, name, revision } of await objects(service)) {
        const path = ['v1', 'objects', ENVIRONMENT, service, kind, name].join('/');
        await fetch(`${stack.adminUrl}/${path}?revision=${revision}`, { method: 'DELETE' });
      }
    },
  };
}

function weightsOf(objects: readonly GatewayObject[]): Weights | null {
  const route = objects.find(({ kind }) => kind === 'route');
  return route?.kind === 'route' ? route.spec.weights : null;
}

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PUT: 'replace', DELETE: 'delete' };

/** Only writes carry a key. */
const writeToGateway: Upstream['writeOf'] = ({ method, path, header }) => {
  const key = header('slipway-key');
  const verb = VERBS[method];
  if (key === null || verb === undefined) return null;
  const [kind = '', name = ''] = new URL(path, 'http://gateway').pathname.split('/').slice(5);
  return { verb, kind, name, key };
};
