import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { CliError, EXIT } from '../../client/exit-codes.js';
import { checkFresh, checkFreshOverHold } from '../../client/server/decisions.js';
import { Sessions } from '../../client/server/auth/session.js';
import type { Session } from '../../client/server/auth/session.js';
import type { Me, Problem } from '../../client/server/contract.js';
import { BOOT_ID, oidcPath } from '../../client/web/boot.js';
import type { Boot } from '../../client/web/boot.js';
import { loadPage } from '../../client/web/page.js';
import type { Found } from '../../client/slipway.js';
import type { RolloutView } from '../../domain/rollout.js';
import { startTemporal } from '../../tools/temporal-server.js';
import type { TemporalServer } from '../../tools/temporal-server.js';
import { freePort } from '../../tools/supervise.js';
import { CookieBrowser } from '../support/cookie-browser.js';
import { passForms, startProvider } from '../support/oidc-provider.js';
import type { TestProvider } from '../support/oidc-provider.js';
import { call, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';
import { testView } from '../support/view.js';

const SESSION_KEY = Buffer.alloc(32, 7).toString('base64url');

/** A person whose login is so old, at the moment 0. */
function caller(minutes: number, via: 'oidc' | 'token' = 'oidc') {
  return { byLogin: true, authTimeKnown: true, identity: { via, authenticatedAtMs: -minutes * 60_000 } };
}

describe('a login at an identity provider', () => {
  let folder: string;
  let temporal: TemporalServer;
  let provider: TestProvider;
  let server: TestServer;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'slipway-oidc-'));
    temporal = await startTemporal({ logFile: path.join(folder, 'temporal.log') });
    provider = await startProvider(() => `${server.publicUrl}/login/callback`);
    const port = await freePort();
    server = await startServer(
      {
        folder,
        env: {
          TEMPORAL_ADDRESS: temporal.address,
          TEMPORAL_NAMESPACE: temporal.namespace,
          SLIPWAY_DATA_DIR: path.join(folder, 'data'),
        },
      },
      {
        people: [],
        file: {
          oidc: { issuer: provider.issuer, clientId: provider.clientId },
          roles: [
            { role: 'approver', groups: ['ops'], services: ['shop'] },
            { role: 'viewer', subjects: ['ann@home.example'] },
          ],
          people: [{ subject: 'ann@home.example', aliases: ['ann', 'github:ann'] }],
        },
        env: {
          SLIPWAY_OIDC_CLIENT_SECRET: provider.secret,
          SLIPWAY_SERVER_PORT: String(port),
          SLIPWAY_SESSION_KEYS: SESSION_KEY,
        },
        page: await loadPage({ version: '0.0.1' }),
      },
    );
  });
  after(async () => {
    await server.close();
    await provider.close();
    await temporal.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** The browser as it comes back from the provider, before our server has seen that. */
  async function begin(login: string, query = ''): Promise<{ browser: CookieBrowser; callback: string }> {
    const browser = new CookieBrowser();
    const callback = await passForms(
      browser,
      `${server.publicUrl}/login/oidc${query}`,
      login,
      `${server.publicUrl}/login/callback`,
    );
    return { browser, callback };
  }
  const me = (browser: CookieBrowser) =>
    call<Me>(`${server.publicUrl}/me`, { headers: { Cookie: browser.cookies(server.publicUrl) } });

  it('gives a session with name, groups, aliases and rights, and leads back to where it began', async () => {
    provider.groups.set('ann', ['ops', 'staff']);
    const { browser, callback } = await begin('ann', '?return=/rollouts/3f2a9c1e5b7d8f00');
    const answer = await browser.ask(callback);
    assert.equal(answer.status, 302, await answer.text());
    assert.equal(answer.headers.get('location'), '/rollouts/3f2a9c1e5b7d8f00');
    const { body } = await me(browser);
    assert.equal(body.identity.subject, 'ann@home.example', 'the person of the file');
    assert.equal(body.identity.name, 'Name of ann');
    assert.equal(body.identity.via, 'oidc');
    assert.deepEqual(body.identity.groups, ['ops', 'staff']);
    assert.deepEqual([...body.identity.aliases].toSorted(), ['ann', 'ann@example.com', 'github:ann']);
    assert.deepEqual(
      body.identity.grants.map(({ role }) => role),
      ['approver', 'viewer'],
    );
    assert.ok(body.rights.includes('approve'));
    assert.ok(Math.abs(body.identity.authenticatedAtMs - Date.now()) < 60_000);
    assert.doesNotMatch(browser.cookies(server.publicUrl), /slipway-login/, 'the cookie of the login is gone');
  });

  it('never leads to another site', async () => {
    const { browser, callback } = await begin('eve', '?return=https://evil.example.com/');
    assert.equal((await browser.ask(callback)).headers.get('location'), '/');
  });

  it('asks for a code with PKCE, state and nonce', async () => {
    const response = await new CookieBrowser().ask(`${server.publicUrl}/login/oidc?fresh=1`);
    const { searchParams } = new URL(response.headers.get('location') ?? '');
    assert.equal(searchParams.get('response_type'), 'code');
    assert.equal(searchParams.get('code_challenge_method'), 'S256');
    assert.match(searchParams.get('code_challenge') ?? '', /^[\w-]{43}$/);
    assert.ok((searchParams.get('state') ?? '').length >= 32 && (searchParams.get('nonce') ?? '').length >= 32);
    assert.equal(searchParams.get('redirect_uri'), `${server.publicUrl}/login/callback`);
    assert.equal(searchParams.get('max_age'), '300');
  });

  it('that is to be a new one is asked of the provider as such, by the link of the page too', async () => {
    /** What the provider is asked for by whoever goes on from this page. */
    const askedFrom = async (path: string): Promise<URLSearchParams> => {
      const browser = new CookieBrowser();
      const html = await (await browser.ask(`${server.publicUrl}${path}`)).text();
      const data = new RegExp(`id="${BOOT_ID}">(.*)</script>`).exec(html)?.[1] ?? 'null';
      const boot = JSON.parse(data) as Extract<Boot, { readonly page: 'login' }>;
      const link = oidcPath(boot.login.oidc ?? '', boot.back, boot.fresh);
      assert.equal(new URL(link, server.publicUrl).searchParams.get('return'), boot.back);
      const answer = await browser.ask(`${server.publicUrl}${link}`);
      return new URL(answer.headers.get('location') ?? '').searchParams;
    };
    const fresh = await askedFrom('/login?fresh=1&return=%2Frollouts%2F3f2a9c1e5b7d8f00');
    assert.deepEqual([fresh.get('max_age'), fresh.get('prompt')], ['300', 'login']);
    for (const path of ['/login', '/'])
      assert.deepEqual([(await askedFrom(path)).get('max_age'), (await askedFrom(path)).get('prompt')], [null, null]);
  });

  it('is refused when its answer is replayed, changed, of another browser, or of another provider', async () => {
    const refused = async (browser: CookieBrowser, url: string): Promise<Problem> => {
      const answer = await call<Problem>(url, { headers: { Cookie: browser.cookies(server.publicUrl) } });
      assert.equal(answer.status, 401, answer.text);
      assert.equal(answer.body.type, 'https://slipway.dev/problems/login-failed');
      assert.equal(answer.headers.get('set-cookie'), null);
      return answer.body;
    };
    const { browser, callback } = await begin('bob');
    assert.match((await refused(new CookieBrowser(), callback)).detail, /not begun in this browser/);
    const other = await begin('bob');
    assert.match((await refused(other.browser, callback)).detail, /not begun in this browser/);
    const changed = new URL(callback);
    changed.searchParams.set('code', `${changed.searchParams.get('code')}x`);
    await refused(browser, changed.href);
    const mixedUp = new URL(other.callback);
    mixedUp.searchParams.set('iss', 'https://evil.example.com');
    await refused(other.browser, mixedUp.href);
    const third = await begin('bob');
    const kept = third.browser.cookies(server.publicUrl);
    assert.equal((await third.browser.ask(third.callback)).status, 302);
    const again = await call<Problem>(third.callback, { headers: { Cookie: kept } });
    assert.equal(again.status, 401, 'a code is good once');
    for (const query of ['', '?state=x', `?state=${'a'.repeat(43)}&code=x`, '?error=access_denied'])
      assert.equal((await call(`${server.publicUrl}/login/callback${query}`)).status, 401, query);
    assert.ok(!server.log().includes(new URL(third.callback).searchParams.get('code') ?? '-'));
    assert.ok(!server.log().includes(provider.secret));
  });

  it('that is too old may look, and must be renewed to let more through, but not to go back', () => {
    const hour = 3_600_000;
    checkFresh(caller(59), 'approve', hour, 0);
    for (const verb of ['approve', 'promote'])
      assert.throws(
        () => checkFresh(caller(61), verb, hour, 0),
        /you logged in 61 min ago; to (approve|promote) it must be 60 min at most/,
      );
    for (const verb of ['abort', 'pause', 'reject', 'resume']) checkFresh(caller(600), verb, hour, 0);
    checkFresh(caller(4), 'break-glass', hour, 0);
    assert.throws(() => checkFresh(caller(6), 'break-glass', hour, 0), /5 min at most/);
    assert.throws(() => checkFresh(caller(6, 'token'), 'break-glass', hour, 0), /5 min at most/);
  });

  it('that may have been silent is no proof of anything: groups are current, and no glass is broken by it', async () => {
    const keys = [Buffer.from(SESSION_KEY, 'base64url')];
    const sessions = new Sessions(keys, false);
    /** The session of a browser, as the server reads it. */
    const sessionOf = async (browser: CookieBrowser): Promise<Session> => {
      const cookie = browser.cookies(server.publicUrl);
      const session = await sessions.read(new RegExp(`${sessions.cookie}=([^;]+)`).exec(cookie)?.[1] ?? '');
      assert.ok(session !== null);
      return session;
    };
    const asCaller = ({ proved, authTimeKnown }: Session) => ({ byLogin: true, authTimeKnown, identity: proved });
    const { browser, callback } = await begin('ann');
    await browser.ask(callback);
    // The provider remembers her: no form, no question.
    const silent = await browser.follow(`${server.publicUrl}/login/oidc?return=/healthz`);
    assert.equal(silent.url, `${server.publicUrl}/healthz`);
    const byMemory = asCaller(await sessionOf(browser));
    const now = Date.now();
    checkFresh(byMemory, 'approve', 3_600_000, now);
    assert.throws(
      () => checkFresh(byMemory, 'break-glass', 3_600_000, now),
      /not known when you last proved who you are; to break-glass it must be 5 min ago at most/,
    );
    assert.ok(Math.abs((await me(browser)).body.identity.authenticatedAtMs - now) < 60_000, 'she did log in now');

    const again = await begin('ann', '?fresh=1');
    await again.browser.ask(again.callback);
    const byForm = asCaller(await sessionOf(again.browser));
    checkFresh(byForm, 'break-glass', 3_600_000, Date.now());

    // Cookies of before say nothing of it.
    const { authTimeKnown: _, ...before } = { ...(await sessionOf(again.browser)) };
    const sealed = await sessions.setCookie(before as Session);
    const old = await sessions.read(sealed.slice(sealed.indexOf('=') + 1, sealed.indexOf(';')));
    assert.equal(old?.authTimeKnown, false);
  });

  it('to promote over a HOLD is as for break-glass, and where nobody can say whether there is one', async () => {
    const ref = { lane: { service: 'shop', environment: 'local' }, rolloutId: '3f2a9c1e5b7d8f00' };
    const wait = (kind: 'inconclusive' | 'blind' | 'paused') => ({ kind }) as RolloutView['wait'];
    let asked = 0;
    const standing = (find: () => Found | Error) => ({
      find: async (): Promise<Found> => {
        asked += 1;
        const found = find();
        if (found instanceof Error) throw found;
        return found;
      },
    });
    const at = (kind: 'inconclusive' | 'blind' | 'paused' | null) =>
      standing(() => ({ kind: 'running', view: testView({ wait: kind === null ? null : wait(kind) }) }));
    const noWorker = standing(() => new CliError(EXIT.unavailable, 'no worker answers', 'start one'));
    const promote = (slipway: ReturnType<typeof standing>, who = caller(6), verb = 'promote') =>
      checkFreshOverHold(slipway, who, ref, verb, 0);

    for (const kind of ['inconclusive', 'blind'] as const)
      await assert.rejects(
        promote(at(kind)),
        /you logged in 6 min ago; to promote over a HOLD it must be 5 min at most/,
      );
    // Sessions that were opened with a token grow old too.
    await assert.rejects(promote(at('inconclusive'), caller(6, 'token')), /5 min at most/);
    await assert.rejects(promote(noWorker), /while no worker can say whether it is over a HOLD it must be 5 min/);
    await promote(at(null));
    await promote(at('paused'));
    await promote(standing(() => ({ kind: 'queued', ref, ahead: 1, behind: null, blocked: null })));
    assert.equal(asked, 7);
    // Where the answer does not count, nobody is asked.
    for (const slipway of [at('inconclusive'), noWorker]) {
      await promote(slipway, caller(4));
      await promote(slipway, { ...caller(600), byLogin: false });
      await promote(slipway, caller(6), 'approve');
    }
    assert.equal(asked, 7);
  });
});
