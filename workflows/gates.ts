import { condition } from '@temporalio/workflow';
import { gateState, openGate } from '../domain/approval/decision.js';
import type { Plan } from '../domain/plan.js';
import type { Wait } from '../domain/rollout.js';
import { gateFact } from '../domain/trail-facts.js';
import type { Notices } from './notices.js';
import type { RunState } from './run-state.js';

/** Which gate: `approval` is asked before anything is touched, `gate` before a stage. */
export interface GateCall {
  /** `release`, or `stage-2`. */
  readonly gate: string;
  readonly kind: Extract<Wait['kind'], 'approval' | 'gate'>;
  readonly plan: Plan;
}

/** Questions to people: each is bound to the plan's digest, and waits no longer than the policy says. */
export class Gates {
  constructor(
    private readonly state: RunState,
    private readonly notices: Notices,
  ) {}

  /** Opens a gate and tells those who can answer. */
  open({ gate, plan }: GateCall): void {
    const { request, name } = this.state;
    const { policy, release, actor, rolloutId } = request;
    this.state.approvals = openGate({
      gate,
      planDigest: plan.digest,
      policy: policy.approval,
      involved: [release.change.author, actor.subject],
    });
    this.state.trail.add(gateFact(this.state.approvals));
    this.notices.send({
      kind: 'approval-required',
      severity: 'warning',
      title: `${name} waits for approval (${gate})`,
      text: `slipway approve ${rolloutId} --gate ${gate}`,
      n: `${gate}-${plan.digest}`,
    });
  }

  /** The wait at an open gate, as it is shown. */
  wait({ gate, kind }: GateCall, sinceMs: number, forMs: number): Wait {
    const { rolloutId, policy } = this.state.request;
    const { quorum, groups } = policy.approval;
    const anyone = groups.length > 0 ? `members of ${groups.join(', ')}` : 'anyone';
    const excluded = this.state.approvals?.excluded ?? [];
    return {
      kind,
      since: new Date(sinceMs).toISOString(),
      deadline: new Date(sinceMs + forMs).toISOString(),
      atDeadline: kind === 'approval' ? 'rejected' : 'rolled back',
      reason: `${quorum} approval${quorum === 1 ? '' : 's'} of gate "${gate}" needed`,
      who: excluded.length > 0 ? `${anyone} but ${excluded.join(', ')}` : anyone,
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
    this.open(call);
    state.setWait(this.wait(call, Date.now(), forMs));
    await condition(() => this.answer !== 'open', forMs, { summary: `gate "${call.gate}" expires` });
    state.setWait(null);
    return this.answer === 'open' ? 'expired' : this.answer;
  }

  /** What people have said so far. */
  get answer(): ReturnType<typeof gateState> {
    return this.state.approvals === null ? 'open' : gateState(this.state.approvals);
  }
}
