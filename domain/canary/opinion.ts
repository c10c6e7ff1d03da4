import { evidenceOf } from './series.js';
import type { ArmHistory } from './series.js';
import type { HoldReason, JudgeInput, MetricFinding, VerdictKind } from './types.js';
import { count, plural } from '../words.js';

/** What a statistical rule says, before hard limits, missing data and the traffic split are considered. */
export interface Opinion {
  readonly kind: VerdictKind;
  readonly hold: HoldReason | null;
  readonly summary: string;
  readonly findings: readonly MetricFinding[];
  readonly look: number;
}

/** Which tests were made: those of one look, of all samples up to its instant, with what it may spend. */
export interface LookId {
  readonly number: number;
  readonly atMs: number;
  readonly alpha?: number;
}

/** Gives what was found at this look, if it is known; else finds it. */
export type Recall = (look: LookId, find: () => readonly MetricFinding[]) => readonly MetricFinding[];

/** Both arms' counters as increases. */
export interface Evidence {
  readonly canary: ArmHistory;
  readonly comparison: ArmHistory;
}

const NO_SAMPLES = { timesMs: [], leSeconds: [], series: [] };

/** What was known of both arms at an instant; of a comparison that is not there, nothing. */
export function bothArms({ canary, comparison }: Pick<JudgeInput, 'canary' | 'comparison'>, atMs: number) {
  return { canary: evidenceOf(canary, atMs), comparison: evidenceOf(comparison ?? NO_SAMPLES, atMs) };
}

/**
 * A HOLD for want of requests, with how many more are needed; `null` where both arms had enough.
 *
 * @param canCome whether more of them would still be judged
 */
export function tooFewRequests(
  input: JudgeInput,
  canaryRequests: number,
  comparisonRequests: number,
  canCome = true,
): string | null {
  const needed = Math.max(1, input.policy.minRequests);
  const missing = [
    { arm: 'canary', has: canaryRequests },
    { arm: 'comparison', has: comparisonRequests },
  ].filter(({ has }) => has < needed);
  if (missing.length === 0) return null;
  const parts = missing.map(
    ({ arm, has }) => `the ${arm} had ${count(has)}${canCome ? ` and needs ${count(needed - has)} more` : ''}`,
  );
  return `Too few requests to judge (${plural(needed, 'request')} per arm): ${parts.join('; ')}.`;
}

/** Why both arms' latencies can't be compared at all, or `null`. */
export function latencyObstacle({
  canary,
  comparison,
}: Evidence): { readonly absent: boolean; readonly why: string } | null {
  const [a, b] = [canary.boundsSeconds, comparison.boundsSeconds];
  if (a.length === 0 && b.length === 0) {
    return { absent: true, why: 'The service has no latency histogram: it is judged on errors alone.' };
  }
  if (a.length === 0 || b.length === 0) {
    const arm = a.length === 0 ? 'canary' : 'comparison';
    return {
      absent: false,
      why: `Latencies can't be compared: the ${arm} has no latency histogram, the other arm has.`,
    };
  }
  if (a.length !== b.length || a.some((bound, i) => bound !== b[i])) {
    const why = "Latencies can't be compared: the arms' histograms have different buckets.";
    return { absent: false, why };
  }
  return null;
}

/** A latency finding without numbers. Without any histogram latency has no voice, and so doesn't stand in the way. */
export function latencyNotJudged(obstacle: { readonly absent: boolean; readonly why: string }): MetricFinding {
  const values = { canary: null, comparison: null, canaryN: 0, comparisonN: 0, statistic: null, p: null, alpha: null };
  const verdict = obstacle.absent ? 'PROMOTE' : 'HOLD';
  const { why } = obstacle;
  return {
    metric: 'latency-p99',
    verdict,
    ...values,
    unit: 'seconds',
    test: 'none',
    effect: null,
    threshold: null,
    why,
  };
}
