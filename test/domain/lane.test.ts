import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  enqueue,
  expireQueued,
  finish,
  laneView,
  newLane,
  payloadDigest,
  placeAt,
  QUEUE_TOLD,
  queueNotice,
  REMEMBER_MS,
  takeNext,
  wasWithdrawnBy,
  withdraw,
} from '../../domain/lane.js';
import type { EnqueueResult, LaneState } from '../../domain/lane.js';
import type { Policy } from '../../domain/policy.js';
import type { Outcome, RolloutRequest } from '../../domain/rollout.js';
import { SMALL_CHANGE, testPolicy, testRequest } from '../support/request.js';

const POLICY = testPolicy({ gateway: 'http://127.0.0.1:7700' });
const NOW = Date.parse('2026-07-01T12:00:00Z');

interface Asked {
  readonly tag?: string;
  readonly whenBusy?: Policy['whenBusy'];
  readonly priority?: RolloutRequest['priority'];
}

function ask(key: string, { tag = 'v2', whenBusy = 'queue', priority = 'normal' }: Asked = {}): RolloutRequest {
  return testRequest({ policy: { ...POLICY, whenBusy }, tag, key, priority });
}

function id(key: string): string {
  return ask(key).rolloutId;
}

function all(requests: readonly RolloutRequest[], state = newLane(POLICY.lane)): LaneState {
  return requests.reduce((at, request) => enqueue(at, request, NOW).state, state);
}

/** A lane in which `a` runs. */
function busy(): LaneState {
  const taken = takeNext(all([ask('a')]));
  assert.ok(taken !== null);
  return taken.state;
}

function queueOf(state: LaneState): readonly string[] {
  return state.queue.map(({ request }) => request.rolloutId);
}

function rememberedAs(state: LaneState, key: string): string | null | undefined {
  return state.remembered.find(({ rolloutId }) => rolloutId === id(key))?.outcome;
}

describe('asking a lane for a rollout', () => {
  it('is accepted, in order, and says how many are ahead', () => {
    const first = enqueue(busy(), ask('b'), NOW);
    const second = enqueue(first.state, ask('c'), NOW);
    assert.deepEqual(first.receipt, { kind: 'accepted', rolloutId: id('b'), ahead: 1, blocked: null });
    assert.deepEqual(second.receipt, { kind: 'accepted', rolloutId: id('c'), ahead: 2, blocked: null });
    assert.deepEqual(queueOf(second.state), [id('b'), id('c')]);
    assert.equal(second.tellRunning, null);
  });

  it('again with the same key and payload is the same rollout and changes nothing', () => {
    const state = all([ask('b')], busy());
    for (const key of ['a', 'b']) {
      const again = enqueue(state, ask(key), NOW + 1000);
      assert.deepEqual(again.receipt, { kind: 'duplicate', rolloutId: id(key), outcome: null });
      assert.equal(again.state, state);
    }
    const ended = finish(state, { rolloutId: id('a'), outcome: 'completed', reason: 'done' }, NOW);
    assert.deepEqual(enqueue(ended, ask('a'), NOW).receipt, {
      kind: 'duplicate',
      rolloutId: id('a'),
      outcome: 'completed',
    });
  });

  it('with the same key and another payload is refused with both digests, and changes nothing', () => {
    const state = busy();
    const other = ask('a', { tag: 'v3' });
    const { receipt, state: after } = enqueue(state, other, NOW);
    assert.equal(receipt.kind, 'conflict');
    assert.equal(after, state);
    const text = receipt.kind === 'conflict' ? receipt.text : '';
    assert.ok(text.includes(payloadDigest(other).slice(7, 19)), text);
    assert.ok(text.includes(payloadDigest(ask('a')).slice(7, 19)), text);
    assert.match(text, /use a new key/);
  });

  it('compares what would be shipped and how, never who asks, when, or with which words', () => {
    const one = ask('a');
    const same: RolloutRequest = {
      ...one,
      actor: { subject: 'somebody.else@example.com', groups: ['ops'], verified: false },
      requestedAt: '2030-01-01T00:00:00.000Z',
      priority: 'hotfix',
      release: { ...one.release, change: { ...SMALL_CHANGE, message: 'other words' } },
    };
    assert.equal(payloadDigest(same), payloadDigest(one));
    const differ: readonly RolloutRequest[] = [
      ask('a', { tag: 'v3' }),
      ask('a', { whenBusy: 'reject' }),
      { ...one, release: { ...one.release, env: { A: 'b' } } },
      { ...one, release: { ...one.release, change: { ...SMALL_CHANGE, commit: 'b'.repeat(40) } } },
    ];
    for (const other of differ) assert.notEqual(payloadDigest(other), payloadDigest(one));
  });

  it('whose outcome the lane knows only from a recovery names it, without an empty digest', () => {
    const state = finish(newLane(POLICY.lane), { rolloutId: id('a'), outcome: 'rolled-back', reason: 'lost' }, NOW);
    const { receipt } = enqueue(state, ask('a'), NOW);
    assert.equal(receipt.kind, 'conflict');
    assert.match(receipt.kind === 'conflict' ? receipt.text : '', /recovered.*rolled-back.*use a new key/);
  });

  it('is refused at once where the policy says reject, and names who has the lane', () => {
    const state = busy();
    const { receipt, state: after } = enqueue(state, ask('b', { whenBusy: 'reject' }), NOW);
    assert.deepEqual(receipt.kind === 'busy' ? receipt.running : null, id('a'));
    assert.match(receipt.kind === 'busy' ? receipt.text : '', /whenBusy: reject/);
    assert.equal(after, state);
    // Also when nothing runs yet but somebody is first.
    assert.equal(enqueue(all([ask('a')]), ask('b', { whenBusy: 'reject' }), NOW).receipt.kind, 'busy');
    assert.equal(enqueue(newLane(POLICY.lane), ask('b', { whenBusy: 'reject' }), NOW).receipt.kind, 'accepted');
  });

  it('takes the place of all others where the policy says supersede', () => {
    const before = all([ask('b'), ask('c')], busy());
    const { state, receipt, tellRunning } = enqueue(before, ask('d', { whenBusy: 'supersede' }), NOW);
    assert.deepEqual(receipt, { kind: 'accepted', rolloutId: id('d'), ahead: 1, blocked: null });
    assert.equal(tellRunning, 'superseded');
    assert.deepEqual(queueOf(state), [id('d')]);
    assert.equal(rememberedAs(state, 'b'), 'superseded');
    assert.equal(rememberedAs(state, 'c'), 'superseded');
    assert.equal(rememberedAs(state, 'a'), null);
  });

  it('as a hotfix goes ahead of the queue, behind earlier hotfixes, and the running one is told', () => {
    const before = all([ask('b'), ask('c', { priority: 'hotfix' })], busy());
    const { state, receipt, tellRunning } = enqueue(before, ask('d', { priority: 'hotfix' }), NOW);
    assert.deepEqual(queueOf(state), [id('c'), id('d'), id('b')]);
    assert.equal(receipt.kind === 'accepted' ? receipt.ahead : null, 2);
    assert.equal(tellRunning, 'pre-empted');
    assert.equal(enqueue(busy(), ask('d', { priority: 'hotfix', whenBusy: 'reject' }), NOW).receipt.kind, 'accepted');
  });

  it('in a blocked lane is accepted, says what blocks it, and does not start', () => {
    const failed = finish(busy(), { rolloutId: id('a'), outcome: 'rollback-failed', reason: 'forbidden' }, NOW);
    const { state, receipt } = enqueue(failed, ask('b'), NOW);
    assert.match(receipt.kind === 'accepted' ? (receipt.blocked ?? '') : '', /rollback of .* failed: forbidden/);
    assert.equal(takeNext(state), null);
    assert.ok(takeNext({ ...state, blocked: null }) !== null);
  });
});

describe('a lane', () => {
  it('runs one at a time, in order, and is free when that one has ended', () => {
    const state = all([ask('b'), ask('c')], busy());
    assert.equal(takeNext(state), null);
    const free = finish(state, { rolloutId: id('a'), outcome: 'completed', reason: 'done' }, NOW);
    const next = takeNext(free);
    assert.equal(next?.request.rolloutId, id('b'));
    assert.deepEqual(queueOf(next?.state ?? free), [id('c')]);
    assert.equal(takeNext(newLane(POLICY.lane)), null);
  });

  it('is blocked by a failed rollback only', () => {
    for (const outcome of ['completed', 'rolled-back', 'rejected', 'aborted', 'superseded'] as const)
      assert.equal(finish(busy(), { rolloutId: id('a'), outcome, reason: 'x' }, NOW).blocked, null, outcome);
    const blocked = finish(busy(), { rolloutId: id('a'), outcome: 'rollback-failed', reason: 'x' }, NOW).blocked;
    assert.equal(blocked?.rolloutId, id('a'));
    assert.equal(blocked?.sinceMs, NOW);
  });

  it('ends what has waited too long as rejected, and says which setting did it', () => {
    const { queueMs } = POLICY.waits;
    const early = all([ask('b')], busy());
    const both = enqueue(early, ask('c'), NOW + 1000).state;
    assert.equal(expireQueued(both, NOW + queueMs - 1), both);
    const later = expireQueued(both, NOW + queueMs);
    assert.deepEqual(queueOf(later), [id('c')]);
    assert.equal(rememberedAs(later, 'b'), 'rejected');
    assert.match(later.remembered.find(({ rolloutId }) => rolloutId === id('b'))?.reason ?? '', /waits\.queue/);
  });

  it('lets go of what is not wanted any more while it waits, and of nothing else', () => {
    const state = all([ask('b'), ask('c')], busy());
    const left = withdraw(state, id('b'), { id: 'click', reason: 'aborted in the queue by ann' });
    assert.deepEqual(left === null ? null : queueOf(left), [id('c')]);
    assert.equal(left === null ? null : rememberedAs(left, 'b'), 'aborted');
    assert.equal(left?.running, id('a'));
    for (const key of ['a', 'z']) assert.equal(withdraw(state, id(key), { id: 'x', reason: 'x' }), null);
    assert.equal(enqueue(left ?? state, ask('b'), NOW).receipt.kind, 'duplicate');
    // Over continue-as-new, as all of its state.
    const kept = JSON.parse(JSON.stringify(left ?? state)) as LaneState;
    assert.ok(wasWithdrawnBy(kept, id('b'), 'click'));
    assert.ok(!wasWithdrawnBy(kept, id('b'), 'another click'));
    assert.ok(!wasWithdrawnBy(kept, id('c'), 'click'));
  });

  it('keeps for ever where somebody broke the glass', () => {
    const breakGlass = { by: 'ann', reason: 'the login is down', at: '2026-07-01', gate: 'release', ownWork: false };
    const outcome = 'completed' as const;
    let state = finish(busy(), { rolloutId: id('a'), outcome, reason: 'done', breakGlass }, NOW);
    assert.deepEqual(laneView(state).brokenGlass, [{ ...breakGlass, rolloutId: id('a') }]);
    state = finish(all([ask('b')], state), { rolloutId: id('b'), outcome, reason: 'done', breakGlass: null }, NOW);
    assert.equal(laneView(state).brokenGlass.length, 1);
    const muchLater = enqueue(state, ask('c'), NOW + 365 * 24 * 3600_000).state;
    assert.equal(laneView(JSON.parse(JSON.stringify(muchLater)) as LaneState).brokenGlass.length, 1);
    assert.deepEqual(laneView(busy()).brokenGlass, []);
  });

  it('remembers keys for 30 days after they came, and what is open for as long as it is open', () => {
    const ended = finish(busy(), { rolloutId: id('a'), outcome: 'completed', reason: 'done' }, NOW);
    const open = enqueue(ended, ask('b'), NOW).state;
    const just = enqueue(open, ask('c'), NOW + REMEMBER_MS - 1).state;
    assert.equal(rememberedAs(just, 'a'), 'completed');
    const later = enqueue(open, ask('c'), NOW + REMEMBER_MS).state;
    assert.equal(rememberedAs(later, 'a'), undefined);
    assert.equal(rememberedAs(later, 'b'), null);
  });

  it('shows what runs, what waits and until when', () => {
    const view = laneView(all([ask('b', { tag: 'v7' })], busy()));
    assert.equal(view.running, id('a'));
    assert.deepEqual(view.queue, [
      {
        rolloutId: id('b'),
        release: { app: 'hello:v7' },
        queuedAt: '2026-07-01T12:00:00.000Z',
        expiresAt: new Date(NOW + POLICY.waits.queueMs).toISOString(),
      },
    ]);
  });
});

describe('what a lane tells of its queue', () => {
  const told = (state: LaneState): readonly unknown[] => {
    const notice = queueNotice(state);
    return (notice?.queue ?? []).map(({ rolloutId }, index) => [rolloutId, placeAt(notice!, index)]);
  };

  it('is nothing while nobody waits, also in the moment before the first one runs', () => {
    assert.equal(queueNotice(newLane(POLICY.lane)), null);
    assert.equal(queueNotice(busy()), null);
    assert.equal(queueNotice(all([ask('a')])), null);
  });

  it('is who waits, for whom, and with how many ahead', () => {
    const behind = { behind: id('a'), blocked: null };
    const expected = [
      [id('b'), { ahead: 1, ...behind }],
      [id('c'), { ahead: 2, ...behind }],
    ];
    assert.deepEqual(told(all([ask('b'), ask('c')], busy())), expected);
    // The same in the moment in which `a` is about to run.
    assert.deepEqual(told(all([ask('a'), ask('b'), ask('c')])), expected);
    const [first] = queueNotice(all([ask('b', { tag: 'v7' })], busy()))?.queue ?? [];
    assert.deepEqual([first?.release, first?.queuedAt], ['hello:v7', '2026-07-01T12:00:00.000Z']);
  });

  it('says why a blocked lane starts nothing', () => {
    const failed = { rolloutId: id('a'), outcome: 'rollback-failed' as const, reason: 'read-only' };
    const blocked = `rollback of ${id('a')} failed: read-only`;
    assert.deepEqual(told(finish(all([ask('b')], busy()), failed, NOW)), [
      [id('b'), { ahead: 0, behind: null, blocked }],
    ]);
  });

  it('is the first fifty, however many wait', () => {
    const many = Array.from({ length: QUEUE_TOLD + 10 }, (_, at) => ask(`k${at}`));
    assert.deepEqual(
      queueNotice(all(many, busy()))?.queue.map(({ rolloutId }) => rolloutId),
      many.slice(0, QUEUE_TOLD).map(({ rolloutId }) => rolloutId),
    );
  });
});

describe('whatever is asked of a lane, in any order,', () => {
  const keys = ['a', 'b', 'c', 'd', 'e'] as const;
  const outcomes: readonly Outcome[] = [
    'completed',
    'rolled-back',
    'rejected',
    'aborted',
    'superseded',
    'rollback-failed',
  ];
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('ask' as const),
      key: fc.constantFrom(...keys),
      tag: fc.constantFrom('v2', 'v3'),
      whenBusy: fc.constantFrom('queue', 'supersede', 'reject'),
      priority: fc.constantFrom('normal', 'hotfix'),
    }),
    fc.record({ kind: fc.constant('take' as const) }),
    fc.record({ kind: fc.constant('finish' as const), outcome: fc.constantFrom(...outcomes) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 700_000 }) }),
    fc.record({ kind: fc.constant('unblock' as const) }),
  );

  /** Does the steps, and shows each state with what came of asking. */
  function live(
    steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[],
    see: (state: LaneState, before: LaneState, asked: EnqueueResult | null) => void,
  ): void {
    let state = newLane(POLICY.lane);
    let now = NOW;
    for (const one of steps) {
      const before = state;
      let asked: EnqueueResult | null = null;
      if (one.kind === 'ask') {
        asked = enqueue(state, ask(one.key, one as Asked), now);
        state = asked.state;
      } else if (one.kind === 'take') state = takeNext(state)?.state ?? state;
      else if (one.kind === 'wait') state = expireQueued(state, (now += one.ms));
      else if (one.kind === 'unblock') state = { ...state, blocked: null };
      else if (state.running !== null)
        state = finish(state, { rolloutId: state.running, outcome: one.outcome as Outcome, reason: 'x' }, now);
      see(state, before, asked);
    }
  }

  it('no rollout is anywhere twice, and what is open is remembered', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) =>
        live(steps, (state) => {
          const open = [...queueOf(state), ...(state.running === null ? [] : [state.running])];
          assert.equal(new Set(open).size, open.length);
          const known = state.remembered.map(({ rolloutId }) => rolloutId);
          assert.equal(new Set(known).size, known.length);
          const openByMemory = state.remembered.filter(({ outcome }) => outcome === null);
          assert.deepEqual(openByMemory.map(({ rolloutId }) => rolloutId).toSorted(), open.toSorted());
        }),
      ),
      { numRuns: 300 },
    );
  });

  it('nothing is accepted twice, and only what is accepted changes the lane', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const accepted = new Set<string>();
        live(steps, (state, before, asked) => {
          if (asked === null) return;
          if (asked.receipt.kind !== 'accepted') return assert.equal(state, before);
          assert.ok(!accepted.has(asked.receipt.rolloutId));
          accepted.add(asked.receipt.rolloutId);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('hotfixes are ahead of the rest of the queue', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) =>
        live(steps, ({ queue }) => {
          const priorities = queue.map(({ request }) => request.priority);
          assert.deepEqual(priorities, priorities.toSorted());
        }),
      ),
      { numRuns: 300 },
    );
  });
});
