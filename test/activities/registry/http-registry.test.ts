/** Which bytes a tag names, from a registry over real HTTP that behaves, or does not. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { DockerConfig, Login } from '../../../activities/registry/docker-config.js';
import { createHttpRegistry } from '../../../activities/registry/http-registry.js';
import type { HttpRegistryOptions } from '../../../activities/registry/http-registry.js';
import type { ImageAnswer } from '../../../activities/registry/image-registry.js';
import { parseImageReference } from '../../../domain/image-reference.js';
import { OCI_INDEX, startFakeRegistry } from '../../support/fake-registry.js';
import type { FakeRegistry, RegistryFault, RegistryRequest } from '../../support/fake-registry.js';

const PASSWORD = 'pass-word-9f2c';
const LOGIN: Login = { kind: 'login', username: 'reader', password: PASSWORD };
const DIGEST = `sha256:${'a'.repeat(64)}`;

let registry: FakeRegistry;
let digest: string;
beforeEach(async () => {
  registry = await startFakeRegistry();
  digest = registry.push('team/hello', 'v2');
});
afterEach(() => registry.close());

function config(login: Login): DockerConfig {
  return { loginFor: () => login };
}

async function resolve(
  image = `${registry.host}/team/hello:v2`,
  options: Partial<HttpRegistryOptions> & { readonly login?: Login; readonly signal?: AbortSignal } = {},
): Promise<ImageAnswer> {
  const { login = null, signal, ...rest } = options;
  const parsed = parseImageReference(image);
  assert.ok(parsed.ok);
  const logins = () => Promise.resolve(config(login));
  const answer = await createHttpRegistry({ logins, insecure: [], timeoutMs: 2000, ...rest }).resolve(
    parsed.reference,
    signal,
  );
  assert.doesNotMatch(JSON.stringify(answer), /pass-word|Basic |token-\d/, 'a secret is in the answer');
  return answer;
}

function reasonOf(answer: ImageAnswer): string {
  return answer.kind === 'resolved' ? assert.fail(`resolved ${answer.digest}`) : answer.reason;
}

/** Every request goes wrong, or those of one kind. */
function faults(fault: RegistryFault, on: (request: RegistryRequest) => boolean = () => true): void {
  registry.fault = (request) => (on(request) ? fault : null);
}

const methods = (): readonly string[] => registry.requests.map(({ method }) => method);

describe('a tag of a registry that behaves', () => {
  test('is resolved by one HEAD, which takes indexes and manifests of both families', async () => {
    assert.deepEqual(await resolve(), { kind: 'resolved', digest });
    assert.deepEqual(methods(), ['HEAD']);
    const [{ path, accept }] = registry.requests as [RegistryRequest];
    assert.equal(path, '/v2/team/hello/manifests/v2');
    for (const type of ['oci.image.index.v1', 'manifest.list.v2', 'oci.image.manifest.v1', 'distribution.manifest.v2'])
      assert.ok(accept.includes(`.${type}+json`), type);
  });

  test('is that of the moment: a tag that was moved gives another digest', async () => {
    await resolve();
    const moved = registry.push('team/hello', 'v2');
    assert.notEqual(moved, digest);
    assert.deepEqual(await resolve(), { kind: 'resolved', digest: moved });
  });

  test('is resolved from the body where HEAD says no digest, a wrong one, or is not known', async () => {
    registry.digestInHead = false;
    assert.deepEqual(await resolve(), { kind: 'resolved', digest });
    const onHead = ({ method }: RegistryRequest): boolean => method === 'HEAD';
    faults({ kind: 'answer', status: 200, headers: { 'docker-content-digest': 'sha256:xyz' } }, onHead);
    assert.deepEqual(await resolve(), { kind: 'resolved', digest });
    for (const status of [400, 405, 501]) {
      faults({ kind: 'answer', status }, onHead);
      assert.deepEqual(await resolve(), { kind: 'resolved', digest }, String(status));
    }
  });

  test('needs a token: one for anyone, or one for a login', async () => {
    registry.auth = 'token';
    assert.deepEqual(await resolve(), { kind: 'resolved', digest });
    assert.deepEqual(
      registry.requests.map(({ method, path, authorization }) => [method, path.split('?')[0], authorization]),
      [
        ['HEAD', '/v2/team/hello/manifests/v2', null],
        ['GET', '/token', null],
        ['HEAD', '/v2/team/hello/manifests/v2', 'Bearer token-1'],
      ],
    );
    registry.reader = `reader:${PASSWORD}`;
    assert.deepEqual(await resolve(undefined, { login: LOGIN }), { kind: 'resolved', digest });
  });

  test('needs a user and a password with every request', async () => {
    registry.auth = 'basic';
    registry.reader = `reader:${PASSWORD}`;
    assert.deepEqual(await resolve(undefined, { login: LOGIN }), { kind: 'resolved', digest });
  });

  test('does not exist: neither the tag nor the repository', async () => {
    assert.deepEqual(await resolve(`${registry.host}/team/hello:v9`), {
      kind: 'missing',
      reason: `${registry.host} has no tag v9 of team/hello`,
    });
    assert.deepEqual(await resolve(`${registry.host}/team/nobody:v2`), {
      kind: 'missing',
      reason: `${registry.host} has no repository team/nobody`,
    });
  });
});

describe('addresses', () => {
  /** The address that is asked for, of a registry elsewhere. */
  async function asked(image: string, insecure: readonly string[] = []): Promise<string> {
    let url = '';
    const answer = await resolve(image, {
      insecure,
      fetch: (input) => {
        url = String(input);
        return Promise.resolve(new Response(null, { headers: { 'docker-content-digest': DIGEST } }));
      },
    });
    assert.deepEqual(answer, { kind: 'resolved', digest: DIGEST });
    return url;
  }

  test('are those of container runtimes: Docker Hub by default, https but for this machine and where it is said', async () => {
    const hub = 'https://registry-1.docker.io/v2/library/hello/manifests';
    assert.equal(await asked('hello'), `${hub}/latest`);
    assert.equal(await asked('index.docker.io/library/hello:v2'), `${hub}/v2`);
    assert.equal(await asked('docker.io/team/hello:v2'), 'https://registry-1.docker.io/v2/team/hello/manifests/v2');
    assert.equal(await asked('registry.lan:5000/hello:v2'), 'https://registry.lan:5000/v2/hello/manifests/v2');
    assert.equal(
      await asked('registry.lan:5000/hello:v2', ['registry.lan:5000']),
      'http://registry.lan:5000/v2/hello/manifests/v2',
    );
    for (const host of ['localhost', 'localhost:5000', '127.0.0.1:5000', '127.9.9.9', '[::1]:5000'])
      assert.equal(await asked(`${host}/hello:v2`), `http://${host}/v2/hello/manifests/v2`);
    assert.match(await asked('127.0.0.1.example.com/hello:v2'), /^https:/);
  });

  test('to log in at, or to go on to, that could be read on the way are not used', async () => {
    const seen: string[] = [];
    const answering =
      (first: Response): typeof fetch =>
      (input) => {
        seen.push(String(input));
        return Promise.resolve(seen.length === 1 ? first : new Response(null, { status: 500 }));
      };
    const realm = new Response(null, {
      status: 401,
      headers: { 'www-authenticate': 'Bearer realm="http://auth.example.com/token",service="s"' },
    });
    const image = 'registry.example.com/hello:v2';
    const login = await resolve(image, { login: LOGIN, fetch: answering(realm) });
    assert.equal(login.kind, 'unauthorised');
    assert.match(reasonOf(login), /registry\.example\.com names no usable place to log in/);
    assert.equal(seen.length, 1);
    seen.length = 0;
    const location = new Response(null, { status: 307, headers: { location: 'http://mirror.example.com/v2/' } });
    assert.match(reasonOf(await resolve(image, { fetch: answering(location) })), /redirects to an address that is not/);
    assert.equal(seen.length, 1);
  });
});

describe('a registry that refuses', () => {
  test('a worker without a login, or with a wrong one: each in its own words', async () => {
    for (const auth of ['token', 'basic'] as const) {
      registry.auth = auth;
      registry.reader = `reader:${PASSWORD}`;
      const without = await resolve();
      assert.equal(without.kind, 'unauthorised');
      assert.match(reasonOf(without), /\(401\): the worker has no login for 127\.0\.0\.1:\d+$/);
      const wrong: Login = { kind: 'login', username: 'reader', password: `${PASSWORD}-not` };
      assert.match(
        reasonOf(await resolve(undefined, { login: wrong })),
        /worker's login for [\d.:]+ does not suffice$/,
      );
      const helper: Login = { kind: 'unusable', reason: 'its login is kept by the credential helper "x"' };
      assert.match(reasonOf(await resolve(undefined, { login: helper })), /credential helper "x"$/);
    }
    faults({ kind: 'answer', status: 403 });
    assert.equal((await resolve(undefined, { login: LOGIN })).kind, 'unauthorised');
  });

  test('the token that it has given itself: asked once, not for ever', async () => {
    registry.auth = 'token';
    const challenge = `Bearer realm="http://${registry.host}/token",service="fake registry",scope="repository:a:pull"`;
    faults({ kind: 'answer', status: 401, headers: { 'www-authenticate': challenge } }, ({ path }) =>
      path.startsWith('/v2/'),
    );
    assert.equal((await resolve(undefined, { login: LOGIN })).kind, 'unauthorised');
    assert.deepEqual(methods(), ['HEAD', 'GET', 'HEAD']);
    registry.digestInHead = false;
    faults(
      { kind: 'answer', status: 401, headers: { 'www-authenticate': challenge } },
      ({ method, path }) => method === 'GET' && path.startsWith('/v2/'),
    );
    assert.equal((await resolve(undefined, { login: LOGIN })).kind, 'unauthorised');
    assert.deepEqual(methods().slice(3), ['HEAD', 'GET', 'HEAD', 'GET']);
  });

  test('to say how to log in, or gives no token', async () => {
    for (const header of ['', 'Negotiate abc=', 'Bearer', 'Bearer realm="not an address"']) {
      faults({ kind: 'answer', status: 401, headers: { 'www-authenticate': header } });
      assert.equal((await resolve()).kind, 'unauthorised', header);
    }
    registry.auth = 'token';
    for (const body of ['{}', '<html>', '{"token":""}', '{"token":"a\\nb"}']) {
      faults({ kind: 'answer', status: 200, body }, ({ path }) => path.startsWith('/token'));
      assert.match(reasonOf(await resolve()), /gives no token/, body);
    }
  });
});

describe('a registry that is not well', () => {
  test('is asked again where that may help, and not for long', async () => {
    for (const fault of [
      { kind: 'answer', status: 500 },
      { kind: 'answer', status: 503 },
      { kind: 'answer', status: 429, headers: { 'retry-after': '0' } },
      { kind: 'drop' },
    ] as const) {
      let left = 1;
      registry.fault = () => (left-- > 0 ? fault : null);
      assert.deepEqual(await resolve(), { kind: 'resolved', digest }, JSON.stringify(fault));
    }
    const before = registry.requests.length;
    faults({ kind: 'answer', status: 500 });
    assert.deepEqual(await resolve(), { kind: 'unreachable', reason: `${registry.host} answered 500` });
    assert.equal(registry.requests.length - before, 3);
  });

  test('is waited for as long as it asks, if there is so much time, else left at once', async () => {
    let left = 1;
    registry.fault = () => (left-- > 0 ? { kind: 'answer', status: 429, headers: { 'retry-after': '1' } } : null);
    const begun = Date.now();
    assert.deepEqual(await resolve(), { kind: 'resolved', digest });
    assert.ok(Date.now() - begun >= 1000);
    faults({ kind: 'answer', status: 429, headers: { 'retry-after': '90' } });
    const again = Date.now();
    assert.deepEqual(await resolve(), {
      kind: 'unreachable',
      reason: `${registry.host} answered 429, and asks to wait 90 s`,
    });
    assert.ok(Date.now() - again < 1000);
  });

  test('costs no more than its time, whatever it holds back', async () => {
    for (const kind of ['stall', 'stall-body'] as const) {
      registry.digestInHead = false;
      faults({ kind }, ({ method }) => kind === 'stall' || method === 'GET');
      const begun = Date.now();
      assert.deepEqual(await resolve(undefined, { timeoutMs: 400 }), {
        kind: 'unreachable',
        reason: `${registry.host} did not answer in time`,
      });
      const tookMs = Date.now() - begun;
      assert.ok(tookMs >= 390 && tookMs < 15_000, `${kind}: ${tookMs} ms`);
    }
  });

  test('that is not there at all is left at once', async () => {
    await registry.close();
    const begun = Date.now();
    assert.match(reasonOf(await resolve()), /can't be reached \(ECONNREFUSED\)$/);
    assert.ok(Date.now() - begun < 10_000);
  });

  test('is not believed: another digest than that of its bytes, no manifest, no reason, too much', async () => {
    registry.digestInHead = false;
    const onGet = ({ method }: RegistryRequest): boolean => method === 'GET';
    const manifest = { 'content-type': OCI_INDEX };
    faults(
      { kind: 'answer', status: 200, headers: { ...manifest, 'docker-content-digest': DIGEST }, body: '{}' },
      onGet,
    );
    assert.match(reasonOf(await resolve()), /contradicts itself/);
    faults({ kind: 'answer', status: 200, headers: { 'content-type': 'text/html' }, body: '<html>log in' }, onGet);
    assert.match(reasonOf(await resolve()), /does not answer as a registry: it sends no manifest/);
    faults({ kind: 'huge', bytes: 5 * 1024 * 1024 }, onGet);
    assert.match(reasonOf(await resolve()), /answers more than a registry would/);
    // A proxy's "no such page" is not a registry's "no such image": it must not reject a release.
    faults({ kind: 'answer', status: 404, body: '<html>not found' });
    const page = await resolve();
    assert.equal(page.kind, 'unreachable');
    assert.match(reasonOf(page), /404 without a reason/);
    faults({ kind: 'answer', status: 418 });
    assert.match(reasonOf(await resolve()), /answered 418$/);
  });

  test('is left when the activity is cancelled, with the reason of that', async () => {
    faults({ kind: 'stall' });
    const cancelled = new Error('cancelled');
    await assert.rejects(resolve(undefined, { signal: AbortSignal.abort(cancelled) }), cancelled);
  });
});

describe('redirects', () => {
  let mirror: FakeRegistry;
  beforeEach(async () => {
    mirror = await startFakeRegistry();
  });
  afterEach(() => mirror.close());

  function redirect(to: string, on?: (request: RegistryRequest) => boolean): void {
    faults({ kind: 'answer', status: 307, headers: { location: to } }, on);
  }

  test('are followed to another host, without the credentials of this one', async () => {
    registry.auth = 'basic';
    registry.reader = `reader:${PASSWORD}`;
    const there = mirror.push('mirrored/hello', 'v2');
    redirect(`http://${mirror.host}/v2/mirrored/hello/manifests/v2`, ({ authorization }) => authorization !== null);
    assert.deepEqual(await resolve(undefined, { login: LOGIN }), { kind: 'resolved', digest: there });
    assert.deepEqual(
      mirror.requests.map(({ authorization }) => authorization),
      [null],
    );
    mirror.auth = 'token';
    const refused = await resolve(undefined, { login: LOGIN });
    assert.equal(refused.kind, 'unauthorised');
    assert.ok(mirror.requests.every(({ authorization }) => authorization === null));
  });

  test('keep the credentials on the same host, and end somewhere', async () => {
    registry.auth = 'basic';
    registry.push('moved/hello', 'v2');
    redirect(
      '/v2/moved/hello/manifests/v2',
      ({ path, authorization }) => path.includes('/team/') && authorization !== null,
    );
    assert.equal((await resolve(undefined, { login: LOGIN })).kind, 'resolved');
    redirect(`http://${registry.host}/v2/team/hello/manifests/v2`);
    const before = registry.requests.length;
    assert.match(reasonOf(await resolve()), /redirects too often$/);
    assert.equal(registry.requests.length - before, 4);
  });

  test('of the place that gives tokens are not followed with a login', async () => {
    registry.auth = 'token';
    redirect(`http://${mirror.host}/token`, ({ path }) => path.startsWith('/token'));
    assert.notEqual((await resolve(undefined, { login: LOGIN })).kind, 'resolved');
    assert.deepEqual(mirror.requests, []);
  });
});
