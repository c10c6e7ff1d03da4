/** People with browsers before a real server, a real Temporal, a real gateway, and rollouts under traffic. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import type { RunDocument, StartedRun } from '../../client/server/contract.js';
import type { Role } from '../../domain/people.js';
import { startSlipwayServer } from '../../tools/slipway-server.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import type { Server } from '../../tools/supervise.js';
import { startTraffic } from '../../tools/traffic.js';
import { findChromium } from '../support/chromium.js';
import { serviceYaml } from '../support/cli.js';
import { until } from '../support/drive.js';
import { call } from '../support/server.js';
import { launch, openTab, seriousFindings } from './looks.js';
import type { Tab } from './looks.js';

const PEOPLE: Readonly<Record<string, readonly Role[]>> = {
  author: ['deployer', 'approver'],
  approver: ['approver'],
  approver2: ['approver'],
  viewer: ['viewer'],
  admin: ['admin', 'breakglass'],
};
const SOON = 60_000;

const program = await findChromium();

describe(
  'people before a rollout',
  { skip: program === undefined ? 'needs Chromium: SLIPWAY_CHROMIUM, or PATH' : false },
  () => {
    let stack: Stack;
    let server: Server;
    let browser: Browser;
    let url: string;
    let tokens: Readonly<Record<string, string>>;
    const tabs = new Map<string, Tab>();

    before(async () => {
      stack = await startStack({ maxReplicas: 24 });
      await stack.startWorker();
      ({ url, server, tokens } = await startSlipwayServer(stack, { people: PEOPLE, tokensForMs: 86_400_000 }));
      browser = await launch(program!);
    });
    after(async () => {
      await browser.close();
      await stack.stop();
    });

    async function ship(service: string, tag: string, more: readonly string[]): Promise<string> {
      const slipwayYaml = serviceYaml({ service, gateway: stack.adminUrl, more });
      const change = { author: 'author@example.com', message: `${tag} of ${service}` };
      const started = await call<StartedRun>(`${url}/runs`, {
        token: tokens['author'],
        headers: { 'Idempotency-Key': `${service}-${tag}` },
        body: { task: 'deploy', payload: { service, environment: 'local', tag, slipwayYaml, change } },
      });
      assert.ok(started.status === 202, started.text);
      return started.body.run_id;
    }

    async function runOf(id: string): Promise<RunDocument> {
      return (await call<RunDocument>(`${url}/runs/${id}`, { token: tokens['viewer'] })).body;
    }

    async function first(service: string): Promise<void> {
      const id = await ship(service, 'v1', []);
      await until(`${service}:v1 serves`, async () => (await runOf(id)).view.outcome === 'completed');
    }

    /** A person's browser, logged in by the form, at a path. */
    async function as(name: string, where: string): Promise<Page> {
      const known = tabs.get(name);
      if (known !== undefined) {
        await known.page.goto(`${url}${where}`);
        return known.page;
      }
      const tab = await openTab(browser, `${url}${where}`);
      tab.page.setDefaultTimeout(SOON);
      tabs.set(name, tab);
      await tab.page.getByLabel('Token').fill(tokens[name] ?? '');
      await tab.page.getByRole('button', { name: 'Log in' }).click();
      await tab.page.locator('.link-state').waitFor();
      assert.equal(new URL(tab.page.url()).pathname, where);
      return tab.page;
    }

    const state = (page: Page, word: string): Promise<void> =>
      page.locator('h1 .pill').getByText(word, { exact: true }).waitFor();

    async function say(page: Page, verb: string, reason?: string): Promise<void> {
      await page.locator('.actions').getByRole('button', { name: verb, exact: true }).click();
      const dialog = page.getByRole('dialog');
      if (reason !== undefined) await dialog.getByRole('textbox').fill(reason);
      await dialog.getByRole('button', { name: verb, exact: true }).click();
      await dialog.getByText('It counts.').waitFor();
      await dialog.getByRole('button', { name: 'Close' }).click();
    }

    function nothingComplained(): void {
      for (const [name, { complaints, strangers }] of tabs)
        assert.deepEqual({ name, complaints, strangers }, { name, complaints: [], strangers: [] });
    }

    it('is refused as the author, approved by two, watched, paused, resumed and aborted', async () => {
      await first('quorum');
      const traffic = startTraffic({ url: `${stack.dataUrl}/local/quorum/`, perSecond: 40 });
      try {
        const policy = ['approval: { required: always, quorum: 2 }', 'stages: [{ weight: 50%, for: 10m }]'];
        const id = await ship('quorum', 'v2', policy);
        const where = `/rollouts/${id}`;

        const author = await as('author', where);
        await state(author, 'waits for approval');
        const own = author.locator('.actions li').filter({ has: author.getByRole('button', { name: 'Approve' }) });
        assert.equal(await own.getByRole('button').getAttribute('aria-disabled'), 'true');
        assert.match(await own.innerText(), /author@example\.com wrote or started/);

        const viewer = await as('viewer', where);
        await state(viewer, 'waits for approval');
        assert.equal(await viewer.locator('.actions button:not([aria-disabled=true])').count(), 0);

        const list = await as('approver', '/');
        await list.locator('.runs.loud').getByRole('link', { name: 'quorum' }).click();
        await say(list, 'Approve', 'read the diff');
        // Everybody sees it without reloading.
        await viewer.locator('.quorum .given').getByText('approver@example.com').waitFor();
        assert.equal((await runOf(id)).view.approvals?.approvedBy.length, 1);
        await say(await as('approver2', where), 'Approve');
        await state(viewer, 'canary');

        const sentence = viewer.locator('.plot .sentence').first();
        await sentence.waitFor();
        const before = await sentence.innerText();
        await until('the plots move', async () => (await sentence.innerText()) !== before);
        assert.match(
          await sentence.innerText(),
          /canary 0 % \(0 of \d+ requests\), comparison 0 % \(0 of \d+ requests\)/,
        );
        assert.ok((await viewer.locator('.plot canvas').count()) >= 2);
        assert.deepEqual(await seriousFindings(viewer), []);

        const approver = await as('approver', where);
        await say(approver, 'Pause', 'looking at a graph');
        await state(viewer, 'held');
        await viewer.locator('.waiting').getByText('it is paused').waitFor();
        await say(approver, 'Resume');
        await state(viewer, 'canary');
        await say(approver, 'Abort', 'enough seen');
        await state(viewer, 'aborted');
        const { view } = await runOf(id);
        assert.deepEqual(
          view.decisions.map(({ verb, actor }) => [verb, actor.subject, actor.via]),
          [
            ['approve', 'approver@example.com', 'token'],
            ['approve', 'approver2@example.com', 'token'],
            ['pause', 'approver@example.com', 'token'],
            ['resume', 'approver@example.com', 'token'],
            ['abort', 'approver@example.com', 'token'],
          ],
        );
        assert.ok(view.decisions.filter(({ verb }) => verb === 'approve').every(({ actor }) => actor.verified));
        assert.equal(view.weights?.canary ?? 0, 0);
        nothingComplained();
      } finally {
        await traffic.stop();
      }
    });

    it('is promoted by the judge, and can be looked at afterwards: plots, record, trail', async () => {
      await first('judged');
      const traffic = startTraffic({ url: `${stack.dataUrl}/local/judged/`, perSecond: 40 });
      try {
        const id = await ship('judged', 'v2', ['stages: [{ weight: 50%, for: 5s }]']);
        await until('the rollout ends', async () => (await runOf(id)).view.outcome === 'completed');
        const page = await as('viewer', `/rollouts/${id}`);
        await page.locator('.verdict.PROMOTE').first().waitFor();
        await page.getByRole('button', { name: 'Plot what was seen in stage 1' }).click();
        await page.locator('.plot canvas').first().waitFor();
        assert.match(
          await page.locator('.plot .sentence').first().innerText(),
          /canary 0 % \(0 of [1-9]\d* requests\)/,
        );
        for (const name of ['Decision record (JSON)', 'Trail (JSON)']) {
          const download = page.waitForEvent('download');
          await page.getByRole('link', { name }).click();
          const text = await readFile(await (await download).path(), 'utf8');
          assert.match(text, new RegExp(id), name);
        }
        nothingComplained();
      } finally {
        await traffic.stop();
      }
    });

    it('is rejected, with its reason', async () => {
      const id = await ship('rejected', 'v1', ['approval: { required: always }']);
      const page = await as('approver', `/rollouts/${id}`);
      await state(page, 'waits for approval');
      await say(page, 'Reject', 'not on a Friday');
      await state(page, 'rejected');
      await page.locator('.decisions').getByText('not on a Friday').waitFor();
      nothingComplained();
    });

    it('expires by itself where nobody says anything', async () => {
      const id = await ship('expired', 'v1', ['approval: { required: always }', 'waits: { approval: 12s }']);
      const page = await as('viewer', `/rollouts/${id}`);
      await page
        .locator('.deadline')
        .getByText(/left, then rejected/)
        .waitFor();
      await state(page, 'rejected');
      assert.equal((await runOf(id)).view.reason?.code, 'approval-expired');
      nothingComplained();
    });

    it('goes past the others by break-glass, which is marked for ever', async () => {
      const id = await ship('glass', 'v1', ['approval: { required: always, quorum: 2 }']);
      const others = await as('approver', `/rollouts/${id}`);
      await state(others, 'waits for approval');
      assert.equal(
        await others.getByRole('button', { name: 'Break glass' }).count(),
        0,
        'not for those without the role',
      );
      const admin = await as('admin', `/rollouts/${id}`);
      await state(admin, 'waits for approval');
      await say(admin, 'Break glass', 'the shop is down, incident 4711');
      await others.locator('.glass').getByText('the shop is down, incident 4711').waitFor();
      await state(others, 'completed');
      assert.equal((await runOf(id)).view.breakGlass?.by, 'admin@example.com');
      await admin.reload();
      await admin.locator('.glass').waitFor();
      nothingComplained();
    });

    it('says that the connection is lost when the server dies or stops, and goes on when it is back', async () => {
      const id = await ship('lost', 'v1', ['approval: { required: always }']);
      const page = await as('approver', `/rollouts/${id}`);
      await state(page, 'waits for approval');
      // SIGTERM, as another version of it is rolled out, and SIGKILL.
      for (const how of [() => server.stop(), () => server.kill('SIGKILL')]) {
        await page.locator('.link-state.live').waitFor();
        await how();
        await page.getByText('The connection to the server is lost.', { exact: true }).waitFor();
        await server.restart();
      }
      // The same session, and without reloading.
      await page.locator('.link-state.live').waitFor();
      await say(page, 'Approve');
      await state(page, 'completed');
      const { complaints } = tabs.get('approver')!;
      assert.deepEqual(complaints, []);
    });
  },
);
