import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { BODY_LIMIT } from '../../client/server/app.js';
import type { Problem } from '../../client/server/contract.js';
import { PROBLEM_BASE, PROBLEMS } from '../../client/server/problems.js';
import { idempotencyKey, traceIdOf } from '../../client/server/start.js';
import { nearlyValid, valid } from '../support/from-schema.js';
import type { JsonSchema } from '../support/from-schema.js';
import { call, startBare, startServer } from '../support/server.js';
import type { Bare, TestServer } from '../support/server.js';

interface Operation {
  readonly operationId: string;
  readonly security?: readonly unknown[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: JsonSchema }>> }>
  >;
}
interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

describe('requests', { timeout: 300_000 }, () => {
  let bare: Bare;
  let server: TestServer;
  let api: OpenApi;
  before(async () => {
    bare = await startBare();
    server = await startServer(bare, {
      people: [
        { subject: 'viewer', roles: ['viewer'] },
        { subject: 'deployer', roles: ['deployer'] },
      ],
      env: { SLIPWAY_ALERTS_TOKEN_SHA256: 'a'.repeat(64) },
    });
    api = (await call<OpenApi>(`${server.url}/openapi.json`)).body;
  });
  after(async () => {
    await server.close();
    await bare.stop();
  });
  const deployer = () => server.tokens['deployer'];
  const codeOf = ({ body }: { readonly body: Problem }): string => body.type.slice(PROBLEM_BASE.length);
  const post = (body: unknown, headers: Readonly<Record<string, string>> = {}) =>
    call<Problem>(`${server.url}/runs`, { token: deployer(), body, headers });
  const good = { task: 'deploy', payload: { service: 'shop', environment: 'test', tag: 'v1' }, idempotencyKey: 'k1' };

  it('that are wrong are told where, and what to do', async () => {
    const answer = await post({ ...good, task: 'destroy', extra: 1, payload: { ...good.payload, service: '../x' } });
    assert.equal(answer.status, 400, answer.text);
    assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
    assert.deepEqual(answer.body.errors?.map(({ pointer }) => pointer).toSorted(), ['/', '/payload/service', '/task']);
    assert.equal(answer.body.instance, answer.headers.get('x-request-id'));
    assert.ok(answer.body.next.length > 0);
    assert.equal(codeOf(await post({ ...good, idempotencyKey: undefined })), 'key-missing');
    assert.equal(codeOf(await post(good, { 'Idempotency-Key': 'k2' })), 'keys-differ');
    assert.equal(codeOf(await post(good, { 'Idempotency-Key': 'k1' })), 'no-policy');
    assert.equal(
      codeOf(await post({ ...good, payload: { ...good.payload, slipwayYaml: 'service: shop' } })),
      'invalid-policy',
    );
    const other = await post({
      ...good,
      payload: {
        ...good.payload,
        slipwayYaml: 'service: other\nenvironments: { test: { platform: local, run: { command: [x] } } }',
      },
    });
    assert.equal(codeOf(other), 'invalid-policy');
    const named = await post({
      ...good,
      payload: {
        ...good.payload,
        config: { secrets: { db: 'db-2' } },
        slipwayYaml: 'service: shop\nenvironments: { test: { platform: local, run: { command: [x] } } }',
      },
    });
    assert.deepEqual(
      named.body.errors?.map(({ pointer, detail }) => [pointer, detail]),
      [['/payload/config', "the service's platform has no ConfigMaps and Secrets"]],
      named.text,
    );
  });

  it('with a body that is too large, no JSON, or of another type are refused', async () => {
    assert.equal(codeOf(await post('{"task":')), 'invalid-json');
    assert.equal(codeOf(await post('')), 'invalid-json');
    assert.equal(codeOf(await post(good, { 'Content-Type': 'text/plain' })), 'unsupported-media-type');
    assert.equal(
      codeOf(await post(good, { 'Content-Type': 'application/x-www-form-urlencoded' })),
      'unsupported-media-type',
    );
    const large = await post(JSON.stringify({ ...good, actor: 'x'.repeat(BODY_LIMIT) }));
    assert.equal(large.status, 413, large.text);
    assert.equal(codeOf(large), 'body-too-large');
    const deep = await post(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    assert.equal(deep.status, 400, deep.text.slice(0, 300));
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(64 * 1024).fill(0x20));
      },
    });
    const chunked = await fetch(`${server.url}/runs`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${deployer()}`, 'Content-Type': 'application/json' },
      body: endless,
      duplex: 'half',
      signal: AbortSignal.timeout(15_000),
    } as RequestInit).then(
      ({ status }) => status,
      // The connection is cut while there is still something to send.
      (error: unknown) => (String((error as Error).cause ?? error).includes('imeout') ? 0 : 413),
    );
    assert.equal(chunked, 413, 'without a length it is cut off too');
  });

  it('can’t leave their path, nor put lines into headers', async () => {
    const paths = [
      '/runs/..%2f..%2fetc%2fpasswd',
      '/runs/%00',
      '/runs/%0d%0aX-Evil:%201',
      '/runs/3f2a9c1e5b7d8f00%27%20OR%201=1',
      '/runs/3f2a9c1e5b7d8f00/evidence/..%2f..%2fsigning-key.json',
      '/runs/%E0%A4%A',
      '//runs',
      '/runs/',
      '/Runs',
      '/keys/signing-key.json',
    ];
    for (const at of paths) {
      const answer = await call<Problem>(`${server.url}${at}`, { token: deployer() });
      assert.equal(answer.status, 404, `${at}: ${answer.text}`);
      assert.equal(answer.headers.get('x-evil'), null);
    }
    for (const query of [
      "service=x'%20OR%201=1",
      'limit=0',
      'limit=101',
      'limit=1e1',
      'state=all',
      'nonsense=1',
      'environment=%00',
    ]) {
      const answer = await call<Problem>(`${server.url}/runs?${query}`, { token: deployer() });
      assert.equal(answer.status, 400, query);
      assert.doesNotMatch(answer.body.detail, /pattern/, 'a remedy, not a regular expression');
    }
    const long = await call(`${server.url}/me`, { token: deployer(), headers: { 'X-Long': 'x'.repeat(20_000) } });
    assert.equal(long.status, 431);
  });

  it('that are no HTTP, or of a method that is not known, break nothing', async () => {
    const raw = (text: string) =>
      new Promise<string>((resolve, reject) => {
        const { port } = new URL(server.url);
        const socket = connect(Number(port), '127.0.0.1', () => socket.end(text));
        let answer = '';
        socket.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
        socket.once('close', () => resolve(answer)).once('error', reject);
      });
    assert.match(await raw('GARBAGE\r\n\r\n'), /^HTTP\/1\.1 400/);
    assert.match(await raw('GET /healthz HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 (400|200)/);
    assert.match(
      await raw('POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'),
      /^HTTP\/1\.1 400/,
    );
    assert.match(await raw('TRACE /runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 (4\d\d|501)/);
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const answer = await call<Problem>(`${server.url}/runs`, { token: deployer(), method });
      assert.equal(answer.status, 405, method);
      assert.equal(answer.headers.get('allow'), 'POST, GET, HEAD');
      assert.equal(answer.headers.get('access-control-allow-origin'), null, 'CORS is closed');
    }
    assert.equal((await call(`${server.url}/healthz`, { method: 'HEAD' })).status, 200);
  });

  it('are answered with headers that leave browsers no freedom', async () => {
    for (const at of ['/me', '/healthz', '/nowhere', '/openapi.json']) {
      const { headers } = await call(`${server.url}${at}`);
      assert.equal(headers.get('x-content-type-options'), 'nosniff', at);
      assert.equal(headers.get('x-frame-options'), 'DENY', at);
      assert.equal(headers.get('content-security-policy'), "default-src 'none'; frame-ancestors 'none'", at);
      assert.equal(headers.get('cache-control'), 'no-store', at);
      assert.ok(headers.get('x-request-id'));
    }
  });

  it('of machines that watch the server are answered', async () => {
    assert.equal((await call(`${server.url}/healthz`)).text, 'ok\n');
    assert.equal((await call(`${server.url}/readyz`)).text, 'ready\n');
    const metrics = (await call(`${server.url}/metrics`)).text;
    assert.match(metrics, /^slipway_http_request_duration_seconds_count\{endpoint="me",status="401"\} \d+$/m);
    assert.match(metrics, /^slipway_http_refused_total\{code="invalid-request"\} \d+$/m);
  });

  it('have a key in quotes or bare, and a trace that is theirs where it can be one', () => {
    assert.equal(idempotencyKey('"a-b"', undefined), 'a-b');
    assert.equal(idempotencyKey('a-b', 'a-b'), 'a-b');
    for (const bad of ['', '""', 'a b', 'ü', 'x'.repeat(256)])
      assert.throws(() => idempotencyKey(bad, undefined), /is no key/, bad);
    const id = '0af7651916cd43dd8448eb211c80319c';
    assert.equal(traceIdOf(`00-${id}-b7ad6b7169203331-01`), id);
    for (const bad of [
      undefined,
      '',
      `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
      `00-${id}`,
      `00-${id.toUpperCase()}-b7ad6b7169203331-01`,
    ])
      assert.match(traceIdOf(bad), /^(?!0{32})[0-9a-f]{32}$/);
    assert.notEqual(traceIdOf(undefined), traceIdOf(undefined));
  });

  it('and their answers are described by a valid OpenAPI document', async () => {
    assert.equal(api.openapi, '3.1.0');
    const ids = Object.values(api.paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    assert.equal(new Set(ids).size, ids.length);
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(api as object, 'api');
    const compiled = Object.keys(api.components.schemas).map((name) =>
      ajv.compile({ $ref: `api#/components/schemas/${name}` }),
    );
    assert.ok(compiled.length >= 8);
    for (const [at, methods] of Object.entries(api.paths))
      for (const { responses, parameters = [] } of Object.values(methods)) {
        assert.ok(Object.keys(responses).length > 0, at);
        const named = [...at.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        assert.deepEqual(
          parameters.filter((one) => one.in === 'path').map(({ name }) => name),
          named,
          at,
        );
        for (const one of parameters) assert.ok(one.in !== 'path' || one.required === true, at);
      }
  });

  it('that fuzz the API from its document get declared answers, and do nothing', async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema(api as object, 'api');
    const { schemas } = api.components;
    const operations = Object.entries(api.paths).flatMap(([at, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ at, method, operation })),
    );
    const roles = [undefined, server.tokens['viewer'], deployer()];
    let asked = 0;
    for (const { at, method, operation } of operations) {
      const path_ = (operation.parameters ?? []).filter((one) => one.in === 'path');
      const query = (operation.parameters ?? []).filter((one) => one.in === 'query');
      const bodySchema = operation.requestBody?.content['application/json']?.schema;
      const text = (schema: JsonSchema): fc.Arbitrary<string> =>
        fc
          .oneof(valid(schema, schemas), nearlyValid(schema, schemas))
          .map((value) => (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).slice(0, 2000));
      const requests = fc.record({
        token: fc.constantFrom(...roles),
        params: fc.tuple(...path_.map(({ schema }) => text(schema))),
        query: fc.tuple(...query.map(({ schema }) => fc.option(text(schema), { nil: undefined }))),
        key: fc.constantFrom(undefined, 'fuzz', '"fuzz"', 'a b'),
        body:
          bodySchema === undefined
            ? fc.constant(undefined)
            : fc.oneof(valid(bodySchema, schemas), nearlyValid(bodySchema, schemas)),
      });
      await fc.assert(
        fc.asyncProperty(requests, async ({ token, params, query: values, key, body }) => {
          let url = at;
          for (const [index, one] of path_.entries())
            url = url.replace(`{${one.name}}`, encodeURIComponent(params[index] ?? ''));
          const search = new URLSearchParams();
          for (const [index, one] of query.entries()) {
            const value = values[index];
            if (value !== undefined) search.set(one.name, value);
          }
          const response = await fetch(`${server.url}${url}?${search}`, {
            method: method.toUpperCase(),
            redirect: 'manual',
            signal: AbortSignal.timeout(20_000),
            headers: {
              ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
              ...(key === undefined ? {} : { 'Idempotency-Key': key }),
              ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
            },
            ...(method === 'post' && body !== undefined ? { body: JSON.stringify(body) } : {}),
          });
          asked += 1;
          const type = (response.headers.get('content-type') ?? '').split(';')[0] ?? '';
          if (type === 'text/event-stream') {
            await response.body?.cancel();
            return;
          }
          const said = await response.text();
          const told = `${method} ${url}?${search} ${JSON.stringify(body)?.slice(0, 500)}: ${response.status} ${said.slice(0, 500)}`;
          assert.ok(response.status < 500, told);
          // An empty parameter is another path.
          const declared = operation.responses[String(response.status)];
          if (declared === undefined) {
            assert.ok(params.includes('') && [404, 405].includes(response.status), told);
            return;
          }
          if (response.status >= 400) assert.equal(type, 'application/problem+json', told);
          const schema = declared.content?.[type]?.schema;
          if (schema !== undefined && type.endsWith('json')) {
            const check = ajv.compile(resolved(schema));
            assert.ok(check(JSON.parse(said)), `${told}\n${JSON.stringify(check.errors)}`);
          }
        }),
        { numRuns: bodySchema === undefined ? 25 : 60, endOnFailure: true, includeErrorInReport: true },
      );
    }
    assert.ok(asked > 500, String(asked));
    let workflows = 0;
    // The reconcile schedule starts a workflow of its own, whoever asks for what.
    for await (const _ of bare.slipway.client.workflow.list({ query: "WorkflowType IN ('lane', 'rollout')" }))
      workflows += 1;
    assert.equal(workflows, 0, 'nothing was started');
    for (const token of Object.values(server.tokens)) assert.ok(!server.log().includes(token));
    const failed = server
      .log()
      .split('\n')
      .filter((line) => line.includes('"level":50'));
    assert.deepEqual(failed, [], 'nothing failed');
  });

  /** References are to the document. */
  function resolved(schema: JsonSchema): object {
    return JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"api#/components/')) as object;
  }

  it('have problems that the documentation lists, all of them and no others', async () => {
    const page = await readFile('docs/server.md', 'utf8');
    const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (\d{3}) +\| (.+?) +\| (.+?) +\|$/gm)].map(
      ([, code, status, title, next]) => ({ code, status: Number(status), title, next }),
    );
    assert.deepEqual(
      rows,
      Object.entries(PROBLEMS).map(([code, { status, title, next }]) => ({ code, status, title, next })),
    );
  });
});
