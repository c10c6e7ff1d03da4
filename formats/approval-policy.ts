/** The part `approval` of a `slipway.yaml` as the policy that it makes, and what can be said against it. */
import { remarksOn, RISK_LEVELS } from '../domain/approval/rules.js';
import type { PolicyRemark } from '../domain/approval/rules.js';
import type { ApprovalPolicy, GroupRule, Policy, RiskRules } from '../domain/policy.js';
import { DEFAULT_APPROVAL } from './slipway-schema.js';
import type { Approval } from './slipway-schema.js';

/**
 * @param written what the file says; durations are ms, shares 0 to 1
 * @param allowUnverified what holds where the file does not say
 */
export function approvalPolicyOf(written: Approval | undefined, allowUnverified: boolean): ApprovalPolicy {
  const { escalate, breakGlass } = written ?? {};
  return {
    required: written?.required ?? DEFAULT_APPROVAL.required,
    quorum: written?.quorum ?? DEFAULT_APPROVAL.quorum,
    groups: written?.groups ?? DEFAULT_APPROVAL.groups,
    excludeAuthor: written?.excludeAuthor ?? DEFAULT_APPROVAL.excludeAuthor,
    allowUnverified: written?.allowUnverified ?? allowUnverified,
    rules: rulesOf(written?.rules) ?? DEFAULT_APPROVAL.rules,
    reminders: written?.reminders ?? DEFAULT_APPROVAL.reminders,
    escalate: escalate === undefined ? DEFAULT_APPROVAL.escalate : { afterMs: escalate.after, groups: escalate.groups },
    validForMs: written?.validFor ?? DEFAULT_APPROVAL.validForMs,
    breakGlass: {
      allowed: breakGlass?.allowed ?? DEFAULT_APPROVAL.breakGlass.allowed,
      ticket: breakGlass?.ticket ?? DEFAULT_APPROVAL.breakGlass.ticket,
    },
    byRisk: byRiskOf(written?.byRisk),
  };
}

type Rules = NonNullable<Approval['rules']>;

function rulesOf(written: Rules | undefined): readonly GroupRule[] | undefined {
  return written?.map(({ group, count = 1 }) => ({ group, count }));
}

function byRiskOf(written: Approval['byRisk']): NonNullable<ApprovalPolicy['byRisk']> {
  const levels = RISK_LEVELS.flatMap((level): readonly (readonly [string, RiskRules])[] => {
    const own = written?.[level];
    if (own === undefined) return [];
    const { quorum, groups, rules } = own;
    return [
      [
        level,
        {
          ...(quorum === undefined ? {} : { quorum }),
          ...(groups === undefined ? {} : { groups }),
          ...(rules === undefined ? {} : { rules: rulesOf(rules) ?? [] }),
        },
      ],
    ];
  });
  return Object.fromEntries(levels);
}

/** What can be said against it, with paths below the environment; a gate waits as long as the policy’s waits say. */
export function approvalRemarks(
  { approval, waits, stages }: Policy,
  kind: PolicyRemark['kind'],
): readonly PolicyRemark[] {
  const atStages = Object.values(stages).some((list) => list.some((stage) => stage.approval));
  const gates = [...(approval.required === 'never' ? [] : [waits.approvalMs]), ...(atStages ? [waits.heldMs] : [])];
  // The shortest wait is the first in which something can come too late.
  return remarksOn(approval, gates.length === 0 ? waits.approvalMs : Math.min(...gates))
    .filter((remark) => remark.kind === kind)
    .map((remark) => ({ ...remark, path: ['approval', ...remark.path] }));
}
