import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import type { ArmStatus } from '../../formats/gateway.js';
import {
  admin,
  armWhen,
  eventually,
  fixtureTemplate,
  gatewayFor,
  isAlive,
  request,
  upArm,
  weights,
  write,
} from './gateway-support.js';

const STABLE = 'objects/prod/hello/arm/stable';
const ROUTE = 'objects/prod/hello/route/route';

describe('arms of the local gateway', () => {
  test('a rolling replace and a scale-down under traffic fail no request and never lack capacity', async (t) => {
    const gateway = await gatewayFor(t);
    const first = await upArm(gateway, 'stable', fixtureTemplate('hello:v1', { WORK_MS: '15' }), 3);
    await admin(gateway, 'POST', ROUTE, weights(100, 0));

    let on = true;
    const codes: Record<number, number> = {};
    const versions = new Set<string>();
    const clients = Array.from({ length: 8 }, async () => {
      while (on) {
        const { status, headers } = await request(gateway);
        codes[status] = (codes[status] ?? 0) + 1;
        versions.add(headers.get('x-slipway-version') ?? '');
      }
    });
    let fewest = Infinity;
    const watching = (async () => {
      while (on) {
        const { body } = await admin(gateway, 'GET', STABLE);
        const serving = body.status.replicas.filter(({ state }: { state: string }) => state === 'ready').length;
        fewest = Math.min(fewest, serving);
      }
    })();

    const spec = { template: fixtureTemplate('hello:v2', { WORK_MS: '15' }), replicas: 3 };
    const replaced = await admin(gateway, 'PUT', `${STABLE}?revision=${first.revision}`, write(spec));
    assert.equal(replaced.body.status.ready, 0, 'replicas of the former template do not count as ready');
    const rolled = await armWhen(gateway, 'stable', ({ status }) => status.ready === 3 && status.old === 0);
    assert.equal(fewest, 3);

    await admin(gateway, 'PUT', `${STABLE}?revision=${rolled.revision}`, write({ ...spec, replicas: 1 }));
    await armWhen(gateway, 'stable', ({ status }) => status.replicas.length === 1);
    on = false;
    await Promise.all([...clients, watching]);
    assert.deepEqual(Object.keys(codes), ['200'], JSON.stringify(codes));
    assert.deepEqual([...versions].sort(), ['hello:v1', 'hello:v2']);
  });

  test('a request in flight is finished before its replica ends', async (t) => {
    const gateway = await gatewayFor(t);
    const arm = await upArm(gateway, 'stable', fixtureTemplate('hello:v1'));
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    const slow = request(gateway, '/?ms=700');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await admin(gateway, 'DELETE', `${STABLE}?revision=${arm.revision}`);
    assert.equal((await request(gateway)).status, 503);
    assert.equal((await slow).status, 200);
    const pid = arm.status.replicas[0]?.pid ?? 0;
    await eventually(() => (isAlive(pid) ? null : true));
  });

  test('a request that outlasts the drain is cut off', async (t) => {
    const gateway = await gatewayFor(t, { drainMs: 200 });
    const arm = await upArm(gateway, 'stable', fixtureTemplate('hello:v1'));
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    const slow = request(gateway, '/?ms=5000');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await admin(gateway, 'DELETE', `${STABLE}?revision=${arm.revision}`);
    assert.equal((await slow).status, 502);
  });

  test('a crashed replica comes back', async (t) => {
    const gateway = await gatewayFor(t);
    const arm = await upArm(gateway, 'stable', fixtureTemplate('hello:v1'));
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    assert.equal((await request(gateway, '/crash')).status, 502);
    const former = arm.status.replicas[0]?.pid;
    await armWhen(gateway, 'stable', ({ status }) => status.ready === 1 && status.replicas[0]?.pid !== former);
    assert.equal((await request(gateway)).status, 200);
  });

  test('a supervisor that dies takes its replicas along, and they are started again', async (t) => {
    const gateway = await gatewayFor(t);
    const { status } = await upArm(gateway, 'stable', fixtureTemplate('hello:v1'), 2);
    const pids = status.replicas.map(({ pid }) => pid ?? 0);
    const parent = execFileSync('ps', ['-o', 'ppid=', '-p', String(pids[0])], { encoding: 'utf8' }).trim();
    process.kill(Number(parent), 'SIGKILL');
    await eventually(() => (pids.some(isAlive) ? null : true));
    await armWhen(gateway, 'stable', (arm) => arm.status.ready === 2);
  });

  test('an arm that does not come up fails at the progress deadline and says why', async (t) => {
    const gateway = await gatewayFor(t, { progressDeadlineMs: 600, maxReplicas: 7 });
    async function failure(
      service: string,
      template: ReturnType<typeof fixtureTemplate>,
      replicas = 1,
      says = /./,
    ): Promise<string> {
      await admin(gateway, 'POST', `objects/prod/${service}/arm/canary`, write({ template, replicas }));
      const said = ({ failed, message }: ArmStatus): boolean => failed && says.test(message ?? '');
      const arm = await armWhen(gateway, 'canary', ({ status }) => said(status), `prod/${service}`);
      return arm.status.message ?? '';
    }
    assert.match(
      await failure('exits', fixtureTemplate('v1', { EXIT_CODE: '9' })),
      /^its process exited with code 9.*; last output:\ncannot go on/,
    );
    // While it is tried again, "connection refused" is not the reason.
    const again = /^its process exited with code 9, and now its health path .* ECONNREFUSED .*; last output:\ncannot/;
    const slow = fixtureTemplate('v1', { EXIT_CODE: '9', EXIT_AFTER_MS: '700', START_MS: '60000' });
    assert.match(await failure('exits-late', slow, 1, again), again);
    assert.match(
      await failure('unready', fixtureTemplate('v1', { UNREADY: '1' })),
      /health path \/healthz answers 500/,
    );
    assert.match(
      await failure('deaf', fixtureTemplate('v1', { START_MS: '60000' })),
      /does not answer: connect ECONNREFUSED/,
    );
    const missing = { ...fixtureTemplate('v1'), command: ['/no/such/program'] };
    assert.match(await failure('missing', missing), /can't be started: .*ENOENT/);
    assert.match(await failure('large', fixtureTemplate('v1'), 5), /no room: 3 of 5 .*7 of the gateway's 7 are in use/);
    assert.deepEqual((await admin(gateway, 'GET', 'capacity')).body, { maxReplicas: 7, used: 10 });
  });

  test('an arm gets room as soon as another gives it up', async (t) => {
    const gateway = await gatewayFor(t, { maxReplicas: 2 });
    const stable = await upArm(gateway, 'stable', fixtureTemplate('hello:v1'), 2);
    await admin(
      gateway,
      'POST',
      'objects/prod/hello/arm/canary',
      write({ template: fixtureTemplate('hello:v2'), replicas: 1 }),
    );
    await armWhen(gateway, 'canary', ({ status }) => status.message?.startsWith('no room') ?? false);
    const spec = { template: fixtureTemplate('hello:v1'), replicas: 1 };
    await admin(gateway, 'PUT', `${STABLE}?revision=${stable.revision}`, write(spec));
    await armWhen(gateway, 'canary', ({ status }) => status.ready === 1);
  });

  test('placeholders and environment reach the program, the gateway’s own environment does not', async (t) => {
    const gateway = await gatewayFor(t);
    process.env['SLIPWAY_TEST_SECRET'] = 'x';
    t.after(() => delete process.env['SLIPWAY_TEST_SECRET']);
    const program = `
    require('node:http').createServer((_, response) => response.end(JSON.stringify({
      argv: process.argv.slice(1), own: process.env.OWN, arm: process.env.SLIPWAY_ARM, version: process.env.SLIPWAY_VERSION,
      secret: process.env.SLIPWAY_TEST_SECRET ?? null, home: process.env.HOME !== undefined,
    }))).listen(Number(process.env.PORT), '127.0.0.1')`;
    const template = {
      ...fixtureTemplate('hello:v3', { OWN: 'yes' }),
      command: ['node', '-e', program, '--', '{image}', 'tag={tag}', '{port}'],
      images: { app: 'registry.example/team/hello:v3' },
    };
    const arm = await upArm(gateway, 'stable', template);
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    assert.deepEqual(JSON.parse((await request(gateway)).text), {
      argv: ['registry.example/team/hello:v3', 'tag=v3', String(arm.status.replicas[0]?.port)],
      own: 'yes',
      arm: 'stable',
      version: 'hello:v3',
      secret: null,
      home: true,
    });
  });
});
