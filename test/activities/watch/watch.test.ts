import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { ActivityNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import type { Logger, LogLevel } from '@temporalio/common';
import { ActivityCancellationDetails } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import type { EvidenceStore } from '../../../activities/evidence/evidence-store.js';
import type { MetricsAnswer, MetricsSource } from '../../../activities/metrics/metrics-source.js';
import { createWatch } from '../../../activities/watch/watch.js';
import type { WatchCall, WatchResult } from '../../../activities/contract.js';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { Unavailable } from '../../../activities/failures.js';
import type { Platform } from '../../../activities/platform.js';
import type { IdempotencyKey, Permit } from '../../../domain/fence.js';
import type { Disturbance, Effect, EffectResult, LocalTarget } from '../../../domain/target.js';
import { judge } from '../../../domain/canary/judge.js';
import type { ArmSamples, JudgeInput } from '../../../domain/canary/types.js';
import type { LiveStage } from '../../../domain/live.js';
import { parseLive } from '../../../formats/live.js';
import { digestOf } from '../../../domain/canonical.js';
import { testPolicy } from '../../support/request.js';

type Query = Parameters<MetricsSource['samples']>[0];

const START = Date.parse('2026-07-01T12:00:00Z');
const POLICY = testPolicy({ gateway: 'http://127.0.0.1:7700' });
/** Scrapes each second; looks each 4 s; a stage of 12 s. */
const CALL: WatchCall = {
  scope: { lane: POLICY.lane, target: POLICY.target, rolloutId: 'r' },
  stage: 'stage-1',
  mode: 'watch',
  analysis: { ...defaultAnalysis(1000), minRequests: 50 },
  metrics: POLICY.metrics,
  canary: { arm: 'canary', version: 'hello:v2' },
  comparison: { arm: 'baseline', version: 'hello:v1' },
  startMs: START,
  durationMs: 12_000,
  budgetShare: 1,
  expectedShare: 0.5,
  maxMs: 60_000,
  heldOnDrift: false,
  cut: null,
};
/** Lets a watch send users back. */
const PERMIT: Permit = {
  key: 'r/rollback/cut-traffic/route/1' as IdempotencyKey,
  fence: { generation: 1, step: 9 },
  onDrift: 'overwrite',
};
/** When a stage that ends without evidence for a promotion is held. */
const HELD_AFTER_MS = 12_000 + 4_000 + 1_000;

interface Service {
  readonly perSecond: number;
  /** Failed requests of the canary, share. */
  readonly errorRate?: number;
}

/** What a metrics server with these counters answers. */
function scraped({ arms, fromMs, toMs }: Query, { perSecond, errorRate = 0 }: Service): MetricsAnswer {
  const first = Math.ceil(fromMs / 1000) * 1000;
  const timesMs: number[] = [];
  for (let ms = first; ms <= toMs; ms += 1000) timesMs.push(ms);
  const of = (rate: number): ArmSamples => ({
    timesMs,
    leSeconds: [0.05, null],
    series: [
      {
        instance: 'one',
        requests: timesMs.map((ms) => requests(ms)),
        errors: timesMs.map((ms) => Math.round(requests(ms) * rate)),
        buckets: timesMs.map((ms) => [requests(ms), requests(ms)]),
      },
    ],
  });
  const requests = (ms: number): number => ((ms - START) / 1000 + 10) * perSecond;
  return {
    kind: 'value',
    arms: Object.fromEntries(arms.map(({ arm }) => [arm, of(arm === 'canary' ? errorRate : 0)])),
  };
}

/** One watch under a clock that the test moves. */
class Lab {
  readonly logged: string[] = [];
  readonly env: MockActivityEnvironment;
  readonly queries: Query[] = [];
  readonly heartbeats: number[] = [];
  /** What the heartbeats told. */
  readonly told: (LiveStage | null)[] = [];
  readonly looks: { readonly lateMs: number; readonly verdict: string }[] = [];
  readonly stored: JudgeInput[] = [];
  answer: (query: Query) => MetricsAnswer | Promise<MetricsAnswer> = (query) => scraped(query, { perSecond: 20 });
  store: (input: JudgeInput) => Promise<{ digest: string }> = async (input) => ({ digest: digestOf(input) });
  /** What somebody else has changed, look by look; the last one stays. */
  disturbances: readonly (readonly Disturbance[] | 'away')[] = [[]];
  inspections = 0;
  stableReplicas: number | null = null;
  /** What was written, and how much evidence was kept before. */
  readonly writes: {
    readonly effect: Effect;
    readonly permit: Permit;
    readonly kept: number;
    readonly atMs: number;
  }[] = [];
  /** What comes of a write. */
  onWrite: () => EffectResult | Promise<EffectResult> = () => ({ kind: 'applied', drift: [] });
  readonly counted: string[] = [];
  /** The worker was told to end. */
  stopping = false;
  /** What Temporal answers where it is asked directly. */
  hears: 'wanted' | 'not-wanted' | 'unanswered' = 'wanted';
  readonly client = {
    withAbortSignal: (_: AbortSignal, call: () => Promise<void>) => call(),
    withDeadline: (_: number, call: () => Promise<void>) => call(),
    activity: {
      heartbeat: async () => {
        if (this.hears === 'unanswered') throw new Error('14 UNAVAILABLE');
        if (this.hears === 'not-wanted') throw new ActivityNotFoundError('Not found');
      },
    },
  } as unknown as Client;
  readonly platform = {
    apply: async (_: unknown, effect: Effect, permit: Permit) => {
      this.writes.push({ effect, permit, kept: this.stored.length, atMs: Date.now() - START });
      return this.onWrite();
    },
    inspect: async () => {
      const found = this.disturbances[Math.min(this.inspections, this.disturbances.length - 1)] ?? [];
      this.inspections += 1;
      if (found === 'away') throw new Unavailable('no answer');
      return { disturbances: found, stableReplicas: this.stableReplicas };
    },
  } as unknown as Platform<LocalTarget>;
  ended: { readonly atMs: number; readonly result: WatchResult } | null = null;
  failed: unknown = null;

  /** @param before what the attempt before had told */
  constructor(before?: LiveStage) {
    this.env = new MockActivityEnvironment(before === undefined ? undefined : { heartbeatDetails: before }, {
      logger: collect(this.logged),
      client: this.client,
    });
    this.env.on('heartbeat', (details: LiveStage | null) => {
      this.heartbeats.push(Date.now() - START);
      this.told.push(details);
    });
  }

  /** The activity of a worker of its own. */
  watch(): (call: WatchCall) => Promise<WatchResult> {
    const evidence = {
      put: async (input: JudgeInput) => {
        const kept = await this.store(input);
        this.stored.push(input);
        return kept;
      },
    } as unknown as EvidenceStore;
    const source: MetricsSource = {
      samples: async (query) => {
        this.queries.push(query);
        return this.answer(query);
      },
    };
    return createWatch({
      metricsFor: () => source,
      platforms: { local: this.platform },
      evidence,
      onEffect: ({ op, result }) => this.counted.push(`${op} ${result}`),
      onLook: (look) => this.looks.push(look),
      isStopping: () => this.stopping,
    });
  }

  begin(change: Partial<WatchCall> = {}, watch = this.watch()): void {
    this.run(watch, { ...CALL, ...change }).then(
      (result) => {
        this.ended = { atMs: Date.now() - START, result };
      },
      (error: unknown) => {
        this.failed = error;
      },
    );
  }

  run(watch: (call: WatchCall) => Promise<WatchResult>, call: WatchCall): Promise<WatchResult> {
    return this.env.run<[WatchCall], WatchResult, typeof watch>(watch, call);
  }

  /** Lets time pass until the watch has ended, or so many ms after its stage began. */
  async until(ms: number): Promise<void> {
    await settle();
    while (this.ended === null && this.failed === null && Date.now() - START < ms) {
      mock.timers.tick(100);
      await settle();
    }
  }

  async result(limitMs = 120_000): Promise<{ readonly atMs: number; readonly result: WatchResult }> {
    await this.until(limitMs);
    assert.equal(this.failed, null);
    return this.ended ?? assert.fail(`the watch did not end within ${limitMs} ms`);
  }
}

/** A logger that keeps what it is told. */
function collect(lines: string[]): Logger {
  const log = (level: LogLevel, message: string): void => {
    if (level !== 'DEBUG' && level !== 'TRACE') lines.push(`${level} ${message}`);
  };
  const at = (level: LogLevel) => (message: string) => log(level, message);
  return { log, trace: at('TRACE'), debug: at('DEBUG'), info: at('INFO'), warn: at('WARN'), error: at('ERROR') };
}

/** Lets everything happen that needs no time. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands at `ms` until a test moves it. */
function setClock(ms: number): void {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: ms });
}

beforeEach(() => setClock(START));

describe('a watch', () => {
  it('says PROMOTE when the stage is over and the canary is no worse, and never before', async () => {
    const lab = new Lab();
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.equal(result.kind === 'verdict' ? result.verdict.kind : result.kind, 'PROMOTE');
    assert.ok(atMs >= CALL.durationMs && atMs <= HELD_AFTER_MS, String(atMs));
  });

  it('says PROMOTE before the stage is over where the policy allows it, not before its time, and can be judged again', async () => {
    const lab = new Lab();
    // Without buckets: all of them are alike, of which ranks can't tell a p99.
    const bare = (answer: MetricsAnswer): MetricsAnswer =>
      answer.kind !== 'value'
        ? answer
        : {
            ...answer,
            arms: Object.fromEntries(
              Object.entries(answer.arms).map(([name, arm]) => [
                name,
                { ...arm, leSeconds: [], series: arm.series.map((series) => ({ ...series, buckets: [] })) },
              ]),
            ),
          };
    lab.answer = (query) => bare(scraped(query, { perSecond: 2000 }));
    lab.begin({ durationMs: 60_000, analysis: { ...CALL.analysis, earlyPromotion: { afterMs: 10_000 } } });
    const { atMs, result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'PROMOTE', result.kind);
    assert.ok(atMs >= 12_000 && atMs <= 14_000, String(atMs));
    assert.match(result.verdict.summary, /after 12 s of 1 min|after 12 s of 60 s/);
    assert.deepEqual(judge(lab.stored[0]!), result.verdict);
  });

  it('says ROLLBACK as soon as the evidence is there, long before the stage is over', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, { perSecond: 20, errorRate: 1 });
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.equal(result.kind === 'verdict' ? result.verdict.kind : result.kind, 'ROLLBACK');
    assert.ok(atMs < 8000, String(atMs));
  });

  it('keeps what was judged, and the same verdict comes out of it again', async () => {
    const lab = new Lab();
    lab.begin();
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict');
    const [input, ...more] = lab.stored;
    assert.ok(input !== undefined && more.length === 0);
    assert.equal(result.evidence, digestOf(input));
    assert.equal(result.verdict.inputDigest, digestOf(input));
    assert.deepEqual(judge(input), result.verdict);
  });

  it('holds when the time is up and the evidence does not suffice', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, { perSecond: 1 });
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.ok(result.kind === 'held');
    assert.equal(result.verdict.hold, 'insufficient-data');
    assert.ok(atMs >= HELD_AFTER_MS && atMs < HELD_AFTER_MS + 2000, String(atMs));
    assert.equal(result.evidence, digestOf(lab.stored[0]));
  });

  it('asks for both arms from before its window, and from then on only for what is new', async () => {
    const lab = new Lab();
    lab.begin();
    await lab.until(5000);
    assert.equal(lab.queries[0]?.fromMs, START - 1000);
    for (const [index, { fromMs }] of lab.queries.entries()) {
      const before = lab.queries[index - 1];
      // The newest sample that could have been seen is of the whole second before the earlier look.
      if (before !== undefined) assert.equal(fromMs, Math.floor(before.toMs / 1000) * 1000 + 1);
    }
    assert.deepEqual(
      lab.queries[0]?.arms.map(({ arm, version }) => `${arm} ${version}`),
      ['canary hello:v2', 'baseline hello:v1'],
    );
    assert.equal(lab.queries[0]?.stepMs, 1000);
  });

  it('that goes on for another one reads what was in pieces, and is not stuck where one of them has nothing', async () => {
    const minutes = 30;
    setClock(START + minutes * 60_000);
    const lab = new Lab();
    // An outage of five minutes, longer than a piece.
    const isAway = ({ fromMs, toMs }: Query): boolean => fromMs >= START + 300_000 && toMs <= START + 900_000;
    lab.answer = (query) =>
      isAway(query) ? { kind: 'no-data', detail: 'nothing then' } : scraped(query, { perSecond: 20 });
    lab.begin({ durationMs: 3_600_000 });
    await lab.until(minutes * 60_000 + 2000);
    const now = lab.queries.findIndex(({ toMs }) => toMs >= START + minutes * 60_000);
    const first = lab.queries.slice(0, now + 1);
    assert.ok(first.length > 5 && first.some(isAway), `${first.length} pieces`);
    assert.ok(first.every(({ fromMs, toMs }) => toMs - fromMs <= 240_000));
    for (const [index, { fromMs }] of first.entries())
      assert.ok(fromMs <= (first[index - 1]?.toMs ?? START) + 1, 'none is left out');
    assert.ok(now > 0);
    assert.equal(lab.looks.length, 3, 'all of it for one look');
    assert.ok(lab.looks.every(({ verdict }) => verdict === 'HOLD'));
  });

  it('that is begun again judges the same window and says the same', async () => {
    const whole = new Lab();
    whole.begin();
    const first = await whole.result();
    setClock(START + 9000);
    const again = new Lab();
    again.begin();
    const second = await again.result();
    assert.equal(again.queries[0]?.fromMs, START - 1000);
    assert.ok(first.result.kind === 'verdict' && second.result.kind === 'verdict');
    assert.equal(second.result.verdict.look, first.result.verdict.look);
    assert.equal(second.result.verdict.summary, first.result.verdict.summary);
  });

  it('looks each scrape interval, but at least each 5 s and at most each second; heartbeats come more often than any look', async () => {
    for (const [scrapeIntervalMs, everyMs] of [
      [200, 1000],
      [2000, 2000],
      [60_000, 5000],
    ] as const) {
      setClock(START);
      const lab = new Lab();
      lab.begin({ analysis: defaultAnalysis(scrapeIntervalMs), durationMs: 600_000 });
      await lab.until(11_000);
      assert.equal(lab.queries.length, Math.floor(11_000 / everyMs) + 1, String(scrapeIntervalMs));
      // The timeout is 5 s: a watch that beat only with its looks was taken for dead between two of them.
      const gaps = lab.heartbeats.slice(1).map((at, index) => at - (lab.heartbeats[index] ?? 0));
      assert.ok(gaps.length >= 5 && Math.max(...gaps) <= 2000, `${scrapeIntervalMs}: ${gaps.join(', ')}`);
      assert.deepEqual(new Set(lab.looks.map(({ verdict }) => verdict)), new Set(['HOLD']));
    }
  });

  it('tells with its heartbeats what it has seen, and begun again goes on from there', async () => {
    const lab = new Lab();
    lab.begin();
    await lab.until(9500);
    assert.equal(lab.told[0], null);
    const live = lab.told.at(-1) ?? assert.fail('nothing was told');
    assert.deepEqual(parseLive(JSON.parse(JSON.stringify(live))), live);
    assert.deepEqual([live.stage, live.startMs, live.durationMs], ['stage-1', START, 12_000]);
    assert.deepEqual(
      live.points
        .slice(0, 7)
        .map(({ atMs, canary, comparison }) => [atMs - START, canary.requests, comparison?.requests]),
      [1, 2, 3, 4, 5, 6, 7].map((second) => [second * 1000, 20, 20]),
    );
    const holds = live.looks.filter(({ kind }) => kind === 'HOLD');
    assert.ok(holds.length > 0 && holds.every(({ summary }) => summary !== ''), JSON.stringify(live.looks));

    const again = new Lab(live);
    again.begin();
    await settle();
    assert.deepEqual(again.told[0], live, 'there is a gap until it has data of its own');
    await again.until(11_500);
    const later = again.told.at(-1) ?? assert.fail('nothing was told');
    assert.deepEqual(later.points.slice(0, 7), live.points.slice(0, 7));
    assert.ok(later.points.length > live.points.length);
    assert.deepEqual(later.looks.slice(0, live.looks.length - 1), live.looks.slice(0, -1));
  });

  it('begun again after another stage does not tell of that', async () => {
    const lab = new Lab({ stage: 'stage-0', startMs: START - 60_000, durationMs: 1, points: [], looks: [] });
    lab.begin();
    await settle();
    assert.equal(lab.told[0], null);
    await lab.result();
  });

  it('asks for the canary alone where there is nothing to compare with; hard limits then speak', async () => {
    const good = new Lab();
    good.begin({ comparison: null, expectedShare: null });
    const { result } = await good.result();
    assert.deepEqual(good.queries[0]?.arms, [CALL.canary]);
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'PROMOTE');
    assert.match(result.verdict.summary, /nothing to compare/);
    assert.equal(good.stored[0]?.comparison, null);

    setClock(START);
    const bad = new Lab();
    bad.answer = (query) => scraped(query, { perSecond: 20, errorRate: 0.8 });
    bad.begin({ comparison: null, expectedShare: null });
    const ended = await bad.result();
    assert.ok(ended.result.kind === 'verdict' && ended.result.verdict.kind === 'ROLLBACK');
  });

  it('returns after maxMs, with the latest verdict, so that a lost one is noticed', async () => {
    const lab = new Lab();
    lab.begin({ durationMs: 600_000, maxMs: 7000 });
    const { atMs, result } = await lab.result();
    assert.ok(result.kind === 'tick');
    assert.equal(result.verdict?.kind, 'HOLD');
    assert.ok(atMs >= 7000 && atMs < 8500, String(atMs));
  });

  it('ends at once when it is cancelled, and asks nothing more', async () => {
    const lab = new Lab();
    lab.begin();
    await lab.until(2500);
    const asked = lab.queries.length;
    lab.env.cancel();
    await settle();
    assert.match(String(lab.failed), /cancel/i);
    mock.timers.tick(10_000);
    await settle();
    assert.equal(lab.queries.length, asked);
  });
});

describe('a watch that sees nothing', () => {
  it('is blind after the first failure and three retries, and says why', async () => {
    const outages: readonly (readonly [() => MetricsAnswer | Promise<MetricsAnswer>, RegExp])[] = [
      [() => ({ kind: 'unreachable', reason: 'connect ECONNREFUSED' }), /ECONNREFUSED/],
      [() => ({ kind: 'no-data', detail: 'no series match' }), /no series match/],
      [() => Promise.reject(new Error('the source is broken')), /the source is broken/],
      [() => ({ kind: 'value', arms: {} }), /no samples of canary \(hello:v2\)/],
    ];
    for (const [answer, reason] of outages) {
      setClock(START + 30_000);
      const lab = new Lab();
      lab.answer = answer;
      lab.begin();
      const { result } = await lab.result();
      assert.ok(result.kind === 'blind', result.kind);
      assert.match(result.reason, reason);
      assert.equal(lab.queries.length, 4);
      assert.deepEqual(
        lab.looks.map(({ verdict }) => verdict),
        ['blind', 'blind', 'blind', 'blind'],
      );
      assert.deepEqual(lab.stored, []);
    }
  });

  it('is blind where samples are unfit to compare, and says why; harm in them it sees all the same', async () => {
    const unfit = 'Prometheus scrapes every 60 s';
    const nothingNew: readonly MetricsAnswer[] = [
      { kind: 'value', arms: {} },
      { kind: 'no-data', detail: 'no series within 30 s' },
    ];
    for (const between of nothingNew) {
      setClock(START);
      const lab = new Lab();
      lab.answer = (query) =>
        lab.queries.length % 3 === 1 ? ({ ...scraped(query, { perSecond: 20 }), unfit } as MetricsAnswer) : between;
      lab.begin();
      const { result } = await lab.result();
      assert.ok(result.kind === 'blind', result.kind);
      assert.equal(result.reason, unfit);
    }
    setClock(START);
    const harm = new Lab();
    harm.answer = (query) => ({ ...scraped(query, { perSecond: 20, errorRate: 0.8 }), unfit }) as MetricsAnswer;
    harm.begin();
    const seen = await harm.result();
    assert.ok(seen.result.kind === 'verdict' && seen.result.verdict.kind === 'ROLLBACK', seen.result.kind);
  });

  it('gives new arms their first moments: warm-up and three scrapes', async () => {
    const lab = new Lab();
    lab.answer = () => ({ kind: 'no-data', detail: 'nothing yet' });
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.equal(result.kind, 'blind');
    assert.ok(atMs > 7000, String(atMs));
  });

  it('is not blind for one failure in between: the count begins anew', async () => {
    const lab = new Lab();
    lab.answer = (query) =>
      lab.queries.length % 4 === 0 ? scraped(query, { perSecond: 20 }) : { kind: 'unreachable', reason: 'flaky' };
    lab.begin();
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'PROMOTE', result.kind);
  });

  it('never promotes on what it saw before: samples that stop are an outage', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped({ ...query, toMs: Math.min(query.toMs, START + 6000) }, { perSecond: 20 });
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.ok(result.kind === 'blind', result.kind);
    assert.match(result.reason, /can't be seen/);
    assert.ok(atMs > 9000 && atMs < 20_000, String(atMs));
  });

  it('in mode blind waits until the canary is seen again, and reports no outage anew', async () => {
    const lab = new Lab();
    lab.answer = (query) =>
      query.toMs < START + 40_000 ? { kind: 'unreachable', reason: 'still out' } : scraped(query, { perSecond: 20 });
    lab.begin({ mode: 'blind' });
    const { atMs, result } = await lab.result();
    assert.deepEqual(result, { kind: 'sighted' });
    assert.ok(atMs >= 40_000 && atMs < 42_000, String(atMs));
  });

  it('in mode blind returns after maxMs all the same', async () => {
    const lab = new Lab();
    lab.answer = () => ({ kind: 'unreachable', reason: 'out' });
    lab.begin({ mode: 'blind', maxMs: 10_000 });
    const { result } = await lab.result();
    assert.deepEqual(result, { kind: 'tick', verdict: null });
  });

  it('asks on when a metrics server hangs (in real time)', async () => {
    mock.timers.reset();
    const begunMs = Date.now();
    const lab = new Lab();
    const waited: number[] = [];
    const source: MetricsSource = {
      samples: (query, signal) =>
        waited.length === 0
          ? new Promise((_, reject) => {
              signal.addEventListener('abort', () => {
                waited.push(Date.now() - begunMs);
                reject(new Error('no answer'));
              });
            })
          : Promise.resolve(scraped(query, { perSecond: 20 })),
    };
    const watch = createWatch({
      metricsFor: () => source,
      platforms: { local: lab.platform },
      evidence: {} as EvidenceStore,
      onEffect: () => undefined,
      onLook: (look) => lab.looks.push(look),
      isStopping: () => false,
    });
    // A timeout signal keeps no process alive; a worker has other reasons to live.
    const alive = setInterval(() => undefined, 1000);
    const result = await lab.run(watch, { ...CALL, startMs: begunMs - 20_000, mode: 'blind' });
    clearInterval(alive);
    assert.equal(result.kind, 'sighted');
    assert.ok((waited[0] ?? 0) >= 2900 && (waited[0] ?? 0) < 4500, String(waited[0]));
    assert.equal(lab.looks[0]?.verdict, 'blind');
  });
});

describe('what somebody else changes', () => {
  const GONE: Disturbance = { kind: 'harm', object: 'canary', text: 'it is gone', passing: false };
  const UNREADY: Disturbance = { kind: 'harm', object: 'canary', text: 'it can not serve', passing: true };
  const MOVED: Disturbance = { kind: 'drift', object: 'route', text: 'it is 50, not 25', passing: false };

  it('ends the watch at the next look, whatever the metrics say; what harms users comes first', async () => {
    const lab = new Lab();
    lab.disturbances = [[], [MOVED, GONE]];
    lab.begin();
    const { atMs, result } = await lab.result();
    assert.deepEqual(result, { kind: 'disturbed', disturbance: GONE });
    assert.ok(atMs >= 5000 && atMs <= 6000, String(atMs));
  });

  it('counts at the second sight where it may be the state of a moment', async () => {
    const lab = new Lab();
    lab.disturbances = [[UNREADY], [], [UNREADY], [UNREADY]];
    lab.begin({ durationMs: 60_000 });
    const { result } = await lab.result();
    assert.equal(result.kind, 'disturbed');
    assert.equal(lab.inspections, 4);
  });

  it('is a stable that has outgrown its siblings, and no other size of it; what is wrong comes first', async () => {
    const lab = new Lab();
    lab.stableReplicas = 20;
    lab.begin({ fitsUpTo: 19 });
    assert.deepEqual((await lab.result()).result, { kind: 'outgrown', stableReplicas: 20 });
    for (const [change, disturbances, ended] of [
      [{ fitsUpTo: 20 }, [], 'verdict'],
      [{}, [], 'verdict'],
      [{ fitsUpTo: 19 }, [GONE], 'disturbed'],
      // While a drift waits for a person the canary grows all the same.
      [{ fitsUpTo: 19, heldOnDrift: true }, [MOVED], 'outgrown'],
    ] as const) {
      const other = new Lab();
      other.stableReplicas = 20;
      other.disturbances = [disturbances];
      other.begin(change);
      assert.equal((await other.result()).result.kind, ended, JSON.stringify(change));
    }
  });

  it('is told once where it is drift, and nothing where the platform can not be asked', async () => {
    const lab = new Lab();
    lab.disturbances = [[MOVED], 'away', [MOVED]];
    lab.begin({ heldOnDrift: true });
    const { result } = await lab.result();
    assert.equal(result.kind, 'verdict');
    assert.ok(lab.inspections >= 2);
  });
});

describe('harm', () => {
  const GONE: Disturbance = { kind: 'harm', object: 'canary', text: 'it is gone', passing: false };
  const MOVED: Disturbance = { kind: 'drift', object: 'route', text: 'it is 50, not 25', passing: false };
  const BAD = { perSecond: 20, errorRate: 1 };

  it('sends users back at once, by the permit of the watch, before anything is kept', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, BAD);
    lab.onWrite = () => ({ kind: 'applied', drift: ['route: found 50'] });
    lab.begin({ cut: PERMIT });
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK');
    assert.deepEqual(result.cut, { kind: 'applied', drift: ['route: found 50'] });
    assert.deepEqual(
      lab.writes.map(({ effect, permit, kept }) => ({ effect, permit, kept })),
      [{ effect: { op: 'cut-traffic' }, permit: PERMIT, kept: 0 }],
    );
    assert.equal(lab.stored.length, 1);
    assert.deepEqual(lab.counted, ['cut-traffic applied']);
  });

  it('that the platform shows does so too; drift does not, nor a guard that sees nothing wrong', async () => {
    const harmed = new Lab();
    harmed.disturbances = [[GONE]];
    harmed.begin({ cut: PERMIT, mode: 'guard' });
    const { result } = await harmed.result();
    assert.deepEqual(result, { kind: 'disturbed', disturbance: GONE, cut: { kind: 'applied', drift: [] } });
    assert.equal(harmed.writes.length, 1);

    setClock(START);
    const moved = new Lab();
    moved.disturbances = [[MOVED]];
    moved.begin({ cut: PERMIT });
    assert.deepEqual((await moved.result()).result, { kind: 'disturbed', disturbance: MOVED });
    assert.deepEqual(moved.writes, []);

    for (const change of [{}, { mode: 'guard', maxMs: 40_000 }, { mode: 'blind' }] as const) {
      setClock(START);
      const calm = new Lab();
      calm.begin({ cut: PERMIT, ...change });
      await calm.result();
      assert.deepEqual(calm.writes, []);
    }
  });

  it('without a permit is only told of', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, BAD);
    lab.begin();
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict' && !('cut' in result));
    assert.deepEqual(lab.writes, []);
  });

  it('is told of without a result where no answer came: the way back tries again by the same key', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, BAD);
    lab.onWrite = () => Promise.reject(new Unavailable('no answer'));
    lab.begin({ cut: PERMIT });
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK' && !('cut' in result));
    assert.ok(lab.logged.some((line) => line.startsWith('WARN traffic could not go back at once')));
    assert.deepEqual(lab.counted, []);
  });

  it('of many at once: all users are sent back before the first rollback goes on', async () => {
    const worker = new Lab();
    worker.answer = (query) => scraped(query, BAD);
    const watch = worker.watch();
    const labs = Array.from({ length: 12 }, () => new Lab());
    // The moment is the same for all; their looks are not, by a quarter of a second each.
    for (const lab of labs) {
      lab.begin({ cut: PERMIT, mode: 'guard', startMs: Date.now() }, watch);
      for (let tick = 0; tick < 250; tick += 50) {
        mock.timers.tick(50);
        await settle();
      }
    }
    const ends = await Promise.all(labs.map(async (lab) => (await lab.result()).atMs));
    const cuts = worker.writes.map(({ atMs }) => atMs);
    assert.equal(cuts.length, 12);
    const [lastCut = 0, lastEnd = 0] = [cuts, ends].map((times) => Math.max(...times));
    // Five are no crowd: whoever is among them could not know of the others.
    const early = ends.filter((atMs) => atMs <= lastCut);
    assert.ok(early.length <= 5, `cuts at ${cuts.join(', ')}, ends at ${ends.join(', ')}`);
    assert.ok(ends.every((atMs) => early.includes(atMs) || atMs >= lastCut + 2000));
    assert.ok(lastEnd <= lastCut + 2500, `${lastCut}, ${lastEnd}`);
  });
});

describe('the modes of a watch', () => {
  it('overtime goes on after a HOLD until the evidence suffices', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, { perSecond: 2 });
    lab.begin({ mode: 'overtime' });
    const { atMs, result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'PROMOTE', result.kind);
    assert.ok(atMs > HELD_AFTER_MS, String(atMs));
  });

  it('guard never promotes and never holds, and still rolls back', async () => {
    const good = new Lab();
    good.begin({ mode: 'guard', maxMs: 40_000 });
    const { result } = await good.result();
    assert.equal(result.kind, 'tick');

    setClock(START);
    const bad = new Lab();
    bad.answer = (query) => scraped(query, { perSecond: 20, errorRate: query.toMs < START + 20_000 ? 0 : 1 });
    bad.begin({ mode: 'guard' });
    const ended = await bad.result();
    assert.ok(ended.result.kind === 'verdict' && ended.result.verdict.kind === 'ROLLBACK', ended.result.kind);
    assert.ok(ended.atMs >= 20_000 && ended.atMs < 26_000, String(ended.atMs));
  });
});

describe('a watch that Temporal does not answer', () => {
  const MOVED: Disturbance = { kind: 'drift', object: 'route', text: 'it is 50, not 25', passing: false };
  const alone = async (lab: Lab, change: Partial<WatchCall> = {}): Promise<void> => {
    lab.hears = 'unanswered';
    lab.begin({ cut: PERMIT, ...change });
    await lab.until(500);
    lab.env.cancel('TIMED_OUT', new ActivityCancellationDetails({ timedOut: true }));
  };

  it('goes on past the end of its stage, past drift and past its time: nobody would begin the next one', async () => {
    const lab = new Lab();
    lab.disturbances = [[], [MOVED]];
    await alone(lab, { maxMs: 30_000 });
    await lab.until(60_000);
    assert.equal(lab.ended, null);
    assert.equal(lab.failed, null);
    lab.stopping = true;
    await lab.until(70_000);
    assert.match(String(lab.failed), /cancel/i);
  });

  it('sends users back if it must, also one that was told that nothing is seen', async () => {
    for (const mode of ['watch', 'blind'] as const) {
      setClock(START);
      const lab = new Lab();
      lab.answer = (query) =>
        query.toMs < START + 1000
          ? { kind: 'unreachable', reason: 'out' }
          : scraped(query, { perSecond: 20, errorRate: query.toMs < START + 20_000 ? 0 : 1 });
      await alone(lab, { mode });
      const { atMs, result } = await lab.result();
      assert.ok(result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK', result.kind);
      assert.ok(atMs >= 20_000 && atMs < 26_000, `${mode} ${atMs}`);
      assert.equal(lab.writes.length, 1);
    }
  });

  it('asks before it ends with what can wait, and goes on where there is no answer: the SDK has not given it up yet', async () => {
    const turnsBad = (query: Query): MetricsAnswer =>
      scraped(query, { perSecond: 20, errorRate: query.toMs < START + 45_000 ? 0 : 1 });
    const cases: readonly (readonly [string, Partial<WatchCall>, (lab: Lab) => void])[] = [
      ['a promotion', {}, () => undefined],
      ['metrics that are back', { mode: 'blind' }, () => undefined],
      ['its time is over', { mode: 'guard', maxMs: 20_000 }, () => undefined],
      ['drift', {}, (lab) => (lab.disturbances = [[], [MOVED]])],
      [
        'metrics that are lost',
        { durationMs: 600_000 },
        (lab) => {
          lab.answer = (query) =>
            query.toMs > START + 8000 && query.toMs < START + 40_000
              ? { kind: 'unreachable', reason: 'out' }
              : turnsBad(query);
        },
      ],
    ];
    for (const [what, change, set] of cases) {
      setClock(START);
      const lab = new Lab();
      lab.hears = 'unanswered';
      lab.answer = turnsBad;
      set(lab);
      lab.begin({ cut: PERMIT, ...change });
      await lab.until(44_000);
      assert.deepEqual([lab.ended, lab.failed], [null, null], what);
      assert.deepEqual(lab.logged, ['WARN Temporal does not answer: the activity goes on without it'], what);
      const { atMs, result } = await lab.result();
      assert.ok(result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK', `${what}: ${result.kind}`);
      assert.ok(atMs >= 45_000 && atMs < 55_000, `${what}: ${atMs}`);
      assert.equal(lab.writes.length, 1, what);
    }
  });

  it('ends with what it had to say as soon as somebody hears it', async () => {
    const lab = new Lab();
    lab.hears = 'unanswered';
    lab.begin();
    await lab.until(30_000);
    assert.equal(lab.ended, null);
    lab.hears = 'wanted';
    const { atMs, result } = await lab.result();
    assert.equal(result.kind === 'verdict' ? result.verdict.kind : result.kind, 'PROMOTE');
    assert.ok(atMs <= 30_000 + 8000, String(atMs));
  });

  it('ends as cancelled, without a result, where it learns that it is not wanted', async () => {
    const lab = new Lab();
    lab.hears = 'not-wanted';
    lab.begin();
    await lab.until(60_000);
    assert.equal(lab.ended, null);
    assert.match(String(lab.failed), /CancelledFailure/);
  });

  it('tries again to send users back: nobody else would', async () => {
    const cases: readonly (readonly [string, Lab['onWrite']])[] = [
      ['the platform is away', () => Promise.reject(new Unavailable('no answer'))],
      ['not the time for it', () => ({ kind: 'declined', reason: 'stable is not ready' })],
    ];
    for (const [what, first] of cases) {
      setClock(START);
      const lab = new Lab();
      lab.hears = 'unanswered';
      lab.answer = (query) => scraped(query, { perSecond: 20, errorRate: 1 });
      lab.onWrite = () => (lab.writes.length <= 3 ? first() : { kind: 'applied', drift: [] });
      lab.begin({ cut: PERMIT });
      const { result } = await lab.result();
      assert.equal(lab.writes.length, 4, what);
      assert.deepEqual(result.cut, { kind: 'applied', drift: [] }, what);
      assert.ok(lab.writes.at(-1)!.atMs - lab.writes[0]!.atMs <= 5000, what);
    }
  });
});

describe('a verdict does not depend on the evidence store', () => {
  it('that fails', async () => {
    const lab = new Lab();
    lab.answer = (query) => scraped(query, { perSecond: 20, errorRate: 1 });
    lab.store = () => Promise.reject(new Error('disk full'));
    lab.begin();
    const { result } = await lab.result();
    assert.ok(result.kind === 'verdict' && result.verdict.kind === 'ROLLBACK');
    assert.equal(result.evidence, null);
    assert.deepEqual(lab.logged, ['WARN the samples behind a verdict could not be stored']);
  });

  it('that hangs: it is waited for 2 s at most', async () => {
    const quick = new Lab();
    quick.answer = (query) => scraped(query, { perSecond: 20, errorRate: 1 });
    quick.begin();
    const { atMs } = await quick.result();
    setClock(START);
    const lab = new Lab();
    lab.answer = quick.answer;
    lab.store = () => new Promise(() => undefined);
    lab.begin();
    const slow = await lab.result();
    assert.ok(slow.result.kind === 'verdict' && slow.result.evidence === null);
    assert.ok(slow.atMs - atMs <= 2100, String(slow.atMs - atMs));
  });
});
