/** The worker and the server are killed at the worst moments: still one message for a rollout, and one effect for a click. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../support/drive.js';
import { slackSite } from '../support/slack/site.js';

const started = slackSite();

test('a worker that is killed once Slack has taken message, change and reply repeats none of them', async () => {
  const site = started();
  const channel = site.newChannel();
  site.killWorkerAt(channel, { method: 'chat.postMessage', moment: 'stored', where: 'channel' });
  const rollout = await site.deploy(channel);
  await until('it was killed', () => site.isKilledIn(channel));
  const view = await site.press(rollout, 'U0ANN', 'approve');
  site.killWorkerAt(channel, { method: 'chat.postMessage', moment: 'stored', where: 'thread' });
  await site.submit(view, 'ok');
  await until('it was killed again', () => site.isKilledIn(channel));
  await site.submit(await site.press(rollout, 'U0BERT', 'reject'), 'not today');
  await site.assertTold(rollout, 'rejected');
});

test('a worker that is killed while the end waits for Slack tells it once, when Slack is back', async () => {
  const site = started();
  const channel = site.newChannel();
  const rollout = await site.deploy(channel);
  const view = await site.press(rollout, 'U0ANN', 'reject');
  site.slack.awayIn.add(channel);
  await site.submit(view, 'not today');
  await site.pilot.ended(rollout.request);
  await site.killWorker();
  site.slack.awayIn.delete(channel);
  await site.restartWorker();
  await site.endIsTold(rollout);
  await site.assertTold(rollout, 'rejected');
});

test('a server that is killed while a dialog is submitted loses no decision and makes none twice', async () => {
  const site = started();
  const channel = site.newChannel();
  const rollout = await site.deploy(channel);
  const view = await site.press(rollout, 'U0ANN', 'approve');
  for (const ms of [5, 60]) {
    await site.killServerAfterSubmit(view, ms);
  }
  await site.submit(view, 'ok');
  const counted = await until('the approval counts', async () => {
    const seen = await site.view(rollout);
    return seen.decisions.length > 0 ? seen : null;
  });
  assert.equal(counted.decisions.length, 1);
  assert.deepEqual(counted.approvals?.approvedBy, ['u0ann@example.com']);
  await site.submit(await site.press(rollout, 'U0BERT', 'reject'), 'not today');
  await site.assertTold(rollout, 'rejected');
  const end = await site.view(rollout);
  assert.deepEqual(
    end.decisions.map(({ actor, verb, signature }) => [actor.subject, actor.via, verb, typeof signature]),
    [
      ['u0ann@example.com', 'slack', 'approve', 'string'],
      ['u0bert@example.com', 'slack', 'reject', 'string'],
    ],
  );
});
