import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Problem, RunDocument, TrailDocument } from '../../client/server/contract.js';
import type { Archive, PageData } from '../../client/server/seams.js';
import { offersFor } from '../../domain/offers.js';
import type { Identity, Role } from '../../domain/people.js';
import { genesis, nextEntry } from '../../domain/trail.js';
import { call, Events, startBare, startServer } from '../support/server.js';
import { APP, HOME, signed, SIGNING_SECRET, TOKEN } from '../support/slack/standin.js';
import type { Bare, TestServer } from '../support/server.js';
import { openRelease, testView } from '../support/view.js';

const OLD = testView({
  phase: 'completed',
  status: 'completed',
  outcome: 'completed',
  endedAt: '2026-07-01T13:00:00.000Z',
});
const { service, environment } = OLD.lane;
const ENTRY = nextEntry(genesis(`rollout/${environment}/${service}/${OLD.rolloutId}`), {
  at: '2026-07-01T12:00:00.000Z',
  type: 'request',
  actor: 'starter@example.com',
  text: 'asked for',
  data: {},
});

/** Knows one rollout that Temporal has forgotten. */
const archive: Archive = {
  find: async (id) => (id === OLD.rolloutId ? { view: OLD, record: { version: 1, view: OLD } } : null),
  trail: async ({ rolloutId }) => (rolloutId === OLD.rolloutId ? [ENTRY] : null),
};

describe('what others give to the server', () => {
  let bare: Bare;
  let server: TestServer;
  const drawn: (PageData | null)[] = [];
  before(async () => {
    bare = await startBare();
    server = await startServer(bare, {
      people: [
        { subject: 'viewer', roles: ['viewer'], services: [service] },
        { subject: 'stranger', roles: ['admin'], services: ['other'] },
      ],
      archive,
      file: { slack: { app: APP, team: HOME } },
      env: { SLIPWAY_SLACK_BOT_TOKEN: TOKEN, SLIPWAY_SLACK_SIGNING_SECRET: SIGNING_SECRET },
      page: {
        handle(request, data) {
          const { pathname } = new URL(request.url);
          if (data === null)
            return pathname === '/assets/app-1.js'
              ? new Response('js', { headers: { 'Content-Type': 'text/javascript' } })
              : null;
          drawn.push(data);
          return new Response(`<html>${data.page}</html>`, {
            headers: { 'Content-Type': 'text/html', 'Content-Security-Policy': "default-src 'self'" },
          });
        },
      },
    });
  });
  after(async () => {
    await server.close();
    await bare.stop();
  });
  const token = (who: string) => server.tokens[who];
  const html = async (at: string, who?: string) => {
    const answer = await call(`${server.url}${at}`, {
      token: who === undefined ? undefined : token(who),
      headers: { Accept: 'text/html,*/*;q=0.8' },
    });
    return { ...answer, data: drawn.at(-1) };
  };

  it('the archive answers for rollouts that Temporal has forgotten, to those who may see them', async () => {
    const run = await call<RunDocument>(`${server.url}/runs/${OLD.rolloutId}`, { token: token('viewer') });
    assert.equal(run.status, 200, run.text);
    assert.equal(run.body.view.rolloutId, OLD.rolloutId);
    assert.equal(run.body.live, null);
    const trail = await call<TrailDocument>(`${server.url}/runs/${OLD.rolloutId}/trail`, { token: token('viewer') });
    assert.deepEqual(trail.body.entries, [ENTRY]);
    const record = await call<{ version: number }>(`${server.url}/runs/${OLD.rolloutId}/record`, {
      token: token('viewer'),
    });
    assert.equal(record.body.version, 1);
    assert.match(record.headers.get('content-disposition') ?? '', /filename="rollout-[0-9a-f]{16}\.json"/);
    const events = await Events.open(`${server.url}/runs/${OLD.rolloutId}/events`, {
      Authorization: `Bearer ${token('viewer')}`,
    });
    await events.until('the end', ({ event }) => event === 'end');
    assert.deepEqual(
      events.seen.map(({ event }) => event),
      ['run', 'end'],
    );
    for (const at of ['', '/trail', '/record', '/events'])
      assert.equal(
        (await call(`${server.url}/runs/${OLD.rolloutId}${at}`, { token: token('stranger') })).status,
        404,
        at,
      );
    assert.equal((await call(`${server.url}/runs/${'0'.repeat(16)}`, { token: token('viewer') })).status, 404);
  });

  it('the page is drawn where a browser asks, of the same data and under the same rights', async () => {
    const login = await html('/');
    assert.deepEqual([login.status, login.data?.page], [200, 'login']);
    assert.equal(login.headers.get('content-security-policy'), "default-src 'self'", 'the page has its own');
    const list = await html('/', 'viewer');
    assert.equal(list.data?.page, 'list');
    const run = await html(`/rollouts/${OLD.rolloutId}`, 'viewer');
    assert.equal(run.data?.page === 'rollout' && run.data.run.summary.rolloutId, OLD.rolloutId);
    assert.equal((await html(`/runs/${OLD.rolloutId}`, 'viewer')).data?.page, 'rollout');
    for (const at of [`/rollouts/${OLD.rolloutId}`, '/rollouts/..%2fx']) {
      const hidden = await html(at, 'stranger');
      assert.equal(hidden.status, 404);
      assert.equal(hidden.data?.page, 'problem');
    }
    assert.equal((await call(`${server.url}/assets/app-1.js`)).text, 'js');
    assert.equal((await call(`${server.url}/assets/../assets/app-2.js`)).status, 404);
    assert.equal((await call<Problem>(`${server.url}/runs`, {})).status, 401, 'JSON for all others');
    assert.match((await html('/login')).text, /login/);
  });

  it('Slack has its own door, without a login of ours', async () => {
    const body = '{"type":"url_verification","challenge":"abc"}';
    const unsigned = await call(`${server.url}/slack/events`, { body });
    assert.deepEqual([unsigned.status, unsigned.text], [401, 'not signed by Slack']);
    const answer = await call(`${server.url}/slack/events`, { body, headers: signed(body) });
    assert.deepEqual([answer.status, answer.text], [200, '{"challenge":"abc"}']);
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal((await call(`${server.url}/slack/events`)).status, 405, 'it is for what Slack sends only');
    const { body: api } = await call<{
      readonly paths: Readonly<Record<string, { readonly post: { readonly security: unknown } }>>;
      readonly components: { readonly securitySchemes: Readonly<Record<string, { readonly name?: string }>> };
    }>(`${server.url}/openapi.json`);
    for (const door of ['interactions', 'commands', 'events'])
      assert.deepEqual(api.paths[`/slack/${door}`]?.post.security, [{ slack: [] }], door);
    assert.equal(api.components.securitySchemes['slack']?.name, 'X-Slack-Signature');
  });
});

describe('offers', () => {
  const identity = (role: Role, change: Partial<Identity> = {}): Identity => ({
    subject: 'ann@example.com',
    name: 'Ann',
    kind: 'person',
    via: 'oidc',
    groups: [],
    aliases: [],
    grants: [{ role, services: ['*'], environments: ['*'] }],
    authenticatedAtMs: 0,
    ...change,
  });
  const shown = (view: ReturnType<typeof testView>, who: Identity) =>
    Object.fromEntries(offersFor(view, who).map(({ verb, allowed }) => [verb, allowed]));

  it('are what a person may do now, each with what it will do', () => {
    const view = testView({
      wait: {
        kind: 'inconclusive',
        since: '',
        deadline: null,
        atDeadline: null,
        reason: '',
        who: '',
        commands: [],
        gate: null,
      },
    });
    assert.deepEqual(shown(view, identity('viewer')), { pause: false, promote: false, abort: false });
    assert.deepEqual(shown(view, identity('deployer')), { pause: true, promote: false, abort: true });
    // Over a HOLD it is break-glass: the approver's role alone does not do.
    assert.deepEqual(shown(view, identity('approver')), { pause: true, promote: false, abort: true });
    const both = (['approver', 'breakglass'] as const).flatMap((role) => identity(role).grants);
    const offers = offersFor(view, identity('approver', { grants: both }));
    assert.deepEqual(Object.fromEntries(offers.map(({ verb, allowed }) => [verb, allowed])), {
      pause: true,
      promote: true,
      abort: true,
    });
    const abort = offers.find(({ verb }) => verb === 'abort');
    assert.equal(
      abort?.does,
      `all traffic back to ${view.plan?.stableVersion} (10 % of it is on hello:v2); the canary is removed`,
    );
    assert.equal(abort?.command, `slipway abort ${view.rolloutId}`);
    const promote = offers.find(({ verb }) => verb === 'promote');
    assert.equal(promote?.does, 'skips the rest of this stage over a HOLD (break-glass): stage 2 of 2 begins');
    assert.equal(promote?.needsReason, true);
    assert.match(promote?.command ?? '', /--reason/);
  });

  it('at a gate say how many are missing, and refuse the author whatever name they use', () => {
    const approvals = openRelease();
    const view = testView({
      phase: 'awaiting-approval',
      status: 'awaiting-approval',
      weights: null,
      stage: null,
      approvals,
    });
    const offers = offersFor(view, identity('approver'));
    assert.equal(
      offers.find(({ verb }) => verb === 'approve')?.does,
      'approves gate "release" (0 of 2): 1 more needed after yours: anyone but author@example.com',
    );
    const author = offersFor(view, identity('approver', { subject: 'Author@example.com' }));
    assert.match(author.find(({ verb }) => verb === 'approve')?.why ?? '', /wrote or started/);
    assert.equal(author.find(({ verb }) => verb === 'reject')?.allowed, true);
    assert.equal(offers.find(({ verb }) => verb === 'abort')?.does, 'the rollout ends, nothing was touched');
  });

  it('end with the rollout: a new one may be tried, unless it was shipped', () => {
    const back = testView({ phase: 'rolled-back', status: 'rolled-back', outcome: 'rolled-back' });
    assert.deepEqual(shown(back, identity('deployer')), { retry: true });
    assert.deepEqual(shown(back, identity('viewer')), { retry: false });
    assert.deepEqual(shown(OLD, identity('deployer')), { retry: false });
    assert.deepEqual(shown(testView({ phase: 'rolling-back', status: 'rolling-back' }), identity('admin')), {
      pause: false,
      abort: false,
    });
  });
});
