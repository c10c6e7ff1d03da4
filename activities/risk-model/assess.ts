import { cancellationSignal } from '@temporalio/activity';
import { combineRisk, riskFloor, RISK_RULES_VERSION } from '../../domain/risk-floor.js';
import { settingsOf } from '../../domain/release.js';
import type { Activities } from '../contract.js';
import type { RiskModel } from './risk-model.js';

const DAY_MS = 86_400_000;

export interface AssessmentDeps {
  readonly riskModel: RiskModel;
}

/** The floor by rules, and a model's opinion above it. */
export function createAssessment({ riskModel }: AssessmentDeps): Activities['assessRisk'] {
  return async function assessRisk({ request, nowMs, lastRollbackAtMs }) {
    const { policy, release } = request;
    const { change } = release;
    const floor = riskFloor({
      files: change.files,
      truncated: change.truncated,
      message: change.message,
      settings: settingsOf(release),
      tier: policy.tier,
      recentRollbackDays: lastRollbackAtMs === null ? null : (nowMs - lastRollbackAtMs) / DAY_MS,
      ...localTime(nowMs, policy.risk.timeZone),
      policy: policy.risk,
    });
    const model =
      policy.risk.model === 'off'
        ? ({ kind: 'off' } as const)
        : await riskModel.assess({ ...policy.lane, tier: policy.tier, change, floor }, cancellationSignal());
    return { risk: combineRisk(floor, model, policy.risk), floor, model, rulesVersion: RISK_RULES_VERSION };
  };
}

/** Hour (0 to 23) and weekday (0 is Sunday) where the service's people are. */
export function localTime(nowMs: number, timeZone: string): { localHour: number; localWeekday: number } {
  const parts = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hour: 'numeric',
    hourCycle: 'h23',
    weekday: 'short',
  }).formatToParts(nowMs);
  const value = (type: string): string => parts.find((part) => part.type === type)?.value ?? '';
  return {
    localHour: Number(value('hour')),
    localWeekday: ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'].indexOf(value('weekday')),
  };
}
