import { addPairs } from './counts.js';
import { compareErrors } from './compare-errors.js';
import { compareLatency, REQUESTS_PER_BLOCK } from './compare-latency.js';
import { latencyNotJudged, latencyObstacle, tooFewRequests } from './opinion.js';
import type { Evidence, Opinion } from './opinion.js';
import { blocksOf, countsWithin, errorPair } from './series.js';
import type { Block } from './series.js';
import type { JudgeInput, MetricFinding } from './types.js';
import { durationText, plural, probability } from '../words.js';

/** Two metrics, each over all of the stage and over its last part. */
const TESTS_PER_LOOK = 4;
/** What is kept for looks after the stage's planned end, should it be held. */
const SHARE_AFTER_END = 0.2;
/** The recent window: a fault that began late would drown in all that was well before. */
const RECENT_SCRAPES = 20;
/** The longest block, in scrapes. */
const MAX_BLOCK_SCRAPES = 4;

/** A look: an instant of the grid on which statistical error is spent. */
export interface Look {
  /** 1 for the first; 0 where none is due yet. */
  readonly number: number;
  readonly atMs: number;
  /** What each of its tests may spend: the p below which it speaks for ROLLBACK. */
  readonly alpha: number;
}

/**
 * The latest look at or before `input.atMs`. The grid is startMs + k * lookEveryMs; the stage's end is a look too, and
 * from there the grid goes on for as long as the stage is held.
 *
 * The budget is spent by the union bound, which needs no joint law of the looks (Bonferroni): four fifths evenly over the
 * K looks of the stage, one fifth over those after it, in parts K / ((K + j - 1)(K + j)), which add up to 1 over all j.
 */
export function lookAt(input: JudgeInput): Look {
  const { lookEveryMs, errorBudget } = input.policy;
  const elapsed = input.atMs - input.startMs;
  const looks = Math.max(1, Math.ceil(input.durationMs / lookEveryMs));
  const budget = (errorBudget * input.budgetShare) / TESTS_PER_LOOK;
  if (elapsed < input.durationMs) {
    const number = Math.max(0, Math.floor(elapsed / lookEveryMs));
    const alpha = (budget * (1 - SHARE_AFTER_END)) / looks;
    return { number, atMs: input.startMs + number * lookEveryMs, alpha };
  }
  const after = Math.floor((elapsed - input.durationMs) / lookEveryMs);
  const atMs = input.startMs + input.durationMs + after * lookEveryMs;
  const part =
    after === 0 ? (1 - SHARE_AFTER_END) / looks : (SHARE_AFTER_END * looks) / ((looks + after - 1) * (looks + after));
  return { number: looks + after, atMs, alpha: budget * part };
}

/**
 * The default judge: sequential, with a stated error budget. At each look of the grid it compares error counts and
 * latencies of the same blocks of time, cumulatively and over the recent window. ROLLBACK takes a difference that is both
 * significant at the look's alpha and large enough to matter; PROMOTE takes the stage's end, enough requests, and no
 * metric in either window worse than its margin. `evidence` holds nothing later than the look.
 */
export function judgeSequential(input: JudgeInput, evidence: Evidence, look: Look): Opinion {
  const { policy } = input;
  const fromMs = input.startMs + policy.warmUpMs;
  const over = look.number > 0 && input.atMs >= input.startMs + input.durationMs;
  if (look.number === 0 || look.atMs <= fromMs) {
    if (!over) return { ...watching(input, look), findings: [], look: look.number };
    const summary = `The stage of ${durationText(input.durationMs)} was no longer than the warm-up: nothing could be judged.`;
    return { kind: 'HOLD', hold: 'insufficient-data', summary, findings: [], look: look.number };
  }
  const findings = findingsOf(evidence, input, look);
  const rollback = findings.find((finding) => finding.verdict === 'ROLLBACK');
  const common = { findings, look: look.number };
  if (rollback !== undefined) return { ...common, kind: 'ROLLBACK', hold: null, summary: rollback.why };
  const requests = (arm: Evidence['canary']) => countsWithin(arm, fromMs, look.atMs, fromMs).requests;
  const tooFew = tooFewRequests(input, requests(evidence.canary), requests(evidence.comparison));
  if (tooFew !== null) return { ...common, kind: 'HOLD', hold: 'insufficient-data', summary: tooFew };
  if (!over) return { ...common, ...watching(input, look) };
  const open = findings.find((finding) => finding.verdict === 'HOLD');
  if (open !== undefined) {
    const summary = `The stage is over, and the evidence suffices for neither: ${open.why}`;
    return { ...common, kind: 'HOLD', hold: 'inconclusive', summary };
  }
  const summary = `Not worse than the comparison after ${durationText(look.atMs - input.startMs)}. ${wholeStage(findings)}`;
  return { ...common, kind: 'PROMOTE', hold: null, summary };
}

function watching(input: JudgeInput, look: Look): Pick<Opinion, 'kind' | 'hold' | 'summary'> {
  const left = input.startMs + input.durationMs - input.atMs;
  const done = look.number === 0 ? 'no look yet' : `nothing wrong at ${plural(look.number, 'look')}`;
  const spent = `each test of a look may spend ${probability(look.alpha)}`;
  return { kind: 'HOLD', hold: 'watching', summary: `Watching: ${done}, ${durationText(left)} to go; ${spent}.` };
}

function wholeStage(findings: readonly MetricFinding[]): string {
  const seen = new Set<string>();
  const first = findings.filter(({ metric }) => !seen.has(metric) && seen.add(metric));
  return first.map(({ why }) => why).join(' ');
}

function findingsOf(evidence: Evidence, input: JudgeInput, look: Look): MetricFinding[] {
  const { policy } = input;
  const blocks = chooseBlocks(evidence, input, look.atMs);
  const recentFrom = look.atMs - RECENT_SCRAPES * policy.scrapeIntervalMs;
  const recent = blocks.filter((block) => block.fromMs >= recentFrom);
  const windows = [{ blocks, where: 'since the warm-up', recent: false }];
  // Early on both windows are the same, or almost; and a handful of requests must not outvote the whole stage.
  const pair = addPairs(recent.map(errorPair));
  const enough = Math.min(pair.canaryTotal, pair.comparisonTotal) >= policy.minRequests;
  if (enough && recent.length < blocks.length * 0.75) {
    windows.push({ blocks: recent, where: `over the last ${durationText(look.atMs - recentFrom)}`, recent: true });
  }
  const obstacle = latencyObstacle(evidence);
  const { boundsSeconds } = evidence.comparison;
  const errors = windows.map((window) => compareErrors(window.blocks, policy, look.alpha, window.where));
  if (obstacle !== null) return [...errors, latencyNotJudged(obstacle)];
  return [...errors, ...windows.map((window) => compareLatency({ ...window, boundsSeconds }, policy, look.alpha))];
}

/** Blocks as short as the traffic allows: the quieter arm needs enough requests in each for a p99. */
function chooseBlocks(evidence: Evidence, { startMs, policy }: JudgeInput, toMs: number): readonly Block[] {
  const { scrapeIntervalMs } = policy;
  const fromMs = startMs + policy.warmUpMs;
  const own = countsWithin(evidence.canary, fromMs, toMs, fromMs).requests;
  const other = countsWithin(evidence.comparison, fromMs, toMs, fromMs).requests;
  const perScrape = (Math.min(own, other) * scrapeIntervalMs) / (toMs - fromMs);
  const scrapes = Math.max(1, Math.min(MAX_BLOCK_SCRAPES, Math.ceil(REQUESTS_PER_BLOCK / perScrape)));
  return blocksOf(evidence.canary, evidence.comparison, {
    fromMs,
    toMs,
    blockMs: scrapes * scrapeIntervalMs,
    scrapeIntervalMs,
  });
}
