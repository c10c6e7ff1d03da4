/** What those who decide are shown, as a digest, and what is different when they are asked again. */
import type { Verdict } from '../canary/types.js';
import { digestOf, shortDigest } from '../canonical.js';
import type { Digest } from '../canonical.js';
import { planLine } from '../details.js';
import type { Plan } from '../plan.js';
import type { Risk } from '../risk.js';

/** A verdict of record, without its numbers. */
export interface ShownVerdict {
  readonly stage: string;
  readonly kind: Verdict['kind'];
  readonly look: number;
  readonly inputDigest: string;
}

/** All that an approval is bound to. Nothing in it ticks: a verdict is that of one look, never the samples since. */
export interface Shown {
  readonly plan: Plan;
  readonly risk: Risk | null;
  /** Digests of the evidence that the gates have read. */
  readonly evidence: readonly string[];
  /** The last verdict of each stage so far; none before the canary. */
  readonly verdicts: readonly ShownVerdict[];
}

/** The last verdict of each stage, as it is shown. */
export function lastVerdicts(
  verdicts: readonly { readonly stage: string; readonly verdict: Verdict }[],
): readonly ShownVerdict[] {
  const last = new Map(verdicts.map(({ stage, verdict }) => [stage, verdict]));
  return [...last].map(([stage, { kind, look, inputDigest }]) => ({ stage, kind, look, inputDigest }));
}

/** The digest that a decision names: over the plan's digest, the risk with its reasons, evidence, verdicts. */
export function shownDigest({ plan, risk, evidence, verdicts }: Shown): Digest {
  return digestOf({
    plan: plan.digest,
    risk: risk === null ? null : { score: risk.score, level: risk.level, factors: risk.factors },
    evidence: [...evidence].toSorted(),
    verdicts,
  });
}

/** What is not as it was, a line each. Empty where nothing that is shown has changed. */
export function whatChanged(before: Shown, now: Shown): readonly string[] {
  return [
    ...planChanges(before.plan, now.plan),
    ...riskChanges(before.risk, now.risk),
    ...listChanges('evidence', before.evidence.map(shortDigest), now.evidence.map(shortDigest)),
    ...verdictChanges(before.verdicts, now.verdicts),
  ];
}

function planChanges(before: Plan, now: Plan): readonly string[] {
  if (before.digest === now.digest) return [];
  const lines: string[] = [];
  if (before.stableVersion !== now.stableVersion)
    lines.push(`stable runs ${now.stableVersion ?? 'nothing'}, and ran ${before.stableVersion ?? 'nothing'}`);
  else if (before.stableDigest !== now.stableDigest)
    lines.push(
      `stable’s template is ${short(now.stableDigest)}, and was ${short(before.stableDigest)}: somebody changed it`,
    );
  if (before.release.digest !== now.release.digest)
    lines.push(`the release is ${short(now.release.digest)}, and was ${short(before.release.digest)}`);
  const [was, is] = [planLine({ plan: before }), planLine({ plan: now })];
  if (was !== is) lines.push(`the plan is ${is}, and was ${was}`);
  return lines.length > 0 ? lines : [`the plan is ${short(now.digest)}, and was ${short(before.digest)}`];
}

function riskChanges(before: Risk | null, now: Risk | null): readonly string[] {
  if (before === null || now === null) return before === now ? [] : ['the risk was assessed'];
  const lines =
    before.score === now.score && before.level === now.level
      ? []
      : [`the risk is ${now.score} (${now.level}), and was ${before.score} (${before.level})`];
  const reasons = ({ factors }: Risk): readonly string[] => factors.map(({ reason }) => reason);
  return [...lines, ...listChanges('reason of the risk', reasons(before), reasons(now))];
}

function verdictChanges(before: readonly ShownVerdict[], now: readonly ShownVerdict[]): readonly string[] {
  return now.flatMap(({ stage, kind, look, inputDigest }) => {
    const was = before.find((verdict) => verdict.stage === stage);
    if (was === undefined) return [`${stage}: ${kind} at look ${look} is new`];
    if (was.kind === kind && was.look === look && was.inputDigest === inputDigest) return [];
    return [`${stage}: ${kind} at look ${look}, and was ${was.kind} at look ${was.look}`];
  });
}

function listChanges(what: string, before: readonly string[], now: readonly string[]): readonly string[] {
  return [
    ...now.filter((item) => !before.includes(item)).map((item) => `new ${what}: ${item}`),
    ...before.filter((item) => !now.includes(item)).map((item) => `${what} gone: ${item}`),
  ];
}

function short(digest: string | null): string {
  return digest === null ? 'none' : shortDigest(digest);
}
