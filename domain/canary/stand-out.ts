import { benjaminiHochberg, holm } from './multiplicity.js';
import type { MetricFinding } from './types.js';

/** Metrics whose p-values stand out of all that were tested together, each named once. */
export interface StandOut {
  /** Of the metrics that a verdict follows: by Holm's method, no false one among them in 95 of 100 cases. */
  readonly followed: readonly string[];
  /** Of those that are only shown: by Benjamini and Hochberg's, one in twenty is expected to be false. */
  readonly advisory: readonly string[];
}

const LEVEL = 0.05;

/**
 * Where to look first: the metrics that are worse than chance and tolerance explain, when it is counted that many were
 * tested. For people: verdicts spend their budget in their own way.
 */
export function standOut(findings: readonly MetricFinding[]): StandOut {
  const tested = findings.flatMap(({ metric, p, advisory, test }) =>
    p === null || test === 'limit' || test === 'binomial' ? [] : [{ metric, p, advisory: advisory === true }],
  );
  const named = (advisory: boolean, adjust: typeof holm): readonly string[] => {
    const some = tested.filter((one) => one.advisory === advisory);
    const adjusted = adjust(some.map(({ p }) => p));
    return [...new Set(some.filter((_, i) => (adjusted[i] ?? 1) < LEVEL).map(({ metric }) => metric))];
  };
  return { followed: named(false, holm), advisory: named(true, benjaminiHochberg) };
}
