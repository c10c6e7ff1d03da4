import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Problem, RunDocument, RunList, StartedRun } from '../../client/server/contract.js';
import { ENDPOINTS } from '../../client/server/endpoints.js';
import type { Endpoint, EndpointId } from '../../client/server/endpoints.js';
import { VERBS } from '../../domain/approval/decision.js';
import type { Verb } from '../../domain/approval/decision.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { serviceYaml } from '../support/cli.js';
import { until } from '../support/drive.js';
import { APP, HOME, SIGNING_SECRET, TOKEN } from '../support/slack/standin.js';
import { call, Events, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

const WHO = ['anonymous', 'stranger', 'viewer', 'deployer', 'approver', 'breakglass', 'admin', 'machine'] as const;
type Who = (typeof WHO)[number];

const ANYBODY = WHO;
const KNOWN = WHO.filter((who) => who !== 'anonymous');
const SEEING = KNOWN.filter((who) => who !== 'stranger');

/** Who gets past the rights of each endpoint: written by hand, not taken from what is tested. */
const PASSES: Readonly<Record<EndpointId, readonly Who[]>> = {
  startRun: ['deployer', 'admin', 'machine'],
  listRuns: KNOWN,
  getRun: SEEING,
  followRun: SEEING,
  followList: KNOWN,
  decide: ['approver', 'admin'],
  retry: ['deployer', 'admin', 'machine'],
  getTrail: SEEING,
  getRecord: SEEING,
  getEvidence: SEEING,
  me: KNOWN,
  login: ANYBODY,
  loginOidc: ANYBODY,
  loginCallback: ANYBODY,
  loginToken: ANYBODY,
  loginCommand: KNOWN,
  logout: KNOWN,
  alerts: [],
  slackInteractions: [],
  slackCommands: [],
  slackEvents: [],
  openapi: ANYBODY,
  healthz: ANYBODY,
  readyz: ANYBODY,
  metrics: ANYBODY,
};
const MAY_SAY: Readonly<Record<Verb, readonly Who[]>> = {
  approve: ['approver', 'admin'],
  reject: ['approver', 'admin'],
  promote: ['approver', 'admin'],
  pause: ['deployer', 'approver', 'breakglass', 'admin', 'machine'],
  resume: ['deployer', 'approver', 'breakglass', 'admin', 'machine'],
  abort: ['deployer', 'approver', 'breakglass', 'admin', 'machine'],
  'break-glass': ['breakglass'],
};

describe('rights', () => {
  let stack: Stack;
  let server: TestServer;
  let runId: string;
  let view: RunDocument['view'];
  before(async () => {
    stack = await startStack();
    await stack.startWorker();
    const somebody = (role: 'viewer' | 'deployer' | 'approver' | 'breakglass' | 'admin') =>
      ({ subject: role, roles: [role], services: ['shop'] }) as const;
    server = await startServer(stack, {
      people: [
        { subject: 'stranger', roles: ['admin', 'breakglass'], services: ['other'] },
        ...(['viewer', 'deployer', 'approver', 'breakglass', 'admin'] as const).map(somebody),
        // Whatever is granted to a machine, it can't approve.
        { subject: 'machine', roles: ['deployer', 'approver', 'breakglass'], services: ['shop'], kind: 'machine' },
      ],
      file: { slack: { app: APP, team: HOME } },
      env: {
        SLIPWAY_ALERTS_TOKEN_SHA256: 'a'.repeat(64),
        SLIPWAY_SLACK_BOT_TOKEN: TOKEN,
        SLIPWAY_SLACK_SIGNING_SECRET: SIGNING_SECRET,
      },
    });
    const started = await start('deployer', 'first');
    assert.equal(started.status, 202, started.text);
    runId = started.body.run_id;
    view = await until('the gate', async () => {
      const answer = await call<RunDocument>(`${server.url}/runs/${runId}`, { token: server.tokens['viewer'] });
      return answer.status === 200 && answer.body.view.approvals !== null ? answer.body.view : null;
    });
  });
  after(async () => {
    await server.close();
    await stack.stop();
  });

  const tokenOf = (who: Who): string | undefined => (who === 'anonymous' ? undefined : server.tokens[who]);
  function start(who: Who, key: string, service = 'shop') {
    const slipwayYaml = serviceYaml({
      service,
      gateway: stack.adminUrl,
      more: ['approval: { required: always, quorum: 2 }'],
    });
    return call<StartedRun>(`${server.url}/runs`, {
      token: tokenOf(who),
      headers: { 'Idempotency-Key': key },
      body: { task: 'deploy', payload: { service, environment: 'local', tag: 'v1', slipwayYaml } },
    });
  }
  function decide(who: Who, verb: Verb, more: Readonly<Record<string, unknown>> = {}) {
    return call<Problem>(`${server.url}/runs/${runId}/decisions`, {
      token: tokenOf(who),
      body: { id: `${who}-${verb}`, verb, ...more },
    });
  }
  /** A request that would be taken, but does nothing that others would notice. */
  async function ask(id: EndpointId, who: Who): Promise<number> {
    const { method, path }: Endpoint = ENDPOINTS[id];
    const digest = `sha256:${'0'.repeat(64)}`;
    const url = `${server.url}${path.replace('{rolloutId}', runId).replace('{digest}', digest)}`;
    const abort = new AbortController();
    const body: Readonly<Partial<Record<EndpointId, unknown>>> = {
      // Without an image, refused after the rights.
      startRun: { task: 'deploy', payload: { service: 'shop', environment: 'local' }, idempotencyKey: 'k' },
      decide: { id: `matrix-${who}`, verb: 'approve', gate: 'release', planDigest: digest },
      retry: { idempotencyKey: 'k' },
      loginToken: { token: tokenOf(who) ?? 'slp_x' },
      alerts: { alerts: [] },
    };
    const token = tokenOf(who);
    const response = await fetch(url, {
      method: method.toUpperCase(),
      redirect: 'manual',
      signal: abort.signal,
      headers: {
        'Content-Type': 'application/json',
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      },
      ...(method === 'post' ? { body: JSON.stringify(body[id] ?? {}) } : {}),
    });
    abort.abort();
    return response.status;
  }

  it('of every endpoint are known, and are those of the table', async () => {
    assert.deepEqual(Object.keys(PASSES).toSorted(), Object.keys(ENDPOINTS).toSorted());
    for (const [id, passes] of Object.entries(PASSES) as [EndpointId, readonly Who[]][]) {
      for (const who of WHO) {
        const status = await ask(id, who);
        const told = `${id} as ${who}: ${status}`;
        assert.ok(status < 500, told);
        const hidden = who === 'stranger' && ['run', 'lane'].includes(ENDPOINTS[id].access.kind);
        if (passes.includes(who)) {
          // Past the rights: done, or refused for another reason. Login and what does not exist have their own.
          if (!id.startsWith('login') && !['getTrail', 'getRecord', 'getEvidence'].includes(id))
            assert.ok(![401, 403, 404].includes(status), told);
        } else {
          // Neither is for people: each has a proof of its own.
          const others = ['alerts', 'slack'].includes(ENDPOINTS[id].access.kind);
          assert.equal(status, who === 'anonymous' || others ? 401 : hidden ? 404 : 403, told);
        }
      }
    }
  });

  it('of every verb are those of the role, and are told', async () => {
    assert.deepEqual(Object.keys(MAY_SAY).toSorted(), [...VERBS].toSorted());
    const other = { gate: 'release', planDigest: `sha256:${'1'.repeat(64)}` };
    // `abort` ends it: last, and by those only who may not.
    for (const verb of VERBS.filter((known) => known !== 'abort')) {
      for (const who of WHO) {
        const answer = await decide(who, verb, verb === 'approve' || verb === 'reject' ? other : {});
        const told = `${verb} by ${who}: ${answer.text}`;
        if (MAY_SAY[verb].includes(who)) assert.ok(answer.status === 200 || answer.status === 409, told);
        else assert.equal(answer.status, who === 'anonymous' ? 401 : who === 'stranger' ? 404 : 403, told);
      }
    }
    const refused = await decide('viewer', 'abort');
    assert.equal(refused.status, 403);
    assert.match(
      refused.body.detail,
      /viewer is viewer of shop in local; to abort one must be deployer or approver or breakglass or admin/,
    );
    const machine = await decide('machine', 'approve', other);
    assert.match(machine.body.detail, /only people may approve/);
    const now = await call<RunDocument>(`${server.url}/runs/${runId}`, { token: tokenOf('viewer') });
    assert.deepEqual(now.body.view.approvals?.approvedBy, [], 'nothing of this has approved it');
    assert.ok(
      server.refusals.some(
        ({ subject, route, code, rolloutId }) =>
          subject === 'viewer' && route === 'decide' && code === 'forbidden' && rolloutId === runId,
      ),
    );
  });

  it('a decision is that of the credential: a body that names a person is refused', async () => {
    const named = await decide('approver', 'approve', {
      gate: 'release',
      planDigest: view.approvals?.planDigest,
      actor: 'admin',
    });
    assert.equal(named.status, 400, named.text);
    const good = await decide('approver', 'approve', {
      id: 'good',
      gate: 'release',
      planDigest: view.approvals?.planDigest,
      reason: 'token=glpat-0123456789abcdefghij looks fine',
    });
    assert.equal(good.status, 200, good.text);
    const again = await decide('approver', 'approve', {
      id: 'good',
      gate: 'release',
      planDigest: view.approvals?.planDigest,
    });
    assert.equal(again.status, 200, again.text);
    const answer = await call<RunDocument>(`${server.url}/runs/${runId}`, { token: tokenOf('viewer') });
    const said = answer.body.view.decisions.filter(({ id }) => id.startsWith('good.'));
    assert.equal(said.length, 1, 'said twice, counted once');
    assert.equal(said[0]?.actor.subject, 'approver');
    assert.deepEqual(said[0]?.actor.roles, ['approver']);
    assert.equal(said[0]?.reason, 'token=[redacted gitlab-token] looks fine');
  });

  it('a decision is one person’s word about one thing, whatever id others have chosen', async () => {
    const same = (who: Who, verb: Verb) => decide(who, verb, { id: 'same', reason: 'chosen by both' });
    assert.match((await same('approver', 'pause')).text, /approver paused/);
    assert.match((await same('approver', 'pause')).text, /approver paused|already counted/, 'said again');
    assert.match((await same('deployer', 'resume')).text, /deployer resumed/, 'somebody else has the same id');
    const other = await same('approver', 'resume');
    assert.equal(other.status, 409, `another verb is another decision: ${other.text}`);
    assert.match(other.body.detail, /nothing is paused/);
  });

  it('who is refused is told who could, and what to do', async () => {
    const answer = await decide('deployer', 'resume', { id: 'nothing-to-resume' });
    assert.equal(answer.status, 409, answer.text);
    assert.equal(answer.body.next, 'nothing: it goes on by itself');
  });

  it('an actor in the request is the authenticated one, or somebody on whose behalf it is', async () => {
    const slipwayYaml = serviceYaml({
      service: 'shop',
      gateway: stack.adminUrl,
      more: ['approval: { required: always, quorum: 2 }'],
    });
    const started = await call<StartedRun>(`${server.url}/runs`, {
      token: tokenOf('deployer'),
      body: {
        actor: 'boss',
        task: 'deploy',
        payload: { service: 'shop', environment: 'local', tag: 'v2', slipwayYaml },
        idempotencyKey: 'behalf',
      },
    });
    const { body } = await call<RunDocument>(`${server.url}/runs/${started.body.run_id}`, { token: tokenOf('viewer') });
    assert.equal(body.summary.status, 'queued', 'the other one has the lane');
    assert.equal(body.view.actor.subject, 'deployer');
    assert.equal(body.view.actor.onBehalfOf, 'boss');
    assert.deepEqual(
      body.offers.map(({ verb, allowed }) => `${verb} ${allowed}`),
      ['abort false'],
    );
    const events = await Events.open(`${server.url}/runs/${started.body.run_id}/events`, {
      Authorization: `Bearer ${tokenOf('viewer')}`,
    });
    await events.until(
      'the queue',
      ({ event, data }) => event === 'run' && (data as RunDocument).view.status === 'queued',
    );
    const gone = await call(`${server.url}/runs/${started.body.run_id}/decisions`, {
      token: tokenOf('deployer'),
      body: { id: 'w', verb: 'abort' },
    });
    assert.equal(gone.status, 200, gone.text);
    await events.until('the end', ({ event }) => event === 'end');
    const over = await call<Problem>(`${server.url}/runs/${started.body.run_id}`, { token: tokenOf('viewer') });
    assert.equal(over.status, 410, over.text);
    assert.match(over.body.detail, /aborted/);
  });

  it('what one may not see does not exist: not in the list, not in streams, not by its id', async () => {
    const mine = await until('the list', async () => {
      const { body } = await call<RunList>(`${server.url}/runs`, { token: tokenOf('viewer') });
      return body.runs.find(({ rolloutId }) => rolloutId === runId) ?? null;
    });
    assert.equal(mine.waitsForMe, false);
    assert.deepEqual((await call<RunList>(`${server.url}/runs`, { token: tokenOf('stranger') })).body.runs, []);
    const exists = await call<Problem>(`${server.url}/runs/${runId}`, { token: tokenOf('stranger') });
    const never = await call<Problem>(`${server.url}/runs/${'0'.repeat(16)}`, { token: tokenOf('stranger') });
    const told = ({ status, body }: typeof exists, id: string) => [
      status,
      body.type,
      body.title,
      body.detail.replace(id, 'ID'),
      body.next,
    ];
    assert.deepEqual(told(exists, runId), told(never, '0'.repeat(16)));
    const seeing = await Events.open(`${server.url}/events`, { Authorization: `Bearer ${tokenOf('admin')}` });
    const blind = await Events.open(`${server.url}/events`, { Authorization: `Bearer ${tokenOf('stranger')}` });
    const runs = await seeing.until<RunList>(
      'the list',
      ({ event, data }) => event === 'runs' && (data as RunList).runs.length > 0,
    );
    assert.ok(runs.data.runs.some(({ rolloutId, waitsForMe }) => rolloutId === runId && waitsForMe));
    assert.deepEqual((await blind.until<RunList>('an empty list', ({ event }) => event === 'runs')).data.runs, []);
    assert.ok(!JSON.stringify(blind.seen).includes(runId));
    seeing.close();
    blind.close();
  });

  it('pages through the list with cursors of its own', async () => {
    const admin = tokenOf('admin');
    const one = await call<RunList>(`${server.url}/runs?limit=1`, { token: admin });
    assert.equal(one.body.runs.length, 1);
    for (const cursor of ['x', Buffer.from('{"q":"1","t":"2"}').toString('base64url'), 'a'.repeat(2001)])
      assert.equal((await call(`${server.url}/runs?cursor=${cursor}`, { token: admin })).status, 400, cursor);
    if (one.body.next !== null) {
      const two = await call<RunList>(`${server.url}/runs?limit=1&cursor=${one.body.next}`, { token: admin });
      assert.equal(two.status, 200, two.text);
      assert.ok(!two.body.runs.some(({ rolloutId }) => rolloutId === one.body.runs[0]?.rolloutId));
      assert.equal(
        (await call(`${server.url}/runs?limit=1&service=shop&cursor=${one.body.next}`, { token: admin })).status,
        400,
      );
    }
  });
});
