import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultAnalysis, metricPolicy } from '../../../domain/canary/defaults.js';
import { judge } from '../../../domain/canary/judge.js';
import { replay } from '../../../domain/canary/replay.js';
import type { AnalysisPolicy, ArmSamples, JudgeInput, ThresholdPolicy, Verdict } from '../../../domain/canary/types.js';
import { startMs } from './simulate.js';

const minute = 60_000;

/** One minute of a canary: its requests and failures, and how many of the requests took longer than 500 ms. */
interface Minute {
  readonly requests: number;
  readonly errors: number;
  readonly slow?: number;
}

const good: Minute = { requests: 100, errors: 0 };
const bad: Minute = { requests: 100, errors: 5 };
const slow: Minute = { requests: 100, errors: 0, slow: 20 };
const idle: Minute = { requests: 0, errors: 0 };

function armOf(minutes: readonly Minute[], values?: ArmSamples['values']): ArmSamples {
  const sums = (pick: (one: Minute) => number) => {
    let sum = 0;
    return [0, ...minutes.map((one) => (sum += pick(one)))];
  };
  const all = sums(({ requests }) => requests);
  const late = sums(({ slow = 0 }) => slow);
  return {
    timesMs: all.map((_, i) => startMs + i * minute),
    leSeconds: [0.5, 1, null],
    series: [
      {
        instance: 'pod-0',
        requests: all,
        errors: sums(({ errors }) => errors),
        buckets: all.map((n, i) => [n - late[i]!, n, n]),
      },
    ],
    ...(values === undefined ? {} : { values }),
  };
}

const usual = defaultAnalysis(minute);

function inputOf(
  minutes: readonly Minute[],
  rule: Partial<ThresholdPolicy> = {},
  change: Partial<JudgeInput> & { readonly metrics?: AnalysisPolicy['metrics'] } = {},
): JudgeInput {
  const { metrics = [], ...rest } = change;
  return {
    policy: { ...usual, judge: 'threshold', metrics, threshold: { ...usual.threshold, ...rule } },
    startMs,
    atMs: startMs + minutes.length * minute,
    durationMs: 10 * minute,
    budgetShare: 1,
    expectedShare: null,
    canary: armOf(minutes),
    comparison: null,
    ...rest,
  };
}

function judged(...input: Parameters<typeof inputOf>): Verdict {
  return judge(inputOf(...input));
}

function times(n: number, one: Minute): readonly Minute[] {
  return Array.from({ length: n }, () => one);
}

describe('threshold, counted as Flagger does', () => {
  it('says a success rate of 99.98 % with the digits that put it below 99.99 %', () => {
    const minutes = times(9, { requests: 100_000, errors: 20 });
    assert.match(judged(minutes, { minSuccessRate: 0.9999 }).summary, /success rate 99\.98 % below 99\.99 % /);
  });

  it('counts what was scraped in a window, wherever the window lies between two scrapes', () => {
    for (const initialDelayMs of [0, 20_000, 30_000, 59_000]) {
      const verdict = judged(times(11, good), { initialDelayMs });
      assert.equal(verdict.kind, 'PROMOTE', `${initialDelayMs}: ${verdict.summary}`);
      const failing = judged(times(11, bad), { initialDelayMs });
      assert.equal(failing.kind, 'ROLLBACK', `${initialDelayMs}: ${failing.summary}`);
    }
  });

  it('needs no comparison, and says what it counted', () => {
    const verdict = judged(times(10, good));
    assert.deepEqual([verdict.kind, verdict.look], ['PROMOTE', 10], verdict.summary);
    assert.equal(verdict.summary, 'Within the limits by the end of the stage: 0 of 10 checks failed; limit 5.');
    assert.equal(judged(times(9, good)).hold, 'watching');
  });

  it('adds failed checks up and never resets them, so that good ones between them do not help', () => {
    const mixed = [bad, good, bad, good, bad, good, bad, good];
    assert.equal(judged(mixed).kind, 'HOLD');
    const verdict = judged([...mixed, bad]);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.equal(verdict.summary, '5 of 9 checks failed; limit 5: success rate 95 % below 99 % (n = 100).');
  });

  it('fails a check once, however many limits it breaks', () => {
    const both = { requests: 100, errors: 5, slow: 20 };
    assert.equal(judged(times(4, both)).kind, 'HOLD');
    assert.equal(judged(times(5, both)).kind, 'ROLLBACK');
  });

  it('counts a check without data as failed', () => {
    assert.equal(judged([good, ...times(4, idle)]).kind, 'HOLD');
    const verdict = judged([good, ...times(5, idle)]);
    assert.equal(verdict.summary, '5 of 6 checks failed; limit 5: no data of the success rate.');
  });

  it('holds p99 against its limit, and says when the histogram can only say "at least"', () => {
    const verdict = judged(times(5, slow));
    assert.match(verdict.summary, /^5 of 5 checks failed; limit 5: p99 9\d\d ms above 500 ms \(n = 100\)/);
    const beyond = armOf(times(5, slow));
    const [series] = beyond.series;
    const saturated = {
      ...beyond,
      series: [{ ...series!, buckets: series!.buckets.map((row) => [row![0]!, row![0]!, row![2]!]) }],
    };
    assert.match(judged(times(5, slow), {}, { canary: saturated }).summary, /p99 at least 1 s above 500 ms/);
    // The largest bucket ends at the limit: what is beyond it is above.
    const atLimit = judged(times(5, slow), { maxP99Seconds: 1 }, { canary: saturated });
    assert.match(atLimit.summary, /p99 at least 1 s above 1 s/);
  });

  it('does not promote on a failed check, but on the next good one', () => {
    const open = judged([...times(9, good), bad]);
    assert.deepEqual([open.kind, open.hold], ['HOLD', 'inconclusive']);
    assert.match(
      open.summary,
      /its latest check failed \(success rate 95 % below 99 % \(n = 100\)\); 1 of 10 checks failed/,
    );
    assert.equal(judged([...times(9, good), bad, good]).kind, 'PROMOTE');
  });

  it('does not look at latency where the service has no histogram', () => {
    const { leSeconds: _, series, ...arm } = armOf(times(10, good));
    const bare = { ...arm, leSeconds: [], series: series.map((one) => ({ ...one, buckets: [] })) };
    const verdict = judged(times(10, good), {}, { canary: bare });
    assert.deepEqual([verdict.kind, verdict.findings.length], ['PROMOTE', 1]);
  });
});

describe('threshold, counted as Argo Rollouts does', () => {
  const argo = { counting: 'argo', failureLimit: 3, maxP99Seconds: null } as const;

  it('fails when failures > failureLimit', () => {
    assert.equal(judged(times(3, bad), argo).kind, 'HOLD');
    const verdict = judged(times(4, bad), argo);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.equal(verdict.summary, '4 of 4 checks failed; limit 3: success rate 95 % below 99 % (n = 100).');
    assert.equal(judged([bad], { ...argo, failureLimit: 0 }).kind, 'ROLLBACK');
  });

  it('counts each limit for itself', () => {
    const turns = [bad, slow, bad, slow, bad, slow];
    assert.equal(judged(turns, { ...argo, maxP99Seconds: 0.5 }).kind, 'HOLD');
    assert.equal(judged([...turns, bad], { ...argo, maxP99Seconds: 0.5 }).kind, 'ROLLBACK');
  });

  it('fails on more than consecutiveErrorLimit checks in a row without data, and only in a row', () => {
    assert.equal(judged([good, ...times(4, idle)], argo).kind, 'HOLD');
    const verdict = judged([good, ...times(5, idle)], argo);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.equal(verdict.summary, '5 checks in a row had no data of the success rate; consecutiveErrorLimit 4.');
    assert.equal(judged([...times(4, idle), good, ...times(4, idle)], argo).kind, 'HOLD');
  });

  it('stops measuring after `count`, and does not promote before it', () => {
    const late = [...times(3, good), ...times(7, bad)];
    assert.equal(judged(late, { ...argo, count: 3 }).kind, 'PROMOTE');
    const waits = judged(times(10, good), { ...argo, count: 12 });
    assert.deepEqual([waits.kind, waits.hold], ['HOLD', 'watching']);
    assert.match(waits.summary, /2 min to go/);
    assert.equal(judged(times(12, good), { ...argo, count: 12 }).kind, 'PROMOTE');
  });

  it('is not satisfied with an analysis that measured nothing', () => {
    const verdict = judged(times(10, idle), { ...argo, consecutiveErrorLimit: 99 });
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'insufficient-data']);
    assert.match(verdict.summary, /Nothing was measured of the success rate in 10 checks/);
  });
});

describe('threshold', () => {
  it('looks back over its window from each interval, beginning after the delay', () => {
    const spread = [bad, good, good, good, good];
    const failures = (rule: Partial<ThresholdPolicy>) => judged(spread, rule).findings[0]?.effect;
    assert.equal(failures({}), 1);
    // 5 errors in 300 requests are still more than 1 %; in 500 they are not.
    assert.equal(failures({ windowMs: 3 * minute }), 3);
    assert.equal(failures({ initialDelayMs: minute }), 0);
    assert.equal(judged(spread, { initialDelayMs: minute }).look, 4);
    assert.equal(judged(spread, { intervalMs: 2 * minute }).look, 2);
  });

  it('holds further metrics against min and max, and says which has no data', () => {
    const depths = [null, 3, 3, 9, 9, 9, 9, 9];
    const canary = armOf(times(7, good), { 'queue-depth': depths });
    const metrics = [{ ...metricPolicy('queue-depth'), max: 5 }];
    const verdict = judged(times(7, good), {}, { canary, metrics });
    assert.equal(verdict.summary, '5 of 7 checks failed; limit 5: metric queue-depth 9 above 5.');
    const low = judged(times(7, good), {}, { canary, metrics: [{ ...metricPolicy('queue-depth'), min: 2 }] });
    assert.match(low.findings[2]!.why, /^0 of 7 checks broke the limit .* latest: metric queue-depth 9 not below 2\.$/);
    const none = judged(times(7, good), {}, { metrics });
    assert.match(none.summary, /^7 of 7 checks failed; limit 5: no data of metric queue-depth\.$/);
  });

  it('needs a limit', () => {
    const verdict = judged(times(10, good), { minSuccessRate: null, maxP99Seconds: null });
    assert.deepEqual([verdict.kind, verdict.hold], ['HOLD', 'inconclusive']);
    assert.match(verdict.summary, /There is no limit to hold the canary against: set threshold\.minSuccessRate/);
  });

  it('wants the requests that every PROMOTE needs', () => {
    const verdict = judged(times(10, { requests: 5, errors: 0 }));
    assert.equal(verdict.hold, 'insufficient-data');
    assert.match(verdict.summary, /the canary had 50 and needs 50 more/);
  });

  it('is not held up by a comparison that it does not need', () => {
    const blind: ArmSamples = { timesMs: [], leSeconds: [], series: [] };
    assert.equal(judged(times(10, good), {}, { comparison: blind }).kind, 'PROMOTE');
  });

  it('finds in a recording what it would have found live, and refuses an interval that is none', () => {
    const { atMs: _, ...recording } = inputOf([good, ...times(9, bad)]);
    assert.equal(replay(recording, startMs + 20 * minute).atMs, startMs + 6 * minute);
    assert.throws(() => judged(times(3, good), { intervalMs: 0 }), /threshold\.intervalMs must be a positive number/);
  });
});
