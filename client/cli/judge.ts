import { replay } from '../../domain/canary/replay.js';
import { JUDGES } from '../../domain/canary/types.js';
import { parseScenario } from '../../formats/scenario.js';
import { usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { answerLines } from './jsonl.js';

export interface JudgeOptions {
  readonly jsonl?: boolean;
  readonly judge?: string;
}

/** `slipway judge --jsonl`: one recorded canary a line in, one verdict a line out. */
export async function judgeScenarios(context: CliContext, options: JudgeOptions): Promise<CommandResult> {
  const name = JUDGES.find((known) => known === (options.judge ?? 'sequential'));
  if (name === undefined) throw usage(`there is no judge "${options.judge}"`, `judges: ${JUDGES.join(', ')}`);
  if (options.jsonl !== true) throw usage('it is not said how scenarios come', 'add --jsonl: one scenario a line');
  return answerLines(context, (document) => {
    const scenario = parseScenario(document, name);
    if ('problem' in scenario) return scenario;
    const { recording, horizonMs } = scenario;
    try {
      const { kind, atMs, hold, summary } = replay(recording, horizonMs);
      return { answer: { verdict: kind, decided_at_s: (atMs - recording.startMs) / 1000, hold, summary } };
    } catch (error) {
      // Samples that make no sense: the judge says which.
      if (error instanceof RangeError) return { problem: error.message };
      throw error;
    }
  });
}
