import { digestOf } from '../canonical.js';
import { grossFailure } from './gross-failure.js';
import { hardLimitFindings } from './hard-limits.js';
import { checkAt, judgeMannWhitney } from './judge-mann-whitney.js';
import { judgeSequential, lookAt, requestsSinceWarmUp } from './judge-sequential.js';
import type { Opinion, Recall } from './opinion.js';
import { countsWithin, evidenceOf } from './series.js';
import type { ArmEvidence } from './series.js';
import { trafficSplitFinding } from './traffic-split.js';
import type { JudgeInput, MetricFinding, Verdict } from './types.js';
import { count, durationText } from '../words.js';

/** Part of every verdict. It changes whenever the same input may get another verdict. */
export const JUDGE_VERSION = '1.2.0';

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
  const opinion = opinionOn(input, canary, comparison !== null, recall);
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
  const blind = blindness(input, 'canary', canary) ?? (comparison && blindness(input, 'comparison', comparison));
  if (blind !== null) return { kind: 'HOLD', hold: 'no-data', summary: blind };
  if (split?.verdict === 'HOLD') return { kind: 'HOLD', hold: 'split-mismatch', summary: split.why };
  const shared = limits.find((finding) => finding.verdict === 'HOLD');
  if (shared !== undefined) return { kind: 'HOLD', hold: 'shared-incident', summary: shared.why };
  return { kind: opinion.kind, hold: opinion.hold, summary: opinion.summary };
}

/** The statistical judge sees nothing later than its latest look, so that its word only changes from look to look. */
function opinionOn(input: JudgeInput, canary: ArmEvidence, compared: boolean, recall: Recall): Opinion {
  if (!compared || input.comparison === null) return limitsAlone(input, canary);
  if (input.policy.judge === 'mann-whitney') {
    const check = checkAt(input);
    return judgeMannWhitney(input, evidenceAt(input.canary, input.comparison, check.atMs), check, recall);
  }
  const all = evidenceAt(input.canary, input.comparison, input.atMs);
  const look = lookAt(input, requestsSinceWarmUp(input, all));
  return judgeSequential(input, evidenceAt(input.canary, input.comparison, look.atMs), look, recall);
}

function evidenceAt(canary: JudgeInput['canary'], comparison: JudgeInput['canary'], atMs: number) {
  return { canary: evidenceOf(canary, atMs), comparison: evidenceOf(comparison, atMs) };
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
  const times = {
    scrapeIntervalMs: policy.scrapeIntervalMs,
    lookEveryMs: policy.lookEveryMs,
    'limits.windowMs': policy.limits.windowMs,
    'mannWhitney.checkEveryMs': policy.mannWhitney.checkEveryMs,
    durationMs,
  };
  for (const [name, value] of Object.entries(times)) {
    if (!(value > 0 && Number.isFinite(value)))
      throw new RangeError(`${name} must be a positive number of ms, not ${value}`);
  }
}
