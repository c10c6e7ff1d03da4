import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  applyToGate as apply,
  closeGate,
  countText,
  escalateGate,
  gateState,
  oldestVoteMs,
  openGate,
  promptsOf,
  refusalAtGate,
  whoCan,
  withMembership,
} from '../../../domain/approval/gate.js';
import type { Approvals, Decision } from '../../../domain/approval/decision.js';
import type { ApprovalPolicy } from '../../../domain/policy.js';
import type { Via } from '../../../domain/people.js';
import type { Actor } from '../../../domain/rollout.js';

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

/** As a server vouches for it. */
function signedBy(subject: string, change: Partial<Actor> = {}): Actor {
  return { subject, groups: ['ops'], verified: true, roles: ['approver'], via: 'oidc', ...change };
}

const SECURITY_AND_OPS: ApprovalPolicy = {
  ...POLICY,
  quorum: 1,
  groups: [],
  rules: [
    { group: 'security', count: 1 },
    { group: 'ops', count: 1 },
  ],
};

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
    const signed = signedBy('ann@example.com');
    assert.equal(refused(decision({ actor: signed }), strict), null);
  });
});

describe('who counts', () => {
  it('one of each group: two of one are not enough, and one in both is not two', () => {
    const opened = gate(SECURITY_AND_OPS);
    assert.deepEqual([opened.quorum, opened.groups], [2, ['security', 'ops']]);
    const two = applyToGate(applyToGate(opened, decision()), decision({ by: 'bob@example.com' }));
    assert.equal(gateState(two), 'open');
    assert.equal(countText(two), '1 of 2, missing 1 of security');
    assert.equal(whoCan(two), 'members of security but author@example.com, starter@example.com');
    const both = applyToGate(opened, decision({ groups: ['ops', 'security'] }));
    assert.equal(gateState(both), 'open');
    assert.equal(gateState(applyToGate(both, decision({ by: 'sec', groups: ['security'] }))), 'approved');
    assert.equal(gateState(applyToGate(both, decision({ by: 'bob' }))), 'approved', 'the one in both has to move');
  });

  it('other rules from a level of risk upward', () => {
    const policy: ApprovalPolicy = { ...POLICY, quorum: 1, byRisk: { high: { quorum: 3 } } };
    const at = (level: 'low' | 'high' | 'critical' | null): number =>
      openGate({ gate: 'release', planDigest: PLAN, policy, level, involved: [] }).quorum;
    assert.deepEqual([at(null), at('low'), at('high'), at('critical')], [1, 1, 3, 3]);
  });

  it('a person by two names is one, also where a third name shows it only later', () => {
    const one = applyToGate(gate(), decision({ actor: signedBy('ann', { aliases: ['ann@old.example.com'] }) }));
    const same = applyToGate(
      one,
      decision({ id: '2', actor: signedBy('slack:U1', { aliases: ['ANN@old.example.com'] }) }),
    );
    assert.deepEqual(same.approvedBy, ['ann']);
    assert.equal(gateState(same), 'open');
    const apart = applyToGate(
      applyToGate(gate({ ...POLICY, quorum: 3 }), decision({ by: 'a' })),
      decision({ id: '2', by: 'b' }),
    );
    assert.deepEqual(apart.approvedBy, ['a', 'b']);
    const joined = applyToGate(apart, decision({ id: '3', actor: signedBy('c', { aliases: ['a', 'b'] }) }));
    assert.deepEqual(joined.approvedBy, ['a']);
  });

  it('the author by any of their names does not, also where the name is heard of after the vote', () => {
    const actor = signedBy('oidc|7', { aliases: ['Author@example.com'] });
    const refusal = refusalAtGate(gate(), decision({ actor }), POLICY);
    assert.equal(refusal?.code, 'excluded');
    assert.equal(refusal?.whoCan, 'members of ops, leads but author@example.com, starter@example.com');
    const voted = applyToGate(gate(), decision({ actor: signedBy('oidc|7') }));
    assert.deepEqual(voted.approvedBy, ['oidc|7']);
    assert.deepEqual(withMembership(voted, actor, NOW).approvedBy, []);
  });

  it('one who has left the groups since counts no more, and again once back', () => {
    const voted = applyToGate(
      applyToGate(gate(), decision({ actor: signedBy('ann@example.com') })),
      decision({ by: 'bob@example.com' }),
    );
    assert.equal(gateState(voted), 'approved');
    const left = withMembership(voted, signedBy('ann@example.com', { groups: ['sales'] }), NOW);
    assert.equal(gateState(left), 'open');
    assert.deepEqual(left.approvedBy, ['bob@example.com']);
    assert.equal(gateState(withMembership(left, signedBy('ann@example.com'), NOW)), 'approved');
  });

  it('one who has joined a group since has not spoken for it: that takes another approval', () => {
    const policy: ApprovalPolicy = {
      ...POLICY,
      rules: [
        { group: 'security', count: 1 },
        { group: 'owners', count: 1 },
      ],
    };
    const as = (name: string, groups: readonly string[]) => decision({ actor: signedBy(name, { groups }) });
    const voted = applyToGate(applyToGate(gate(policy), as('bob', ['owners'])), as('cid', ['owners']));
    const joined = withMembership(voted, signedBy('bob', { groups: ['owners', 'security'] }), NOW);
    assert.equal(gateState(joined), 'open');
    assert.equal(gateState(applyToGate(joined, as('bob', ['owners', 'security']))), 'approved');
  });

  it('only a word over the same way tells that somebody has left: no other knows those groups', () => {
    const ann = (change: Partial<Actor>) => signedBy('ann@example.com', { aliases: ['github:ann'], ...change });
    const voted = applyToGate(gate(), decision({ actor: ann({ groups: ['ops', 'security'] }) }));
    for (const word of [
      ann({ via: 'slack', groups: [] }),
      ann({ via: 'token', groups: ['sales'] }),
      ann({ verified: false, groups: [] }),
      signedBy('repo:shop', { via: 'ci', groups: [], aliases: ['github:ann'] }),
    ])
      assert.deepEqual(withMembership(voted, word, NOW).approvedBy, ['ann@example.com'], word.via);
    assert.deepEqual(withMembership(voted, ann({ groups: ['security'] }), NOW).approvedBy, []);
  });

  it('a job is nobody: that two people have set it off makes them neither one nor excluded', () => {
    const by = (name: string) => signedBy(name, { aliases: [`github:${name}`] });
    const job = (name: string) => signedBy('repo:shop', { via: 'ci', groups: [], aliases: [`github:${name}`] });
    const started = openGate({ gate: 'release', planDigest: PLAN, policy: POLICY, involved: ['repo:shop'] });
    const voted = applyToGate(
      applyToGate(started, decision({ actor: by('ann') })),
      decision({ id: '2', actor: by('bob') }),
    );
    const heard = withMembership(withMembership(voted, job('ann'), NOW), job('bob'), NOW);
    assert.deepEqual(heard.approvedBy, ['ann', 'bob']);
  });

  it('who approves over a second way is one person still, in the groups that either knows of', () => {
    const rules = [
      { group: 'security', count: 1 },
      { group: 'ops', count: 1 },
    ];
    const ann = (via: Via, groups: readonly string[]) =>
      decision({ id: via, actor: signedBy('ann@example.com', { via, groups }) });
    const twice = applyToGate(
      applyToGate(gate({ ...POLICY, rules }), ann('oidc', ['security'])),
      ann('slack', ['ops']),
    );
    assert.deepEqual(twice.approvedBy, ['ann@example.com']);
    assert.equal(gateState(twice), 'open', 'one person is not two');
    assert.equal(gateState(applyToGate(twice, decision({ by: 'bob', groups: ['ops'] }))), 'approved');
    assert.equal(gateState(applyToGate(twice, decision({ by: 'bob', groups: ['security'] }))), 'approved');
    const left = withMembership(twice, signedBy('ann@example.com', { groups: [] }), NOW);
    assert.equal(gateState(applyToGate(left, decision({ by: 'bob', groups: ['ops'] }))), 'open');
    // One that brings all that the former brought is in its place: it is younger.
    const same = apply(twice, ann('token', ['ops', 'security']), NOW + 1);
    assert.equal(oldestVoteMs(same), NOW + 1);
    assert.equal(same.votes.length, 1);
  });

  it('two who turn out to be one by what they say count once from then on', () => {
    const voted = applyToGate(
      applyToGate(gate(), decision({ actor: signedBy('ann') })),
      decision({ id: '2', actor: signedBy('annie', { via: 'slack' }) }),
    );
    assert.deepEqual(voted.approvedBy, ['ann', 'annie']);
    const heard = withMembership(voted, signedBy('ann', { aliases: ['annie'] }), NOW);
    assert.deepEqual(heard.approvedBy, ['ann']);
    assert.equal(gateState(heard), 'open');
  });

  it('an approval that is older than validFor counts no more when the next one comes', () => {
    const policy = { ...POLICY, validForMs: 3_600_000 };
    const voted = apply(gate(policy), decision(), NOW);
    assert.equal(gateState(apply(voted, decision({ by: 'bob' }), NOW + 3_600_000)), 'approved');
    const late = apply(voted, decision({ by: 'bob' }), NOW + 3_600_001);
    assert.deepEqual(late.approvedBy, ['bob']);
    assert.equal(oldestVoteMs(late), NOW + 3_600_001);
    assert.equal(gateState(apply(late, decision({ id: 'again' }), NOW + 3_600_002)), 'approved');
    assert.equal(oldestVoteMs(gate(policy)), null);
  });

  it('after the escalation others too, under every rule', () => {
    const opened = gate(SECURITY_AND_OPS);
    const oncall = decision({ by: 'olga', groups: ['oncall'] });
    assert.equal(refusalAtGate(opened, oncall, SECURITY_AND_OPS)?.code, 'not-in-group');
    const escalated = escalateGate(opened, ['oncall'], NOW);
    assert.equal(refusalAtGate(escalated, oncall, SECURITY_AND_OPS), null);
    const one = applyToGate(escalated, oncall);
    assert.equal(gateState(one), 'open');
    assert.equal(gateState(applyToGate(one, decision({ by: 'oleg', groups: ['oncall'] }))), 'approved');
    assert.match(whoCan(escalated), /^members of security, ops, oncall \(1 of security, 1 of ops\) but /);
  });

  it('nobody once it is closed: a change of mind is an abort', () => {
    const approved = closeGate(applyToGate(applyToGate(gate(), decision()), decision({ by: 'bob' })), 'approved');
    const refusal = refusalAtGate(approved, decision({ verb: 'reject' }), POLICY);
    assert.equal(refusal?.code, 'too-late');
    assert.match(refusal?.text ?? '', /is closed \(approved\): .* abort instead/);
    assert.match(refusal?.next ?? '', /slipway abort/);
    assert.equal(closeGate(approved, 'void').closed, 'approved');
  });

  it('until then each may change their mind', () => {
    const approved = applyToGate(gate(), decision());
    assert.equal(gateState(applyToGate(approved, decision({ id: '2', verb: 'reject' }))), 'rejected');
  });
});

describe('a role', () => {
  it('is asked for where a server vouches for it; the refusal says who has it', () => {
    const viewer = decision({ actor: signedBy('ann@example.com', { roles: ['viewer', 'deployer'] }) });
    for (const verb of ['approve', 'reject'] as const) {
      const refusal = refusalAtGate(gate(), { ...viewer, verb }, POLICY);
      assert.equal(refusal?.code, 'needs-role');
      assert.match(
        refusal?.text ?? '',
        new RegExp(`is viewer, deployer here; to ${verb} one must be approver or admin`),
      );
      assert.equal(refusal?.whoCan, 'people with the role approver or admin');
    }
    const job = decision({ actor: signedBy('ci', { roles: ['approver', 'admin'], via: 'ci' }) });
    assert.match(refusalAtGate(gate(), job, POLICY)?.text ?? '', /ci is a job: only people may approve/);
    const { roles: _, ...without } = signedBy('ann@example.com');
    assert.equal(refusalAtGate(gate(), decision({ actor: without }), POLICY)?.code, 'needs-role');
  });
});

describe('break-glass', () => {
  const REASON = 'the login is down';
  const broken = (change: Parameters<typeof decision>[0] = {}): Decision =>
    decision({ verb: 'break-glass', reason: REASON, actor: signedBy('ann', { roles: ['breakglass'] }), ...change });
  const refused = (said: Decision, change: Partial<ApprovalPolicy> = {}): string | undefined => {
    const policy = { ...POLICY, allowUnverified: false, ...change };
    return refusalAtGate(gate(policy), said, policy)?.code;
  };

  it('opens a gate alone, also for the author, and without being in a group', () => {
    assert.equal(refused(broken()), undefined);
    const author = signedBy('author@example.com', { roles: ['breakglass'], groups: [] });
    assert.equal(refused(broken({ actor: author })), undefined);
    const opened = applyToGate(gate(), broken());
    assert.deepEqual([gateState(opened), opened.brokenBy, opened.approvedBy], ['approved', 'ann', []]);
    assert.equal(gateState(applyToGate(opened, decision({ verb: 'reject' }))), 'rejected', 'a rejection wins');
  });

  it('needs the role, a signature, a reason of 15 characters, and a person', () => {
    assert.equal(refused(broken({ actor: signedBy('ann', { roles: ['approver', 'admin'] }) })), 'needs-role');
    assert.equal(
      refused(broken({ actor: { ...signedBy('ann', { roles: ['breakglass'] }), verified: false } })),
      'unverified',
    );
    assert.equal(refused(broken({ reason: '  too short     ' })), 'needs-reason');
    assert.equal(refused(broken({ reason: null })), 'needs-reason');
    assert.equal(refused(broken({ actor: signedBy('ci', { roles: ['breakglass'], via: 'ci' }) })), 'needs-role');
    assert.equal(refused(broken({ planDigest: 'sha256:other' })), 'other-plan');
  });

  it('is as the policy says: off, or with a ticket', () => {
    assert.equal(refused(broken(), { breakGlass: { allowed: false, ticket: false } }), 'not-now');
    const breakGlass = { allowed: true, ticket: true };
    assert.equal(refused(broken(), { breakGlass }), 'needs-reason');
    for (const ticket of ['OPS-311', 'see #42', 'https://tracker.example.com/9'])
      assert.equal(refused(broken({ reason: `${REASON} ${ticket}` }), { breakGlass }), undefined, ticket);
    for (const none of ['COVID19', 'a#b', 'http://'])
      assert.equal(refused(broken({ reason: `${REASON} ${none}` }), { breakGlass }), 'needs-reason', none);
  });

  it('where nobody vouches and nobody need to, it is anybody’s whose roles are not known', () => {
    const change = { allowUnverified: true };
    const local = { subject: 'ann', groups: [], verified: false };
    assert.equal(refused(broken({ actor: local }), change), undefined);
    assert.equal(refused(broken({ actor: { ...local, roles: ['approver'] } }), change), 'needs-role');
  });
});

describe('what is said while a gate waits', () => {
  const HOUR = 3_600_000;
  it('is a reminder at each share of the wait, and the escalation, in order, before its end', () => {
    const policy = { ...POLICY, escalate: { afterMs: 6 * HOUR, groups: ['oncall'] } };
    assert.deepEqual(promptsOf(policy, 0, 10 * HOUR), [
      { atMs: 5 * HOUR, kind: 'reminder' },
      { atMs: 6 * HOUR, kind: 'escalation' },
      { atMs: 8 * HOUR, kind: 'reminder' },
    ]);
    assert.deepEqual(promptsOf({ ...policy, reminders: [1, 0.25] }, HOUR, 6 * HOUR), [
      { atMs: 2.5 * HOUR, kind: 'reminder' },
    ]);
    assert.deepEqual(promptsOf({ ...POLICY, reminders: [] }, 0, HOUR), []);
  });
});
