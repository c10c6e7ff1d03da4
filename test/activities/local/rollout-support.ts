import { createLocalPlatform } from '../../../activities/local/local-platform.js';
import { digestOf } from '../../../domain/canonical.js';
import { rolloutOn } from '../../support/rollout-steps.js';
import type { Rollout } from '../../support/rollout-steps.js';
import type { PlatformScope } from '../../../activities/platform.js';
import type { HashedRelease } from '../../../domain/release.js';
import type { EffectResult, LocalTarget } from '../../../domain/target.js';
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

export function rolloutFor(
  gateway: Pick<Gateway, 'adminUrl'>,
  rolloutId: string,
  service = 'hello',
): Rollout<LocalTarget> {
  const platform = createLocalPlatform({ gateways: [gateway.adminUrl] });
  return rolloutOn(platform, scopeFor(gateway, rolloutId, service));
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
