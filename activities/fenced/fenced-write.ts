import { setTimeout as pause } from 'node:timers/promises';
import { compareFences, decideWrite, formatFence } from '../../domain/fence.js';
import { Unavailable } from '../failures.js';
import { ANNOTATION, fenceOf } from './lane-view.js';
import type { LaneView } from './lane-view.js';
import type { Permit, WriteDecision } from '../../domain/fence.js';
import type { EffectResult } from '../../domain/target.js';
import type {
  LaneStore,
  ObjectName,
  ObjectWrite,
  PlatformTypes,
  StoredObject,
  WriteCredit,
  WriteOutcome,
} from './store.js';

/** Null: somebody else was faster, read and decide again. */
export type Attempt<T> = T | null;

const MAX_ATTEMPTS = 20;
const PAUSE_MAX_MS = 25;

/**
 * Reads, decides and writes until no one comes in between.
 *
 * @throws Unavailable after twenty conflicts in a row: the caller's retry is then better spaced than ours.
 */
export async function untilSettled<T extends object>(
  where: string,
  signal: AbortSignal | undefined,
  attempt: () => Promise<Attempt<T>>,
): Promise<T> {
  for (let tries = 0; tries < MAX_ATTEMPTS; tries++) {
    const result = await attempt();
    if (result !== null) return result;
    await pause(Math.random() * PAUSE_MAX_MS, undefined, signal ? { signal } : {});
  }
  throw new Unavailable(`${where}: other writers were faster ${MAX_ATTEMPTS} times in a row`);
}

/** `wanted` null: the object shall be gone. */
export function decide<P extends PlatformTypes>(
  store: LaneStore<P>,
  view: Pick<LaneView<P>, 'rollout'>,
  object: StoredObject<P>,
  permit: Permit,
  wanted: unknown,
): WriteDecision {
  const fence = fenceOf(object);
  const key = object.annotations[ANNOTATION.key] ?? null;
  const applied = expectedLeaves(store, view, object);
  const actual = store.leaves(object, object.spec);
  const asked = wanted === null ? 'null' : store.leaves(object, wanted);
  // What was made of it when it was stored is what can be had of it.
  const wantedLeaves = applied !== null && asked === object.annotations[ANNOTATION.meant] ? applied : asked;
  const decision = decideWrite({ held: { fence, key, applied, actual }, permit, wanted: wantedLeaves });
  const lost = lostFence(store, object);
  if (lost === null || decision.kind === 'drift') return decision;
  if (permit.onDrift === 'hold') return { kind: 'drift', ...lost };
  return { kind: 'apply', drift: (decision.kind === 'apply' ? decision.drift : null) ?? `found ${lost.found}` };
}

/**
 * An object's leaves as they should be found: as Slipway left them, or, of stable before its rollout has written it, as it
 * was when the rollout opened. Null: nothing is known.
 */
export function expectedLeaves<P extends PlatformTypes>(
  store: LaneStore<P>,
  { rollout }: Pick<LaneView<P>, 'rollout'>,
  object: StoredObject<P>,
): string | null {
  const { [ANNOTATION.key]: key, [ANNOTATION.applied]: applied = null } = object.annotations;
  // Once its own limit is back an autoscaler is its owner's again, who may have changed it since.
  if (object.kind === 'autoscaler' && object.annotations[ANNOTATION.minReplicas] === undefined) return null;
  if (object.kind !== 'arm' || object.name !== 'stable' || rollout === null) return applied;
  const { rolloutId, recorded } = rollout.spec;
  if (recorded.template === null || key?.startsWith(`${rolloutId}/`) === true) return applied;
  return store.leaves(object, { template: recorded.template, replicas: recorded.replicas });
}

/** What Slipway has written carries a fence: where it is missing, somebody took it away, and with it the order of writes. */
export function lostFence<P extends PlatformTypes>(
  store: LaneStore<P>,
  object: StoredObject<P>,
): { readonly found: string; readonly expected: string } | null {
  const { [ANNOTATION.key]: key, [ANNOTATION.applied]: applied } = object.annotations;
  if (fenceOf(object) !== null || (key === undefined && applied === undefined)) return null;
  return {
    found: `no ${ANNOTATION.fence} on ${store.leaves(object, object.spec)}`,
    expected: applied ?? `a fence of ${key}`,
  };
}

/** Refuses when the object holds a newer fence than the permit. */
export function staleAgainst(
  object: StoredObject<PlatformTypes>,
  permit: Permit,
): Extract<EffectResult, { kind: 'stale' }> | null {
  const held = fenceOf(object);
  return held !== null && compareFences(held, permit.fence) > 0 ? { kind: 'stale', object: object.name, held } : null;
}

/** What a decision other than `apply` comes to. */
export function resultOf(object: string, decision: Exclude<WriteDecision, { kind: 'apply' }>): EffectResult {
  return decision.kind === 'already' ? decision : { ...decision, object };
}

/** What a write comes to; null after a conflict. */
export function settle(object: string, outcome: WriteOutcome, drift: readonly string[] = []): Attempt<EffectResult> {
  switch (outcome.kind) {
    case 'written':
      return { kind: 'applied', drift };
    case 'conflict':
      return null;
    case 'refused':
      return { kind: 'refused', object, reason: outcome.reason };
  }
}

export function creditOf({ key, fence }: Permit): WriteCredit {
  return { key, fence: formatFence(fence) };
}

/** The body of a fenced write: key and fence stand in the very object that they speak of. */
export function fencedBody<P extends PlatformTypes>(
  store: LaneStore<P>,
  ref: ObjectName,
  spec: unknown,
  permit: Permit,
  owner: string | null,
  before: StoredObject<P> | null,
): ObjectWrite {
  const { [ANNOTATION.meant]: _, ...kept } = before?.annotations ?? {};
  const annotations = {
    ...kept,
    [ANNOTATION.fence]: formatFence(permit.fence),
    [ANNOTATION.key]: permit.key,
    [ANNOTATION.applied]: store.leaves(ref, spec),
  };
  return { spec, annotations, owner };
}
