import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { DecisionAnswer, Problem, RunDocument, RunList, StartedRun } from '../../client/server/contract.js';
import { Slipway } from '../../client/slipway.js';
import { startStack } from '../../tools/stack.js';
import type { Stack } from '../../tools/stack.js';
import { serviceYaml } from '../support/cli.js';
import { until } from '../support/drive.js';
import { call, Events, startServer } from '../support/server.js';
import type { TestServer } from '../support/server.js';

describe('the server without a login', () => {
  let stack: Stack;
  let server: TestServer;
  let slipway: Slipway;
  before(async () => {
    stack = await startStack({ maxReplicas: 20 });
    await stack.startWorker();
    slipway = await Slipway.connect(stack.env);
    server = await startServer(stack, { people: null, pingMs: 500 });
  });
  after(async () => {
    await server.close();
    await slipway.close();
    await stack.stop();
  });

  function start(service: string, tag: string, more: readonly string[] = [], key = `${service}-${tag}`) {
    const slipwayYaml = serviceYaml({ service, gateway: stack.adminUrl, more });
    return call<StartedRun>(`${server.url}/runs`, {
      headers: { 'Idempotency-Key': key },
      body: { task: 'deploy', payload: { service, environment: 'local', tag, slipwayYaml } },
    });
  }
  const run = (id: string) => call<RunDocument>(`${server.url}/runs/${id}`);

  it('starts, is watched, asks, is approved, and ends: all over HTTP', async () => {
    const traceId = 'a'.repeat(32);
    const slipwayYaml = serviceYaml({
      service: 'whole',
      gateway: stack.adminUrl,
      more: ['approval: { required: always }'],
    });
    const body = { task: 'deploy', payload: { service: 'whole', environment: 'local', tag: 'v1', slipwayYaml } };
    const headers = { 'Idempotency-Key': '"whole-1"', traceparent: `00-${traceId}-${'b'.repeat(16)}-01` };
    const started = await call<StartedRun>(`${server.url}/runs`, { headers, body });
    assert.equal(started.status, 202, started.text);
    assert.equal(started.body.trace_id, traceId);
    const id = started.body.run_id;

    const again = await call<StartedRun>(`${server.url}/runs`, { body: { ...body, idempotencyKey: 'whole-1' } });
    assert.equal(again.status, 200, again.text);
    assert.equal(again.body.run_id, id);

    const events = await Events.open(`${server.url}/runs/${id}/events`, {});
    const asked = await events.until<RunDocument>(
      'the gate',
      ({ event, data }) => event === 'run' && (data as RunDocument).view.approvals !== null,
    );
    const { view, offers, summary } = asked.data;
    assert.equal(summary.waitsFor, 'approval');
    assert.equal(summary.waitsForMe, true);
    const approve = offers.find(({ verb }) => verb === 'approve');
    assert.equal(approve?.allowed, false, 'local started it');
    assert.match(approve?.why ?? '', /local wrote or started/);
    assert.ok(offers.find(({ verb }) => verb === 'reject')?.allowed);

    const list = await until('the list', async () => {
      const answer = await call<RunList>(`${server.url}/runs?state=waiting-for-me&service=whole`);
      assert.equal(answer.status, 200, answer.text);
      return answer.body.runs.find(({ rolloutId }) => rolloutId === id) ?? null;
    });
    assert.equal(list.status, 'awaiting-approval');

    const decision = {
      id: 'reject-1',
      verb: 'reject',
      gate: view.approvals?.gate,
      planDigest: view.approvals?.planDigest,
      reason: 'not today',
    };
    const refused = await call<Problem>(`${server.url}/runs/${id}/decisions`, {
      body: { ...decision, id: 'approve-1', verb: 'approve' },
    });
    assert.equal(refused.status, 403, refused.text);
    assert.equal(refused.body.refusal, 'excluded');
    const said = await call<DecisionAnswer>(`${server.url}/runs/${id}/decisions`, { body: decision });
    assert.equal(said.status, 200, said.text);
    assert.equal(said.body.kind, 'accepted');
    const end = await events.until('the end', ({ event }) => event === 'end');
    assert.deepEqual(end.data, { reason: 'the rollout is over' });
    const last = events.seen.filter(({ event }) => event === 'run').at(-1)?.data as RunDocument;
    assert.equal(last.view.outcome, 'rejected');
    assert.equal(last.view.decisions[0]?.actor.subject, 'local');
    assert.match(last.view.decisions[0]?.signature ?? '', /^eyJ/);

    const over = await run(id);
    assert.deepEqual(
      over.body.offers.map(({ verb }) => verb),
      ['retry'],
    );
    const record = await call(over.body.links.record ?? '');
    assert.equal(record.status, 200, record.text);
    assert.equal((record.body as { view: { rolloutId: string } }).view.rolloutId, id);
  });

  it('refuses what has no key, no policy, no tag, and a key for another payload', async () => {
    const first = await start('keys', 'v1', ['approval: { required: always }'], 'same');
    assert.equal(first.status, 202, first.text);
    const other = await start('keys', 'v2', ['approval: { required: always }'], 'same');
    assert.equal(other.status, 422, other.text);
    assert.match(other.headers.get('content-type') ?? '', /^application\/problem\+json/);
    await call(`${server.url}/runs/${first.body.run_id}/decisions`, { body: { id: 'x', verb: 'abort' } });
  });
});
