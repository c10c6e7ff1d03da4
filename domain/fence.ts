import type { Brand } from './brand.js';

/**
 * Orders all writes of a lane: `generation` is granted by the lane's anchor, `step` grows with every effect of a rollout.
 * A write that carries an older fence than the target holds is refused, so a worker that was thought dead can't act late.
 */
export interface Fence {
  readonly generation: number;
  readonly step: number;
}

/** `<rolloutId>/<stage>/<operation>/<object>/<n>`: the same for every retry, reset and replay of one intended effect. */
export type IdempotencyKey = Brand<string, 'IdempotencyKey'>;

/** What every effect carries: which intent it is, and where it stands in the order of writes. */
export interface Permit {
  readonly key: IdempotencyKey;
  readonly fence: Fence;
  /**
   * `hold`: a value that changed under us stops the write (forward). `overwrite`: it is written over and reported
   * (rollback: going back must not wait for a person).
   */
  readonly onDrift: 'hold' | 'overwrite';
}

/** Negative when `a` is older than `b`, 0 when equal, positive when newer. Numbers, never text: 3.10 is after 3.9. */
export function compareFences(a: Fence, b: Fence): number {
  return a.generation - b.generation || a.step - b.step;
}

/** `3.10`: how a fence stands in an annotation. */
export function formatFence(fence: Fence): string {
  return `${fence.generation}.${fence.step}`;
}

/** The fence in an annotation, or null when there is none or it is no fence. */
export function parseFence(text: string | undefined | null): Fence | null {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(text ?? '');
  return match ? { generation: Number(match[1]), step: Number(match[2]) } : null;
}

/** The parts of an idempotency key. */
export interface KeyParts {
  readonly rolloutId: string;
  /** Phase or stage that means the effect, e.g. `stage-2`, `rollback`. */
  readonly stage: string;
  readonly operation: string;
  readonly object: string;
  /** How often the workflow has meant just this before, plus 1: the same weight may be meant twice in a stage. */
  readonly n: number;
}

export function idempotencyKey({ rolloutId, stage, operation, object, n }: KeyParts): IdempotencyKey {
  return `${rolloutId}/${stage}/${operation}/${object}/${n}` as IdempotencyKey;
}

/** What a target holds: its fence and key as last written by Slipway, and its value then and now. */
export interface HeldValue {
  readonly fence: Fence | null;
  readonly key: string | null;
  /** Canonical JSON of the leaves as Slipway last wrote them; null where it never wrote any. */
  readonly applied: string | null;
  /** Canonical JSON of the same leaves as they are now. */
  readonly actual: string;
}

export type WriteDecision =
  /** Write it, on the condition that the target is still as it was read. */
  | { readonly kind: 'apply'; readonly drift: string | null }
  /** This very effect was applied before: nothing to do. */
  | { readonly kind: 'already' }
  /** Something newer was written: this attempt is late and must never write. */
  | { readonly kind: 'stale'; readonly held: Fence }
  /** Somebody else changed the value since Slipway wrote it. */
  | { readonly kind: 'drift'; readonly found: string; readonly expected: string };

export interface WriteQuestion {
  readonly held: HeldValue;
  readonly permit: Permit;
  /** Canonical JSON of the leaves as they should be. */
  readonly wanted: string;
}

/**
 * Decides one fenced write (semantics.md, "Fences and keys"). The order of the checks matters:
 * a newer fence refuses first; then the own key counts as done only if the value is there too (a forced sync of another
 * tool keeps our annotations and resets the value); then a value that is not what Slipway last wrote is drift.
 */
export function decideWrite({ held, permit, wanted }: WriteQuestion): WriteDecision {
  const order = held.fence === null ? -1 : compareFences(held.fence, permit.fence);
  if (held.fence !== null && order > 0) {
    // A reset run means an effect again that was done, under a newer fence, by its former self: still not ours to write.
    return { kind: 'stale', held: held.fence };
  }
  if (held.key === permit.key) {
    if (held.actual === wanted) return { kind: 'already' };
    return permit.onDrift === 'overwrite'
      ? { kind: 'apply', drift: driftText(held.actual, wanted) }
      : { kind: 'drift', found: held.actual, expected: wanted };
  }
  if (held.fence !== null && order === 0) return { kind: 'stale', held: held.fence };
  if (held.applied !== null && held.applied !== held.actual && held.actual !== wanted) {
    return permit.onDrift === 'overwrite'
      ? { kind: 'apply', drift: driftText(held.actual, held.applied) }
      : { kind: 'drift', found: held.actual, expected: held.applied };
  }
  return { kind: 'apply', drift: null };
}

function driftText(found: string, expected: string): string {
  return `found ${found} where Slipway had left ${expected}`;
}
