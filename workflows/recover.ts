import type { PlatformScope } from '../activities/platform.js';
import type { RolloutId } from '../domain/release.js';
import type { Outcome, RolloutResult } from '../domain/rollout.js';
import { ALL_STABLE } from '../domain/target.js';
import type { LaneRef, Target } from '../domain/target.js';
import { outcomeFact, warningFact, weightsFact } from '../domain/trail-facts.js';
import { EffectRunner } from './effects.js';
import { recoverWorkflowId } from './messages.js';
import { Notices } from './notices.js';
import { rollBack } from './roll-back.js';
import { now } from './run-state.js';
import { Trail } from './trail.js';
import { patched, setCurrentDetails } from '@temporalio/workflow';

export interface RecoverInput {
  readonly lane: LaneRef;
  readonly target: Target;
  readonly rolloutId: string;
  readonly laneGeneration: number;
  /** Why the rollout's own run can't do it. */
  readonly cause: string;
  /** Where people are told of this service's rollouts; absent where no request for it is at hand: then the log tells. */
  readonly notify?: readonly string[];
}

/** Rolls back a rollout whose run is gone (terminated, failed, or its history lost), from what its anchor holds. */
export async function recover(input: RecoverInput): Promise<RolloutResult> {
  const { lane, target, rolloutId, laneGeneration, cause, notify = [] } = input;
  // Before it, a recovery told nobody.
  const tells = patched('recover-tells');
  const notices = new Notices({ rolloutId, policy: { lane, notify } }, (text) => say(text));
  const story: string[] = [
    `## Recovering ${lane.service} in ${lane.environment}`,
    '',
    `Rollout ${rolloutId}: ${cause}`,
  ];
  const trail = new Trail({ lane, rolloutId }, recoverWorkflowId(lane, rolloutId));
  trail.onFailure = (text) => say(text);
  trail.add({ type: 'request', actor: null, text: `recovery of rollout ${rolloutId}: ${cause}`, data: { rolloutId } });
  const say = (text: string): void => {
    story.push(`- ${now()} ${text}`);
    setCurrentDetails(story.join('\n').slice(0, 18_000));
  };
  const told = (text: string): void => {
    trail.add({ type: 'effect', actor: null, text, data: {} });
    say(text);
  };
  const scope: PlatformScope = { lane, target, rolloutId };
  const runner = new EffectRunner(scope, 'recover', laneGeneration, (generation) =>
    told(`took generation ${generation}`),
  );
  const end = async ({ outcome, text, rolledBack }: Ending): Promise<RolloutResult> => {
    const reason = { code: 'lost-run', text } as const;
    if (tells && (rolledBack || outcome === 'rollback-failed'))
      notices.send({
        kind: 'rollout-ended',
        severity: outcome === 'rollback-failed' ? 'page' : 'warning',
        title: `${lane.service} in ${lane.environment}: ${outcome}`,
        text,
        n: `recovered-${runner.granted ?? 'unclaimed'}`,
      });
    trail.close(outcomeFact(outcome, reason, { rolledBack, record: null }));
    const endedAt = now();
    await Promise.all([notices.settled(), trail.settled()]);
    return { rolloutId: rolloutId as RolloutId, outcome, reason, rolledBack, endedAt, record: null, trail: trail.head };
  };
  const wayBack = async (): Promise<Ending> => {
    const claimed = await runner.claim('back');
    if (claimed.kind === 'denied') return nothingToRecover(claimed);
    const result = await rollBack({
      scope,
      runner,
      outcome: 'rolled-back',
      stage: 'recover',
      // What the lost run has begun may still be under way.
      cut: null,
      // Nor why it would have gone back.
      harmful: false,
      say: told,
      warn: (text) => {
        trail.add(warningFact(text));
        say(text);
      },
      onLostRecord: 'warn',
      onTrafficBack: () => {
        trail.addAndKeep(weightsFact(ALL_STABLE, runner.granted));
        say('traffic is back on stable');
      },
    });
    switch (result.kind) {
      case 'done':
        return { outcome: 'rolled-back', text: `${cause}: rolled back by recovery`, rolledBack: true };
      case 'denied':
        return nothingToRecover(result);
      case 'failed':
        return { outcome: 'rollback-failed', text: `${cause}: recovery failed: ${result.reason}`, rolledBack: false };
    }
  };
  return end(await (tells ? notices.pageIfSlow(`${lane.service} in ${lane.environment}`, wayBack) : wayBack()));
}

interface Ending {
  readonly outcome: Outcome;
  readonly text: string;
  readonly rolledBack: boolean;
}

function nothingToRecover({ reason, ended }: { readonly reason: string; readonly ended: string | null }): Ending {
  return { outcome: recorded(ended), text: `nothing to recover: ${reason}`, rolledBack: false };
}

/** The outcome that the run had recorded before it was lost; `aborted` where it never got so far as to hold the lane. */
function recorded(ended: string | null): Outcome {
  return ended === null ? 'aborted' : (ended as Outcome);
}
