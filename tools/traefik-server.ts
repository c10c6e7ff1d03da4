import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { connect, kubeconfig, readKubeconfig, type KubeClient, type KubeObject } from './kube-client.js';
import { freePort, startServer, type Server } from './supervise.js';
import { findTraefik } from './toolbox.js';

export interface TraefikOptions {
  /** A control plane's kubeconfig: Traefik is its user `traefik`, the Gateway is made by `admin`. */
  readonly kubeconfig: string;
  /** Gets the log. */
  readonly dir: string;
}

/** A gateway that obeys HTTPRoutes. It reaches pods where `processes` of a node agent run in the same namespace. */
export interface Traefik {
  /** Where requests go in. */
  readonly url: string;
  /** Its metrics for Prometheus: `traefik_service_*`, with the backend in the label `service`. */
  readonly metricsUrl: string;
  /** The Gateway that routes name as their parent; routes of all namespaces may. */
  readonly gateway: { readonly name: string; readonly namespace: string };
  readonly server: Server;
  stop(): Promise<void>;
}

interface Gateway extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

const GATEWAY = { name: 'edge', namespace: 'default' };
const GATEWAY_API = 'gateway.networking.k8s.io/v1';
const PROGRAMMED_TIMEOUT_MS = 20_000;
const POLL_MS = 50;
/** Upper bounds in seconds: its own, of which the lowest is 0.1, can't tell the latencies of small services apart. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Starts Traefik on free ports of 127.0.0.1, with a Gateway that it serves; it ends with this process. */
export async function startTraefik(options: TraefikOptions): Promise<Traefik> {
  const { path } = await findTraefik();
  await mkdir(options.dir, { recursive: true });
  const config = join(options.dir, 'traefik.kubeconfig');
  await writeFile(config, kubeconfig([await readKubeconfig(options.kubeconfig, 'traefik')]), { mode: 0o600 });

  const port = await freePort();
  const metricsPort = await freePort();
  const server = await startServer({
    name: 'Traefik',
    command: path,
    args: [
      `--entryPoints.web.address=127.0.0.1:${port}`,
      `--entryPoints.metrics.address=127.0.0.1:${metricsPort}`,
      '--providers.kubernetesGateway=true',
      '--providers.kubernetesGateway.statusAddress.ip=127.0.0.1',
      // How soon it acts on what it was told; its own 2 s are meant for clusters with thousands of routes.
      '--providers.providersThrottleDuration=100ms',
      '--metrics.prometheus.entryPoint=metrics',
      '--metrics.prometheus.addServicesLabels=true',
      `--metrics.prometheus.buckets=${BUCKETS.join(',')}`,
      '--ping.entryPoint=metrics',
      '--global.checkNewVersion=false',
      '--global.sendAnonymousUsage=false',
      '--log.level=WARN',
    ],
    env: { KUBECONFIG: config },
    ready: `http://127.0.0.1:${metricsPort}/ping`,
    logFile: join(options.dir, 'traefik.log'),
  });
  const admin = connect(await readKubeconfig(options.kubeconfig, 'admin'));
  try {
    await admin.apply(gatewayObjects(port));
    await isProgrammed(admin);
  } catch (error) {
    await server.stop();
    throw error;
  } finally {
    await admin.close();
  }
  return {
    url: `http://127.0.0.1:${port}`,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    gateway: GATEWAY,
    server,
    stop: () => server.stop(),
  };
}

function gatewayObjects(port: number): readonly KubeObject[] {
  // Traefik serves a listener by its entry point of the same port.
  const listener = { name: 'web', protocol: 'HTTP', port, allowedRoutes: { namespaces: { from: 'All' } } };
  return [
    {
      apiVersion: GATEWAY_API,
      kind: 'GatewayClass',
      metadata: { name: 'traefik' },
      spec: { controllerName: 'traefik.io/gateway-controller' },
    },
    {
      apiVersion: GATEWAY_API,
      kind: 'Gateway',
      metadata: GATEWAY,
      spec: { gatewayClassName: 'traefik', listeners: [listener] },
    },
  ];
}

async function isProgrammed(admin: KubeClient): Promise<void> {
  const path = `/apis/${GATEWAY_API}/namespaces/${GATEWAY.namespace}/gateways/${GATEWAY.name}`;
  for (const deadline = Date.now() + PROGRAMMED_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    const { status } = await admin.request<Gateway>('GET', path);
    const { conditions = [] } = status ?? {};
    if (conditions.some((condition) => condition.type === 'Programmed' && condition.status === 'True')) return;
    if (Date.now() > deadline) throw new Error(`Traefik did not take the Gateway: ${JSON.stringify(conditions)}`);
  }
}
