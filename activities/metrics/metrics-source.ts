// STUB-BY-LEAD
import type { ArmSamples } from '../../domain/canary/types.js';
import type { Arm, LaneRef, Target } from '../../domain/target.js';
export type MetricsAnswer =
  | { kind: 'value'; arms: Partial<Record<Arm, ArmSamples>> }
  | { kind: 'no-data'; detail: string }
  | { kind: 'unreachable'; reason: string };
export interface MetricsSource {
  samples(
    q: {
      lane: LaneRef;
      target: Target;
      arms: readonly { arm: Arm; version: string }[];
      fromMs: number;
      toMs: number;
      stepMs: number;
    },
    signal: AbortSignal,
  ): Promise<MetricsAnswer>;
}
