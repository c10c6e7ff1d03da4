import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ApprovalRule } from '../../../domain/approval/decision.js';
import { neededText, remarksOn, rulesAt, satisfiable, unmet } from '../../../domain/approval/rules.js';
import type { ApprovalPolicy } from '../../../domain/policy.js';

const POLICY: ApprovalPolicy = {
  required: 'always',
  quorum: 1,
  groups: [],
  excludeAuthor: true,
  allowUnverified: false,
};
const DAY = 86_400_000;

/** Every way to give each rule its own people, tried one by one. */
function canMeet(rules: readonly ApprovalRule[], voters: readonly { readonly groups: readonly string[] }[]): boolean {
  const [slot, ...rest] = rules.flatMap((rule) => Array.from({ length: rule.count }, () => ({ ...rule, count: 1 })));
  if (slot === undefined) return true;
  return voters.some(
    (voter, index) =>
      (slot.groups.length === 0 || voter.groups.some((group) => slot.groups.includes(group))) &&
      canMeet(rest, voters.toSpliced(index, 1)),
  );
}

describe('the rules of approval', () => {
  it('are met exactly when each can have people of its own', () => {
    const groups = fc.subarray(['a', 'b', 'c']);
    const rule = fc.record({ groups, count: fc.integer({ min: 1, max: 2 }) });
    const voters = fc.array(fc.record({ groups }), { maxLength: 5 });
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 3 }), voters, (rules, people) => {
        const missing = unmet(rules, people);
        assert.equal(missing.length === 0, canMeet(rules, people));
        // What is said to be missing is missing: with it, they are met.
        const helpers = missing.flatMap((part) => Array.from({ length: part.count }, () => ({ groups: part.groups })));
        assert.deepEqual(unmet(rules, [...people, ...helpers]), []);
        assert.equal(
          satisfiable(
            rules,
            people.map((person, n) => ({ ...person, name: `p${n}` })),
          ).kind === 'yes',
          missing.length === 0,
        );
      }),
    );
  });

  it('of a level of risk replace all others; quorum and groups are one rule', () => {
    const policy: ApprovalPolicy = {
      ...POLICY,
      groups: ['ops'],
      byRisk: { medium: { rules: [{ group: 'sec', count: 2 }] }, critical: { quorum: 3 } },
    };
    assert.deepEqual(rulesAt(policy, 'low'), [{ groups: ['ops'], count: 1 }]);
    assert.deepEqual(rulesAt(policy, 'high'), [{ groups: ['sec'], count: 2 }]);
    assert.deepEqual(rulesAt(policy, 'critical'), [{ groups: ['ops'], count: 3 }]);
    assert.equal(neededText(rulesAt(policy, 'high')), '2 approvals');
    assert.equal(
      neededText([...rulesAt(policy, 'high'), ...rulesAt(POLICY, null)]),
      '3 approvals (2 of sec, 1 of anyone)',
    );
    assert.equal(neededText(rulesAt(POLICY, null)), '1 approval');
  });

  it('that nobody can meet are told of before the first rollout, and by whom they could', () => {
    const rules = [
      { groups: ['sec'], count: 1 },
      { groups: [], count: 1 },
    ];
    const alone = satisfiable(rules, [{ name: 'ann', groups: ['sec'] }]);
    assert.ok(alone.kind === 'no');
    assert.match(alone.text, /^1 of anyone can't be had, for this server knows 1 who may \(ann\)$/);
    const none = satisfiable([{ groups: ['sec'], count: 1 }], [{ name: 'bob', groups: [] }]);
    assert.ok(none.kind === 'no');
    assert.match(none.text, /1 of sec can't be had, for this server knows nobody who may/);
    assert.deepEqual(
      satisfiable(rules, [
        { name: 'ann', groups: ['sec'] },
        { name: 'bob', groups: [] },
      ]),
      { kind: 'yes', who: ['ann', 'bob'] },
    );
  });

  it('that contradict themselves are told of with the key and the remedy', () => {
    const at = (change: Partial<ApprovalPolicy>): readonly string[] =>
      remarksOn({ ...POLICY, ...change }, DAY).map(({ kind, path }) => `${kind} ${path.join('.')}`);
    assert.deepEqual(at({}), []);
    const rules = [
      { group: 'a', count: 1 },
      { group: 'a', count: 1 },
    ];
    assert.deepEqual(at({ rules }), ['conflict rules.1.group']);
    assert.deepEqual(at({ rules: rules.slice(1), groups: ['b'] }), ['conflict rules']);
    assert.deepEqual(at({ byRisk: { high: { rules: rules.slice(1), quorum: 2 } } }), ['conflict byRisk.high.rules']);
    assert.deepEqual(at({ quorum: 3, byRisk: { low: { quorum: 4 }, high: { quorum: 3 } } }), ['warning byRisk.high']);
    const escalate = { afterMs: DAY, groups: ['b'] };
    assert.deepEqual(at({ groups: ['a'], escalate }), ['conflict escalate.after']);
    assert.deepEqual(at({ groups: ['a'], escalate: { ...escalate, afterMs: DAY - 1 } }), []);
    assert.deepEqual(at({ escalate: { ...escalate, afterMs: 1 } }), ['warning escalate']);
  });
});
