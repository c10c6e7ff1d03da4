import { setTimeout as pause } from 'node:timers/promises';

/** Waits for its turn. */
export type Pace = (signal: AbortSignal | undefined) => Promise<void>;

/**
 * Lets `burst` calls begin at once and `perSecond` after that, in order: many rollouts that go bad together must not make
 * an API server slow for everybody else. The generic cell rate algorithm (ITU-T I.371, annex A).
 */
export function createPace({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }): Pace {
  const stepMs = 1000 / perSecond;
  /** When a bucket that only fills would be empty again. */
  let emptyAtMs = 0;
  return async (signal) => {
    const nowMs = performance.now();
    emptyAtMs = Math.max(emptyAtMs, nowMs) + stepMs;
    const waitMs = emptyAtMs - nowMs - burst * stepMs;
    // A signal of its own: many wait on that of one activity, and Node warns of more than ten listeners.
    if (waitMs > 0) await pause(waitMs, undefined, signal ? { signal: AbortSignal.any([signal]) } : {});
  };
}
