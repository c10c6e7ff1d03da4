import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { connect, KubeRefusal, readKubeconfig, type KubeClient } from './kube-client.js';
import { follow } from './kube-watch.js';
import { Addresses } from './node-agent/addresses.js';
import { persistentWrite, PodKeeper } from './node-agent/pod-keeper.js';
import type { Pod } from './node-agent/pod.js';
import { pretend } from './node-agent/pretend.js';
import { processes } from './node-agent/processes.js';

export interface NodeAgentOptions {
  /** A control plane's kubeconfig; its context `node-agent` is used. */
  readonly kubeconfig: string;
  /**
   * `pretend` reports pods as running without running anything, as the tags of their images say: see `pretend`.
   * `processes` runs each as a real process on an address of its own, which needs `enterNetworkNamespace`.
   */
  readonly mode: 'pretend' | 'processes';
  /** The addresses that pods get, within 10.244.0.0/16, which is the default. */
  readonly podCidr?: string;
  /** Gets the pods' logs in mode `processes`; without it they are in a temporary folder that `stop` removes. */
  readonly logFolder?: string;
}

/** Stands in for the scheduler and for the kubelet of one node. It runs in this process and ends with it. */
export interface NodeAgent {
  /** The name of the node that it registered. */
  readonly node: string;
  /** The process that serves for a pod, in mode `processes`, while there is one. */
  pidOf(namespace: string, name: string): number | undefined;
  /** Ends all that runs for pods; the API server's objects stay as they are. */
  stop(): Promise<void>;
}

const NODE = 'local';
const POD_CIDR = '10.244.0.0/16';
const ALREADY_THERE = 409;
const CAPACITY = { cpu: '64', memory: '256Gi', pods: '1000', 'ephemeral-storage': '1Ti' };

/**
 * Registers a node, binds every pending pod to it, runs the pods, reports how they are and removes those that were
 * deleted, until it is stopped. It goes on when the API server was away.
 */
export async function startNodeAgent(options: NodeAgentOptions): Promise<NodeAgent> {
  const addresses = new Addresses(options.podCidr ?? POD_CIDR);
  if (options.mode === 'processes') await checkAddress(addresses.first);
  const client = connect(await readKubeconfig(options.kubeconfig, 'node-agent'));
  try {
    await registerNode(client);
  } catch (error) {
    await client.close();
    throw error;
  }

  const folder = await mkdtemp(join(tmpdir(), 'slipway-pods-'));
  const runtime = options.mode === 'pretend' ? pretend : processes(options.logFolder ?? folder);
  const stopping = new AbortController();
  const keeper = new PodKeeper(NODE, runtime, addresses, persistentWrite(client, stopping.signal));
  // Rejects, and so ends the process, when the API server refuses an agent that it let register.
  const following = follow<Pod>(client, '/api/v1/pods', keeper, stopping.signal);
  return {
    node: NODE,
    pidOf: (namespace, name) => keeper.pidOf(namespace, name),
    async stop() {
      stopping.abort();
      // Whatever is still asked of the API server is given up.
      await client.close();
      await following;
      await keeper.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function registerNode(client: KubeClient): Promise<void> {
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: NODE, labels: { 'kubernetes.io/hostname': NODE } } };
  try {
    await client.request('POST', '/api/v1/nodes', node);
  } catch (error) {
    if (!(error instanceof KubeRefusal) || error.status !== ALREADY_THERE) throw error;
  }
  const now = new Date().toISOString();
  const ready = { type: 'Ready', status: 'True', reason: 'NodeAgentReady', lastHeartbeatTime: now };
  const addresses = [{ type: 'InternalIP', address: '127.0.0.1' }];
  const status = { capacity: CAPACITY, allocatable: CAPACITY, conditions: [ready], addresses };
  const merge = 'application/merge-patch+json';
  await client.request('PATCH', `/api/v1/nodes/${NODE}/status`, { status }, merge);
  // A new node gets the taint of one that is not ready, which a controller would take away that does not run here.
  await client.request('PATCH', `/api/v1/nodes/${NODE}`, { spec: { taints: null } }, merge);
}

async function checkAddress(address: string): Promise<void> {
  const server = createServer().listen(0, address);
  try {
    await once(server, 'listening');
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'EADDRNOTAVAIL' ? 'it has no such address' : String(error);
    throw new Error(`pods can't listen on ${address} here: ${why}; see enterNetworkNamespace`, { cause: error });
  }
  server.close();
}
