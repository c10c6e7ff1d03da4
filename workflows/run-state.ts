import { setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { Approvals, BreakGlass, Decision, RefusalCode } from '../domain/approval/decision.js';
import type { Plan } from '../domain/plan.js';
import { releaseName } from '../domain/release.js';
import type { Release } from '../domain/release.js';
import type { Assessment } from '../domain/risk.js';
import { isFinal, mayFollow, needsPerson } from '../domain/rollout.js';
import type {
  Outcome,
  Phase,
  Reason,
  RolloutRequest,
  RolloutView,
  StageVerdict,
  TimelineEntry,
  Wait,
} from '../domain/rollout.js';
import type { Weights } from '../domain/target.js';
import { currentDetails } from '../domain/details.js';
import {
  decisionFact,
  phaseFact,
  refusalFact,
  requestFact,
  verdictFact,
  waitFact,
  warningFact,
} from '../domain/trail-facts.js';
import { rolloutWorkflowId, searchAttributes } from './messages.js';
import { Trail } from './trail.js';

/** Lines of the story that are kept; the decision record and the history have the rest. */
const TIMELINE_LIMIT = 200;

/**
 * The state of one rollout as it is shown: written by the main flow and by message handlers, read by queries, by
 * Temporal Web (current details) and by search (attributes).
 */
export class RunState {
  phase: Phase = 'accepted';
  outcome: Outcome | null = null;
  reason: Reason | null = null;
  endedAt: string | null = null;
  assessment: Assessment | null = null;
  plan: Plan | null = null;
  stage: number | null = null;
  weights: Weights | null = null;
  generation: number | null = null;
  paused = false;
  wait: Wait | null = null;
  approvals: Approvals | null = null;
  breakGlass: BreakGlass | null = null;
  /** Digests of the evidence that the gates have read. */
  evidence: readonly string[] = [];
  /** As it was asked for, and with the digests of its images once they are known: a retry ships the same bytes. */
  release: Release;
  readonly decisions: Decision[] = [];
  readonly verdicts: StageVerdict[] = [];
  readonly warnings: string[] = [];
  readonly trail: Trail;
  /** Called after each change of what is shown. */
  onChange: () => void = () => undefined;
  private readonly timeline: TimelineEntry[] = [];
  private readonly startedAt = now();

  constructor(readonly request: RolloutRequest) {
    this.release = request.release;
    const { rolloutId, policy } = request;
    this.trail = new Trail({ lane: policy.lane, rolloutId }, rolloutWorkflowId(policy.lane, rolloutId));
    this.trail.onFailure = (text) => this.warn(text);
    this.trail.add(requestFact(request));
    this.say(`accepted ${this.name} from ${request.actor.subject}`);
  }

  get name(): string {
    return releaseName(this.request.release.images);
  }

  /** Goes to the next phase. A step that the state machine does not know is a programming error. */
  enter(phase: Phase, text: string, tone: TimelineEntry['tone'] = 'neutral'): void {
    if (!mayFollow(this.phase, phase)) throw new TypeError(`a rollout can't go from ${this.phase} to ${phase}`);
    this.trail.add(phaseFact(this.phase, phase, text));
    this.phase = phase;
    this.wait = null;
    this.say(text, tone);
    upsertSearchAttributes([{ key: searchAttributes.phase, value: phase }]);
    if (isFinal(phase)) {
      upsertSearchAttributes([
        { key: searchAttributes.outcome, value: phase },
        { key: searchAttributes.waitsFor, value: null },
        { key: searchAttributes.deadline, value: null },
      ]);
    }
  }

  /** Adds a line to the story. */
  say(text: string, tone: TimelineEntry['tone'] = 'neutral'): void {
    this.timeline.push({ at: now(), phase: this.phase, text, tone });
    if (this.timeline.length > TIMELINE_LIMIT) this.timeline.splice(1, 1);
    this.refresh();
  }

  warn(text: string): void {
    this.trail.add(warningFact(text));
    this.warned(text);
  }

  /** Keeps a decision that counts. */
  decided(decision: Decision): void {
    this.decisions.push(decision);
    this.trail.addAndKeep(decisionFact(decision));
  }

  /** Tells of a decision that does not count. */
  refused(decision: Decision, refusal: { readonly code: RefusalCode; readonly text: string }): void {
    const fact = refusalFact(decision, refusal);
    this.trail.add(fact);
    this.warned(fact.text);
  }

  private warned(text: string): void {
    this.warnings.push(text);
    this.say(text, 'bad');
  }

  /** Keeps a verdict of record. */
  judged(verdict: StageVerdict): void {
    this.verdicts.push(verdict);
    const fact = verdictFact(verdict);
    // A rollback keeps it once traffic is back: nothing may stand before that.
    if (verdict.verdict.kind === 'ROLLBACK') this.trail.add(fact);
    else this.trail.addAndKeep(fact);
  }

  /** What it waits for from now on, or null. Searchable, because a rollout that waits is what operators look for. */
  setWait(wait: Wait | null): void {
    const changed = wait?.kind !== this.wait?.kind || wait?.deadline !== this.wait?.deadline;
    this.wait = wait;
    if (changed) {
      if (wait !== null) this.trail.add(waitFact(wait));
      if (needsPerson(wait)) this.trail.keep();
      upsertSearchAttributes([
        { key: searchAttributes.waitsFor, value: wait?.kind ?? null },
        { key: searchAttributes.deadline, value: wait?.deadline ? new Date(wait.deadline) : null },
      ]);
    }
    this.refresh();
  }

  /** Rewrites what Temporal Web shows first. */
  refresh(): void {
    setCurrentDetails(currentDetails(this.view()));
    this.onChange();
  }

  view(): RolloutView {
    const { request } = this;
    return {
      version: 1,
      rolloutId: request.rolloutId,
      lane: request.policy.lane,
      release: this.release,
      releaseName: this.name,
      actor: request.actor,
      policy: request.policy,
      phase: this.phase,
      status: needsPerson(this.wait) && this.wait?.kind !== 'approval' ? 'held' : this.phase,
      outcome: this.outcome,
      reason: this.reason,
      startedAt: this.startedAt,
      endedAt: this.endedAt,
      assessment: this.assessment,
      plan: this.plan,
      stage: this.stage,
      weights: this.weights,
      generation: this.generation,
      paused: this.paused,
      wait: this.wait,
      approvals: this.approvals,
      breakGlass: this.breakGlass,
      decisions: this.decisions,
      verdicts: this.verdicts,
      timeline: this.timeline,
      warnings: this.warnings,
      trail: this.trail.head,
    };
  }
}

/** Deterministic inside a workflow: the time of the current workflow task. */
export function now(): string {
  return new Date().toISOString();
}
