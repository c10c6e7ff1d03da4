/** One message per rollout, whatever Slack does; it follows the rollout, and no rollout waits for it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Policy } from '../../domain/policy.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import { ACTIONS } from '../../domain/slack/message.js';
import { createSlackApi, MESSAGE_EVENT } from '../../formats/slack-api.js';
import { createSlackMessage } from '../../activities/slack/slack-message.js';
import { rolloutWorkflowId, slackEndWorkflowId } from '../../workflows/messages.js';
import { until } from '../support/drive.js';
import type { World } from '../support/fake-activities.js';
import { startFakeEnv } from '../support/fake-env.js';
import type { FakeEnv } from '../support/fake-env.js';
import { stage, testRequest } from '../support/request.js';
import { currentRun, resetRun } from '../support/reset.js';
import { SlackStandin, TOKEN } from '../support/slack/standin.js';
import type { StandinMessage, Trouble } from '../support/slack/standin.js';

const EVERY_MS = 400;
let slack: SlackStandin;
let env: FakeEnv;
let channels = 0;
before(async () => {
  slack = await SlackStandin.start();
  slack.limited = false;
  env = await startFakeEnv({
    slack: {
      api: createSlackApi({ apiUrl: slack.apiUrl, token: TOKEN, timeoutMs: 700 }),
      publicUrl: 'https://slipway.example.com',
      everyMs: EVERY_MS,
      settleMs: 1200,
    },
  });
});
after(async () => {
  await env.stop();
  await slack.stop();
  assert.deepEqual(slack.misuse, []);
});

interface Told {
  readonly request: RolloutRequest;
  readonly channel: string;
}

function newChannel(member = true): string {
  channels += 1;
  return slack.addChannel(`C0CHANNEL${channels}`, member);
}

/** A rollout that waits for two approvals before it touches anything. */
async function waiting(world: World, channel: string, change: Partial<Policy> = {}): Promise<Told> {
  const policy = world.policy();
  const approval = { ...policy.approval, required: 'always', quorum: 2 } as const;
  const request = testRequest({ policy: { ...policy, approval, slack: { channel }, ...change }, tag: 'v2' });
  await env.pilot.deploy(request);
  await env.pilot.until(request, 'it waits for approval', ({ wait }) => wait?.kind === 'approval');
  return { request, channel };
}

async function rejected({ request }: Told): Promise<RolloutView> {
  await env.pilot.decide(request, 'reject', { by: 'anna@example.com', reason: 'not today' });
  return env.pilot.ended(request);
}

function theOnly(channel: string): StandinMessage {
  const messages = slack.parents(channel);
  assert.equal(messages.length, 1, `${messages.length} messages in ${channel}`);
  return messages[0] as StandinMessage;
}

function contentOf(message: StandinMessage): string {
  return JSON.stringify([message.text, message.blocks]);
}

/** What must hold of a rollout that has ended: one message that shows the end, and a story that is told once. */
async function assertTold({ request, channel }: Told, outcome: string): Promise<void> {
  const view = await env.pilot.view(request);
  assert.equal(view?.outcome, outcome);
  const message = theOnly(channel);
  assert.match(contentOf(message), new RegExp(`\\*${outcome}\\*`));
  assert.doesNotMatch(contentOf(message), new RegExp(ACTIONS.approve));
  assert.equal(message.metadata?.event_payload['rollout_id'], request.rolloutId);
  const replies = slack.replies(channel, message.ts).map(({ blocks }) => blocks[0]?.text?.text ?? '');
  const lines = replies.flatMap((text) => text.split('\n')).map((line) => line.slice(2));
  // The warning of a message that failed comes after the end, and a story may be told in pieces: but nothing twice.
  assert.deepEqual(
    lines,
    view?.timeline.map(({ text }) => text.replaceAll('>', '&gt;')),
  );
}

/** Waits until what was left of a rollout that is over has been told. */
async function endIsTold({ request }: Told): Promise<void> {
  const handle = env.slipway.client.workflow.getHandle(slackEndWorkflowId(request.policy.lane, request.rolloutId));
  await handle.result();
}

/** A history as text, with what its payloads hold. */
function readable(history: unknown): string {
  return JSON.stringify(history).replace(/"data":"([A-Za-z0-9+/=]+)"/g, (_, data: string) =>
    Buffer.from(data, 'base64').toString(),
  );
}

describe('the message of a rollout', { concurrency: 5 }, () => {
  test('it follows the rollout from the question to the end, and its thread tells each step once', async () => {
    const world = await env.worldWithV1();
    const stages = [stage(25, 1), stage(50, 1, true)];
    const channel = newChannel();
    const told = await waiting(world, channel, {
      stages: { direct: [], canary_25: stages, canary_10: stages, canary_5: stages },
    });
    const { request } = told;
    await until('the question is there', () => contentOf(theOnly(channel)).includes(ACTIONS.approve));
    assert.match(contentOf(theOnly(channel)), /0 of 2/);
    assert.match(contentOf(theOnly(channel)), new RegExp(`https://slipway.example.com/rollouts/${request.rolloutId}`));
    await env.pilot.decide(request, 'approve', { by: 'anna@example.com' });
    await until('the first approval shows', () => /●○ 1 of 2/.test(contentOf(theOnly(channel))));
    await env.pilot.decide(request, 'approve', { by: 'bert@example.com' });
    await until('the gate of the second stage shows', () => /gate stage-2\*/.test(contentOf(theOnly(channel))));
    assert.match(contentOf(theOnly(channel)), /canary 25 %/);
    assert.match(contentOf(theOnly(channel)), /Verdict so far/);
    await env.pilot.decide(request, 'approve', { by: 'anna@example.com' });
    await env.pilot.decide(request, 'approve', { by: 'bert@example.com' });
    await env.pilot.ended(request);
    await assertTold(told, 'completed');
    const own = slack.calls.filter(({ args }) => args['channel'] === channel);
    const posts = own.filter(({ method, args }) => method === 'chat.postMessage' && args['thread_ts'] === undefined);
    assert.equal(posts.length, 1);
    // The last of all tells the end, and does not wait for its turn.
    const updates = own.filter(({ method }) => method === 'chat.update').map(({ atMs }) => atMs);
    const gaps = updates.slice(1).map((atMs, index) => atMs - (updates[index] ?? 0));
    assert.ok(Math.min(...gaps.slice(1)) >= EVERY_MS - 20, `changes ${gaps.join(', ')} ms apart`);
    const history = await env.pilot.handle(request).fetchHistory();
    const events = history.events?.length ?? 0;
    assert.ok(events <= 400, `${events} events`);
    console.log(`events of a rollout with two gates and Slack: ${events}, ${updates.length} changes of its message`);
  });

  for (const trouble of [
    'error before',
    'error after',
    'internal_error after',
    'reset before',
    'reset after',
    'hang before',
    'hang after',
    'html after',
    'limited',
    'limited without header',
    'error, done late',
  ] as const satisfies readonly Trouble[]) {
    test(`one message: ${trouble}, at the first post, the change and the reply`, async () => {
      const world = await env.worldWithV1();
      const channel = newChannel();
      slack.troubleIn(channel, 'chat.postMessage', trouble);
      const told = await waiting(world, channel);
      await until('its thread is there', () => {
        const [first] = slack.parents(channel);
        return first !== undefined && slack.replies(channel, first.ts).length > 0;
      });
      slack.troubleIn(channel, 'chat.update', trouble === 'error, done late' ? 'error before' : trouble);
      slack.troubleIn(channel, 'chat.postMessage', trouble);
      await env.pilot.decide(told.request, 'approve', { by: 'anna@example.com' });
      await until('the approval shows', () => /1 of 2/.test(contentOf(slack.parents(channel)[0] as StandinMessage)));
      await until('all has gone wrong that was to', () => slack.isCalmIn(channel));
      // What comes late has come by then.
      if (trouble === 'error, done late') await new Promise((resolve) => setTimeout(resolve, 3500));
      await rejected(told);
      await assertTold(told, 'rejected');
    });
  }

  test('what Slack has taken and does not show yet is not posted again', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    // Longer than the retry waits, and shorter than that and the second look.
    slack.hiddenIn.set(channel, 1900);
    slack.troubleIn(channel, 'chat.postMessage', 'error after');
    const told = await waiting(world, channel);
    await rejected(told);
    // A second one would have been found and deleted by now.
    const posts = slack.calls.filter(
      ({ method, args }) =>
        method === 'chat.postMessage' && args['channel'] === channel && args['thread_ts'] === undefined,
    );
    assert.equal(posts.length, 1);
    await assertTold(told, 'rejected');
  });

  test('a message of another app with our key is neither taken over nor deleted', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const policy = world.policy();
    const request = testRequest({
      policy: { ...policy, approval: { ...policy.approval, required: 'always' }, slack: { channel } },
      tag: 'v2',
    });
    const { rolloutId } = request;
    const payload = { rollout_id: rolloutId, key: rolloutId };
    const other = slack.postAsOther(channel, { event_type: MESSAGE_EVENT, event_payload: payload });
    slack.troubleIn(channel, 'chat.postMessage', 'error after');
    await env.pilot.deploy(request);
    await env.pilot.until(request, 'it waits', ({ wait }) => wait?.kind === 'approval');
    await rejected({ request, channel });
    const parents = slack.parents(channel);
    assert.equal(parents.length, 2);
    assert.equal(parents.find(({ ts }) => ts === other)?.edits, 0);
  });

  test('a message that somebody deletes comes back with the next change', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const told = await waiting(world, channel);
    await until('the question is there', () => contentOf(theOnly(channel)).includes(ACTIONS.approve));
    slack.deleteByHand(channel, theOnly(channel).ts);
    slack.troubleIn(channel, 'chat.postMessage', 'error after');
    await env.pilot.decide(told.request, 'approve', { by: 'anna@example.com' });
    await until('it is back', () => slack.parents(channel).length === 1);
    await rejected(told);
    assert.match(contentOf(theOnly(channel)), /\*rejected\*/);
  });

  test('a run that is reset to its beginning goes on with the message that is there', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const told = await waiting(world, channel);
    await until('the question is there', () => contentOf(theOnly(channel)).includes(ACTIONS.approve));
    const { ts } = theOnly(channel);
    await resetRun(env.slipway, told.request, await currentRun(env.slipway, told.request), 0);
    await env.pilot.until(told.request, 'it waits again', ({ wait }) => wait?.kind === 'approval');
    await rejected(told);
    assert.equal(theOnly(channel).ts, ts);
    assert.match(contentOf(theOnly(channel)), /\*rejected\*/);
  });

  test('a channel that the app is not in is said once, with the remedy, and the rollout goes on', async () => {
    const world = await env.worldWithV1();
    const told = await waiting(world, newChannel(false));
    const view = await env.pilot.until(told.request, 'it is said', ({ warnings }) => warnings.length > 0);
    assert.deepEqual(view.warnings, [
      'Slack was not told: Slack refused conversations.history: not_in_channel (invite the app into the channel: /invite @slipway)',
    ]);
    const end = await rejected(told);
    assert.deepEqual([end.outcome, end.warnings.length], ['rejected', 1]);
  });

  test('a rollback does not wait for a Slack that hangs', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    slack.troubleIn(channel, 'chat.update', ...Array.from({ length: 40 }, () => 'hang before' as const));
    slack.troubleIn(channel, 'conversations.history', 'hang before', 'hang before');
    const policy = world.policy();
    const request = await env.inCanary(world, testRequest({ policy: { ...policy, slack: { channel } }, tag: 'v2' }));
    const begunMs = Date.now();
    await env.pilot.decide(request, 'abort');
    await env.pilot.until(request, 'traffic is back', ({ weights }) => weights?.stable === 100);
    assert.ok(Date.now() - begunMs < 5000);
    const view = await env.pilot.until(request, 'the outcome is known', ({ outcome }) => outcome !== null);
    assert.equal(view.outcome, 'aborted');
    assert.ok(Date.now() - begunMs < 8000);
    await env.slipway.client.workflow
      .getHandle(rolloutWorkflowId(policy.lane, request.rolloutId))
      .terminate('the test has seen enough');
  });

  test('a rollout that ends while Slack is away ends at once, and its message shows that when Slack is back', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const told = await waiting(world, channel);
    await until('the question is there', () => contentOf(theOnly(channel)).includes(ACTIONS.approve));
    slack.awayIn.add(channel);
    const begunMs = Date.now();
    await rejected(told);
    const next = testRequest({ policy: world.policy(), tag: 'v3' });
    await env.pilot.deploy(next);
    assert.equal((await env.pilot.ended(next)).outcome, 'completed');
    const ms = Date.now() - begunMs;
    assert.ok(ms < 30_000, `the lane was free for the next after ${ms} ms`);
    assert.match(contentOf(theOnly(channel)), new RegExp(ACTIONS.approve));
    slack.awayIn.delete(channel);
    await endIsTold(told);
    await assertTold(told, 'rejected');
  });

  test('what Slack took without an answer, of a rollout that ended while Slack was away, is not told again', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const away = new Promise<void>((resolve) => {
      slack.onMoment = ({ method, args }, moment) => {
        if (method !== 'chat.postMessage' || args['channel'] !== channel || args['thread_ts'] === undefined) return;
        if (moment === 'arrived') slack.troubleIn(channel, method, 'reset after');
        if (moment !== 'stored') return;
        slack.awayIn.add(channel);
        slack.onMoment = () => undefined;
        resolve();
      };
    });
    const told = await waiting(world, channel);
    await away;
    await rejected(told);
    slack.awayIn.delete(channel);
    await endIsTold(told);
    await assertTold(told, 'rejected');
  });

  test('after a reset the newest end is told, whatever an earlier one still tried', async () => {
    const world = await env.worldWithV1();
    const channel = newChannel();
    const told = await waiting(world, channel);
    await until('the question is there', () => contentOf(theOnly(channel)).includes(ACTIONS.approve));
    slack.awayIn.add(channel);
    await rejected(told);
    await resetRun(env.slipway, told.request, await currentRun(env.slipway, told.request), 0);
    await env.pilot.until(told.request, 'it waits again', ({ wait }) => wait?.kind === 'approval');
    await env.pilot.decide(told.request, 'abort', { by: 'anna@example.com', reason: 'after all' });
    await env.pilot.ended(told.request);
    slack.awayIn.delete(channel);
    await endIsTold(told);
    assert.match(contentOf(theOnly(channel)), /\*aborted\*/);
  });

  test('without the policy’s word there is no message and no event for it', async () => {
    const world = await env.worldWithV1();
    const calls = slack.calls.length;
    const request = testRequest({ policy: world.policy(), tag: 'v2' });
    await env.pilot.ship(request);
    const { events } = await env.pilot.handle(request).fetchHistory();
    assert.ok(
      events?.every(
        ({ activityTaskScheduledEventAttributes: scheduled }) => scheduled?.activityType?.name !== 'slackMessage',
      ),
    );
    assert.ok(slack.calls.slice(calls).every(({ args }) => !JSON.stringify(args).includes(request.rolloutId)));
  });

  test('nothing of the token is in a history', async () => {
    const world = await env.worldWithV1();
    const told = await waiting(world, newChannel());
    await rejected(told);
    const history = await env.pilot.handle(told.request).fetchHistory();
    const text = readable(history);
    assert.ok(text.includes(told.channel));
    assert.ok(!text.includes(TOKEN));
  });
});

test('a worker without a token says what to set', async () => {
  const { MockActivityEnvironment } = await import('@temporalio/testing');
  const message = createSlackMessage({ slack: { api: null, publicUrl: null } });
  const run = new MockActivityEnvironment().run(message, {} as never);
  await assert.rejects(run, /SLIPWAY_SLACK_BOT_TOKEN/);
});
