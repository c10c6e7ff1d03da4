import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import type { RunDocument } from '../../client/server/contract.js';
import { changesOf } from '../../client/web/changes.js';
import { backPath, oidcPath } from '../../client/web/boot.js';
import { loadPage, PAGE_FOLDER } from '../../client/web/page.js';
import { errorSentence, stageLines } from '../../client/web/series.js';
import type { LivePoint } from '../../domain/live.js';
import { findChromium } from '../support/chromium.js';
import { until } from '../support/drive.js';
import { ARMS, recordedInput } from '../support/recorded.js';
import {
  ago,
  documentOf,
  ID,
  inCanary,
  me,
  offer,
  PLAN,
  rolledBack,
  runsEnded,
  runsInFlight,
  summary,
  waiting,
} from './documents.js';
import { FixtureServer, problemOf } from './fixture-server.js';
import type { Received } from './fixture-server.js';
import { launch, openTab, SCREENS, seriousFindings, tabIn } from './looks.js';
import type { ScreenName, Tab } from './looks.js';
import { takePictures } from './pictures.js';

/** What `docs/page` shows is made anew where this says so. */
const PICTURES = process.env['SLIPWAY_PICTURES'] === '1' ? 'docs/page' : null;

const EVIL = `<script>alert(1)</script><img src=x onerror=alert(2)>"'</textarea>&\u202Egnp.exe`;

describe('what the server sends of the page', () => {
  it('is a fixed map of files, each named by its content and kept for ever', async () => {
    const page = await loadPage({ version: '1.2.3' });
    for (const name of await readdir(PAGE_FOLDER)) {
      const response = page.handle(
        new Request(`http://x/assets/${name}`, { headers: { 'accept-encoding': 'gzip, br' } }),
        null,
      );
      if (name === 'manifest.json') {
        assert.equal(response, null);
        continue;
      }
      assert.ok(response !== null, name);
      assert.match(name, /-[0-9A-Za-z]{8}\.(js|css|svg)$/);
      assert.equal(response.headers.get('cache-control'), 'public, max-age=31536000, immutable');
      assert.equal(response.headers.get('content-encoding'), 'br');
      assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    }
    for (const asked of ['/assets/../manifest.json', '/assets/%2e%2e/package.json', '/assets/', '/package.json', '/'])
      assert.equal(page.handle(new Request(`http://x${asked}`), null), null, asked);
  });

  it('is HTML that no text inside can end, with a policy that lets no other script in', async () => {
    const page = await loadPage({ version: '1.2.3' });
    const run = documentOf({ ...waiting().view, releaseName: EVIL });
    const response = page.handle(new Request(`http://x/rollouts/${ID}`), { page: 'rollout', me: me(), run });
    assert.ok(response !== null);
    const html = await response.text();
    assert.equal(html.match(/<script/g)?.length, 2, 'its own script, and the data');
    assert.doesNotMatch(
      html.replace(/\{.*\}/s, ''),
      /<img|style=|\son[a-z]+=|https?:\/\/(?!www\.w3\.org)[^"]*\.(?:js|css)/,
    );
    const data = /<script type="application\/json" id="boot">(.*)<\/script>/s.exec(html)?.[1] ?? '';
    assert.doesNotMatch(data, /</);
    assert.equal((JSON.parse(data) as { run: RunDocument }).run.view.releaseName, EVIL);
    assert.equal(
      response.headers.get('content-security-policy'),
      `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'`,
    );
    assert.equal(response.headers.get('cache-control'), 'no-store, no-transform');
  });

  it('is less than 150 KB of script, compressed', async () => {
    const names = (await readdir(PAGE_FOLDER)).filter((name) => name.endsWith('.js'));
    assert.equal(names.length, 1);
    const script = await readFile(path.join(PAGE_FOLDER, names[0]!));
    const size = gzipSync(script, { level: 9 }).length;
    assert.ok(size < 150_000, `${size} bytes`);
    assert.ok(size > 10_000, 'there is a script at all');
    console.log(`script: ${script.length} bytes, ${size} with gzip, ${brotliCompressSync(script).length} with brotli`);
  });

  it('leads to the identity provider with all that was asked for', () => {
    assert.equal(oidcPath('/login/oidc', '/?q=a&b', false), '/login/oidc?return=%2F%3Fq%3Da%26b');
    assert.equal(oidcPath('/login/oidc', '/', true), '/login/oidc?fresh=1&return=%2F');
  });

  it('goes back to a path of its own only', () => {
    assert.equal(backPath('/rollouts/3f2a?x=1'), '/rollouts/3f2a?x=1');
    for (const evil of [
      null,
      '',
      '//evil.example',
      '/\\evil.example',
      'https://evil.example',
      'javascript:alert(1)',
      '/\tx',
      '/ü',
    ])
      assert.equal(backPath(evil), '/', String(evil));
  });
});

describe('what is plotted', () => {
  const point = (i: number, errors: number, p99Ms: number | null): LivePoint => ({
    atMs: 1000 * i,
    canary: { requests: 100, errors, p99Ms },
    comparison: { requests: 100, errors: 0, p99Ms: 100 },
  });

  it('has the difference of the error rates of all so far, with its interval', () => {
    const { errorRate, errorDifference, times } = stageLines({ points: [point(1, 10, 100), point(2, 0, 100)] });
    assert.deepEqual(times, [1, 2]);
    assert.deepEqual(errorRate.canary, [0.1, 0]);
    assert.deepEqual(errorDifference.value, [0.1, 0.05]);
    // Newcombe's interval, method 10, of 10/200 against 0/200.
    assert.ok(Math.abs((errorDifference.lower[1] ?? 0) - 0.0206) < 0.0001, String(errorDifference.lower[1]));
    assert.ok(Math.abs((errorDifference.upper[1] ?? 0) - 0.0896) < 0.0001, String(errorDifference.upper[1]));
  });

  it('has the ratio of the p99 as soon as there are moments enough, and none without histograms', () => {
    const slow = stageLines({ points: [1, 2, 3, 4, 5].map((i) => point(i, 0, 150 + i)) }).p99Ratio;
    assert.deepEqual(slow.value.slice(0, 3), [null, null, null]);
    assert.ok(Math.abs((slow.value[4] ?? 0) - 1.53) < 1e-9);
    assert.ok((slow.lower[4] ?? 0) >= 1.51 - 1e-9 && (slow.upper[4] ?? 9) <= 1.55 + 1e-9);
    assert.deepEqual(stageLines({ points: [1, 2, 3, 4, 5].map((i) => point(i, 0, null)) }).p99Ratio.value, [
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  it('does without requests and without a comparison', () => {
    const quiet: LivePoint = { atMs: 0, canary: { requests: 0, errors: 0, p99Ms: null }, comparison: null };
    assert.deepEqual(stageLines({ points: [quiet] }).errorRate, { canary: [null], comparison: [null] });
    assert.equal(errorSentence({ points: [quiet] }), 'Errors so far: canary no requests.');
  });
});

describe('what changed since it was shown', () => {
  const { view } = waiting();
  const other = { ...PLAN, digest: 'sha256:other' as typeof PLAN.digest };
  const now = (change: Partial<typeof view>): typeof view => ({
    ...view,
    approvals: { ...view.approvals!, planDigest: 'sha256:other' },
    plan: other,
    ...change,
  });

  it('is nothing while the digest is the same', () => {
    assert.deepEqual(changesOf(view, { ...view, decisions: [] } as typeof view), []);
  });

  it('is said by what it was and what it is', () => {
    const stages = PLAN.stages.slice(0, 1);
    assert.deepEqual(changesOf(view, now({ plan: { ...other, stages } })), [
      'the plan is canary_10: 10 % for 15 min, then all, and was canary_10: 10 % for 15 min, 50 % for 15 min (after approval), then all',
    ]);
    assert.deepEqual(changesOf(view, now({ plan: { ...other, stableVersion: 'checkout:v1.8.1' } })), [
      'stable runs checkout:v1.8.1, and ran checkout:v1.8.0',
    ]);
  });

  it('is said by the workflow where a view does not hold it, and never left out', () => {
    const asked = { ...view.approvals!, planDigest: 'sha256:other' };
    const evidence = ['evidence 1f2e is new'];
    assert.deepEqual(changesOf(view, { ...view, approvals: { ...asked, changed: evidence } }), evidence);
    assert.match(changesOf(view, { ...view, approvals: asked })[0] ?? '', /another digest/);
  });
});

const program = await findChromium();

describe(
  'the page in Chromium',
  { skip: program === undefined ? 'needs Chromium: SLIPWAY_CHROMIUM, or PATH' : false },
  () => {
    let browser: Browser;
    let server: FixtureServer;
    const tabs: Tab[] = [];

    before(async () => {
      browser = await launch(program!);
      server = await FixtureServer.start();
    });
    after(async () => {
      await browser.close();
      await server.stop();
    });

    /** A tab of a person of its own; all that it complains of is looked at when the test is over. */
    async function open(where: string, screen: ScreenName = 'light'): Promise<Tab> {
      const tab = await openTab(browser, `${server.url}${where}`, screen);
      tabs.push(tab);
      return tab;
    }

    function test(name: string, body: () => Promise<void>): void {
      it(name, async () => {
        Object.assign(server, {
          me: me(),
          open: runsInFlight(),
          ended: runsEnded(),
          refusal: null,
          login: { oidc: '/login/oidc', tokens: true },
        });
        server.answer = () => ({ status: 200, body: { kind: 'accepted', text: 'approved by linus@example.com' } });
        server.runs.clear();
        server.runs.set(ID, waiting());
        server.received.length = 0;
        try {
          await body();
          for (const tab of tabs) {
            assert.deepEqual(tab.complaints, []);
            assert.deepEqual(tab.strangers, []);
          }
        } finally {
          for (const tab of tabs.splice(0)) await tab.context.close();
        }
      });
    }

    const ROLLOUT = `/rollouts/${ID}`;
    const live = (page: Page): Promise<void> => page.locator('.link-state.live').waitFor();

    /** Pages in all states that a person can meet, and how to come there. */
    const STATES: Readonly<
      Record<string, { readonly path: string; readonly set?: () => void; readonly go?: (page: Page) => Promise<void> }>
    > = {
      list: { path: '/' },
      'empty list': { path: '/', set: () => Object.assign(server, { open: none(), ended: none() }) },
      'waiting rollout': { path: ROLLOUT },
      'rollout in its canary': { path: ROLLOUT, set: () => void server.runs.set(ID, inCanary()) },
      'rolled-back rollout': { path: ROLLOUT, set: () => void server.runs.set(ID, rolledBack()) },
      'open dialog': {
        path: ROLLOUT,
        go: (page) => page.getByRole('button', { name: 'Approve', exact: true }).click(),
      },
      'refused decision': {
        path: ROLLOUT,
        set: () =>
          (server.answer = () => ({
            status: 409,
            body: problemOf(409, 'The decision does not count now', 'you wrote it', 'ask somebody else'),
          })),
        go: async (page) => {
          await page.getByRole('button', { name: 'Approve', exact: true }).click();
          await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
          await page.getByText('you wrote it').waitFor();
        },
      },
      disconnected: {
        path: ROLLOUT,
        go: async (page) => {
          await live(page);
          server.refusal = { status: 503, body: {} };
          server.cut();
          await page.locator('.notice.lost').waitFor();
        },
      },
      'ended session': {
        path: '/',
        go: async (page) => {
          await live(page);
          server.refusal = { status: 401, body: problemOf(401, 'Your session is over', 'it ended', 'log in again') };
          server.cut();
          await page.locator('.notice.refused').waitFor();
        },
      },
      'machine without login': { path: '/', set: () => (server.me = me({ local: true })) },
      login: { path: '/login', set: () => (server.me = null) },
      'what is not there': { path: '/rollouts/0000' },
    };

    for (const [name, { path: where, set, go }] of Object.entries(STATES))
      test(`${name}: axe finds nothing serious, light and dark, wide and narrow, and nothing is wider than the screen`, async () => {
        set?.();
        const { page } = await open(where);
        await page.locator('main').waitFor();
        await go?.(page);
        for (const [screen, { viewport, colorScheme }] of Object.entries(SCREENS)) {
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme });
          assert.deepEqual(await seriousFindings(page), [], screen);
          assert.equal(await page.evaluate('document.documentElement.scrollWidth'), viewport.width, screen);
        }
      });

    test('paints in less than a second', async () => {
      server.runs.set(ID, inCanary());
      const painted: number[] = [];
      for (let i = 0; i < 3; i++) {
        const { page } = await open(ROLLOUT);
        await page.locator('h1').waitFor();
        const paint = 'performance.getEntriesByName("first-contentful-paint")[0]?.startTime';
        await seen(page, paint);
        painted.push(await page.evaluate<number>(paint));
      }
      // What else this machine does makes a paint later, never earlier.
      const fastest = Math.min(...painted);
      console.log(`first contentful paint: ${painted.map(Math.round).join(', ')} ms`);
      assert.ok(fastest < 1000, `${fastest} ms`);
    });

    test('shows text of others as text', async () => {
      const { view } = waiting();
      const hostile = documentOf(
        {
          ...view,
          releaseName: EVIL,
          lane: { environment: EVIL, service: EVIL },
          actor: { ...view.actor, name: EVIL, subject: EVIL },
          release: {
            ...view.release,
            images: { [EVIL]: EVIL },
            env: { [EVIL]: '1' },
            change: {
              ...view.release.change,
              message: EVIL,
              author: EVIL,
              files: [{ path: EVIL, added: 1, deleted: 1 }],
            },
          },
          wait: { ...view.wait!, reason: EVIL, who: EVIL },
          approvals: { ...view.approvals!, groups: [EVIL], approvedBy: [EVIL] },
          decisions: view.decisions.map((one) => ({
            ...one,
            reason: EVIL,
            actor: { ...one.actor, name: EVIL, subject: EVIL },
          })),
          timeline: [{ at: ago(3), phase: 'accepted', tone: 'bad', text: EVIL }],
          warnings: [EVIL],
        },
        {
          offers: [{ ...offer('approve'), does: EVIL, command: EVIL }],
          links: { page: '', temporalWeb: 'javascript:alert(3)', record: null },
        },
      );
      server.runs.set(ID, hostile);
      server.open = {
        ...runsInFlight(),
        runs: [{ ...summary(ID, {}), service: EVIL, environment: EVIL, release: EVIL, waitsFor: EVIL }],
      };
      for (const where of [ROLLOUT, '/']) {
        const { page } = await open(where);
        page.on('dialog', () => assert.fail('a script of others ran'));
        await live(page);
        if (where !== '/') await page.getByRole('button', { name: 'Approve', exact: true }).click();
        assert.ok((await page.getByText('<script>alert(1)</script>').count()) > 0);
        assert.equal(
          await page.evaluate('document.querySelectorAll("img, main script, a[href^=javascript]").length'),
          0,
        );
        const shown = await page.evaluate<string>('document.querySelector("main").textContent + document.title');
        assert.doesNotMatch(shown, /\u202E/);
      }
    });

    test('puts what waits for me first, counts it in the title, and follows without reloading', async () => {
      const { page } = await open('/');
      await live(page);
      assert.equal(await page.title(), '(2) Rollouts · Slipway');
      assert.deepEqual(await page.locator('.runs h2').allInnerTexts(), [
        'Waiting for me\n2',
        'In flight\n4',
        'Recently ended\n5',
      ]);
      server.open = {
        ...runsInFlight(),
        runs: [
          ...runsInFlight().runs,
          summary('n1', { service: 'brand-new', waitsForMe: true, status: 'awaiting-approval', waitsFor: 'approval' }),
        ],
      };
      server.push('/events', { event: 'runs', data: server.open });
      await page.getByRole('link', { name: 'brand-new' }).waitFor();
      assert.equal(await page.title(), '(3) Rollouts · Slipway');
      assert.equal(await page.getByRole('alert').innerText(), '3 waiting for you');
    });

    test('says of one in the queue how many are ahead, and links to the one that has the lane', async () => {
      const { page } = await open('/');
      await live(page);
      const row = page.getByRole('row').filter({ hasText: 'catalog:v42' });
      assert.match(await row.innerText(), /queued\s+1 ahead, behind a2/);
      assert.equal(await row.getByRole('link', { name: 'a2' }).getAttribute('href'), '/rollouts/a2');
    });

    test('moves a rollout that ended to the others that did', async () => {
      const { page } = await open('/');
      await live(page);
      const [gone, ...rest] = runsInFlight().runs;
      server.ended = {
        ...runsEnded(),
        runs: [
          { ...gone!, endedAt: new Date().toISOString(), status: 'completed', outcome: 'completed' },
          ...runsEnded().runs,
        ],
      };
      server.push('/events', { event: 'runs', data: { ...runsInFlight(), runs: rest } });
      const first = page.locator('section[aria-labelledby="recently-ended"] tbody tr').first();
      await first.getByText('checkout:v1.9.0').waitFor();
      assert.equal(await page.title(), '(1) Rollouts · Slipway');
    });

    test('filters by service, environment and state, and keeps the filter in the address', async () => {
      const { page } = await open('/');
      await page.getByRole('searchbox').fill('catalog');
      assert.deepEqual(await page.locator('.runs tbody th').allInnerTexts(), ['catalog', 'catalog', 'catalog']);
      await page.getByRole('combobox', { name: 'State' }).selectOption('over');
      assert.deepEqual(await page.locator('.runs tbody .release').allInnerTexts(), ['catalog:v40']);
      await page.getByRole('searchbox').fill('');
      await page.getByRole('combobox', { name: 'State' }).selectOption('');
      await page.getByRole('combobox', { name: 'Environment' }).selectOption('staging');
      assert.match(page.url(), /\?environment=staging$/);
      await page.reload();
      assert.deepEqual(await page.locator('.runs tbody th').allInnerTexts(), ['mailer']);
    });

    test('draws a burst of events once a frame', async () => {
      const { page } = await open('/');
      await live(page);
      await page.evaluate(`
      globalThis.changes = 0;
      new MutationObserver(() => globalThis.changes++).observe(document.querySelector('main'), { childList: true, subtree: true, characterData: true });
    `);
      for (let i = 0; i < 200; i++)
        server.push('/events', {
          event: 'runs',
          data: { ...runsInFlight(), runs: [summary('burst', { release: `burst:${i}` })] },
        });
      await page.getByText('burst:199').waitFor();
      const changes = await page.evaluate<number>('globalThis.changes');
      assert.ok(changes < 60, `${changes} renders of 200 events`);
    });

    test('sends a decision once, with what was shown, by keyboard alone', async () => {
      const { page } = await open(ROLLOUT);
      await live(page);
      const approve = page.getByRole('button', { name: 'Approve', exact: true });
      for (let i = 0; i < 20 && !(await approve.evaluate((element) => element.matches(':focus'))); i++)
        await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      const dialog = page.getByRole('dialog');
      await dialog.waitFor();
      // The focus is inside, and on the reason.
      await page.keyboard.type("it's fine");
      assert.match(
        await dialog.locator('.command code').innerText(),
        /slipway approve 3f2a9c1e5b7d8f00 --reason 'it'\\''s fine'$/,
      );
      for (let i = 0; i < 6; i++) {
        await page.keyboard.press('Tab');
        if (await dialog.getByRole('button', { name: 'Approve' }).evaluate((element) => element.matches(':focus')))
          break;
      }
      await page.keyboard.press('Enter');
      await page.getByText('It counts.').waitFor();
      await page.keyboard.press('Enter');
      await dialog.waitFor({ state: 'hidden' });
      // Back to where it was.
      assert.equal(await approve.evaluate((element) => element.matches(':focus')), true);
      const [sent, ...more]: readonly Received[] = server.received;
      assert.deepEqual(more, []);
      assert.equal(sent?.path, `/runs/${ID}/decisions`);
      assert.equal(sent.headers['x-slipway-csrf'], 'csrf-of-this-session');
      assert.deepEqual(
        { ...sent.body, id: null },
        { id: null, verb: 'approve', gate: 'release', planDigest: PLAN.digest, reason: "it's fine" },
      );
    });

    test('says the same decision again where nobody answered', async () => {
      const { page } = await open(ROLLOUT);
      await page.getByRole('button', { name: 'Approve', exact: true }).click();
      server.answer = () => null;
      await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
      await page.getByText('It may have arrived').waitFor();
      server.answer = () => ({ status: 202, body: { kind: 'recorded', text: 'no worker is up' } });
      await page.getByRole('dialog').getByRole('button', { name: 'Send again' }).click();
      await page.getByText('Recorded; no worker is up').waitFor();
      const ids = new Set(server.received.map(({ body }) => body['id']));
      assert.equal(ids.size, 1);
      assert.ok(server.received.length >= 2);
      assert.match(String([...ids][0]), /^page-[0-9a-f]{32}$/);
    });

    test('asks for a new login where the old one is too old, and comes back here', async () => {
      const { page } = await open(ROLLOUT);
      server.answer = () => ({
        status: 401,
        body: problemOf(401, 'Your login is too old for this', 'it was at 9', 'x'),
      });
      await page.getByRole('button', { name: 'Approve', exact: true }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
      const again = page.getByRole('dialog').getByRole('link', { name: 'Log in again' });
      assert.equal(await again.getAttribute('href'), `/login?fresh=1&return=${encodeURIComponent(ROLLOUT)}`);
    });

    test('stops a decision on what has changed meanwhile, and says what', async () => {
      const { page } = await open(ROLLOUT);
      await live(page);
      await page.getByRole('button', { name: 'Approve', exact: true }).click();
      const { view } = waiting();
      const plan = { ...PLAN, digest: 'sha256:another' as typeof PLAN.digest, stableVersion: 'checkout:v1.8.1' };
      server.change({
        ...waiting(),
        view: { ...view, plan, approvals: { ...view.approvals!, planDigest: plan.digest } },
      });
      const dialog = page.getByRole('dialog');
      await dialog.getByText('stable runs checkout:v1.8.1, and ran checkout:v1.8.0').waitFor();
      assert.equal(await dialog.getByRole('button', { name: 'Approve' }).getAttribute('aria-disabled'), 'true');
      await dialog.getByRole('button', { name: 'Approve' }).click({ force: true });
      await page.waitForTimeout(200);
      assert.deepEqual(server.received, []);
    });

    test('stops a decision that is no longer possible; its button keeps its place', async () => {
      const { page } = await open(ROLLOUT);
      await live(page);
      const places = () => page.locator('.actions button.button').allInnerTexts();
      const before = (await places()).slice(0, 4);
      await page.getByRole('button', { name: 'Reject', exact: true }).click();
      server.change({ ...waiting(), offers: [offer('pause'), offer('abort')] });
      await page.getByRole('dialog').getByText('not possible any more').waitFor();
      await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
      assert.deepEqual(await places(), before);
      const approve = page.getByRole('button', { name: 'Approve', exact: true });
      assert.equal(await approve.getAttribute('aria-disabled'), 'true');
      await approve.click({ force: true });
      assert.equal(await page.getByRole('dialog').count(), 0);
    });

    test('asks for a reason where one is needed', async () => {
      const { page } = await open(ROLLOUT);
      await page.getByRole('button', { name: 'Reject', exact: true }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByRole('button', { name: 'Reject' }).click({ force: true });
      assert.equal(server.received.length, 0);
      await dialog.getByRole('textbox').fill('not on a Friday');
      await dialog.getByRole('button', { name: 'Reject' }).click();
      await page.getByText('It counts.').waitFor();
      assert.deepEqual(
        server.received.map(({ body }) => body['reason']),
        ['not on a Friday'],
      );
    });

    test('tells that the connection is lost, of when its numbers are, and that it is back', async () => {
      const { page } = await open(ROLLOUT);
      await live(page);
      server.refusal = { status: 503, body: problemOf(503, 'Temporal does not answer', 'x', 'y') };
      server.cut();
      const notice = page.locator('.notice.lost');
      await notice.waitFor();
      assert.match(
        await notice.innerText(),
        /The connection to the server is lost\. What you see is as of \d\d:\d\d:\d\d/,
      );
      assert.equal(await page.getByRole('alert').innerText(), 'The connection is lost; what is shown may be old.');
      // What came meanwhile is there as soon as it is back: one non-200 answer has not ended it.
      server.runs.set(ID, inCanary());
      await notice.getByText(/Next try in [3-9] s/).waitFor();
      server.refusal = null;
      await notice.getByRole('button', { name: 'Try now' }).click();
      await live(page);
      await page.locator('h1 .pill').getByText('canary').waitFor();
      assert.equal(await notice.count(), 0);
      assert.equal(await page.getByRole('alert').innerText(), 'The connection is back.');
    });

    test('tells a machine that is offline from a server that is gone', async () => {
      const { page, context } = await open('/');
      await live(page);
      await context.setOffline(true);
      server.cut();
      await page.locator('.notice.offline').waitFor();
      await context.setOffline(false);
      await live(page);
    });

    test('shares one stream between the tabs of a browser, and takes it over when its tab closes', async () => {
      const first = await open(ROLLOUT);
      await live(first.page);
      const second = await tabIn(first.context, `${server.url}${ROLLOUT}`);
      await live(second.page);
      assert.deepEqual(server.openStreams, [`/runs/${ID}/events`]);
      server.change(inCanary());
      for (const { page } of [first, second]) await page.locator('h1 .pill').getByText('canary').waitFor();
      await first.page.close();
      await second.page.waitForTimeout(500);
      server.change(rolledBack());
      await second.page.locator('h1 .pill').getByText('rolled back').waitFor();
      assert.deepEqual(second.complaints, []);
    });

    test('shares nothing between the tabs of two people, who were logged in one after the other', async () => {
      const first = await open(ROLLOUT);
      await live(first.page);
      const linus = server.me;
      // The other one may see another state of it: another offer, another row.
      server.me = me({
        identity: { ...me().identity, subject: 'eve@example.com', name: 'Eve' },
        csrf: 'eve-s-csrf-token',
      });
      server.runs.set(ID, inCanary());
      const second = await tabIn(first.context, `${server.url}${ROLLOUT}`);
      await live(second.page);
      assert.deepEqual(server.openStreams, [`/runs/${ID}/events`, `/runs/${ID}/events`]);
      // What another tab has of before would come in this time.
      await second.page.waitForTimeout(500);
      assert.equal(await second.page.locator('h1 .pill').innerText(), 'canary');
      assert.equal(await first.page.locator('h1 .pill').innerText(), 'waits for approval');
      // A further login of the same person is another one too: what may be seen may have changed.
      server.me = { ...linus!, csrf: 'later-csrf-token' };
      const third = await tabIn(first.context, `${server.url}${ROLLOUT}`);
      await live(third.page);
      assert.equal(server.openStreams.length, 3);
      assert.deepEqual(
        server.streamHeaders.slice(-3).map((headers) => headers['x-slipway-csrf']),
        ['csrf-of-this-session', 'eve-s-csrf-token', 'later-csrf-token'],
        'each says whose it is',
      );
    });

    test('ends in all tabs of a login with it, and in no others', async () => {
      const first = await open(ROLLOUT);
      await live(first.page);
      const second = await tabIn(first.context, `${server.url}${ROLLOUT}`);
      const list = await tabIn(first.context, `${server.url}/`);
      server.me = me({ csrf: 'later-csrf-token' });
      const later = await tabIn(first.context, `${server.url}/`);
      for (const { page } of [second, list, later]) await live(page);
      server.answer = () => ({ status: 200, body: null });
      await list.page.getByRole('button', { name: 'Log out' }).click();
      await list.page.waitForURL(`${server.url}/login`);
      for (const { page } of [first, second]) await page.getByText('Your session is over.').waitFor();
      await until('its streams are closed', () => server.openStreams.length === 1);
      server.change(inCanary());
      await first.page.waitForTimeout(500);
      for (const { page } of [first, second])
        assert.equal(await page.locator('h1 .pill').innerText(), 'waits for approval', 'nothing more is shown');
      assert.equal(await later.page.locator('.link-state.live').count(), 1);
    });

    test('leaves connections for decisions however many tabs are open', async () => {
      const first = await open('/');
      await live(first.page);
      const others: Tab[] = [];
      for (let i = 0; i < 6; i++) {
        const id = `tab${i}`;
        server.runs.set(id, documentOf({ ...waiting().view, rolloutId: id as never }, { offers: [offer('approve')] }));
        others.push(await tabIn(first.context, `${server.url}/rollouts/${id}`));
        await others[i]!.page.locator('.link-state.live, .link-state.asking').waitFor();
      }
      assert.equal(server.openStreams.length, 4);
      const { page } = others[5]!;
      await page.getByRole('button', { name: 'Approve', exact: true }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
      await page.getByText('It counts.').waitFor();
    });

    test('keeps the focus where it is while numbers change under it', async () => {
      server.runs.set(ID, inCanary(0.3));
      const { page } = await open(ROLLOUT);
      await live(page);
      const abort = page.getByRole('button', { name: 'Abort', exact: true });
      await abort.focus();
      await page.locator('.sentence').first().waitFor();
      const sentence = await page.locator('.sentence').first().innerText();
      for (const share of [0.5, 0.7, 0.9])
        server.push(`/runs/${ID}/events`, { event: 'live', data: inCanary(share).live! });
      await seen(page, `document.querySelector('.sentence').innerText !== ${JSON.stringify(sentence)}`);
      assert.equal(await abort.evaluate((element) => element.matches(':focus')), true);
    });

    test('draws both arms, their difference and its interval, and has the numbers as a table', async () => {
      server.runs.set(ID, inCanary());
      const { page } = await open(ROLLOUT);
      await page.locator('.plot canvas').first().waitFor();
      assert.equal(await page.locator('.plot canvas').count(), 4);
      // Something of the arms' colours is drawn.
      const painted = await page.evaluate<number>(`(() => {
      const canvas = document.querySelector('.plot canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let i = 0; i < data.length; i += 4) if (data[i] > 150 && data[i + 1] < 100 && data[i + 2] < 60 && data[i + 3] > 200) found++;
      return found;
    })()`);
      assert.ok(painted > 50, `${painted} pixels of the canary's line`);
      assert.match(
        (await page.getByRole('img').first().getAttribute('aria-label')) ?? '',
        /^Error rate\. Errors so far: canary [\d.]+ %/,
      );
      await page.getByText('The numbers of Error rate', { exact: true }).click();
      const rows = await page
        .getByRole('region', { name: 'The numbers of Error rate', exact: true })
        .locator('tbody tr')
        .count();
      assert.equal(rows, inCanary().live!.points.length);
    });

    test('plots a stage that is over from what was stored of it', async () => {
      server.runs.set(ID, { ...rolledBack(), live: null });
      const { page } = await open(ROLLOUT);
      const plot = page.getByRole('button', { name: 'Plot what was seen in stage 1' });
      await plot.click();
      await page.getByText('There is nothing here').waitFor();
      server.evidence = recordedInput(ARMS.bad);
      await plot.click();
      await page.locator('.plot canvas').first().waitFor();
      assert.match(
        await page.locator('.plot .sentence').first().innerText(),
        /canary 5\.\d+ % \(\d+ of \d+ requests\)/,
      );
      assert.equal(await plot.count(), 0);
    });

    test('reads states out, and never the numbers that tick', async () => {
      server.runs.set(ID, inCanary(0.3));
      const { page } = await open(ROLLOUT);
      await live(page);
      assert.equal(await page.getByRole('status').innerText(), '');
      server.push(`/runs/${ID}/events`, { event: 'live', data: inCanary(0.6).live! });
      const next = inCanary(0.1, { stage: 2, weights: { stable: 25, canary: 50, baseline: 25 } });
      server.change(next);
      await seen(
        page,
        `document.querySelector('[role=status]').textContent === 'checkout:v1.9.0 in production: canary stage 2 of 2'`,
      );
      server.change(rolledBack());
      await seen(page, `/rolled-back/.test(document.querySelector('[role=alert]').textContent)`);
    });

    test('logs in by a token that it does not keep, and back to where it was asked for', async () => {
      server.me = null;
      const { page } = await open(`/login?return=${encodeURIComponent(ROLLOUT)}`);
      assert.equal(
        await page.getByRole('link', { name: 'Log in with your organisation' }).getAttribute('href'),
        `/login/oidc?return=${encodeURIComponent(ROLLOUT)}`,
      );
      server.answer = () => ({
        status: 401,
        body: problemOf(401, 'The token is not accepted', 'it is unknown.', 'Get a new one.'),
      });
      await page.getByLabel('Token').fill('slp_x_y_z');
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.getByText('The token is not accepted').waitFor();
      server.answer = () => ({ status: 200, body: {} });
      server.me = me();
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.waitForURL(`**${ROLLOUT}`);
      assert.deepEqual(server.received.map(({ path: asked, body }) => ({ asked, body })).at(-1), {
        asked: '/login/token',
        body: { token: 'slp_x_y_z' },
      });
      assert.equal(await page.evaluate('JSON.stringify(localStorage) + JSON.stringify(sessionStorage)'), '{}{}');
    });

    test('says at the gate that nobody who is known can open it', async () => {
      const remark = 'approval of checkout in production: 2 of security must approve: 1 of security can’t be had';
      server.runs.set(ID, { ...waiting(), remarks: [remark] });
      const { page } = await open(ROLLOUT);
      await live(page);
      await page.locator('.gate').getByText(remark).waitFor();
      server.change(waiting());
      await page.locator('.gate').getByText(remark).waitFor({ state: 'detached' });
    });

    test('does not fall over data that is half there', async () => {
      const { view } = waiting();
      const early = documentOf({
        ...view,
        phase: 'accepted',
        status: 'queued',
        plan: null,
        assessment: null,
        approvals: null,
        wait: null,
        weights: null,
        timeline: [],
        decisions: [],
      });
      server.runs.set(ID, early);
      const { page } = await open(ROLLOUT);
      await live(page);
      assert.equal(await page.locator('h1 .pill').innerText(), 'queued');
      // A field that this page does not know, and a stage without a point, are no reason to stop.
      const { live: seen } = inCanary();
      server.change({ ...inCanary(), live: { ...seen!, points: [], looks: [] } });
      await page.getByText('no request was seen yet').waitFor();
    });

    if (PICTURES !== null)
      test('is what docs/page shows', async () => {
        const shown = { browser, folder: PICTURES };
        await takePictures({ ...shown, name: 'list', url: `${server.url}/` });
        await takePictures({ ...shown, name: 'waiting', url: `${server.url}${ROLLOUT}` });
        await takePictures({
          ...shown,
          name: 'dialog',
          url: `${server.url}${ROLLOUT}`,
          screenOnly: true,
          prepare: (page) => page.getByRole('button', { name: 'Approve', exact: true }).click(),
        });
        server.runs.set(ID, inCanary());
        await takePictures({ ...shown, name: 'canary', url: `${server.url}${ROLLOUT}` });
        server.runs.set(ID, rolledBack());
        await takePictures({ ...shown, name: 'rolled-back', url: `${server.url}${ROLLOUT}` });
        server.me = null;
        await takePictures({ ...shown, name: 'login', url: `${server.url}/login` });
      });
  },
);

/** Waits until an expression holds in the page; by the debugger, as the page's policy lets nothing be evaluated inside. */
async function seen(page: Page, expression: string): Promise<void> {
  await until(expression, () => page.evaluate<boolean>(`Boolean(${expression})`), 15_000);
}

function none() {
  return { runs: [], next: null, asOf: new Date().toISOString() };
}
