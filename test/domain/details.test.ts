import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { currentDetails, planLine, statusLine } from '../../domain/details.js';
import type { Wait } from '../../domain/rollout.js';
import { PLAN, testVerdict, testView } from '../support/view.js';

const WAIT: Wait = {
  kind: 'approval',
  since: '2026-07-01T12:05:00.000Z',
  deadline: '2026-07-04T12:05:00.000Z',
  atDeadline: 'rejected',
  reason: '2 approvals of gate "release" needed',
  who: 'members of ops but author@example.com',
  commands: ['slipway approve 3f2a9c1e5b7d8f00 --gate release'],
  gate: 'release',
};

describe('the state of a rollout in one line', () => {
  it('is the phase, with the stage while in the canary', () => {
    assert.equal(statusLine(testView()), 'canary stage 1 of 2');
    assert.equal(statusLine(testView({ phase: 'promoting' })), 'promoting');
    assert.equal(statusLine(testView({ phase: 'completed' })), 'completed');
  });

  it('says what it waits for, and whether it is held', () => {
    const waiting = { phase: 'awaiting-approval', status: 'awaiting-approval', wait: WAIT } as const;
    assert.equal(statusLine(testView(waiting)), 'awaiting-approval, waiting: approval');
    const held = { status: 'held', wait: { ...WAIT, kind: 'paused' } } as const;
    assert.equal(statusLine(testView(held)), 'canary stage 1 of 2, held: paused');
  });

  it('does not wait for anything any more once it is over', () => {
    assert.equal(statusLine(testView({ phase: 'rejected', status: 'rejected', wait: WAIT })), 'rejected');
  });
});

describe('a plan in one line', () => {
  it('names strategy, weights, times and gates', () => {
    assert.equal(planLine({ plan: PLAN }), 'canary_10: 10 % for 15 min, 50 % for 15 min (after approval), then all');
    assert.equal(planLine({ plan: { ...PLAN, strategy: 'direct', stages: [] } }), 'direct: then all');
    const { policy } = testView();
    const early = { ...policy, analysis: { ...policy.analysis, earlyPromotion: { afterMs: 120_000 } } };
    assert.equal(
      planLine({ plan: PLAN, policy: early }),
      'canary_10: 10 % for 15 min (may end after 2 min at the earliest), 50 % for 15 min (may end after 2 min at the earliest) (after approval), then all',
    );
    assert.equal(planLine({ plan: PLAN, policy }), planLine({ plan: PLAN }));
  });

  it('says that there is none yet, or nothing to compare with', () => {
    assert.equal(planLine({ plan: null }), 'no plan yet');
    assert.match(planLine({ plan: { ...PLAN, kind: 'first', stages: [] } }), /first release: nothing to compare with/);
  });
});

describe('what Temporal Web shows first', () => {
  it('tells what is waited for, since when, until when, who can act and with which command', () => {
    const text = currentDetails(testView({ phase: 'awaiting-approval', status: 'awaiting-approval', wait: WAIT }));
    const lines = text.split('\n');
    assert.equal(lines[0], '## hello in test: hello:v2');
    for (const line of [
      '**awaiting-approval, waiting: approval**',
      'Waits since 2026-07-01T12:05:00.000Z: 2 approvals of gate "release" needed',
      'Deadline 2026-07-04T12:05:00.000Z, then rejected.',
      'Who can act: members of ops but author@example.com.',
      '- `slipway approve 3f2a9c1e5b7d8f00 --gate release`',
    ])
      assert.ok(lines.includes(line), `${line} is not in:\n${text}`);
  });

  it('tells traffic, risk, plan, the last verdict and warnings', () => {
    const verdicts = [
      { stage: 'stage-1', verdict: testVerdict('PROMOTE', 'all is well'), evidence: null },
      { stage: 'stage-2', verdict: testVerdict('ROLLBACK', '30 % of 75 requests failed'), evidence: null },
    ];
    const text = currentDetails(testView({ verdicts, warnings: ['webhook oncall could not be reached'] }));
    assert.match(text, /^Traffic: stable 80 %, canary 10 %, baseline 10 %$/m);
    assert.match(text, /^Risk 0\.32 \(medium\): config\/prod\.yaml is configuration$/m);
    assert.ok(text.includes(`Plan ${PLAN.digest}: canary_10`));
    assert.match(text, /^Last verdict \(stage-2\): \*\*ROLLBACK\*\* 30 % of 75 requests failed$/m);
    assert.doesNotMatch(text, /all is well/);
    assert.match(text, /^Warning: webhook oncall could not be reached$/m);
  });

  it('says why it ended', () => {
    const reason = { code: 'verified', text: 'hello:v2 serves all traffic' } as const;
    assert.match(currentDetails(testView({ phase: 'completed', outcome: 'completed', reason })), /serves all traffic/);
  });

  it('stays within what Temporal takes, and shows the newest warnings', () => {
    const warnings = Array.from({ length: 100 }, (_, index) => `warning ${index} ${'x'.repeat(5000)}`);
    const text = currentDetails(testView({ warnings }));
    assert.ok(text.length <= 18_000);
    assert.match(text, /warning 95 /);
    assert.doesNotMatch(text, /warning 94 /);
  });
});
