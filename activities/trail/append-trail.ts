import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { headAfter } from '../../domain/trail.js';
import type { Activities } from '../contract.js';
import { retryable } from '../failures.js';
import { TrailConflict } from './trail-store.js';
import type { TrailStore } from './trail-store.js';

export interface TrailDeps {
  readonly trails: TrailStore;
}

/** Keeps what a workflow has numbered, under the run that asks: a run that was reset has an account of its own. */
export function createTrailActivities({ trails }: TrailDeps): Pick<Activities, 'appendTrail'> {
  return {
    async appendTrail({ entries, closes }) {
      const last = entries.at(-1);
      if (last === undefined) return;
      const { runId } = Context.current().info.workflowExecution ?? { runId: 'none' };
      try {
        await retryable(async () => {
          await trails.append(last.log, runId, entries);
          if (closes) await trails.seal(runId, headAfter(last), new Date().toISOString());
        });
      } catch (error) {
        if (!(error instanceof TrailConflict)) throw error;
        throw ApplicationFailure.create({ type: 'TrailConflict', message: error.message, nonRetryable: true });
      }
    },
  };
}
