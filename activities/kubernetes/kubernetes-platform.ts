import { setTimeout as pause } from 'node:timers/promises';
import type {
  Arm,
  ArmReadiness,
  Disturbance,
  Effect,
  EffectResult,
  KubernetesTarget,
  LaneAnchor,
  PreflightFinding,
} from '../../domain/target.js';
import { changeText, CONFIGURATION } from '../../domain/target.js';
import { Refused, Unavailable } from '../failures.js';
import { changedConfiguration } from '../fenced/configuration.js';
import { disturbancesOf } from '../fenced/disturbances.js';
import { applyEffect } from '../fenced/effects.js';
import { refuse } from '../fenced/findings.js';
import { claimLane } from '../fenced/lane-anchor.js';
import { laneAnchorOf, LaneSpec, readAnchor, readLane } from '../fenced/lane-view.js';
import type { LaneView } from '../fenced/lane-view.js';
import { readinessOf, snapshotOf } from '../fenced/snapshot.js';
import { sweepAnchors } from '../platform.js';
import type { Platform, PlatformScope } from '../platform.js';
import { ARM_LABEL, armStatusOf, deploymentOf, LANE_LABELS, serviceOf, surgeOf } from './arms.js';
import type { KubeTypes, Sibling } from './arms.js';
import { differingImages, progressMsOf, readyEndpoints, waitingPods } from './health.js';
import type { KubeClient, KubeObject } from './kube-client.js';
import { ANCHOR_LABEL, anchorSpecOf, createKubeStore } from './kube-store.js';
import type { KubeStore } from './kube-store.js';
import { createPace } from './pace.js';
import type { PaceOptions, Urgency } from './pace.js';
import { findKubeProblems, missingRights } from './preflight.js';
import { tell } from './tell.js';
import { routerOf } from './traffic/router.js';
import { accepted, drained, introduced } from './traffic/route-waits.js';
import { ARMS } from './traffic/shares.js';

/** A namespace of a cluster. */
export interface KubePlace {
  readonly context: string | null;
  readonly namespace: string;
}

export interface KubernetesPlatformOptions {
  /** A client for one piece of work at the cluster of a context, which is connected when first needed. */
  readonly clientFor: (context: string | null, urgency: Urgency) => Promise<KubeClient>;
  /** Where this worker looks for anchors, for `anchors`. */
  readonly places: readonly KubePlace[];
  /** Where it is said that a step could not be told on the Deployment. */
  readonly warn: (text: string) => void;
}

/** How long a controller is given to see what has just been written; most take milliseconds. */
const UNSEEN_MS = 1500;
const UNSEEN_POLL_MS = 100;
/** Limit for telling what was done. */
const TELL_MS = 2000;

/**
 * Of seven calls each. Looks of many rollouts must leave calls for what matters more: where they are too many for this,
 * each comes later.
 */
const INSPECTIONS: PaceOptions = { perSecond: 8, burst: 16, atOnce: 16 };
/** For so long after a cut nothing is inspected: where many canaries fail at once, that would take from what they need. */
const CUT_FIRST_MS = 2000;
/** How often the configuration of a rollout that is watched is looked at; before each step forward it is too. */
const CONFIGURATION_MS = 15_000;

type Scope = PlatformScope<KubernetesTarget>;

/** The platform `kubernetes`: plain Deployments, and what splits their traffic. */
export function createKubernetesPlatform({
  clientFor,
  places,
  warn,
}: KubernetesPlatformOptions): Platform<KubernetesTarget> {
  const inspection = createPace(INSPECTIONS).work('usual');
  let cutMs = -Infinity;
  /** When the configuration of each rollout was last seen to be what was recorded. */
  const unchangedMs = new Map<string, number>();

  /** What is inspected every few seconds costs calls enough without what hardly ever changes. */
  async function reconfigured(
    store: KubeStore,
    view: LaneView<KubeTypes>,
    { rolloutId }: Scope,
    signal: AbortSignal | undefined,
  ): Promise<readonly Disturbance[]> {
    const nowMs = performance.now();
    for (const [id, atMs] of unchangedMs) if (nowMs > atMs + CONFIGURATION_MS) unchangedMs.delete(id);
    if (unchangedMs.has(rolloutId)) return [];
    const changed = await changedConfiguration(store, view, signal);
    if (changed === null) {
      unchangedMs.set(rolloutId, nowMs);
      return [];
    }
    return [{ kind: 'drift', object: CONFIGURATION, text: changeText(CONFIGURATION, changed), passing: changed.gone }];
  }

  async function open(
    { lane, target, rolloutId }: Scope,
    urgency: Urgency = 'usual',
  ): Promise<{ client: KubeClient; store: KubeStore }> {
    const client = await clientFor(target.context, urgency);
    return { client, store: createKubeStore(client, lane, target, rolloutId) };
  }

  return {
    async describe(scope, signal) {
      try {
        // A rollback asks this before it moves the traffic.
        const { store } = await open(scope, 'rollback');
        let view = await readLane(store, scope.rolloutId, signal);
        // A fence is a change of the Deployment: what can serve is known again when the controller has seen it.
        for (const until = Date.now() + UNSEEN_MS; view.arms.stable?.status.unseen === true && Date.now() < until;) {
          await pause(UNSEEN_POLL_MS, undefined, signal ? { signal } : {});
          view = await readLane(store, scope.rolloutId, signal);
        }
        const stable = store.seen?.stable ?? null;
        const own = stable === null ? { surge: 0 } : { surge: surgeOf(stable), progressMs: progressMsOf(stable) };
        return { ...snapshotOf(store, scope, view, null), ...own };
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        // Nothing comes after this: who asked must learn here what preflight would have said.
        const findings = await explainedRefusal(() => clientFor(scope.target.context, 'usual'), scope, error, signal);
        throw new Refused(findings.map(({ problem, remedy }) => `${problem}: ${remedy}`).join('; '));
      }
    },

    async preflight(scope, needs, signal) {
      try {
        return await findKubeProblems(await clientFor(scope.target.context, 'usual'), scope, needs, signal);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return [refusedTarget(error)];
      }
    },

    async claim(request, signal) {
      const { store } = await open(request);
      return claimLane(store, request, signal);
    },

    async apply(scope, effect, permit, signal): Promise<EffectResult> {
      try {
        if (effect.op === 'cut-traffic') cutMs = performance.now();
        const { client, store } = await open(scope, urgencyOf(effect));
        if (takesPodsAway(effect)) await drained(client, scope.target, signal);
        if (effect.op === 'set-weights') {
          const first = await introduced(client, scope.target, effect.weights, permit, signal);
          // They were ready before that.
          if (first.length > 0) await stillServing(client, scope.target, first, signal);
        }
        const result = await applyEffect({ store, scope, permit, signal }, effect);
        if (result.kind !== 'applied' && result.kind !== 'already') return result;
        // Also where an earlier attempt has written them: what counts is that the gateways have taken them.
        if (effect.op === 'set-weights') {
          const unheard = await accepted(client, scope.target, permit.onDrift === 'overwrite', signal);
          if (unheard !== null) warn(`step ${permit.key} went on: ${unheard}`);
        }
        const limit = AbortSignal.timeout(TELL_MS);
        await tell(client, scope, effect, permit, signal ? AbortSignal.any([signal, limit]) : limit).catch(
          (error: unknown) => {
            warn(`step ${permit.key} could not be told on its Deployment: ${String(error)}`);
          },
        );
        return result;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return {
          kind: 'refused',
          object: `${scope.target.namespace}/${scope.target.deployment}`,
          reason: error.message,
        };
      }
    },

    async readiness(scope, arm, replicas, signal): Promise<ArmReadiness> {
      const { target } = scope;
      const client = await clientFor(target.context, 'usual');
      // Only this one object, not the lane: it is asked for again and again.
      const live = await client.get('deployments', target.namespace, deploymentOf(target, arm), signal);
      const now = readinessOf(arm, live && armStatusOf(live), replicas);
      return explained(client, scope, arm, replicas, now, signal);
    },

    inspect: (scope, signal) =>
      inspection(async () => {
        if (performance.now() < cutMs + CUT_FIRST_MS) return { disturbances: [], stableReplicas: null };
        const { client, store } = await open(scope);
        const [view, serving] = await Promise.all([
          readLane(store, scope.rolloutId, signal),
          // One Service for all arms tells nothing of one of them: there each Deployment speaks for itself.
          store.split === 'weights' ? endpointsOf(client, scope.target, signal) : null,
        ]);
        const missing = missingOf(store, scope.target);
        // Without these two nothing can be said of siblings, and traffic that came back would find nobody.
        const disturbances =
          missing.length > 0
            ? missing
            : disturbancesOf(store, view, (arm) =>
                serving === null ? (view.arms[arm]?.status.ready ?? 0) : serving[arm],
              );
        const stableReplicas = view.arms.stable?.spec.replicas ?? null;
        // Harm must not wait for what is asked besides.
        if (disturbances.length > 0) return { disturbances, stableReplicas };
        return { disturbances: await reconfigured(store, view, scope, signal), stableReplicas };
      }, signal),

    anchors: (signal) =>
      sweepAnchors(places, async ({ context, namespace }) =>
        anchorsOf(await clientFor(context, 'usual'), namespace, signal),
      ),
  };
}

/** What stands behind a read that was refused: the rights that are missing, else what was said. */
async function explainedRefusal(
  connect: () => Promise<KubeClient>,
  { target }: Scope,
  error: Refused,
  signal: AbortSignal | undefined,
): Promise<readonly PreflightFinding[]> {
  try {
    const missing = await missingRights(await connect(), target, signal);
    if (missing.length > 0) return missing;
  } catch {
    // Where that can't be told either, there is no more to be said.
  }
  return [refusedTarget(error)];
}

function refusedTarget({ message }: Refused): PreflightFinding {
  return refuse(message, 'put the target right in slipway.yaml');
}

/** Pods that may have lost their traffic just now. Who restores stable takes none away that served what was recorded. */
function takesPodsAway(effect: Effect): boolean {
  return effect.op === 'remove-arm' || (effect.op === 'set-stable-template' && effect.template.from === 'release');
}

/** What takes users away from a bad canary: no other rollout's work may keep it waiting. */
function urgencyOf(effect: Effect): Urgency {
  if (effect.op === 'cut-traffic') return 'cut';
  return effect.op === 'raise-fence' || (effect.op === 'set-weights' && effect.weights.stable === 100)
    ? 'rollback'
    : 'usual';
}

/** What of stable is gone: a person must put it back, for no rollback can. */
function missingOf({ seen }: KubeStore, { namespace, deployment, service }: KubernetesTarget): readonly Disturbance[] {
  const gone = [
    ...(seen?.stable === null ? [`Deployment ${namespace}/${deployment}`] : []),
    ...(seen?.service === null ? [`Service ${namespace}/${service}`] : []),
  ];
  return gone.map((name) => ({ kind: 'drift', object: 'stable', text: `${name} is gone`, passing: false }));
}

const SERVICE_LABEL = 'kubernetes.io/service-name';

/** How many endpoints of each arm get the traffic that is sent to it. */
async function endpointsOf(
  client: KubeClient,
  target: KubernetesTarget,
  signal: AbortSignal | undefined,
): Promise<Readonly<Record<Arm, number>>> {
  const names = ARMS.map((arm) => serviceOf(target, arm)).join(',');
  const slices = await client.list('endpointslices', target.namespace, `${SERVICE_LABEL} in (${names})`, signal);
  const ready = (arm: Arm): number =>
    readyEndpoints(slices.filter(({ metadata }) => metadata.labels?.[SERVICE_LABEL] === serviceOf(target, arm)));
  return { stable: ready('stable'), canary: ready('canary'), baseline: ready('baseline') };
}

/** @throws Unavailable where nobody would answer what is sent to an arm */
async function stillServing(
  client: KubeClient,
  target: KubernetesTarget,
  arms: readonly Arm[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const serving = await endpointsOf(client, target, signal);
  const none = arms.filter((arm) => serving[arm] === 0);
  if (none.length > 0) throw new Unavailable(`${none.join(' and ')}: none of its replicas can serve any more`);
}

/** What Deployments can't tell: whether the Service sends traffic there, and what keeps a pod from being ready. */
async function explained(
  client: KubeClient,
  { lane, target }: Scope,
  arm: Arm,
  replicas: number,
  now: ArmReadiness,
  signal: AbortSignal | undefined,
): Promise<ArmReadiness> {
  const { namespace } = target;
  if (now.kind === 'ready') {
    // Only siblings are new here: of stable it is known, and a rollback to it must not be kept up.
    const differing = arm === 'stable' ? null : differingImages(await siblingPods(client, target, arm, signal));
    if (differing !== null) return { kind: 'failed', message: differing };
    // One Service for all arms: its endpoints tell nothing of one of them.
    if (routerOf(target) === null) return now;
    const name = serviceOf(target, arm);
    const slices = await client.list('endpointslices', namespace, `${SERVICE_LABEL}=${name}`, signal);
    const ready = readyEndpoints(slices);
    if (ready >= replicas) return now;
    return {
      kind: 'waiting',
      ready,
      wanted: replicas,
      message: `Service ${name} has ${ready} endpoints that are ready`,
    };
  }
  if (arm === 'stable') return now;
  const why = waitingPods(await siblingPods(client, target, arm, signal));
  if (why === null) return now;
  const message = now.message === null ? why : `${now.message}: ${why}`;
  return { ...now, message: `${message} (${lane.service})` };
}

async function siblingPods(
  client: KubeClient,
  target: KubernetesTarget,
  arm: Sibling,
  signal: AbortSignal | undefined,
): Promise<readonly KubeObject[]> {
  const pods = await client.list('pods', target.namespace, `${ARM_LABEL}=${arm}`, signal);
  return pods.filter(({ metadata }) => metadata.name.startsWith(`${target.deployment}-${arm}-`));
}

/** Anchors of lanes that somebody holds: those are `reconcile`'s business. */
async function anchorsOf(
  client: KubeClient,
  namespace: string,
  signal: AbortSignal | undefined,
): Promise<readonly LaneAnchor[]> {
  const found = await client.list('configmaps', namespace, `${ANCHOR_LABEL}=lane`, signal);
  return found.flatMap((live) => {
    const { name, labels = {} } = live.metadata;
    const environment = labels[LANE_LABELS.environment];
    const service = labels[LANE_LABELS.service];
    if (environment === undefined || service === undefined) return [];
    const spec = readAnchor(`${client.where}, namespace ${namespace}`, LaneSpec, { name, spec: anchorSpecOf(live) });
    return spec.current === null ? [] : [laneAnchorOf({ environment, service }, spec)];
  });
}
