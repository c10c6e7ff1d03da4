import { digestOf } from '../canonical.js';
import { assess } from './judge.js';
import type { Recall } from './opinion.js';
import type { AnalysisPolicy, JudgeInput, MetricFinding, Verdict } from './types.js';

/** Hard limits are looked at every few seconds, however long the scrape interval is. */
const MIN_WATCH_MS = 1000;
const MAX_WATCH_MS = 5000;

/**
 * The instant after `nowMs` at which a watch looks again, ms since the epoch. Counted from the stage's start, so that it
 * comes when samples are due, a watch that is begun again looks at the same instants, and many watches do not all look at
 * once.
 */
export function nextWatchMs(startMs: number, analysis: AnalysisPolicy, nowMs: number): number {
  const everyMs = Math.min(MAX_WATCH_MS, Math.max(MIN_WATCH_MS, analysis.scrapeIntervalMs));
  return startMs + (Math.floor((nowMs - startMs) / everyMs) + 1) * everyMs;
}

/** A stage that is over, as it was recorded: what a judge is asked, but for the instant. */
export type Recording = Omit<JudgeInput, 'atMs'>;

/**
 * Judges a recording as the live watch would have: at the same instants, each time with nothing later than the instant,
 * until the first ROLLBACK or PROMOTE. Where there is none until `untilMs`, the last HOLD is the verdict: a stage that is
 * held is watched on.
 */
export function replay(recording: Recording, untilMs: number): Verdict {
  const { startMs, policy, durationMs, canary, comparison } = recording;
  const samples = [...canary.timesMs, ...(comparison?.timesMs ?? [])];
  const recall = rememberLast();
  let seen = '';
  for (let atMs = startMs; ;) {
    atMs = Math.min(untilMs, nextWatchMs(startMs, policy, atMs));
    // An instant that brings neither a sample nor a look has nothing to say that the one before did not.
    const last = samples.reduce((latest, time) => (time <= atMs ? Math.max(latest, time) : latest), -Infinity);
    const phase = [startMs, startMs + durationMs].map((from) => Math.floor((atMs - from) / policy.lookEveryMs));
    const sees = `${last} ${phase.join(' ')}`;
    if (sees === seen && atMs < untilMs) continue;
    seen = sees;
    const said = assess({ ...recording, atMs }, recall);
    if (said.kind !== 'HOLD' || atMs >= untilMs) return { ...said, inputDigest: digestOf({ ...recording, atMs }) };
  }
}

/** Several instants share a look: its tests are made once. */
function rememberLast(): Recall {
  let last: { readonly look: number; readonly findings: readonly MetricFinding[] } | null = null;
  return ({ number: look }, find) => {
    if (last?.look !== look) last = { look, findings: find() };
    return last.findings;
  };
}
