/**
 * What somebody else changes in mid-canary: a person with kubectl, a tool that syncs, an autoscaler. The metrics say that
 * all is well whatever happens, so that nothing but a look at the platform tells of it.
 */
import assert from 'node:assert/strict';
import type { Resource } from '../../activities/kubernetes/resources.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import { until } from './drive.js';
import { asBefore } from './kube-faults.js';
import type { KubeFaults, KubeLane } from './kube-faults.js';
import { stage, testRequest } from './request.js';

/** A look each 5 s, another one a second later where it may have been a moment, and the way back; on a busy machine. */
export const SOON_MS = 40_000;

/** A merge patch of an object, or its deletion. */
type Change = (lane: KubeLane, request: RolloutRequest) => readonly [Resource, string, object | null];

interface Meddling {
  readonly change: Change;
  /** What people are told. */
  readonly says: RegExp;
}

export const image = (tag: string): object => ({
  spec: { template: { spec: { containers: [{ name: 'app', image: `registry.example/team/hello:${tag}` }] } } },
});
const replicas = (count: number): object => ({ spec: { replicas: count } });
export const weights = (stable: number, canary: number): { readonly spec: object } => ({
  spec: {
    rules: [
      {
        matches: [{ path: { type: 'PathPrefix', value: '/' } }],
        backendRefs: [
          { name: 'hello', port: 80, weight: stable },
          { name: 'hello-canary', port: 80, weight: canary },
        ],
      },
    ],
  },
});

/** After which users are sent to what can't answer, or to what nobody has approved. */
export const HARMS = {
  'canary-deleted': { change: () => ['deployments', 'hello-canary', null], says: /canary: .*it is gone/ },
  'canary-service': { change: () => ['services', 'hello-canary', null], says: /canary: .*can serve/ },
  'canary-at-zero': { change: () => ['deployments', 'hello-canary', replicas(0)], says: /canary: .*can serve/ },
  'canary-image': { change: () => ['deployments', 'hello-canary', image('hack')], says: /canary: .*hello:hack/ },
  'stable-at-zero': { change: () => ['deployments', 'hello', replicas(0)], says: /stable: .*scaled it to zero/ },
  'own-anchor': {
    change: (lane, { rolloutId }) => ['configmaps', lane.anchor(rolloutId), null],
    says: /anchor is gone/,
  },
} as const satisfies Readonly<Record<string, Meddling>>;

/** After which users are served, though not as Slipway has set it. */
export const DRIFTS = {
  'weights-changed': {
    change: () => ['httproutes', 'hello', weights(50, 50)],
    says: /route was changed .*"canary":50/,
  },
  'weights-reset': { change: () => ['httproutes', 'hello', weights(1, 0)], says: /route was changed .*"canary":0/ },
  'stable-image': {
    change: () => ['deployments', 'hello', image('hotfix')],
    says: /stable was changed .*hello:hotfix/,
  },
  'canary-scaled': { change: () => ['deployments', 'hello-canary', replicas(2)], says: /canary was changed/ },
  'annotations-stripped': {
    change: () => ['httproutes', 'hello', { metadata: { annotations: null } }],
    says: /route was changed .*fence was taken away/,
  },
} as const satisfies Readonly<Record<string, Meddling>>;

/** A rollout whose canary has traffic, and would have it for a long time. */
export async function inCanary(it: KubeFaults, name: string): Promise<{ lane: KubeLane; request: RolloutRequest }> {
  const lane = await it.serve(name);
  const request = await it.pilot.deploy(testRequest({ policy: lane.policy({ stages: [stage(25, 600)] }), tag: 'v2' }));
  await it.pilot.until(request, 'the canary has traffic', (view) => view.weights?.canary === 25);
  return { lane, request };
}

/** Waits until it is held over a drift. */
export async function held(it: KubeFaults, request: RolloutRequest): Promise<RolloutView> {
  return it.pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift', SOON_MS);
}

/** Resumes what is held, skips the rest of its stage, and waits for the end. */
export async function goOn({ pilot }: KubeFaults, request: RolloutRequest): Promise<RolloutView> {
  assert.equal((await pilot.decide(request, 'resume')).kind, 'accepted');
  await pilot.until(request, 'it goes on', ({ wait }) => wait === null);
  assert.equal((await pilot.decide(request, 'promote')).kind, 'accepted');
  return pilot.ended(request);
}

/** Users are sent to stable by the next look, and the rollout goes back. */
export async function harmed(it: KubeFaults, name: keyof typeof HARMS): Promise<void> {
  const { change, says }: Meddling = HARMS[name];
  const { lane, request } = await inCanary(it, name);
  await lane.meddle(...change(lane, request));
  await until('users are sent to stable', async () => (await lane.weights())?.stable === 100, SOON_MS);
  const view = await it.pilot.ended(request);
  assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'disturbed'], JSON.stringify(view.reason));
  assert.match(view.reason?.text ?? '', says);
  await asBefore(lane, 'v1');
}

/** The rollout is held with nothing written over; resumed it writes over it, says so, and goes on. */
export async function drifted(it: KubeFaults, name: keyof typeof DRIFTS): Promise<void> {
  const { change, says }: Meddling = DRIFTS[name];
  const { lane, request } = await inCanary(it, name);
  const [resource, object, patch] = change(lane, request);
  const version = async () => (await lane.object(resource, object))?.metadata.generation;
  await lane.meddle(resource, object, patch);
  const changed = await version();
  assert.match((await held(it, request)).wait?.reason ?? '', says);
  assert.equal(await version(), changed, 'it was written over');
  const view = await goOn(it, request);
  assert.equal(view.outcome, 'completed', JSON.stringify(view.reason));
  // Annotations are no value: there is nothing to tell of.
  if (name !== 'annotations-stripped')
    assert.ok(view.warnings.join('\n').includes('wrote over'), view.warnings.join('\n'));
  await asBefore(lane, 'v2');
}
