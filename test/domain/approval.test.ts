import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { applyToGate as apply, gateState, openGate, refusalAtGate } from '../../domain/approval/gate.js';
import type { Approvals, Decision } from '../../domain/approval/decision.js';
import type { ApprovalPolicy } from '../../domain/policy.js';

const POLICY: ApprovalPolicy = {
  required: 'always',
  quorum: 2,
  groups: ['ops', 'leads'],
  excludeAuthor: true,
  allowUnverified: true,
};
const NOW = Date.parse('2026-07-01T12:00:00Z');
const applyToGate = (at: Approvals, said: Decision): Approvals => apply(at, said, NOW);
const PLAN = `sha256:${'1'.repeat(64)}`;

function gate(policy: ApprovalPolicy = POLICY): Approvals {
  return openGate({
    gate: 'release',
    planDigest: PLAN,
    policy,
    involved: ['author@example.com', 'starter@example.com'],
  });
}

function decision(
  change: Partial<Decision> & { readonly by?: string; readonly groups?: readonly string[] } = {},
): Decision {
  const { by = 'ann@example.com', groups = ['ops'], ...rest } = change;
  return {
    id: `${by}-1`,
    verb: 'approve',
    gate: 'release',
    planDigest: PLAN,
    actor: { subject: by, groups, verified: false },
    reason: null,
    full: false,
    at: '2026-07-01T12:00:00.000Z',
    ...rest,
  };
}

describe('a gate', () => {
  it('opens with nobody’s approval and names who may not give one', () => {
    const opened = gate();
    assert.equal(gateState(opened), 'open');
    assert.deepEqual(opened.excluded, ['author@example.com', 'starter@example.com']);
    assert.deepEqual(opened.approvedBy, []);
    assert.equal(opened.planDigest, PLAN);
  });

  it('excludes nobody where the policy says so, nobody twice, and no unknown author', () => {
    assert.deepEqual(gate({ ...POLICY, excludeAuthor: false }).excluded, []);
    const both = openGate({ gate: 'release', planDigest: PLAN, policy: POLICY, involved: ['a', null, 'a'] });
    assert.deepEqual(both.excluded, ['a']);
  });

  it('is approved by the quorum of different people, and not by one person twice', () => {
    const once = applyToGate(gate(), decision());
    const again = applyToGate(once, decision({ id: 'other' }));
    assert.deepEqual(again.approvedBy, ['ann@example.com']);
    assert.equal(gateState(again), 'open');
    assert.equal(gateState(applyToGate(again, decision({ by: 'bob@example.com' }))), 'approved');
  });

  it('counts a person once, however the name is written', () => {
    const once = applyToGate(gate(), decision());
    const again = applyToGate(once, decision({ id: 'other', by: ' Ann@Example.com' }));
    assert.equal(gateState(again), 'open');
    assert.equal(again.approvedBy.length, 1);
  });

  it('is rejected by one person, whoever has approved, even that person', () => {
    const approved = applyToGate(applyToGate(gate(), decision()), decision({ by: 'bob@example.com' }));
    const rejected = applyToGate(approved, decision({ verb: 'reject' }));
    assert.equal(gateState(rejected), 'rejected');
    assert.equal(rejected.rejectedBy, 'ann@example.com');
    assert.deepEqual(rejected.approvedBy, ['bob@example.com']);
  });

  it('stays rejected, and is approved exactly when the quorum of people has approved', () => {
    const people = fc.constantFrom('ann', 'bob', 'cid', 'dee');
    const said = fc.array(fc.record({ by: people, verb: fc.constantFrom('approve', 'approve', 'approve', 'reject') }));
    fc.assert(
      fc.property(said, fc.integer({ min: 1, max: 4 }), (list, quorum) => {
        let state = gate({ ...POLICY, quorum });
        let rejected = false;
        for (const { by, verb } of list) {
          state = applyToGate(state, decision({ by, verb: verb as Decision['verb'] }));
          rejected ||= verb === 'reject';
          assert.equal(gateState(state) === 'rejected', rejected);
        }
        const approvers = new Set(list.filter(({ verb }) => verb === 'approve').map(({ by }) => by));
        if (!rejected) assert.equal(gateState(state), approvers.size >= quorum ? 'approved' : 'open');
      }),
    );
  });
});

describe('a decision at a gate is refused', () => {
  function refused(said: Decision, policy = POLICY, at: Approvals | null = gate(policy)) {
    return refusalAtGate(at, said, policy);
  }

  it('never, when it names the open gate and plan and comes from the right person', () => {
    assert.equal(refused(decision()), null);
    assert.equal(refused(decision({ verb: 'reject' })), null);
  });

  it('when no gate, or another one, is open; the text names both', () => {
    const none = refused(decision(), POLICY, null);
    assert.equal(none?.code, 'no-such-gate');
    assert.match(none?.text ?? '', /"release" is not open: no gate is open/);
    assert.match(refused(decision({ gate: null }), POLICY, null)?.text ?? '', /^no gate is open; see/);
    const other = refused(decision({ gate: 'stage-2' }));
    assert.equal(other?.code, 'no-such-gate');
    assert.match(other?.text ?? '', /"stage-2" is not open: the open gate is "release"/);
  });

  it('when it is about another plan: the text names both digests', () => {
    const old = `sha256:${'2'.repeat(64)}`;
    const refusal = refused(decision({ planDigest: old }));
    assert.equal(refusal?.code, 'other-plan');
    assert.match(refusal?.text ?? '', new RegExp(`${old}.*${PLAN}`));
    assert.equal(refused(decision({ planDigest: null }))?.code, 'other-plan');
    assert.equal(refused(decision({ planDigest: old, verb: 'reject' }))?.code, 'other-plan');
  });

  it('when author or starter approves; rejecting is theirs', () => {
    for (const by of ['author@example.com', 'starter@example.com', 'Author@Example.COM ']) {
      const refusal = refused(decision({ by }));
      assert.equal(refusal?.code, 'excluded', by);
      assert.match(refusal?.text ?? '', /wrote or started this release: somebody else must approve/);
      assert.equal(refused(decision({ by, verb: 'reject' })), null);
    }
  });

  it('when the author’s name is written in another way, on either side', () => {
    const opened = openGate({ gate: 'release', planDigest: PLAN, policy: POLICY, involved: ['Au.Thor@Example.com'] });
    assert.equal(refused(decision({ by: 'au.thor@example.com' }), POLICY, opened)?.code, 'excluded');
    assert.equal(refused(decision({ by: 'thor@example.com' }), POLICY, opened), null);
  });

  it('when the person is in none of the groups; anyone may where no group is named', () => {
    const refusal = refused(decision({ groups: ['sales'] }));
    assert.equal(refusal?.code, 'not-in-group');
    assert.match(refusal?.text ?? '', /ops, leads/);
    assert.equal(refused(decision({ groups: [] }))?.code, 'not-in-group');
    assert.equal(refused(decision({ groups: [] }), { ...POLICY, groups: [] }), null);
    assert.equal(refused(decision({ groups: ['sales', 'leads'] })), null);
  });

  it('when it is not signed and the policy wants that, also when it rejects', () => {
    const strict = { ...POLICY, allowUnverified: false };
    assert.equal(refused(decision(), strict)?.code, 'unverified');
    assert.equal(refused(decision({ verb: 'reject' }), strict)?.code, 'unverified');
    const signed = { subject: 'ann@example.com', groups: ['ops'], verified: true };
    assert.equal(refused(decision({ actor: signed }), strict), null);
  });
});
