import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { painter, plain, timelineLine, viewTree } from '../../client/cli/render.js';
import type { TimelineEntry } from '../../domain/rollout.js';
import { kubeTarget } from '../support/request.js';
import { openRelease, PLAN, testVerdict, testView } from '../support/view.js';

const NOW = Date.parse('2026-07-01T12:10:00.000Z');
const bare = painter(false);
const EVIL = 'fix\u001B[2J\u001B[31m all\u0007\u009B1A\u202Eelif\nline two\ttabbed\u007F';

function tree(change: Parameters<typeof testView>[0] = {}): string {
  return viewTree({ kind: 'running', view: testView(change) }, NOW, bare).join('\n');
}

describe('the tree of a rollout', () => {
  it('tells what, where, who, since when, the risk, the stages and the traffic', () => {
    const text = tree();
    assert.match(text, /^hello in test: hello:v2 {2}canary stage 1 of 2$/m);
    assert.match(text, /^ {2}rollout [0-9a-f]{16} by starter@example\.com, for 10 min$/m);
    assert.match(
      text,
      /risk 0\.32 \(medium, by rules\): strategy canary_10, worth an approval, which the policy never asks for$/m,
    );
    const { policy } = testView();
    const asked = { ...policy, approval: { ...policy.approval, required: 'risk' } } as const;
    assert.match(tree({ policy: asked }), /strategy canary_10, a person must approve$/m);
    assert.match(text, /\+0\.3 config\/prod\.yaml is configuration/);
    assert.ok(text.includes(`plan ${PLAN.digest.slice(7, 19)}: canary_10, from hello:v1`));
    assert.match(text, /▶ stage 1: 10 % for 15 min$/m);
    assert.match(text, /· stage 2: 50 % for 15 min, after approval$/m);
    assert.match(text, /traffic: stable 80 %, canary 10 %, baseline 10 %/);
  });

  it('tells what the approval of a plan on Kubernetes is bound to', () => {
    const { policy } = testView();
    const digest = `sha256:${'a'.repeat(64)}`;
    const images = { app: `team/hello:v2@${digest}`, proxy: 'proxy:v9', log: `log@${digest}` };
    const plan = { ...PLAN, release: { ...PLAN.release, images } };
    const text = tree({ policy: { ...policy, target: kubeTarget() }, plan });
    assert.ok(text.includes(`│   app: team/hello:v2 is ${digest}\n`), text);
    assert.ok(text.includes('│   proxy: proxy:v9, by tag alone\n'), text);
    assert.ok(text.includes(`│   log: log@${digest}\n`), text);
    assert.doesNotMatch(tree({ plan }), /by tag alone/, 'on the local platform images are names of nothing');
  });

  it('names the model that has spoken beside the rules', () => {
    const { assessment } = testView();
    assert.ok(assessment !== null);
    const model = {
      kind: 'answered',
      model: 'gpt-5-mini',
      score: 0.5,
      strategy: 'canary_10',
      approval: true,
      factors: [],
      summary: '',
    } as const;
    assert.match(tree({ assessment: { ...assessment, model } }), /by rules and gpt-5-mini\)/);
  });

  it('shows each verdict at its stage', () => {
    const text = tree({
      stage: 2,
      verdicts: [
        { stage: 'stage-1', verdict: testVerdict('HOLD', 'too few requests'), evidence: null },
        { stage: 'stage-1', verdict: testVerdict('PROMOTE', 'no worse than stable'), evidence: null },
        { stage: 'verify', verdict: testVerdict('ROLLBACK', 'half of the requests failed'), evidence: null },
      ],
    });
    assert.match(text, /✓ stage 1: 10 %.*\n.*PROMOTE: no worse than stable/);
    assert.doesNotMatch(text, /too few requests/);
    assert.match(text, /▶ stage 2/);
    assert.match(text, /✗ verification at 100 %: half of the requests failed/);
  });

  it('tells what is waited for, until when, who can act, and how', () => {
    const text = tree({
      phase: 'awaiting-approval',
      status: 'awaiting-approval',
      approvals: {
        ...openRelease(),
        approvedBy: ['ann@example.com'],
        missing: [{ groups: [], count: 1 }],
        changed: ['stable runs hello:v9, and ran hello:v1'],
      },
      wait: {
        kind: 'approval',
        since: '2026-07-01T12:05:00.000Z',
        deadline: '2026-07-04T12:05:00.000Z',
        atDeadline: 'rejected',
        reason: '2 approvals of gate "release" needed',
        who: 'anyone but author@example.com',
        commands: ['slipway approve 3f2a9c1e5b7d8f00 --gate release'],
        gate: 'release',
      },
    });
    assert.match(text, /approval of gate "release": 1 of 2: ann@example\.com/);
    assert.match(text, /asked again: stable runs hello:v9, and ran hello:v1/);
    assert.match(text, new RegExp(`bound to what this shows: ${openRelease().planDigest.slice(7, 19)}`));
    assert.match(text, /waits \(approval\): 2 approvals of gate "release" needed/);
    assert.match(text, /until 2026-07-04T12:05:00\.000Z, then rejected; who can act: anyone but author@example\.com/);
    assert.match(text, /\$ slipway approve 3f2a9c1e5b7d8f00 --gate release/);
    assert.match(tree({ approvals: { ...openRelease(), rejectedBy: 'bob' } }), /gate "release": rejected by bob/);
  });

  it('says for ever that somebody broke the glass', () => {
    const breakGlass = {
      by: 'gil',
      reason: 'the login is down',
      at: '2026-07-01T12:01:00.000Z',
      gate: null,
      ownWork: true,
    };
    assert.match(
      tree({ phase: 'completed', outcome: 'completed', breakGlass }),
      /├ break-glass: gil went past a HOLD at 2026-07-01T12:01:00\.000Z, own work: the login is down/,
    );
    assert.match(
      tree({ breakGlass: { ...breakGlass, gate: 'release', ownWork: false } }),
      /went past gate "release" at \S+: the/,
    );
  });

  it('ends with the outcome and the reason', () => {
    const lines = tree({
      phase: 'rolled-back',
      outcome: 'rolled-back',
      reason: { code: 'verdict', text: '30 % of 75 requests failed' },
      endedAt: '2026-07-01T12:02:00.000Z',
    }).split('\n');
    assert.equal(lines.at(-1), '└ rolled-back: 30 % of 75 requests failed');
    assert.match(lines[1] ?? '', /took 2 min$/);
  });

  it('tells what the server foresees, as plain text', () => {
    const found = { kind: 'running', view: testView(), remarks: [`nobody can approve ${EVIL}`] } as const;
    const told = viewTree(found, NOW, bare).filter((line) => line.startsWith('├ remark: nobody can approve fix'));
    assert.equal(told.length, 1);
    assert.doesNotMatch(told.join(''), /[\u001B\n]/);
  });

  it('has colours where they are wanted, and no escape where they are not', () => {
    const painted = viewTree({ kind: 'running', view: testView() }, NOW, painter(true)).join('\n');
    assert.match(painted, /\u001B\[33m▶\u001B\[0m/);
    assert.equal(painted.replaceAll(/\u001B\[\d+m/g, ''), tree());
    assert.doesNotMatch(tree(), /\u001B/);
  });
});

describe('the texts of other people', () => {
  it('cannot command the terminal from anywhere in the tree', () => {
    const text = tree({
      releaseName: EVIL,
      actor: { subject: EVIL, groups: [], verified: false },
      assessment: {
        ...(testView().assessment ?? assert.fail()),
        risk: {
          score: 1,
          level: 'critical',
          factors: [{ id: 'x', weight: 1, reason: EVIL }],
          strategy: 'canary_5',
          approval: true,
        },
      },
      plan: { ...PLAN, stableVersion: EVIL },
      approvals: { ...openRelease(), approvedBy: [EVIL] },
      verdicts: [
        { stage: 'stage-1', verdict: testVerdict('PROMOTE', EVIL), evidence: null },
        { stage: 'verify', verdict: testVerdict('PROMOTE', EVIL), evidence: null },
      ],
      wait: {
        kind: 'drift',
        since: '2026-07-01T12:05:00.000Z',
        deadline: '2026-07-04T12:05:00.000Z',
        atDeadline: 'rolled back',
        reason: EVIL,
        who: EVIL,
        commands: ['slipway resume 3f2a9c1e5b7d8f00'],
        gate: null,
      },
      warnings: [EVIL],
      reason: { code: 'aborted', text: EVIL },
    });
    assert.doesNotMatch(text, /[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/);
    assert.equal(text.split('\n').filter((line) => line.startsWith('line two')).length, 0);
    assert.match(text, /fix.*all/);
  });

  it('cannot command it from the story either', () => {
    for (const tone of ['neutral', 'good', 'bad', 'person'] as const) {
      const entry: TimelineEntry = { at: '2026-07-01T12:03:55.000Z', phase: 'canary', text: EVIL, tone };
      const line = timelineLine(entry, bare);
      assert.match(line, /^12:03:55 {2}fix/);
      assert.doesNotMatch(line, /[\u0000-\u001F\u007F-\u009F\u202A-\u202E]/);
    }
  });

  it('never reach it, whatever they are, and ordinary text is left as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.doesNotMatch(plain(text), /[\u0000-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069\u2028\u2029]/);
        assert.equal(plain(plain(text)), plain(text));
      }),
      { numRuns: 2000 },
    );
    assert.equal(plain('größer → 30 % „so“ 🚀'), 'größer → 30 % „so“ 🚀');
    assert.equal(plain('one\n\n\ttwo'), 'one two');
  });
});
