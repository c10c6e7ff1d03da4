import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '../../domain/canonical.js';
import { planLine } from '../../domain/details.js';
import { fitsUpTo, makePlan, plannedNeeds, resized } from '../../domain/plan.js';
import type { Plan } from '../../domain/plan.js';
import { moreCareful, STRATEGIES } from '../../domain/policy.js';
import type { Policy } from '../../domain/policy.js';
import { hashRelease } from '../../domain/release.js';
import type { KubernetesRoute, TargetSnapshot } from '../../domain/target.js';
import { SMALL_CHANGE, stage, testPolicy } from '../support/request.js';

const POLICY = testPolicy({ gateway: 'http://127.0.0.1:7700', stages: [stage(10, 60), stage(50, 60), stage(90, 60)] });
const STABLE_DIGEST = digestOf('the template of v1');

/** What stands: stable with so many replicas, or nothing. */
function standing(replicas: number | null, change: Partial<TargetSnapshot> = {}): TargetSnapshot {
  const stable = { templateDigest: STABLE_DIGEST, version: 'hello:v1', ready: replicas ?? 0, message: null };
  return {
    arms: replicas === null ? {} : { stable: { ...stable, replicas } },
    weights: replicas === null ? null : { stable: 100, canary: 0, baseline: 0 },
    freeReplicas: 20,
    autoscaled: false,
    anchor: null,
    recorded: null,
    recordLost: false,
    ...change,
  };
}

function plan(change: Partial<Policy> = {}, snapshot = standing(4), env: Readonly<Record<string, string>> = {}): Plan {
  const policy = { ...POLICY, ...change };
  const release = hashRelease({ images: { app: 'hello:v2' }, env, change: SMALL_CHANGE });
  return makePlan({ policy, release, strategy: 'canary_10', snapshot });
}

/** The most replicas beside stable's own, effect by effect as the workflow has them, when so many stages are walked through. */
function mostOnTheWay({ stages, promote, stableReplicas }: Plan, walked: number, surge: number): number {
  let [canary, baseline, most] = [0, 0, 0];
  const seen = (more = 0): void => {
    most = Math.max(most, canary + baseline + more);
  };
  for (const { canaryReplicas, baselineReplicas } of stages.slice(0, walked)) {
    canary = canaryReplicas;
    seen();
    if (baselineReplicas > 0) baseline = baselineReplicas;
    seen();
    // The traffic has moved.
    if (baselineReplicas === 0) baseline = 0;
  }
  if (promote === 'verified') canary = stableReplicas;
  seen();
  seen(surge);
  return most;
}

describe('the stages of a plan', () => {
  it('split traffic and replicas, with a baseline of the canary’s size that is kept at 25 while it fits', () => {
    const stages = plan().stages.map(({ number, weights, canaryReplicas, baselineReplicas }) => [
      number,
      weights,
      canaryReplicas,
      baselineReplicas,
    ]);
    assert.deepEqual(stages, [
      [1, { stable: 80, canary: 10, baseline: 10 }, 1, 1],
      [2, { stable: 25, canary: 50, baseline: 25 }, 2, 1],
      [3, { stable: 10, canary: 90, baseline: 0 }, 4, 0],
    ]);
  });

  it('lose the baseline above 75 %, where it would be the only rest', () => {
    const weights = (percent: number) =>
      plan({ stages: { ...POLICY.stages, canary_10: [stage(percent, 60)] } }).stages[0]?.weights;
    assert.deepEqual(weights(25), { stable: 50, canary: 25, baseline: 25 });
    assert.deepEqual(weights(75), { stable: 0, canary: 75, baseline: 25 });
    assert.deepEqual(weights(76), { stable: 24, canary: 76, baseline: 0 });
  });

  it('have no baseline where the policy compares with stable', () => {
    for (const { weights, baselineReplicas } of plan({ compareWith: 'stable' }).stages) {
      assert.equal(weights.baseline, 0);
      assert.equal(baselineReplicas, 0);
      assert.equal(weights.stable + weights.canary, 100);
    }
  });

  it('always give all of the traffic to somebody, and never less than nothing', () => {
    const weight = fc.integer({ min: 1, max: 9900 }).map((hundredths) => hundredths / 100);
    fc.assert(
      fc.property(weight, fc.integer({ min: 1, max: 1000 }), fc.boolean(), (percent, size, compare) => {
        const [only] = plan(
          {
            stages: { ...POLICY.stages, canary_10: [stage(percent, 60)] },
            compareWith: compare ? 'baseline' : 'stable',
          },
          standing(size),
        ).stages;
        assert.ok(only !== undefined);
        const { stable, canary, baseline } = only.weights;
        assert.equal(canary, percent);
        assert.ok(Math.abs(stable + canary + baseline - 100) < 1e-9);
        for (const share of [stable, canary, baseline]) assert.ok(share >= 0 && share <= 100, String(share));
        assert.ok(baseline <= 25 && baseline <= canary);
        assert.equal(baseline > 0, only.baselineReplicas > 0);
        assert.ok(only.canaryReplicas >= 1 && only.canaryReplicas <= size);
        assert.ok(only.canaryReplicas >= (size * percent) / 100, 'the canary could not carry its share');
      }),
    );
  });

  it('divide the error budget evenly and spend no more than all of it', () => {
    const shares = plan().stages.map(({ budgetShare }) => budgetShare);
    assert.deepEqual(new Set(shares), new Set([1 / 3]));
  });

  it('tell preflight which arms there will be, and what of stable is replaced while it serves', () => {
    const needs = (change: Partial<Policy>): unknown => {
      const { siblings, inPlace, release } = plannedNeeds(plan(change));
      assert.deepEqual(release?.images, { app: 'hello:v2' });
      return [siblings, inPlace];
    };
    assert.deepEqual(needs({}), [['canary', 'baseline'], false]);
    assert.deepEqual(needs({ compareWith: 'stable', promote: 'in-place' }), [['canary'], true]);
    const direct = { ...POLICY.stages, canary_10: [] };
    assert.deepEqual(needs({ stages: direct }), [['canary'], false]);
    assert.deepEqual(needs({ stages: direct, promote: 'in-place' }), [[], true]);
  });

  it('are those of the strategy; `direct` has none', () => {
    const release = hashRelease({ images: { app: 'hello:v2' }, env: {}, change: SMALL_CHANGE });
    const direct = makePlan({ policy: POLICY, release, strategy: 'direct', snapshot: standing(4) });
    assert.deepEqual(direct.stages, []);
    assert.equal(direct.kind, 'update');
    assert.equal(direct.peakExtraReplicas, 4);
  });

  it('do not exist for a first release: it is started at full size and verified', () => {
    const first = plan({}, standing(null));
    assert.equal(first.kind, 'first');
    assert.deepEqual(first.stages, []);
    assert.equal(first.stableReplicas, POLICY.target.run.replicas);
    assert.equal(first.peakExtraReplicas, POLICY.target.run.replicas);
    assert.equal(first.stableVersion, null);
  });
});

describe('where shares follow from the numbers of replicas', () => {
  const onKubernetes = (route: KubernetesRoute): Partial<Policy> => ({
    target: { platform: 'kubernetes', context: null, namespace: 'shop', deployment: 'a', service: 'a', route },
  });
  const RATIO = onKubernetes({ kind: 'none', maxExcessPoints: 5 });

  it('a plan says what can really be had: one of four is 25 %, and nobody is promoted but in place', () => {
    const made = plan(RATIO, standing(3));
    assert.deepEqual(
      made.stages.map(({ weightPercent, weights, canaryReplicas }) => [weightPercent, weights, canaryReplicas]),
      [
        [10, { stable: 75, canary: 25, baseline: 0 }, 1],
        [50, { stable: 50, canary: 50, baseline: 0 }, 3],
        [90, { stable: 50, canary: 50, baseline: 0 }, 3],
      ],
    );
    assert.equal(made.promote, 'in-place');
    assert.equal(made.peakExtraReplicas, 3);
    assert.deepEqual(plannedNeeds(made).shares[0], { asked: 10, given: 25 });
    assert.match(planLine({ plan: made }), /^canary_10: 25 % for/);
  });

  it('no other number of pods, up to stable’s own, comes nearer to what a stage asks for', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 95 }), (size, percent) => {
        const [only] = plan(
          { ...RATIO, stages: { ...POLICY.stages, canary_10: [stage(percent, 60)] } },
          standing(size),
        ).stages;
        assert.ok(only !== undefined);
        const { canaryReplicas, weights } = only;
        const share = (replicas: number): number => (100 * replicas) / (size + replicas);
        assert.ok(Math.abs(weights.canary - share(canaryReplicas)) < 0.001);
        assert.ok(Math.abs(weights.stable + weights.canary - 100) < 1e-9);
        // Of the wanted number of pods, a fraction, the nearest whole one: never off by more than half a pod.
        const exact = (size * percent) / (100 - percent);
        assert.ok(Math.abs(canaryReplicas - exact) <= 0.5 || canaryReplicas === 1 || canaryReplicas === size);
      }),
    );
  });

  it('and where ingress-nginx splits by weights, there is no baseline', () => {
    for (const { weights } of plan(onKubernetes({ kind: 'Ingress', name: 'a' })).stages)
      assert.deepEqual(weights, { stable: 100 - weights.canary, canary: weights.canary, baseline: 0 });
    assert.equal(plan(onKubernetes({ kind: 'VirtualService', name: 'a' })).stages[0]?.weights.baseline, 10);
  });

  it('arms grow with a stable that an autoscaler has made larger, and never shrink', () => {
    assert.equal(resized(1, 4, 4), 1);
    assert.equal(resized(1, 4, 9), 3);
    assert.equal(resized(4, 4, 9), 9);
    assert.equal(resized(4, 4, 2), 4);
    assert.equal(resized(0, 4, 9), 0);
  });

  it('they are large enough up to the size at which they would be made larger', () => {
    for (const planned of [1, 3, 4, 10])
      for (const replicas of [1, 2, 3, planned])
        for (const size of [planned, planned + 1, 3 * planned]) {
          const limit = fitsUpTo(replicas, planned, size);
          const has = resized(replicas, planned, size);
          assert.ok(limit >= size);
          assert.equal(resized(replicas, planned, limit), has);
          assert.ok(resized(replicas, planned, limit + 1) > has);
        }
  });
});

describe('the capacity of a plan', () => {
  it('is the largest stage, and the full canary where it is verified before stable is replaced', () => {
    assert.equal(plan().peakExtraReplicas, 5);
    assert.equal(plan({ promote: 'in-place' }).peakExtraReplicas, 5);
    const small = { promote: 'in-place', stages: { ...POLICY.stages, canary_10: [stage(10, 60)] } } as const;
    assert.equal(plan(small).peakExtraReplicas, 2);
  });

  it('has the baseline beside a full canary, for it is removed after that, and what stable adds while it is replaced', () => {
    const stages = { ...POLICY.stages, canary_10: [stage(5, 60), stage(25, 60), stage(50, 60)] };
    assert.equal(plan({ stages }, standing(10)).peakExtraReplicas, 10 + 3);
    assert.equal(plan({ stages }, standing(10, { surge: 3 })).peakExtraReplicas, 10 + 3 + 3);
    assert.equal(plan({ stages, promote: 'in-place' }, standing(10, { surge: 3 })).peakExtraReplicas, 5 + 3 + 3);
    const direct = { ...POLICY.stages, canary_10: [] };
    assert.equal(plan({ stages: direct, promote: 'in-place' }, standing(10, { surge: 3 })).peakExtraReplicas, 3);
  });

  it('is the most that a walk through the effects of a rollout meets, from whichever stage it is promoted', () => {
    const percents = fc.uniqueArray(fc.integer({ min: 1, max: 99 }), { maxLength: 5 });
    const any = fc.record({
      percents: percents.map((all) => all.toSorted((a, b) => a - b)),
      size: fc.integer({ min: 1, max: 60 }),
      surge: fc.integer({ min: 0, max: 20 }),
      promote: fc.constantFrom('verified' as const, 'in-place' as const),
      compareWith: fc.constantFrom('baseline' as const, 'stable' as const),
    });
    fc.assert(
      fc.property(any, ({ percents: all, size, surge, promote, compareWith }) => {
        const stages = { ...POLICY.stages, canary_10: all.map((percent) => stage(percent, 60)) };
        const made = plan({ stages, promote, compareWith }, standing(size, { surge }));
        const walks = Array.from({ length: Math.max(1, all.length) }, (_, last) => mostOnTheWay(made, last + 1, surge));
        assert.equal(made.peakExtraReplicas, Math.max(...walks));
      }),
    );
  });

  it('goes by the size that stable has now, not by the size in the file', () => {
    const grown = plan({}, standing(10));
    assert.equal(grown.stableReplicas, 10);
    assert.deepEqual(
      grown.stages.map(({ canaryReplicas }) => canaryReplicas),
      [1, 5, 9],
    );
  });
});

describe('the digest of a plan, which approvals are bound to,', () => {
  const { digest } = plan();

  it('covers release, policy, stages, target and stable’s template', () => {
    const run = { ...POLICY.target.run, command: ['node', 'other.mjs'] };
    const others = [
      plan({}, standing(4), { FLAG: 'on' }),
      plan({ verifyMs: 1 }),
      plan({ stages: { ...POLICY.stages, canary_10: [stage(11, 60)] } }),
      plan({ stages: { ...POLICY.stages, canary_10: [stage(10, 61), stage(50, 60), stage(90, 60)] } }),
      plan({ stages: { ...POLICY.stages, canary_10: [stage(10, 60), stage(50, 60, true), stage(90, 60)] } }),
      plan({ target: { ...POLICY.target, run } }),
      plan({ target: { ...POLICY.target, gateway: 'http://127.0.0.1:7701' } }),
      plan({ approval: { ...POLICY.approval, quorum: 2 } }),
      plan({}, standing(null)),
      plan(
        {},
        {
          ...standing(4),
          arms: {
            stable: { templateDigest: digestOf('v0'), version: 'hello:v0', replicas: 4, ready: 4, message: null },
          },
        },
      ),
    ].map((other) => other.digest);
    assert.equal(new Set([digest, ...others]).size, others.length + 1);
  });

  it('does not change with replica counts, room, traffic or what is ready', () => {
    const now = standing(9, { freeReplicas: 0, weights: { stable: 90, canary: 10, baseline: 0 } });
    assert.equal(plan({}, now).digest, digest);
    assert.equal(plan({}, standing(4, { freeReplicas: null, weights: null })).digest, digest);
  });
});

it('the more careful of two strategies is the one further to the right, whatever the order', () => {
  const any = fc.constantFrom(...STRATEGIES);
  fc.assert(
    fc.property(any, any, (one, other) => {
      assert.equal(moreCareful(one, other), moreCareful(other, one));
      assert.equal(
        STRATEGIES.indexOf(moreCareful(one, other)),
        Math.max(STRATEGIES.indexOf(one), STRATEGIES.indexOf(other)),
      );
    }),
  );
  assert.deepEqual(STRATEGIES, ['direct', 'canary_25', 'canary_10', 'canary_5']);
});
