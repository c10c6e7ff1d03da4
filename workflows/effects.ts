import { ActivityFailure, ApplicationFailure, isCancellation } from '@temporalio/workflow';
import type { Activities } from '../activities/contract.js';
import type { PlatformScope } from '../activities/platform.js';
import { idempotencyKey } from '../domain/fence.js';
import type { Fence, IdempotencyKey, Permit } from '../domain/fence.js';
import { effectObject } from '../domain/target.js';
import type { Claimant, Configuration, Effect, EffectResult } from '../domain/target.js';
import { forwardEffects, reads, rollbackEffects } from './activity-profiles.js';

/** What came of an effect, with everything that the runner could settle by itself settled. */
export type EffectOutcome =
  | { readonly kind: 'done'; readonly drift: readonly string[]; readonly configuration?: Configuration }
  | { readonly kind: 'drift'; readonly object: string; readonly found: string; readonly expected: string }
  | { readonly kind: 'refused'; readonly reason: string }
  /** Only of `cut-traffic`: another way must be taken. */
  | { readonly kind: 'declined'; readonly reason: string }
  /** The lane's anchor belongs to somebody else now: this run must not write any more. */
  | {
      readonly kind: 'denied';
      readonly reason: string;
      /** The outcome that the anchor has recorded for this rollout. */
      readonly ended: string | null;
    }
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface EffectRequest {
  readonly effect: Effect;
  /** Stage or phase that means it: part of the key. */
  readonly stage: string;
  readonly direction: 'forward' | 'back';
  /** Shown in Temporal Web. */
  readonly summary: string;
  /** Write over drift, because a person said so. */
  readonly overwrite?: boolean;
}

/**
 * Performs effects in the order of the workflow: gives each its key and its fence, and when a fence turns out to be
 * older than what the platform holds (after a reset, or when the lane's history was lost) takes a new generation and
 * goes on.
 */
export class EffectRunner {
  private generation = 0;
  private step = 0;
  private readonly meant = new Map<string, number>();

  constructor(
    private readonly scope: PlatformScope,
    private readonly claimant: Claimant,
    private readonly laneGeneration: number,
    private readonly onGeneration: (generation: number) => void,
  ) {}

  /** Whether a generation was granted to this run. */
  get claimed(): boolean {
    return this.generation > 0;
  }

  /** The generation that its writes carry; null before one was granted. */
  get granted(): number | null {
    return this.claimed ? this.generation : null;
  }

  /** Takes a generation; every write from here on carries it. The first one on the way forward comes before any effect. */
  async claim(direction: 'forward' | 'back'): Promise<EffectOutcome> {
    const activities = direction === 'back' ? rollbackEffects() : this.claimed ? forwardEffects() : reads();
    const request = {
      ...this.scope,
      claimant: this.claimant,
      laneGeneration: Math.max(this.laneGeneration, this.generation),
    };
    try {
      const answer = await activities.claimLane(request);
      if (answer.kind === 'denied') {
        const ended = answer.anchor.ended.findLast(({ rolloutId }) => rolloutId === this.scope.rolloutId);
        return { kind: 'denied', reason: answer.reason, ended: ended?.outcome ?? null };
      }
      if (answer.kind === 'refused') return { kind: 'refused', reason: `the lane's anchor: ${answer.reason}` };
      this.generation = answer.generation;
      this.step = 0;
      this.onGeneration(answer.generation);
      return { kind: 'done', drift: [] };
    } catch (error) {
      return unreachable(error);
    }
  }

  /** Writes the fence of a new step on all objects, so that whatever was begun earlier is refused from here on. */
  async raiseFence(stage: string, direction: 'forward' | 'back'): Promise<EffectOutcome> {
    return this.perform({
      effect: { op: 'raise-fence' },
      stage,
      direction,
      summary: `fence off earlier writers (${stage})`,
    });
  }

  perform(request: EffectRequest): Promise<EffectOutcome> {
    return this.attempt(request, this.mean(request));
  }

  /** What lets an activity perform by itself what was meant: newer than all that was permitted so far. */
  permit(request: EffectRequest, key: IdempotencyKey): Permit {
    const onDrift = request.direction === 'back' || request.overwrite === true ? 'overwrite' : 'hold';
    return { key, fence: this.nextFence(), onDrift };
  }

  /** Performs what was meant, or goes on from what came of it where an activity has done so by itself. */
  performMeant(request: EffectRequest, key: IdempotencyKey, result: EffectResult | null): Promise<EffectOutcome> {
    return result === null ? this.attempt(request, key) : Promise.resolve(this.settled(request, key, result));
  }

  private attempt(request: EffectRequest, key: IdempotencyKey): Promise<EffectOutcome> {
    return this.dispatch(request, this.permit(request, key)).then(
      (result) => this.settled(request, key, result),
      unreachable,
    );
  }

  private settled(
    request: EffectRequest,
    key: IdempotencyKey,
    result: EffectResult,
  ): EffectOutcome | Promise<EffectOutcome> {
    switch (result.kind) {
      case 'applied':
        return { ...result, kind: 'done' };
      case 'already':
        return { ...result, kind: 'done', drift: [] };
      case 'drift':
      case 'declined':
        return result;
      case 'refused':
        return { kind: 'refused', reason: `${result.object}: ${result.reason}` };
      case 'stale':
        return this.overtaken(request, key);
    }
  }

  /** The platform holds a newer fence: takes a new generation, and tries again. */
  private async overtaken(request: EffectRequest, key: IdempotencyKey): Promise<EffectOutcome> {
    const claimed = await this.claim(request.direction);
    if (claimed.kind !== 'done') return claimed;
    // A fence is meant anew in each generation; every other effect is the same intent whatever the fence.
    if (request.effect.op === 'raise-fence') return this.attempt(request, this.mean(request));
    const raised = await this.raiseFence(request.stage, request.direction);
    return raised.kind === 'done' ? this.attempt(request, key) : raised;
  }

  private dispatch({ effect, direction, summary }: EffectRequest, permit: Permit): Promise<EffectResult> {
    const activities = direction === 'forward' ? forwardEffects() : rollbackEffects();
    const { scope } = this;
    const options = { summary };
    switch (effect.op) {
      case 'open-rollout':
        return with_(activities, 'openRollout', options, { scope, effect, permit });
      case 'record-configuration':
        return with_(activities, 'recordConfiguration', options, { scope, effect, permit });
      case 'raise-fence':
        return with_(activities, 'raiseFence', options, { scope, effect, permit });
      case 'start-arm':
        return with_(activities, 'startArm', options, { scope, effect, permit });
      case 'set-weights':
        return with_(activities, 'setWeights', options, { scope, effect, permit });
      case 'cut-traffic':
        return with_(activities, 'cutTraffic', options, { scope, effect, permit });
      case 'set-stable-template':
        return with_(activities, 'setStableTemplate', options, { scope, effect, permit });
      case 'remove-arm':
        return with_(activities, 'removeArm', options, { scope, effect, permit });
      case 'remove-stable':
        return with_(activities, 'removeStable', options, { scope, effect, permit });
      case 'close-rollout':
        return with_(activities, 'closeRollout', options, { scope, effect, permit });
    }
  }

  private nextFence(): Fence {
    this.step += 1;
    return { generation: this.generation, step: this.step };
  }

  /**
   * Gives an effect its key, also before its time has come. Counted per intent, so that it is the same for retries, resets and replays. The fence itself is not part of it: a
   * reset run means the same effects again under a newer fence.
   */
  mean({ effect, stage }: EffectRequest): IdempotencyKey {
    const object = effect.op === 'raise-fence' ? `all.g${this.generation}` : effectObject(effect);
    const intent = { rolloutId: this.scope.rolloutId, stage, operation: effect.op, object };
    const name = idempotencyKey({ ...intent, n: 0 });
    const n = (this.meant.get(name) ?? 0) + 1;
    this.meant.set(name, n);
    return idempotencyKey({ ...intent, n });
  }
}

/** Calls an activity with a summary for Temporal Web. */
export function with_<Name extends keyof Activities>(
  activities: Activities,
  name: Name,
  options: { readonly summary: string },
  ...args: Parameters<Activities[Name]>
): ReturnType<Activities[Name]> {
  const activity = activities[name] as unknown as {
    executeWithOptions(options: { summary: string }, args: readonly unknown[]): ReturnType<Activities[Name]>;
  };
  return activity.executeWithOptions({ summary: options.summary.slice(0, 180) }, args);
}

/** An activity that was given up: a value, because the rollout goes back then. Cancellation goes on as what it is. */
export function unreachable(error: unknown): { kind: 'unreachable'; reason: string } {
  if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
  return { kind: 'unreachable', reason: failureText(error) };
}

/** Whether an activity was told no by a platform that does answer. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof ActivityFailure && error.cause instanceof ApplicationFailure && error.cause.type === 'Refused'
  );
}

/** The innermost message of an activity's failure: what the far side said. */
export function failureText(error: ActivityFailure): string {
  let deepest: Error = error;
  while (deepest.cause instanceof Error) deepest = deepest.cause;
  return deepest.message;
}
