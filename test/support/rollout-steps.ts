import { idempotencyKey } from '../../domain/fence.js';
import type { Permit } from '../../domain/fence.js';
import type { Arm, ClaimResult, Claimant, Effect, EffectResult, Target } from '../../domain/target.js';
import type { Platform, PlatformScope } from '../../activities/platform.js';
import { until } from './drive.js';

/** What a workflow does of itself: counts steps, keeps its generation, names its intents. */
export interface Rollout<T extends Target> {
  readonly platform: Platform<T>;
  readonly scope: PlatformScope<T>;
  claim(claimant?: Claimant): Promise<ClaimResult>;
  /** A permit of the next step. */
  permit(effect: Effect, onDrift?: Permit['onDrift']): Permit;
  apply(effect: Effect, onDrift?: Permit['onDrift']): Promise<EffectResult>;
  /** Waits until the arm can serve. */
  ready(arm: Arm, replicas: number): Promise<void>;
}

export function rolloutOn<T extends Target>(platform: Platform<T>, scope: PlatformScope<T>): Rollout<T> {
  const { rolloutId } = scope;
  let generation = 0;
  let step = 0;
  let intents = 0;
  function permit(effect: Effect, onDrift: Permit['onDrift'] = 'hold'): Permit {
    step++;
    intents++;
    const key = idempotencyKey({ rolloutId, stage: 'test', operation: effect.op, object: 'x', n: intents });
    return { key, fence: { generation, step }, onDrift };
  }
  return {
    platform,
    scope,
    permit,
    async claim(claimant = 'rollout') {
      const result = await platform.claim({ ...scope, claimant, laneGeneration: generation });
      if (result.kind === 'granted') {
        generation = result.generation;
        step = 0;
      }
      return result;
    },
    apply: (effect, onDrift) => platform.apply(scope, effect, permit(effect, onDrift)),
    async ready(arm, replicas) {
      await until(
        `${arm} is ready`,
        async () => (await platform.readiness(scope, arm, replicas)).kind === 'ready',
        30_000,
      );
    },
  };
}
