import type { PlatformScope } from '../activities/platform.js';
import type { RolloutId } from '../domain/release.js';
import type { Outcome, RolloutResult } from '../domain/rollout.js';
import type { LaneRef, Target } from '../domain/target.js';
import { EffectRunner } from './effects.js';
import { rollBack } from './roll-back.js';
import { now } from './run-state.js';
import { setCurrentDetails } from '@temporalio/workflow';

export interface RecoverInput {
  readonly lane: LaneRef;
  readonly target: Target;
  readonly rolloutId: string;
  readonly laneGeneration: number;
  /** Why the rollout's own run can't do it. */
  readonly cause: string;
}

/** Rolls back a rollout whose run is gone (terminated, failed, or its history lost), from what its anchor holds. */
export async function recover(input: RecoverInput): Promise<RolloutResult> {
  const { lane, target, rolloutId, laneGeneration, cause } = input;
  const story: string[] = [
    `## Recovering ${lane.service} in ${lane.environment}`,
    '',
    `Rollout ${rolloutId}: ${cause}`,
  ];
  const say = (text: string): void => {
    story.push(`- ${now()} ${text}`);
    setCurrentDetails(story.join('\n').slice(0, 18_000));
  };
  const scope: PlatformScope = { lane, target, rolloutId };
  const runner = new EffectRunner(scope, 'recover', laneGeneration, (generation) =>
    say(`took generation ${generation}`),
  );
  const end = (outcome: RolloutResult['outcome'], text: string, rolledBack: boolean): RolloutResult => ({
    rolloutId: rolloutId as RolloutId,
    outcome,
    reason: { code: 'lost-run', text },
    rolledBack,
    endedAt: now(),
    record: null,
  });
  const claimed = await runner.claim('back');
  if (claimed.kind === 'denied') return end(recorded(claimed.ended), `nothing to recover: ${claimed.reason}`, false);
  const result = await rollBack({
    scope,
    runner,
    outcome: 'rolled-back',
    stage: 'recover',
    // What the lost run has begun may still be under way.
    cutFirst: false,
    say,
    warn: say,
    onLostRecord: 'warn',
    onTrafficBack: () => say('traffic is back on stable'),
  });
  switch (result.kind) {
    case 'done':
      return end('rolled-back', `${cause}: rolled back by recovery`, true);
    case 'denied':
      return end(recorded(result.ended), `nothing to recover: ${result.reason}`, false);
    case 'failed':
      return end('rollback-failed', `${cause}: recovery failed: ${result.reason}`, false);
  }
}

/** The outcome that the run had recorded before it was lost; `aborted` where it never got so far as to hold the lane. */
function recorded(ended: string | null): Outcome {
  return ended === null ? 'aborted' : (ended as Outcome);
}
