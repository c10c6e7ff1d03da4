// STUB-BY-LEAD
import type { Change } from '../../domain/release.js';
import type { ModelOpinion, Risk } from '../../domain/risk.js';
export interface RiskModel {
  assess(
    request: { service: string; environment: string; tier: number; change: Change; floor: Risk },
    signal: AbortSignal,
  ): Promise<ModelOpinion>;
}
export function createRiskModel(_: object): RiskModel {
  return {
    async assess() {
      return { kind: 'failed', reason: 'no key' };
    },
  };
}
