/** How answers of an API server are taken: which may be asked again, which are refusals, which are conflicts. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Refused, Unavailable } from '../../../activities/failures.js';
import type { KubeSource } from '../../../activities/kubernetes/kube-access.js';
import { connectKube } from '../../../activities/kubernetes/kube-client.js';
import type { KubeClient, KubeObject } from '../../../activities/kubernetes/kube-client.js';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

let answer: (response: ServerResponse, request: IncomingMessage) => void = () => undefined;
const seen: Seen[] = [];
const server = createServer((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => (body += chunk.toString()));
  request.on('end', () => {
    const { method = '', url = '', headers } = request;
    seen.push({ method, url, authorization: headers.authorization, body });
    answer(response, request);
  });
});
let folder: string;
let source: KubeSource;
let client: KubeClient;

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-kubeconfig-'));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const file = path.join(folder, 'config');
  const plugin = path.join(folder, 'plugin');
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    // Run out already: the library asks for another one whenever it is asked itself.
    status: { token: 'TOKEN', expirationTimestamp: '2020-01-01T00:00:00Z' },
  };
  await writeFile(
    plugin,
    `#!/bin/sh\ncd '${folder}'\necho x >> asked\nprintf '%s' '${JSON.stringify(credential)}' | sed "s/TOKEN/$(cat token)/"\n`,
    { mode: 0o755 },
  );
  await writeFile(
    file,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'one',
      contexts: [
        { name: 'one', context: { cluster: 'c', user: 'u' } },
        { name: 'plugged', context: { cluster: 'c', user: 'plugin' } },
      ],
      // Without TLS, which the SDK takes for a mistake unless it is told.
      clusters: [{ name: 'c', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
      users: [
        { name: 'u', user: { token: 's3cr3t' } },
        { name: 'plugin', user: { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: plugin } } },
      ],
    }),
  );
  source = { kubeconfig: [file], own: null };
  client = connectKube({ context: null, source, timeoutMs: 400 });
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

const OBJECT: KubeObject = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'x', namespace: 'n', uid: 'u1', resourceVersion: '7' },
};
const status = (code: number, reason: string, message = 'because') =>
  JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code });

function says(code: number, body: string, headers: Record<string, string> = {}): void {
  answer = (response) => {
    response.writeHead(code, { 'content-type': 'application/json', ...headers });
    response.end(body);
  };
}

const get = () => client.get('configmaps', 'n', 'x', undefined);
const put = () => client.replace('configmaps', 'n', OBJECT, undefined);

async function thrown(work: () => Promise<unknown>): Promise<Error> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof Error);
    assert.doesNotMatch(error.message, /s3cr3t/);
    return error;
  }
  return assert.fail('it did not throw');
}

describe('the API client', () => {
  test('sends the token, its own name as manager, and what it has read as the condition', async () => {
    says(200, JSON.stringify({ ...OBJECT, extra: { field: 1 } }));
    assert.deepEqual((await get())?.['extra'], { field: 1 }, 'fields that no model knows are kept');
    const written = await put();
    assert.equal(written.kind, 'written');
    await client.remove('configmaps', 'n', OBJECT, undefined);
    const [read, replaced, removed] = seen.slice(-3);
    assert.equal(read?.authorization, 'Bearer s3cr3t');
    assert.equal(replaced?.url, '/api/v1/namespaces/n/configmaps/x?fieldManager=slipway');
    assert.match(replaced?.body ?? '', /"resourceVersion":"7"/);
    assert.deepEqual((JSON.parse(removed?.body ?? '') as { preconditions: unknown }).preconditions, {
      uid: 'u1',
      resourceVersion: '7',
    });
    const unread = { ...OBJECT, metadata: { name: 'x' } };
    await assert.rejects(async () => client.replace('configmaps', 'n', unread, undefined), /was not read/);
    await assert.rejects(async () => client.remove('configmaps', 'n', unread, undefined), /was not read/);
  });

  test('a conflict is an outcome: changed, created or deleted by somebody else', async () => {
    says(409, status(409, 'Conflict'));
    assert.deepEqual(await put(), { kind: 'conflict' });
    says(409, status(409, 'AlreadyExists'));
    assert.deepEqual(await client.create('configmaps', 'n', OBJECT, undefined), { kind: 'conflict' });
    says(404, status(404, 'NotFound'));
    assert.deepEqual(await put(), { kind: 'conflict' });
    assert.deepEqual(await client.remove('configmaps', 'n', OBJECT, undefined), { kind: 'conflict' });
    assert.equal(await get(), null);
  });

  test('a refusal is an outcome of a write, and an error of a read, in the server’s words', async () => {
    for (const [code, reason] of [
      [403, 'Forbidden'],
      [422, 'Invalid'],
      [400, 'BadRequest'],
      [413, 'RequestEntityTooLarge'],
    ] as const) {
      says(code, status(code, reason, 'no such thing'));
      assert.deepEqual(await put(), { kind: 'refused', reason: `${reason}: no such thing` });
      assert.ok((await thrown(get)) instanceof Refused, reason);
    }
    says(404, status(404, 'NotFound', 'namespaces "n" not found'));
    const created = await client.create('configmaps', 'n', OBJECT, undefined);
    assert.deepEqual(created, { kind: 'refused', reason: 'NotFound: namespaces "n" not found' });
    says(404, '404 page not found');
    const list = await thrown(() => client.list('httproutes', 'n', null, undefined));
    assert.ok(list instanceof Refused, 'the kind is not defined there');
  });

  test('what a retry may cure is thrown as that, with the time that the server asks for', async () => {
    says(429, status(429, 'TooManyRequests'), { 'retry-after': '7' });
    for (const call of [get, put]) {
      const error = await thrown(call);
      assert.ok(error instanceof Unavailable);
      assert.equal(error.retryAfterMs, 7000);
    }
    for (const [code, body] of [
      [500, status(500, 'InternalError')],
      [503, '<html>down</html>'],
      [504, status(504, 'Timeout')],
      [401, status(401, 'Unauthorized')],
    ] as const) {
      says(code, body);
      assert.ok((await thrown(put)) instanceof Unavailable, String(code));
    }
    says(200, '<html>log in</html>');
    assert.match((await thrown(get)).message, /not understood/);
    assert.match((await thrown(put)).message, /not understood/);
  });

  test('knows what time it is there, however wrong the worker’s own clock is', async () => {
    says(200, JSON.stringify(OBJECT), { date: new Date(Date.now() - 3_600_000).toUTCString() });
    await get();
    assert.ok(Math.abs(client.nowMs() - (Date.now() - 3_600_000)) < 10_000);
    says(200, JSON.stringify(OBJECT));
    await get();
    assert.ok(Math.abs(client.nowMs() - Date.now()) < 10_000);
  });

  test('credentials are read once for many calls, and again as soon as the server takes them no more', async () => {
    const plugged = connectKube({ context: 'plugged', source, timeoutMs: 5000 });
    const ask = () => plugged.get('configmaps', 'n', 'x', undefined);
    const asked = async (): Promise<number> => (await readFile(path.join(folder, 'asked'), 'utf8')).length / 2;
    let taken = 'Bearer one';
    answer = (response, { headers }) => {
      const [code, body] =
        headers.authorization === taken ? [200, JSON.stringify(OBJECT)] : [401, status(401, 'Unauthorized')];
      response.writeHead(code, { 'content-type': 'application/json' });
      response.end(body);
    };
    await writeFile(path.join(folder, 'token'), 'one');
    await Promise.all(Array.from({ length: 20 }, ask));
    assert.equal(await asked(), 1);
    await writeFile(path.join(folder, 'token'), 'two');
    taken = 'Bearer two';
    const refused = await Promise.allSettled(Array.from({ length: 5 }, ask));
    assert.ok(refused.every((one) => one.status === 'rejected' && one.reason instanceof Unavailable));
    await Promise.all(Array.from({ length: 20 }, ask));
    assert.equal(await asked(), 2);
  });

  test('a server that hangs, breaks off or is gone is unavailable within the limit; a cancelled call is cancelled', async () => {
    answer = (response) => {
      // The headers come, the body never does.
      response.writeHead(200, { 'content-type': 'application/json' });
      response.flushHeaders();
    };
    const begun = Date.now();
    const hung = await thrown(put);
    assert.ok(hung instanceof Unavailable);
    assert.match(hung.message, /no answer within 400 ms/);
    assert.ok(Date.now() - begun < 15_000);
    const abort = new AbortController();
    const cancelled = client.get('configmaps', 'n', 'x', abort.signal);
    abort.abort(new Error('cancelled by Temporal'));
    await assert.rejects(cancelled, /cancelled by Temporal/);
    answer = (response) => response.destroy();
    assert.ok((await thrown(put)) instanceof Unavailable);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    // The first may go over a connection that was kept, and that the server has closed.
    assert.match((await thrown(get)).message, /can't be reached \(.*(ECONNREFUSED|other side closed)/);
    assert.match((await thrown(get)).message, /can't be reached \(.*ECONNREFUSED/);
  });

  test('a context that is not there is refused with those that are', () => {
    assert.throws(() => connectKube({ context: 'two', source, timeoutMs: 1 }), /no context "two": it has one, plugged/);
  });
});
