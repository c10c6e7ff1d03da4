import { Context, log } from '@temporalio/activity';
import { canonicalValue, digestOf } from '../../domain/canonical.js';
import { assess } from '../../domain/canary/judge.js';
import type { Recall } from '../../domain/canary/opinion.js';
import { nextWatchMs } from '../../domain/canary/replay.js';
import type { ArmSamples, JudgeInput, Verdict } from '../../domain/canary/types.js';
import type { MetricsPolicy } from '../../domain/policy.js';
import { parseLive } from '../../formats/live.js';
import type { Disturbance, EffectOp, EffectResult } from '../../domain/target.js';
import type { Sight, WatchCall, WatchResult } from '../contract.js';
import type { EvidenceStore } from '../evidence/evidence-store.js';
import type { MetricsAnswer, MetricsSource } from '../metrics/metrics-source.js';
import { outliving } from '../outliving.js';
import type { Standing } from '../outliving.js';
import { deadline, pause } from '../waiting.js';
import { platformOf } from '../platform.js';
import type { Platform, Platforms } from '../platform.js';
import { Crowd } from './crowd.js';
import { disturbance, firstOf } from './inspection.js';
import { createLookMemory } from './look-memory.js';
import { appendSamples } from './sample-buffer.js';
import { Seen } from './seen.js';

/** Below the heartbeat timeout, so that a metrics server that hangs is an outage and not a lost watch. */
const ANSWER_MS = 3000;
/** An outage is one after the first failure and three retries (requirement R1.6). */
const RETRIES = 3;
const STORE_MS = 2000;
/** What a watch that goes on for another one has to read is asked for in pieces: parsing a day at once holds up all others. */
const SCRAPES_AT_ONCE = 240;
/** What is read of a stage that is held for long; almost two days at a scrape each 15 s. */
const MOST_SCRAPES = 10_000;
/** As long as an effect may take; after it the way back tries by the same key. */
const CUT_MS = 5000;
const CUT_AGAIN_MS = 1000;

export interface WatchDeps {
  /** Looked at beside the metrics, which don't tell everything. */
  readonly platforms: Platforms;
  readonly metricsFor: (policy: MetricsPolicy) => MetricsSource;
  readonly evidence: EvidenceStore;
  /** Counts effects for the metrics. */
  readonly onEffect: (effect: { readonly op: EffectOp; readonly result: EffectResult['kind'] }) => void;
  /** One look was taken: how late after it was due, ms. */
  readonly onLook: (look: { readonly lateMs: number; readonly verdict: Verdict['kind'] | 'blind' }) => void;
  /** The worker is to end, and its watches with it. */
  readonly isStopping: () => boolean;
}

/** How a watch ended. What was judged is not made a result of before users are safe. */
type Ended =
  | { readonly kind: 'judged'; readonly as: 'verdict' | 'held'; readonly judged: Judged }
  | Exclude<Sight, { readonly kind: 'verdict' | 'held' }>;

/**
 * Looks, decides nothing but what the judge says, and changes nothing but one thing: where it sees harm, it sends users
 * back by the permit that it was given, for in a crowd of rollbacks the workflow's turn may come seconds later. A lost
 * watch is begun again and sees the same window.
 */
export function createWatch(deps: WatchDeps): (call: WatchCall) => Promise<WatchResult> {
  const crowd = new Crowd();
  return async (call) => {
    const platform = platformOf(deps.platforms, call.scope.target);
    const seen = new Seen(call, parseLive(Context.current().info.heartbeatDetails));
    const looks = async (standing: Standing): Promise<WatchResult> => {
      const { signal } = standing;
      const ended = await firstOf<Ended>(
        signal,
        (either) => watch(deps, call, seen, { ...standing, signal: either }),
        (either) => disturbed(platform, call, { ...standing, signal: either }),
      );
      const cut = isHarm(ended) ? await cutAtOnce({ deps, platform, call, crowd }, standing) : undefined;
      const sight = ended.kind === 'judged' ? await sightOf(deps, ended) : ended;
      return cut === undefined ? sight : { ...sight, cut };
    };
    return outliving(looks, () => seen.live(Date.now()), deps.isStopping);
  };
}

async function sightOf(
  { evidence }: WatchDeps,
  { as, judged }: Extract<Ended, { readonly kind: 'judged' }>,
): Promise<Sight> {
  return { kind: as, verdict: verdictOf(judged), evidence: await keep(evidence, judged.input) };
}

/**
 * The first disturbance that ends this watch. Drift waits for a person, and a stable that has outgrown the rest for the
 * workflow, and so until somebody hears of it.
 */
async function disturbed(platform: Platform, call: WatchCall, { signal, isAlone, isHeard }: Standing): Promise<Ended> {
  const counts = ({ kind }: Disturbance): boolean => kind === 'harm' || !(call.heldOnDrift || isAlone());
  const outgrows = (stableReplicas: number): boolean => stableReplicas > (call.fitsUpTo ?? Infinity) && !isAlone();
  for (;;) {
    const found = await disturbance(platform, call.scope, counts, signal, outgrows);
    if (found.kind === 'outgrown') {
      if (await isHeard()) return { kind: 'outgrown', stableReplicas: found.stableReplicas };
    } else if (found.kind === 'harm' || (await isHeard())) return { kind: 'disturbed', disturbance: found };
  }
}

function isHarm(ended: Ended): boolean {
  if (ended.kind === 'disturbed') return ended.disturbance.kind === 'harm';
  return ended.kind === 'judged' && ended.judged.opinion.kind === 'ROLLBACK';
}

interface CutCall {
  readonly deps: WatchDeps;
  readonly platform: Platform;
  readonly call: WatchCall;
  readonly crowd: Crowd;
}

/**
 * Sends users back to stable, and lets others do the same before this rollback goes on. Where that fails the workflow has
 * other ways; where nobody would hear of it, it is tried again.
 */
async function cutAtOnce(
  { deps, platform, call, crowd }: CutCall,
  { signal, isHeard }: Standing,
): Promise<EffectResult | undefined> {
  if (call.cut == null) return undefined;
  crowd.came(Date.now());
  for (;;) {
    const limit = deadline(CUT_MS, signal);
    const cut = await applied(platform, call.scope, call.cut, limit.signal).finally(() => limit.clear());
    const cutMs = Date.now();
    if (cut !== undefined) deps.onEffect({ op: 'cut-traffic', result: cut.kind });
    if ((cut === undefined || cut.kind === 'declined') && !(await isHeard())) {
      await pause(CUT_AGAIN_MS, signal);
      continue;
    }
    if (cut !== undefined)
      for (let leftMs; (leftMs = crowd.leftMs(cutMs, Date.now())) > 0;) await pause(leftMs, signal);
    return cut;
  }
}

async function applied(
  platform: Platform,
  scope: WatchCall['scope'],
  permit: NonNullable<WatchCall['cut']>,
  signal: AbortSignal,
): Promise<EffectResult | undefined> {
  try {
    return await platform.apply(scope, { op: 'cut-traffic' }, permit, signal);
  } catch (error) {
    log.warn('traffic could not go back at once: the way back tries again', { error });
    return undefined;
  }
}

async function watch(
  deps: WatchDeps,
  asked: WatchCall,
  seen: Seen,
  { signal, isAlone, isHeard }: Standing,
): Promise<Ended> {
  // A third of a budget has more digits than the store keeps: what is judged is what can be judged again from there.
  const call: WatchCall = canonicalValue(asked);
  const source = deps.metricsFor(call.metrics);
  const begunMs = Date.now();
  let canary: ArmSamples | null = null;
  let comparison: ArmSamples | null = null;
  let latest: Judged | null = null;
  let unseen = 0;
  /** Why what is scraped can't be judged; most looks bring nothing new, and say nothing of it. */
  let unfit: string | null = null;
  const recallFor = createLookMemory();
  const { scrapeIntervalMs } = call.analysis;
  let fromMs = Math.max(call.startMs - scrapeIntervalMs, begunMs - MOST_SCRAPES * scrapeIntervalMs);

  for (let dueMs = begunMs; ; dueMs = nextWatchMs(call.startMs, call.analysis, Date.now())) {
    await pause(Math.max(0, dueMs - Date.now()), signal);
    let answer: MetricsAnswer;
    for (;;) {
      const nowMs = Date.now();
      const toMs = Math.min(nowMs, fromMs + SCRAPES_AT_ONCE * scrapeIntervalMs);
      answer = await ask(source, call, { fromMs, toMs }, signal);
      if (answer.kind === 'value') {
        const own = answer.arms[call.canary.arm];
        const other = call.comparison === null ? undefined : answer.arms[call.comparison.arm];
        if (own !== undefined) canary = appendSamples(canary, own);
        if (other !== undefined) comparison = appendSamples(comparison, other);
        if (own !== undefined || other !== undefined) unfit = answer.unfit ?? null;
        fromMs = Math.max(fromMs, (canary?.timesMs.at(-1) ?? -Infinity) + 1);
      }
      if (toMs === nowMs || answer.kind === 'unreachable') break;
      fromMs = Math.max(fromMs, toMs + 1);
    }
    // After the answer: a sample that was taken in between counts at once.
    const atMs = Date.now();
    let trouble: string | null =
      answer.kind === 'value' ? null : answer.kind === 'no-data' ? answer.detail : answer.reason;
    if (answer.kind === 'value') {
      seen.samples(canary, comparison);
      if (canary === null) trouble = `no samples of ${call.canary.arm} (${call.canary.version})`;
    }
    if (trouble === null && canary !== null) {
      const input = judgeInput(call, atMs, canary, comparison);
      const opinion = judged(input, recallFor(input));
      if (typeof opinion === 'string') trouble = opinion;
      else {
        latest = { input, opinion };
        seen.verdict({ ...opinion, atMs });
      }
      if (latest?.opinion.hold === 'no-data') trouble = latest.opinion.summary;
    }
    if (unfit !== null && answer.kind !== 'unreachable' && latest?.opinion.kind !== 'ROLLBACK') trouble = unfit;
    unseen = trouble === null ? 0 : unseen + 1;
    deps.onLook({ lateMs: Date.now() - dueMs, verdict: (trouble === null ? latest?.opinion.kind : null) ?? 'blind' });
    const look = { atMs, begunMs, trouble, unseen, latest };
    const ended = endOf(isAlone() ? { ...call, mode: 'guard' } : call, look);
    // Where nobody would hear of it, nobody would begin the next watch.
    if (ended !== null && (isHarm(ended) || (await isHeard()))) return ended;
  }
}

/** One look of a watch, and what stood before. */
interface Look {
  readonly atMs: number;
  readonly begunMs: number;
  /** Why nothing was seen. */
  readonly trouble: string | null;
  /** So many looks in a row have seen nothing. */
  readonly unseen: number;
  readonly latest: Judged | null;
}

/** What a look comes to for its watch, or null: keep looking. */
function endOf(call: WatchCall, { atMs, begunMs, trouble, unseen, latest }: Look): Ended | null {
  if (trouble === null && latest !== null) {
    if (call.mode === 'blind') return { kind: 'sighted' };
    const as = conclude(call, latest.opinion, atMs);
    if (as !== null) return { kind: 'judged', as, judged: latest };
  }
  if (trouble !== null && call.mode !== 'blind' && unseen > RETRIES && atMs > call.startMs + graceMs(call)) {
    return { kind: 'blind', reason: trouble };
  }
  return atMs - begunMs >= call.maxMs ? { kind: 'tick', verdict: latest && verdictOf(latest) } : null;
}

/** What was judged, and what came of it. */
interface Judged {
  readonly input: JudgeInput;
  readonly opinion: Omit<Verdict, 'inputDigest'>;
}

/** The digest is that of all samples: it is only made for a verdict that leaves the watch. */
function verdictOf({ input, opinion }: Judged): Verdict {
  return { ...opinion, inputDigest: digestOf(input) };
}

/** The verdict, or why there can't be one: samples that make no sense are an outage of the metrics, never a verdict. */
function judged(input: JudgeInput, recall: Recall): Judged['opinion'] | string {
  try {
    return assess(input, recall);
  } catch (error) {
    return `the samples can't be judged: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** What a verdict means for this watch, or null: keep looking. */
function conclude(call: WatchCall, verdict: Pick<Verdict, 'kind'>, atMs: number): 'verdict' | 'held' | null {
  if (verdict.kind === 'ROLLBACK') return 'verdict';
  if (call.mode === 'guard') return null;
  if (verdict.kind === 'PROMOTE') return 'verdict';
  // The look that falls on the end of the stage needs a moment for its samples to arrive.
  const overMs = call.startMs + call.durationMs + call.analysis.lookEveryMs + call.analysis.scrapeIntervalMs;
  return call.mode === 'watch' && atMs >= overMs ? 'held' : null;
}

/** New arms have no samples in their first moments: that is no outage. */
function graceMs({ analysis }: WatchCall): number {
  return analysis.warmUpMs + 3 * analysis.scrapeIntervalMs;
}

async function ask(
  source: MetricsSource,
  call: WatchCall,
  stretch: { readonly fromMs: number; readonly toMs: number },
  signal: AbortSignal,
): Promise<MetricsAnswer> {
  const arms = call.comparison === null ? [call.canary] : [call.canary, call.comparison];
  const { scope, analysis, startMs } = call;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  try {
    return await source.samples(
      {
        lane: scope.lane,
        target: scope.target,
        arms,
        ...stretch,
        stepMs: analysis.scrapeIntervalMs,
        originMs: startMs,
      },
      limit,
    );
  } catch (error) {
    if (signal.aborted) throw error;
    return { kind: 'unreachable', reason: error instanceof Error ? error.message : String(error) };
  }
}

function judgeInput(call: WatchCall, atMs: number, canary: ArmSamples, comparison: ArmSamples | null): JudgeInput {
  const { analysis, startMs, durationMs, budgetShare, expectedShare } = call;
  return {
    policy: analysis,
    startMs,
    atMs,
    durationMs,
    budgetShare,
    expectedShare: call.comparison === null ? null : expectedShare,
    canary,
    comparison: call.comparison === null ? null : (comparison ?? { timesMs: [], leSeconds: [], series: [] }),
  };
}

/** Stores what was judged. A rollback does not wait for the store: without it the verdict says that it has no evidence. */
async function keep(evidence: EvidenceStore, input: JudgeInput): Promise<string | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${STORE_MS} ms`)), STORE_MS);
  });
  try {
    const { digest } = await Promise.race([evidence.put(input), late]);
    return digest;
  } catch (error) {
    log.warn('the samples behind a verdict could not be stored', { error });
    return null;
  } finally {
    clearTimeout(timer);
  }
}
