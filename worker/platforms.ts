import type { KubeAnswer, KubeConnection } from '../activities/kubernetes/kube-client.js';
import { createKubernetesPlatform } from '../activities/kubernetes/kubernetes-platform.js';
import { createLocalPlatform } from '../activities/local/local-platform.js';
import type { Platforms } from '../activities/platform.js';
import type { WorkerConfig } from './config.js';

/** Limit for each call to an API server, ms: below the 5 s that an effect may take. */
const KUBE_CALL_MS = 4000;

/** Who is told of what happens on platforms. */
export interface PlatformEvents {
  readonly warn: (text: string) => void;
  readonly onKubeAnswer: (answer: KubeAnswer) => void;
}

/** All platforms. A cluster is connected, and its SDK loaded, when a rollout first needs it. */
export function createPlatforms(
  { gateways, kubernetes, clusters: source }: Pick<WorkerConfig, 'gateways' | 'kubernetes' | 'clusters'>,
  { warn, onKubeAnswer }: PlatformEvents,
): Platforms {
  const clusters = new Map<string | null, Promise<KubeConnection>>();
  async function connect(context: string | null): Promise<KubeConnection> {
    const { connectKube } = await import('../activities/kubernetes/kube-client.js');
    return connectKube({ context, source, timeoutMs: KUBE_CALL_MS, onAnswer: onKubeAnswer, warn });
  }
  return {
    local: createLocalPlatform({ gateways }),
    kubernetes: createKubernetesPlatform({
      places: kubernetes,
      warn,
      async clientFor(context, urgency) {
        const connection = clusters.get(context) ?? connect(context);
        clusters.set(context, connection);
        // A kubeconfig that can't be used now may be put right.
        connection.catch(() => clusters.delete(context));
        return (await connection).work(urgency);
      },
    }),
  };
}
