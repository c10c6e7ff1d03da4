import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { startControlPlane } from './control-plane.js';
import type { ControlPlane } from './control-plane.js';
import type { KubeObject } from './kube-client.js';
import { startNodeAgent } from './node-agent.js';
import { startPrometheus } from './prometheus-server.js';
import type { PrometheusServer } from './prometheus-server.js';
import { workerStarter } from './stack.js';
import type { Stack } from './stack.js';
import { startTemporal } from './temporal-server.js';
import type { TemporalServer } from './temporal-server.js';
import {
  findEtcd,
  findGatewayApi,
  findKubeApiServer,
  findKubeControllerManager,
  findPrometheus,
  findTemporal,
  findTraefik,
} from './toolbox.js';
import { startTraefik } from './traefik-server.js';
import type { Traefik } from './traefik-server.js';

const ROLE = fileURLToPath(new URL('../../deploy/kubernetes/role.yaml', import.meta.url));

export interface KubeStackOptions {
  /** Namespaces in which workers may roll out; made when the stack starts. */
  readonly namespaces: readonly string[];
  /** Port of Temporal Web; null for none. */
  readonly uiPort?: number | null;
  /** Keep Temporal's state in a file, so that the server can be killed and restarted. */
  readonly durable?: boolean;
  /** More settings of the workers. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * A Kubernetes whose pods are real processes behind Traefik, with Prometheus, Temporal and any number of workers; all end
 * with this process. To be started inside a network namespace: see `enterNetworkNamespace`.
 */
export interface KubeStack {
  readonly folder: string;
  readonly plane: ControlPlane;
  readonly traefik: Traefik;
  readonly prometheus: PrometheusServer;
  readonly temporal: TemporalServer;
  /** Environment for `slipway` commands against this stack: as the user `slipway`, with the rights of the installation. */
  readonly env: Readonly<Record<string, string>>;
  startWorker: Stack['startWorker'];
  stop(): Promise<void>;
}

/** Fetches all that the stack runs, or throws `PartUnavailable`: inside a network namespace nothing can be fetched. */
export async function fetchKubeStack(): Promise<void> {
  for (const part of KUBE_STACK_PARTS) await part();
}

export const KUBE_STACK_PARTS = [
  findTemporal,
  findPrometheus,
  findEtcd,
  findKubeApiServer,
  findKubeControllerManager,
  findGatewayApi,
  findTraefik,
] as const;

export async function startKubeStack(options: KubeStackOptions): Promise<KubeStack> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-kube-stack-'));
  const started: { stop(): Promise<void> }[] = [];
  const stop = async (): Promise<void> => {
    // What is stopped keeps nothing alive: without this, the process could end before all of it has.
    const alive = setInterval(() => undefined, 1000);
    for (const part of started.reverse()) await part.stop();
    clearInterval(alive);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  const keep = <T extends { stop(): Promise<void> }>(part: T): T => {
    started.push(part);
    return part;
  };
  try {
    const plane = keep(await startControlPlane({ dir: path.join(folder, 'plane') }));
    keep(await startNodeAgent({ kubeconfig: plane.kubeconfig, mode: 'processes', logFolder: folder }));
    const traefik = keep(await startTraefik({ kubeconfig: plane.kubeconfig, dir: path.join(folder, 'traefik') }));
    const prometheus = keep(
      await startPrometheus({
        scrapeIntervalMs: 1000,
        targets: [{ job: 'traefik', url: traefik.metricsUrl }],
        dataDir: path.join(folder, 'prometheus'),
      }),
    );
    const temporal = keep(
      await startTemporal({
        uiPort: options.uiPort ?? null,
        logFile: path.join(folder, 'temporal.log'),
        ...(options.durable === true ? { dbFile: path.join(folder, 'temporal.db') } : {}),
      }),
    );
    for (const namespace of options.namespaces) await plane.apply(await namespaceWithRights(namespace));
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: ',',
      SLIPWAY_KUBERNETES: options.namespaces.map((namespace) => `slipway/${namespace}`).join(','),
      KUBECONFIG: plane.kubeconfig,
      ...(temporal.uiUrl === undefined ? {} : { SLIPWAY_TEMPORAL_WEB: temporal.uiUrl }),
      ...options.env,
    };
    return {
      folder,
      plane,
      traefik,
      prometheus,
      temporal,
      env,
      startWorker: workerStarter({ folder, env, started }),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A namespace in which the user `slipway` has the rights of the installation, to the letter. */
export async function namespaceWithRights(namespace: string): Promise<readonly KubeObject[]> {
  const role = parse(await readFile(ROLE, 'utf8')) as KubeObject;
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    { ...role, metadata: { ...role.metadata, namespace } },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'slipway-worker', namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'slipway-worker' },
      subjects: [{ kind: 'User', name: 'slipway', apiGroup: 'rbac.authorization.k8s.io' }],
    },
  ];
}
