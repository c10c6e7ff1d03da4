import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose';
import type { CryptoKey } from 'jose';
import { newStaticToken } from '../../client/server/auth/static-token.js';
import type { Caller } from '../../client/server/auth/authenticate.js';
import { checkFresh } from '../../client/server/decisions.js';
import { mismatchOf } from '../../client/server/auth/ci.js';
import { Sessions } from '../../client/server/auth/session.js';
import { safeReturn } from '../../client/server/auth/oidc.js';
import type { Me, Problem } from '../../client/server/contract.js';
import { startTemporal } from '../../tools/temporal-server.js';
import type { TemporalServer } from '../../tools/temporal-server.js';
import { AUDIENCE, startIssuer } from '../support/issuer.js';
import type { Issuer } from '../support/issuer.js';
import { call, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

const PLANTED = 'planted-secret-0123456789';

describe('who speaks to the server', () => {
  let folder: string;
  let temporal: TemporalServer;
  let issuer: Issuer;
  let server: TestServer;
  let env: Record<string, string>;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'slipway-auth-'));
    temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    env = {
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      SLIPWAY_DATA_DIR: path.join(folder, 'data'),
    };
    issuer = await startIssuer();
    server = await startServer(
      { folder, env },
      {
        people: [
          { subject: 'ann@example.com', roles: ['approver'], groups: ['ops'] },
          { subject: 'nobody@example.com', roles: [] },
        ],
        file: {
          ci: [
            {
              issuer: issuer.url,
              audience: AUDIENCE,
              subject: 'ci:{repository_id}',
              match: { repository_id: '42', ref: ['refs/heads/main', 'refs/tags/*'] },
            },
          ],
          roles: [
            { role: 'deployer', subjects: ['ci:42'] },
            { role: 'approver', subjects: ['ci:42'] },
          ],
          tokens: [expired.entry],
        },
      },
    );
  });
  after(async () => {
    await server.close();
    await issuer.close();
    await temporal.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const expired = (() => {
    const { token, sha256 } = newStaticToken('old');
    return { token, entry: { id: 'old', sha256, subject: 'ann@example.com', expires: '2020-01-01T00:00:00Z' } };
  })();
  const me = (token?: string, headers: Readonly<Record<string, string>> = {}) =>
    call<Me & Problem>(`${server.url}/me`, { token, headers });
  async function refusedToken(token: string, why: RegExp): Promise<void> {
    const answer = await me(token);
    assert.equal(answer.status, 401, answer.text);
    assert.match(answer.body.detail, why);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="slipway"');
    assert.ok(!answer.text.includes(token));
  }

  it('is nobody without a credential, and is told how to get one', async () => {
    const answer = await me();
    assert.equal(answer.status, 401);
    assert.equal(answer.body.type, 'https://slipway.dev/problems/unauthenticated');
    assert.match(answer.body.next, /POST \/login\/token/);
  });

  it('is the subject of a static token, with the rights that the file gives', async () => {
    const answer = await me(server.tokens['ann@example.com']);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.body.identity.subject, 'ann@example.com');
    assert.deepEqual(answer.body.identity.groups, ['ops']);
    assert.ok(answer.body.rights.includes('approve'));
    assert.ok(!answer.body.rights.includes('deploy'));
    assert.equal(answer.body.csrf, null);
    assert.deepEqual((await me(server.tokens['nobody@example.com'])).body.rights, []);
  });

  it('is not believed with a static token that is wrong, unknown or over', async () => {
    const good = server.tokens['ann@example.com'] ?? '';
    await refusedToken(`${good.slice(0, -1)}${good.endsWith('0') ? '1' : '0'}`, /copied whole/);
    await refusedToken(newStaticToken('t0').token, /does not know it/);
    await refusedToken(newStaticToken('unknown').token, /does not know it/);
    await refusedToken(expired.token, /expired at 2020/);
    await refusedToken('slp_', /copied whole/);
    const basic = await me(undefined, { Authorization: `Basic ${Buffer.from('ann:pw').toString('base64')}` });
    assert.equal(basic.status, 401);
  });

  it('is a machine with the token of a CI job, and never an approver', async () => {
    const answer = await me(await issuer.token());
    assert.equal(answer.status, 200, answer.text);
    const { identity, rights } = answer.body;
    assert.equal(identity.subject, 'ci:42');
    assert.equal(identity.kind, 'machine');
    assert.deepEqual(identity.aliases, ['github:ann', 'github-id:1001']);
    assert.ok(rights.includes('deploy'));
    assert.ok(!rights.includes('approve'), 'though a role says so');
  });

  it('is not believed with a CI token that is forged, over, not yet valid, or meant for somebody else', async () => {
    const nowS = Math.floor(Date.now() / 1000);
    const other = await generateKeyPair('RS256');
    const claims = JSON.parse(
      Buffer.from((await issuer.token()).split('.')[1] ?? '', 'base64url').toString(),
    ) as Record<string, unknown>;
    const kid = issuer.publicJwk.kid ?? '';
    const sign = (key: CryptoKey | Uint8Array, header: { alg: string } & Record<string, unknown>) =>
      new SignJWT(claims).setProtectedHeader(header).sign(key);
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.`;
    const spki = await exportSPKI((await importJWK(issuer.publicJwk, 'RS256')) as CryptoKey);
    const publicAsPassword = new TextEncoder().encode(spki);
    const wrong: readonly (readonly [string, string | Promise<string>, RegExp])[] = [
      ['another key', sign(other.privateKey, { alg: 'RS256', kid }), /signature is not valid/],
      [
        'a key of its own',
        sign(other.privateKey, { alg: 'RS256', jwk: issuer.publicJwk, kid: 'mine' }),
        /none of its issuer/,
      ],
      ['a path as kid', sign(other.privateKey, { alg: 'RS256', kid: '../../etc/passwd' }), /none of its issuer/],
      ['alg none', none, /signature is not valid/],
      ['the public key as password', sign(publicAsPassword, { alg: 'HS256', kid }), /signature is not valid/],
      ['expired', issuer.token({ iat: nowS - 400, exp: nowS - 100 }), /has expired/],
      ['too old', issuer.token({ iat: nowS - 3000, exp: nowS + 300 }), /older than 10 minutes/],
      ['not yet valid', issuer.token({ nbf: nowS + 500 }), /claim nbf/],
      ['from the future', issuer.token({ iat: nowS + 500, exp: nowS + 900 }), /claim iat/],
      ['another audience', issuer.token({ aud: 'https://github.com/acme' }), /ask for the audience slipway-test/],
      ['two audiences', issuer.token({ aud: [AUDIENCE, 'other'] }), /several audiences/],
      ['another issuer', issuer.token({ iss: 'https://evil.example.com' }), /no issuer that this server trusts/],
      ['no issuer', issuer.token({ iss: undefined }), /no issuer that this server trusts/],
      ['no jti', issuer.token({ jti: undefined }), /claim jti/],
      ['no exp', issuer.token({ exp: undefined }), /claim exp/],
      ['another repository', issuer.token({ repository_id: '43' }), /claim repository_id/],
      ['another branch', issuer.token({ ref: 'refs/heads/main2' }), /claim ref/],
      ['no branch', issuer.token({ ref: undefined }), /no claim ref/],
      ['a pull request', issuer.token({ event_name: 'pull_request' }), /set off by pull_request/],
      ['a comment', issuer.token({ event_name: 'issue_comment' }), /set off by issue_comment/],
      ['no JWT', 'a.b.c', /no issuer/],
    ];
    for (const [name, token, why] of wrong)
      await refusedToken(await token, why).catch((error: unknown) => Promise.reject(new Error(name, { cause: error })));
    assert.equal((await me(await issuer.token({ ref: 'refs/tags/v1' }))).status, 200);
  });

  it('matches claims as they are, numbers as text, and takes a risky event only where the file names it', () => {
    const match = { project_id: '5', ref_protected: 'true' };
    assert.equal(mismatchOf({ match, allowEvents: [] }, { project_id: 5, ref_protected: 'true' }), null);
    assert.match(
      mismatchOf({ match, allowEvents: [] }, { project_id: 5, ref_protected: 'false' }) ?? '',
      /ref_protected/,
    );
    assert.match(
      mismatchOf({ match, allowEvents: [] }, { project_id: [5], ref_protected: 'true' }) ?? '',
      /no claim project_id/,
    );
    const mr = { project_id: 5, ref_protected: 'true', pipeline_source: 'merge_request_event' };
    assert.match(mismatchOf({ match, allowEvents: [] }, mr) ?? '', /stranger/);
    assert.equal(mismatchOf({ match, allowEvents: ['merge_request_event'] }, mr), null);
  });

  it('can use a CI token for one change: the same request again is a retry, another one a replay', async () => {
    const token = await issuer.token();
    const start = (tag: string) =>
      call<Problem>(`${server.url}/runs`, {
        token,
        headers: { 'Idempotency-Key': 'k' },
        body: { task: 'deploy', payload: { service: 's', environment: 'e', tag } },
      });
    // There is no policy: that is found out after the token was taken.
    assert.equal((await start('v1')).body.type, 'https://slipway.dev/problems/no-policy');
    assert.equal((await start('v1')).body.type, 'https://slipway.dev/problems/no-policy');
    const replayed = await start('v2');
    assert.equal(replayed.status, 401, replayed.text);
    assert.equal(replayed.body.type, 'https://slipway.dev/problems/token-used');
    assert.equal((await me(token)).status, 200, 'reading is no change');
  });

  it('hears 503, not 401, while the issuer can’t be asked', async () => {
    const own = await startIssuer();
    const other = await startServer(
      { folder, env },
      {
        people: [],
        name: 'other',
        file: {
          ci: [
            {
              issuer: own.url,
              audience: AUDIENCE,
              subject: 'ci',
              match: { repository_id: '42', ref: 'refs/heads/main' },
            },
          ],
        },
      },
    );
    try {
      own.down = true;
      const answer = await call<Problem>(`${other.url}/me`, { token: await own.token() });
      assert.equal(answer.status, 503, answer.text);
      own.down = false;
      assert.equal((await call(`${other.url}/me`, { token: await own.token() })).status, 200);
    } finally {
      await other.close();
      await own.close();
    }
  });

  describe('by a session', () => {
    async function login(subject = 'ann@example.com') {
      const answer = await call<Me>(`${server.url}/login/token`, { body: { token: server.tokens[subject] } });
      assert.equal(answer.status, 200, answer.text);
      const set = answer.headers.get('set-cookie') ?? '';
      return { cookie: set.split(';')[0] ?? '', set, csrf: answer.body.csrf ?? '' };
    }
    const logout = (headers: Readonly<Record<string, string>>) =>
      call<Problem>(`${server.url}/logout`, { method: 'POST', headers });

    it('gets a cookie that scripts and other sites can’t use, and a token against forged requests', async () => {
      const { cookie, set, csrf } = await login();
      assert.match(set, /; Path=\/; Max-Age=43\d{3}; HttpOnly; SameSite=Lax$/);
      const answer = await me(undefined, { Cookie: cookie });
      assert.equal(answer.body.identity.subject, 'ann@example.com');
      assert.equal(answer.body.csrf, csrf);
      assert.ok(answer.body.until !== null);
      assert.notEqual((await login()).cookie, cookie, 'a new login is a new session');
    });

    it('can change nothing without Origin and CSRF token, nor with a token beside it', async () => {
      const { cookie: Cookie, csrf } = await login();
      const Origin = server.publicUrl;
      const code = async (headers: Readonly<Record<string, string>>): Promise<string> => {
        const answer = await logout({ Cookie, ...headers });
        return answer.status === 204 ? 'done' : (answer.body.type.split('/').at(-1) ?? '');
      };
      assert.equal(await code({}), 'cross-site');
      assert.equal(await code({ 'X-Slipway-CSRF': csrf }), 'cross-site');
      assert.equal(await code({ 'X-Slipway-CSRF': csrf, Origin: 'https://evil.example.com' }), 'cross-site');
      assert.equal(await code({ 'X-Slipway-CSRF': csrf, Origin: 'null' }), 'cross-site');
      assert.equal(await code({ 'X-Slipway-CSRF': csrf, Origin, 'Sec-Fetch-Site': 'cross-site' }), 'cross-site');
      assert.equal(await code({ 'X-Slipway-CSRF': csrf, 'Sec-Fetch-Site': 'same-site' }), 'cross-site');
      assert.equal(await code({ Origin }), 'csrf-missing');
      assert.equal(await code({ Origin, 'X-Slipway-CSRF': (await login()).csrf }), 'csrf-missing');
      assert.equal(
        await code({ Origin, Authorization: `Bearer ${server.tokens['ann@example.com']}` }),
        'two-credentials',
      );
      assert.equal(await code({ Origin, 'X-Slipway-CSRF': csrf }), 'done');
      assert.equal(await code({ 'Sec-Fetch-Site': 'same-origin', 'X-Slipway-CSRF': csrf }), 'done');
    });

    it('gives nothing to a page that was made for another login', async () => {
      const { cookie: Cookie, csrf } = await login();
      const other = await login();
      for (const path of ['/me', '/runs', '/events']) {
        const answer = await call<Problem>(`${server.url}${path}`, {
          headers: { Cookie: other.cookie, 'X-Slipway-CSRF': csrf },
        });
        assert.deepEqual([answer.status, answer.body.type.split('/').at(-1)], [403, 'session-changed'], path);
      }
      assert.equal((await me(undefined, { Cookie, 'X-Slipway-CSRF': csrf })).status, 200);
      assert.equal((await me(undefined, { Cookie })).status, 200, 'who does not say it is given what the cookie says');
    });

    it('is nobody with a cookie that was changed, planted twice, or made by another server', async () => {
      const { cookie } = await login();
      const [name, value = ''] = cookie.split('=');
      for (const bad of [`${name}=${value.slice(0, -2)}xx`, `${cookie}; ${cookie}`, `${name}=x`, `${name}=`])
        assert.equal((await me(undefined, { Cookie: bad })).status, 401, bad);
      const foreign = new Sessions([new Uint8Array(32).fill(7)], false);
      const sealed = await foreign.setCookie(
        foreign.begin({
          subject: 'ann@example.com',
          name: '',
          kind: 'person',
          via: 'token',
          groups: [],
          aliases: [],
          authenticatedAtMs: 0,
        }),
      );
      assert.equal((await me(undefined, { Cookie: sealed.split(';')[0] ?? '' })).status, 401);
    });

    it('gives a token for the command line to the page alone, and the token is the same person, as a bearer only', async () => {
      const { cookie: Cookie, csrf } = await login();
      const make = (headers: Readonly<Record<string, string>>, token?: string) =>
        call<{ token: string; until: string; type: string }>(`${server.url}/login/command`, {
          body: {},
          headers,
          token,
        });
      const own = { Origin: server.publicUrl, 'X-Slipway-CSRF': csrf };
      assert.equal((await make({ Cookie, Origin: server.publicUrl })).status, 403, 'without the CSRF token');
      assert.equal((await make({}, server.tokens['ann@example.com'])).status, 403, 'by a token that is no login');
      const made = await make({ Cookie, ...own });
      assert.equal(made.status, 200, made.text);
      assert.match(made.body.token, /^slc_/);
      assert.equal(made.headers.get('cache-control'), 'no-store');

      const answer = await me(made.body.token);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.body.identity.subject, (await me(undefined, { Cookie })).body.identity.subject);
      assert.equal(answer.body.csrf, null);
      // It grows old with the login: who could break glass for 5 minutes can't for hours.
      const taken = (authenticatedAtMs: number) =>
        ({
          ...answer.body,
          how: 'bearer',
          byLogin: true,
          authTimeKnown: true,
          identity: { ...answer.body.identity, authenticatedAtMs },
        }) as unknown as Caller;
      const now = Date.now();
      checkFresh(taken(now - 60_000), 'break-glass', Infinity, now);
      assert.throws(() => checkFresh(taken(now - 6 * 60_000), 'break-glass', Infinity, now), /5 min at most/);
      const name = Cookie.split('=')[0] ?? '';
      assert.equal((await me(undefined, { Cookie: `${name}=${made.body.token.slice(4)}` })).status, 401, 'as a cookie');
      assert.equal((await me(`slc_${Cookie.slice(name.length + 1)}`)).status, 401, 'a cookie as a token');
      assert.equal((await me(`${made.body.token}x`)).status, 401);
      assert.equal((await make({}, made.body.token)).status, 403, 'it makes no other one');
      assert.ok(!server.log().includes(made.body.token));
    });

    it('ends when idle or too long, and survives a change of keys', async () => {
      let nowMs = 1_000_000;
      const [first, second] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
      const old = new Sessions([first], true, () => nowMs);
      assert.equal(old.cookie, '__Host-slipway');
      const session = old.begin({
        subject: 'a',
        name: '',
        kind: 'person',
        via: 'oidc',
        groups: [],
        aliases: [],
        authenticatedAtMs: 0,
      });
      const set = await old.setCookie(session);
      assert.match(set, /; Secure$/);
      const value = set.split(';')[0]?.split('=')[1] ?? '';
      const rotated = new Sessions([second, first], true, () => nowMs);
      assert.equal((await rotated.read(value))?.proved.subject, 'a');
      assert.equal(await new Sessions([second], true, () => nowMs).read(value), null);
      nowMs += 6 * 60_000;
      const renewed = rotated.renewed(session);
      assert.equal(renewed?.seenMs, nowMs);
      nowMs = 1_000_000 + 8 * 3_600_000 + 1;
      assert.equal(await rotated.read(value), null, 'idle for 8 h');
      assert.equal(rotated.until(renewed ?? session), 1_000_000 + 6 * 60_000 + 8 * 3_600_000);
    });
  });

  it('goes back after a login to a path of this server only', () => {
    assert.equal(safeReturn('/runs/3f2a9c1e5b7d8f00?x=1'), '/runs/3f2a9c1e5b7d8f00?x=1');
    for (const bad of [
      '//evil.com',
      '/\\evil.com',
      'https://evil.com',
      'evil',
      '',
      '/a\r\nSet-Cookie: x',
      '/\t/evil.com',
      undefined,
    ])
      assert.equal(safeReturn(bad), '/', String(bad));
  });

  it('slows down who guesses', async () => {
    const answers = [];
    for (let n = 0; n < 45; n += 1)
      answers.push((await me(newStaticToken('t0').token, { 'X-Forwarded-For': `10.0.0.${n}` })).status);
    assert.ok(answers.includes(429), answers.join(' '));
    const limited = await me(newStaticToken('t0').token);
    if (limited.status === 429) assert.match(limited.headers.get('retry-after') ?? '', /^\d+$/);
    assert.equal((await me(server.tokens['ann@example.com'])).status, 200, 'a good token is not held up');
  });

  it('leaves no credential in the log, whatever was sent', async () => {
    const token = `${PLANTED}.${PLANTED}.${PLANTED}`;
    await me(token);
    await me(undefined, { Cookie: `slipway-session=${PLANTED}` });
    await call(`${server.url}/login/token`, { body: { token: `slp_t0_${PLANTED}` } });
    await call(`${server.url}/runs?token=${PLANTED}`, { token: server.tokens['ann@example.com'] });
    await call(`${server.url}/login/callback?code=${PLANTED}&state=${PLANTED}`);
    const text = server.log() + JSON.stringify(server.refusals);
    assert.ok(text.includes('"endpoint":"me"'), 'something was logged');
    assert.ok(!text.includes(PLANTED));
    for (const known of Object.values(server.tokens)) assert.ok(!text.includes(known));
    assert.ok(server.refusals.some(({ code, status }) => code === 'invalid-token' && status === 401));
  });

  it('without a login is local, under this machine’s own names only', async () => {
    const local = await startServer({ folder, env }, { people: null, name: 'local' });
    try {
      const { port } = new URL(local.url);
      const asked = (Host: string, headers: Readonly<Record<string, string>> = {}, method = 'GET', at = '/me') =>
        new Promise<number>((resolve, reject) => {
          httpRequest({ host: '127.0.0.1', port, path: at, method, headers: { Host, ...headers } }, (response) => {
            response.resume();
            resolve(response.statusCode ?? 0);
          })
            .once('error', reject)
            .end();
        });
      assert.equal(await asked(`127.0.0.1:${port}`), 200);
      assert.equal(await asked(`localhost:${port}`), 200);
      // A web page whose name was bound to 127.0.0.1.
      for (const host of [`evil.example.com:${port}`, 'localhost', `localhost.evil.com:${port}`, `127.0.0.1:1`])
        assert.equal(await asked(host), 421, host);
      const post = (headers: Readonly<Record<string, string>>) =>
        asked(`localhost:${port}`, headers, 'POST', '/logout');
      assert.equal(await post({}), 204, 'curl');
      assert.equal(await post({ Origin: 'https://evil.example.com' }), 403);
      assert.equal(await post({ 'Sec-Fetch-Site': 'cross-site' }), 403);
      assert.equal(await post({ Origin: `http://localhost:${port}` }), 204);
      const { body } = await call<Me>(`${local.url}/me`);
      assert.equal(body.local, true);
      assert.equal(body.identity.via, 'local');
    } finally {
      await local.close();
    }
  });
});
