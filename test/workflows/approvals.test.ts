/** Approvals as servers vouch for them: whose word counts, once, in which order, and what goes past it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Decision } from '../../domain/approval/decision.js';
import type { Via } from '../../domain/people.js';
import type { ApprovalPolicy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import {
  decideUpdate,
  decisionSignal,
  laneWorkflowId,
  rolloutWorkflowId,
  withdrawUpdate,
} from '../../workflows/messages.js';
import { refOf, until } from '../support/drive.js';
import type { Pilot } from '../support/drive.js';
import { allIsWell, verdict } from '../support/fake-activities.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { SMALL_CHANGE, stage, testRequest } from '../support/request.js';
import { currentRun, resetRun } from '../support/reset.js';
import { newSigner, person, Verifier } from '../support/signing.js';
import type { Signer } from '../support/signing.js';

const REASON = 'OPS-311: the login is down';

let env: FakeEnv;
let pilot: Pilot;
let signer: Signer;
let verifier: Verifier;
before(async () => {
  signer = await newSigner();
  verifier = new Verifier(signer.trusted);
  env = await startFakeEnv({ verifyDecision: verifier.verifyDecision });
  pilot = env.pilot;
});
after(() => {
  verifier.releaseAll();
  return env.stop();
});

/** Only what a server vouches for counts. */
function strict(world: World, change: Partial<ApprovalPolicy> = {}): ApprovalPolicy {
  return { ...world.policy().approval, required: 'always', allowUnverified: false, ...change };
}

async function awaitingApproval(
  world: World,
  change: Partial<ApprovalPolicy> = {},
  waits = {},
): Promise<RolloutRequest> {
  const policy = world.policy({ approval: strict(world, change) });
  const request = testRequest({ policy: { ...policy, waits: { ...policy.waits, ...waits } }, tag: 'v2' });
  await pilot.deploy(request);
  await pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
  return request;
}

/** Two stages, the second behind a gate; it stands at that gate. */
async function atStageGate(world: World, change: Partial<ApprovalPolicy> = {}): Promise<RolloutRequest> {
  const stages = [stage(25, 1), stage(50, 1, true)];
  const policy = world.policy({
    approval: strict(world, { required: 'never', ...change }),
    stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages },
  });
  const request = await pilot.deploy(testRequest({ policy, tag: 'v2' }));
  await pilot.until(request, 'it waits at the gate', ({ wait }) => wait?.kind === 'gate');
  return request;
}

async function code(answer: ReturnType<Pilot['decide']>): Promise<string> {
  const receipt = await answer;
  return receipt.kind === 'refused' ? receipt.code : receipt.kind;
}

async function viewOf(request: RolloutRequest): Promise<RolloutView> {
  const view = await pilot.view(request);
  assert.ok(view !== null);
  return view;
}

/** Ends what a test has begun. */
async function abort(request: RolloutRequest): Promise<void> {
  await pilot.decide(request, 'abort');
  await pilot.ended(request);
}

describe('approvals', { concurrency: 6 }, () => {
  test('count once a trusted server has signed them, and are recorded as verified', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    const anna = { actor: person('anna') };
    assert.equal(await code(pilot.decide(request, 'approve', anna)), 'unverified');

    const stranger = await newSigner();
    const forged = await pilot.decide(request, 'approve', { ...anna, signer: stranger });
    assert.ok(forged.kind === 'refused' && forged.code === 'unverified', JSON.stringify(forged));
    assert.match(forged.text, /no trusted key signed it/);
    const said = await pilot.decision(request, 'approve', { ...anna, signer });
    // A forgery under the id of another decision does not spoil that.
    const changed: Decision = { ...said, actor: person('bert') };
    const handle = pilot.handle(request);
    const spoilt = await handle.executeUpdate(decideUpdate, { args: [changed], updateId: randomUUID() });
    assert.ok(spoilt.kind === 'refused' && spoilt.code === 'unverified', JSON.stringify(spoilt));
    const elsewhere = { ...said, id: randomUUID() };
    const signature = await signer.sign('another-rollout', elsewhere);
    assert.equal(await code(env.slipway.decide(refOf(request), { ...elsewhere, signature })), 'unverified');
    const unread = await pilot.decision(request, 'approve', { ...anna, signer });
    verifier.fail(unread.id);
    const failed = await env.slipway.decide(refOf(request), unread);
    assert.ok(failed.kind === 'refused' && failed.code === 'unverified', JSON.stringify(failed));
    assert.match(failed.text, /its signature could not be verified: EIO/);
    const open = await viewOf(request);
    assert.deepEqual([open.decisions, open.approvals?.approvedBy, open.phase], [[], [], 'awaiting-approval']);
    assert.equal(open.warnings.length, 4, 'what was forged is not told of');

    assert.equal(await code(env.slipway.decide(refOf(request), said)), 'accepted');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.equal(view.decisions[0]?.actor.verified, true);
    assert.equal(world.records[0]?.decisions[0]?.actor.verified, true);
  });

  test('of each group are needed, by different people under whatever names, and none by author or starter', async () => {
    const world = await env.worldWithV1();
    const rules = [
      { group: 'security', count: 1 },
      { group: 'owners', count: 1 },
    ];
    const request = await awaitingApproval(world, { rules });
    assert.match((await viewOf(request)).wait?.who ?? '', /members of security, owners \(1 of security, 1 of owners\)/);
    const say = (name: string, groups: readonly string[], aliases: readonly string[] = []) =>
      code(pilot.decide(request, 'approve', { actor: person(name, { groups, aliases }), signer }));
    assert.equal(await say('a1', ['owners'], ['author@example.com']), 'excluded');
    assert.equal(await say('s1', ['owners'], ['Starter@Example.com']), 'excluded');
    assert.equal(await say('anna', ['sales']), 'not-in-group');
    assert.equal(await say('anna', ['security', 'owners'], ['anna@old.example.com']), 'accepted');
    assert.equal(await say('slack-anna', ['security', 'owners'], ['anna@old.example.com']), 'accepted');
    const open = await viewOf(request);
    assert.deepEqual([open.phase, open.approvals?.approvedBy], ['awaiting-approval', ['anna@example.com']]);
    assert.match(open.wait?.who ?? '', /^members of owners but /);
    assert.equal(await say('bert', ['security']), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('of one who left the groups meanwhile do not count when the gate would close', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2, groups: ['ops'] });
    const say = (name: string, groups: readonly string[]) =>
      code(pilot.decide(request, 'approve', { actor: person(name, { groups }), signer }));
    assert.equal(await say('anna', ['ops']), 'accepted');
    assert.equal(await say('anna', ['sales']), 'not-in-group');
    assert.equal(await say('bert', ['ops']), 'accepted');
    const view = await viewOf(request);
    assert.deepEqual([view.phase, view.approvals?.approvedBy], ['awaiting-approval', ['bert@example.com']]);
    assert.ok(view.timeline.some(({ text }) => text.includes('anna@example.com counts no more')));
    // Whatever a person says tells in which groups they are.
    for (const [verb, groups, counting] of [
      ['pause', ['sales'], []],
      ['resume', ['ops'], ['bert@example.com']],
    ] as const) {
      await pilot.decide(request, verb, { actor: person('bert', { groups }), signer });
      assert.deepEqual((await viewOf(request)).approvals?.approvedBy, counting);
    }
    assert.equal(await say('cleo', ['ops']), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('of one who speaks in Slack too, or whose job does, stand: the groups of the login are not theirs to know', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2, groups: ['ops'] });
    const anna = (via: Via, groups: readonly string[]) => ({ actor: person('anna', { via, groups }), signer });
    assert.equal(await code(pilot.decide(request, 'approve', anna('oidc', ['ops']))), 'accepted');
    assert.equal(await code(pilot.decide(request, 'approve', anna('slack', []))), 'not-in-group');
    assert.equal(await code(pilot.decide(request, 'pause', anna('slack', []))), 'accepted');
    const job = person('repo', { via: 'ci', groups: [], aliases: ['anna@example.com'] });
    assert.equal(await code(pilot.decide(request, 'resume', { actor: job, signer })), 'accepted');
    const view = await viewOf(request);
    assert.deepEqual(view.approvals?.approvedBy, ['anna@example.com']);
    assert.ok(!view.timeline.some(({ text }) => text.includes('counts no more')));
    assert.equal(
      await code(pilot.decide(request, 'approve', { actor: person('bert', { groups: ['ops'] }), signer })),
      'accepted',
    );
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('that come twice at once, as update and signal, under one id or two, count once', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2 });
    const anna = { actor: person('anna'), signer };
    const [one, two] = [await pilot.decision(request, 'approve', anna), await pilot.decision(request, 'approve', anna)];
    const release = [verifier.hold(one.id), verifier.hold(two.id)];
    const handle = pilot.handle(request);
    await handle.signal(decisionSignal, one);
    const updates = [one, one, two].map((decision) =>
      handle.executeUpdate(decideUpdate, { args: [decision], updateId: randomUUID() }),
    );
    await until('both are being verified', () => [one, two].every(({ id }) => verifier.seen.includes(id)));
    // What came first counts first, however much faster the other one is verified.
    release[1]?.();
    await sleep(500);
    assert.deepEqual((await viewOf(request)).decisions, []);
    release[0]?.();
    const kinds = (await Promise.all(updates)).map(({ kind }) => kind);
    assert.deepEqual(kinds.toSorted(), ['accepted', 'duplicate', 'duplicate']);
    const view = await viewOf(request);
    assert.deepEqual(view.approvals?.approvedBy, ['anna@example.com']);
    assert.deepEqual(
      view.decisions.map(({ id }) => id),
      [one.id, two.id],
    );
    assert.equal(view.phase, 'awaiting-approval');
    await abort(request);
  });

  test('give way to a rejection that came while the last of them was verified', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    const approval = await pilot.decision(request, 'approve', { actor: person('anna'), signer });
    const rejection = await pilot.decision(request, 'reject', { actor: person('bert'), signer, reason: 'wait' });
    const letReject = verifier.hold(rejection.id);
    const letApprove = verifier.hold(approval.id);
    const handle = pilot.handle(request);
    await handle.signal(decisionSignal, approval);
    await handle.signal(decisionSignal, rejection);
    await until('both are being verified', () => [approval, rejection].every(({ id }) => verifier.seen.includes(id)));
    letApprove();
    const counted = await pilot.until(request, 'the approval counts', ({ decisions }) => decisions.length === 1);
    assert.equal(counted.phase, 'awaiting-approval', 'it was approved while a rejection was being verified');
    letReject();
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.text], ['rejected', 'bert@example.com rejected the release: wait']);
    assert.equal(view.approvals?.closed, 'rejected');
  });

  test('are not held up by a rejection that turns out to be forged', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    const stranger = await newSigner();
    const rejection = await pilot.decision(request, 'reject', { actor: person('bert'), signer: stranger });
    const letReject = verifier.hold(rejection.id);
    await pilot.handle(request).signal(decisionSignal, rejection);
    await until('it is being verified', () => verifier.seen.includes(rejection.id));
    const approving = pilot.decide(request, 'approve', { actor: person('anna'), signer });
    await until('the approval too', () => verifier.seen.length >= 2);
    letReject();
    assert.equal(await code(approving), 'accepted');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    assert.ok(view.warnings.some((text) => /refused reject by bert@example.com: .*no trusted key/.test(text)));
  });

  test('that came in time count, however long their verification takes', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, {}, { approvalMs: 4000 });
    const { wait } = await viewOf(request);
    const approval = await pilot.decision(request, 'approve', { actor: person('anna'), signer });
    const release = verifier.hold(approval.id);
    await pilot.handle(request).signal(decisionSignal, approval);
    await until('it is being verified', () => verifier.seen.includes(approval.id));
    await until('the deadline has passed', () => Date.now() > Date.parse(wait?.deadline ?? '') + 500);
    assert.equal((await viewOf(request)).phase, 'awaiting-approval');
    release();
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('bind: once the gate is closed a change of mind is an abort', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    world.watch = () => 'wait';
    assert.equal(await code(pilot.decide(request, 'approve', { actor: person('anna'), signer })), 'accepted');
    await pilot.until(request, 'the canary gets traffic', ({ weights }) => weights?.canary === 25);
    const late = await pilot.decide(request, 'reject', { actor: person('anna'), signer, gate: 'release' });
    assert.ok(late.kind === 'refused' && late.code === 'too-late', JSON.stringify(late));
    assert.match(late.next ?? '', /slipway abort/);
    assert.equal(late.whoCan, 'whoever may abort');
    await abort(request);
  });

  test('are reminded of, then others are asked and may answer', async () => {
    const world = await env.worldWithV1();
    const escalate = { afterMs: 1200, groups: ['oncall'] };
    const request = await awaitingApproval(
      world,
      { groups: ['ops'], reminders: [0.02], escalate },
      { approvalMs: 40_000 },
    );
    const olga = { actor: person('olga', { groups: ['oncall'] }), signer };
    const told = (kind: string) => world.notifications.find((notice) => notice.kind === kind);
    const reminder = await until('a reminder goes out', () => told('approval-reminder') ?? null);
    assert.match(reminder.title, /still waits for approval \(release\): 0 of 1/);
    assert.match(reminder.text, /^3\d s left: slipway approve/);
    assert.deepEqual(reminder.groups, ['ops']);
    const escalation = await until('others are asked', () => told('approval-escalated') ?? null);
    assert.deepEqual(escalation.groups, ['oncall']);
    const view = await viewOf(request);
    assert.match(view.wait?.who ?? '', /^members of ops, oncall but/);
    assert.equal(await code(pilot.decide(request, 'approve', olga)), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
    assert.equal(world.notifications.filter(({ kind }) => kind === 'approval-reminder').length, 1);
  });

  test('of a stage are void when the verdict they were bound to is another one', async () => {
    const world = await env.worldWithV1();
    let look = 1;
    world.watch = (call) => {
      if (call.mode !== 'guard') return { kind: 'verdict', verdict: { ...verdict('PROMOTE'), look }, evidence: null };
      if (look > 1 || call.heldOnDrift) return 'wait';
      const drifted = world.weights?.canary === 20;
      const disturbance = { kind: 'drift', object: 'route', text: 'it is 20', passing: false } as const;
      return drifted ? { kind: 'disturbed', disturbance } : 'wait';
    };
    const request = await atStageGate(world, { quorum: 2 });
    assert.equal(await code(pilot.decide(request, 'approve', { actor: person('anna'), signer })), 'accepted');
    const before = (await viewOf(request)).approvals;
    assert.deepEqual(before?.approvedBy, ['anna@example.com']);
    world.gateway.meddle('route', 'route', () => ({ weights: { stable: 80, canary: 20, baseline: 0 } }));
    await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'drift');
    const meanwhile = await pilot.decide(request, 'approve', { actor: person('bert'), signer, gate: 'stage-2' });
    assert.ok(meanwhile.kind === 'refused' && meanwhile.code === 'too-late', JSON.stringify(meanwhile));
    look = 7;
    await pilot.decide(request, 'resume');
    const asked = await pilot.until(
      request,
      'it asks again',
      ({ approvals, wait }) => wait?.kind === 'gate' && approvals?.planDigest !== before?.planDigest,
    );
    assert.deepEqual(asked.approvals?.approvedBy, []);
    assert.deepEqual(asked.approvals?.changed, ['stage-1: PROMOTE at look 7, and was PROMOTE at look 1']);
    const stale = { actor: person('bert'), signer, planDigest: before?.planDigest ?? '' };
    assert.equal(await code(pilot.decide(request, 'approve', stale)), 'other-plan');
    for (const name of ['anna', 'bert'])
      assert.equal(await code(pilot.decide(request, 'approve', { actor: person(name), signer })), 'accepted');
    world.watch = allIsWell;
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });

  test('and their rejection count at a gate that is paused: it waits with the one, and goes back with the other', async () => {
    const world = await env.worldWithV1();
    const request = await atStageGate(world);
    await pilot.decide(request, 'pause');
    await pilot.until(request, 'it is paused', ({ wait }) => wait?.kind === 'paused');
    const say = (verb: 'approve' | 'reject', name: string) =>
      code(pilot.decide(request, verb, { actor: person(name), signer, gate: 'stage-2' }));
    assert.equal(await say('approve', 'anna'), 'accepted');
    assert.equal((await viewOf(request)).wait?.kind, 'paused');
    assert.equal(await say('reject', 'bert'), 'accepted');
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.code], ['rolled-back', 'approval-rejected']);
  });

  test('count once over a reset, and again only by a click of one’s own', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2 });
    const anna = { actor: person('anna'), signer };
    const [one, two] = [await pilot.decision(request, 'approve', anna), await pilot.decision(request, 'approve', anna)];
    await pilot.handle(request).signal(decisionSignal, one);
    await pilot.until(request, 'the signal counts', ({ decisions }) => decisions.length === 1);
    assert.equal(await code(env.slipway.decide(refOf(request), two)), 'accepted');
    const run = await currentRun(env.slipway, request);
    // To where the gate was open and nothing said yet: what was said since is said to the new run once more.
    for (const checkpoint of [run.checkpoints.length - 1, run.checkpoints.length - 3]) {
      await resetRun(env.slipway, request, await currentRun(env.slipway, request), checkpoint);
      await pilot.until(request, 'it waits', ({ wait }) => wait?.kind === 'approval');
      for (const decision of [one, two]) await env.slipway.decide(refOf(request), decision);
      const view = await viewOf(request);
      assert.deepEqual(view.approvals?.approvedBy, ['anna@example.com']);
      assert.deepEqual(view.decisions.map(({ id }) => id).toSorted(), [one.id, two.id].toSorted());
      assert.equal(view.phase, 'awaiting-approval');
    }
    assert.equal(await code(pilot.decide(request, 'approve', { actor: person('bert'), signer })), 'accepted');
    assert.equal((await pilot.ended(request)).outcome, 'completed');
  });
});

describe('break-glass', { concurrency: 6 }, () => {
  test('opens a gate alone, pages people, and marks rollout, record and service for ever', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world, { quorum: 2, groups: ['ops'] });
    const gil = person('gil', { roles: ['viewer', 'breakglass'] });
    const say = (change: object) =>
      code(pilot.decide(request, 'break-glass', { actor: gil, signer, reason: REASON, ...change }));
    assert.equal(await say({ actor: person('anna', { roles: ['approver', 'admin'], groups: ['ops'] }) }), 'needs-role');
    assert.equal(await say({ reason: 'because' }), 'needs-reason');
    assert.equal(await say({ signer: undefined }), 'unverified');
    assert.equal(await say({ planDigest: 'sha256:other' }), 'other-plan');
    assert.equal((await viewOf(request)).breakGlass, null);
    assert.equal(await say({}), 'accepted');
    const view = await pilot.ended(request);
    assert.equal(view.outcome, 'completed');
    const { at: _, ...mark } = view.breakGlass ?? { at: '' };
    assert.deepEqual(mark, { by: 'gil@example.com', reason: REASON, gate: 'release', ownWork: false });
    assert.deepEqual(world.records[0]?.view.breakGlass, view.breakGlass);
    const page = await until(
      'people are paged',
      () => world.notifications.find(({ kind }) => kind === 'break-glass') ?? null,
    );
    assert.deepEqual([page.severity, page.groups], ['page', ['ops']]);
    assert.match(page.text, /gil@example.com went past gate "release" with 0 of 2 approvals \(break-glass\): OPS-311/);
    await pilot.remembered(request);
    const lane = await pilot.lane(world.lane);
    assert.deepEqual(lane?.brokenGlass, [{ ...view.breakGlass, rolloutId: request.rolloutId }]);
  });

  test('is the author’s too, and that is told; it skips no guard', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    world.watch = ({ mode }) =>
      mode === 'watch' ? { kind: 'verdict', verdict: verdict('ROLLBACK', 'it burns'), evidence: null } : 'wait';
    const author = person('au', { roles: ['breakglass'], aliases: [SMALL_CHANGE.author ?? ''] });
    assert.equal(
      await code(pilot.decide(request, 'approve', { actor: { ...author, roles: ['approver'] }, signer })),
      'excluded',
    );
    assert.equal(
      await code(pilot.decide(request, 'break-glass', { actor: author, signer, reason: REASON })),
      'accepted',
    );
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.reason?.text], ['rolled-back', 'it burns']);
    assert.equal(view.breakGlass?.ownWork, true);
  });

  test('is off where the policy says so, and opens gates between stages where it does not', async () => {
    const gil = { actor: person('gil', { roles: ['breakglass'] }), signer, reason: REASON };
    const off = await awaitingApproval(await env.worldWithV1(), { breakGlass: { allowed: false, ticket: false } });
    assert.equal(await code(pilot.decide(off, 'break-glass', gil)), 'not-now');
    await abort(off);
    const request = await atStageGate(await env.worldWithV1());
    assert.equal(await code(pilot.decide(request, 'break-glass', gil)), 'accepted');
    const view = await pilot.ended(request);
    assert.deepEqual([view.outcome, view.breakGlass?.gate], ['completed', 'stage-2']);
  });

  test('is what promoting over a HOLD is', async () => {
    const world = await env.worldWithV1();
    const request = testRequest({
      policy: world.policy({ approval: strict(world, { required: 'never' }) }),
      tag: 'v2',
    });
    await env.inCanary(world, request);
    const anna = { actor: person('anna'), signer, reason: REASON };
    const gil = { ...anna, actor: person('gil', { roles: ['approver', 'breakglass'] }) };
    assert.equal(await code(pilot.decide(request, 'promote', { ...gil, signer: await newSigner() })), 'unverified');
    world.watch = ({ mode }) =>
      mode === 'watch' ? { kind: 'held', verdict: verdict('HOLD', 'who knows'), evidence: null } : 'wait';
    await pilot.until(request, 'it is held', ({ wait }) => wait?.kind === 'inconclusive');
    const bare = await pilot.decision(request, 'promote', { reason: REASON });
    assert.equal(await code(env.slipway.decide(refOf(request), bare)), 'unverified');
    assert.equal(await code(pilot.decide(request, 'promote', anna)), 'needs-role');
    assert.equal(await code(pilot.decide(request, 'promote', { ...gil, reason: 'hurry' })), 'needs-reason');
    assert.equal(await code(pilot.decide(request, 'promote', gil)), 'accepted');
    world.watch = allIsWell;
    const view = await pilot.ended(request);
    assert.deepEqual(
      [view.outcome, view.breakGlass?.by, view.breakGlass?.gate],
      ['completed', 'gil@example.com', null],
    );
    assert.ok(world.notifications.some(({ kind }) => kind === 'break-glass'));
  });
});

describe('an abort', { concurrency: 6 }, () => {
  test('counts at once and unsigned; signed, the rollout does not end before that is recorded', async () => {
    const world = await env.worldWithV1();
    const request = await awaitingApproval(world);
    const decision = await pilot.decision(request, 'abort', { actor: person('dora', { roles: ['deployer'] }), signer });
    const release = verifier.hold(decision.id);
    await pilot.handle(request).signal(decisionSignal, decision);
    const view = await pilot.until(request, 'it is over', ({ outcome }) => outcome !== null);
    assert.equal(view.outcome, 'aborted');
    assert.equal(await pilot.status(rolloutWorkflowId(world.lane, request.rolloutId)), 'RUNNING');
    assert.equal(world.records.length, 0);
    release();
    await pilot.ended(request);
    assert.equal(world.records[0]?.decisions[0]?.actor.verified, true);

    const other = await awaitingApproval(world);
    assert.equal(await code(pilot.decide(other, 'abort', { signer: await newSigner() })), 'accepted');
    const ended = await pilot.ended(other);
    assert.equal(ended.decisions[0]?.actor.verified, false);
    assert.ok(ended.warnings.some((text) => text.includes('nobody vouches for the abort')));
  });

  test('in the queue counts once, however often it is said', async () => {
    const world = await env.worldWithV1();
    const running = await env.inCanary(world, testRequest({ policy: world.policy(), tag: 'v2' }));
    const queued = await pilot.deploy(testRequest({ policy: world.policy(), tag: 'v3' }));
    const decision = await pilot.decision(running, 'abort');
    const handle = env.slipway.client.workflow.getHandle(laneWorkflowId(world.lane));
    const say = (said: Decision) =>
      handle.executeUpdate(withdrawUpdate, {
        args: [{ rolloutId: queued.rolloutId, decision: said }],
        updateId: randomUUID(),
      });
    assert.equal((await say(decision)).kind, 'accepted');
    assert.equal((await say(decision)).kind, 'duplicate');
    assert.equal((await say({ ...decision, id: randomUUID() })).kind, 'refused');
    await abort(running);
  });
});
