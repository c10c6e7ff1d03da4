/** What `kubectl describe deployment` tells of a rollout: an Event for each step, and where it stands as an annotation. */
import { canonicalJson, digestOf } from '../../domain/canonical.js';
import { formatFence, parseFence, compareFences } from '../../domain/fence.js';
import type { Permit } from '../../domain/fence.js';
import { releaseName } from '../../domain/release.js';
import type { Effect, KubernetesTarget } from '../../domain/target.js';
import { percentText } from '../../domain/words.js';
import type { PlatformScope } from '../platform.js';
import type { KubeClient, KubeObject } from './kube-client.js';

/** Where a rollout stands, in the form of a condition: {@link StatusAnnotation} as JSON. */
export const STATUS_ANNOTATION = 'slipway.dev/status';

/** The value of {@link STATUS_ANNOTATION}. */
export interface StatusAnnotation {
  readonly type: 'Progressing';
  /** `False`: the rollout has ended. */
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
  readonly rollout: string;
  /** The step's fence: a late step never writes over what a newer one has said. */
  readonly fence: string;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

interface Step {
  /** One word, as Kubernetes wants it. */
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
  readonly over: boolean;
}

/** What an effect means for whoever looks at the Deployment. Null: nothing that it should know of. */
export function stepOf(effect: Effect): Step | null {
  const step = (reason: string, message: string): Step => ({ reason, message, type: 'Normal', over: false });
  switch (effect.op) {
    case 'open-rollout':
      return step('RolloutStarted', 'recorded what serves now');
    case 'start-arm': {
      const what = effect.template.from === 'release' ? releaseName(effect.template.release.images) : 'what serves now';
      const name = effect.arm === 'canary' ? 'CanaryStarted' : 'BaselineStarted';
      return step(name, `${effect.arm}: ${effect.replicas} replicas of ${what}`);
    }
    case 'set-weights': {
      const { stable, canary, baseline } = effect.weights;
      const shares = `stable ${percentText(stable)}, canary ${percentText(canary)}, baseline ${percentText(baseline)}`;
      return step('TrafficShifted', `traffic: ${shares}`);
    }
    case 'set-stable-template':
      return effect.template.from === 'release'
        ? step('StableUpdated', `stable runs ${releaseName(effect.template.release.images)}`)
        : step('StableRestored', 'stable runs what it ran before');
    case 'remove-arm':
      return step(effect.arm === 'canary' ? 'CanaryRemoved' : 'BaselineRemoved', `removed ${effect.arm}`);
    case 'close-rollout':
      return {
        reason: 'RolloutEnded',
        message: `rollout ${effect.outcome}`,
        type: effect.outcome === 'completed' ? 'Normal' : 'Warning',
        over: true,
      };
    case 'raise-fence':
    case 'record-configuration':
    // The weights that the rollback then sets tell the same, once gateways have taken them.
    case 'cut-traffic':
    case 'remove-stable':
      return null;
  }
}

const MAX_TRIES = 3;

/**
 * Says on stable's Deployment what has been done. Told once for each key: the Event's name is made of it. Whoever calls
 * this must not fail where it fails: it changes nothing that a rollout depends on.
 */
export async function tell(
  client: KubeClient,
  { target, rolloutId }: PlatformScope<KubernetesTarget>,
  effect: Effect,
  { key, fence }: Permit,
  signal: AbortSignal | undefined,
): Promise<void> {
  const step = stepOf(effect);
  if (step === null) return;
  const { namespace, deployment } = target;
  const now = new Date().toISOString();
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const live = await client.get('deployments', namespace, deployment, signal);
    if (live === null) return;
    if (tries === 0) {
      const told = await client.create('events', namespace, eventOf(live, step, rolloutId, key, now), signal);
      if (told.kind === 'refused') throw new Error(told.reason);
    }
    const status: StatusAnnotation = {
      type: 'Progressing',
      status: step.over ? 'False' : 'True',
      reason: step.reason,
      message: step.message,
      rollout: rolloutId,
      fence: formatFence(fence),
      lastTransitionTime: now,
    };
    const said = parseFence(/"fence":"([^"]*)"/.exec(live.metadata.annotations?.[STATUS_ANNOTATION] ?? '')?.[1]);
    if (said !== null && compareFences(said, fence) >= 0) return;
    const annotations = { ...live.metadata.annotations, [STATUS_ANNOTATION]: canonicalJson(status) };
    const metadata = { ...live.metadata, annotations };
    const outcome = await client.annotate('deployments', namespace, { ...live, metadata }, signal);
    if (outcome.kind === 'refused') throw new Error(outcome.reason);
    if (outcome.kind === 'written') return;
  }
}

/** @see https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ */
function eventOf(regarding: KubeObject, step: Step, rolloutId: string, key: string, now: string): KubeObject {
  const { name, namespace, uid, resourceVersion } = regarding.metadata;
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `${name}.${digestOf(key).slice('sha256:'.length, 'sha256:'.length + 16)}`, namespace },
    // With six digits behind the point, and no others.
    eventTime: now.replace('Z', '000Z'),
    reportingController: 'slipway.dev/worker',
    reportingInstance: rolloutId,
    action: step.reason,
    reason: step.reason,
    type: step.type,
    note: `${step.message} (rollout ${rolloutId})`,
    regarding: { apiVersion: 'apps/v1', kind: 'Deployment', name, namespace, uid, resourceVersion },
  };
}
