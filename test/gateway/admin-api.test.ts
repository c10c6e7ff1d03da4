import assert from 'node:assert/strict';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { GatewayStartError } from '../../gateway/errors.js';
import {
  admin,
  eventually,
  fixtureTemplate,
  gatewayFor,
  journalOf,
  stateDirFor,
  weights,
  write,
} from './gateway-support.js';

const ANCHOR = 'objects/prod/hello/anchor/lane';

describe('the admin API of the local gateway', () => {
  test('a replace needs the current revision, and changes nothing when nothing changes', async (t) => {
    const gateway = await gatewayFor(t);
    const created = await admin(gateway, 'POST', ANCHOR, write({ a: 1 }));
    assert.equal(created.status, 201);
    const { revision } = created.body;

    assert.deepEqual((await admin(gateway, 'POST', ANCHOR, write({ a: 1 }))).body.reason, 'AlreadyExists');
    assert.equal((await admin(gateway, 'PUT', ANCHOR, write({ a: 2 }))).status, 422);
    assert.equal((await admin(gateway, 'PUT', `${ANCHOR}x?revision=1`, write({ a: 2 }))).status, 404);

    const same = await admin(gateway, 'PUT', `${ANCHOR}?revision=${revision}`, write({ a: 1 }));
    assert.deepEqual([same.status, same.body.revision], [200, revision]);
    const changed = await admin(gateway, 'PUT', `${ANCHOR}?revision=${revision}`, write({ a: 2 }));
    assert.ok(changed.body.revision > revision);
    const late = await admin(gateway, 'PUT', `${ANCHOR}?revision=${revision}`, write({ a: 1 }));
    assert.deepEqual([late.status, late.body.reason], [409, 'Conflict']);
    assert.equal((await admin(gateway, 'DELETE', `${ANCHOR}?revision=${revision}`)).status, 409);
    assert.equal((await admin(gateway, 'DELETE', `${ANCHOR}?revision=${changed.body.revision}`)).status, 200);
    assert.equal((await admin(gateway, 'GET', ANCHOR)).status, 404);

    const entries = await journalOf(gateway);
    assert.deepEqual(
      entries.map(({ verb, key, fence }) => [verb, key, fence]),
      [
        ['create', 'test', '1.1'],
        ['replace', 'test', '1.1'],
        ['delete', 'test', '1.1'],
      ],
    );
  });

  test('of many writers with one revision exactly one wins', async (t) => {
    const gateway = await gatewayFor(t);
    const { body } = await admin(gateway, 'POST', ANCHOR, write({ by: -1 }));
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, by) =>
        admin(gateway, 'PUT', `${ANCHOR}?revision=${body.revision}`, write({ by })),
      ),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    assert.equal(answers.filter(({ status }) => status === 409).length, 29);
    assert.equal((await journalOf(gateway)).length, 2);
  });

  test('refusals name the field, the value and the remedy', async (t) => {
    const gateway = await gatewayFor(t);
    const cases: readonly (readonly [string, unknown, RegExp])[] = [
      ['objects/prod/hello/route/route', weights(60, 30), /spec\.weights is .*must sum to 100, not 90/],
      ['objects/prod/hello/route/route', weights(100, 0), /spec\.weights\.stable is 100: there is no arm stable/],
      ['objects/prod/hello/route/route', weights(-1, 101), /spec\.weights\.stable is -1: /],
      ['objects/prod/hello/route/main', weights(100, 0), /name is "main": the route is called route/],
      ['objects/prod/hello/arm/green', write({}), /name is "green": an arm is called stable, canary, baseline/],
      ['objects/prod/hello/pod/x', write({}), /kind is "pod": use anchor, arm, route/],
      ['objects/Prod/hello/anchor/x', write({}), /environment is "Prod": lower-case/],
      [
        'objects/prod/hello/arm/stable',
        write({ template: fixtureTemplate('v1'), replicas: 2000 }),
        /spec\.replicas is 2000: /,
      ],
      [
        'objects/prod/hello/arm/stable',
        { ...write({ template: fixtureTemplate('v1'), replicas: 1 }), status: {} },
        /status/,
      ],
      ['objects/prod/hello/anchor/x', '{', /body is no JSON/],
    ];
    for (const [path, body, message] of cases) {
      const answer = await admin(gateway, 'POST', path, body);
      assert.equal(answer.status, 422, path);
      assert.equal(answer.body.reason, 'Invalid');
      assert.match(answer.body.message, message);
    }
    assert.equal((await journalOf(gateway)).length, 0);
  });

  test('objects go with their owner, even those that come after it', async (t) => {
    const gateway = await gatewayFor(t);
    const { body: anchor } = await admin(gateway, 'POST', 'objects/prod/hello/anchor/rollout-1', write({}));
    const arm = write({ template: fixtureTemplate('v1'), replicas: 1 }, anchor.uid);
    await admin(gateway, 'POST', 'objects/prod/hello/arm/canary', arm);
    await admin(gateway, 'DELETE', `objects/prod/hello/anchor/rollout-1?revision=${anchor.revision}`);
    assert.equal((await admin(gateway, 'GET', 'objects/prod/hello/arm/canary')).status, 404);

    assert.equal((await admin(gateway, 'POST', 'objects/prod/hello/arm/canary', arm)).status, 201);
    assert.equal((await admin(gateway, 'GET', 'objects/prod/hello/arm/canary')).status, 404);
    const verbs = (await journalOf(gateway)).map(({ verb, name }) => `${verb} ${name}`);
    assert.deepEqual(verbs.slice(-4), ['delete rollout-1', 'collect canary', 'create canary', 'collect canary']);
    await eventually(async () => ((await admin(gateway, 'GET', 'capacity')).body.used === 0 ? true : null));
  });

  test('web pages may not write', async (t) => {
    const gateway = await gatewayFor(t);
    const response = await fetch(`${gateway.adminUrl}/v1/${ANCHOR}`, {
      method: 'POST',
      headers: { origin: 'http://evil.example' },
      body: JSON.stringify(write({})),
    });
    assert.equal(response.status, 403);
  });

  test('a torn last line is cut off; any other damage refuses the start', async (t) => {
    const stateDir = await stateDirFor(t);
    const journal = join(stateDir, 'journal.jsonl');
    const first = await gatewayFor(t, { stateDir });
    await admin(first, 'POST', ANCHOR, write({ a: 1 }));
    await first.close();
    await appendFile(journal, '{"entry":{"seq":2,"at":"20');

    const second = await gatewayFor(t, { stateDir });
    const { body } = await admin(second, 'GET', ANCHOR);
    assert.deepEqual(body.spec, { a: 1 });
    assert.equal((await admin(second, 'PUT', `${ANCHOR}?revision=${body.revision}`, write({ a: 2 }))).body.revision, 2);
    await second.close();

    const text = await readFile(journal, 'utf8');
    assert.equal(text.trimEnd().split('\n').length, 2);
    await writeFile(journal, text.replace('"seq"', '"sec"'));
    await assert.rejects(gatewayFor(t, { stateDir }), /line 1, can't be read/);
  });

  test('a large journal is rewritten at start without former contents, and says the same', async (t) => {
    const stateDir = await stateDirFor(t);
    const first = await gatewayFor(t, { stateDir });
    const filler = 'x'.repeat(200_000);
    let { body } = await admin(first, 'POST', ANCHOR, write({ filler, n: 0 }));
    for (let n = 1; n <= 90; n++) {
      ({ body } = await admin(first, 'PUT', `${ANCHOR}?revision=${body.revision}`, write({ filler, n })));
    }
    const before = await journalOf(first);
    await first.close();
    const second = await gatewayFor(t, { stateDir });
    assert.deepEqual(await journalOf(second), before);
    assert.deepEqual((await admin(second, 'GET', ANCHOR)).body, body);
    assert.ok((await readFile(join(stateDir, 'journal.jsonl'))).length < 1_000_000);
  });

  test('a taken port and a taken state directory refuse the start', async (t) => {
    const stateDir = await stateDirFor(t);
    await gatewayFor(t, { stateDir });
    await assert.rejects(gatewayFor(t, { stateDir }), (error: unknown) => {
      assert.ok(error instanceof GatewayStartError);
      assert.match(error.message, new RegExp(`in use by the gateway with pid ${process.pid}`));
      return true;
    });

    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    t.after(() => blocker.close());
    const { port } = blocker.address() as { port: number };
    const other = await stateDirFor(t);
    await assert.rejects(gatewayFor(t, { stateDir: other, adminPort: port }), /is taken: .*--admin-port/);
    // The refused start has left no lock behind.
    await gatewayFor(t, { stateDir: other });
  });
});
