/**
 * Whatever people say, in any order, under any name, with restarts in between: no gate is passed without its quorum,
 * and none is left that nothing can end. A model of its own knows who is who, and counts by trying all assignments.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  applyToGate,
  closeGate,
  escalateGate,
  gateState,
  openGate,
  refusalAtGate,
  withMembership,
} from '../../../domain/approval/gate.js';
import type { ApprovalRule, Approvals, Decision } from '../../../domain/approval/decision.js';
import { rulesAt, satisfiable } from '../../../domain/approval/rules.js';
import type { ApprovalPolicy } from '../../../domain/policy.js';
import type { Actor } from '../../../domain/rollout.js';

const GROUPS = ['security', 'owners', 'oncall'];
/** Each a human being with two names; the server knows both where it vouches. */
const HUMANS = ['ann', 'bob', 'cid', 'author'] as const;
type Human = (typeof HUMANS)[number];
const namesOf = (human: Human): readonly string[] => [human, `${human}@example.com`];
/** The groups that each way of speaking knows of: a login all, Slack those of the server's file, a job none. */
const KNOWN = { oidc: GROUPS, slack: ['owners', 'oncall'], ci: [] } as const satisfies Record<
  string,
  readonly string[]
>;
type Way = keyof typeof KNOWN;
const LEVELS = ['low', 'medium', 'high', 'critical'] as const;
const REASON = 'nobody else is awake';

interface ModelVote {
  readonly human: Human;
  readonly way: Way;
  readonly atMs: number;
  readonly groups: readonly string[];
  readonly givenAs: readonly string[];
}

/** What the model believes, kept apart from the gate. */
interface Model {
  readonly groups: Map<Human, readonly string[]>;
  /** When each human's approval over each way was accepted of what is shown now, and the groups last heard of there. */
  votes: readonly ModelVote[];
  rejected: boolean;
  broken: boolean;
  escalated: boolean;
  shown: number;
  nowMs: number;
}

interface World {
  readonly policy: ApprovalPolicy;
  readonly level: (typeof LEVELS)[number];
  gate: Approvals;
  ids: number;
}

const digestOf = (shown: number): string => `sha256:${shown}`;

function asked({ policy, level }: Pick<World, 'policy' | 'level'>, shown: number): Approvals {
  return openGate({
    gate: 'release',
    planDigest: digestOf(shown),
    policy,
    level,
    involved: ['Author@Example.com ', null],
  });
}

/** By trying every assignment of different humans to the approvals that are asked for. */
function meets(
  rules: readonly ApprovalRule[],
  voters: readonly (readonly string[])[],
  also: readonly string[],
): boolean {
  const [first, ...rest] = rules.flatMap((rule) => Array.from({ length: rule.count }, () => ({ ...rule, count: 1 })));
  if (first === undefined) return true;
  return voters.some(
    (groups, index) =>
      (first.groups.length === 0 || groups.some((group) => first.groups.includes(group) || also.includes(group))) &&
      meets(rest, voters.toSpliced(index, 1), also),
  );
}

/** Everybody whose approval stands, once, in the groups that it stands for over whichever way. */
function votersOf({ votes }: Model): readonly { readonly human: Human; readonly groups: readonly string[] }[] {
  return HUMANS.filter((human) => votes.some((vote) => vote.human === human)).map((human) => ({
    human,
    groups: votes.filter((vote) => vote.human === human).flatMap(({ groups }) => groups),
  }));
}

function shouldBe(model: Model, { policy, level }: World): 'open' | 'approved' | 'rejected' {
  if (model.rejected) return 'rejected';
  if (model.broken) return 'approved';
  const also = model.escalated ? (policy.escalate?.groups ?? []) : [];
  const voters = votersOf(model).map(({ groups }) => groups);
  return meets(rulesAt(policy, level), voters, also) ? 'approved' : 'open';
}

function mayApprove(model: Model, { policy, level }: World, human: Human, groups: readonly string[]): boolean {
  if (policy.excludeAuthor && human === 'author') return false;
  const also = model.escalated ? (policy.escalate?.groups ?? []) : [];
  return rulesAt(policy, level).some(
    (rule) => rule.groups.length === 0 || groups.some((group) => rule.groups.includes(group) || also.includes(group)),
  );
}

/** Without those that are too old to count. */
function young({ votes, nowMs }: Model, { policy: { validForMs = null } }: World): readonly ModelVote[] {
  return votes.filter(({ atMs }) => validForMs === null || nowMs - atMs <= validForMs);
}

/** What the workflow does with a decision once it is known whether a server vouches for it. */
function say(world: World, decision: Decision, nowMs: number): string {
  if (decision.actor.verified && world.gate.closed === null)
    world.gate = withMembership(world.gate, decision.actor, nowMs);
  const refusal = refusalAtGate(world.gate, decision, world.policy);
  if (refusal !== null) return refusal.code;
  world.gate = applyToGate(world.gate, decision, nowMs);
  const state = gateState(world.gate);
  if (state !== 'open') world.gate = closeGate(world.gate, state);
  return 'accepted';
}

/** Whether an earlier vote still counts for a group of which a later one, of the same human over another way, says nothing. */
function bringsMore(vote: ModelVote, way: Way, groups: readonly string[]): boolean {
  return vote.way !== way && vote.groups.some((group) => !groups.includes(group));
}

interface Said {
  readonly human: Human;
  readonly name: number;
  readonly way: Way;
  readonly verb: 'approve' | 'reject' | 'break-glass';
  readonly signed: boolean;
  readonly role: 'approver' | 'breakglass' | 'viewer';
  /** How many plans ago the person looked. */
  readonly behind: number;
}

class Say implements fc.Command<Model, World> {
  constructor(private readonly said: Said) {}

  check(): boolean {
    return true;
  }

  run(model: Model, world: World): void {
    const { human, name, way, verb, signed, role, behind } = this.said;
    const [subject = human, ...aliases] = name === 0 ? namesOf(human) : namesOf(human).toReversed();
    const groups = (model.groups.get(human) ?? []).filter((group) => KNOWN[way].some((known) => known === group));
    const actor: Actor = {
      ...(way === 'ci'
        ? { subject: 'repo:shop', aliases: namesOf(human) }
        : { subject: subject.toUpperCase(), aliases }),
      groups,
      verified: signed,
      roles: [role],
      via: way,
    };
    const planDigest = digestOf(model.shown - behind);
    world.ids += 1;
    const reason = verb === 'break-glass' ? REASON : null;
    const decision = { id: `${world.ids}`, verb, gate: 'release', planDigest, actor, reason, full: false, at: '' };
    const wasOpen = shouldBe(model, world) === 'open';
    const answer = say(world, decision, model.nowMs);

    // The same rules once more, by what the model knows of people.
    if (wasOpen && signed && way !== 'ci') {
      model.votes = young(model, world).map((vote) =>
        vote.human === human && vote.way === way
          ? { ...vote, groups: vote.givenAs.filter((group) => groups.includes(group)) }
          : vote,
      );
    }
    const heardOnly = wasOpen && shouldBe(model, world) !== 'open';
    assert.ok(!heardOnly, 'hearing of a person can only take votes away');
    const mayDo = way !== 'ci' && (verb === 'break-glass' ? role === 'breakglass' : role === 'approver');
    const counts =
      wasOpen && signed && behind === 0 && mayDo && (verb !== 'approve' || mayApprove(model, world, human, groups));
    assert.equal(answer === 'accepted', counts, `${JSON.stringify(this.said)}: ${answer}`);
    if (counts && verb === 'approve')
      model.votes = [
        ...model.votes.filter((vote) => vote.human !== human || bringsMore(vote, way, groups)),
        { human, way, atMs: model.nowMs, groups, givenAs: groups },
      ];
    if (counts && verb === 'reject') model.rejected = true;
    if (counts && verb === 'break-glass') model.broken = true;
    assert.equal(gateState(world.gate), shouldBe(model, world));
    assert.equal(world.gate.closed === null, shouldBe(model, world) === 'open');
    if (world.gate.closed !== null) return;
    const counting = votersOf(model).filter((voter) => mayApprove(model, world, voter.human, voter.groups));
    assert.deepEqual(
      world.gate.approvedBy.map((subject) => subject.toLowerCase().split('@')[0]).toSorted(),
      counting.map((voter) => voter.human).toSorted(),
    );
  }

  toString(): string {
    return JSON.stringify(this.said);
  }
}

/** Something that happens without anybody deciding. */
class Happens implements fc.Command<Model, World> {
  constructor(
    private readonly what: 'replan' | 'escalate' | 'restart' | 'time' | 'joins' | 'leaves',
    private readonly human: Human,
    private readonly group: string,
  ) {}

  check(): boolean {
    return true;
  }

  run(model: Model, world: World): void {
    const groups = model.groups.get(this.human) ?? [];
    switch (this.what) {
      case 'replan':
        if (world.gate.closed !== null) return;
        model.shown += 1;
        model.votes = [];
        model.escalated = false;
        world.gate = asked(world, model.shown);
        return;
      case 'escalate':
        if (world.gate.closed !== null || world.policy.escalate == null) return;
        model.escalated = true;
        model.votes = young(model, world);
        world.gate = escalateGate(world.gate, world.policy.escalate.groups, model.nowMs);
        if (gateState(world.gate) === 'approved') world.gate = closeGate(world.gate, 'approved');
        assert.equal(gateState(world.gate), shouldBe(model, world));
        return;
      case 'restart':
        world.gate = JSON.parse(JSON.stringify(world.gate)) as Approvals;
        return;
      case 'time':
        model.nowMs += 61_000;
        return;
      case 'joins':
        model.groups.set(this.human, [...new Set([...groups, this.group])]);
        return;
      case 'leaves':
        model.groups.set(
          this.human,
          groups.filter((group) => group !== this.group),
        );
    }
  }

  toString(): string {
    return `${this.what} ${this.human} ${this.group}`;
  }
}

const count = fc.integer({ min: 1, max: 3 });
const policies: fc.Arbitrary<ApprovalPolicy> = fc.record({
  required: fc.constant('always' as const),
  quorum: count,
  groups: fc.subarray(GROUPS.slice(0, 2)),
  rules: fc.oneof(
    fc.constant([]),
    fc.subarray(GROUPS.slice(0, 2), { minLength: 1 }).map((groups) => groups.map((group) => ({ group, count: 1 }))),
  ),
  excludeAuthor: fc.boolean(),
  allowUnverified: fc.constant(false),
  escalate: fc.constantFrom(null, { afterMs: 1, groups: ['oncall'] }),
  validForMs: fc.constantFrom(null, 60_000),
  byRisk: fc.constantFrom({}, { high: { quorum: 2 } }),
});

const human = fc.constantFrom(...HUMANS);
const commands = fc.commands(
  [
    fc
      .record({
        human,
        name: fc.integer({ min: 0, max: 1 }),
        way: fc.constantFrom('oidc', 'oidc', 'slack', 'ci'),
        verb: fc.constantFrom(...Array.from({ length: 20 }, () => 'approve'), 'reject', 'break-glass'),
        signed: fc.constantFrom(true, true, true, true, false),
        role: fc.constantFrom('approver', 'approver', 'approver', 'breakglass', 'viewer'),
        behind: fc.constantFrom(0, 0, 0, 0, 1),
      })
      .map((said) => new Say(said as Said)),
    fc
      .tuple(
        fc.constantFrom('replan', 'escalate', 'restart', 'time', 'joins', 'leaves'),
        human,
        fc.constantFrom(...GROUPS),
      )
      .map(([what, who, group]) => new Happens(what as 'time', who, group)),
  ],
  { maxCommands: 40, size: 'max' },
);

test('no sequence passes a gate without its quorum, and none leaves one that nobody can end', () => {
  const outcomes = { open: 0, approved: 0, rejected: 0 };
  const membership = fc.array(fc.subarray(GROUPS), { minLength: HUMANS.length, maxLength: HUMANS.length });
  fc.assert(
    fc.property(policies, fc.constantFrom(...LEVELS), membership, commands, (policy, level, groups, said) => {
      const model: Model = {
        groups: new Map(HUMANS.map((name, index) => [name, groups[index] ?? []])),
        votes: [],
        rejected: false,
        broken: false,
        escalated: false,
        shown: 1,
        nowMs: 0,
      };
      const world: World = { policy, level, gate: asked({ policy, level }, 1), ids: 0 };
      fc.modelRun(() => ({ model, real: world }), said);
      outcomes[gateState(world.gate)] += 1;
      if (world.gate.closed !== null) return;
      assertEndable(model, world);
    }),
    { numRuns: 500 },
  );
  for (const [outcome, times] of Object.entries(outcomes))
    assert.ok(times > 20, `only ${times} sequences ended ${outcome}`);
});

/** Everybody who may approves now: that opens it exactly where there are enough; else anyone rejects, and that ends it. */
function assertEndable(model: Model, world: World): void {
  const { policy, level } = world;
  const open = world.gate;
  const sayNow = (who: Human, verb: 'approve' | 'reject'): string => {
    const groups = model.groups.get(who) ?? [];
    const actor: Actor = {
      subject: who,
      aliases: namesOf(who),
      groups,
      verified: true,
      roles: ['approver'],
      via: 'oidc',
    };
    const planDigest = digestOf(model.shown);
    world.ids += 1;
    return say(
      world,
      { id: `${world.ids}`, verb, gate: 'release', planDigest, actor, reason: null, full: false, at: '' },
      model.nowMs,
    );
  };
  for (const who of HUMANS) if (world.gate.closed === null) sayNow(who, 'approve');
  const people = HUMANS.filter((who) => !(policy.excludeAuthor && who === 'author')).map((name) => ({
    name,
    groups: model.groups.get(name) ?? [],
  }));
  const enough = satisfiable(rulesAt(policy, level), people).kind === 'yes';
  if (enough)
    assert.equal(gateState(world.gate), 'approved', 'those who suffice have all approved, and it is not open');
  world.gate = open;
  assert.equal(sayNow('author', 'reject'), 'accepted');
  assert.equal(gateState(world.gate), 'rejected');
  // And silence ends it too.
  assert.equal(closeGate(open, 'expired').closed, 'expired');
}
