import { PlatformRefused } from './errors.js';
import { applyEffect } from './effects.js';
import { createGatewayClient } from './gateway-client.js';
import { claimLane } from './lane-anchor.js';
import { armStateOf, held, LANE, laneAnchorOf, LaneSpec, readLane, recordedStableOf } from './lane-view.js';
import { findProblems } from './preflight.js';
import type { Arm, ArmReadiness, ArmState, EffectResult, LaneAnchor, PreflightFinding } from '../../domain/target.js';
import type { Platform } from '../platform.js';
import type { GatewayClient } from './gateway-client.js';
import type { LaneView } from './lane-view.js';

export interface LocalPlatformOptions {
  /** Base URLs of the gateways that this worker looks after, for `anchors`. */
  readonly gateways: readonly string[];
  readonly fetch?: typeof fetch;
  /** Time limit of each HTTP call. @default 4000 */
  readonly timeoutMs?: number;
}

/**
 * The platform `local`: processes behind the weighted gateway.
 *
 * It throws PlatformUnavailable, which a retry may cure, and, from reads only, PlatformRefused, which none will.
 */
export function createLocalPlatform(options: LocalPlatformOptions): Platform {
  const { gateways, timeoutMs = 4000 } = options;
  const clientFor = (baseUrl: string): GatewayClient =>
    createGatewayClient({ baseUrl, fetch: options.fetch ?? fetch, timeoutMs });

  return {
    async describe(scope, signal) {
      const client = clientFor(scope.target.gateway);
      const [view, { maxReplicas, used }] = await Promise.all([
        readLane(client, scope, signal),
        client.capacity(signal),
      ]);
      return {
        arms: armStatesOf(view),
        weights: view.route?.spec.weights ?? null,
        freeReplicas: Math.max(0, maxReplicas - used),
        anchor: view.lane && laneAnchorOf(scope.lane, view.lane.spec),
        recorded: view.rollout && recordedStableOf(view.rollout.spec),
      };
    },

    async preflight(scope, needs, signal): Promise<readonly PreflightFinding[]> {
      const client = clientFor(scope.target.gateway);
      try {
        const [view, capacity] = await Promise.all([readLane(client, scope, signal), client.capacity(signal)]);
        return findProblems(scope, { view, capacity, needs });
      } catch (error) {
        if (!(error instanceof PlatformRefused)) throw error;
        return [{ severity: 'refuse', problem: error.message, remedy: 'put the target right in slipway.yaml' }];
      }
    },

    claim: (request, signal) => claimLane(clientFor(request.target.gateway), request, signal),

    async apply(scope, effect, permit, signal): Promise<EffectResult> {
      const client = clientFor(scope.target.gateway);
      try {
        return await applyEffect({ client, scope, permit, signal }, effect);
      } catch (error) {
        if (!(error instanceof PlatformRefused)) throw error;
        return { kind: 'refused', object: `${scope.lane.environment}/${scope.lane.service}`, reason: error.message };
      }
    },

    async readiness(scope, arm, replicas, signal) {
      const view = await readLane(clientFor(scope.target.gateway), scope, signal);
      return readinessOf(view, arm, replicas);
    },

    async anchors(signal) {
      const lists = await Promise.all(gateways.map((gateway) => anchorsOf(clientFor(gateway), signal)));
      return lists.flat();
    },
  };
}

function armStatesOf({ arms }: LaneView): Partial<Record<Arm, ArmState>> {
  const { stable, canary, baseline } = arms;
  return {
    ...(stable && { stable: armStateOf(stable) }),
    ...(canary && { canary: armStateOf(canary) }),
    ...(baseline && { baseline: armStateOf(baseline) }),
  };
}

function readinessOf(view: LaneView, arm: Arm, replicas: number): ArmReadiness {
  const object = view.arms[arm];
  if (object === undefined) return { kind: 'failed', message: `there is no arm ${arm}` };
  const { ready, failed, message } = object.status;
  if (ready >= replicas) return { kind: 'ready', replicas: ready };
  return failed
    ? { kind: 'failed', message: message ?? `${arm} did not come up` }
    : { kind: 'waiting', ready, wanted: replicas, message };
}

/** Anchors of lanes that somebody holds: those are `reconcile`'s business. */
async function anchorsOf(client: GatewayClient, signal: AbortSignal | undefined): Promise<readonly LaneAnchor[]> {
  const objects = await client.list({ kind: 'anchor' }, signal);
  return objects
    .filter((object) => object.kind === 'anchor')
    .filter((object) => object.name === LANE)
    .map((object) => ({ object, spec: held(client, LaneSpec, object).spec }))
    .filter(({ spec }) => spec.current !== null)
    .map(({ object: { environment, service }, spec }) => laneAnchorOf({ environment, service }, spec));
}
