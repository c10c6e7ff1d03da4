/** Kubernetes for the crash tests: a real API server, whose audit log says what was applied; pods are only told of. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ANCHOR_LABEL } from '../../activities/kubernetes/kube-store.js';
import { STATUS_MANAGER } from '../../activities/kubernetes/resources.js';
import { ANNOTATION } from '../../activities/fenced/lane-view.js';
import { canonicalJson } from '../../domain/canonical.js';
import type { Arm, Weights } from '../../domain/target.js';
import { appliedWrites } from '../../tools/audit.js';
import type { AppliedWrite } from '../../tools/audit.js';
import { kubeconfig, readKubeconfig } from '../../tools/kube-client.js';
import type { KubeList, KubeObject } from '../../tools/kube-client.js';
import { workerStarter } from '../../tools/stack.js';
import { startTemporal } from '../../tools/temporal-server.js';
import { applyService, clientOf, kubeRollout, startKube } from '../activities/kubernetes/kube-support.js';
import { ENVIRONMENT } from './crash-site.js';
import type { CrashSite, StableState } from './crash-site.js';
import { CRASH_WORKER } from './crash-track.js';
import { until } from './drive.js';
import { startFakePrometheus, workload } from './fake-prometheus.js';
import type { Call, Upstream } from './fault-proxy.js';
import { kubeTarget } from './request.js';

/** The worker's user, who alone may write what rollouts write. */
const WORKER = 'slipway';
const GARBAGE_COLLECTOR = 'system:serviceaccount:kube-system:generic-garbage-collector';
const APP = 'hello';

/** Starts all that the crash tests need of Kubernetes; it ends with `stop`. */
export async function startKubeSite(): Promise<CrashSite> {
  const folder = await mkdtemp(path.join(tmpdir(), 'slipway-kube-crash-'));
  const started: { stop(): Promise<void> }[] = [
    { stop: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) },
  ];
  const stop = async (): Promise<void> => {
    for (const each of started.toReversed()) await each.stop();
  };
  const keep = <T extends { stop(): Promise<void> }>(part: T): T => {
    started.push(part);
    return part;
  };
  try {
    const [{ plane }, temporal] = await Promise.all([
      startKube().then(keep),
      startTemporal({ logFile: path.join(folder, 'temporal.log') }).then(keep),
    ]);
    const env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
      SLIPWAY_GATEWAYS: ',',
    };
    const access = await readKubeconfig(plane.kubeconfig, WORKER);
    const startWorker = workerStarter({ folder, env, started, workerScript: CRASH_WORKER });
    const admin = clientOf(plane, 'admin');
    const list = async (api: string, namespace: string, kind: string): Promise<readonly KubeObject[]> =>
      (await plane.request<KubeList<KubeObject>>('GET', `${api}/namespaces/${namespace}/${kind}`)).items;

    async function weights(service: string): Promise<Weights | null> {
      const [route] = await list('/apis/gateway.networking.k8s.io/v1', service, 'httproutes');
      return route === undefined ? null : weightsIn(route);
    }
    const prometheus = keep(await startFakePrometheus(weights));

    return {
      platform: 'kubernetes',
      temporal,
      env,
      upstream: { url: access.url, ca: access.ca, writeOf: writeToApiServer },
      lateCanary: ['collect arm/canary', 'collect service/canary', 'create arm/canary', 'create service/canary'],
      stop,

      async startWorker({ name, url }, more) {
        const file = path.join(folder, `${name}.kubeconfig`);
        await writeFile(file, kubeconfig([{ ...access, url }]), { mode: 0o600 });
        return startWorker({ ...more, KUBECONFIG: file });
      },

      policy(policy, _proxyUrl, broken) {
        const queries = workload(broken ? 1 : 0);
        return {
          ...policy,
          target: kubeTarget({ namespace: policy.lane.service, context: WORKER }),
          metrics: { source: 'prometheus', url: prometheus.url, queries, authorization: null },
        };
      },

      async seed(service, tag) {
        await applyService(plane, { namespace: service, replicas: 1, image: `${service}:${tag}` });
        // A lane that has had a rollout before.
        const rollout = kubeRollout(admin, service, 'earlier', { lane: { environment: ENVIRONMENT, service } });
        await rollout.ready('stable', 1);
        for (const effect of [{ op: 'open-rollout' }, { op: 'close-rollout', outcome: 'completed' }] as const) {
          if (effect.op === 'open-rollout') assert.equal((await rollout.claim()).kind, 'granted');
          assert.equal((await rollout.apply(effect)).kind, 'applied');
        }
        await until('nothing stands in the way of a rollout', async () => {
          const found = await rollout.platform.preflight(rollout.scope, { replicas: 1, shares: [] });
          return found.length === 0;
        });
      },

      traffic: () => null,

      async journal(service, calls) {
        const answered = calls.filter(
          (call) => call.write !== null && (call.status ?? 500) < 300 && call.path.includes(`/namespaces/${service}/`),
        );
        // A line of the log may come a moment after the answer.
        await until('the audit log has all that was answered', async () => {
          const log = await readFile(plane.auditLog, 'utf8');
          return answered.every(({ id }) => log.includes(id));
        });
        const applied = await appliedWrites(plane.auditLog, service);
        const byId = new Map(calls.map((call) => [call.id, call]));
        return applied.flatMap((write) => entriesOf(write, byId.get(write.auditId) ?? null));
      },

      async state(service) {
        const [anchors, deployments, services, routes] = await Promise.all([
          list('/api/v1', service, `configmaps?labelSelector=${ANCHOR_LABEL}`),
          list('/apis/apps/v1', service, 'deployments'),
          list('/api/v1', service, 'services'),
          list('/apis/gateway.networking.k8s.io/v1', service, 'httproutes'),
        ]);
        const named = (resource: string, objects: readonly KubeObject[]) =>
          objects.map((object) => ({ name: nameOf(resource, object.metadata.name), object }));
        const found = [
          ...named('configmaps', anchors),
          ...named('deployments', deployments),
          // Stable's own is nothing that a rollout touches.
          ...named('services', services).filter(({ name }) => name !== 'service/stable'),
          ...named('httproutes', routes),
        ];
        const lane = found.find(({ name }) => name === 'anchor/lane')?.object;
        const stable = found.find(({ name }) => name === 'arm/stable')?.object;
        const [route] = routes;
        return {
          objects: found.map(({ name }) => name).toSorted(),
          owned: found.filter(({ object }) => object.metadata['ownerReferences'] !== undefined).map(({ name }) => name),
          lane: lane && (JSON.parse((lane as AnchorObject).data['anchor.json']) as unknown),
          weights: route === undefined ? null : weightsIn(route),
          stable: stable === undefined ? null : stableIn(stable as DeploymentObject),
        };
      },

      weights,

      async retire(service) {
        await plane.request('DELETE', `/api/v1/namespaces/${service}`);
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

const VERBS: Readonly<Record<string, string>> = {
  POST: 'create',
  PUT: 'replace',
  PATCH: 'patch',
  DELETE: 'delete',
  update: 'replace',
};
const KINDS: Readonly<Record<string, string>> = {
  configmaps: 'anchor',
  deployments: 'arm',
  services: 'service',
  httproutes: 'route',
};

/** `arm/canary`: an object in the words of both platforms. */
function nameOf(resource: string, name: string): string {
  const kind = KINDS[resource] ?? resource;
  switch (kind) {
    case 'anchor':
      return `anchor/${/-[0-9a-f]{8}-(lane|rollout-.*)$/.exec(name)?.[1] ?? name}`;
    case 'arm':
    case 'service':
      return `${kind}/${name === APP ? 'stable' : name.slice(APP.length + 1)}`;
    default:
      return `${kind}/${kind === 'route' ? 'route' : name}`;
  }
}

interface Body {
  readonly metadata?: { readonly name?: string; readonly annotations?: Readonly<Record<string, string>> };
}

const writeToApiServer: Upstream['writeOf'] = ({ method, path, body, sender }) => {
  const found = /\/namespaces\/[^/?]+\/([^/?]+)(?:\/([^/?]+))?/.exec(path);
  const verb = VERBS[method];
  if (found === null || verb === undefined) return null;
  const [, resource = '', named] = found;
  // What only tells people where a rollout stands is none of its effects.
  if (resource === 'events' || path.includes(`fieldManager=${STATUS_MANAGER}`)) return null;
  // What would become of a write is asked before it.
  if (path.includes('dryRun=')) return null;
  const { metadata = {} } = JSON.parse(body) as Body;
  const [kind = '', name = ''] = nameOf(resource, named ?? metadata.name ?? '').split('/');
  // An object keeps its key while only its fence is raised, and a deletion has none: what is meant, the effect says.
  return { verb, kind, name, key: sender?.key ?? metadata.annotations?.[ANNOTATION.key] ?? null };
};

/** What the log has as one of our writes, or as a collection; nothing for what others do with their own. */
function entriesOf(write: AppliedWrite, call: Call | null) {
  const [resource = '', objectName = ''] = write.object.split('/');
  const [kind = '', name = ''] = nameOf(resource, objectName).split('/');
  if (write.user === GARBAGE_COLLECTOR) return [{ verb: 'collect', kind, name, key: null }];
  if (write.manager === STATUS_MANAGER) return [];
  if (write.user === WORKER) {
    assert.ok(call, `a write of the worker's user that no worker has sent: ${JSON.stringify(write)}`);
    // By the log alone the key is the same; it does not have it where an object keeps that of an earlier effect.
    if (write.key !== null) assert.equal(write.key, call.key, 'the key that the object has');
    return [{ verb: VERBS[write.verb] ?? write.verb, kind, name, key: call.key }];
  }
  assert.ok(write.user === 'admin' || write.key === null, `somebody else wrote a key: ${JSON.stringify(write)}`);
  return [];
}

interface AnchorObject extends KubeObject {
  readonly data: { readonly 'anchor.json': string };
}

interface DeploymentObject extends KubeObject {
  readonly spec: {
    readonly replicas: number;
    readonly template: { readonly spec: { readonly containers: readonly { name: string; image: string }[] } };
  };
  readonly status?: { readonly availableReplicas?: number };
}

function stableIn({ spec: { replicas, template }, status }: DeploymentObject): StableState {
  const version = template.spec.containers.find(({ name }) => name === 'app')?.image ?? '';
  return { version, template: canonicalJson(template), replicas, ready: status?.availableReplicas ?? 0 };
}

interface RouteObject extends KubeObject {
  readonly spec: {
    readonly rules: readonly { readonly backendRefs: readonly { name: string; weight?: number }[] }[];
  };
}

function weightsIn(route: KubeObject): Weights {
  const refs = (route as RouteObject).spec.rules.flatMap(({ backendRefs }) => backendRefs);
  const sum = refs.reduce((total, { weight = 1 }) => total + weight, 0);
  const share = (arm: Arm): number => {
    const name = arm === 'stable' ? APP : `${APP}-${arm}`;
    return (100 * refs.filter((ref) => ref.name === name).reduce((total, { weight = 1 }) => total + weight, 0)) / sum;
  };
  return { stable: share('stable'), canary: share('canary'), baseline: share('baseline') };
}
