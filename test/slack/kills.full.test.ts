/** The worker is killed at each moment of each call to Slack, the server at many moments of each request to it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { until } from '../support/drive.js';
import { pointName, slackSite } from '../support/slack/site.js';
import type { Point } from '../support/slack/site.js';

const MOMENTS = ['arrived', 'stored', 'answered'] as const;
const POINTS: readonly Point[] = MOMENTS.flatMap((moment): readonly Point[] => [
  { method: 'conversations.history', moment, where: 'channel' },
  { method: 'chat.postMessage', moment, where: 'channel' },
  { method: 'chat.postMessage', moment, where: 'thread' },
  { method: 'chat.postMessage', moment, where: 'thread', after: 1 },
  { method: 'chat.update', moment, where: 'channel' },
  { method: 'chat.update', moment, where: 'channel', after: 1 },
]);

const started = slackSite();

describe('a worker that is killed', { concurrency: 2 }, () => {
  for (const point of POINTS) {
    test(`at ${pointName(point)}: one message, each line told once`, async () => {
      const site = started();
      const channel = site.newChannel();
      site.killWorkerAt(channel, point);
      const rollout = await site.deploy(channel);
      await site.submit(await site.press(rollout, 'U0ANN', 'approve'), 'ok');
      await until('it was killed', () => site.isKilledIn(channel), 180_000);
      await site.submit(await site.press(rollout, 'U0BERT', 'reject'), 'not today');
      await site.assertTold(rollout, 'rejected');
      const view = await site.view(rollout);
      assert.deepEqual(
        view.decisions.map(({ actor, verb }) => `${actor.subject} ${verb}`),
        ['u0ann@example.com approve', 'u0bert@example.com reject'],
      );
    });
  }
});

for (const ms of [0, 2, 5, 10, 20, 40, 80, 160, 320]) {
  test(`a server that is killed ${ms} ms after a click and a submitted dialog: one effect`, async () => {
    const site = started();
    const channel = site.newChannel();
    const rollout = await site.deploy(channel);
    const view = await site.press(rollout, 'U0ANN', 'approve');
    await site.killServerAfterSubmit(view, ms);
    await site.submit(view, 'ok');
    await site.submit(await site.press(rollout, 'U0BERT', 'reject'), 'not today');
    await site.assertTold(rollout, 'rejected');
    const end = await site.view(rollout);
    assert.deepEqual(
      end.decisions.map(({ actor, verb }) => `${actor.subject} ${verb}`),
      ['u0ann@example.com approve', 'u0bert@example.com reject'],
    );
  });
}
