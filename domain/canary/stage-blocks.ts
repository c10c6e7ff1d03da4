import type { Evidence } from './opinion.js';
import { blocksOf, countsWithin } from './series.js';
import type { Block } from './series.js';
import type { JudgeInput } from './types.js';

/** Requests that both arms need in a block, or its p99 is little more than its slowest request. */
export const REQUESTS_PER_BLOCK = 250;
/** The longest block, in scrapes. */
const MAX_BLOCK_SCRAPES = 4;

/** A stage's time since the warm-up, in blocks as short as its traffic allows: the quieter arm needs enough requests in each for a p99. */
export function stageBlocks(
  evidence: Evidence,
  { startMs, policy }: Pick<JudgeInput, 'startMs' | 'policy'>,
  toMs: number,
): readonly Block[] {
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
