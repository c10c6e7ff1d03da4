import type { BreakGlass } from '../../domain/approval/decision.js';
import { countText } from '../../domain/approval/gate.js';
import { configLines, imageLines, statusLine } from '../../domain/details.js';
import { stageTimeText } from '../../domain/canary/early-promotion.js';
import { needsApproval } from '../../domain/policy.js';
import type { Policy } from '../../domain/policy.js';
import { isFinal } from '../../domain/rollout.js';
import type { RolloutView, TimelineEntry } from '../../domain/rollout.js';
import { durationText, percentText } from '../../domain/words.js';
import type { Found } from '../slipway.js';

const COLORS = { red: 31, green: 32, yellow: 33, blue: 34, gray: 90, bold: 1 } as const;
export type Paint = (color: keyof typeof COLORS, text: string) => string;

export function painter(color: boolean): Paint {
  return (name, text) => (color ? `\u001B[${COLORS[name]}m${text}\u001B[0m` : text);
}

/** `12:03:55  ROLLBACK at stage 1 …`: one line of the story. */
export function timelineLine(entry: TimelineEntry, paint: Paint): string {
  const time = entry.at.slice(11, 19);
  const text = plain(entry.text);
  switch (entry.tone) {
    case 'good':
      return `${paint('gray', time)}  ${paint('green', text)}`;
    case 'bad':
      return `${paint('gray', time)}  ${paint('red', text)}`;
    case 'person':
      return `${paint('gray', time)}  ${paint('blue', text)}`;
    case 'neutral':
      return `${paint('gray', time)}  ${text}`;
  }
}

function approvalText(policy: Policy, byRisk: boolean): string {
  if (needsApproval(policy, byRisk)) return ', a person must approve';
  return byRisk ? ', worth an approval, which the policy never asks for' : '';
}

/** The whole of a rollout as a tree of phases, stages, weights and verdicts. */
export function viewTree(
  { view, remarks = [] }: Extract<Found, { kind: 'running' }>,
  nowMs: number,
  paint: Paint,
): readonly string[] {
  const { lane, plan, wait } = view;
  const tone = view.outcome === 'completed' ? 'green' : isFinal(view.phase) ? 'red' : 'yellow';
  const lines = [
    `${paint('bold', `${lane.service} in ${lane.environment}`)}: ${plain(view.releaseName)}  ${paint(tone, statusLine(view))}`,
    `  rollout ${view.rolloutId} by ${plain(view.actor.subject)}, ${age(view, nowMs)}`,
  ];
  if (view.assessment !== null) {
    const { risk, model } = view.assessment;
    const by = model.kind === 'answered' ? `rules and ${model.model}` : 'rules';
    lines.push(
      `├ risk ${risk.score} (${risk.level}, by ${by}): strategy ${risk.strategy}${approvalText(view.policy, risk.approval)}`,
    );
    for (const factor of risk.factors) lines.push(`│   +${factor.weight} ${plain(factor.reason)}`);
  }
  if (view.approvals !== null) {
    const { gate, approvedBy, rejectedBy, changed, planDigest, closed } = view.approvals;
    const count = plain(countText(view.approvals));
    const state =
      rejectedBy !== null
        ? `rejected by ${plain(rejectedBy)}`
        : `${count}${approvedBy.length > 0 ? `: ${plain(approvedBy.join(', '))}` : ''}`;
    lines.push(`├ approval of gate "${gate}": ${state}`);
    if (closed === null) {
      for (const line of changed) lines.push(`│   ${paint('yellow', 'asked again')}: ${plain(line)}`);
      lines.push(`│   bound to what this shows: ${planDigest.slice(7, 19)}`);
    }
  }
  if (view.breakGlass !== null) lines.push(`├ ${paint('red', breakGlassLine(view.breakGlass))}`);
  if (plan !== null) {
    lines.push(
      `├ plan ${plan.digest.slice(7, 19)}: ${plan.kind === 'first' ? 'first release' : plan.strategy}${plan.stableVersion === null ? '' : `, from ${plain(plan.stableVersion)}`}`,
    );
    for (const line of [...imageLines(plan, view.policy), ...configLines(plan.release)])
      lines.push(`│   ${plain(line)}`);
    for (const stage of plan.stages) {
      const verdict = view.verdicts.findLast((entry) => entry.stage === `stage-${stage.number}`)?.verdict;
      const here = view.phase === 'canary' && view.stage === stage.number;
      const mark = here
        ? paint('yellow', '▶')
        : verdict?.kind === 'PROMOTE'
          ? paint('green', '✓')
          : verdict?.kind === 'ROLLBACK'
            ? paint('red', '✗')
            : '·';
      lines.push(
        `│ ${mark} stage ${stage.number}: ${percentText(stage.weights.canary)} for ${stageTimeText(view.policy.analysis, stage.durationMs)}${stage.approval ? ', after approval' : ''}`,
      );
      if (verdict !== undefined) lines.push(`│     ${verdict.kind}: ${plain(verdict.summary)}`);
    }
    const verify = view.verdicts.findLast((entry) => entry.stage === 'verify')?.verdict;
    if (verify !== undefined)
      lines.push(
        `│ ${verify.kind === 'PROMOTE' ? paint('green', '✓') : paint('red', '✗')} verification at 100 %: ${plain(verify.summary)}`,
      );
  }
  if (view.weights !== null) {
    const { stable, canary, baseline } = view.weights;
    lines.push(
      `├ traffic: stable ${percentText(stable)}, canary ${percentText(canary)}, baseline ${percentText(baseline)}`,
    );
  }
  if (wait !== null) {
    lines.push(`├ ${paint('yellow', `waits (${wait.kind})`)}: ${plain(wait.reason)}`);
    if (wait.deadline !== null)
      lines.push(
        `│   until ${wait.deadline}, then ${wait.atDeadline ?? 'on'}${wait.who === '' ? '' : `; who can act: ${plain(wait.who)}`}`,
      );
    for (const command of wait.commands) lines.push(`│   $ ${command}`);
  }
  for (const remark of remarks) lines.push(`├ ${paint('yellow', 'remark')}: ${plain(remark)}`);
  for (const warning of view.warnings) lines.push(`├ ${paint('yellow', 'warning')}: ${plain(warning)}`);
  if (view.reason !== null) lines.push(`└ ${paint(tone, view.outcome ?? view.phase)}: ${plain(view.reason.text)}`);
  else lines.push(`└ ${statusLine(view)}`);
  return lines;
}

function breakGlassLine({ by, reason, at, gate, ownWork }: BreakGlass): string {
  const past = gate === null ? 'a HOLD' : `gate "${gate}"`;
  return `break-glass: ${plain(by)} went past ${plain(past)} at ${at}${ownWork ? ', own work' : ''}: ${plain(reason)}`;
}

function age(view: RolloutView, nowMs: number): string {
  const begun = Date.parse(view.startedAt);
  return view.endedAt === null
    ? `for ${durationText(nowMs - begun)}`
    : `took ${durationText(Date.parse(view.endedAt) - begun)}`;
}

/** Text of other people on one line, without control characters: a commit message must not move the cursor. */
export function plain(text: string): string {
  return plainLines(text.replace(/[\n\t\r\u2028\u2029]+/g, ' '));
}

/** The same for a text whose line breaks are ours. */
export function plainLines(text: string): string {
  return text.replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g, '�');
}
