import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { createWeightedChoice } from '../../gateway/weighted-choice.js';
import { admin, fixtureTemplate, gatewayFor, request, spread, upArm, weights } from './gateway-support.js';

const ROUTE = 'objects/prod/hello/route/route';

describe('traffic through the local gateway', () => {
  test('shares are exact to one request in every hundred', () => {
    for (const [stable, canary, baseline] of [
      [100, 0, 0],
      [90, 10, 0],
      [0, 100, 0],
      [50, 25, 25],
      [98, 1, 1],
      [66.7, 33.3, 0],
      [0.5, 49.5, 50],
    ] as const) {
      const wanted = { stable, canary, baseline };
      const choose = createWeightedChoice(wanted);
      const total = { stable: 0, canary: 0, baseline: 0 };
      for (let hundred = 1; hundred <= 20; hundred++) {
        const seen = { stable: 0, canary: 0, baseline: 0 };
        for (let index = 0; index < 100; index++) seen[choose()]++;
        for (const arm of ['stable', 'canary', 'baseline'] as const) {
          total[arm] += seen[arm];
          assert.ok(Math.abs(seen[arm] - wanted[arm]) <= 1, `${arm} got ${seen[arm]} of 100 at ${wanted[arm]} %`);
          assert.ok(Math.abs(total[arm] - wanted[arm] * hundred) <= 1, `${arm} got ${total[arm]} of ${hundred * 100}`);
          if (wanted[arm] === 0) assert.equal(seen[arm], 0);
        }
      }
    }
  });

  test('traffic follows the weights, and an arm that is down keeps its share as errors', async (t) => {
    const gateway = await gatewayFor(t);
    await upArm(gateway, 'stable', fixtureTemplate('hello:v1'), 2);
    const canary = await upArm(gateway, 'canary', fixtureTemplate('hello:v2'));
    assert.equal((await request(gateway)).status, 404);
    const { body: route } = await admin(gateway, 'POST', ROUTE, weights(100, 0));
    assert.deepEqual(await spread(gateway, 20), { 'stable 200': 20 });
    await admin(gateway, 'PUT', `${ROUTE}?revision=${route.revision}`, weights(90, 10));
    assert.deepEqual(await spread(gateway, 100), { 'stable 200': 90, 'canary 200': 10 });

    await admin(gateway, 'DELETE', `objects/prod/hello/arm/canary?revision=${canary.revision}`);
    assert.deepEqual(await spread(gateway, 100), { 'stable 200': 90, 'canary 503': 10 });

    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    const line = (labels: string): string =>
      `slipway_gateway_requests_total{environment="prod",service="hello",${labels}}`;
    assert.ok(text.includes(`${line('arm="stable",version="hello:v1",code="200"')} 200\n`), text);
    assert.ok(text.includes(`${line('arm="canary",version="hello:v2",code="200"')} 10\n`));
    assert.ok(text.includes(`${line('arm="canary",version="none",code="503"')} 10\n`));
    assert.ok(text.includes('slipway_gateway_weight_percent{environment="prod",service="hello",arm="canary"} 10\n'));
    assert.ok(
      text.includes(
        'slipway_gateway_ready_replicas{environment="prod",service="hello",arm="stable",version="hello:v1"} 2\n',
      ),
    );
    assert.match(text, /slipway_gateway_request_duration_seconds_bucket\{le="0.005",/);
  });

  test('requests and answers pass unchanged', async (t) => {
    const gateway = await gatewayFor(t);
    await upArm(gateway, 'stable', fixtureTemplate('hello:v1'));
    await admin(gateway, 'POST', ROUTE, weights(100, 0));

    const { status, headers, text } = await request(gateway, '/a/b%20c?x=1&y=2', {
      headers: { 'x-own': 'kept', te: 'trailers' },
    });
    assert.equal(status, 200);
    assert.deepEqual(headers.getSetCookie(), ['a=1', 'b=2']);
    assert.equal(headers.get('x-slipway-arm'), 'stable');
    assert.equal(headers.get('x-slipway-version'), 'hello:v1');
    const seen = JSON.parse(text);
    assert.equal(seen.path, '/a/b%20c?x=1&y=2');
    assert.equal(seen.headers['x-own'], 'kept');
    assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(seen.headers.te, undefined);

    const bytes = randomBytes(3_000_000);
    const echo = await fetch(`${gateway.dataUrl}/prod/hello/echo`, { method: 'POST', body: bytes });
    assert.ok(bytes.equals(Buffer.from(await echo.arrayBuffer())));
    const stream = new ReadableStream({
      start(controller) {
        for (const part of ['one ', 'two ', 'three']) controller.enqueue(new TextEncoder().encode(part));
        controller.close();
      },
    });
    const streamed = await request(gateway, '/echo', { method: 'POST', body: stream, duplex: 'half' } as RequestInit);
    assert.equal(streamed.text, 'one two three');
    assert.equal((await request(gateway, '/', { method: 'HEAD' })).status, 200);
  });

  test('an answer that breaks off is an error of its arm, and never looks complete', async (t) => {
    const gateway = await gatewayFor(t);
    await upArm(gateway, 'stable', fixtureTemplate('hello:v1'));
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    await assert.rejects(request(gateway, '/half'));
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    assert.match(text, /requests_total\{[^}]*arm="stable",version="hello:v1",code="502"\} 1\n/);
  });

  test('a replica that hangs up idle connections costs no request', async (t) => {
    const gateway = await gatewayFor(t);
    // Closes each connection a moment after its answer, without saying so: the worst kind of keep-alive.
    const program = `
    require('node:http').createServer((request, response) => {
      response.end('ok');
      setTimeout(() => request.socket.destroy(), 3);
    }).listen(Number(process.env.PORT), '127.0.0.1')`;
    await upArm(gateway, 'stable', { ...fixtureTemplate('hello:v1'), command: ['node', '-e', program] });
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    for (let index = 0; index < 200; index++) {
      assert.equal((await request(gateway)).status, 200);
      await new Promise((resolve) => setTimeout(resolve, index % 5));
    }
  });

  test('more than a thousand requests a second', async (t) => {
    const gateway = await gatewayFor(t);
    await upArm(gateway, 'stable', fixtureTemplate('hello:v1'), 2);
    await admin(gateway, 'POST', ROUTE, weights(100, 0));
    const { Agent, get } = await import('node:http');
    const agent = new Agent({ keepAlive: true });
    t.after(() => agent.destroy());
    const one = (): Promise<number> =>
      new Promise((resolve, reject) => {
        get(`${gateway.dataUrl}/prod/hello/`, { agent, timeout: 10_000 }, (response) => {
          response.resume().once('end', () => resolve(response.statusCode ?? 0));
        }).once('error', reject);
      });
    const total = 4000;
    let left = total;
    const startedAt = performance.now();
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        while (left-- > 0) assert.equal(await one(), 200);
      }),
    );
    const perSecond = total / ((performance.now() - startedAt) / 1000);
    t.diagnostic(`${Math.round(perSecond)} requests a second, client and gateway in one process`);
    // A machine that runs all tests at once is no place for a benchmark: bench/ measures, this catches a collapse.
    assert.ok(perSecond > 300, `${perSecond} requests a second`);
  });
});
