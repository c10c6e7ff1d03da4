/** The whole of Slipway on Kubernetes for tests: services under traffic, whose users' errors are counted. */
import { Slipway } from '../../client/slipway.js';
import type { Policy, StagePolicy } from '../../domain/policy.js';
import { appliedWrites } from '../../tools/audit.js';
import { KUBE_STACK_PARTS, startKubeStack } from '../../tools/kube-stack.js';
import type { KubeStack } from '../../tools/kube-stack.js';
import { enterNetworkNamespace } from '../../tools/network-namespace.js';
import { freePort } from '../../tools/supervise.js';
import type { Server } from '../../tools/supervise.js';
import { reasonToSkip } from '../../tools/toolbox.js';
import { startTraffic } from '../../tools/traffic.js';
import type { Traffic } from '../../tools/traffic.js';
import { applyService } from '../activities/kubernetes/kube-support.js';
import { Pilot, until } from './drive.js';
import { kubeTarget, stage, testPolicy } from './request.js';

/** Why it can't run here, or false. All is fetched before the namespace is entered, from where nothing can be. */
export async function kubeObstacle(): Promise<string | false> {
  for (const part of KUBE_STACK_PARTS) {
    const reason = await reasonToSkip(part);
    if (reason !== false) return reason;
  }
  const reason = await enterNetworkNamespace();
  return reason === undefined ? false : `needs a network namespace: ${reason}`;
}

export interface KubeWorld {
  readonly stack: KubeStack;
  readonly pilot: Pilot;
  /** The two workers that it has started. */
  readonly workers: readonly Server[];
  /** The policy of the service in a namespace: two stages of 8 s, unless said otherwise. */
  policy(namespace: string, stages?: readonly StagePolicy[]): Policy;
  /** The service in its namespace, at `v1`, under traffic. */
  serve(namespace: string, perSecond: number): Promise<Traffic>;
  /** What each of its workers counts, as Prometheus would read it. */
  workerMetrics(): Promise<readonly string[]>;
  /** What was applied more than once for one key. */
  appliedTwice(namespace: string): Promise<readonly string[]>;
  stop(): Promise<void>;
}

export async function startKubeWorld(namespaces: readonly string[]): Promise<KubeWorld> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const stack = await startKubeStack({ namespaces });
    stops.push(() => stack.stop());
    const ports = [await freePort(), await freePort()];
    const workers = await Promise.all(ports.map((port) => stack.startWorker({ SLIPWAY_HTTP_PORT: String(port) })));
    const slipway = await Slipway.connect(stack.env);
    stops.push(() => slipway.close());
    return {
      stack,
      workers,
      pilot: new Pilot(slipway),
      stop,

      workerMetrics: () =>
        Promise.all(ports.map(async (port) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text())),

      policy(namespace, stages = [stage(25, 8), stage(50, 8)]) {
        return {
          ...testPolicy({ gateway: 'http://unused', stages }),
          lane: { environment: 'prod', service: namespace },
          target: kubeTarget({ namespace, context: 'slipway' }),
          verifyMs: 4000,
          metrics: { source: 'prometheus', url: stack.prometheus.url, queries: 'traefik', authorization: null },
        };
      },

      async serve(namespace, perSecond) {
        await applyService(stack.plane, { namespace, replicas: 2, rights: false });
        const host = `${namespace}.example.com`;
        await until('v1 serves', async () => {
          const probe = startTraffic({ url: stack.traefik.url, host, perSecond: 20 });
          await new Promise((resolve) => setTimeout(resolve, 500));
          await probe.stop();
          return probe.answers.length > 0 && probe.answers.every(({ ok, version }) => ok && version !== null);
        });
        const traffic = startTraffic({ url: stack.traefik.url, host, perSecond });
        stops.push(() => traffic.stop());
        return traffic;
      },

      async appliedTwice(namespace) {
        const done = (await appliedWrites(stack.plane.auditLog, namespace))
          .filter(({ key }) => key !== null)
          .map(({ key, object }) => `${key} ${object}`);
        return done.filter((each, index) => done.indexOf(each) !== index);
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What users saw fail: the version that answered, or when nothing of the service did. */
export function failedAnswers({ answers }: Traffic): readonly string[] {
  return answers
    .filter(({ ok }) => !ok)
    .map(({ version, atMs }) => version ?? `no answer at ${new Date(atMs).toISOString()}`);
}
