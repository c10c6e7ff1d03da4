/** What has changed between what a person was shown and what is now, in sentences; pure. */
import type { RolloutView } from '../../domain/rollout.js';
import { durationText, percentText } from '../../domain/words.js';

/** The part of a view that an approval is bound to, or that a person would want to look at again. */
export type Shown = Pick<RolloutView, 'plan' | 'assessment' | 'approvals' | 'verdicts'>;

/** Empty: nothing that the digest covers has changed. */
export function changesOf(before: Shown, after: Shown): readonly string[] {
  const [old, now] = [before.plan, after.plan];
  if (digestOf(before) === digestOf(after)) return [];
  if (old === null || now === null) return ['The plan was made only after you opened this.'];
  const found = [
    ...imagesChanged(old.release.images, now.release.images),
    changed('Environment variables', names(old.release.env), names(now.release.env)),
    changed('Strategy', old.strategy, now.strategy),
    changed('Stages', stagesText(old), stagesText(now)),
    changed('What serves now', old.stableVersion ?? 'nothing', now.stableVersion ?? 'nothing'),
    changed('Risk', riskText(before), riskText(after)),
    changed('Last verdict', verdictText(before), verdictText(after)),
  ].filter((text) => text !== null);
  if (found.length > 0) return found;
  if (old.stableDigest !== now.stableDigest) return ['The template of what serves now has changed.'];
  return ['The policy, the target or the evidence has changed: its digest is another one.'];
}

/** What a decision has to name: the gate's digest where one is open, else the plan's. */
export function digestOf({ approvals, plan }: Pick<Shown, 'approvals' | 'plan'>): string | null {
  return approvals?.planDigest ?? plan?.digest ?? null;
}

function changed(what: string, before: string, after: string): string | null {
  return before === after ? null : `${what}: ${before} → ${after}`;
}

function imagesChanged(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): readonly (string | null)[] {
  const containers = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return containers.map((name) => changed(`Image of ${name}`, before[name] ?? 'none', after[name] ?? 'none'));
}

function names(env: Readonly<Record<string, string>>): string {
  return Object.keys(env).sort().join(', ') || 'none';
}

function stagesText({ stages }: NonNullable<Shown['plan']>): string {
  const texts = stages.map(
    ({ weights, durationMs, approval }) =>
      `${percentText(weights.canary)} for ${durationText(durationMs)}${approval ? ' (after approval)' : ''}`,
  );
  return texts.join(', ') || 'none';
}

function riskText({ assessment }: Shown): string {
  return assessment === null ? 'not assessed' : `${assessment.risk.score} (${assessment.risk.level})`;
}

function verdictText({ verdicts }: Shown): string {
  const last = verdicts.at(-1);
  return last === undefined ? 'none' : `${last.stage} ${last.verdict.kind}`;
}
