/**
 * Whatever the policy and the topology: at no moment does what carries traffic fall below the capacity that was recorded,
 * is anything made smaller or taken away that still gets traffic, or do two arms share their pods. The real workflows on
 * a real Temporal server, the real adapter, and a cluster in memory whose controllers are models.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { WatchCall } from '../../activities/contract.js';
import type { KubeClient, KubeObject } from '../../activities/kubernetes/kube-client.js';
import { createKubernetesPlatform } from '../../activities/kubernetes/kubernetes-platform.js';
import { routerOf } from '../../activities/kubernetes/traffic/router.js';
import type { Policy } from '../../domain/policy.js';
import { leastFor } from '../../domain/capacity.js';
import { ALL_STABLE, armName } from '../../domain/target.js';
import type { Arm, KubernetesTarget } from '../../domain/target.js';
import { story } from './drive.js';
import { allIsWell, verdict } from './fake-activities.js';
import { startFakeEnv } from './fake-env.js';
import type { FakeEnv } from './fake-env.js';
import { createMemoryCluster } from './memory-cluster.js';
import type { DeploymentView, MemoryCluster } from './memory-cluster.js';
import { stage, testRequest } from './request.js';

const ARMS: readonly Arm[] = ['stable', 'canary', 'baseline'];

const topology = fc.record({
  replicas: fc.integer({ min: 1, max: 50 }),
  route: fc.constantFrom('HTTPRoute' as const, 'HTTPRoute' as const, 'Ingress' as const, 'none' as const),
  autoscaled: fc.boolean(),
  /** How many replicas the load wants for each that was recorded, with all traffic on stable. */
  load: fc.double({ min: 0.3, max: 2, noNaN: true }),
  /** So many times as large a person makes stable in the first stage, where no autoscaler does; also smaller. */
  byHand: fc.constantFrom(1, 1.5, 3, 0.9, 0.5),
  containers: fc.integer({ min: 1, max: 3 }),
  surge: fc
    .record({ maxSurge: fc.integer({ min: 0, max: 3 }), maxUnavailable: fc.integer({ min: 0, max: 2 }) })
    .filter(({ maxSurge, maxUnavailable }) => maxSurge + maxUnavailable > 0),
  ownLabel: fc.boolean(),
  compareWith: fc.constantFrom('baseline' as const, 'stable' as const),
  promote: fc.constantFrom('verified' as const, 'in-place' as const),
  weights: fc.uniqueArray(fc.integer({ min: 1, max: 95 }), { minLength: 1, maxLength: 3 }),
  /** Where the canary is found to be bad; null: nowhere. */
  badIn: fc.constantFrom(null, null, 'stage-1', 'stage-2', 'verify'),
  seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
});
type Topology = (typeof topology extends fc.Arbitrary<infer T> ? T : never) & { readonly name: string };

function targetOf({ name, route }: Topology): KubernetesTarget {
  return {
    platform: 'kubernetes',
    context: null,
    namespace: name,
    deployment: 'web',
    service: 'front',
    route: route === 'none' ? { kind: 'none', maxExcessPoints: 100 } : { kind: route, name: 'edge' },
  };
}

function objectsOf({ replicas, route, autoscaled, containers, surge, ownLabel }: Topology): readonly KubeObject[] {
  const labels = { app: 'web', team: 'a', ...(ownLabel ? { tier: 'api' } : {}) };
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas,
        // A Service may select by another label than the Deployment.
        selector: { matchLabels: ownLabel ? { tier: 'api' } : { app: 'web' } },
        strategy: { type: 'RollingUpdate', rollingUpdate: surge },
        template: {
          metadata: { labels },
          spec: {
            containers: Array.from({ length: containers }, (_, index) => ({ name: `c${index}`, image: 'web:v1' })),
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'front' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    },
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata: { name: 'edge' },
      spec: {
        parentRefs: [{ name: 'gateway' }],
        rules: [{ backendRefs: [{ name: 'front', port: 80, group: '', kind: 'Service', weight: 1 }] }],
      },
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'edge' },
      spec: {
        rules: [{ http: { paths: [{ path: '/', backend: { service: { name: 'front', port: { number: 80 } } } }] } }],
      },
    },
    ...(autoscaled && route !== 'none'
      ? [
          {
            apiVersion: 'autoscaling/v2',
            kind: 'HorizontalPodAutoscaler',
            metadata: { name: 'web' },
            spec: { minReplicas: 1, maxReplicas: 150, scaleTargetRef: { kind: 'Deployment', name: 'web' } },
          },
        ]
      : []),
  ];
}

/** Where the cluster takes images from, in every second one, whatever registry they are asked from. */
const MIRROR = 'mirror.example/';

function mirrors({ seed }: Pick<Topology, 'seed'>): boolean {
  return seed % 2 === 0;
}

function mirrored(object: KubeObject): KubeObject {
  if (object.kind !== 'Deployment') return object;
  const spec = structuredClone(object['spec']) as { template: { spec: { containers: { image: string }[] } } };
  for (const container of spec.template.spec.containers)
    if (!container.image.startsWith(MIRROR)) container.image = `${MIRROR}${container.image}`;
  return { ...object, spec };
}

/** A topology in a cluster of its own, and what was seen to be wrong there. */
class Case {
  readonly violations: string[] = [];
  readonly cluster: MemoryCluster;
  private recorded: number;
  /** How large a person has made stable meanwhile. */
  private wantedSize = 0;
  /** Stable's share as it was at the last check. */
  private share = 100;
  private timer: NodeJS.Timeout | null = null;

  constructor(readonly topology: Topology) {
    const { replicas, load } = topology;
    this.recorded = replicas;
    let state = topology.seed;
    // Park and Miller's minimal standard generator: a seed tells the whole story.
    const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    this.cluster = createMemoryCluster({
      random,
      admit: (object) => (mirrors(topology) ? mirrored(object) : object),
      wanted: () => Math.max(1, Math.ceil((replicas * load * this.weight('stable')) / 100)),
      onChange: (write) => {
        this.check(write);
      },
    });
    this.cluster.apply(objectsOf(topology));
    for (let steps = 0; steps < 100_000 && !this.settled; steps++) this.cluster.tick();
    assert.ok(this.settled, 'the cluster comes to rest');
    this.recorded = this.size('web');
    this.violations.length = 0;
  }

  /** The load has grown, and somebody has seen it. */
  scaleByHand(): void {
    const { replicas, route, autoscaled, byHand } = this.topology;
    const stable = this.cluster.object('deployments', 'web');
    if (autoscaled || route === 'none' || stable === null || this.wantedSize > 0) return;
    this.wantedSize = Math.max(1, byHand < 1 ? Math.floor(replicas * byHand) : Math.ceil(replicas * byHand));
    this.cluster.apply([{ ...stable, spec: { ...(stable['spec'] as object), replicas: this.wantedSize } }]);
  }

  start(): void {
    this.timer = setInterval(() => {
      for (let steps = 0; steps < 20; steps++) this.cluster.tick();
    }, 20);
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  get settled(): boolean {
    return this.cluster.ready('web') === this.size('web') && this.size('web') > 0;
  }

  spec(deployment: string): DeploymentView | null {
    return (this.cluster.object('deployments', deployment)?.['spec'] as DeploymentView | undefined) ?? null;
  }

  size(deployment: string): number {
    return this.spec(deployment)?.replicas ?? 0;
  }

  /** A person's word on stable's size is kept; where that is smaller, the size that was recorded is given back. */
  get leastSize(): number {
    return Math.max(this.wantedSize, this.recorded);
  }

  /** Whether an arm is as large as its share of the traffic asks for, by the size that stable has now. */
  carries(arm: Arm): boolean {
    const needed = Math.ceil((this.size('web') * this.weight(arm)) / 100);
    return this.weight(arm) === 0 || this.size(armName('web', arm)) >= needed;
  }

  /** A person has made stable smaller than it was. */
  private get isShrunk(): boolean {
    return this.wantedSize > 0 && this.wantedSize < this.recorded;
  }

  /** Percent of the traffic, as the route says it. */
  weight(arm: Arm): number {
    const router = routerOf(targetOf(this.topology));
    if (router === null) return ALL_STABLE[arm];
    const holder = this.cluster.object(router.resource, router.holder);
    return (holder === null ? ALL_STABLE : (router.read(holder)?.weights ?? ALL_STABLE))[arm];
  }

  private check(write: { readonly before: KubeObject | null; readonly after: KubeObject | null } | null): void {
    const { topology, recorded, cluster } = this;
    const byReplicas = topology.route === 'none';
    // What the Deployment's own strategy allows, where stable is replaced while it carries traffic.
    const inPlace = byReplicas || topology.promote === 'in-place';
    const slack = inPlace ? topology.surge.maxUnavailable : 0;
    if (byReplicas) {
      const ready = cluster.serving({ app: 'web' });
      if (ready < recorded - slack) this.violations.push(`${ready} pods serve, ${recorded} were recorded`);
    }
    const before = this.share;
    this.share = this.weight('stable');
    if (this.isShrunk && this.share > before) {
      // Those above its size are about to go.
      const ready = Math.min(cluster.ready('web'), this.size('web'));
      if (ready < leastFor(recorded) && !(ready > 0 && before >= 75))
        this.violations.push(`${this.share} % instead of ${before} % go to ${ready} of ${recorded} pods of stable`);
    }
    for (const arm of byReplicas ? [] : ARMS) {
      // What a person has taken away is none of the rollout's doing; it must only not send users there.
      if (arm === 'stable' && this.isShrunk) continue;
      const weight = this.weight(arm);
      const name = armName('web', arm);
      const needed = (recorded * weight) / 100 - (arm === 'stable' ? slack : 0);
      const ready = cluster.ready(name);
      if (arm === 'canary' && weight === 100 && ready < this.wantedSize)
        this.violations.push(`the canary gets all traffic with ${ready} ready pods, stable has ${this.wantedSize}`);
      if (ready < needed)
        this.violations.push(`${arm} gets ${weight} % with ${ready} ready pods: ${needed} of ${recorded} carry that`);
      const shrunk = write?.before?.metadata.name === name && write.before.kind === 'Deployment';
      const smaller = (write?.after?.['spec'] as DeploymentView | undefined)?.replicas ?? 0;
      const larger = (write?.before?.['spec'] as DeploymentView | undefined)?.replicas ?? 0;
      if (shrunk && weight > 0 && smaller < larger)
        this.violations.push(`${arm} gets ${weight} % and is made smaller: ${smaller}`);
    }
    for (const one of ARMS) {
      for (const other of ARMS) {
        const selector = this.spec(armName('web', one))?.selector.matchLabels;
        const labels = this.spec(armName('web', other))?.template.metadata.labels;
        // Without a route the Service must select all; a Deployment tells its pods by their owner then.
        if (one === other || selector === undefined || labels === undefined || (byReplicas && one === 'stable'))
          continue;
        if (Object.entries(selector).every(([key, value]) => labels[key] === value))
          this.violations.push(`the selector of ${one} takes the pods of ${other}`);
      }
    }
    const autoscaler = cluster.object('horizontalpodautoscalers', 'web')?.['spec'] as
      { minReplicas: number } | undefined;
    if (autoscaler !== undefined && this.weight('stable') < 100 && autoscaler.minReplicas < recorded)
      this.violations.push(`the autoscaler may shrink stable to ${autoscaler.minReplicas} of ${recorded}`);
  }
}

const cases = new Map<string, Case>();

async function startEnv(): Promise<FakeEnv> {
  const clientOf = (namespace: string): KubeClient => {
    const found = cases.get(namespace);
    if (found === undefined) throw new Error(`there is no cluster for ${namespace}`);
    return found.cluster.client;
  };
  const kubernetes = createKubernetesPlatform({
    // One client for all: each call says which namespace it means.
    clientFor: () =>
      Promise.resolve({
        where: 'clusters in memory',
        nowMs: () => Date.now(),
        get: (resource, namespace, ...rest) => clientOf(namespace).get(resource, namespace, ...rest),
        peek: (resource, namespace, ...rest) => clientOf(namespace).peek(resource, namespace, ...rest),
        list: (resource, namespace, ...rest) => clientOf(namespace).list(resource, namespace, ...rest),
        create: (resource, namespace, ...rest) => clientOf(namespace).create(resource, namespace, ...rest),
        replace: (resource, namespace, ...rest) => clientOf(namespace).replace(resource, namespace, ...rest),
        annotate: (resource, namespace, ...rest) => clientOf(namespace).annotate(resource, namespace, ...rest),
        rehearse: (resource, namespace, ...rest) => clientOf(namespace).rehearse(resource, namespace, ...rest),
        remove: (resource, namespace, ...rest) => clientOf(namespace).remove(resource, namespace, ...rest),
        mayI: (verb, resource, namespace, signal) => clientOf(namespace).mayI(verb, resource, namespace, signal),
      } satisfies KubeClient),
    places: [],
    warn: () => undefined,
  });
  return startFakeEnv({ platforms: { kubernetes } });
}

async function ship(env: FakeEnv, topology: Topology): Promise<void> {
  const { name, weights, compareWith, promote, badIn, containers, route } = topology;
  const world = env.worlds.add(name);
  const each = new Case(topology);
  world.watch = (call: WatchCall) => {
    each.scaleByHand();
    if (each.size('web') > (call.fitsUpTo ?? Infinity)) return { kind: 'outgrown', stableReplicas: each.size('web') };
    // What has traffic grows with stable, before it is judged.
    if (route !== 'none' && !(['canary', 'baseline'] as const).every((arm) => each.carries(arm))) return 'wait';
    return call.stage === badIn && call.mode !== 'guard'
      ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'worse'), evidence: null }
      : allIsWell(call);
  };
  cases.set(name, each);
  each.start();
  const base = world.policy({ compareWith, promote, strategy: 'canary_25' });
  const stages = weights.toSorted((a, b) => a - b).map((weight) => stage(weight, 0));
  const policy: Policy = {
    ...base,
    target: targetOf(topology),
    stages: { ...base.stages, canary_25: stages },
    waits: { ...base.waits, progressMs: 60_000 },
  };
  const request = testRequest({ policy, tag: 'v2' });
  const images = Object.fromEntries(Array.from({ length: containers }, (_, index) => [`c${index}`, 'web:v2']));
  const view = await env.pilot.ship({ ...request, release: { ...request.release, images } }, 120_000);
  each.stop();

  const what = `${JSON.stringify(topology)}\n${story(view)}`;
  assert.deepEqual([...new Set(each.violations)].slice(0, 5), [], what);
  const inPlace = promote === 'in-place' || topology.route === 'none';
  const found = badIn !== null && !(badIn === 'verify' && inPlace) && !(badIn === 'stage-2' && weights.length < 2);
  assert.equal(view.outcome, found ? 'rolled-back' : 'completed', what);
  const template = each.spec('web')?.template as { spec: { containers: { image: string }[] } } | undefined;
  assert.deepEqual(
    template?.spec.containers.map(({ image }) => image),
    Array.from({ length: containers }, () => `${mirrors(topology) ? MIRROR : ''}web:${found ? 'v1' : 'v2'}`),
    what,
  );
  assert.deepEqual(
    ['web-canary', 'web-baseline'].filter((left) => each.cluster.object('deployments', left) !== null),
    [],
    what,
  );
  for (const arm of ARMS) assert.equal(each.weight(arm), ALL_STABLE[arm], what);
  assert.ok(each.size('web') >= each.leastSize, what);
  const autoscaler = each.cluster.object('horizontalpodautoscalers', 'web')?.['spec'] as
    { minReplicas: number } | undefined;
  if (autoscaler !== undefined) assert.equal(autoscaler.minReplicas, 1, what);
}

/** Ships a release on so many topologies, which the seed tells. */
export function topologyTests(count: number, seed: number): void {
  describe(`${count} topologies`, { concurrency: 4 }, () => {
    let env: FakeEnv;
    before(async () => {
      env = await startEnv();
    });
    after(async () => {
      for (const each of cases.values()) each.stop();
      await env.stop();
    });
    for (const [index, sample] of fc.sample(topology, { numRuns: count, seed }).entries()) {
      const { replicas, route, autoscaled, promote, badIn } = sample;
      const scaled = autoscaled && route !== 'none' ? ', autoscaled' : '';
      const from = mirrors(sample) ? ', mirrored' : '';
      const title = `${index + 1}: ${replicas} replicas by ${route}${scaled}${from}, ${promote}, ${badIn === null ? 'good' : `bad in ${badIn}`}`;
      test(title, () => ship(env, { ...sample, name: `topology-${index + 1}` }));
    }
  });
}
