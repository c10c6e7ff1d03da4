/** Slipway on a real API server with pods that are only told of: what fails is the API server, or what others change. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Slipway } from '../../client/slipway.js';
import type { Policy } from '../../domain/policy.js';
import { ALL_STABLE } from '../../domain/target.js';
import type { KubernetesTarget, Weights } from '../../domain/target.js';
import { LANE, rolloutAnchorName } from '../../activities/fenced/lane-view.js';
import { anchorName } from '../../activities/kubernetes/kube-store.js';
import { routerOf } from '../../activities/kubernetes/traffic/router.js';
import { appliedWrites } from '../../tools/audit.js';
import type { ControlPlane } from '../../tools/control-plane.js';
import { readKubeconfig } from '../../tools/kube-client.js';
import { workerStarter } from '../../tools/stack.js';
import { startTemporal } from '../../tools/temporal-server.js';
import {
  findEtcd,
  findGatewayApi,
  findKubeApiServer,
  findKubeControllerManager,
  findTemporal,
  findTraefik,
  reasonToSkip,
} from '../../tools/toolbox.js';
import { clientOf, restingService, startKube } from '../activities/kubernetes/kube-support.js';
import type { KubeClient, KubeObject } from '../../activities/kubernetes/kube-client.js';
import { pathOf } from '../../activities/kubernetes/resources.js';
import type { Resource } from '../../activities/kubernetes/resources.js';
import { Pilot, until } from './drive.js';
import { ANALYSIS } from './faults.js';
import { startFaultyServer } from './faulty-server.js';
import type { FaultRule, FaultyServer } from './faulty-server.js';
import { startPrometheusStandin } from './prometheus-standin.js';
import { kubeTarget, stage, testPolicy, testRequest } from './request.js';
import type { PolicyOptions } from './request.js';

/** Why it can't run here, or false. */
export async function kubeFaultsObstacle(): Promise<string | false> {
  const parts = [findTemporal, findEtcd, findKubeApiServer, findKubeControllerManager, findGatewayApi, findTraefik];
  for (const part of parts) {
    const reason = await reasonToSkip(part);
    if (reason !== false) return reason;
  }
  return false;
}

/** One service in its own namespace, which its worker reaches through an API server that can be made to fail. */
export interface KubeLane {
  readonly namespace: string;
  readonly api: FaultyServer;
  /** One stage of 2 s at 25 %, verified for 1 s, unless said otherwise. */
  policy(options?: Partial<PolicyOptions>): Policy & { readonly target: KubernetesTarget };
  object(resource: Resource, name: string): Promise<KubeObject | null>;
  weights(): Promise<Weights | null>;
  /** What each Deployment runs and its size: `hello: v1 x2`. Nothing of Slipway's is left where it is just that one. */
  deployments(): Promise<readonly string[]>;
  /** What is left of rollouts: anchors, siblings and their Services. Those of the lane itself don't count. */
  leftovers(): Promise<readonly string[]>;
  /** Keys that were applied more than once to one object. */
  appliedTwice(): Promise<readonly string[]>;
  /** A change as somebody with kubectl makes it: a merge patch; null deletes. */
  meddle(resource: Resource, name: string, patch: object | null): Promise<void>;
  /** The name of the anchor of a rollout, or of the lane. */
  anchor(rolloutId: string | null): string;
}

export interface KubeFaults {
  readonly plane: ControlPlane;
  readonly pilot: Pilot;
  /** The service of a namespace, at `v1` and at rest. */
  serve(namespace: string): Promise<KubeLane>;
  stop(): Promise<void>;
}

const PATCH = 'application/strategic-merge-patch+json';
const MERGE_PATCH = 'application/merge-patch+json';

export async function startKubeFaults(namespaces: readonly string[]): Promise<KubeFaults> {
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const folder = await mkdtemp(path.join(tmpdir(), 'slipway-kube-faults-'));
    stops.push(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
    const [kube, temporal, metrics] = await Promise.all([
      startKube(),
      startTemporal({ uiPort: null, logFile: path.join(folder, 'temporal.log') }),
      startPrometheusStandin(),
    ]);
    const { plane } = kube;
    stops.push(
      () => kube.stop(),
      () => temporal.stop(),
      () => metrics.close(),
    );
    const access = await readKubeconfig(plane.kubeconfig, 'slipway');
    const apis = new Map<string, FaultyServer>();
    for (const namespace of namespaces) {
      const api = await startFaultyServer(access.url, access.ca);
      stops.push(() => api.close());
      apis.set(namespace, api);
    }
    const kubeconfig = path.join(folder, 'kubeconfig');
    await writeFile(kubeconfig, throughProxies(access.token, apis));
    const started: { stop(): Promise<void> }[] = [];
    stops.push(async () => {
      for (const each of started) await each.stop();
    });
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: ',',
      SLIPWAY_KUBERNETES: namespaces.map((namespace) => `${namespace}/${namespace}`).join(','),
      KUBECONFIG: kubeconfig,
    };
    await workerStarter({ folder, env, started })();
    const slipway = await Slipway.connect(env);
    stops.push(() => slipway.close());
    const admin = clientOf(plane, 'admin');

    return {
      plane,
      pilot: new Pilot(slipway),
      stop,
      async serve(namespace) {
        const api = apis.get(namespace);
        if (api === undefined) throw new Error(`${namespace} is none of the namespaces that were named at the start`);
        await restingService(plane, clientOf(plane, 'slipway'), namespace);
        return laneOf(plane, admin, namespace, api, {
          source: 'prometheus',
          url: metrics.url,
          queries: metrics.queries,
          authorization: null,
        });
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A context for each namespace, by its name: the API server as that namespace's worker reaches it. */
function throughProxies(token: string, apis: ReadonlyMap<string, FaultyServer>): string {
  const names = [...apis.keys()];
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': names[0],
    contexts: names.map((name) => ({ name, context: { cluster: name, user: 'slipway' } })),
    // Without TLS, which the SDK takes for a mistake unless it is told.
    clusters: [...apis].map(([name, { url: server }]) => ({
      name,
      cluster: { server, 'insecure-skip-tls-verify': true },
    })),
    users: [{ name: 'slipway', user: { token } }],
  });
}

function laneOf(
  plane: ControlPlane,
  admin: KubeClient,
  namespace: string,
  api: FaultyServer,
  metrics: Policy['metrics'],
): KubeLane {
  const lane = { environment: 'prod', service: namespace };
  const target = kubeTarget({ namespace, context: namespace });
  const object: KubeLane['object'] = (resource, name) => admin.get(resource, namespace, name, undefined);
  const all = (resource: Resource): Promise<readonly KubeObject[]> => admin.list(resource, namespace, null, undefined);
  return {
    namespace,
    api,
    object,
    policy: ({ change, ...more } = {}) => ({
      ...testPolicy({
        gateway: 'http://unused',
        stages: [stage(25, 2)],
        ...more,
        change: { verifyMs: 1000, analysis: ANALYSIS, ...change },
      }),
      lane,
      target,
      metrics,
    }),
    async weights() {
      const route = await object('httproutes', 'hello');
      return route === null ? null : (routerOf(target)?.read(route)?.weights ?? null);
    },
    async deployments() {
      const found = await all('deployments');
      return found.map(({ metadata, spec }) => {
        const { replicas, template } = spec as {
          replicas: number;
          template: { spec: { containers: { image: string }[] } };
        };
        return `${metadata.name}: ${template.spec.containers[0]?.image.split(':').at(-1)} x${replicas}`;
      });
    },
    async leftovers() {
      const kinds = ['configmaps', 'deployments', 'services', 'poddisruptionbudgets'] as const;
      return (await Promise.all(kinds.map(all)))
        .flat()
        .filter(({ metadata: { name } }) => /-rollout-|-canary$|-baseline$/.test(name))
        .map(({ kind, metadata: { name } }) => `${kind} ${name}`);
    },
    async appliedTwice() {
      const done = (await appliedWrites(plane.auditLog, namespace))
        .filter(({ key }) => key !== null)
        .map(({ key, object: name }) => `${key} ${name}`);
      return done.filter((each, index) => done.indexOf(each) !== index);
    },
    async meddle(resource, name, patch) {
      const at = pathOf(resource, namespace, name);
      if (patch === null) await plane.request('DELETE', at);
      // Kinds that are defined in the cluster know no strategic merge.
      else await plane.request('PATCH', at, patch, resource === 'httproutes' ? MERGE_PATCH : PATCH);
    },
    anchor: (rolloutId) => anchorName(lane, rolloutId === null ? LANE : rolloutAnchorName(rolloutId)),
  };
}

/** A good release completes and a bad one is rolled back, though writes fail by this rule. */
export async function getsThrough(it: KubeFaults, name: string, rule: FaultRule): Promise<void> {
  const lane = await it.serve(name);
  const policy = lane.policy();
  lane.api.rule = rule;
  const good = await it.pilot.ship(testRequest({ policy, tag: 'v2' }), 240_000);
  assert.equal(good.outcome, 'completed', JSON.stringify(good.reason));
  const bad = await it.pilot.ship(testRequest({ policy, tag: 'bad' }), 240_000);
  assert.deepEqual([bad.outcome, bad.reason?.code], ['rolled-back', 'verdict'], JSON.stringify(bad.reason));
  assert.ok(lane.api.hits >= 20, `only ${lane.api.hits} requests failed`);
  await asBefore(lane, 'v2');
}

/** Nothing but stable is there, at this version, with all traffic; nothing is left, and nothing was done twice. */
export async function asBefore(lane: KubeLane, version: string): Promise<void> {
  // What an anchor owns is collected a moment after it.
  await until('nothing of the rollout is left', async () => {
    const left = await lane.leftovers();
    if (left.length > 0) throw new Error(left.join(', '));
    return true;
  });
  assert.deepEqual(await lane.deployments(), [`hello: ${version} x2`]);
  assert.deepEqual(await lane.weights(), ALL_STABLE);
  assert.deepEqual(await lane.appliedTwice(), []);
}
