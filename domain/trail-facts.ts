/** What goes into a rollout's trail, fact by fact: who, what, on which digest. Numbers and ids; never a secret. */
import type { Approvals, Decision } from './approval/decision.js';
import { digestOf } from './canonical.js';
import type { Plan } from './plan.js';
import { releaseName } from './release.js';
import type { Assessment } from './risk.js';
import type { Outcome, Phase, Reason, RolloutRequest, StageVerdict, Wait } from './rollout.js';
import type { Configuration, Weights } from './target.js';
import type { TrailFact } from './trail.js';
import { percentText } from './words.js';

export function requestFact({
  rolloutId,
  tenant,
  actor,
  release,
  policy,
  priority,
  retryOf,
}: RolloutRequest): TrailFact {
  return {
    type: 'request',
    actor: actor.subject,
    text: `${actor.subject} asked for ${releaseName(release.images)}`,
    data: {
      rolloutId,
      tenant,
      service: policy.lane.service,
      environment: policy.lane.environment,
      images: release.images,
      ...(release.config === undefined ? {} : { config: release.config }),
      commit: release.change.commit,
      author: release.change.author,
      via: actor.via ?? null,
      verified: actor.verified,
      priority,
      retryOf,
      policyDigest: digestOf(policy),
    },
  };
}

export function assessmentFact({ risk, floor, model, rulesVersion }: Assessment): TrailFact {
  return {
    type: 'assessment',
    actor: null,
    text: `risk ${risk.score} (${risk.level})`,
    data: {
      score: risk.score,
      level: risk.level,
      approval: risk.approval,
      strategy: risk.strategy,
      factors: risk.factors.map(({ reason }) => reason),
      floor: floor.score,
      model: model.kind,
      rulesVersion,
    },
  };
}

export function planFact({ digest, kind, stages, stableVersion }: Plan): TrailFact {
  return {
    type: 'plan',
    actor: null,
    text: `plan ${digest}`,
    data: { digest, kind, stableVersion, weightsPercent: stages.map(({ weights }) => weights.canary) },
  };
}

/** A gate that was opened. */
export function gateFact({ gate, planDigest, quorum, groups, excluded }: Approvals): TrailFact {
  return {
    type: 'gate',
    actor: null,
    text: `gate "${gate}" is open: ${quorum} approval${quorum === 1 ? '' : 's'} needed`,
    data: { gate, planDigest, quorum, groups, excluded },
  };
}

/** A decision that was counted. */
export function decisionFact(decision: Decision): TrailFact {
  const { verb, gate, reason, actor } = decision;
  const at = gate === null ? '' : ` at gate "${gate}"`;
  const because = reason === null ? '' : `: ${reason}`;
  return {
    type: 'decision',
    actor: actor.subject,
    text: `${verb} by ${actor.subject}${at}${because}`,
    data: saidBy(decision),
  };
}

export function refusalFact(
  decision: Decision,
  { code, text }: { readonly code: string; readonly text: string },
): TrailFact {
  return {
    type: 'refusal',
    actor: decision.actor.subject,
    text: `refused ${decision.verb} by ${decision.actor.subject}: ${text}`,
    data: { ...saidBy(decision), code },
  };
}

function saidBy({ id, verb, gate, planDigest, reason, full, at, actor }: Decision): TrailFact['data'] {
  return { id, verb, gate, planDigest, reason, full, said: at, via: actor.via ?? null, verified: actor.verified };
}

/** Traffic as the platform has acknowledged it. */
export function weightsFact({ stable, canary, baseline }: Weights, generation: number | null): TrailFact {
  return {
    type: 'weights',
    actor: null,
    text: `traffic: stable ${percentText(stable)}, canary ${percentText(canary)}, baseline ${percentText(baseline)}`,
    data: { stablePercent: stable, canaryPercent: canary, baselinePercent: baseline, generation },
  };
}

/** A permission to write that the lane's anchor has granted. */
export function generationFact(generation: number): TrailFact {
  return { type: 'effect', actor: null, text: `took generation ${generation}`, data: { generation } };
}

/** What templates refer to, as it was recorded. */
export function configurationFact(configuration: Configuration, generation: number | null): TrailFact {
  const names = Object.keys(configuration);
  return { type: 'effect', actor: null, text: `recorded ${names.join(', ')}`, data: { configuration, generation } };
}

export function verdictFact({ stage, verdict, evidence }: StageVerdict): TrailFact {
  const { kind, hold, summary, look, judge, judgeVersion, inputDigest } = verdict;
  return {
    type: 'verdict',
    actor: null,
    text: `${kind} at ${stage}: ${summary}`,
    data: { stage, kind, hold, look, judge, judgeVersion, inputDigest, evidence },
  };
}

export function phaseFact(from: Phase, to: Phase, text: string): TrailFact {
  return { type: 'phase', actor: null, text, data: { from, to } };
}

export function waitFact({ kind, reason, deadline, atDeadline, gate }: Wait): TrailFact {
  return { type: 'wait', actor: null, text: reason, data: { kind, deadline, atDeadline, gate } };
}

export function warningFact(text: string): TrailFact {
  return { type: 'warning', actor: null, text, data: {} };
}

/** The last entry of a trail. `record`: digest of the decision record; null where it could not be stored. */
export function outcomeFact(
  outcome: Outcome,
  { code, text }: Reason,
  { rolledBack, record }: { readonly rolledBack: boolean; readonly record: string | null },
): TrailFact {
  return { type: 'outcome', actor: null, text: `${outcome}: ${text}`, data: { outcome, code, rolledBack, record } };
}
