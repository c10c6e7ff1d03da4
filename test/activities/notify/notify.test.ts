import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { createLogNotifier } from '../../../activities/notify/log-notifier.js';
import { combineNotifiers } from '../../../activities/notify/notifier.js';
import type { Notification } from '../../../activities/notify/notifier.js';
import { createWebhookNotifier } from '../../../activities/notify/webhook-notifier.js';

const NOTICE: Notification = {
  id: 'r1/notice/alert/1',
  kind: 'alert',
  severity: 'page',
  lane: { environment: 'prod', service: 'shop' },
  rolloutId: 'r1',
  title: 'the canary can not be seen',
  text: 'no answer',
  at: '2026-11-21T03:00:00.000Z',
  channels: ['oncall'],
};

async function receiver(answer: (attempt: number) => number | null) {
  const seen: { key: string | undefined; body: unknown }[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => {
      const key = request.headers['idempotency-key'];
      seen.push({ key: typeof key === 'string' ? key : undefined, body: JSON.parse(text) });
      const status = answer(seen.length);
      if (status !== null) response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    seen,
    url: `http://127.0.0.1:${port}/secret-path-4711`,
    close: () => (server.closeAllConnections(), server.close()),
  };
}

test('a webhook gets the message with its id as idempotency key; a failure is thrown and names no address', async () => {
  const hook = await receiver((attempt) => (attempt === 1 ? 503 : 204));
  const notifier = createWebhookNotifier({ name: 'oncall', url: hook.url });
  await assert.rejects(notifier.notify(NOTICE), (error: unknown) => {
    assert.ok(error instanceof Error);
    assert.match(error.message, /oncall answered 503/);
    assert.doesNotMatch(error.message, /4711/);
    return true;
  });
  await notifier.notify(NOTICE);
  assert.deepEqual(
    hook.seen.map(({ key }) => key),
    [NOTICE.id, NOTICE.id],
  );
  assert.equal((hook.seen[1]?.body as Notification | undefined)?.title, NOTICE.title);
  hook.close();
});

test('a webhook that hangs or is gone is an error within its limit, without the address', async () => {
  const hook = await receiver(() => null);
  await assert.rejects(
    createWebhookNotifier({ name: 'oncall', url: hook.url, timeoutMs: 200 }).notify(NOTICE),
    /did not answer within 200 ms/,
  );
  hook.close();
  await assert.rejects(
    createWebhookNotifier({ name: 'oncall', url: hook.url, timeoutMs: 500 }).notify(NOTICE),
    (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.doesNotMatch(error.message, /4711|127\.0\.0\.1/);
      return true;
    },
  );
});

test('one channel that fails keeps no other from getting the message, and the log has it always', async () => {
  const logged: string[] = [];
  const delivered: string[] = [];
  const log = createLogNotifier({
    info: (_, text) => void logged.push(text),
    warn: (_, text) => void logged.push(text),
  });
  const notifier = combineNotifiers({
    log,
    channels: {
      good: { notify: async ({ id }) => void delivered.push(id) },
      bad: { notify: () => Promise.reject(new Error('down')) },
    },
  });
  await assert.rejects(
    notifier.notify({ ...NOTICE, channels: ['bad', 'good', 'unheard-of'] }),
    /^(?=.*bad: down)(?=.*unheard-of: no such channel)/,
  );
  assert.deepEqual(delivered, [NOTICE.id]);
  assert.deepEqual(logged, [NOTICE.title]);
});
