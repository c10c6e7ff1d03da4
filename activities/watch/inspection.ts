import type { Disturbance, Inspection } from '../../domain/target.js';
import type { Platform, PlatformScope } from '../platform.js';
import { pause } from '../waiting.js';

/** Between two looks at what the platform has; each costs a handful of calls. */
const LOOK_MS = 5000;
/** What may have been the state of a moment is looked at again soon. */
const AGAIN_MS = 1000;

/** Stable has become larger than what stands beside it was made for. */
export interface Outgrown {
  readonly kind: 'outgrown';
  readonly object: 'stable';
  readonly text: string;
  readonly stableReplicas: number;
}

/**
 * Looks at the platform until something has changed that counts, and gives the worst of it. A platform that can't be asked
 * is none of its business: nothing is known to be wrong.
 *
 * @param outgrows whether stable of this size counts
 */
export async function disturbance(
  platform: Platform,
  scope: PlatformScope,
  counts: (found: Disturbance) => boolean,
  signal: AbortSignal,
  outgrows: (stableReplicas: number) => boolean = () => false,
): Promise<Disturbance | Outgrown> {
  let before: readonly Disturbance[] = [];
  for (;;) {
    const { disturbances, stableReplicas } = await inspected(platform, scope, signal);
    const found = disturbances.filter(counts);
    const certain = found.filter(
      ({ passing, object, kind }) => !passing || before.some((one) => one.object === object && one.kind === kind),
    );
    const [worst] = certain.toSorted((a, b) => Number(b.kind === 'harm') - Number(a.kind === 'harm'));
    if (worst !== undefined) return worst;
    if (stableReplicas !== null && outgrows(stableReplicas))
      return { kind: 'outgrown', object: 'stable', text: `it has ${stableReplicas} replicas`, stableReplicas };
    before = found;
    await pause(found.length > 0 ? AGAIN_MS : LOOK_MS, signal);
  }
}

async function inspected(platform: Platform, scope: PlatformScope, signal: AbortSignal): Promise<Inspection> {
  try {
    return await platform.inspect(scope, signal);
  } catch {
    signal.throwIfAborted();
    return { disturbances: [], stableReplicas: null };
  }
}

/** The first of several results; what still works on another one is told to stop. */
export async function firstOf<T>(
  signal: AbortSignal,
  ...works: readonly ((signal: AbortSignal) => Promise<T>)[]
): Promise<T> {
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  try {
    return await Promise.race(works.map((work) => work(either)));
  } finally {
    over.abort();
  }
}
