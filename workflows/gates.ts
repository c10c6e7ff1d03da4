import { CancellationScope, condition, isCancellation, sleep } from '@temporalio/workflow';
import {
  closeGate,
  countText,
  escalateGate,
  gateState,
  oldestVoteMs,
  openGate,
  promptsOf,
  staleText,
  whoCan,
} from '../domain/approval/gate.js';
import type { Prompt } from '../domain/approval/gate.js';
import type { GateEnd } from '../domain/approval/decision.js';
import { neededText } from '../domain/approval/rules.js';
import { lastVerdicts, shownDigest, whatChanged } from '../domain/approval/shown.js';
import type { Shown } from '../domain/approval/shown.js';
import type { Plan } from '../domain/plan.js';
import type { Wait } from '../domain/rollout.js';
import { gateFact } from '../domain/trail-facts.js';
import { durationText } from '../domain/words.js';
import type { Controls } from './commands.js';
import type { Intake } from './intake.js';
import type { Notices } from './notices.js';
import type { RunState } from './run-state.js';

/** Which gate: `approval` is asked before anything is touched, `gate` before a stage. */
export interface GateCall {
  /** `release`, or `stage-2`. */
  readonly gate: string;
  readonly kind: Extract<Wait['kind'], 'approval' | 'gate'>;
  readonly plan: Plan;
}

/** A gate that is asked now, and since when and for how long. */
interface Asked {
  readonly call: GateCall;
  readonly sinceMs: number;
  readonly forMs: number;
  /** Reminds and escalates until it is cancelled. */
  readonly prompts: CancellationScope;
}

/** Questions to people: each is bound to what they are shown, and waits no longer than the policy says. */
export class Gates {
  private asked: Asked | null = null;
  /** What was shown when a gate was asked last, by its name. */
  private readonly shown = new Map<string, Shown>();
  /** When the oldest approval of a gate was given, ms, by its name: of those that were approved. */
  private readonly given = new Map<string, number>();
  private questions = 0;

  constructor(
    private readonly state: RunState,
    private readonly controls: Controls,
    private readonly notices: Notices,
    private readonly intake: Intake,
  ) {
    controls.onCounted = () => this.refresh();
  }

  /** Opens a gate and tells those who can answer; asked before, also what has changed since. */
  open(call: GateCall, forMs: number): void {
    const { gate } = call;
    const { request, name } = this.state;
    const { policy, release, actor, rolloutId } = request;
    this.close('void');
    const sinceMs = Date.now();
    const shown = this.shownFor(call);
    const before = this.shown.get(gate);
    const changed = [...(before === undefined ? [] : whatChanged(before, shown)), ...this.staleness(gate)];
    this.shown.set(gate, shown);
    this.given.delete(gate);
    this.state.approvals = openGate({
      gate,
      planDigest: shownDigest(shown),
      policy: policy.approval,
      level: shown.risk?.level ?? null,
      involved: [release.change.author, actor.subject, ...(actor.aliases ?? [])],
      changed,
    });
    this.state.trail.add(gateFact(this.state.approvals));
    this.questions += 1;
    const again = changed.length === 0 ? '' : `asked again: ${changed.join('; ')}. `;
    if (changed.length > 0) this.state.say(`gate "${gate}" must be approved again: ${changed.join('; ')}`, 'bad');
    this.notices.send({
      kind: 'approval-required',
      severity: 'warning',
      title: `${name} waits for approval (${gate})`,
      text: `${again}slipway approve ${rolloutId} --gate ${gate}`,
      groups: this.state.approvals.groups,
      n: `${gate}-${this.questions}`,
    });
    const prompts = new CancellationScope();
    this.asked = { call, sinceMs, forMs, prompts };
    void prompts.run(() => this.prompt(promptsOf(policy.approval, sinceMs, forMs), sinceMs + forMs));
  }

  /** The wait at the open gate, as it is shown. */
  wait(): Wait | null {
    const { asked } = this;
    const { approvals, request } = this.state;
    if (asked === null || approvals === null) return null;
    const { gate, kind } = asked.call;
    const { rolloutId } = request;
    return {
      kind,
      since: new Date(asked.sinceMs).toISOString(),
      deadline: new Date(asked.sinceMs + asked.forMs).toISOString(),
      atDeadline: kind === 'approval' ? 'rejected' : 'rolled back',
      reason: `${neededText(approvals.rules)} of gate "${gate}" needed`,
      who: whoCan(approvals),
      commands: [
        `slipway approve ${rolloutId} --gate ${gate}`,
        `slipway reject ${rolloutId} --gate ${gate} --reason "…"`,
      ],
      gate,
    };
  }

  /** Opens a gate and waits for the answer, where nothing has to be guarded meanwhile. */
  async ask(call: GateCall, forMs: number): Promise<'approved' | 'rejected' | 'expired'> {
    const { state } = this;
    this.open(call, forMs);
    try {
      state.setWait(this.wait());
      const inTime = await condition(() => this.answer !== 'open', forMs, { summary: `gate "${call.gate}" expires` });
      if (!inTime) await this.intake.settled();
      const answer = this.answer === 'open' ? 'expired' : this.answer;
      this.close(answer);
      state.setWait(null);
      return answer;
    } finally {
      // Stopped: nobody is asked any more.
      this.close('void');
    }
  }

  /** What people have said so far. A gate stays open while a rejection of it is being verified. */
  get answer(): ReturnType<typeof gateState> {
    const { approvals } = this.state;
    return approvals === null || this.intake.rejectionsPending > 0 ? 'open' : gateState(approvals);
  }

  /** Whether the gate has its answer once all that came before this moment is verified: what came in time counts. */
  async hasAnswer(): Promise<boolean> {
    if (this.asked === null) return false;
    await this.intake.settled();
    return this.answer !== 'open';
  }

  /** The gate is answered, or nobody is asked any more. */
  close(end: GateEnd): void {
    const { asked, state } = this;
    if (asked === null || state.approvals === null) return;
    asked.prompts.cancel();
    this.asked = null;
    const { brokenBy } = state.approvals;
    if (end === 'approved')
      this.given.set(asked.call.gate, (brokenBy === null ? oldestVoteMs(state.approvals) : null) ?? Date.now());
    state.approvals = closeGate(state.approvals, end);
  }

  /** Whether a gate has been approved, of what would be shown now, and so lately that it still counts. */
  stands(call: GateCall): boolean {
    const before = this.shown.get(call.gate);
    if (before === undefined || !this.given.has(call.gate)) return false;
    return shownDigest(before) === shownDigest(this.shownFor(call)) && this.staleness(call.gate).length === 0;
  }

  private shownFor({ plan, kind }: GateCall): Shown {
    const { assessment, evidence, verdicts } = this.state;
    const seen = kind === 'gate' ? lastVerdicts(verdicts) : [];
    return { plan, risk: assessment?.risk ?? null, evidence, verdicts: seen };
  }

  /** Shows who can still answer, after somebody has. */
  private refresh(): void {
    const { wait, approvals } = this.state;
    if (wait !== null && wait.gate !== null && wait.gate === approvals?.gate) this.state.setWait(this.wait());
  }

  private staleness(gate: string): readonly string[] {
    const givenMs = this.given.get(gate);
    const validForMs = this.state.request.policy.approval.validForMs ?? null;
    if (givenMs === undefined || validForMs === null || Date.now() - givenMs <= validForMs) return [];
    return [staleText(givenMs, validForMs, Date.now())];
  }

  /** Reminds and escalates at their times, by durable timers. */
  private async prompt(prompts: readonly Prompt[], deadlineMs: number): Promise<void> {
    try {
      for (const { atMs, kind } of prompts) {
        await sleep(Math.max(1, atMs - Date.now()), { summary: kind });
        if (kind === 'reminder') this.remind(deadlineMs);
        else this.escalate(deadlineMs);
      }
    } catch (error) {
      if (!isCancellation(error)) throw error;
    }
  }

  private remind(deadlineMs: number): void {
    const { approvals, name, request } = this.state;
    if (approvals === null) return;
    const { gate } = approvals;
    this.notices.send({
      kind: 'approval-reminder',
      severity: 'warning',
      title: `${name} still waits for approval (${gate}): ${countText(approvals)}`,
      text: `${leftText(deadlineMs)}: slipway approve ${request.rolloutId} --gate ${gate}`,
      groups: [...approvals.groups, ...approvals.alsoGroups],
      n: `${gate}-${this.questions}-${Date.now()}`,
    });
  }

  private escalate(deadlineMs: number): void {
    const { state, asked } = this;
    const { approval } = state.request.policy;
    if (state.approvals === null || asked === null || approval.escalate == null) return;
    const { groups } = approval.escalate;
    const { gate } = state.approvals;
    state.approvals = escalateGate(state.approvals, groups, Date.now());
    state.say(`gate "${gate}" is escalated: ${groups.join(', ')} may answer too`);
    this.refresh();
    // It may be that somebody has approved already who may only now.
    if (this.answer !== 'open') this.controls.version += 1;
    this.notices.send({
      kind: 'approval-escalated',
      severity: 'warning',
      title: `${state.name} waits for approval (${gate}): ${groups.join(', ')} may answer too`,
      text: `nobody else has for ${durationText(Date.now() - asked.sinceMs)}, ${leftText(deadlineMs)}: slipway approve ${state.request.rolloutId} --gate ${gate}`,
      groups,
      n: `${gate}-${this.questions}`,
    });
  }
}

function leftText(deadlineMs: number): string {
  return `${durationText(Math.max(1000, deadlineMs - Date.now()))} left`;
}
