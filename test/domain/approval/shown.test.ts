import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lastVerdicts, shownDigest, whatChanged } from '../../../domain/approval/shown.js';
import type { Shown } from '../../../domain/approval/shown.js';
import type { Digest } from '../../../domain/canonical.js';
import { ASSESSMENT, PLAN, testVerdict } from '../../support/view.js';

const VERDICT = { stage: 'stage-1', kind: 'PROMOTE', look: 3, inputDigest: 'sha256:0' } as const;
const SHOWN: Shown = { plan: PLAN, risk: ASSESSMENT.risk, evidence: ['sha256:aa'], verdicts: [VERDICT] };
const OTHER = `sha256:${'f'.repeat(64)}` as Digest;

describe('what an approval is bound to', () => {
  it('is all that is shown: plan, risk with its reasons, evidence, and the verdict so far', () => {
    const { risk } = ASSESSMENT;
    const changes: readonly [Partial<Shown>, RegExp][] = [
      [{ plan: { ...PLAN, digest: OTHER, stableDigest: OTHER } }, /^stable’s template is f{12}, and was \w+: somebody/],
      [{ plan: { ...PLAN, digest: OTHER, stableVersion: 'hello:v9' } }, /^stable runs hello:v9, and ran hello:v1$/],
      [{ plan: { ...PLAN, digest: OTHER, strategy: 'canary_5' } }, /^the plan is canary_5: .*, and was canary_10: /],
      [{ plan: { ...PLAN, digest: OTHER } }, /^the plan is f{12}, and was \w{12}$/],
      [{ risk: { ...risk, score: 0.9, level: 'high' } }, /^the risk is 0.9 \(high\), and was 0.32 \(medium\)$/],
      [
        { risk: { ...risk, factors: [...risk.factors, { id: 'x', weight: 0.1, reason: 'drops a table' }] } },
        /^new reason of the risk: drops a table$/,
      ],
      [{ risk: { ...risk, factors: [] } }, /^reason of the risk gone: config\/prod/],
      [{ risk: null }, /^the risk was assessed$/],
      [{ evidence: [] }, /^evidence gone: aa$/],
      [{ evidence: ['sha256:aa', 'sha256:bb'] }, /^new evidence: bb$/],
      [{ verdicts: [{ ...VERDICT, look: 4 }] }, /^stage-1: PROMOTE at look 4, and was PROMOTE at look 3$/],
      [{ verdicts: [VERDICT, { ...VERDICT, stage: 'stage-2' }] }, /^stage-2: PROMOTE at look 3 is new$/],
    ];
    for (const [change, told] of changes) {
      const now = { ...SHOWN, ...change };
      assert.notEqual(shownDigest(now), shownDigest(SHOWN), String(told));
      assert.match(whatChanged(SHOWN, now).join('\n'), told);
    }
  });

  it('is nothing that ticks: samples, times, the order of evidence, how many replicas there are', () => {
    const now = { ...SHOWN, plan: { ...PLAN, stableReplicas: 40 }, evidence: [...SHOWN.evidence] };
    assert.equal(shownDigest(now), shownDigest(SHOWN));
    assert.deepEqual(whatChanged(SHOWN, now), []);
    assert.equal(shownDigest({ ...SHOWN, evidence: ['b', 'a'] }), shownDigest({ ...SHOWN, evidence: ['a', 'b'] }));
  });

  it('is the last verdict of each stage', () => {
    const verdicts = [
      { stage: 'stage-1', verdict: testVerdict('HOLD', 'too little') },
      { stage: 'stage-1', verdict: testVerdict('PROMOTE', 'all is well') },
      { stage: 'stage-2', verdict: testVerdict('HOLD', 'too little') },
    ];
    assert.deepEqual(
      lastVerdicts(verdicts).map(({ stage, kind }) => `${stage} ${kind}`),
      ['stage-1 PROMOTE', 'stage-2 HOLD'],
    );
  });
});
