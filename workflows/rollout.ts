import {
  ActivityFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  patched,
} from '@temporalio/workflow';
import type { PlatformScope } from '../activities/platform.js';
import { fitsUpTo, plannedNeeds, resized } from '../domain/plan.js';
import type { Plan, PlannedStage } from '../domain/plan.js';
import { needsApproval } from '../domain/policy.js';
import { releaseName } from '../domain/release.js';
import type { Outcome, Reason, RolloutRequest, RolloutResult } from '../domain/rollout.js';
import { ALL_STABLE, changeText, CONFIGURATION, trafficSplitOf } from '../domain/target.js';
import type { Arm, Effect, SizedArm, TargetSnapshot, Weights } from '../domain/target.js';
import { configurationFact, generationFact, outcomeFact, weightsFact } from '../domain/trail-facts.js';
import { SLIPWAY_VERSION } from '../domain/version.js';
import { durationText, percentText } from '../domain/words.js';
import { courtesies, forwardEffects, reads, waits } from './activity-profiles.js';
import { Controls, handleCommands } from './commands.js';
import { decide, rejectedText, releaseGate } from './decide.js';
import { EffectRunner, failureText, isRefusal, unreachable, with_ } from './effects.js';
import type { EffectOutcome, EffectRequest } from './effects.js';
import { back, ended, settle } from './end.js';
import type { End } from './end.js';
import { Gates } from './gates.js';
import type { GateCall } from './gates.js';
import { Notices } from './notices.js';
import { CUT, rollBack } from './roll-back.js';
import type { MeantCut } from './roll-back.js';
import { now, RunState } from './run-state.js';
import { SlackFollower } from './slack-follow.js';
import { guardUntil, soak, stopReason } from './soak.js';
import type { SoakRequest, SoakResult } from './soak.js';

export interface RolloutInput {
  readonly request: RolloutRequest;
  /** The lane's last generation: the anchor's may be higher. */
  readonly laneGeneration: number;
  /** When this lane last rolled back, ms since the epoch: a factor of risk. */
  readonly lastRollbackAtMs: number | null;
}

/** Takes one release of one service from risk assessment to promoted or rolled back. One run is one attempt. */
export async function rollout(input: RolloutInput): Promise<RolloutResult> {
  return new Rollout(input).run();
}

/** Brings about what is then watched. */
type SetUp = (overwrite: boolean) => Promise<End | null>;

/** One set of weights that is watched for a while. */
interface Watched {
  readonly label: string;
  readonly title: string;
  readonly canary: Arm;
  readonly comparison: 'baseline' | 'stable' | null;
  readonly expectedShare: number | null;
  readonly durationMs: number;
  readonly budgetShare: number;
  readonly trial: boolean;
  readonly gate: GateCall | null;
  /** The siblings that have traffic, at the sizes that were planned beside a stable of the size that it had then. */
  readonly siblings: readonly Sibling[];
}

/** An arm that grows with stable. */
type Sibling = SizedArm & { readonly arm: 'canary' | 'baseline' };

class Rollout {
  private readonly state: RunState;
  private readonly controls = new Controls();
  private readonly scope: PlatformScope;
  private readonly runner: EffectRunner;
  private readonly notices: Notices;
  private readonly gates: Gates;
  private readonly slack: SlackFollower;
  /** Whether anything on the platform may have been changed. */
  private touched = false;
  /** While users may be sent past stable by a route and nothing changes stable, going back is this one write. */
  private cut: MeantCut | null = null;
  /** What was watched last, for as long as users are sent to it. */
  private watched: SoakRequest | null = null;
  /** The size of stable that its siblings are large enough for: a smaller one later makes none of them smaller. */
  private sizedFor = 0;
  /** Siblings are made larger while they are watched. */
  private growth: { readonly scope: CancellationScope; readonly done: Promise<void> } | null = null;

  constructor(private readonly input: RolloutInput) {
    const { request, laneGeneration } = input;
    this.state = new RunState(request);
    this.scope = { lane: request.policy.lane, target: request.policy.target, rolloutId: request.rolloutId };
    this.runner = new EffectRunner(this.scope, 'rollout', laneGeneration, (generation) => {
      this.state.generation = generation;
      this.state.trail.add(generationFact(generation));
    });
    this.notices = new Notices(request, (text) => this.state.warn(text));
    this.state.trail.onConflict = (text) => {
      const title = `${this.state.name}: its trail is not what was kept`;
      this.notices.send({ kind: 'alert', severity: 'page', title, text, n: 'trail' });
    };
    const { state, controls, notices } = this;
    this.gates = new Gates(state, controls, notices, handleCommands({ state, controls, notices }));
    this.slack = new SlackFollower(state);
    this.slack.follow();
  }

  async run(): Promise<RolloutResult> {
    let end: End;
    try {
      const scope = new CancellationScope({ cancellable: true });
      this.controls.onStop = () => scope.cancel();
      end = await scope.run(() => this.forward());
    } catch (error) {
      if (!isCancellation(error)) throw error;
      end = back(stopReason(this.controls));
    }
    return CancellationScope.nonCancellable(() => this.finish(end));
  }

  // The way forward ---------------------------------------------------------------------------------------------------

  private async forward(): Promise<End> {
    const { request, lastRollbackAtMs } = this.input;
    const { state, gates } = this;
    const plan = await decide({ request, lastRollbackAtMs, state, gates, describe: () => this.describe() });
    if ('outcome' in plan) return plan;
    const refused = await this.preflight(plan);
    if (refused !== null) return refused;
    for (const stage of plan.stages) {
      const end = await this.canary(plan, stage);
      if (end !== null) return end;
      if (this.controls.skip?.full === true && !this.mustAsk(plan.stages.slice(stage.number + 1))) break;
    }
    this.controls.skip = null;
    const end = plan.kind === 'first' ? await this.startFirst(plan) : await this.promote(plan);
    if (end !== null) return end;
    return this.close();
  }

  /** Who skips all stages skips what is watched in them, and not the people who must be asked before one of them. */
  private mustAsk(stages: readonly PlannedStage[]): boolean {
    return stages.some(({ approval }) => approval) && patched('promote-full-asks');
  }

  /** The last questions before the first effect, then the claim, the anchor and the fence. */
  private async preflight(plan: Plan): Promise<End | null> {
    const { state, runner, scope } = this;
    try {
      const findings = await reads().preflight({ scope, needs: plannedNeeds(plan) });
      const refused = settle(findings, (text) => state.warn(text));
      if (refused !== null) return refused;
    } catch (error) {
      return unread(error);
    }
    // From here on the anchor may name this rollout: whatever happens, it is closed in the end.
    this.touched = true;
    const claimed = await runner.claim('forward');
    if (claimed.kind !== 'done') {
      // Where no answer came, the anchor may name a run that is over: the lane settles that once the platform is back.
      this.touched = false;
      const reason = 'reason' in claimed ? claimed.reason : claimed.kind;
      const code =
        claimed.kind === 'denied' ? 'lost-claim' : claimed.kind === 'refused' ? 'refused' : 'platform-unreachable';
      return ended('rejected', code, reason);
    }
    const { release } = plan;
    const opened = await this.do_({ op: 'open-rollout', release }, 'preflight', 'record stable as it is');
    if (opened !== null) return opened;
    const fenced = await this.do_({ op: 'raise-fence' }, 'preflight', 'fence off earlier writers');
    state.weights = plan.kind === 'first' ? null : ALL_STABLE;
    return fenced;
  }

  /** One canary stage: capacity, weight, watch. Null: go on. */
  private async canary(plan: Plan, stage: PlannedStage): Promise<End | null> {
    const { state } = this;
    const label = `stage-${stage.number}`;
    const title = `stage ${stage.number} of ${plan.stages.length} at ${percentText(stage.weights.canary)}`;
    if (stage.number === 1) {
      const end = await this.askFirst(plan, stage);
      if (end !== null) return end;
    }
    state.stage = stage.number;
    state.enter('canary', title);
    const siblings = [
      { arm: 'canary', replicas: stage.canaryReplicas },
      { arm: 'baseline', replicas: stage.baselineReplicas },
    ] as const;
    const setUp = async (overwrite: boolean): Promise<End | null> => {
      const size = await this.stableSize(plan);
      if (typeof size !== 'number') return size;
      const moved =
        (await this.readyArms(plan, label, this.sized(plan, siblings), overwrite)) ??
        (await this.setWeights(stage.weights, label, overwrite));
      if (moved !== null || stage.baselineReplicas > 0) return moved;
      return this.do_({ op: 'remove-arm', arm: 'baseline' }, label, 'remove baseline', { overwrite });
    };
    const next = plan.stages[stage.number];
    const { canary, stable, baseline } = stage.weights;
    const comparison = baseline > 0 ? 'baseline' : 'stable';
    const other = baseline > 0 ? baseline : stable;
    return this.watch(plan, setUp, {
      label,
      title,
      canary: 'canary',
      comparison,
      expectedShare: canary / (canary + other),
      durationMs: stage.durationMs,
      budgetShare: stage.budgetShare,
      trial: false,
      gate: next?.approval === true ? this.gateCall(plan, next) : null,
      siblings,
    });
  }

  private gateCall(plan: Plan, stage: PlannedStage): GateCall {
    return { gate: `stage-${stage.number}`, kind: 'gate', plan };
  }

  /**
   * The gate of the first stage, where nothing stands yet that could be guarded; and once more that of the release, where
   * its approval is too old by now. Each until both stand.
   */
  private async askFirst(plan: Plan, stage: PlannedStage): Promise<End | null> {
    const { policy } = this.input.request;
    const { heldMs, approvalMs } = policy.waits;
    const first = this.gateCall(plan, stage);
    // What is there to be lost by now is more than a question: at its end the rollout goes back.
    const release: GateCall = { ...releaseGate(plan), kind: 'gate' };
    for (;;) {
      const end =
        stage.approval && !this.gates.stands(first)
          ? await this.askOrGoBack(first, heldMs, 'stage 1')
          : needsApproval(policy, this.state.assessment?.risk.approval === true) && !this.gates.stands(release)
            ? await this.askOrGoBack(release, approvalMs, 'the release')
            : 'nothing to ask';
      if (end === 'nothing to ask') return null;
      if (end !== null) return end;
    }
  }

  private async askOrGoBack(call: GateCall, forMs: number, what: string): Promise<End | null> {
    switch (await this.gates.ask(call, forMs)) {
      case 'approved':
        return null;
      case 'expired':
        return back({ code: 'approval-expired', text: `nobody approved ${what} within ${durationText(forMs)}` });
      case 'rejected':
        return back({ code: 'approval-rejected', text: rejectedText(this.state, what) });
    }
  }

  /** Full canary, all traffic on it, verify while going back is one write; then copy to stable and clean up. */
  private async promote(plan: Plan): Promise<End | null> {
    const { state } = this;
    state.enter('promoting', `promoting ${state.name}`);
    const size = await this.stableSize(plan);
    if (typeof size !== 'number') return size;
    const { sizedFor } = this;
    if (plan.promote === 'verified') {
      const full = [{ arm: 'canary', replicas: plan.stableReplicas }] as const;
      const weights: Weights = { stable: 0, canary: 100, baseline: 0 };
      const verified = await this.verify(
        plan,
        'canary',
        full,
        async (overwrite) =>
          (await this.readyArms(plan, 'promote', this.sized(plan, full), overwrite)) ??
          (await this.setWeights(weights, 'promote', overwrite)),
      );
      if (verified !== null) return verified;
    }
    state.enter('settling', `copying ${state.name} to stable`);
    // Where stable has grown while the canary had all traffic, the canary has too.
    const copied = await this.setStable(plan, 'settle', this.sizedFor > sizedFor ? this.sizedFor : size);
    if (copied !== null) return copied;
    const moved = await this.setWeights(ALL_STABLE, 'settle');
    if (moved !== null) return moved;
    for (const arm of ['canary', 'baseline'] as const) {
      const removed = await this.do_({ op: 'remove-arm', arm }, 'settle', `remove ${arm}`);
      if (removed !== null) return removed;
    }
    return null;
  }

  private async startFirst(plan: Plan): Promise<End | null> {
    const { state } = this;
    state.enter('promoting', `first release: starting ${state.name}`);
    const { stableReplicas } = plan;
    const verified = await this.verify(
      plan,
      'stable',
      [],
      async (overwrite) =>
        (await this.setStable(plan, 'promote', stableReplicas, overwrite)) ??
        (await this.setWeights(ALL_STABLE, 'promote', overwrite)),
    );
    if (verified !== null) return verified;
    state.enter('settling', 'verified');
    return null;
  }

  /**
   * How large stable is. What carries a share of its traffic must be able to carry it at the size that it has now, whoever
   * made it larger: an autoscaler, or a person.
   */
  private async stableSize(plan: Plan): Promise<number | End> {
    this.sizedFor = Math.max(this.sizedFor, plan.stableReplicas);
    if (!plan.autoscaled && !patched('stable-size-is-read')) return plan.stableReplicas;
    try {
      // Users are on the canary by now: a platform that is away for a moment is waited for.
      const { arms } = await forwardEffects().describeTarget(this.scope);
      const size = Math.max(plan.stableReplicas, arms.stable?.replicas ?? 0);
      this.sizedFor = Math.max(this.sizedFor, size);
      return size;
    } catch (error) {
      return back({ code: 'platform-unreachable', text: unreachable(error).reason });
    }
  }

  private async setStable(plan: Plan, label: string, replicas: number, overwrite = false): Promise<End | null> {
    this.cut = null;
    const effect: Effect = {
      op: 'set-stable-template',
      template: { from: 'release', release: plan.release },
      replicas,
    };
    return (
      (await this.do_(effect, label, `stable runs ${this.state.name}`, { overwrite })) ??
      (await this.awaitReady([{ arm: 'stable', replicas }]))
    );
  }

  /** Watches the new version alone: nothing is left to compare with, so hard limits speak. */
  private async verify(plan: Plan, arm: Arm, siblings: readonly Sibling[], setUp: SetUp): Promise<End | null> {
    const { state } = this;
    const { verifyMs } = this.input.request.policy;
    const verifying: SetUp = async (overwrite) => {
      const end = await setUp(overwrite);
      if (end !== null) return end;
      state.stage = null;
      state.enter(
        'verifying',
        verifyMs === 0
          ? `all traffic on ${state.name}`
          : `all traffic on ${state.name}: verifying for ${durationText(verifyMs)}`,
      );
      return null;
    };
    if (verifyMs === 0) return verifying(false);
    return this.watch(plan, verifying, {
      label: 'verify',
      title: 'verification at 100 %',
      canary: arm,
      comparison: null,
      expectedShare: null,
      durationMs: verifyMs,
      budgetShare: 1,
      trial: plan.kind === 'first',
      gate: null,
      siblings,
    });
  }

  /** Watches what was set up. What somebody else has changed is set up once more, where a person lets that be. */
  private async watch(plan: Plan, setUp: SetUp, what: Watched): Promise<End | null> {
    for (let overwrite = false; ;) {
      const end = await setUp(overwrite);
      if (end !== null) return end;
      const result = await this.soak(plan, what);
      if (result.kind === 'advance') return null;
      if (result.kind === 'back') return back(result.reason);
      const { object, text } = result;
      const held = await this.holdOnDrift(object, text);
      if (held !== null) return held;
      const settled = await this.letBe(plan, object, what.label);
      if (settled !== null) return settled;
      // What else somebody has changed is another question.
      overwrite = !isConfiguration(object);
    }
  }

  /** Settles, as a person said, what is none of what is set up: what stable runs, and what templates refer to. */
  private async letBe(plan: Plan, object: string, label: string): Promise<End | null> {
    if (isConfiguration(object)) return this.recordConfiguration(label);
    // It is written once, in the end.
    return object === 'stable' && plan.kind !== 'first' ? this.restoreStable(plan, label) : null;
  }

  private recordConfiguration(label: string): Promise<End | null> {
    return this.do_({ op: 'record-configuration' }, label, 'record the configuration as it is now');
  }

  private async soak(plan: Plan, what: Watched): Promise<SoakResult> {
    const { request } = this.input;
    const { label, title, canary, comparison, trial, gate, siblings, ...rest } = what;
    const grown = siblings.filter(({ replicas }) => replicas > 0);
    this.watched = {
      state: this.state,
      controls: this.controls,
      gates: this.gates,
      title,
      trial,
      gate,
      notify: (notice) => this.notices.send(notice),
      permitCut: () => this.cut && this.runner.permit(CUT, this.cut.key),
      onCut: (result) => {
        this.cut &&= { ...this.cut, result };
      },
      fitsUpTo: () =>
        grown.length === 0
          ? null
          : Math.min(...grown.map(({ replicas }) => fitsUpTo(replicas, plan.stableReplicas, this.sizedFor))),
      onOutgrown: (stableReplicas) => this.grow(plan, label, grown, stableReplicas),
      watch: {
        ...rest,
        scope: this.scope,
        stage: label,
        analysis: request.policy.analysis,
        metrics: request.policy.metrics,
        canary: { arm: canary, version: releaseName(request.release.images) },
        comparison: comparison === null ? null : { arm: comparison, version: plan.stableVersion ?? '' },
        startMs: Date.now(),
      },
    };
    try {
      return await soak(this.watched);
    } finally {
      if (this.growth !== null) await this.endGrowth(this.growth);
      this.gates.close('void');
      this.state.setWait(null);
    }
  }

  // Size --------------------------------------------------------------------------------------------------------------

  /** Siblings at the sizes that go with stable's. */
  private sized(plan: Plan, siblings: readonly Sibling[]): readonly Sibling[] {
    return siblings.map(({ arm, replicas }) => ({
      arm,
      replicas: resized(replicas, plan.stableReplicas, this.sizedFor),
    }));
  }

  /**
   * Makes siblings as large as their share of a stable that has grown meanwhile asks for. The watch goes on: it is the
   * same canary, and it must not be out of sight until more of it is ready. Where that fails the rest is as it was.
   */
  private grow(plan: Plan, label: string, siblings: readonly Sibling[], stableReplicas: number): void {
    const before = this.sized(plan, siblings);
    this.sizedFor = stableReplicas;
    const larger = this.sized(plan, siblings).filter(
      ({ replicas }, index) => replicas > (before[index]?.replicas ?? 0),
    );
    const { scope, done: earlier } = this.growth ?? { scope: new CancellationScope(), done: null };
    const done = scope.run(async () => {
      await earlier;
      for (const sibling of larger) await this.growArm(plan, label, sibling, stableReplicas);
    });
    this.growth = {
      scope,
      done: done.catch((error: unknown) => {
        if (!isCancellation(error)) throw error;
      }),
    };
  }

  private async growArm(plan: Plan, stage: string, { arm, replicas }: Sibling, stableReplicas: number): Promise<void> {
    const { state } = this;
    const effect = startOf(plan, { arm, replicas });
    const summary = `${arm}: ${replicas}, for stable has ${stableReplicas}`;
    const outcome = await this.runner.perform({ effect, stage, direction: 'forward', summary });
    if (outcome.kind === 'done') return state.say(`stable has grown to ${stableReplicas}: ${replicas} of ${arm}`);
    // What somebody else has changed is seen by the watch, and a lost claim by the next effect that counts.
    const why = 'reason' in outcome ? outcome.reason : `it is ${outcome.found}, not ${outcome.expected}`;
    state.warn(`stable has grown to ${stableReplicas}, and ${arm} could not grow to ${replicas}: ${why}`);
  }

  /** Whatever comes next writes by itself, and with a newer fence. */
  private async endGrowth({ scope, done }: NonNullable<Rollout['growth']>): Promise<void> {
    scope.cancel();
    await done;
    this.growth = null;
  }

  /** Stable as it was when the rollout opened: where a person says that a change of it shall not stay. */
  private async restoreStable({ stableReplicas: replicas }: Plan, label: string): Promise<End | null> {
    const effect: Effect = { op: 'set-stable-template', template: { from: 'recorded' }, replicas };
    return (
      (await this.do_(effect, label, 'restore stable', { overwrite: true })) ??
      (await this.awaitReady([{ arm: 'stable', replicas }]))
    );
  }

  // Effects -----------------------------------------------------------------------------------------------------------

  private async setWeights(weights: Weights, label: string, overwrite = false): Promise<End | null> {
    // Also where no answer comes it may have been written.
    if (weights.stable < 100 && !trafficSplitOf(this.scope.target).byReplicas)
      this.cut = { key: this.runner.mean(CUT), result: null };
    const text = `stable ${percentText(weights.stable)}, canary ${percentText(weights.canary)}, baseline ${percentText(weights.baseline)}`;
    const end = await this.do_({ op: 'set-weights', weights }, label, text, { overwrite });
    if (end === null) {
      if (weights.canary === 0 && weights.baseline === 0) this.watched = null;
      this.state.weights = weights;
      this.state.trail.add(weightsFact(weights, this.state.generation));
      this.state.say(`traffic: ${text}`);
    }
    return end;
  }

  /** Starts arms and waits until all of them can serve. Those of size 0 are none. */
  private async readyArms(
    plan: Plan,
    label: string,
    arms: readonly Sibling[],
    overwrite: boolean,
  ): Promise<End | null> {
    const wanted = arms.filter(({ replicas }) => replicas > 0);
    for (const { arm, replicas } of wanted) {
      const end = await this.do_(startOf(plan, { arm, replicas }), label, `${arm}: ${replicas} ready`, { overwrite });
      if (end !== null) return end;
    }
    return this.awaitReady(wanted);
  }

  private async awaitReady(arms: readonly SizedArm[]): Promise<End | null> {
    const { progressMs } = this.input.request.policy.waits;
    // What has traffic meanwhile is not among those that are waited for.
    const call = { scope: this.scope, arms, untilMs: Date.now() + progressMs, guard: this.watched !== null };
    const summary = `${arms.map(({ arm, replicas }) => `${arm}: ${replicas}`).join(', ')} ready`;
    try {
      const ready = await with_(waits(progressMs), 'awaitReady', { summary }, call);
      if (ready.kind === 'ready') return null;
      const text =
        ready.kind === 'failed'
          ? ready.message
          : `${ready.ready} of ${ready.wanted} ready after ${durationText(progressMs)}${ready.message === null ? '' : `: ${ready.message}`}`;
      return back({ code: 'not-ready', text: `${ready.arm} did not become ready: ${text}` });
    } catch (error) {
      return back({ code: 'platform-unreachable', text: unreachable(error).reason });
    }
  }

  /** Performs an effect; holds on drift until a person says what to do. Null: done. */
  private do_(
    effect: Effect,
    stage: string,
    summary: string,
    { direction = 'forward', overwrite = false }: Partial<Pick<EffectRequest, 'direction' | 'overwrite'>> = {},
  ): Promise<End | null> {
    return this.perform({ effect, stage, direction, summary, overwrite });
  }

  private perform(request: EffectRequest): Promise<End | null> {
    // `then`, not `await`: Temporal takes a stack trace of every promise, and each effect comes this way.
    return this.runner.perform(request).then((outcome) => {
      switch (outcome.kind) {
        case 'done':
          if (outcome.configuration !== undefined && patched(RECORDED))
            this.state.trail.add(configurationFact(outcome.configuration, this.state.generation));
          for (const drift of outcome.drift) this.state.warn(`wrote over a change by somebody else: ${drift}`);
          return null;
        case 'refused':
        case 'declined':
          return back({ code: 'refused', text: outcome.reason });
        case 'unreachable':
          return back({ code: 'platform-unreachable', text: outcome.reason });
        case 'denied':
          this.touched = false;
          return ended('aborted', 'lost-claim', outcome.reason);
        case 'drift':
          return this.settleDrift(request, outcome);
      }
    });
  }

  /** A person writes over what was found, or the rollout goes back. */
  private async settleDrift(
    request: EffectRequest,
    drift: Extract<EffectOutcome, { kind: 'drift' }>,
  ): Promise<End | null> {
    const { object } = drift;
    const held = await this.holdOnDrift(object, changeText(object, drift));
    if (held !== null) return held;
    // Nothing of that is written over: what else somebody has changed is another question.
    if (isConfiguration(object))
      return (await this.recordConfiguration(request.stage)) ?? this.perform({ ...request, overwrite: false });
    return this.perform({ ...request, overwrite: true });
  }

  /** Waits until a person resumes the rollout, with the guard on where users are sent to the new version. Null: resumed. */
  private async holdOnDrift(object: string, text: string): Promise<End | null> {
    const { state, controls } = this;
    const { request } = this.input;
    const { heldMs } = request.policy.waits;
    const reason = `${object} was changed by somebody else: ${text}`;
    const deadline = new Date(Date.now() + heldMs).toISOString();
    state.say(`HOLD: ${reason}`, 'bad');
    controls.resumed = null;
    state.setWait({
      kind: 'drift',
      since: now(),
      deadline,
      atDeadline: 'rolled back',
      reason,
      who: request.policy.owner ?? `the owners of ${request.policy.lane.service}`,
      commands: [`slipway resume ${request.rolloutId}`, `slipway abort ${request.rolloutId}`],
      gate: null,
    });
    this.notices.send({
      kind: 'held',
      severity: 'warning',
      title: `${state.name} is held: drift`,
      text: reason,
      n: `drift-${Date.now()}`,
    });
    const isResumed = (): boolean => controls.resumed !== null;
    const harm = this.watched === null ? null : await guardUntil(this.watched, deadline, isResumed);
    if (this.growth !== null) await this.endGrowth(this.growth);
    if (this.watched === null) await condition(isResumed, heldMs, { summary: 'drift hold expires' });
    const resumed = isResumed();
    controls.resumed = null;
    state.setWait(null);
    if (harm !== null) return back(harm);
    return resumed ? null : back({ code: 'wait-expired', text: `nobody settled the drift of ${object}` });
  }

  private async describe(): Promise<TargetSnapshot | End> {
    try {
      const snapshot = await reads().describeTarget(this.scope);
      const holder = snapshot.anchor?.current;
      // A run that was reset: what it did before is still there, and goes back however this run ends.
      if (holder?.rolloutId === this.scope.rolloutId && holder.claimant === 'rollout') this.touched = true;
      return snapshot;
    } catch (error) {
      return unread(error);
    }
  }

  // Ends --------------------------------------------------------------------------------------------------------------

  private async close(): Promise<End> {
    // From here on nothing can be stopped any more: stable runs the new version. Neither a cancellation nor a platform
    // that is away may leave it open whether "completed" was recorded, so this is tried for as long as it takes.
    this.controls.closing = true;
    return CancellationScope.nonCancellable(async () => {
      const closed = await this.do_(
        { op: 'close-rollout', outcome: 'completed' },
        'settle',
        'record the outcome: completed',
        { direction: 'back' },
      );
      return closed ?? ended('completed', 'verified', `${this.state.name} serves all traffic`);
    });
  }

  /** Goes back as far as anything was touched, records, tells. Not cancellable. */
  private async finish(end: End): Promise<RolloutResult> {
    const { state } = this;
    state.setWait(null);
    let { outcome, reason } = end;
    let rolledBack = false;
    if (outcome !== 'completed' && this.touched) {
      state.reason = reason;
      // A verdict has been said already, with its numbers.
      state.enter('rolling-back', reason.code === 'verdict' ? 'rolling back' : `rolling back: ${reason.text}`, 'bad');
      const wanted: Outcome = outcome === 'aborted' || outcome === 'superseded' ? outcome : 'rolled-back';
      const result = await this.goBack(wanted, isHarm(reason));
      rolledBack = result.kind === 'done';
      outcome = wanted;
      if (result.kind === 'failed') {
        outcome = 'rollback-failed';
        reason = { code: 'refused', text: `rollback failed: ${result.reason} (it began because: ${reason.text})` };
      } else if (result.kind === 'denied') {
        outcome = 'aborted';
        reason = { code: 'lost-claim', text: result.reason };
      }
    }
    state.outcome = outcome;
    state.reason = reason;
    state.endedAt = now();
    state.enter(
      outcome,
      rolledBack ? `${outcome}: ${this.input.request.policy.lane.service} is as it was before` : reason.text,
      outcome === 'completed' ? 'good' : 'bad',
    );
    this.notices.send({
      kind: 'rollout-ended',
      severity: outcome === 'rollback-failed' ? 'page' : outcome === 'completed' ? 'info' : 'warning',
      title: `${state.name}: ${outcome}`,
      text: reason.text,
      n: 'ended',
    });
    // Whoever still waits for an answer gets one, and the record says who was verified.
    await condition(allHandlersFinished);
    const record = await this.record();
    const { breakGlass, trail, request, endedAt } = state;
    trail.close(outcomeFact(outcome, reason, { rolledBack, record }));
    await Promise.all([this.notices.settled(), trail.settled(), this.slack.settled()]);
    await condition(allHandlersFinished);
    return {
      rolloutId: request.rolloutId,
      outcome,
      reason,
      rolledBack,
      endedAt,
      record,
      breakGlass,
      trail: trail.head,
    };
  }

  private async goBack(outcome: Outcome, harmful: boolean): ReturnType<typeof rollBack> {
    const { state, scope, runner } = this;
    return this.notices.pageIfSlow(state.name, () =>
      rollBack({
        scope,
        runner,
        outcome,
        stage: 'rollback',
        cut: this.cut,
        harmful,
        say: (text) => state.say(text),
        warn: (text) => state.warn(text),
        onLostRecord: 'fail',
        onTrafficBack: () => {
          state.weights = ALL_STABLE;
          state.trail.addAndKeep(weightsFact(ALL_STABLE, state.generation));
        },
      }),
    );
  }

  /** The decision record: kept if the store can be had; a rollout's end does not depend on it. */
  private async record(): Promise<string | null> {
    const { state } = this;
    try {
      const { digest } = await courtesies().recordRollout({
        version: 1,
        view: state.view(),
        decisions: state.decisions,
        slipway: { version: SLIPWAY_VERSION },
      });
      return digest;
    } catch (error) {
      if (!(error instanceof ActivityFailure)) throw error;
      state.warn(`the decision record could not be stored: ${failureText(error)}`);
      return null;
    }
  }
}

/** Runs of before it was recorded took no notice of what their platform had recorded, or said of it. */
const RECORDED = 'configuration-is-recorded';

function isConfiguration(object: string): boolean {
  return object === CONFIGURATION && patched(RECORDED);
}

/** What starts a sibling, or brings it to its size. */
function startOf({ release }: Plan, { arm, replicas }: Sibling): Effect {
  const template = arm === 'canary' ? ({ from: 'release', release } as const) : ({ from: 'recorded' } as const);
  return { op: 'start-arm', arm, template, replicas };
}

/** Whether the new version was seen to do harm to those who are on it. */
function isHarm({ code }: Reason): boolean {
  return code === 'verdict' || code === 'disturbed';
}

/** The end of a rollout whose target could not be read before anything was touched: it is away, or it said no. */
function unread(error: unknown): End {
  const { reason } = unreachable(error);
  return ended('rejected', isRefusal(error) ? 'preflight' : 'platform-unreachable', reason);
}
