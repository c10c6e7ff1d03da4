/** People who log in at a real OpenID provider, in a real Chromium, and out again. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { loadPage } from '../../client/web/page.js';
import { freePort } from '../../tools/supervise.js';
import { findChromium } from '../support/chromium.js';
import { startProvider } from '../support/oidc-provider.js';
import type { TestProvider } from '../support/oidc-provider.js';
import { startBare, startServer } from '../support/server.js';
import type { Bare, TestServer } from '../support/server.js';
import { launch, openTab, seriousFindings, tabIn } from './looks.js';
import type { Tab } from './looks.js';

/** The provider's own form asks for it; nothing in these tests leaves this machine, so it does not get it. */
const FONT = 'https://fonts.googleapis.com/css?family=Roboto:400,100';

const program = await findChromium();

describe(
  'a login in the browser',
  { skip: program === undefined ? 'needs Chromium: SLIPWAY_CHROMIUM, or PATH' : false },
  () => {
    let bare: Bare;
    let provider: TestProvider;
    let server: TestServer;
    let browser: Browser;
    let url: string;

    before(async () => {
      bare = await startBare();
      provider = await startProvider(() => `${url}/login/callback`);
      provider.groups.set('ann', ['ops']);
      server = await startServer(bare, {
        people: [],
        file: {
          oidc: { issuer: provider.issuer, clientId: provider.clientId },
          roles: [{ role: 'approver', groups: ['ops'] }],
        },
        env: { SLIPWAY_OIDC_CLIENT_SECRET: provider.secret, SLIPWAY_SERVER_PORT: String(await freePort()) },
        page: await loadPage({ version: '0.0.1' }),
      });
      url = server.url;
      browser = await launch(program!);
    });
    after(async () => {
      await browser.close();
      await server.close();
      await provider.close();
      await bare.stop();
    });

    async function begin(page: Page): Promise<void> {
      await page.route(FONT, (route) => route.abort());
      await page.getByRole('link', { name: 'Log in with your organisation' }).click();
    }

    /** The provider's own form. */
    async function sayWho(page: Page, name: string): Promise<void> {
      await page.locator('input[name=login]').fill(name);
      await page.locator('input[name=password]').fill('any');
      await page.locator('button[type=submit]').click();
    }

    /** Who the page says is logged in; waits until it says so. */
    const shown = (page: Page): Promise<string> => page.locator('.who span').first().innerText();

    async function logIn(tab: Tab, name: string): Promise<void> {
      await begin(tab.page);
      await sayWho(tab.page, name);
      await tab.page.getByRole('button', { name: 'Continue' }).click();
      assert.equal(await shown(tab.page), `Name of ${name}`);
    }

    /** What the page itself is told; it is asked as the page asks. */
    const statusOfMe = (page: Page): Promise<number> =>
      page.evaluate<number>('fetch("/me", { headers: { accept: "application/json" } }).then(({ status }) => status)');

    function nothingComplained({ complaints, strangers }: Tab): void {
      assert.deepEqual(
        complaints.filter((text) => !text.includes('[DOM] Input elements should have autocomplete')),
        [],
        'but for what Chromium says of the provider’s form',
      );
      assert.deepEqual(
        strangers.filter((address) => !address.startsWith(`${provider.issuer}/`) && address !== FONT),
        [],
        'nobody is asked but the provider',
      );
    }

    it('goes by code with PKCE, and leads back to the very address that was asked for', async () => {
      const tab = await openTab(browser, `${url}/?q=shop&state=canary`);
      assert.deepEqual(await seriousFindings(tab.page), []);
      await logIn(tab, 'ann');
      assert.equal(tab.page.url(), `${url}/?q=shop&state=canary`, 'the filters too');
      await tab.page.locator('.link-state.live').waitFor();

      const asked = tab.strangers.map((address) => new URL(address)).find(({ pathname }) => pathname === '/auth');
      assert.equal(asked?.searchParams.get('response_type'), 'code');
      assert.equal(asked?.searchParams.get('code_challenge_method'), 'S256');
      assert.equal(asked?.searchParams.has('code_verifier'), false);
      // The provider is on this host too, and browsers keep the cookies of all its ports together.
      const ours = (await tab.context.cookies(url)).filter(({ name }) => name.startsWith('slipway'));
      assert.deepEqual(
        ours.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })),
        [{ name: 'slipway-session', httpOnly: true, sameSite: 'Lax' }],
        'the session, and nothing that is left of the login',
      );
      assert.equal(await tab.page.evaluate<string>('document.cookie'), '', 'no script can read it');
      nothingComplained(tab);
      await tab.context.close();
    });

    it('ends with “Log out”: neither the way back nor another tab shows anything more', async () => {
      const tab = await openTab(browser, `${url}/`);
      await logIn(tab, 'ann');
      assert.equal(await statusOfMe(tab.page), 200);
      const other = await tab.context.newPage();
      await other.goto(`${url}/`);
      assert.equal(await shown(other), 'Name of ann');
      await other.locator('.link-state.live').waitFor();
      await tab.page.getByRole('button', { name: 'Log out' }).click();
      await tab.page.getByRole('heading', { name: 'Log in' }).waitFor();
      assert.equal(await statusOfMe(tab.page), 401);
      await tab.page.goBack();
      await tab.page.getByRole('heading', { name: 'Log in' }).waitFor();
      assert.equal(await tab.page.locator('.who').count(), 0);
      await other.getByText('Your session is over.').waitFor();
      await other.reload();
      await other.getByRole('heading', { name: 'Log in' }).waitFor();
      nothingComplained(tab);
      await tab.context.close();
    });

    it('of another person in another tab is not shown in those of the first', async () => {
      const tab = await openTab(browser, `${url}/`);
      await logIn(tab, 'ann');
      await tab.page.locator('.link-state.live').waitFor();
      const other = await tabIn(tab.context, `${url}/login?fresh=1&return=/`);
      await logIn(other, 'eve');
      await other.page.locator('.link-state.live').waitFor();
      // Ann's page asks anew, by a cookie that is Eve's now.
      await tab.context.setOffline(true);
      await tab.page.locator('.notice.offline').waitFor();
      await tab.context.setOffline(false);
      await tab.page.getByText('Somebody has logged in anew in this browser').waitFor();
      assert.equal(await shown(tab.page), 'Name of ann');
      await other.page.locator('.link-state.live').waitFor();
      await tab.context.close();
    });

    it('that is cancelled at the provider says so, and can be begun again from there', async () => {
      const tab = await openTab(browser, `${url}/`);
      await begin(tab.page);
      await tab.page.getByRole('link', { name: 'Cancel' }).click();
      await tab.page.getByRole('heading', { name: 'The login failed' }).waitFor();
      const said = await tab.page.locator('.problem').innerText();
      assert.match(said, /cancelled, or the identity provider does not let you in/);
      assert.doesNotMatch(said, /OAUTH_/, 'for people, not for programmers');
      assert.deepEqual(await seriousFindings(tab.page), []);
      assert.equal(await statusOfMe(tab.page), 401);
      await tab.page.getByRole('link', { name: 'Log in' }).click();
      await logIn(tab, 'ann');
      nothingComplained(tab);
      await tab.context.close();
    });

    it('that was too old is asked for anew: the provider does not let the person in by what it remembers', async () => {
      const tab = await openTab(browser, `${url}/`);
      await logIn(tab, 'ann');
      await tab.page.goto(`${url}/login?fresh=1&return=${encodeURIComponent('/?q=shop')}`);
      await begin(tab.page);
      await sayWho(tab.page, 'ann');
      await tab.page.waitForURL(`${url}/?q=shop`);
      assert.equal(await shown(tab.page), 'Name of ann');
      nothingComplained(tab);
      await tab.context.close();
    });

    it('of somebody without a role shows an empty list, not others’ rollouts', async () => {
      const tab = await openTab(browser, `${url}/`);
      await logIn(tab, 'eve');
      assert.equal(await tab.page.locator('.runs a').count(), 0);
      nothingComplained(tab);
      await tab.context.close();
    });
  },
);
