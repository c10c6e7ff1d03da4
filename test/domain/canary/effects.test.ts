import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { faultText, sampleFault, storedNames } from '../../../domain/canary/check-samples.js';
import { obstaclesOf } from '../../../domain/canary/decidable.js';
import { differenceInterval, effectOf, ratioInterval, stageEffects } from '../../../domain/canary/effects.js';
import { judge } from '../../../domain/canary/judge.js';
import { looksOf } from '../../../domain/canary/looks.js';
import { portraitOf } from '../../../domain/canary/portrait.js';
import { replay } from '../../../domain/canary/replay.js';
import type { ArmSamples, JudgeInput } from '../../../domain/canary/types.js';
import { tippedBy, whatWouldChange } from '../../../domain/canary/what-would-change.js';
import { ARMS, recordedInput } from '../../support/recorded.js';
import { startMs } from './simulate.js';

function pairOf(canaryEvents: number, canaryTotal: number, comparisonEvents: number, comparisonTotal: number) {
  return { canaryEvents, canaryTotal, comparisonEvents, comparisonTotal };
}

describe('intervals of effects', () => {
  it('are those of Newcombe’s table for differences (1998, table II, method 10)', () => {
    const table: readonly (readonly [number, number, number, number, number, number])[] = [
      [56, 70, 48, 80, 0.0524, 0.3339],
      [9, 10, 3, 10, 0.1705, 0.809],
      [6, 7, 2, 7, 0.0582, 0.8062],
      [5, 56, 0, 29, -0.0381, 0.1926],
      [0, 10, 0, 20, -0.1611, 0.2775],
      [0, 10, 0, 10, -0.2775, 0.2775],
      [10, 10, 0, 20, 0.6791, 1],
      [10, 10, 0, 10, 0.6075, 1],
    ];
    for (const [a, m, b, n, low, high] of table) {
      const { lower, upper } = differenceInterval(pairOf(a, m, b, n));
      assert.ok(
        Math.abs(lower - low) < 6e-5 && Math.abs(upper - high) < 6e-5,
        `${a}/${m} ${b}/${n}: ${lower} ${upper}`,
      );
    }
  });

  it('widen with dispersion', () => {
    const pair = pairOf(30, 1000, 10, 1000);
    const [tight, wide] = [differenceInterval(pair), differenceInterval(pair, 4)];
    assert.ok(wide.lower < tight.lower && wide.upper > tight.upper);
  });

  it('of ratios have no upper end where the comparison has no events, and none at all without any', () => {
    assert.equal(ratioInterval(pairOf(0, 10, 0, 10)), null);
    assert.equal(ratioInterval(pairOf(5, 100, 0, 100))?.upper, null);
    const found = ratioInterval(pairOf(20, 1000, 10, 1000));
    assert.ok(found !== null && found.upper !== null && found.lower < 2 && found.upper > 2);
    // Wilson's interval of 20 of 30 (R: prop.test(20, 30, correct = FALSE)): 0.4878 to 0.8077.
    assert.ok(Math.abs(found.lower - 0.4878 / (1 - 0.4878)) < 1e-3, String(found.lower));
    assert.ok(Math.abs(found.upper - 0.8077 / (1 - 0.8077)) < 3e-3, String(found.upper));
  });

  it('hold the effect of every finding that compares, for both judges', () => {
    for (const arms of [ARMS.good, ARMS.bad, ARMS.slow, ARMS.held]) {
      for (const name of ['sequential', 'mann-whitney'] as const) {
        const input = recordedInput({ ...arms, minutes: 20, policy: { judge: name } });
        const { findings } = judge(input);
        assert.ok(findings.length >= 1);
        for (const finding of findings) {
          const effect = effectOf(finding, input);
          assert.ok(effect !== null, finding.why);
          assert.equal(effect.value, finding.effect);
          const isRankOfPooled = name === 'mann-whitney' && effect.kind === 'ratio';
          if (isRankOfPooled) continue;
          assert.ok(effect.lower <= effect.value && effect.value <= (effect.upper ?? Infinity), finding.why);
        }
      }
    }
  });
});

describe('looksOf', () => {
  const input = recordedInput({ ...ARMS.bad, minutes: 15 });
  const { atMs, ...recording } = input;

  it('has every look of the grid (one that falls on the warm-up is none), and the verdict’s instant among them', () => {
    const looks = looksOf(recording, startMs + 600_000, [atMs]);
    assert.deepEqual([...new Set(looks.map((look) => look.verdict.look))], [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const fell = looks.find((look) => look.atMs === atMs);
    assert.equal(fell?.verdict.kind, 'ROLLBACK');
    const { inputDigest: _, ...same } = replay(recording, startMs + 600_000);
    assert.deepEqual(fell?.verdict, same);
  });

  it('shows effects with intervals that narrow', () => {
    const looks = looksOf(recording, startMs + 900_000);
    const widths = looks.flatMap(({ errors }) => (errors === null ? [] : [(errors.upper ?? 1) - errors.lower]));
    assert.ok(widths.length >= 14 && widths.at(-1)! < widths[0]! / 2);
    assert.equal(stageEffects({ ...recording, atMs: startMs + 30_000 }).errors, null);
  });

  it('takes no more looks than can be shown of a stage that is held for hours', () => {
    const held = { ...recording, durationMs: 60_000, policy: { ...recording.policy, lookEveryMs: 1000 } };
    const looks = looksOf(held, startMs + 900_000);
    assert.ok(looks.length <= 241, String(looks.length));
    assert.equal(looks.at(-1)?.atMs, startMs + 900_000);
  });
});

describe('portraitOf', () => {
  it('adds up to what was counted, from the start on', () => {
    const { atMs: _, ...recording } = recordedInput({ ...ARMS.slow });
    const { moments, latency } = portraitOf(recording, startMs + 900_000);
    const total = moments.reduce((sum, moment) => sum + moment.canary.requests, 0);
    assert.equal(total, recording.canary.series[0]?.requests.at(-1));
    assert.ok(moments.length <= 90 && moments[0]?.fromMs === startMs);
    const sum = (shares: readonly number[] = []) => shares.reduce((all, share) => all + share, 0);
    assert.ok(Math.abs(sum(latency?.canary) - 1) < 1e-9 && Math.abs(sum(latency?.comparison ?? []) - 1) < 1e-9);
  });

  it('shows the canary alone where there is nothing to compare with', () => {
    const { atMs: _, ...recording } = recordedInput({ ...ARMS.good });
    const { moments } = portraitOf({ ...recording, comparison: null }, startMs + 900_000);
    assert.ok(moments.length > 0 && moments.every(({ comparison }) => comparison === null));
  });
});

describe('whatWouldChange', () => {
  it('says of a rollback what would not have been one, per metric that tipped it', () => {
    const input = recordedInput(ARMS.bad);
    const verdict = judge(input);
    assert.equal(verdict.kind, 'ROLLBACK');
    assert.ok(tippedBy(verdict).length > 0 && tippedBy(verdict)[0]?.why === verdict.summary);
    assert.match(
      whatWouldChange(verdict, input)[0] ?? '',
      /^A rise below .* points .*, or a p of .* or more .* would not have been a rollback by the error rate\.$/,
    );
  });

  it('says of the asked-for rule that both would have had to be otherwise', () => {
    const input = recordedInput({ ...ARMS.bad, policy: { judge: 'mann-whitney' } });
    assert.match(whatWouldChange(judge(input))[0] ?? '', /, and a p of /);
  });

  it('says of a promotion what a rollback would have taken', () => {
    const input = recordedInput(ARMS.good);
    const [first = ''] = whatWouldChange(judge(input), input);
    assert.match(
      first,
      /^A rollback by the error rate would have taken a rise of 0\.2 points or more .* with p below /,
    );
  });

  it('says of a hold for want of requests how many, and how long that takes', () => {
    const input = recordedInput(ARMS.quiet);
    const verdict = judge(input);
    assert.equal(verdict.hold, 'insufficient-data');
    assert.match(
      whatWouldChange(verdict, input).join(' '),
      /more requests on the canary \(about \d+ min at its 0\.0\d+ requests\/s\)/,
    );
  });

  it('says of an inconclusive stage how much more is needed', () => {
    const input = recordedInput(ARMS.held);
    const verdict = judge(input);
    assert.equal(verdict.hold, 'inconclusive', verdict.summary);
    const [first = ''] = whatWouldChange(verdict, input);
    assert.match(
      first,
      /For a PROMOTE by the error rate: rises up to .* points are within the 95 % interval, where 0\.4 points may remain; about .* times the requests|the error rate is itself beyond/,
    );
    assert.match(first, /a ROLLBACK takes 0\.2 points or more with p below/);
  });

  it('has a sentence for every other hold', () => {
    const verdict = judge(recordedInput(ARMS.held));
    for (const hold of ['watching', 'no-data', 'shared-incident', 'split-mismatch', 'insufficient-data'] as const) {
      const sentences = whatWouldChange({ ...verdict, hold });
      assert.ok(
        sentences.length > 0 && sentences.every((text) => text.endsWith('.') && !/NaN|null|undefined/.test(text)),
        sentences.join(' '),
      );
    }
  });
});

describe('obstaclesOf', () => {
  const good = recordedInput(ARMS.good);
  const fields = (input: JudgeInput) => obstaclesOf(input).map(({ field }) => field);
  const under = (policy: Partial<JudgeInput['policy']>, rest: Partial<JudgeInput> = {}): JudgeInput => ({
    ...good,
    ...rest,
    policy: { ...good.policy, ...policy },
  });

  it('finds none where the policy can decide', () => {
    assert.deepEqual(fields(good), []);
    assert.deepEqual(fields(under({ judge: 'mann-whitney' })), []);
  });

  it('names the key, its value, why it can’t work, and what to write instead', () => {
    assert.deepEqual(fields(under({ errorBudget: 0 })), ['errorBudget']);
    assert.deepEqual(fields(under({ minErrorIncrease: 1 })), ['minErrorIncrease']);
    assert.deepEqual(fields(under({ warmUpMs: 900_000 })), ['warmUpMs']);
    assert.deepEqual(fields(under({ minRequests: 1_000_000 })), ['minRequests']);
    const mannWhitney = { ...good.policy.mannWhitney, checkEveryMs: 3_600_000 };
    assert.deepEqual(fields(under({ judge: 'mann-whitney', mannWhitney })), ['mannWhitney.checkEveryMs']);
    const narrow = { ...good.policy.mannWhitney, windowMs: 30_000 };
    assert.deepEqual(fields(under({ judge: 'mann-whitney', mannWhitney: narrow })), ['mannWhitney.windowMs']);
    const [tooMany] = obstaclesOf(under({ minRequests: 1_000_000 }));
    assert.equal(tooMany?.value, '1,000,000');
    assert.match(tooMany?.problem ?? '', /about 1\d,\d{3} requests/);
    assert.match(tooMany?.remedy ?? '', /let the stage last about \d+ h/);
  });

  it('finds a budget that not even a canary that fails everything could reach', () => {
    const quiet = recordedInput(ARMS.quiet);
    const [found] = obstaclesOf({ ...quiet, policy: { ...quiet.policy, errorBudget: 1e-30, minRequests: 1 } });
    assert.equal(found?.field, 'errorBudget');
    assert.match(found?.problem ?? '', /not even a canary that fails every request/);
  });
});

describe('sampleFault', () => {
  const { canary } = recordedInput(ARMS.good);
  const [series] = canary.series;
  const changed = (change: Partial<ArmSamples['series'][number]>): ArmSamples => ({
    ...canary,
    series: [{ ...series!, ...change }],
  });
  const said = (arm: ArmSamples) => {
    const fault = sampleFault(arm, storedNames('canary'));
    return fault === null ? null : faultText(fault);
  };

  it('has nothing against counters, with resets and missing scrapes', () => {
    assert.equal(said(canary), null);
    const reset = series!.requests.map((value, i) =>
      i === 7 ? null : i > 20 ? (value ?? 0) - (series!.requests[20] ?? 0) : value,
    );
    const errors = series!.errors.map((value, i) => (i > 20 ? (value ?? 0) - (series!.errors[20] ?? 0) : value));
    assert.equal(said(changed({ requests: reset, errors })), null);
    assert.equal(said(changed({ buckets: [] })), null);
  });

  it('names the field, the value and the remedy', () => {
    const odd: readonly (readonly [ArmSamples, RegExp])[] = [
      [
        { ...canary, values: { depth: [1, 2] } },
        /^canary\.values\.depth: has 2 values where canary\.timesMs has 61; give one value for each/,
      ],
      [
        { ...canary, values: { depth: canary.timesMs.map((_, i) => (i === 5 ? NaN : i)) } },
        /^canary\.values\.depth\[5\]: NaN is no measurement; give a number, or null/,
      ],
      [
        changed({ requests: series!.requests.slice(1) }),
        /^canary\.series\[0\]\.requests: has 60 values where canary\.timesMs has 61; give one value for each/,
      ],
      [
        changed({ errors: series!.errors.map((v, i) => (i === 3 ? -5 : v)) }),
        /^canary\.series\[0\]\.errors\[3\]: -5 is no counter value; give raw cumulative counters/,
      ],
      [
        changed({ requests: series!.requests.map((_, i) => 300 + (i % 2)) }),
        /goes down at 30 of 60 steps: .* look like rates/,
      ],
      [
        changed({ errors: series!.requests.map((v) => 2 * (v ?? 0)) }),
        /errors must be counted among the requests: are the two swapped/,
      ],
      [
        changed({ buckets: series!.buckets.map((row) => row!.toReversed()) }),
        /buckets\[1\]: goes down from one bound to the next.*give cumulative buckets/,
      ],
      [
        changed({ buckets: series!.buckets.map((row) => row!.slice(1)) }),
        /buckets\[0\]: has 16 values where canary\.leSeconds has 17/,
      ],
      [
        { ...canary, timesMs: canary.timesMs.map((time, i) => (i === 2 ? 0 : time)) },
        /^canary\.timesMs\[2\]: 0 does not come after/,
      ],
      [{ ...canary, leSeconds: canary.leSeconds.toReversed() }, /^canary\.leSeconds\[\d+\]: .*\+Inf last/],
    ];
    for (const [arm, expected] of odd) assert.match(said(arm) ?? 'nothing', expected);
  });
});
