import { disturbancesOf } from '../fenced/disturbances.js';
import { applyEffect } from '../fenced/effects.js';
import { claimLane } from '../fenced/lane-anchor.js';
import { LANE, laneAnchorOf, LaneSpec, readAnchor, readLane } from '../fenced/lane-view.js';
import { readinessOf, snapshotOf } from '../fenced/snapshot.js';
import { PlatformRefused } from './errors.js';
import { createGatewayClient } from './gateway-client.js';
import { createGatewayStore } from './gateway-store.js';
import { findProblems } from './preflight.js';
import type { EffectResult, LaneAnchor, LocalTarget, PreflightFinding } from '../../domain/target.js';
import type { LaneStore } from '../fenced/store.js';
import type { Platform, PlatformScope } from '../platform.js';
import { sweepAnchors } from '../platform.js';
import type { GatewayClient } from './gateway-client.js';
import type { GatewayTypes } from './gateway-store.js';

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
export function createLocalPlatform(options: LocalPlatformOptions): Platform<LocalTarget> {
  const { gateways, timeoutMs = 4000 } = options;
  const clientFor = (baseUrl: string): GatewayClient =>
    createGatewayClient({ baseUrl, fetch: options.fetch ?? fetch, timeoutMs });
  const storeFor = ({ lane, target }: Pick<PlatformScope<LocalTarget>, 'lane' | 'target'>): LaneStore<GatewayTypes> =>
    createGatewayStore(clientFor(target.gateway), lane, target);

  return {
    async describe(scope, signal) {
      const store = storeFor(scope);
      const [view, { maxReplicas, used }] = await Promise.all([
        readLane(store, scope.rolloutId, signal),
        clientFor(scope.target.gateway).capacity(signal),
      ]);
      // The gateway starts as many new ones as there is room for, and replaces one by one where there is little.
      return { ...snapshotOf(store, scope, view, Math.max(0, maxReplicas - used)), surge: 1 };
    },

    async preflight(scope, needs, signal): Promise<readonly PreflightFinding[]> {
      try {
        const store = storeFor(scope);
        const [view, capacity] = await Promise.all([
          readLane(store, scope.rolloutId, signal),
          clientFor(scope.target.gateway).capacity(signal),
        ]);
        return findProblems(scope, { store, view, capacity, needs });
      } catch (error) {
        if (!(error instanceof PlatformRefused)) throw error;
        return [{ severity: 'refuse', problem: error.message, remedy: 'put the target right in slipway.yaml' }];
      }
    },

    claim: (request, signal) => claimLane(storeFor(request), request, signal),

    async apply(scope, effect, permit, signal): Promise<EffectResult> {
      try {
        return await applyEffect({ store: storeFor(scope), scope, permit, signal }, effect);
      } catch (error) {
        if (!(error instanceof PlatformRefused)) throw error;
        return { kind: 'refused', object: `${scope.lane.environment}/${scope.lane.service}`, reason: error.message };
      }
    },

    async readiness(scope, arm, replicas, signal) {
      const { arms } = await readLane(storeFor(scope), scope.rolloutId, signal);
      return readinessOf(arm, arms[arm]?.status ?? null, replicas);
    },

    async inspect(scope, signal) {
      const store = storeFor(scope);
      const view = await readLane(store, scope.rolloutId, signal);
      const disturbances = disturbancesOf(store, view, (arm) => view.arms[arm]?.status.ready ?? 0);
      return { disturbances, stableReplicas: view.arms.stable?.spec.replicas ?? null };
    },

    anchors: (signal) => sweepAnchors(gateways, (gateway) => anchorsOf(clientFor(gateway), signal)),
  };
}

/** Anchors of lanes that somebody holds: those are `reconcile`'s business. */
async function anchorsOf(client: GatewayClient, signal: AbortSignal | undefined): Promise<readonly LaneAnchor[]> {
  const objects = await client.list({ kind: 'anchor' }, signal);
  return objects
    .filter((object) => object.kind === 'anchor' && object.name === LANE)
    .map((object) => ({ object, spec: readAnchor(placeOf(client, object), LaneSpec, object) }))
    .filter(({ spec }) => spec.current !== null)
    .map(({ object: { environment, service }, spec }) => laneAnchorOf({ environment, service }, spec));
}

function placeOf(
  { baseUrl }: GatewayClient,
  { environment, service }: { environment: string; service: string },
): string {
  return `local gateway at ${baseUrl}, ${environment}/${service}`;
}
