import type { ArmSamples } from '../../domain/canary/types.js';
import type { Arm, LaneRef, Target } from '../../domain/target.js';

/** Which samples are wanted: of these arms, from `fromMs` to `toMs` (ms since the epoch), one every `stepMs`. */
export interface MetricsQuery {
  readonly lane: LaneRef;
  readonly target: Target;
  readonly arms: readonly { readonly arm: Arm; readonly version: string }[];
  readonly fromMs: number;
  readonly toMs: number;
  readonly stepMs: number;
  /** One instant of the grid of samples: many watches at once then ask at different moments. */
  readonly originMs: number;
}

/** "Nothing there" and "can't be asked" are different answers, and neither says that a release is good or bad. */
export type MetricsAnswer =
  /**
   * An arm without samples is left out; no arm at all means that nothing new has come since `fromMs`. `unfit`: why the
   * samples can't show that a release is good, though harm may still show in them.
   */
  | { readonly kind: 'value'; readonly arms: Readonly<Partial<Record<Arm, ArmSamples>>>; readonly unfit?: string }
  | { readonly kind: 'no-data'; readonly detail: string }
  | { readonly kind: 'unreachable'; readonly reason: string };

/** Gives raw counters. Never throws for trouble on the far side: that is an answer. */
export interface MetricsSource {
  samples(query: MetricsQuery, signal: AbortSignal): Promise<MetricsAnswer>;
}

/** Why a call failed, in words that hold no address with credentials in it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'no answer in time';
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  // Of a name with several addresses the cause has a code and no message.
  return cause.message === '' && 'code' in cause ? String(cause.code) : cause.message || error.message;
}
