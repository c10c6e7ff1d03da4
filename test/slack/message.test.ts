/** What stands in Slack: within all limits whatever the rollout holds, and nobody's text becomes markup. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { applyToGate } from '../../domain/approval/gate.js';
import { LIMITS } from '../../domain/slack/blocks.js';
import { slackCard } from '../../domain/slack/card.js';
import { reasonDialog } from '../../domain/slack/dialog.js';
import { ACTIONS, slackMessage, slackReply } from '../../domain/slack/message.js';
import { clip, clippedLines, escaped, oneLine } from '../../domain/slack/text.js';
import type { RolloutView } from '../../domain/rollout.js';
import { ButtonValue } from '../../formats/slack.js';
import { misuseOf, totalLength } from '../support/slack/block-kit.js';
import { openRelease, PLAN, testVerdict, testView } from '../support/view.js';

const PAGE = 'https://slipway.example.com/rollouts/0123456789abcdef';

function waiting(change: Partial<RolloutView> = {}): RolloutView {
  const approvals = openRelease();
  const wait = {
    kind: 'approval',
    since: '2026-07-01T12:00:00.000Z',
    deadline: '2026-07-01T13:00:00.000Z',
    atDeadline: 'rejected',
    reason: '2 approvals of gate "release" needed',
    who: 'anyone but author@example.com',
    commands: [],
    gate: 'release',
  } as const;
  return testView({ phase: 'awaiting-approval', status: 'awaiting-approval', approvals, wait, ...change });
}

function textOf(view: RolloutView, page: string | null = PAGE): string {
  const message = slackMessage(slackCard(view), page);
  return [message.text, ...message.blocks.map((block) => JSON.stringify(block))].join('\n');
}

function buttonsOf(view: RolloutView, page: string | null = PAGE) {
  return slackMessage(slackCard(view), page).blocks.flatMap((block) =>
    block.type === 'actions' ? block.elements : [],
  );
}

test('a request for approval shows risk, plan, evidence, verdict so far and the quorum, and carries its plan', () => {
  const gate = applyToGate(
    openRelease(),
    {
      id: '1',
      verb: 'approve',
      gate: 'release',
      planDigest: PLAN.digest,
      actor: { subject: 'ann@example.com', groups: [], verified: true },
      reason: null,
      full: false,
      at: '',
    },
    0,
  );
  const view = waiting({
    approvals: gate,
    verdicts: [{ stage: 'stage-1', verdict: testVerdict('HOLD', 'p99 1.18 times'), evidence: null }],
    timeline: [{ at: '', phase: 'gating', text: 'tests passed: 412 of 412', tone: 'neutral' }],
  });
  const text = textOf(view);
  for (const part of [
    '0.32 (medium)',
    'config/prod.yaml is configuration',
    PLAN.digest,
    '●○ 1 of 2',
    'ann@example.com',
  ])
    assert.ok(text.includes(part), part);
  assert.match(text, /Verdict so far\* stage-1: \*HOLD\* p99 1\.18 times/);
  assert.match(text, /Evidence\* tests passed: 412 of 412/);
  assert.match(text, /<!date\^1782910800\^/);
  const [approve, reject, details] = buttonsOf(view);
  assert.deepEqual(
    [approve?.action_id, reject?.action_id, details?.action_id],
    [ACTIONS.approve, ACTIONS.reject, ACTIONS.details],
  );
  assert.equal(details?.url, PAGE);
  assert.equal(ButtonValue.parse(JSON.parse(approve?.value ?? '')).planDigest, PLAN.digest);
  assert.equal(misuseOf(slackMessage(slackCard(view), PAGE).blocks, 50), null);
});

test('a gate that is asked again says what is not as it was, and one that is asked first says nothing', () => {
  const changed = ['tests: 411 of 412 passed, and 412 of 412 had', 'stable <was changed>'];
  const again = textOf(waiting({ approvals: { ...openRelease(), changed } }));
  assert.ok(again.includes('0 of 2'));
  assert.match(again, /\*Asked again, since this is not as it was:\*\\n• tests: 411 of 412 passed, and 412 of 412 had/);
  assert.match(again, /• stable &lt;was changed&gt;/);
  const many = Array.from({ length: 20 }, (_, n) => `image ${n}`);
  assert.match(textOf(waiting({ approvals: { ...openRelease(), changed: many } })), /• image 7\\n… 12 more, see page/);
  assert.doesNotMatch(textOf(waiting()), /Asked again/);
});

test('only an open gate has buttons that decide', () => {
  const rejected = { ...openRelease(), rejectedBy: 'bert@example.com' };
  const ids = (view: RolloutView): readonly string[] => buttonsOf(view).map(({ action_id }) => action_id);
  assert.deepEqual(ids(waiting({ approvals: rejected })), [ACTIONS.details]);
  assert.deepEqual(ids(testView({ approvals: openRelease(), wait: null })), [ACTIONS.details]);
  assert.deepEqual(buttonsOf(testView(), null), []);
});

test('the buttons of each state have an id of their own', () => {
  const id = (view: RolloutView): unknown =>
    slackMessage(slackCard(view), PAGE).blocks.find(({ type }) => type === 'actions')?.['block_id' as never];
  assert.notEqual(id(waiting()), id(waiting({ paused: true, weights: { stable: 75, canary: 25, baseline: 0 } })));
});

test('markup, mentions and turned text of others stay text', () => {
  const evil = '<!channel> <https://evil.example|Approve> *b* & \u202Etxet\u2066 line\nbreak';
  const view = waiting({
    releaseName: evil,
    reason: { code: 'verdict', text: evil },
    release: { ...testView().release, change: { ...testView().release.change, author: evil, message: evil } },
    decisions: [
      {
        id: '1',
        verb: 'approve',
        gate: null,
        planDigest: null,
        actor: { subject: evil, groups: [], verified: true },
        reason: evil,
        full: false,
        at: '',
      },
    ],
  });
  const message = slackMessage(slackCard(view), PAGE);
  const markup = message.blocks.flatMap((block) => {
    if (block.type === 'section') return 'text' in block ? [block.text] : block.fields;
    return block.type === 'context' ? block.elements : [];
  });
  for (const { type, text, verbatim } of markup) {
    assert.deepEqual([type, verbatim], ['mrkdwn', true]);
    // Our own dates are the only markup in angle brackets.
    assert.doesNotMatch(text.replace(/<!date\^\d+\^\{date_short_pretty\} \{time\}\|[^<>]*>/g, ''), /[<>]/, text);
    assert.doesNotMatch(text, /[\u202A-\u202E\u2066-\u2069]/);
  }
  assert.doesNotMatch(message.text, /[<>\n\u202E]/);
  const [header] = message.blocks;
  assert.ok(header?.type === 'header');
  assert.doesNotMatch(header.text.text, /[\u202E\u2066\n]/);
  const reply = slackReply([{ at: '', phase: 'canary', text: evil, tone: 'bad' }]);
  assert.doesNotMatch(JSON.stringify(reply), /<!channel|\\u202e|<https/i);
});

test('text is cut between code points, and says how much is left out', () => {
  assert.equal(clip('short', 10), 'short');
  const clipped = clip('😀'.repeat(100), 60);
  assert.ok(clipped.length <= 60);
  assert.match(clipped, /^(😀)+… \d+ more, see page$/u);
  const shown = Array.from(clipped).filter((point) => point === '😀').length;
  assert.match(clipped, new RegExp(`… ${100 - shown} more`));
  assert.doesNotMatch(clip('&'.repeat(100), 61, escaped), /&(?!amp;)/);
  assert.equal(clippedLines(['a', 'b', 'c'], 100), 'a\nb\nc');
  assert.match(
    clippedLines(
      Array.from({ length: 50 }, (_, n) => `line ${n}`),
      100,
    ),
    /\n… \d+ more, see page$/,
  );
  assert.equal(oneLine(' a\r\nb\u2028c\u0000d '), 'a b c d');
});

test('whatever a rollout holds, the message keeps to every limit', () => {
  const alphabet = fc.constantFrom('a', ' ', '"', '\\', '<', '&', '\n', '😀', '\u202E', 'ß', '`', '*');
  const text = fc.oneof(
    fc.array(alphabet, { maxLength: 40 }).map((parts) => parts.join('')),
    fc.tuple(alphabet, fc.constantFrom(1, 149, 151, 1999, 2001, 2999, 3001, 13_000)).map(([part, n]) => part.repeat(n)),
  );
  const texts = fc.array(text, { maxLength: 30 });
  const result = fc.check(
    fc.property(
      fc.record({ one: text, other: text, many: texts, page: fc.boolean() }),
      ({ one, other, many, page }) => {
        const base = testView();
        const factors = many.map((reason) => ({ id: 'x', weight: 0.1, reason }));
        const risk = { score: 0.5, level: 'high', factors, strategy: 'canary_5', approval: true } as const;
        const actor = { subject: other, groups: [], verified: true };
        const view = waiting({
          releaseName: one,
          lane: { environment: other, service: one },
          actor,
          release: { ...base.release, change: { ...base.release.change, author: other, message: one, commit: other } },
          reason: { code: 'verdict', text: one },
          assessment: { risk, floor: risk, model: { kind: 'off' }, rulesVersion: '1' },
          plan: { ...PLAN, warnings: many.map((problem) => ({ severity: 'warn', problem, remedy: other })) },
          approvals: { ...openRelease(), approvedBy: many, changed: many },
          verdicts: [{ stage: one, verdict: testVerdict('HOLD', other), evidence: null }],
          timeline: [{ at: '', phase: 'gating', text: one, tone: 'neutral' }],
          decisions: many.map((reason, n) => ({
            id: String(n),
            verb: 'approve',
            gate: null,
            planDigest: null,
            actor,
            reason,
            full: false,
            at: '',
          })),
        });
        const message = slackMessage(slackCard(view), page ? PAGE : null);
        assert.equal(misuseOf(message.blocks, 50), null);
        assert.ok(totalLength(message.blocks) <= LIMITS.total);
        assert.ok(message.text.length > 0 && message.text.length <= LIMITS.text);
        // A card stands in the history with each change.
        assert.ok(JSON.stringify(slackCard(view)).length < 60_000);
        const reply = slackReply(many.map((line) => ({ at: '', phase: 'canary', text: line, tone: 'neutral' })));
        if (many.length > 0) assert.equal(misuseOf(reply.blocks, 50), null);
      },
    ),
    { numRuns: 150 },
  );
  // Its own report would show texts of thousands of characters.
  assert.ok(!result.failed, `seed ${result.seed}: ${String(result.errorInstance).slice(0, 500)}`);
});

test('a dialog keeps to its limits, and wants a reason for a rejection', () => {
  const options = {
    label: '<&😀'.repeat(200),
    gate: 'release',
    planDigest: PLAN.digest,
    privateMetadata: 'x'.repeat(3000),
  };
  for (const verb of ['approve', 'reject'] as const) {
    const view = reasonDialog({ verb, ...options, lines: Array.from({ length: 40 }, () => '<'.repeat(500)) });
    assert.equal(misuseOf(view.blocks, 100), null);
    assert.ok(view.title.text.length <= LIMITS.viewTitle && view.submit.text.length <= LIMITS.viewTitle);
    assert.equal(
      view.blocks.some((block) => block.type === 'input' && block.optional),
      verb === 'approve',
    );
  }
  assert.throws(() => reasonDialog({ verb: 'approve', ...options, privateMetadata: 'x'.repeat(3001) }), /3000 at most/);
});
