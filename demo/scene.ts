/** Where the demo plays: on the local gateway, or on a Kubernetes of its own (on another one: `cluster.ts`). */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { appliedWrites } from '../tools/audit.js';
import { fetchKubeStack, startKubeStack } from '../tools/kube-stack.js';
import { enterNetworkNamespace } from '../tools/network-namespace.js';
import { readJournal, startStack } from '../tools/stack.js';
import { freePort } from '../tools/supervise.js';
import type { Server } from '../tools/supervise.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const DEMO = path.join(ROOT, 'demo');
const NAMESPACE = 'hello';

/** One change of the platform, by its own log. */
export interface Change {
  readonly key: string;
  /** `replace route/route`. */
  readonly what: string;
  readonly ofRoute: boolean;
  readonly atMs: number;
}

export interface Scene {
  /** As slipway.yaml names it. */
  readonly environment: 'local' | 'kubernetes';
  /** What serves before the first release: with nothing there, v1 is the first release itself. */
  readonly before: string | null;
  /** Where the service answers. */
  readonly url: string;
  /** Lines about what can be looked at meanwhile. */
  readonly lookAt: readonly string[];
  /** Environment for `slipway` commands. */
  readonly env: Readonly<Record<string, string>>;
  /** The slipway.yaml of the service. */
  readonly file: string;
  /** What `slipway deploy` needs to be told for a version of the service: `v1`, `v2`, `v3`. */
  flags(version: string): readonly string[];
  startWorker(): Promise<Server>;
  /** Every change that carries an idempotency key; null where nobody but Slipway itself could tell. */
  changes(): Promise<readonly Change[] | null>;
  stop(): Promise<void>;
}

export async function localScene(): Promise<Scene> {
  const stack = await startStack({ uiPort: await freePort() });
  const file = path.join(stack.folder, 'slipway.yaml');
  const policy = await readFile(path.join(DEMO, 'slipway.yaml'), 'utf8');
  await writeFile(
    file,
    policy.replace('http://127.0.0.1:7700', stack.adminUrl).replace('cwd: .', `cwd: ${JSON.stringify(DEMO)}`),
  );
  const url = `${stack.dataUrl}/local/hello/`;
  return {
    environment: 'local',
    before: null,
    url,
    lookAt: [`Temporal Web: ${stack.temporal.uiUrl ?? ''}/namespaces/default/workflows`, `the service:  ${url}`],
    env: stack.env,
    file,
    flags: (version) => ['--tag', version],
    startWorker: () => stack.startWorker(),
    async changes() {
      const journal = await readJournal(stack.adminUrl);
      return journal.flatMap(({ key, verb, kind, name, at }) =>
        key === null || verb === 'collect'
          ? []
          : [{ key, what: `${verb} ${kind}/${name}`, ofRoute: kind === 'route', atMs: Date.parse(at) }],
      );
    },
    stop: () => stack.stop(),
  };
}

/**
 * An API server with its controllers, pods that are real processes, Traefik and Prometheus. The first call runs the
 * script again inside a network namespace of its own, and does not return.
 */
export async function kubernetesScene(): Promise<Scene> {
  await fetchKubeStack();
  const obstacle = await enterNetworkNamespace();
  if (obstacle !== undefined) throw new Error(`--kubernetes needs a network namespace, and there is none: ${obstacle}`);
  const stack = await startKubeStack({ namespaces: [NAMESPACE] });
  await stack.plane.applyFile(path.join(DEMO, 'kubernetes', 'service.yaml'));
  const file = path.join(stack.folder, 'slipway.yaml');
  const policy = await readFile(path.join(DEMO, 'kubernetes', 'slipway.yaml'), 'utf8');
  await writeFile(file, policy.replace('http://127.0.0.1:9090', stack.prometheus.url));
  await untilServed(stack.traefik.url);
  return {
    environment: 'kubernetes',
    before: 'kubectl apply --filename demo/kubernetes/service.yaml',
    url: stack.traefik.url,
    lookAt: [
      'all of it runs in a network namespace of its own: look inside with',
      `nsenter --target ${process.pid} --net env KUBECONFIG=${stack.plane.kubeconfig} kubectl --namespace ${NAMESPACE} get deployments,httproutes`,
    ],
    env: stack.env,
    file,
    flags: (version) => ['--tag', version],
    startWorker: () => stack.startWorker(),
    async changes() {
      const writes = await appliedWrites(stack.plane.auditLog, NAMESPACE);
      return writes.flatMap(({ key, verb, object, atMs }) =>
        key === null ? [] : [{ key, what: `${verb} ${object}`, ofRoute: object.startsWith('httproutes/'), atMs }],
      );
    },
    stop: () => stack.stop(),
  };
}

/** Waits until the service answers. */
export async function untilServed(url: string): Promise<void> {
  for (const until = Date.now() + 30_000; ;) {
    try {
      if ((await fetch(url, { signal: AbortSignal.timeout(1000) })).ok) return;
    } catch (error) {
      if (Date.now() > until) throw error;
    }
    if (Date.now() > until) throw new Error(`the service did not answer at ${url} within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
