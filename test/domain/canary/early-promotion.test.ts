import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { poisson, seededRandom } from '../../../bench/canary/random.js';
import { digestOf } from '../../../domain/canonical.js';
import { defaultAnalysis, metricPolicy } from '../../../domain/canary/defaults.js';
import { earliestEndMs, PROMOTION_BUDGET, stageTimeText } from '../../../domain/canary/early-promotion.js';
import { assess, JUDGE_VERSION } from '../../../domain/canary/judge.js';
import { lookAt } from '../../../domain/canary/judge-sequential.js';
import { looksOf } from '../../../domain/canary/looks.js';
import { replay } from '../../../domain/canary/replay.js';
import type { Recording } from '../../../domain/canary/replay.js';
import type { AnalysisPolicy, ArmSamples, JudgeInput } from '../../../domain/canary/types.js';
import { whatWouldChange } from '../../../domain/canary/what-would-change.js';
import { ARMS, recordedInput } from '../../support/recorded.js';
import { scrape, startMs } from './simulate.js';
import type { Service } from './simulate.js';

const SCRAPE_MS = 5000;
const policy = defaultAnalysis(SCRAPE_MS);
const healthy: Service = { requestsPerSecond: 60, errorRate: 0.002 };

/** A stage of 5 minutes, looked at every 20 s, warm after 20 s. */
function recordingOf(canary: ArmSamples, comparison: ArmSamples, change: Partial<AnalysisPolicy> = {}): Recording {
  const stage = { startMs, durationMs: 300_000, budgetShare: 1, expectedShare: null };
  return { ...stage, policy: { ...policy, ...change }, canary, comparison };
}

function arm(service: Service, seed: number, scrapes = 80): ArmSamples {
  return scrape(service, { startMs, scrapes, intervalMs: SCRAPE_MS }, seededRandom(seed));
}

/** Requests and errors alone, which are quick to make. */
function counted(perSecond: number, errorRate: number, seed: number, scrapes = 80): ArmSamples {
  const random = seededRandom(seed);
  const requests = [0];
  const errors = [0];
  for (let i = 1; i <= scrapes; i++) {
    const answered = poisson((perSecond * SCRAPE_MS) / 1000, random);
    requests.push(requests[i - 1]! + answered);
    errors.push(errors[i - 1]! + Math.min(answered, poisson(answered * errorRate, random)));
  }
  return {
    timesMs: requests.map((_, i) => startMs + i * SCRAPE_MS),
    leSeconds: [],
    series: [{ instance: 'pod-0', requests, errors, buckets: [] }],
  };
}

const early = (afterMs: number) => ({ earlyPromotion: { afterMs } });
const good = [arm(healthy, 1), arm(healthy, 2)] as const;

describe('a policy without early promotion', () => {
  it('gets the bytes that this version of the judge has always given', () => {
    const looks = Object.values(ARMS).map((arms) => {
      const { atMs, ...recording } = recordedInput(arms);
      return [looksOf(recording, startMs + 900_000).map(({ verdict }) => verdict), atMs];
    });
    assert.deepEqual(
      [JUDGE_VERSION, digestOf(JSON.parse(JSON.stringify(looks)))],
      ['1.4.0', 'sha256:557df05181312bebf47f93528d411bc198c30e1c3c272da299e7ab61e092b5f7'],
      'what is judged differently needs another JUDGE_VERSION',
    );
  });

  it('is judged as one that could not promote before the end anyway', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.integer({ min: 1, max: 200 }),
        fc.double({ min: 0, max: 0.02, noNaN: true }),
        fc.integer({ min: 1, max: 80 }),
        (seed, perSecond, errorRate, scrapes) => {
          const recording = recordingOf(counted(perSecond, errorRate, seed), counted(perSecond, 0.002, seed + 1));
          const atMs = startMs + scrapes * SCRAPE_MS;
          const { earlyPromotion, ...plain } = { ...policy, ...early(300_000) };
          assert.ok(earlyPromotion !== undefined);
          assert.equal(
            JSON.stringify(assess({ ...recording, policy: plain, atMs })),
            JSON.stringify(assess({ ...recording, policy: { ...policy, ...early(300_000) }, atMs })),
          );
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('a policy with early promotion', () => {
  it('ends a stage early when the canary is shown to be no worse, and says so', () => {
    const recording = recordingOf(...good, early(60_000));
    const verdict = replay(recording, startMs + 400_000);
    assert.equal(verdict.kind, 'PROMOTE', verdict.summary);
    assert.ok(verdict.atMs >= startMs + 60_000 && verdict.atMs <= startMs + 120_000, String(verdict.atMs - startMs));
    assert.match(
      verdict.summary,
      /^Not worse than the comparison after \d+ (?:s|min) of 5 min, early as the policy allows \(each metric at p below 8e-4\)\. Error rate/,
    );
    assert.equal(replay(recordingOf(...good), startMs + 400_000).atMs, startMs + 300_000);
  });

  it('never promotes before the least time, nor before the first look after it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.integer({ min: 20, max: 2000 }),
        fc.integer({ min: 0, max: 400_000 }),
        (seed, perSecond, afterMs) => {
          const arms = [counted(perSecond, 0.002, seed), counted(perSecond, 0.002, seed + 1)] as const;
          const recording = recordingOf(...arms, early(afterMs));
          const { kind, atMs } = replay(recording, startMs + 400_000);
          if (kind !== 'PROMOTE') return;
          const earliestMs = earliestEndMs(recording.policy, 300_000) ?? 300_000;
          assert.ok(atMs - startMs >= Math.min(afterMs, 300_000), `${atMs - startMs} of ${afterMs}`);
          assert.ok(atMs - startMs >= earliestMs && (atMs - startMs) % policy.lookEveryMs === 0);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('waits for the requests, however good the canary is', () => {
    const recording = recordingOf(...good, { ...early(40_000), minRequests: 12_000 });
    const { kind, atMs } = replay(recording, startMs + 400_000);
    assert.ok(kind === 'PROMOTE' && atMs - startMs >= 220_000, `${kind} ${atMs - startMs}`);
  });

  it('does not promote early what traffic is too low to show, but at the end', () => {
    const quiet = { requestsPerSecond: 6, errorRate: 0.002 };
    const recording = recordingOf(arm(quiet, 1), arm(quiet, 2), early(60_000));
    const { kind, atMs } = replay(recording, startMs + 400_000);
    assert.deepEqual([kind, atMs], ['PROMOTE', startMs + 300_000]);
    const [waiting] = looksOf(recording, startMs + 200_000).slice(-1);
    assert.match(waiting?.verdict.summary ?? '', /not sure enough to promote early: .*can't be ruled out/);
  });

  it('does not promote early what is worse beyond chance, though within its margin', () => {
    // 0.32 points more, where 0.4 may remain: with so many requests it is sure to be within, and sure to be worse.
    const arms = [counted(20_000, 0.0132, 5), counted(20_000, 0.01, 6)] as const;
    const recording = recordingOf(...arms, { ...early(60_000), minErrorIncrease: 0.004 });
    const { verdict } = looksOf(recording, startMs + 200_000).at(-1)!;
    assert.ok(verdict.findings.length > 0 && verdict.findings.every((finding) => finding.verdict === 'PROMOTE'));
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'watching'], verdict.summary);
    assert.match(verdict.summary, /not sure enough to promote early: Error rate 1\.3 % against 1 %/);
  });

  it('minds metrics of its own, and a share of slow requests is no proof of p99', () => {
    const values = (value: number) => ({ depth: good[0].timesMs.map((_, i) => value + (i % 3)) });
    const metrics = [metricPolicy('depth')];
    const withDepth = (own: number) =>
      recordingOf(
        { ...good[0], values: values(own) },
        { ...good[1], values: values(30) },
        { ...early(60_000), metrics },
      );
    assert.ok(replay(withDepth(30), startMs + 400_000).atMs < startMs + 300_000);
    assert.ok(replay(withDepth(35), startMs + 400_000).atMs >= startMs + 300_000);
    // Two in five latencies above the largest bound: ranks can't tell p99s apart, and shares can.
    const saturated = (one: ArmSamples): ArmSamples => ({
      ...one,
      leSeconds: [0.001, null],
      series: one.series.map((series) => ({
        ...series,
        buckets: series.requests.map((n) => [Math.round(0.6 * (n ?? 0)), n ?? 0]),
      })),
    });
    const blunt = recordingOf(saturated(good[0]), saturated(good[1]), early(60_000));
    const { kind, atMs } = replay(blunt, startMs + 400_000);
    assert.deepEqual([kind, atMs], ['PROMOTE', startMs + 300_000]);
  });

  it('rolls back as without', () => {
    const bad = [arm({ ...healthy, errorRate: 0.03 }, 3), good[1]] as const;
    const [own, other] = [recordingOf(...bad, early(60_000)), recordingOf(...bad)].map((one) =>
      replay(one, startMs + 400_000),
    );
    assert.deepEqual([own!.kind, own!.atMs], ['ROLLBACK', other!.atMs]);
  });

  it('spends a fifth of the budget for promotions on early looks, however many there are and whichever are passed over', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 30_000, max: 3_600_000 }),
        fc.integer({ min: 0, max: 1_800_000 }),
        fc.integer({ min: 1, max: 1e6 }),
        (durationMs, afterMs, seed) => {
          const input: JudgeInput = { ...recordingOf(...good, early(afterMs)), durationMs, atMs: 0 };
          const random = seededRandom(seed);
          const requests = new Map<number, number>();
          let served = 0;
          for (let k = 1; k * 20_000 < durationMs + 20_000; k++)
            requests.set(startMs + k * 20_000, (served += Math.floor(random() * 100)));
          const lastEarlyMs = Math.ceil(durationMs / 20_000 - 1) * 20_000;
          requests.set(startMs + lastEarlyMs, (served += 1000));
          requests.set(startMs + durationMs, served);
          const spent = new Map<number, number>();
          for (let atMs = startMs; atMs <= startMs + durationMs; atMs += SCRAPE_MS) {
            const look = lookAt({ ...input, atMs }, (ms) => requests.get(ms) ?? served);
            spent.set(look.number, look.early);
            if (look.early > 0) assert.ok(look.atMs - startMs >= afterMs && look.atMs < startMs + durationMs);
          }
          const total = [...spent.values()].reduce((sum, part) => sum + part, 0);
          const expected = earliestEndMs(input.policy, durationMs) === null ? 0 : PROMOTION_BUDGET / 5;
          assert.ok(Math.abs(total - expected) < 1e-12, `${total} of ${expected}`);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('hardly ever promotes early what is at its margin, nor at the end', () => {
    const runs = 150;
    let promoted = 0;
    for (let seed = 0; seed < runs; seed++) {
      const arms = [counted(300, 0.0061, 2 * seed), counted(300, 0.002, 2 * seed + 1)] as const;
      // Rollbacks are switched off: the proof alone must hold.
      const recording = recordingOf(...arms, { ...early(40_000), errorBudget: 0 });
      if (replay(recording, startMs + 300_000).kind === 'PROMOTE') promoted++;
    }
    assert.ok(promoted / runs <= PROMOTION_BUDGET, `${promoted} of ${runs}`);
  });

  it('is refused where its time is none', () => {
    for (const afterMs of [-1, NaN, Infinity])
      assert.throws(
        () => assess({ ...recordingOf(...good, early(afterMs)), atMs: startMs }),
        /earlyPromotion\.afterMs must be a number of ms, 0 or more, not/,
      );
  });

  it('tells when a stage may end', () => {
    const with_ = (change: Partial<AnalysisPolicy>) => stageTimeText({ ...policy, ...change }, 300_000);
    assert.equal(with_({}), '5 min');
    assert.equal(with_(early(120_000)), '5 min (may end after 2 min at the earliest)');
    // The first look that sees anything after the warm-up of 20 s.
    assert.equal(with_(early(0)), '5 min (may end after 40 s at the earliest)');
    assert.equal(with_({ ...early(120_000), judge: 'threshold' }), '5 min');
    assert.equal(with_(early(290_000)), '5 min');
    const input = { ...recordingOf(...good, early(200_000)), atMs: startMs + 60_000 };
    assert.match(
      whatWouldChange(assess(input), input)[0] ?? '',
      /^Time: a PROMOTE comes with the stage's end in 4 min, or at a look from 3\.3 min on that shows each metric within its margin/,
    );
  });
});
