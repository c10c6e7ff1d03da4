import { createLocalPlatform } from '../../../activities/local/local-platform.js';
import { idempotencyKey } from '../../../domain/fence.js';
import { digestOf } from '../../../domain/canonical.js';
import { eventually } from '../../gateway/gateway-support.js';
import type { Platform, PlatformScope } from '../../../activities/platform.js';
import type { Permit } from '../../../domain/fence.js';
import type { HashedRelease } from '../../../domain/release.js';
import type { Arm, Claimant, Effect, EffectResult, LocalTarget } from '../../../domain/target.js';
import type { Gateway } from '../../../gateway/gateway.js';

export function releaseOf(tag: string, env: Readonly<Record<string, string>> = {}): HashedRelease {
  const images = { app: `registry.example/team/hello:${tag}` };
  return { digest: digestOf({ images, env }), images, env };
}

export function fromRelease(tag: string, env: Readonly<Record<string, string>> = {}) {
  return { from: 'release', release: releaseOf(tag, env) } as const;
}

export function scopeFor(
  gateway: Pick<Gateway, 'adminUrl'>,
  rolloutId: string,
  service = 'hello',
): PlatformScope<LocalTarget> {
  const command = ['node', 'test/gateway/fixture-service.mjs'];
  const run = { command, cwd: null, env: { GREETING: 'hi' }, healthPath: '/healthz', replicas: 1 };
  return {
    lane: { environment: 'prod', service },
    rolloutId,
    target: { platform: 'local', gateway: gateway.adminUrl, run },
  };
}

/** What a workflow does of itself: counts steps, keeps its generation, names its intents. */
export interface Rollout {
  readonly platform: Platform<LocalTarget>;
  readonly scope: PlatformScope<LocalTarget>;
  claim(claimant?: Claimant): ReturnType<Platform['claim']>;
  /** A permit of the next step. */
  permit(effect: Effect, onDrift?: Permit['onDrift']): Permit;
  apply(effect: Effect, onDrift?: Permit['onDrift']): Promise<EffectResult>;
  ready(arm: Arm, replicas: number): Promise<void>;
}

export function rolloutFor(gateway: Pick<Gateway, 'adminUrl'>, rolloutId: string, service = 'hello'): Rollout {
  const platform = createLocalPlatform({ gateways: [gateway.adminUrl] });
  const scope = scopeFor(gateway, rolloutId, service);
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
      await eventually(async () => ((await platform.readiness(scope, arm, replicas)).kind === 'ready' ? true : null));
    },
  };
}

export const APPLIED: EffectResult = { kind: 'applied', drift: [] };
export const ALREADY: EffectResult = { kind: 'already' };

/** Ships a first version as a rollout would, so that there is something to roll back to. */
export async function ship(gateway: Pick<Gateway, 'adminUrl'>, rolloutId: string, tag: string): Promise<void> {
  const rollout = rolloutFor(gateway, rolloutId);
  await rollout.claim();
  await rollout.apply({ op: 'open-rollout' });
  await rollout.apply({ op: 'set-stable-template', template: fromRelease(tag), replicas: 1 });
  await rollout.ready('stable', 1);
  await rollout.apply({ op: 'set-weights', weights: { stable: 100, canary: 0, baseline: 0 } });
  await rollout.apply({ op: 'close-rollout', outcome: 'completed' });
}
