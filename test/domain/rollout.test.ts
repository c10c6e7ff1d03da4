import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isBeforeCanary, isFinal, mayFollow, needsPerson, PHASES, requestedPhase } from '../../domain/rollout.js';
import type { Phase, Wait } from '../../domain/rollout.js';

const FINAL = ['completed', 'rolled-back', 'rejected', 'aborted', 'superseded', 'rollback-failed'] as const;
const phase = fc.constantFrom(...PHASES);

function reachable(from: Phase): ReadonlySet<Phase> {
  const seen = new Set<Phase>([from]);
  for (const at of seen) for (const to of PHASES) if (mayFollow(at, to)) seen.add(to);
  return seen;
}

describe('the phases of a rollout', () => {
  it('follow the way of the design to the end', () => {
    const way = [
      'accepted',
      'assessing',
      'gating',
      'awaiting-approval',
      'preflight',
      'canary',
      'canary',
      'promoting',
      'verifying',
      'settling',
      'completed',
    ] as const;
    for (const [index, to] of way.entries()) {
      const from = way[index - 1];
      if (from !== undefined) assert.ok(mayFollow(from, to), `${from} → ${to}`);
    }
  });

  it('end in the six outcomes, and nothing follows an end', () => {
    assert.deepEqual(PHASES.filter(isFinal).toSorted(), [...FINAL].toSorted());
    fc.assert(fc.property(phase, fc.constantFrom(...FINAL), (to, end) => assert.equal(mayFollow(end, to), false)));
  });

  it('are all reachable from the beginning, and each can still end', () => {
    assert.deepEqual([...reachable('accepted')].toSorted(), [...PHASES].toSorted());
    for (const at of PHASES) assert.ok([...reachable(at)].some(isFinal), at);
  });

  it('never skip the approval gate’s checks: the canary begins after preflight only', () => {
    assert.deepEqual(
      PHASES.filter((from) => from !== 'canary' && mayFollow(from, 'canary')),
      ['preflight'],
    );
  });

  it('complete only after settling, and go back only through rolling-back', () => {
    assert.deepEqual(
      PHASES.filter((from) => mayFollow(from, 'completed')),
      ['settling'],
    );
    assert.deepEqual(
      PHASES.filter((from) => mayFollow(from, 'rolled-back')),
      ['rolling-back'],
    );
    assert.equal(mayFollow('rolling-back', 'completed'), false);
  });

  it('can go back from every phase in which something was touched, and are never rejected there', () => {
    for (const touched of ['canary', 'promoting', 'verifying', 'settling'] as const) {
      assert.ok(mayFollow(touched, 'rolling-back'), touched);
      assert.equal(mayFollow(touched, 'rejected'), false, touched);
      assert.equal(isBeforeCanary(touched), false, touched);
    }
  });

  it('are before the canary exactly where they can still be rejected, and the approval itself', () => {
    assert.deepEqual(
      PHASES.filter(isBeforeCanary),
      PHASES.filter((at) => mayFollow(at, 'rejected')),
    );
  });

  it('have a name in the words of the request, each of which is used', () => {
    const names = new Set(PHASES.flatMap((at) => [1, 2].map((stage) => requestedPhase({ phase: at, stage }))));
    assert.deepEqual(
      [...names].toSorted(),
      [
        'canary',
        'complete',
        'full rollout',
        'progressive rollout',
        'risk assessment',
        'rolled back',
        'verification',
      ].toSorted(),
    );
    assert.equal(requestedPhase({ phase: 'canary', stage: null }), 'canary');
    assert.equal(requestedPhase({ phase: 'canary', stage: 1 }), 'canary');
    assert.equal(requestedPhase({ phase: 'canary', stage: 2 }), 'progressive rollout');
  });
});

it('a wait needs a person, or it ends by itself', () => {
  const of = (kind: Wait['kind']): Wait => ({
    kind,
    since: '2026-07-01T12:00:00.000Z',
    deadline: null,
    atDeadline: null,
    reason: 'because',
    who: '',
    commands: [],
    gate: null,
  });
  for (const kind of ['approval', 'inconclusive', 'paused', 'gate', 'drift'] as const)
    assert.ok(needsPerson(of(kind)), kind);
  for (const kind of ['blind', 'platform', 'not-ready', 'evidence'] as const) assert.ok(!needsPerson(of(kind)), kind);
  assert.equal(needsPerson(null), false);
});
