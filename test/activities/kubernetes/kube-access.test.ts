/** Which cluster is asked and as whom, also after what says so was changed under a worker that runs. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Refused, Unavailable } from '../../../activities/failures.js';
import { openAccess } from '../../../activities/kubernetes/kube-access.js';
import type { KubeSource } from '../../../activities/kubernetes/kube-access.js';
import { connectKube } from '../../../activities/kubernetes/kube-client.js';

/** What the server takes now. */
let taken = '';
/** Calls without any credentials. */
let anonymous = 0;
const server = createServer((request, response) => {
  if (!/^Bearer \S/.test(request.headers.authorization ?? '')) anonymous += 1;
  const known = request.headers.authorization === taken;
  response.writeHead(known ? 404 : 401, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ kind: 'Status', reason: known ? 'NotFound' : 'Unauthorized' }));
});
let url: string;
let root: string;

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  root = await mkdtemp(path.join(tmpdir(), 'slipway-access-'));
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await rm(root, { recursive: true, force: true });
});

/** A kubeconfig in a folder of its own, for one user. */
async function kubeconfig(user: object): Promise<{ readonly folder: string; readonly file: string }> {
  const folder = await mkdtemp(path.join(root, 'config-'));
  const file = path.join(folder, 'config');
  await writeFile(file, textOf(user));
  return { folder, file };
}

function textOf(user: object, at = url): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'one',
    contexts: [{ name: 'one', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: at, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'u', user }],
  });
}

interface Asking {
  /** One call: whether the server has taken it. */
  readonly ask: () => Promise<boolean>;
  readonly warnings: readonly string[];
}

function asking(file: string, keptMs?: number): Asking {
  const warnings: string[] = [];
  const client = connectKube({
    context: null,
    source: { kubeconfig: [file], own: null },
    timeoutMs: 10_000,
    warn: (text) => warnings.push(text),
    ...(keptMs === undefined ? {} : { keptMs }),
  });
  const ask = async (): Promise<boolean> => {
    try {
      return (await client.get('configmaps', 'n', 'x', undefined)) === null;
    } catch (error) {
      assert.ok(error instanceof Unavailable, String(error));
      return false;
    }
  };
  return { ask, warnings };
}

/** The folder of a pod's account. */
async function account(token: string): Promise<string> {
  const folder = await mkdtemp(path.join(root, 'account-'));
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'token'), token);
  await writeFile(path.join(folder, 'ca.crt'), 'the certificate');
  return folder;
}

describe('a target without a context', () => {
  const opened = (source: KubeSource, context: string | null = null) =>
    openAccess({ context, source, keptMs: 60_000, warn: () => undefined });

  test('is in the cluster that the worker runs in, whatever kubeconfig it has for others', async () => {
    const { file } = await kubeconfig({ token: 'of the file' });
    const own = { host: '10.96.0.1', port: '443', account: await account('of the pod\n') };
    const source = { kubeconfig: [file], own };
    const access = opened(source);
    assert.equal(access.server, 'https://10.96.0.1:443');
    assert.equal((await access.get()).headers['authorization'], 'Bearer of the pod');
    assert.equal(opened({ ...source, own: { ...own, host: 'fd00::1' } }).server, 'https://[fd00::1]:443');
    assert.equal(opened(source, 'one').server, url, 'with its name, it is the kubeconfig’s');
  });

  test('is in the current context where the worker has no account: outside of a cluster, or without a token', async () => {
    const { file } = await kubeconfig({ token: 'of the file' });
    for (const own of [null, { host: '10.96.0.1', port: '443', account: root }]) {
      const access = opened({ kubeconfig: [file], own });
      assert.equal(access.server, url);
      assert.equal((await access.get()).headers['authorization'], 'Bearer of the file');
    }
    const { file: other } = await kubeconfig({ token: 'x' });
    const named = (await readFile(other, 'utf8'))
      .replaceAll('"one"', '"two"')
      .replaceAll('"c"', '"d"')
      .replaceAll('"u"', '"v"');
    await writeFile(other, named);
    assert.equal(opened({ kubeconfig: [file, other], own: null }, 'two').server, url, 'of several files, any');
  });

  test('that names no user, no cluster, or no file that is there, is said to be wrong before anybody is asked', async () => {
    const { file } = await kubeconfig({ token: 'x' });
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('"name":"u"', '"name":"v"'));
    assert.throws(
      () => opened({ kubeconfig: [file], own: null }),
      (error) => error instanceof Refused && /no user "u", whom its context "one" names/.test(error.message),
    );
    await writeFile(file, text.replace('"name":"c"', '"name":"d"'));
    assert.throws(
      () => opened({ kubeconfig: [file], own: null }),
      (error) => error instanceof Refused && /knows no Kubernetes cluster/.test(error.message),
    );
    assert.throws(
      () => opened({ kubeconfig: [`${file}-not`], own: null }),
      (error) => error instanceof Unavailable && /config-not can't be read: ENOENT/.test(error.message),
    );
  });
});

describe('credentials that are renewed while the worker runs', { concurrency: false }, () => {
  test('in the kubeconfig are taken after the first call that is refused', async () => {
    const { file } = await kubeconfig({ token: 'one' });
    const { ask } = asking(file);
    taken = 'Bearer one';
    assert.equal(await ask(), true);
    await writeFile(file, textOf({ token: 'two' }));
    taken = 'Bearer two';
    assert.equal(await ask(), false);
    assert.equal(await ask(), true);
  });

  test('come with new connections only where these are made with them', async () => {
    const { file } = await kubeconfig({ token: 'one' });
    const access = openAccess({
      context: null,
      source: { kubeconfig: [file], own: null },
      keptMs: 1,
      warn: assert.fail,
    });
    const next = async (text: string) => {
      await writeFile(file, text);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return access.get();
    };
    const one = await next(textOf({ token: 'one' }));
    const two = await next(textOf({ token: 'two' }));
    assert.equal(two.headers['authorization'], 'Bearer two');
    assert.equal(two.dispatcher, one.dispatcher);
    const certificate = (of: string) => ({ 'client-certificate-data': Buffer.from(of).toString('base64') });
    const three = await next(textOf(certificate('first')));
    assert.notEqual(three.dispatcher, two.dispatcher);
    assert.notEqual((await next(textOf(certificate('second')))).dispatcher, three.dispatcher);
  });

  test('in a file that the kubeconfig names, as kubectl does, are taken too, and before a token beside it', async () => {
    const { file, folder } = await kubeconfig({ tokenFile: 'secret/token', token: 'beside it' });
    await mkdir(path.join(folder, 'secret'));
    const token = path.join(folder, 'secret', 'token');
    await writeFile(token, 'one\n');
    const { ask } = asking(file, 1);
    taken = 'Bearer one';
    assert.equal(await ask(), true);
    taken = 'Bearer two';
    // Just being written: nobody is asked without a token, who would be told that nobody may do this.
    await writeFile(token, '\n');
    assert.deepEqual([await ask(), await ask()], [false, false]);
    assert.equal(anonymous, 0);
    await writeFile(token, 'two\n');
    assert.equal(await ask(), true);
  });

  test('by a plugin that says nothing of their end are asked for once they are refused', async () => {
    const { file, folder } = await kubeconfig({});
    const plugin = path.join(folder, 'plugin');
    const credential = {
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: 'T' },
    };
    await writeFile(
      plugin,
      `#!/bin/sh\ncd '${folder}'\necho x >> asked\nprintf '%s' '${JSON.stringify(credential)}' | sed "s/\\"T\\"/\\"$(cat token)\\"/"\n`,
      { mode: 0o755 },
    );
    await writeFile(file, textOf({ exec: { apiVersion: 'client.authentication.k8s.io/v1', command: plugin } }));
    await writeFile(path.join(folder, 'token'), 'one');
    const { ask } = asking(file, 1);
    taken = 'Bearer one';
    assert.deepEqual([await ask(), await ask(), await ask()], [true, true, true]);
    const asked = async (): Promise<number> => (await readFile(path.join(folder, 'asked'), 'utf8')).length / 2;
    assert.equal(await asked(), 1, 'not each time that the kubeconfig is read');
    await writeFile(path.join(folder, 'token'), 'two');
    taken = 'Bearer two';
    assert.deepEqual([await ask(), await ask()], [false, true]);
    assert.equal(await asked(), 2);
  });

  test('what can’t be read for a moment ends nothing; what is refused is not used on', async () => {
    const { file } = await kubeconfig({ token: 'one' });
    const { ask, warnings } = asking(file, 1);
    taken = 'Bearer one';
    assert.equal(await ask(), true);
    // Written in place, and seen in the middle of that: nothing, a part, a part that makes sense.
    for (const text of ['', '{"users": [', JSON.stringify({ 'current-context': 'one' })]) {
      await writeFile(file, text);
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(await ask(), true, text);
    }
    assert.equal(warnings.length, 3, warnings.join('\n'));
    assert.match(warnings.at(0) ?? '', /can't be read anew, what it was is used on: the kubeconfig .* can't be read/);
    taken = 'Bearer two';
    assert.deepEqual([await ask(), await ask()], [false, false]);
    await writeFile(file, textOf({ token: 'two' }));
    assert.equal(await ask(), true);
  });

  test('the API server may move', async () => {
    const { file } = await kubeconfig({ token: 'one' });
    await writeFile(file, textOf({ token: 'one' }, 'http://127.0.0.1:9'));
    const { ask } = asking(file, 1);
    taken = 'Bearer one';
    assert.equal(await ask(), false);
    await writeFile(file, textOf({ token: 'one' }));
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(await ask(), true);
  });
});
