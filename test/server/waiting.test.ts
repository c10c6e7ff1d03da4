/**
 * Rollouts that wait: in their lanes (in the list, page by page, and in its stream, for those who may see them), and at
 * gates that nobody who is known can open.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Remote } from '../../client/remote/remote.js';
import type { RunDocument, RunList, RunSummary, StartedRun } from '../../client/server/contract.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { serviceYaml } from '../support/cli.js';
import { until } from '../support/drive.js';
import { call, Events, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

describe('a rollout that waits in its lane', () => {
  let stack: Stack;
  let server: TestServer;
  before(async () => {
    stack = await startStack();
    await stack.startWorker();
    server = await startServer(stack, {
      people: [
        { subject: 'admin', roles: ['admin'] },
        { subject: 'viewer', roles: ['viewer'], services: ['shop'] },
        { subject: 'stranger', roles: ['admin'], services: ['other'] },
        { subject: 'sec-1', roles: ['approver'], groups: ['sec'], services: ['reach'] },
        { subject: 'sec-2', roles: ['approver'], groups: ['sec'], services: ['reach'] },
      ],
    });
  });
  after(async () => {
    await server.close();
    await stack.stop();
  });

  async function start(service: string, tag: string): Promise<string> {
    const slipwayYaml = serviceYaml({ service, gateway: stack.adminUrl, more: ['approval: { required: always }'] });
    const { status, text, body } = await call<StartedRun>(`${server.url}/runs`, {
      token: server.tokens['admin'],
      headers: { 'Idempotency-Key': `${service}-${tag}` },
      body: { task: 'deploy', payload: { service, environment: 'local', tag, slipwayYaml } },
    });
    assert.equal(status, 202, text);
    return body.run_id;
  }
  async function list(who: string, query = ''): Promise<RunList> {
    const { status, text, body } = await call<RunList>(`${server.url}/runs${query}`, { token: server.tokens[who] });
    assert.equal(status, 200, text);
    return body;
  }
  async function abort(id: string): Promise<void> {
    const { status, text } = await call(`${server.url}/runs/${id}/decisions`, {
      token: server.tokens['admin'],
      body: { id: `abort-${id}`, verb: 'abort', reason: 'not wanted' },
    });
    assert.equal(status, 200, text);
  }
  const places = (runs: readonly RunSummary[]): readonly unknown[] =>
    runs.filter(({ status }) => status === 'queued').map(({ rolloutId, queue }) => [rolloutId, queue?.ahead]);
  /** The first list of the stream, since it was asked for, in which these wait at these places. */
  const told = (events: Events, wanted: readonly unknown[]) =>
    events.until<RunList>(
      `the queue ${JSON.stringify(wanted)}`,
      ({ event, data }) =>
        event === 'runs' && JSON.stringify(places((data as RunList).runs)) === JSON.stringify(wanted),
    );

  it('is listed, told as it changes, and hidden from those who may not see its service', async () => {
    const open = async (who: string): Promise<Events> =>
      Events.open(`${server.url}/events`, { Authorization: `Bearer ${server.tokens[who]}` });
    const events = await open('viewer');
    const blind = await open('stranger');
    const first = await start('shop', 'v1');
    const second = await start('shop', 'v2');
    const third = await start('shop', 'v3');
    const both = [
      [third, 2],
      [second, 1],
    ];
    const { data } = await told(events, both);
    const row = data.runs.find(({ rolloutId }) => rolloutId === second);
    assert.deepEqual(
      { ...row, startedAt: '' },
      {
        rolloutId: second,
        service: 'shop',
        environment: 'local',
        release: 'shop:v2',
        status: 'queued',
        waitsFor: null,
        outcome: null,
        risk: null,
        weightPercent: null,
        startedAt: '',
        endedAt: null,
        waitsForMe: false,
        queue: { ahead: 1, behind: first, blocked: null },
      },
    );
    const { body } = await call<RunDocument>(`${server.url}/runs/${third}`, { token: server.tokens['viewer'] });
    assert.deepEqual(body.summary.queue, { ahead: 2, behind: first, blocked: null }, 'by its id it says the same');
    for (const query of ['', '?state=open', '?service=shop', '?environment=local'])
      assert.deepEqual(places((await list('viewer', query)).runs), both, query);
    for (const query of ['?state=ended', '?state=waiting-for-me', '?service=other', '?environment=production'])
      assert.deepEqual(places((await list('viewer', query)).runs), [], query);
    assert.deepEqual((await list('stranger')).runs, []);

    await abort(second);
    const alone = await told(events, [[third, 1]]);
    assert.ok(!alone.data.runs.some(({ rolloutId }) => rolloutId === second), 'one that was withdrawn is still there');
    await abort(first);
    const begun = await events.until<RunList>(
      'it begins',
      ({ event, data: runs }) =>
        event === 'runs' &&
        (runs as RunList).runs.some(({ rolloutId, queue }) => rolloutId === third && queue === null),
    );
    assert.equal(begun.data.runs.filter(({ rolloutId }) => rolloutId === third).length, 1);
    // Nobody saw it twice in one list, or not at all in between.
    const since = events.seen.filter(({ event, atMs }) => event === 'runs' && atMs >= alone.atMs);
    for (const { data: runs } of since)
      assert.equal((runs as RunList).runs.filter(({ rolloutId }) => rolloutId === third).length, 1);
    assert.ok(!JSON.stringify(blind.seen).includes(third));
    events.close();
    blind.close();
    await abort(third);
  });

  it('comes page by page, each rollout once, also where one begins in between', async () => {
    const tags = ['v1', 'v2', 'v3', 'v4'];
    const paged: string[] = [];
    for (const tag of tags) paged.push(await start('paged', tag));
    const [running = '', next = '', ...others] = paged;
    const other = await start('single', 'v1');
    await until('all are listed', async () => {
      const { runs } = await list('admin', '?state=open');
      return places(runs).length === 3 && runs.some(({ rolloutId }) => rolloutId === other) ? true : null;
    });
    const pages = async (limit: number, between?: (page: number) => Promise<void>): Promise<readonly string[]> => {
      const seen: string[] = [];
      for (let cursor = '', page = 1; ; page += 1) {
        const { runs, next: more } = await list('admin', `?state=open&limit=${limit}${cursor}`);
        assert.ok(runs.length <= limit);
        seen.push(...runs.map(({ rolloutId }) => rolloutId));
        if (more === null) return seen;
        cursor = `&cursor=${more}`;
        await between?.(page);
      }
    };
    const expected = [...others.toReversed(), next, other, running];
    for (const limit of [1, 2, 3, 4, 5, 100]) assert.deepEqual(await pages(limit), expected, `limit ${limit}`);

    // The one that is next was shown as queued, on the last page of the queue, and runs before the runs are read.
    const seen = await pages(3, async (page) => {
      if (page !== 1) return;
      await abort(running);
      await until('the next one runs', async () =>
        (await list('admin', '?state=open')).runs.some(({ rolloutId, queue }) => rolloutId === next && queue === null)
          ? true
          : null,
      );
    });
    assert.deepEqual(seen, [...others.toReversed(), next, other]);
  });

  it('for approvals that nobody who is known can give says so at once, and at its gate', async () => {
    const policy =
      'approval: { required: always, allowUnverified: false, byRisk: { low: { rules: [{ group: sec, count: 2 }] } } }';
    const slipwayYaml = serviceYaml({ service: 'reach', gateway: stack.adminUrl, more: [policy] });
    const asked = () =>
      call<StartedRun>(`${server.url}/runs`, {
        token: server.tokens['admin'],
        headers: { 'Idempotency-Key': 'reach' },
        body: {
          task: 'deploy',
          payload: { service: 'reach', environment: 'local', tag: 'v1', slipwayYaml, change: { author: 'sec-1' } },
        },
      });
    const { status, text, body } = await asked();
    assert.equal(status, 202, text);
    const known = 'for this server knows 1 who may (sec-2), besides admin, sec-1, who wrote or started it';
    const remark = `approval of reach in local: 2 of sec must approve: 1 of sec can't be had, ${known}; name more people in slipway-server.yaml, or ask for fewer in slipway.yaml`;
    assert.deepEqual(body.remarks, [remark]);
    assert.deepEqual((await asked()).body.remarks, [remark], 'the same answer to the same request');
    const run = await until('the gate', async () => {
      const answer = await call<RunDocument>(`${server.url}/runs/${body.run_id}`, { token: server.tokens['admin'] });
      return answer.body.view.wait?.kind === 'approval' ? answer.body : null;
    });
    assert.deepEqual(run.remarks, [remark]);
    const remote = await Remote.connect({ SLIPWAY_TOKEN: server.tokens['admin'] }, server.url);
    const found = await remote.find(await remote.resolve(body.run_id));
    assert.deepEqual(found.kind === 'running' ? found.remarks : null, [remark], 'for `slipway status` and `watch`');
    await abort(body.run_id);
    const over = await call<RunDocument>(`${server.url}/runs/${body.run_id}`, { token: server.tokens['admin'] });
    assert.deepEqual(over.body.remarks, []);
  });
});
