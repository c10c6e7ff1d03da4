import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { judge, JUDGE_VERSION } from '../../../domain/canary/judge.js';
import { lookAt } from '../../../domain/canary/judge-sequential.js';
import type { AnalysisPolicy, ArmSamples, HardLimits, JudgeInput, Verdict } from '../../../domain/canary/types.js';
import { replay } from '../../../domain/canary/replay.js';
import { whatWouldChange } from '../../../domain/canary/what-would-change.js';
import { seededRandom } from '../../../bench/canary/random.js';
import { inputOf, scrape, startMs } from './simulate.js';
import type { Service } from './simulate.js';

const policy = defaultAnalysis(5000);
const stage = { policy, durationMs: 120_000 };
const healthy: Service = { requestsPerSecond: 40, errorRate: 0.002 };

function samples(service: Service, seed: number, scrapes = 24, intervalMs = 5000): ArmSamples {
  return scrape(service, { startMs, scrapes, intervalMs }, seededRandom(seed));
}

function withLimits(limits: Partial<HardLimits>): { readonly policy: AnalysisPolicy; readonly durationMs: number } {
  return { ...stage, policy: { ...policy, limits: { ...policy.limits, ...limits } } };
}

function judged(canary: Service, comparison: Service | null, atS: number, change: Partial<JudgeInput> = {}): Verdict {
  const other = comparison === null ? null : samples(comparison, 2);
  return judge({ ...inputOf(stage, samples(canary, 1), other, startMs + atS * 1000), ...change });
}

describe('judge, whatever the rule', () => {
  it('names itself, its input and its reasons', () => {
    const verdict = judged(healthy, healthy, 60);
    assert.equal(verdict.judgeVersion, JUDGE_VERSION);
    assert.match(verdict.inputDigest, /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual(verdict, judged(healthy, healthy, 60));
    for (const { why } of verdict.findings) assert.match(why, /^[A-Z0-9p].*\d.*\.$/);
  });

  it('keeps watching until the stage is over, then promotes', () => {
    const early = judged(healthy, healthy, 119);
    assert.deepEqual([early.kind, early.hold], ['HOLD', 'watching']);
    const late = judged(healthy, healthy, 120);
    assert.deepEqual([late.kind, late.hold], ['PROMOTE', null], late.summary);
  });

  it('stops a catastrophe during the warm-up, even if the comparison fails too', () => {
    const failing = { ...healthy, errorRate: 0.8 };
    const verdict = judged(failing, failing, 6);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.match(verdict.summary, /catastrophic limit of 50 %/);
    assert.equal(judged({ ...failing, requestsPerSecond: 1 }, healthy, 6).kind, 'HOLD');
  });

  it('says of a limit on p99 that no bucket can show as crossed, instead of keeping silent', () => {
    const { policy } = withLimits({ maxP99Seconds: 15 });
    const verdict = judged(healthy, healthy, 120, { policy });
    assert.equal(verdict.kind, 'PROMOTE');
    const unchecked =
      /The limit of 15 s on the canary's p99 \(limits\.maxP99\) can't be checked: the largest bucket of the canary's histogram ends at 5 s; give it larger buckets, or write 5 s or less\.$/;
    assert.match(verdict.summary, unchecked);
    assert.match(judged(healthy, null, 120, { policy }).summary, unchecked);
    const [finding] = verdict.findings;
    assert.deepEqual([finding?.metric, finding?.verdict, finding?.advisory], ['hard-limit', 'PROMOTE', true]);
    assert.ok(judged(healthy, healthy, 120).findings.every(({ metric }) => metric !== 'hard-limit'));
  });

  it('stops a canary that alone crosses a limit, between two looks too', () => {
    const { policy } = withLimits({ maxErrorRate: 0.02 });
    const verdict = judged({ ...healthy, errorRate: 0.15 }, healthy, 32, { policy });
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.match(verdict.summary, /above the limit of 2 %, which the comparison keeps at/);
    const slow = withLimits({ maxP99Seconds: 0.3 }).policy;
    const late = judged({ ...healthy, latencyFactor: 4 }, healthy, 32, { policy: slow });
    assert.equal(late.kind, 'ROLLBACK');
    assert.match(late.summary, /p99 .* above the limit of 300 ms/);
    // The largest bucket ends at the limit: what is beyond it is above, and what is read is that bucket's bound.
    const last = withLimits({ maxP99Seconds: 5 }).policy;
    const slowest = judged({ ...healthy, latencyFactor: 60 }, healthy, 32, { policy: last });
    assert.equal(slowest.kind, 'ROLLBACK', slowest.summary);
    assert.match(slowest.summary, /p99 .* is at least 5 s .* above the limit of 5 s/);
  });

  it('does not take one failure among few requests for a crossed limit', () => {
    const { policy } = withLimits({ maxErrorRate: 0.005 });
    const verdict = judged({ requestsPerSecond: 3, errorRate: 0.03 }, healthy, 36, { policy });
    assert.ok(!verdict.findings.some(({ metric }) => metric === 'hard-limit'), verdict.summary);
  });

  it('holds when both arms are hurt alike', () => {
    const hurt = { ...healthy, errorRate: 0.2 };
    const verdict = judged(hurt, hurt, 120, { policy: withLimits({ maxErrorRate: 0.02 }).policy });
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'shared-incident'], verdict.summary);
  });

  it('holds when an arm can no longer be seen', () => {
    const canary = samples(healthy, 1, 12);
    const verdict = judge(inputOf(stage, canary, samples(healthy, 2), startMs + 120_000));
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'no-data']);
    assert.match(verdict.summary, /The canary can't be seen: 1 min since its last sample/);
    const never = judge(
      inputOf(stage, { timesMs: [], leSeconds: [], series: [] }, samples(healthy, 2), startMs + 120_000),
    );
    assert.equal(never.hold, 'no-data');
  });

  it('holds when traffic is not split as set, but not for a lag', () => {
    const half = { ...healthy, requestsPerSecond: 20 };
    const wrong = judged(half, healthy, 120, { expectedShare: 0.1 });
    assert.equal(wrong.hold, 'split-mismatch');
    assert.match(wrong.summary, /3[234][.\d]* % of .* where 10 % were set/);
    assert.equal(judged(half, healthy, 120, { expectedShare: 1 / 3 }).kind, 'PROMOTE');
    const none = judged({ ...healthy, requestsPerSecond: 0 }, healthy, 30, { expectedShare: 0.2 });
    assert.equal(none.hold, 'split-mismatch');
    assert.notEqual(judged(half, healthy, 5, { expectedShare: 0.4 }).hold, 'split-mismatch');
  });

  it('says how many requests are missing', () => {
    const verdict = judged({ requestsPerSecond: 0.3, errorRate: 0 }, healthy, 120);
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'insufficient-data']);
    assert.match(verdict.summary, /the canary had \d+ and needs \d+ more/);
  });

  it('lets hard limits alone speak where there is nothing to compare with', () => {
    assert.equal(judged(healthy, null, 60).hold, 'watching');
    const done = judged({ ...healthy, errorRate: 0.1 }, null, 120);
    assert.equal(done.kind, 'PROMOTE');
    assert.match(done.summary, /nothing to compare/);
    const limited = withLimits({ maxErrorRate: 0.02 });
    assert.equal(judged({ ...healthy, errorRate: 0.1 }, null, 120, limited).kind, 'ROLLBACK');
    assert.equal(judged({ requestsPerSecond: 0.1, errorRate: 0 }, null, 120).hold, 'insufficient-data');
  });

  it('judges on errors alone without histograms, and says so', () => {
    const bare = (arm: ArmSamples) => ({
      ...arm,
      leSeconds: [],
      series: arm.series.map((one) => ({ ...one, buckets: [] })),
    });
    const [own, other] = [bare(samples(healthy, 1)), bare(samples(healthy, 2))];
    const verdict = judge(inputOf(stage, own, other, startMs + 120_000));
    assert.equal(verdict.kind, 'PROMOTE');
    assert.match(verdict.summary, /judged on errors alone/);
    const lopsided = judge(inputOf(stage, own, samples(healthy, 2), startMs + 120_000));
    assert.deepEqual([lopsided.kind, lopsided.hold], ['HOLD', 'inconclusive']);
  });

  it('refuses times that are none', () => {
    assert.throws(() => judged(healthy, healthy, 60, { durationMs: 0 }), RangeError);
  });
});

describe('sequential', () => {
  it('says the same between two looks, whatever came in since', () => {
    const worse = { ...healthy, errorRate: 0.03 };
    const at = (atS: number) => judged(worse, healthy, atS).findings;
    assert.deepEqual(at(40), at(59));
    assert.notDeepEqual(at(59), at(60));
  });

  it('rolls back on what is significant and matters, with the arithmetic', () => {
    const verdict = judged({ ...healthy, errorRate: 0.05 }, healthy, 60);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.match(
      verdict.summary,
      /^Error rate [\d.]+ % against [\d.]+ % since the warm-up \(n = 1,\d{3} and 1,\d{3}, p = \de-\d+\)/,
    );
  });

  it('spends its budget over all looks, and no more, however long a stage is held', () => {
    const input = inputOf({ policy, durationMs: 110_000, budgetShare: 0.5 }, samples(healthy, 1), null, startMs);
    for (const perSecond of [0.5, 40]) {
      const requestsBy = (atMs: number) => ((atMs - startMs) / 1000) * perSecond;
      const spent = new Map<number, number>();
      for (let atMs = startMs; atMs <= startMs + 5_000_000; atMs += 5000) {
        const look = lookAt({ ...input, atMs }, requestsBy);
        if (look.number > 0) spent.set(look.number, look.alpha);
      }
      const total = [...spent.values()].reduce((sum, alpha) => sum + alpha, 0);
      assert.ok(total <= 0.005 && total > 0.0047, `${total}`);
      assert.equal(lookAt({ ...input, atMs: startMs + 110_000 }, requestsBy).number, 6);
    }
  });

  it('passes over looks that would bring next to no news, and keeps what they might have spent', () => {
    const input = inputOf({ policy, durationMs: 1_000_000 }, samples(healthy, 1), null, startMs);
    // Half a request per second, and looks every 20 s: 50 requests come in 100 s.
    const at = (atMs: number) => lookAt({ ...input, atMs: startMs + atMs }, (ms) => (ms - startMs) / 2000);
    assert.equal(at(99_999).number, 0);
    assert.equal(at(100_000).number, 5);
    assert.equal(at(199_999).number, 5);
    const spent = (share: number) => 0.01 * 0.6 * Math.log(1 + (Math.E - 1) * share);
    assert.ok(Math.abs(at(200_000).alpha - (spent(10 / 50) - spent(5 / 50))) < 1e-12);
  });
});

describe('a gross failure', () => {
  const slowScrapes = { policy: defaultAnalysis(15_000), durationMs: 900_000 };
  const at = (service: Service, atS: number, change: Partial<JudgeInput> = {}) => {
    const own = samples(service, 1, 120, 15_000);
    const other = samples({ ...healthy, requestsPerSecond: 10 }, 2, 120, 15_000);
    return judge({ ...inputOf(slowScrapes, own, other, startMs + atS * 1000), ...change });
  };
  const failing: Service = { requestsPerSecond: 10, errorRate: 0.15 };

  it('is rolled back at the second scrape, in the warm-up and between looks, and says why', () => {
    assert.equal(at(failing, 15).kind, 'HOLD');
    const verdict = at(failing, 30);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.match(
      verdict.summary,
      /over the last 30 s .* a gross failure \(5 points or more, and 2 times the comparison\)/,
    );
  });

  it('is rolled back within 45 s of its onset at 10 points and 10 requests/s, wherever that is between two scrapes', () => {
    const found = [0, 64, 68, 74].flatMap((onsetS) =>
      Array.from({ length: 25 }, (__, seed) => {
        const own = samples(
          { ...healthy, requestsPerSecond: 10, errorRate: 0.01, failsFromS: onsetS },
          seed,
          120,
          15_000,
        );
        const other = samples({ ...healthy, requestsPerSecond: 10, errorRate: 0.01 }, 1000 + seed, 120, 15_000);
        const { atMs: _, ...recording } = inputOf(slowScrapes, own, other, startMs);
        return replay(recording, startMs + (onsetS + 45) * 1000).kind;
      }),
    );
    assert.ok(found.filter((kind) => kind === 'ROLLBACK').length >= 97, found.join(' '));
  });

  it('is not one where both arms fail alike, where few requests tell, or under a judge that knows no such rule', () => {
    const own = samples(failing, 1, 120, 15_000);
    const input = inputOf(slowScrapes, own, samples(failing, 3, 120, 15_000), startMs + 30_000);
    assert.equal(judge(input).kind, 'HOLD');
    assert.equal(at({ requestsPerSecond: 0.3, errorRate: 0.3 }, 30).kind, 'HOLD');
    assert.equal(at(failing, 30, { policy: { ...slowScrapes.policy, judge: 'mann-whitney' } }).kind, 'HOLD');
  });
});

describe('replaying a recording', () => {
  const recorded = (errorRate: number) => {
    const own = samples({ ...healthy, errorRate }, 1, 60);
    const { atMs: _, ...recording } = inputOf(stage, own, samples(healthy, 2, 60), startMs);
    return recording;
  };

  it('finds what the live watch would have found, and when', () => {
    for (const errorRate of [0.002, 0.02, 0.2]) {
      const recording = recorded(errorRate);
      let live = judge({ ...recording, atMs: startMs });
      for (let atMs = startMs + 5000; live.kind === 'HOLD' && atMs <= startMs + 300_000; atMs += 5000)
        live = judge({ ...recording, atMs });
      assert.deepEqual(replay(recording, startMs + 300_000), live);
    }
  });

  it('does not look beyond the end that it is given', () => {
    const verdict = replay(recorded(0.002), startMs + 62_000);
    assert.deepEqual([verdict.kind, verdict.hold, verdict.atMs], ['HOLD', 'watching', startMs + 62_000]);
  });
});

describe('mann-whitney, the rule that was asked for', () => {
  const rule = { ...policy, judge: 'mann-whitney' as const };
  const checks = (change: Partial<AnalysisPolicy['mannWhitney']> = {}): Partial<JudgeInput> => ({
    policy: { ...rule, mannWhitney: { ...rule.mannWhitney, checkEveryMs: 40_000, ...change } },
  });

  it('waits for its first check', () => {
    assert.equal(judged(healthy, healthy, 39, checks()).look, 0);
    assert.equal(judged(healthy, healthy, 39, checks()).hold, 'watching');
    assert.equal(judged(healthy, healthy, 41, checks()).look, 1);
  });

  it('rolls back below p = 0.05 and by its absolute limits', () => {
    const slow = judged({ ...healthy, latencyFactor: 1.25 }, healthy, 120, checks());
    assert.equal(slow.kind, 'ROLLBACK');
    assert.match(slow.summary, /p is below 0.05|above the limit of 1.3 times/);
    const failing = judged({ ...healthy, errorRate: 0.12 }, healthy, 120, checks());
    assert.match(failing.summary, /points more, above the limit of 5 points/);
  });

  it('holds the success rate against the canary only where the comparison keeps it', () => {
    const chronic = { ...healthy, errorRate: 0.02 };
    const verdict = judged(chronic, chronic, 120, checks({ rollbackP: 0.001, promoteP: 0.999 }));
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'inconclusive'], verdict.summary);
    const alone = judged(chronic, { ...healthy, errorRate: 0 }, 120, checks({ rollbackP: 0.001 }));
    assert.match(alone.summary, /success rate|p is below/);
    assert.equal(alone.kind, 'ROLLBACK');
  });

  it('does not promote before the stage is over', () => {
    const lenient = checks({ promoteP: 0, rollbackP: 0.01 });
    assert.equal(judged(healthy, healthy, 119, lenient).hold, 'watching');
    assert.equal(judged(healthy, healthy, 120, lenient).kind, 'PROMOTE');
  });

  it('takes too few samples for what they are', () => {
    const verdict = judged(healthy, healthy, 20, checks({ checkEveryMs: 15_000, checks: 2 }));
    assert.equal(verdict.hold, 'insufficient-data');
    assert.match(verdict.summary, /Too few samples: 3 on both arms; p can't be below 0.05 without 1 more sample/);
  });

  it('asks for no more requests after its last check, which would look at none of them', () => {
    const quiet = { ...healthy, requestsPerSecond: 1 };
    const before = judged(quiet, healthy, 35, checks({ checkEveryMs: 30_000, checks: 2 }));
    assert.match(before.summary, /^Too few requests to judge .* and needs \d+ more\.$/);
    for (const [atS, hold] of [
      [100, 'watching'],
      [120, 'inconclusive'],
    ] as const) {
      const last = judged(quiet, healthy, atS, checks({ checkEveryMs: 30_000, checks: 2 }));
      assert.equal(last.hold, hold);
      assert.match(
        last.summary,
        /^Undecided after the last check\. Too few requests to judge \(100 requests per arm\): the canary had \d+\. No other check follows: only a person can decide\.$/,
      );
      const rule = checks({ checkEveryMs: 30_000, checks: 2 });
      const input = { ...inputOf(stage, samples(quiet, 1), samples(healthy, 2), startMs + atS * 1000), ...rule };
      assert.match(whatWouldChange(last, input).join(), /^Only a person: the rule makes 2 checks/);
    }
  });
});
