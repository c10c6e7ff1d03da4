import { digestOf } from '../canonical.js';
import { furtherMetrics } from './defaults.js';
import { grossFailure } from './gross-failure.js';
import { hardLimitFindings } from './hard-limits.js';
import { judgeKayenta } from './judge-kayenta.js';
import { checkAt, judgeMannWhitney } from './judge-mann-whitney.js';
import { judgeSequential, lookAt, requestsSinceWarmUp } from './judge-sequential.js';
import { judgeThreshold } from './judge-threshold.js';
import type { Opinion, Recall } from './opinion.js';
import { countsWithin, evidenceOf, evidenceUntil } from './series.js';
import type { ArmEvidence } from './series.js';
import { trafficSplitFinding } from './traffic-split.js';
import { BUILT_IN_METRICS } from './types.js';
import type { AnalysisPolicy, JudgeInput, MetricFinding, MetricPolicy, Verdict } from './types.js';
import { count, durationText } from '../words.js';

/** Part of every verdict. It changes whenever the same input may get another verdict. */
export const JUDGE_VERSION = '1.4.0';

/** An arm that no scrape reached for this many intervals can't be seen. */
const BLIND_AFTER_SCRAPES = 3;

/**
 * Judges a canary as of `input.atMs`. Pure: the same input gives the same verdict, byte for byte, on any machine.
 *
 * In this order: a hard limit that the canary alone crosses (or a catastrophe) is a ROLLBACK at any instant; so is what
 * the statistical judge found at its latest look. Then come the HOLDs: an arm that can't be seen, traffic that is not
 * split as set, both arms hurt alike. What remains is the statistical judge's word.
 *
 * @throws RangeError when samples are malformed (see `evidenceOf`) or the policy's times are not positive.
 */
export function judge(input: JudgeInput): Verdict {
  return { ...assess(input), inputDigest: digestOf(input) };
}

/**
 * The verdict of `judge`, without the digest of what was judged: many looks at one recording need but one.
 *
 * @param recall what was found at the same look of the same recording, if it is known
 */
export function assess(input: JudgeInput, recall: Recall = (_, find) => find()): Omit<Verdict, 'inputDigest'> {
  checkPolicy(input);
  const canary = evidenceOf(input.canary, input.atMs);
  const comparison = input.comparison === null ? null : evidenceOf(input.comparison, input.atMs);
  const gross = input.policy.judge === 'sequential' ? grossFailure(input, canary, comparison) : null;
  const limits = [...hardLimitFindings(input, canary, comparison), ...(gross === null ? [] : [gross])];
  const split = trafficSplitFinding(input, canary, comparison);
  const opinion = opinionOn(input, canary, comparison, recall);
  const findings = [...limits, ...opinion.findings, ...(split === null ? [] : [split])];
  return {
    ...decide(input, canary, comparison, limits, split, opinion),
    findings,
    atMs: input.atMs,
    look: opinion.look,
    judge: input.policy.judge,
    judgeVersion: JUDGE_VERSION,
  };
}

function decide(
  input: JudgeInput,
  canary: ArmEvidence,
  comparison: ArmEvidence | null,
  limits: readonly MetricFinding[],
  split: MetricFinding | null,
  opinion: Opinion,
): Pick<Verdict, 'kind' | 'hold' | 'summary'> {
  const stopped = limits.find((finding) => finding.verdict === 'ROLLBACK');
  if (stopped !== undefined) return { kind: 'ROLLBACK', hold: null, summary: stopped.why };
  if (opinion.kind === 'ROLLBACK') return { kind: 'ROLLBACK', hold: null, summary: opinion.summary };
  const compared = input.policy.judge === 'threshold' ? null : comparison;
  const blind = blindness(input, 'canary', canary) ?? (compared && blindness(input, 'comparison', compared));
  if (blind !== null) return { kind: 'HOLD', hold: 'no-data', summary: blind };
  if (split?.verdict === 'HOLD') return { kind: 'HOLD', hold: 'split-mismatch', summary: split.why };
  const shared = limits.find((finding) => finding.verdict === 'HOLD');
  if (shared !== undefined) return { kind: 'HOLD', hold: 'shared-incident', summary: shared.why };
  // What could not be checked is said to whoever reads why a release was promoted.
  const unchecked = opinion.kind === 'PROMOTE' ? limits.map(({ why }) => ` ${why}`).join('') : '';
  return { kind: opinion.kind, hold: opinion.hold, summary: `${opinion.summary}${unchecked}` };
}

/** The statistical judge sees nothing later than its latest look, so that its word only changes from look to look. */
function opinionOn(input: JudgeInput, canary: ArmEvidence, comparison: ArmEvidence | null, recall: Recall): Opinion {
  const { judge } = input.policy;
  if (judge === 'threshold') return judgeThreshold(input, canary);
  if (comparison === null || input.comparison === null) return limitsAlone(input, canary);
  const until = (atMs: number) => ({
    canary: evidenceUntil(canary, atMs),
    comparison: evidenceUntil(comparison, atMs),
  });
  switch (judge) {
    case 'kayenta':
      return judgeKayenta(input, { canary, comparison });
    case 'mann-whitney': {
      const check = checkAt(input);
      return judgeMannWhitney(input, until(check.atMs), check, recall);
    }
    case 'sequential': {
      const look = lookAt(input, requestsSinceWarmUp(input, { canary, comparison }));
      return judgeSequential(input, until(look.atMs), look, recall);
    }
  }
}

/** Without a comparison (the canary has all the traffic) only hard limits can speak. */
function limitsAlone(input: JudgeInput, canary: ArmEvidence): Opinion {
  const common = { findings: [], look: 0 };
  const from = input.startMs + input.policy.warmUpMs;
  const { requests } = countsWithin(canary, from, input.atMs, from);
  const left = input.startMs + input.durationMs - input.atMs;
  if (left > 0) {
    const summary = `Watching: there is nothing to compare with, no hard limit is crossed; ${durationText(left)} to go.`;
    return { ...common, kind: 'HOLD', hold: 'watching', summary };
  }
  const missing = Math.max(1, input.policy.minRequests) - requests;
  if (missing > 0) {
    const summary = `Too few requests to promote on: the canary had ${count(requests)} and needs ${count(missing)} more.`;
    return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary };
  }
  const summary =
    `No hard limit was crossed by the end of the stage (${count(requests)} requests); ` +
    'there was nothing to compare the canary with.';
  return { ...common, kind: 'PROMOTE', hold: null, summary };
}

function blindness(input: JudgeInput, arm: string, { lastSampleMs }: ArmEvidence): string | null {
  const patience = BLIND_AFTER_SCRAPES * input.policy.scrapeIntervalMs;
  const seenMs = Math.max(input.startMs, lastSampleMs ?? -Infinity);
  const unseen = input.atMs - seenMs;
  if (unseen <= patience) return null;
  const since =
    lastSampleMs === null || lastSampleMs < input.startMs ? 'since the stage began' : 'since its last sample';
  return `The ${arm} can't be seen: ${durationText(unseen)} ${since}, where one is due every ${durationText(input.policy.scrapeIntervalMs)}.`;
}

function checkPolicy({ policy, durationMs }: JudgeInput): void {
  // What another judge needs may be missing: the record is older than that judge.
  const own: Readonly<Record<string, number>> =
    policy.judge === 'threshold'
      ? { 'threshold.intervalMs': policy.threshold.intervalMs, 'threshold.windowMs': policy.threshold.windowMs }
      : policy.judge === 'kayenta'
        ? { 'kayenta.intervalMs': policy.kayenta.intervalMs }
        : {};
  const times = {
    scrapeIntervalMs: policy.scrapeIntervalMs,
    lookEveryMs: policy.lookEveryMs,
    'limits.windowMs': policy.limits.windowMs,
    'mannWhitney.checkEveryMs': policy.mannWhitney.checkEveryMs,
    ...own,
    durationMs,
  };
  for (const [name, value] of Object.entries(times)) {
    if (!(value > 0 && Number.isFinite(value)))
      throw new RangeError(`${name} must be a positive number of ms, not ${value}`);
  }
  const afterMs = policy.earlyPromotion?.afterMs ?? 0;
  if (!(afterMs >= 0 && Number.isFinite(afterMs)))
    throw new RangeError(`earlyPromotion.afterMs must be a number of ms, 0 or more, not ${afterMs}`);
  checkMetrics(furtherMetrics(policy));
}

function checkMetrics(metrics: AnalysisPolicy['metrics']): void {
  const seen = new Set<string>(BUILT_IN_METRICS);
  for (const { name, tolerance, weight } of metrics) {
    if (seen.has(name)) throw new RangeError(`metrics: there is another metric ${name}; each needs a name of its own`);
    seen.add(name);
    if (!(weight > 0 && Number.isFinite(weight)))
      throw new RangeError(`metric ${name}: its weight must be above 0, not ${weight}`);
    const problem = toleranceProblem(tolerance);
    if (problem !== null) throw new RangeError(`metric ${name}: ${problem}`);
  }
}

function toleranceProblem(tolerance: MetricPolicy['tolerance']): string | null {
  if (tolerance.kind === 'ratio') {
    const { ratio } = tolerance;
    return ratio > 1 && Number.isFinite(ratio) ? null : `its tolerance must be a ratio above 1, not ${ratio}`;
  }
  const { difference } = tolerance;
  return difference >= 0 && Number.isFinite(difference)
    ? null
    : `its tolerance must be a difference of 0 or more, not ${difference}`;
}
