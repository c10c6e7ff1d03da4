import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyToGate, openGate } from '../../../domain/approval/gate.js';
import { foreseen, outOfReach } from '../../../domain/approval/reach.js';
import type { ApprovalPolicy } from '../../../domain/policy.js';
import { testPolicy } from '../../support/request.js';

const ANN = { subject: 'ann@example.com', aliases: ['github:ann'], groups: ['sec', 'ops'] };
const BOB = { subject: 'bob@example.com', aliases: [], groups: ['sec'] };
const CAT = { subject: 'cat@example.com', aliases: [], groups: ['ops'] };

function policyWith(approval: Partial<ApprovalPolicy>) {
  const policy = testPolicy({ gateway: 'http://127.0.0.1:7700' });
  const strict = { required: 'always', allowUnverified: false, excludeAuthor: true } as const;
  return { ...policy, approval: { ...policy.approval, ...strict, ...approval } };
}
const TWO_OF_SEC = policyWith({ quorum: 2, groups: ['sec'] });

describe('approvals that nobody who is known can give', () => {
  it('are told of with the arithmetic, without those who wrote or started it', () => {
    assert.deepEqual(foreseen(TWO_OF_SEC, [], [ANN, BOB]), []);
    assert.deepEqual(foreseen(TWO_OF_SEC, [], [ANN, CAT]), [
      "2 of sec must approve: 1 of sec can't be had, for this server knows 1 who may (ann@example.com)",
    ]);
    // Under another name of hers.
    assert.deepEqual(foreseen(TWO_OF_SEC, [null, 'GitHub:Ann'], [ANN, BOB]), [
      "2 of sec must approve: 1 of sec can't be had, for this server knows 1 who may (bob@example.com), besides ann@example.com, who wrote or started it",
    ]);
    assert.deepEqual(foreseen(policyWith({ quorum: 1, groups: [] }), [], []), [
      "1 of anyone must approve: 1 of anyone can't be had, for this server knows nobody who may",
    ]);
  });

  it('are told for the levels of risk that ask for them', () => {
    const byRisk = {
      high: {
        rules: [
          { group: 'sec', count: 1 },
          { group: 'legal', count: 1 },
        ],
      },
    };
    assert.deepEqual(foreseen(policyWith({ quorum: 1, groups: [], byRisk }), [], [BOB]), [
      "at high or critical risk 1 of sec, 1 of legal must approve: 1 of legal can't be had, for this server knows 1 who may (bob@example.com)",
    ]);
  });

  it('are none where no gate is, anybody’s word counts, or escalation brings further people', () => {
    const never = policyWith({ required: 'never', quorum: 2, groups: ['sec'] });
    assert.deepEqual(foreseen(never, [], []), []);
    const stages = { ...never.stages, canary_10: [{ weightPercent: 10, durationMs: 1000, approval: true }] };
    assert.equal(foreseen({ ...never, stages }, [], []).length, 1, 'a gate between stages');
    assert.deepEqual(foreseen(policyWith({ quorum: 2, groups: ['sec'], allowUnverified: true }), [], []), []);
    const escalate = { afterMs: 1000, groups: ['ops'] };
    assert.deepEqual(foreseen(policyWith({ quorum: 2, groups: ['sec'], escalate }), [], [BOB, CAT]), []);
  });

  it('leave out what was given, also by people whom this server does not know', () => {
    const gate = openGate({ gate: 'release', planDigest: 'p', policy: TWO_OF_SEC.approval, involved: [] });
    const approved = applyToGate(
      gate,
      {
        id: '1',
        verb: 'approve',
        gate: 'release',
        planDigest: 'p',
        actor: { subject: 'eve@elsewhere.example', groups: ['sec'], verified: true },
        reason: null,
        full: false,
        at: '2026-07-01T12:00:00Z',
      },
      0,
    );
    assert.match(outOfReach(gate, TWO_OF_SEC, [ANN]) ?? '', /1 of sec can't be had/);
    assert.equal(outOfReach(approved, TWO_OF_SEC, [ANN]), null);
    // Whoever has approved is not counted once more.
    const own = applyToGate(approved, { ...DECISION, actor: { ...ANN, verified: true } }, 0);
    assert.equal(outOfReach(own, TWO_OF_SEC, []), null);
    const once = applyToGate(gate, { ...DECISION, actor: { ...ANN, verified: true } }, 0);
    assert.match(outOfReach(once, TWO_OF_SEC, [ANN]) ?? '', /1 of sec can't be had, for this server knows 1 who may/);
  });
});

const DECISION = {
  id: '2',
  verb: 'approve',
  gate: 'release',
  planDigest: 'p',
  reason: null,
  full: false,
  at: '2026-07-01T12:00:00Z',
} as const;
