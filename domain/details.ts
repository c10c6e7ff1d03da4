import { durationText, percentText } from './words.js';
import { stageTimeText } from './canary/early-promotion.js';
import { splitReference } from './image-reference.js';
import type { Plan } from './plan.js';
import type { Policy, StagePolicy } from './policy.js';
import type { Release } from './release.js';
import { isFinal } from './rollout.js';
import type { RolloutView } from './rollout.js';

/** The first screen of an operator in Temporal Web: state, what it waits for and since when, who can act and how. Markdown. */
export function currentDetails(view: RolloutView): string {
  const { lane, wait, plan, assessment } = view;
  const lines = [`## ${lane.service} in ${lane.environment}: ${view.releaseName}`, '', `**${statusLine(view)}**`];
  if (view.reason !== null) lines.push('', view.reason.text);
  if (wait !== null) {
    lines.push('', `Waits since ${wait.since}: ${wait.reason}`);
    if (wait.deadline !== null) lines.push(`Deadline ${wait.deadline}, then ${wait.atDeadline ?? 'on'}.`);
    if (wait.who !== '') lines.push(`Who can act: ${wait.who}.`);
    for (const command of wait.commands) lines.push(`- \`${command}\``);
  }
  if (view.breakGlass !== null) {
    const { by, reason, at } = view.breakGlass;
    lines.push('', `**Break-glass** by ${by} at ${at}: ${reason}`);
  }
  if (view.weights !== null) {
    const { stable, canary, baseline } = view.weights;
    lines.push(
      '',
      `Traffic: stable ${percentText(stable)}, canary ${percentText(canary)}, baseline ${percentText(baseline)}`,
    );
  }
  if (assessment !== null) {
    const { risk } = assessment;
    lines.push(
      '',
      `Risk ${risk.score} (${risk.level}): ${risk.factors.map((factor) => factor.reason).join('; ') || 'no factor'}`,
    );
  }
  if (plan !== null) lines.push('', `Plan ${plan.digest}: ${planLine(view)}`);
  const last = view.verdicts.at(-1);
  if (last !== undefined)
    lines.push('', `Last verdict (${last.stage}): **${last.verdict.kind}** ${last.verdict.summary}`);
  for (const warning of view.warnings.slice(-5)) lines.push('', `Warning: ${warning}`);
  return lines.join('\n').slice(0, 18_000);
}

/** `canary stage 2 of 3`, `held: paused`, `completed`. */
export function statusLine(view: RolloutView): string {
  const stages = view.plan?.stages.length ?? 0;
  const where = view.phase === 'canary' ? `canary stage ${view.stage ?? 1} of ${stages}` : view.phase;
  if (isFinal(view.phase) || view.wait === null) return where;
  return `${where}, ${view.status === 'held' ? 'held' : 'waiting'}: ${view.wait.kind}`;
}

/** `canary_10: 10 % for 15 min, 50 % for 15 min, then all`; with the policy also when a stage may end early. */
export function planLine({ plan, policy }: Pick<RolloutView, 'plan'> & Partial<Pick<RolloutView, 'policy'>>): string {
  if (plan === null) return 'no plan yet';
  if (plan.kind === 'first') return 'first release: nothing to compare with, it is started and verified';
  const timeOf = ({ durationMs }: StagePolicy) =>
    policy === undefined ? durationText(durationMs) : stageTimeText(policy.analysis, durationMs);
  const stages = plan.stages.map(
    (stage) => `${percentText(stage.weights.canary)} for ${timeOf(stage)}${stage.approval ? ' (after approval)' : ''}`,
  );
  return `${plan.strategy}: ${[...stages, 'then all'].join(', ')}`;
}

/**
 * `app: hello:v2 is sha256:…`, one line for each image: what an approval of the plan is bound to. None for the local
 * platform, where images are names of nothing.
 */
export function imageLines({ release }: Plan, { target }: Policy): readonly string[] {
  if (target.platform === 'local') return [];
  return Object.entries(release.images).map(([container, image]) => {
    const { name, tag, digest } = splitReference(image);
    if (digest === null) return `${container}: ${image}, by tag alone`;
    return tag === null ? `${container}: ${image}` : `${container}: ${name}:${tag} is ${digest}`;
  });
}

/** Other ConfigMaps and Secrets that a release names: `ConfigMap app-config → app-config-9e1b`. */
export function configLines({ config }: Pick<Release, 'config'>): readonly string[] {
  const lines = (kind: string, names: Readonly<Record<string, string>>): readonly string[] =>
    Object.entries(names).map(([name, to]) => `${kind} ${name} → ${to}`);
  return config === undefined ? [] : [...lines('ConfigMap', config.configMaps), ...lines('Secret', config.secrets)];
}
