import type { Recall } from '../../domain/canary/opinion.js';
import type { ArmSamples, JudgeInput, MetricFinding } from '../../domain/canary/types.js';

/**
 * Remembers what the tests of a look have found, for the further instants that a watch shares with it: they are made of
 * the same samples, and exact tests cost most of what a worker computes. Remembered is only what nothing that is still to
 * come can change: samples only grow, so that is settled once both arms have one of the look's instant or later.
 */
export function createLookMemory(): (input: Pick<JudgeInput, 'canary' | 'comparison'>) => Recall {
  let last: { readonly of: string; readonly findings: readonly MetricFinding[] } | null = null;
  return ({ canary, comparison }) =>
    (look, find) => {
      const arms = [canary, ...(comparison === null ? [] : [comparison])];
      const of = JSON.stringify([look, arms.map(kindsOf)]);
      if (last?.of === of) return last.findings;
      const findings = find();
      const settled = arms.every(({ timesMs }) => (timesMs.at(-1) ?? -Infinity) >= look.atMs);
      last = settled ? { of, findings } : null;
      return findings;
    };
}

/** What is measured at all: a histogram or a metric that begins late is told of for the time before, too. */
function kindsOf({ leSeconds, values = {} }: ArmSamples): unknown {
  return [leSeconds, Object.keys(values)];
}
