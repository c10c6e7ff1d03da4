import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { nothingToLose } from '../domain/capacity.js';
import type {
  ArmsReadiness,
  Effect,
  EffectOp,
  EffectResult,
  SizedArm,
  StableReadiness,
  Target,
} from '../domain/target.js';
import type { Permit } from '../domain/fence.js';
import type { Activities } from './contract.js';
import { asFailure, retryable, Unavailable } from './failures.js';
import { platformOf } from './platform.js';
import type { Platform, Platforms, PlatformScope } from './platform.js';
import { beating, pause } from './waiting.js';
import { disturbance, firstOf } from './watch/inspection.js';

/** Pauses between two looks at arms that are not ready yet: what is not there at once takes its time. */
const READY_POLL_MS = { first: 250, longest: 1000, growth: 1.25 };
/** Between two looks at what users would lose by going to stable, and before what may be a moment's state is looked at again. */
const LOSS_POLL_MS = { usual: 5000, again: 1000 };

/**
 * How long a platform's `Retry-After` is kept to at most: a proxy before an API server that is away may say ten minutes.
 * With users on a bad version, each second counts for more than one call too many.
 */
const LONGEST_WAIT_MS = { back: 10_000, usual: 60_000 };

type PlatformActivityName =
  | 'describeTarget'
  | 'preflight'
  | 'claimLane'
  | 'openRollout'
  | 'recordConfiguration'
  | 'raiseFence'
  | 'startArm'
  | 'setWeights'
  | 'cutTraffic'
  | 'setStableTemplate'
  | 'removeArm'
  | 'removeStable'
  | 'closeRollout'
  | 'awaitReady'
  | 'awaitStable'
  | 'readAnchor'
  | 'listAnchors';

export interface PlatformDeps {
  /** The platform of each kind of target. */
  readonly platforms: Platforms;
  /** Counts effects for the metrics. */
  readonly onEffect: (effect: { readonly op: EffectOp; readonly result: EffectResult['kind'] }) => void;
}

/** Thin: each asks the platform of the target, and turns what a retry may cure into a retryable failure. */
export function createPlatformActivities({
  platforms,
  onEffect,
}: PlatformDeps): Pick<Activities, PlatformActivityName> {
  const of = (target: Target): Platform => platformOf(platforms, target);

  async function effect(call: {
    readonly scope: PlatformScope;
    readonly effect: Effect;
    readonly permit: Permit;
  }): Promise<EffectResult> {
    const { scope, permit } = call;
    const isBack = call.effect.op === 'cut-traffic' || permit.onDrift === 'overwrite';
    const result = await retryable(
      () => of(scope.target).apply(scope, call.effect, permit, attemptSignal()),
      isBack ? LONGEST_WAIT_MS.back : LONGEST_WAIT_MS.usual,
    );
    onEffect({ op: call.effect.op, result: result.kind });
    return result;
  }

  async function look(scope: PlatformScope, { arm, replicas }: SizedArm, signal: AbortSignal): Promise<ArmsReadiness> {
    try {
      const now = await of(scope.target).readiness(scope, arm, replicas, signal);
      return now.kind === 'ready' ? { kind: 'ready' } : { ...now, arm };
    } catch (error) {
      // An outage of the platform is no answer about the arm: keep asking until the deadline.
      if (!(error instanceof Unavailable)) throw asFailure(error);
      return { kind: 'waiting', arm, ready: 0, wanted: replicas, message: error.message };
    }
  }

  /** Why users lose nothing by going to stable; null also where that can't be seen. */
  async function loss(scope: PlatformScope, signal: AbortSignal): Promise<string | null> {
    try {
      return nothingToLose(await of(scope.target).describe(scope, signal));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw asFailure(error);
      return null;
    }
  }

  return {
    // Also the way back asks for these two.
    describeTarget: (scope) => retryable(() => of(scope.target).describe(scope, attemptSignal()), LONGEST_WAIT_MS.back),
    claimLane: (request) => retryable(() => of(request.target).claim(request, attemptSignal()), LONGEST_WAIT_MS.back),
    preflight: ({ scope, needs }) =>
      retryable(() => of(scope.target).preflight(scope, needs, attemptSignal()), LONGEST_WAIT_MS.usual),
    openRollout: effect,
    recordConfiguration: effect,
    raiseFence: effect,
    startArm: effect,
    setWeights: effect,
    cutTraffic: effect,
    setStableTemplate: effect,
    removeArm: effect,
    removeStable: effect,
    closeRollout: effect,

    async awaitReady({ scope, arms, untilMs, guard }) {
      async function ready(signal: AbortSignal): Promise<ArmsReadiness> {
        for (let pauseMs = READY_POLL_MS.first; ; pauseMs *= READY_POLL_MS.growth) {
          const seen = await Promise.all(arms.map((arm) => look(scope, arm, signal)));
          // One that never will be ready speaks for all, then one that is not yet.
          const last = seen.find(({ kind }) => kind === 'failed') ?? seen.find(({ kind }) => kind === 'waiting');
          if (last === undefined) return { kind: 'ready' };
          if (last.kind !== 'waiting' || Date.now() >= untilMs) return last;
          await pause(Math.min(pauseMs, READY_POLL_MS.longest), signal);
        }
      }
      async function harmed(signal: AbortSignal): Promise<ArmsReadiness> {
        const { object, text } = await disturbance(of(scope.target), scope, ({ kind }) => kind === 'harm', signal);
        return { kind: 'failed', arm: object, message: text };
      }
      return beating(() => firstOf(cancellationSignal(), ready, ...(guard ? [harmed] : [])));
    },

    async awaitStable({ scope, replicas, untilMs, away }) {
      async function ready(signal: AbortSignal): Promise<StableReadiness> {
        for (let pauseMs = READY_POLL_MS.first; ; pauseMs *= READY_POLL_MS.growth) {
          const now = await look(scope, { arm: 'stable', replicas }, signal);
          if (now.kind === 'ready') return now;
          // That the template before did not come up is said of this one too, until the first of its pods has: a restored
          // stable is waited for, whatever is said of it.
          if (Date.now() >= untilMs) {
            const { arms } = await retryable(() => of(scope.target).describe(scope, signal));
            return { kind: 'waiting', ready: arms.stable?.ready ?? 0, wanted: replicas, message: now.message };
          }
          await pause(Math.min(pauseMs, READY_POLL_MS.longest), signal);
        }
      }
      async function lost(signal: AbortSignal): Promise<StableReadiness> {
        for (let before: string | null = null; ;) {
          const text = await loss(scope, signal);
          if (text !== null && before !== null) return { kind: 'nothing-to-lose', text };
          before = text;
          await pause(text === null ? LOSS_POLL_MS.usual : LOSS_POLL_MS.again, signal);
        }
      }
      return beating(() => firstOf(cancellationSignal(), ready, ...(away ? [lost] : [])));
    },

    async readAnchor({ lane, target }) {
      try {
        const { anchor } = await of(target).describe({ lane, target, rolloutId: 'none' }, cancellationSignal());
        return { kind: 'read', anchor };
      } catch (error) {
        if (cancellationSignal().aborted) throw error;
        // Also what will never be answered: the rollout that comes next reads for itself, and says what to do about it.
        return { kind: 'unreachable', reason: error instanceof Error ? error.message : String(error) };
      }
    },

    async listAnchors() {
      const sweeps = await Promise.all(Object.values(platforms).map((each) => each.anchors(cancellationSignal())));
      return {
        anchors: sweeps.flatMap(({ anchors }) => anchors),
        unreachable: sweeps.flatMap(({ unreachable }) => unreachable),
      };
    },
  };
}

/**
 * Also over once the attempt has run out of its time: nobody waits for it any more, and where calls wait for their turn it
 * must not stand before the attempts that came after it.
 */
function attemptSignal(): AbortSignal {
  return AbortSignal.any([cancellationSignal(), AbortSignal.timeout(activityInfo().startToCloseTimeoutMs)]);
}
