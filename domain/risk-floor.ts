// STUB-BY-LEAD
import type { ChangedFile } from './release.js';
import type { RiskPolicy } from './policy.js';
import type { ModelOpinion, Risk } from './risk.js';
export const RISK_RULES_VERSION = 'stub';
export const DEFAULT_RISK_POLICY: RiskPolicy = {
  model: 'off',
  approvalFrom: 0.55,
  canary25From: 0.15,
  canary10From: 0.35,
  canary5From: 0.55,
  timeZone: 'UTC',
};
export function riskFloor(_: {
  files: readonly ChangedFile[] | null;
  truncated: boolean;
  message: string | null;
  tier: number;
  recentRollbackDays: number | null;
  localHour: number;
  localWeekday: number;
  policy: RiskPolicy;
}): Risk {
  return { score: 0.2, level: 'low', factors: [], strategy: 'canary_25', approval: false };
}
export function combineRisk(floor: Risk, _o: ModelOpinion, _p: RiskPolicy): Risk {
  return floor;
}
