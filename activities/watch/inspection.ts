import type { Disturbance } from '../../domain/target.js';
import type { Platform, PlatformScope } from '../platform.js';
import { pause } from '../waiting.js';

/** Between two looks at what the platform has; each costs a handful of calls. */
const LOOK_MS = 5000;
/** What may have been the state of a moment is looked at again soon. */
const AGAIN_MS = 1000;

/**
 * Looks at the platform until somebody else has changed what counts, and gives the worst of it. A platform that can't be
 * asked is none of its business: nothing is known to be wrong.
 */
export async function disturbance(
  platform: Platform,
  scope: PlatformScope,
  counts: (found: Disturbance) => boolean,
  signal: AbortSignal,
): Promise<Disturbance> {
  let before: readonly Disturbance[] = [];
  for (;;) {
    const found = (await inspected(platform, scope, signal)).filter(counts);
    const certain = found.filter(
      ({ passing, object, kind }) => !passing || before.some((one) => one.object === object && one.kind === kind),
    );
    const [worst] = certain.toSorted((a, b) => Number(b.kind === 'harm') - Number(a.kind === 'harm'));
    if (worst !== undefined) return worst;
    before = found;
    await pause(found.length > 0 ? AGAIN_MS : LOOK_MS, signal);
  }
}

async function inspected(
  platform: Platform,
  scope: PlatformScope,
  signal: AbortSignal,
): Promise<readonly Disturbance[]> {
  try {
    return await platform.inspect(scope, signal);
  } catch {
    signal.throwIfAborted();
    return [];
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
