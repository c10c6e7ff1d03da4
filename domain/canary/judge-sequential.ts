import { addPairs } from './counts.js';
import { compareErrors } from './compare-errors.js';
import { compareLatency } from './compare-latency.js';
import { canShowValues, compareValues, hasValues } from './compare-values.js';
import { furtherMetrics } from './defaults.js';
import { earlyLooks, earlySpending, proofAt } from './early-promotion.js';
import { withNoise } from './noise-floor.js';
import { latencyNotJudged, latencyObstacle, tooFewRequests } from './opinion.js';
import type { Evidence, Opinion, Recall } from './opinion.js';
import { countsWithin, errorPair, requestsBy } from './series.js';
import type { Block } from './series.js';
import { stageBlocks } from './stage-blocks.js';
import type { AnalysisPolicy, JudgeInput, MetricFinding } from './types.js';
import { durationText, plural, probability } from '../words.js';

/**
 * A look is passed over, and keeps its part of the budget for the next one, until the quieter arm had this share of
 * `minRequests` since the last look: at few requests, many looks would spend the budget on next to no news.
 */
const NEWS_SHARE = 0.5;
/** What is kept for looks after the stage's planned end: a stage is held where there was little to see, so a good part. */
const SHARE_AFTER_END = 0.4;
/**
 * The recent window: a fault that began late would drown in all that was well before. A fault is seen when it fills about
 * half of the window, so a short one is quick; it must still be several times as long as a burst.
 */
const RECENT_SCRAPES = 12;
/** A metric that is worse than its tolerance at this level is a reason not to promote early, though it is within its margin. */
const SUSPICION_P = 0.05;

/** A look: an instant of the grid on which statistical error is spent. */
export interface Look {
  /** 1 for the first; 0 where none is due yet. */
  readonly number: number;
  readonly atMs: number;
  /** What it may spend: its tests share it evenly, and speak for ROLLBACK below their part. */
  readonly alpha: number;
  /** What it may spend on a PROMOTE before the stage's end, a probability; 0: there is none at this look. */
  readonly early: number;
}

/** Requests that the quieter arm has had by an instant, ms since the epoch. */
export type RequestsBy = (atMs: number) => number;

/**
 * The latest look at or before `input.atMs`. The grid is startMs + k * lookEveryMs; the stage's end is a look too, and
 * from there the grid goes on for as long as the stage is held.
 *
 * The budget is spent by the union bound, which needs no joint law of the looks (Bonferroni); `spentBy` says how fast.
 * Instants of the grid at which there is too little news are no looks; the next look has their parts too. How many
 * requests there were says nothing of how the canary answered them, so the budget holds.
 */
export function lookAt(input: JudgeInput, requestsBy: RequestsBy): Look {
  const { startMs, durationMs } = input;
  const { lookEveryMs, errorBudget, minRequests } = input.policy;
  const looks = Math.max(1, Math.ceil(durationMs / lookEveryMs));
  const budget = errorBudget * input.budgetShare;
  const promotions = earlyLooks(input.policy, durationMs);
  let look: Look = { number: 0, atMs: startMs, alpha: 0, early: 0 };
  let alpha = 0;
  let early = 0;
  let seen = 0;
  for (let number = 1; ; number++) {
    const after = number - looks;
    const atMs = startMs + (after < 0 ? number * lookEveryMs : durationMs + after * lookEveryMs);
    if (atMs > input.atMs) return look;
    alpha += budget * (spentBy(number, looks) - spentBy(number - 1, looks));
    early += earlySpending(promotions, number);
    const requests = requestsBy(atMs);
    if (after !== 0 && requests - seen < Math.max(1, NEWS_SHARE * minRequests)) continue;
    look = { number, atMs, alpha, early: after < 0 ? early : 0 };
    alpha = 0;
    early = 0;
    seen = requests;
  }
}

/**
 * The share of the budget that may be spent by the n-th of a stage's K looks: three fifths by a * ln(1 + (e - 1) t) with
 * t = n / K (Lan and DeMets, 1983, of Pocock's kind), which spends early, as most that is wrong with a release is wrong
 * from the start; then two fifths by 1 - K / n, which never ends.
 */
function spentBy(look: number, looks: number): number {
  const within = (1 - SHARE_AFTER_END) * Math.log(1 + (Math.E - 1) * Math.min(1, look / looks));
  return look <= looks ? within : within + SHARE_AFTER_END * (1 - looks / look);
}

/** The requests that count: those since the warm-up, on the arm that had fewer. */
export function requestsSinceWarmUp(input: JudgeInput, { canary, comparison }: Evidence): RequestsBy {
  const fromMs = input.startMs + input.policy.warmUpMs;
  const [own, other] = [requestsBy(canary, fromMs), requestsBy(comparison, fromMs)];
  return (atMs) => Math.min(own(atMs), other(atMs));
}

/**
 * The default judge: sequential, with a stated error budget. At each look of the grid it compares error counts and
 * latencies of the same blocks of time, cumulatively and over the recent window. ROLLBACK takes a difference that is both
 * significant at the look's alpha and large enough to matter; PROMOTE takes the stage's end, enough requests, and no
 * metric in either window worse than its margin. Where the policy allows it, a PROMOTE may come before the end: it takes
 * more proof, and no suspicion. `evidence` holds nothing later than the look.
 */
export function judgeSequential(input: JudgeInput, evidence: Evidence, look: Look, recall: Recall): Opinion {
  const { policy } = input;
  const fromMs = input.startMs + policy.warmUpMs;
  const over = look.number > 0 && input.atMs >= input.startMs + input.durationMs;
  if (look.number === 0 || look.atMs <= fromMs) {
    if (!over) return { ...watching(input, look), findings: [], look: look.number };
    const summary = `The stage of ${durationText(input.durationMs)} was no longer than the warm-up: nothing could be judged.`;
    return { kind: 'HOLD', hold: 'insufficient-data', summary, findings: [], look: look.number };
  }
  const findings = recall(look, () => findingsOf(evidence, input, look));
  const followed = findings.filter(({ advisory }) => advisory !== true);
  const rollback = followed.find((finding) => finding.verdict === 'ROLLBACK');
  const common = { findings, look: look.number };
  if (rollback !== undefined) return { ...common, kind: 'ROLLBACK', hold: null, summary: rollback.why };
  const requests = (arm: Evidence['canary']) => countsWithin(arm, fromMs, look.atMs, fromMs).requests;
  const tooFew = tooFewRequests(input, requests(evidence.canary), requests(evidence.comparison));
  if (tooFew !== null) return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary: tooFew };
  if (!over) {
    if (look.early === 0) return { ...common, ...watching(input, look) };
    const doubt = followed.find(isDoubtful);
    if (doubt !== undefined)
      return { ...common, ...watching(input, look, `; not sure enough to promote early: ${doubt.why}`) };
    const summary =
      `Not worse than the comparison after ${durationText(look.atMs - input.startMs)} of ${durationText(input.durationMs)}, ` +
      `early as the policy allows (each metric at p below ${probability(look.early)}). ${wholeStage(findings)}`;
    return { ...common, kind: 'PROMOTE', hold: null, summary };
  }
  const open = followed.find((finding) => finding.verdict === 'HOLD');
  if (open !== undefined) {
    const summary = `The stage is over, and the evidence suffices for neither: ${open.why}`;
    return { ...common, kind: 'HOLD', hold: 'inconclusive', summary };
  }
  const summary = `Not worse than the comparison after ${durationText(look.atMs - input.startMs)}. ${wholeStage(findings)}`;
  return { ...common, kind: 'PROMOTE', hold: null, summary };
}

/** Not shown to be within the margin, or, though it is, worse beyond what chance explains. */
function isDoubtful({ verdict, p }: MetricFinding): boolean {
  return verdict !== 'PROMOTE' || (p !== null && p < SUSPICION_P);
}

function watching(input: JudgeInput, look: Look, rest = '.'): Pick<Opinion, 'kind' | 'hold' | 'summary'> {
  const left = input.startMs + input.durationMs - input.atMs;
  const done = look.number === 0 ? 'no look yet' : `nothing wrong at ${plural(look.number, 'look')}`;
  const spent = `its tests may spend ${probability(look.alpha)} together`;
  const summary = `Watching: ${done}, ${durationText(left)} to go; ${spent}${rest}`;
  return { kind: 'HOLD', hold: 'watching', summary };
}

function wholeStage(findings: readonly MetricFinding[]): string {
  const seen = new Set<string>();
  const first = findings.filter(({ metric }) => !seen.has(metric) && seen.add(metric));
  return first.map(({ why }) => why).join(' ');
}

/** The blocks of the recent window. */
export function recentOf(
  blocks: readonly Block[],
  { scrapeIntervalMs }: AnalysisPolicy,
  atMs: number,
): readonly Block[] {
  return blocks.filter((block) => block.fromMs >= atMs - RECENT_SCRAPES * scrapeIntervalMs);
}

function findingsOf(evidence: Evidence, input: JudgeInput, look: Look): MetricFinding[] {
  const { policy } = input;
  const metrics = furtherMetrics(policy).map((metric) => withNoise(metric, policy));
  const blocks = stageBlocks(evidence, input, look.atMs);
  const recent = recentOf(blocks, policy, look.atMs);
  const windows = [{ blocks, where: 'since the warm-up', recent: false }];
  // Until it is twice as long, the whole shows a late fault almost as soon; and a handful of requests must not outvote the whole stage.
  const pair = addPairs(recent.map(errorPair));
  const enough = Math.min(pair.canaryTotal, pair.comparisonTotal) >= policy.minRequests;
  if (enough && recent.length <= blocks.length / 2) {
    windows.push({
      blocks: recent,
      where: `over the last ${durationText(RECENT_SCRAPES * policy.scrapeIntervalMs)}`,
      recent: true,
    });
  }
  const obstacle = latencyObstacle(evidence);
  const { boundsSeconds } = evidence.comparison;
  // Advisory metrics roll nothing back, and so spend nothing.
  const tested = (obstacle === null ? 2 : 1) + metrics.filter(({ critical }) => critical).length;
  const alpha = look.alpha / (windows.length * tested);
  const proof = proofAt(earlyLooks(policy, input.durationMs), look.early);
  const errors = windows.map((window) => compareErrors(window.blocks, policy, alpha, window.where, proof));
  const latencies =
    obstacle === null
      ? windows.map((window) => compareLatency({ ...window, boundsSeconds }, policy, alpha, proof))
      : [latencyNotJudged(obstacle)];
  // What a recent window of a few long blocks can never show is left to the whole stage; that nothing was measured is shown.
  const tells = (name: string, window: (typeof windows)[number]) =>
    !window.recent || canShowValues(window.blocks) || !hasValues(name, evidence, window.blocks);
  const others = metrics.flatMap((metric) =>
    windows
      .filter((window) => tells(metric.name, window))
      .map((window) => compareValues(metric, evidence, window.blocks, alpha, window.where, proof)),
  );
  return [...errors, ...latencies, ...others];
}
