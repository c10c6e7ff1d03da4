import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { request as httpRequest } from 'node:http';
import { defaultPayloadConverter } from '@temporalio/common';
import { Sessions } from '../../client/server/auth/session.js';
import { newStaticToken } from '../../client/server/auth/static-token.js';
import type { Me, Problem, RunDocument, RunList, StartedRun } from '../../client/server/contract.js';
import { Slipway } from '../../client/slipway.js';
import type { Decision } from '../../domain/approval/decision.js';
import { ROLLOUT_WORKFLOW, rolloutWorkflowId, searchAttributes } from '../../workflows/messages.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import type { Server } from '../../tools/supervise.js';
import { startTraffic } from '../../tools/traffic.js';
import { serviceYaml } from '../support/cli.js';
import { until } from '../support/drive.js';
import { call, Events, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

const ALERT_TOKEN = 'alert-token-planted-0123456789';

const SESSION_KEY = Buffer.alloc(32, 7).toString('base64url');

describe('rollouts under way', () => {
  let stack: Stack;
  let worker: Server;
  let server: TestServer;
  let slipway: Slipway;
  before(async () => {
    stack = await startStack({ maxReplicas: 40 });
    worker = await stack.startWorker();
    slipway = await Slipway.connect(stack.env);
    server = await startServer(stack, {
      people: [{ subject: 'admin@example.com', roles: ['admin'] }],
      pingMs: 300,
      env: {
        SLIPWAY_ALERTS_TOKEN_SHA256: createHash('sha256').update(ALERT_TOKEN).digest('hex'),
        SLIPWAY_SESSION_KEYS: SESSION_KEY,
      },
    });
  });
  after(async () => {
    await server.close();
    await slipway.close();
    await stack.stop();
  });

  const admin = () => server.tokens['admin@example.com'];
  const bearer = () => ({ Authorization: `Bearer ${admin()}` });
  async function start(service: string, tag: string, more: readonly string[] = []): Promise<string> {
    const slipwayYaml = serviceYaml({ service, gateway: stack.adminUrl, more });
    const answer = await call<StartedRun>(`${server.url}/runs`, {
      token: admin(),
      body: {
        task: 'deploy',
        payload: { service, environment: 'local', tag, slipwayYaml },
        idempotencyKey: `${service}-${tag}`,
      },
    });
    assert.equal(answer.status, 202, answer.text);
    return answer.body.run_id;
  }
  const run = async (id: string) => (await call<RunDocument>(`${server.url}/runs/${id}`, { token: admin() })).body;
  const view = (id: string, what: string, wanted: (view: RunDocument['view']) => boolean) =>
    until(what, async () => {
      const found = (await run(id)).view;
      return wanted(found) ? found : null;
    });
  const decide = (id: string, verb: string, more: object = {}) =>
    call(`${server.url}/runs/${id}/decisions`, {
      token: admin(),
      body: { id: `${verb}-${Math.random()}`, verb, ...more },
    });

  /** “Promote” by one who logged in with a token so long ago. */
  async function promoteBySession(id: string, minutes: number) {
    const sessions = new Sessions([Buffer.from(SESSION_KEY, 'base64url')], false);
    const session = sessions.begin(
      {
        subject: 'admin@example.com',
        name: 'admin',
        kind: 'person',
        via: 'token',
        groups: [],
        aliases: [],
        authenticatedAtMs: Date.now() - minutes * 60_000,
      },
      { tokenId: 't0', authTimeKnown: true },
    );
    return call<Problem>(`${server.url}/runs/${id}/decisions`, {
      headers: {
        Cookie: (await sessions.setCookie(session)).split(';')[0] ?? '',
        Origin: server.publicUrl,
        'X-Slipway-CSRF': session.csrf,
      },
      body: { id: `promote-${Math.random()}`, verb: 'promote' },
    });
  }

  /** A service whose second version is on a long first stage. */
  async function inCanary(service: string, more: readonly string[] = []): Promise<string> {
    await view(await start(service, 'v1'), 'the first release', ({ outcome }) => outcome === 'completed');
    const id = await start(service, 'v2', ['stages: [{ weight: 50%, for: 5m }]', ...more]);
    await view(id, 'the canary', ({ weights }) => weights?.canary === 50);
    return id;
  }
  /** A run in its canary that can be told something but not asked: no worker serves its queue. `null`: it has no request. */
  async function deaf(service: string, environment: string, onAlert: string | null): Promise<string> {
    const rolloutId = randomBytes(8).toString('hex');
    const request = { rolloutId, policy: { lane: { environment, service }, onAlert } };
    await slipway.client.workflow.start(ROLLOUT_WORKFLOW, {
      workflowId: rolloutWorkflowId({ environment, service }, rolloutId),
      taskQueue: 'nobody',
      args: onAlert === null ? [] : [{ request }],
      typedSearchAttributes: [
        { key: searchAttributes.service, value: service },
        { key: searchAttributes.environment, value: environment },
        { key: searchAttributes.rolloutId, value: rolloutId },
        { key: searchAttributes.phase, value: 'canary' },
      ],
    });
    await until(
      'search knows it',
      async () => (await slipway.list(`SlipwayRolloutId = '${rolloutId}'`, 1)).length === 1,
    );
    return rolloutId;
  }
  const end = (service: string, environment: string, rolloutId: string) =>
    slipway.client.workflow.getHandle(rolloutWorkflowId({ environment, service }, rolloutId)).terminate();
  const alert = (labels: Readonly<Record<string, string>>, change: object = {}, token: string | null = ALERT_TOKEN) =>
    call<{ alerts: readonly { did: string; rolloutId: string | null; text: string }[] }>(`${server.url}/alerts`, {
      ...(token === null ? {} : { token }),
      body: {
        version: '4',
        receiver: 'slipway',
        status: 'firing',
        alerts: [
          {
            status: 'firing',
            labels: { alertname: 'TooManyErrors', ...labels },
            annotations: { summary: 'errors <!channel>\nabove 5 %' },
            startsAt: '2026-11-21T20:00:00.123456789Z',
            endsAt: '0001-01-01T00:00:00Z',
            generatorURL: 'http://prometheus/graph',
            fingerprint: 'a1b2c3d4e5f60718',
            ...change,
          },
        ],
      },
    });

  it('a firing alert takes the canary back at once, and counts once', async () => {
    const traffic = startTraffic({ url: `${stack.dataUrl}/local/alerted/`, perSecond: 20 });
    try {
      const id = await inCanary('alerted');
      assert.equal((await alert({ service: 'alerted' }, {}, 'wrong')).status, 401);
      assert.equal((await alert({ service: 'alerted' }, {}, null)).status, 401);
      assert.equal(
        (await alert({ service: 'alerted' }, {}, admin() ?? '')).status,
        401,
        'an admin is not Alertmanager',
      );
      const elsewhere = await alert({ service: 'alerted', environment: 'production' });
      assert.deepEqual(
        elsewhere.body.alerts.map(({ did }) => did),
        ['ignored'],
      );
      assert.deepEqual(
        (await alert({ service: 'alerted' }, { status: 'resolved' })).body.alerts.map(({ did }) => did),
        ['ignored'],
      );
      assert.equal((await run(id)).view.outcome, null);

      const fired = await alert({ service: 'alerted', environment: 'local' });
      assert.equal(fired.status, 200, fired.text);
      assert.deepEqual(
        fired.body.alerts.map(({ did, rolloutId }) => [did, rolloutId]),
        [['rolled-back', id]],
      );
      const again = await alert({ service: 'alerted', environment: 'local' });
      assert.equal(again.status, 200, again.text);
      const over = await view(id, 'rolled back', ({ outcome }) => outcome !== null);
      assert.equal(over.outcome, 'aborted');
      const said = over.decisions.filter(({ actor }) => actor.subject === 'alertmanager');
      assert.equal(said.length, 1);
      assert.equal(said[0]?.reason, 'TooManyErrors fires: errors <!channel> above 5 %');
      assert.ok(said[0]?.signature);
    } finally {
      await traffic.stop();
    }
  });

  it('a firing alert holds, or does nothing, where the policy says so; labels without meaning are no error', async () => {
    const held = await inCanary('holds', ['onAlert: hold']);
    assert.deepEqual(
      (await alert({ service: 'holds' })).body.alerts.map(({ did }) => did),
      ['held'],
    );
    assert.equal((await view(held, 'the pause', ({ paused }) => paused)).decisions.at(-1)?.verb, 'pause');
    await decide(held, 'abort');
    const ignoring = await inCanary('ignores', ['onAlert: ignore']);
    const ignored = await alert({ service: 'ignores' });
    assert.match(ignored.body.alerts[0]?.text ?? '', /onAlert: ignore/);
    assert.equal((await run(ignoring)).view.outcome, null);
    await decide(ignoring, 'abort');
    for (const labels of [
      {},
      { service: "x' OR 1=1" },
      { service: 'unknown' },
      { service: '../x', environment: 'y' },
    ]) {
      const answer = await alert(labels);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.body.alerts[0]?.did, 'ignored');
    }
  });

  it('a rollout that can’t be asked keeps no other from being taken back; what is said to it is recorded', async () => {
    const burning = await inCanary('shared');
    const [aborted, held, ignoring] = [
      await deaf('shared', 'staging', 'rollback'),
      await deaf('shared', 'eu', 'hold'),
      await deaf('shared', 'us', 'ignore'),
    ];
    const fired = await alert({ service: 'shared' });
    assert.equal(fired.status, 200, fired.text);
    const did = new Map(fired.body.alerts.map((answer) => [answer.rolloutId, answer.did]));
    assert.deepEqual(
      [burning, aborted, held, ignoring].map((id) => did.get(id)),
      ['rolled-back', 'recorded', 'recorded', 'ignored'],
    );
    for (const [environment, id, verbs] of [
      ['staging', aborted, ['abort']],
      ['eu', held, ['pause']],
      ['us', ignoring, []],
    ] as const) {
      const handle = slipway.client.workflow.getHandle(rolloutWorkflowId({ environment, service: 'shared' }, id));
      const { events } = await handle.fetchHistory();
      const signals = (events ?? []).flatMap((event) => event.workflowExecutionSignaledEventAttributes?.input ?? []);
      assert.deepEqual(
        signals.map(({ payloads }) => defaultPayloadConverter.fromPayload<Decision>(payloads?.[0] ?? {}).verb),
        verbs,
      );
      await end('shared', environment, id);
    }
    assert.equal((await view(burning, 'the end', ({ outcome }) => outcome !== null)).outcome, 'aborted');
  });

  it('what can’t be done is said with 503, after all else is done, and is done when it is said again', async () => {
    const burning = await inCanary('half');
    const unknown = await deaf('half', 'staging', null);
    const fired = await alert({ service: 'half' });
    assert.equal(fired.status, 503, fired.text);
    assert.match(
      (fired.body as unknown as Problem).detail,
      new RegExp(`^1 of 2 could not be done \\(of rollout ${unknown}\\)`),
    );
    assert.equal((await view(burning, 'the end', ({ outcome }) => outcome !== null)).outcome, 'aborted');
    await end('half', 'staging', unknown);
    const again = await alert({ service: 'half', environment: 'local' });
    assert.deepEqual(
      again.body.alerts.map(({ did }) => did),
      ['ignored'],
    );
    assert.equal((await run(burning)).view.decisions.length, 1);
  });

  it('an alert that comes while no worker is up is recorded, and takes the canary back when one is', async () => {
    const id = await inCanary('unattended');
    await worker.stop();
    try {
      const fired = await alert({ service: 'unattended', environment: 'local' });
      assert.equal(fired.status, 200, fired.text);
      assert.deepEqual(
        fired.body.alerts.map(({ did, rolloutId }) => [did, rolloutId]),
        [['recorded', id]],
      );
    } finally {
      worker = await stack.startWorker();
    }
    const over = await view(id, 'the end', ({ outcome }) => outcome !== null);
    assert.equal(over.outcome, 'aborted');
    assert.deepEqual(
      over.decisions.map(({ verb, actor }) => [verb, actor.subject]),
      [['abort', 'alertmanager']],
    );
  });

  describe('are followed by event streams', () => {
    let id: string;
    before(async () => {
      id = await start('streamed', 'v1', ['approval: { required: always, quorum: 5 }']);
      await view(id, 'the gate', ({ approvals }) => approvals !== null);
    });

    it('that tell the state at once, each change within a second, and that they live', async () => {
      const events = await Events.open(`${server.url}/runs/${id}/events`, bearer());
      const first = await events.until<RunDocument>('the state', ({ event }) => event === 'run');
      assert.equal(first.data.view.paused, false);
      await events.until('a ping', ({ event }) => event === 'ping');
      const saidMs = Date.now();
      await decide(id, 'pause');
      const paused = await events.until<RunDocument>(
        'the pause',
        ({ event, data }) => event === 'run' && (data as RunDocument).view.paused,
      );
      assert.ok(paused.atMs - saidMs < 5000, `told after ${paused.atMs - saidMs} ms`);
      assert.match(paused.id ?? '', /^[0-9a-f]{8}:\d+$/);
      events.close();
    });

    it('that go on after the last id, and begin anew after one that is not known', async () => {
      const watching = await Events.open(`${server.url}/runs/${id}/events`, bearer());
      const { id: last = '' } = await watching.until('the state', ({ event }) => event === 'run');
      const same = await Events.open(`${server.url}/runs/${id}/events`, { ...bearer(), 'Last-Event-ID': last });
      await same.until('a ping', ({ event }) => event === 'ping');
      assert.deepEqual(
        same.seen.filter(({ event }) => event === 'run'),
        [],
        'nothing was missed',
      );
      const [epoch] = last.split(':');
      const behind = await Events.open(`${server.url}/runs/${id}/events`, {
        ...bearer(),
        'Last-Event-ID': `${epoch}:0`,
      });
      await behind.until('what was missed', ({ event }) => event === 'run');
      const ahead = await Events.open(`${server.url}/runs/${id}/events`, {
        ...bearer(),
        'Last-Event-ID': `${epoch}:999999999`,
      });
      await ahead.until('the state, as what was seen can’t have been', ({ event }) => event === 'run');
      const strange = await Events.open(`${server.url}/runs/${id}/events`, {
        ...bearer(),
        'Last-Event-ID': 'deadbeef:3',
      });
      await strange.until('a resync', ({ event }) => event === 'resync');
      await strange.until('the state', ({ event }) => event === 'run');
      assert.deepEqual(
        strange.seen
          .map(({ event }) => event)
          .filter((event) => event !== 'ping')
          .slice(0, 2),
        ['resync', 'run'],
      );
      for (const events of [watching, same, behind, ahead, strange]) events.close();
    });

    it('that cost nothing once they are closed, nor while nobody reads them', async () => {
      const metric = async (name: string): Promise<number> =>
        Number(new RegExp(`^${name} (\\d+)$`, 'm').exec((await call(`${server.url}/metrics`)).text)?.[1]);
      const before = await metric('slipway_http_event_streams');
      const { port } = new URL(server.url);
      // Opened, and never read.
      const deaf = httpRequest({ host: '127.0.0.1', port, path: `/runs/${id}/events`, headers: bearer() }, (response) =>
        response.pause(),
      ).end();
      await until('the stream', async () => (await metric('slipway_http_event_streams')) === before + 1);
      for (let n = 0; n < 6; n += 1) await decide(id, n % 2 === 0 ? 'resume' : 'pause');
      const live = await Events.open(`${server.url}/runs/${id}/events`, bearer());
      await live.until('the state', ({ event }) => event === 'run');
      live.close();
      deaf.destroy();
      await until('both are forgotten', async () => (await metric('slipway_http_event_streams')) === before);
      await until('nothing is followed', async () => (await metric('slipway_http_followed_rollouts')) === 0);
    });

    it('that nobody reads are not begun', async () => {
      const metric = async (): Promise<string | undefined> =>
        /^slipway_http_event_streams (\d+)$/m.exec((await call(`${server.url}/metrics`)).text)?.[1];
      const before = await metric();
      for (const at of ['/events', `/runs/${id}/events`]) {
        const answer = await call(`${server.url}${at}`, { token: admin(), method: 'HEAD' });
        assert.equal(answer.status, 200);
        assert.match(answer.headers.get('content-type') ?? '', /^text\/event-stream/);
      }
      assert.equal(await metric(), before);
    });

    it('that a server which stops closes without an end: whoever follows comes back', async () => {
      const other = await startServer(stack, { people: null, name: 'other' });
      const streams = await Promise.all(
        ['/events', `/runs/${id}/events`].map((at) => Events.open(`${other.url}${at}`, {})),
      );
      for (const events of streams) await events.until('a first state', ({ event }) => /^runs?$/.test(event));
      await other.close();
      for (const events of streams) {
        await until('it is closed', () => events.closed);
        assert.deepEqual(
          events.seen.filter(({ event }) => event === 'end'),
          [],
        );
      }
    });

    it('that end with the session', async () => {
      const { token, sha256 } = newStaticToken('short');
      const expires = new Date(Date.now() + 4000).toISOString();
      const short = await startServer(stack, {
        people: [],
        name: 'short',
        file: {
          tokens: [{ id: 'short', sha256, subject: 'guest', expires }],
          roles: [{ role: 'viewer', subjects: ['guest'] }],
        },
      });
      try {
        const events = await Events.open(`${short.url}/runs/${id}/events`, { Authorization: `Bearer ${token}` });
        await events.until('the state', ({ event }) => event === 'run');
        const end = await events.until('the end', ({ event }) => event === 'end', 10_000);
        assert.match(JSON.stringify(end.data), /session is over/);
        await until('it is closed', () => events.closed);
        assert.equal((await call(`${short.url}/me`, { token })).status, 401);
      } finally {
        await short.close();
      }
    });

    it('decisions count though no worker is up: recorded, then counted once', async () => {
      const waiting = await start('recorded', 'v1', ['approval: { required: always, quorum: 2 }']);
      await view(waiting, 'the gate', ({ approvals }) => approvals !== null);
      await worker.stop();
      const body = { id: 'recorded-1', verb: 'abort', reason: 'no worker' };
      const answer = await call<{ kind: string }>(`${server.url}/runs/${waiting}/decisions`, { token: admin(), body });
      assert.equal(answer.status, 202, answer.text);
      assert.equal(answer.body.kind, 'recorded');
      // What it would promote over when it counts, nobody can say now.
      const late = await promoteBySession(waiting, 60);
      assert.equal(late.status, 401, `${late.text}\n${server.log().slice(-3000)}`);
      assert.match(late.body.detail, /while no worker can say whether it is over a HOLD it must be 5 min/);
      worker = await stack.startWorker();
      const over = await view(waiting, 'the end', ({ outcome }) => outcome !== null);
      assert.equal(over.outcome, 'aborted');
      assert.deepEqual(
        over.decisions.map(({ verb, actor }) => [verb, actor.subject]),
        [['abort', 'admin@example.com']],
      );
    });
  });

  it('are listed by pages; a damaged cursor is refused, and Temporal is not asked', async () => {
    const page = await call<RunList>(`${server.url}/runs?limit=1`, { token: admin() });
    const cursor = JSON.parse(Buffer.from(page.body.next ?? '', 'base64url').toString()) as { q: string; t: string };
    assert.equal((await call(`${server.url}/runs?limit=1&cursor=${page.body.next}`, { token: admin() })).status, 200);
    const damaged = Buffer.from(JSON.stringify({ ...cursor, t: 'AAAA' })).toString('base64url');
    const answer = await call<Problem>(`${server.url}/runs?limit=1&cursor=${damaged}`, { token: admin() });
    assert.equal(answer.status, 400, answer.text);
    assert.deepEqual(answer.body.errors?.[0]?.pointer, '/cursor');
  });

  it('no secret gets into log or history', async () => {
    const me = await call<Me>(`${server.url}/me`, { token: admin() });
    assert.equal(me.status, 200);
    let histories = '';
    for await (const execution of slipway.client.workflow.list()) {
      const history = await slipway.client.workflow.getHandle(execution.workflowId, execution.runId).fetchHistory();
      // Payloads are bytes, in base64: their text is what could hold a secret.
      histories += JSON.stringify(history.events ?? [], (key, value: unknown) =>
        key === 'data' && typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : value,
      );
    }
    assert.ok(histories.includes('alertmanager'), 'the histories were read');
    for (const secret of [ALERT_TOKEN, admin() ?? '-']) {
      assert.ok(!histories.includes(secret));
      assert.ok(!server.log().includes(secret));
    }
  });
});
