import type { Verdict } from './canary/types.js';

/** What a watch has seen so far, small enough to be told with each heartbeat: what the page plots while a stage runs. */
export interface LiveStage {
  /** `stage-2`, `verify`. */
  readonly stage: string;
  /** ms since the epoch. */
  readonly startMs: number;
  readonly durationMs: number;
  /** Decimated to `LIVE_POINTS` at most, oldest first. */
  readonly points: readonly LivePoint[];
  /** The last `LIVE_LOOKS`, oldest first. */
  readonly looks: readonly LiveLook[];
}

export const LIVE_POINTS = 60;
export const LIVE_LOOKS = 30;

/** What happened between the point before and this one. */
export interface LivePoint {
  /** ms since the epoch. */
  readonly atMs: number;
  readonly canary: LiveArm;
  /** Null where nothing is left to compare with. */
  readonly comparison: LiveArm | null;
}

export interface LiveArm {
  readonly requests: number;
  readonly errors: number;
  /** Milliseconds; null where there was no request or there is no histogram. */
  readonly p99Ms: number | null;
}

export interface LiveLook {
  readonly atMs: number;
  readonly kind: Verdict['kind'];
  readonly summary: string;
}
