import { gateState } from '../approval/gate.js';
import { configLines, imageLines, planLine, statusLine } from '../details.js';
import type { Outcome, Phase, RolloutView } from '../rollout.js';
import { percentText } from '../words.js';
import { clip, oneLine } from './text.js';

/** Some of a list, and how many more there are: a card stands in the workflow's history with each change. */
export interface Some {
  readonly items: readonly string[];
  readonly more: number;
}

/** What the message of a rollout shows: taken from its view, short, without anything that ticks. */
export interface SlackCard {
  readonly rolloutId: string;
  readonly service: string;
  readonly environment: string;
  readonly release: string;
  readonly phase: Phase;
  readonly outcome: Outcome | null;
  readonly status: string;
  readonly reason: string | null;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly startedBy: string;
  readonly change: { readonly commit: string | null; readonly author: string | null; readonly message: string | null };
  readonly risk: { readonly score: number; readonly level: string; readonly factors: Some } | null;
  readonly plan: {
    readonly text: string;
    readonly digest: string;
    readonly images: Some;
    readonly warnings: Some;
  } | null;
  readonly traffic: string | null;
  /** What became of the evidence gates. */
  readonly evidence: string | null;
  readonly verdict: { readonly stage: string; readonly kind: string; readonly summary: string } | null;
  readonly wait: {
    readonly reason: string;
    readonly who: string;
    readonly deadline: string | null;
    readonly atDeadline: string | null;
  } | null;
  readonly gate: {
    readonly name: string;
    readonly planDigest: string;
    readonly quorum: number;
    readonly approvedBy: Some;
    readonly rejectedBy: string | null;
    /** What is not as it was when it was asked before; absent: it is asked for the first time. */
    readonly changed?: Some;
    /** Whether somebody can still approve or reject. */
    readonly open: boolean;
  } | null;
  /** Newest last: "ann@example.com approve: looks good". */
  readonly decisions: Some;
}

const ITEMS = 8;

/** The card of a rollout as it is now. */
export function slackCard(view: RolloutView): SlackCard {
  const { lane, release, plan, assessment, weights, wait, approvals } = view;
  const { change } = release;
  const verdict = view.verdicts.at(-1);
  // What the gates said is the last that was told in that phase.
  const evidence = view.timeline.findLast(({ phase }) => phase === 'gating');
  return {
    rolloutId: view.rolloutId,
    service: short(lane.service, 100),
    environment: short(lane.environment, 100),
    release: short(view.releaseName, 200),
    phase: view.phase,
    outcome: view.outcome,
    status: short(statusLine(view), 200),
    reason: view.reason === null ? null : short(view.reason.text, 1000),
    startedAt: view.startedAt,
    startedBy: short(view.actor.subject, 200),
    change: {
      commit: change.commit === null ? null : short(change.commit, 40),
      author: change.author === null ? null : short(change.author, 200),
      message: change.message === null ? null : short(change.message.trim().split('\n', 1)[0] ?? '', 200),
    },
    risk:
      assessment === null
        ? null
        : {
            score: assessment.risk.score,
            level: assessment.risk.level,
            factors: some(assessment.risk.factors.map(({ reason }) => reason)),
          },
    plan:
      plan === null
        ? null
        : {
            text: short(planLine(view), 500),
            digest: plan.digest,
            images: some([...imageLines(plan, view.policy), ...configLines(plan.release)]),
            warnings: some(plan.warnings.map(({ problem, remedy }) => `${problem}: ${remedy}`)),
          },
    traffic:
      weights === null
        ? null
        : `stable ${percentText(weights.stable)}, canary ${percentText(weights.canary)}, baseline ${percentText(weights.baseline)}`,
    evidence: evidence === undefined ? null : short(evidence.text, 500),
    verdict:
      verdict === undefined
        ? null
        : {
            stage: short(verdict.stage, 100),
            kind: verdict.verdict.kind,
            summary: short(verdict.verdict.summary, 1000),
          },
    wait:
      wait === null
        ? null
        : {
            reason: short(wait.reason, 1000),
            who: short(wait.who, 500),
            deadline: wait.deadline,
            atDeadline: wait.atDeadline,
          },
    gate:
      approvals === null
        ? null
        : {
            name: approvals.gate,
            planDigest: approvals.planDigest,
            quorum: approvals.quorum,
            approvedBy: some(approvals.approvedBy),
            rejectedBy: approvals.rejectedBy === null ? null : short(approvals.rejectedBy, 200),
            ...(approvals.changed.length === 0 ? {} : { changed: some(approvals.changed) }),
            open: gateState(approvals) === 'open' && wait?.gate === approvals.gate,
          },
    decisions: newest(
      view.decisions.map(
        ({ actor, verb, reason }) => `${actor.subject} ${verb}${reason === null || reason === '' ? '' : `: ${reason}`}`,
      ),
    ),
  };
}

function short(text: string, limit: number): string {
  return clip(oneLine(text), limit);
}

function some(texts: readonly string[]): Some {
  return {
    items: texts.slice(0, ITEMS).map((text) => short(text, 300)),
    more: Math.max(0, texts.length - ITEMS),
  };
}

function newest(texts: readonly string[]): Some {
  return { items: texts.slice(-ITEMS).map((text) => short(text, 300)), more: Math.max(0, texts.length - ITEMS) };
}
