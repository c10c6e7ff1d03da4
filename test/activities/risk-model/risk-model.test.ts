import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createRiskModel } from '../../../activities/risk-model/risk-model.js';
import type { RiskModelOptions, RiskQuestion } from '../../../activities/risk-model/risk-model.js';
import type { ModelOpinion } from '../../../domain/risk.js';
import { combineRisk, DEFAULT_RISK_POLICY, riskFloor } from '../../../domain/risk-floor.js';
import { FAKE_OPINION, startFakeOpenAi } from '../../support/fake-openai.js';
import type { FakeOpenAi, FakeReply } from '../../support/fake-openai.js';
import { SMALL_CHANGE } from '../../support/request.js';

const KEY = 'sk-test-4711-abcdefghijklmnop';
const NEVER = new AbortController().signal;

const question: RiskQuestion = {
  service: 'shop',
  environment: 'prod',
  tier: 2,
  change: SMALL_CHANGE,
  floor: riskFloor({
    ...SMALL_CHANGE,
    settings: [],
    tier: 2,
    recentRollbackDays: null,
    localHour: 12,
    localWeekday: 2,
    policy: DEFAULT_RISK_POLICY,
  }),
};

let fake: FakeOpenAi;
let earlier = 0;
before(async () => {
  fake = await startFakeOpenAi();
});
beforeEach(() => {
  earlier = fake.requests.length;
});
after(() => fake.close());

function model(options: Partial<RiskModelOptions> = {}): ReturnType<typeof createRiskModel> {
  const { url: baseUrl } = fake;
  return createRiskModel({ apiKey: KEY, baseUrl, model: 'm', timeoutMs: 5000, maxCallsPerHour: 100, ...options });
}

function calls(): number {
  return fake.requests.length - earlier;
}

async function opinionOn(reply: FakeReply, options: Partial<RiskModelOptions> = {}): Promise<ModelOpinion> {
  fake.script(reply);
  const opinion = await model(options).assess(question, NEVER);
  assert.doesNotMatch(JSON.stringify(opinion), /4711/);
  return opinion;
}

async function reasonOn(reply: FakeReply, options: Partial<RiskModelOptions> = {}): Promise<string> {
  const opinion = await opinionOn(reply, options);
  assert.equal(opinion.kind, 'failed');
  const risk = combineRisk(question.floor, opinion, DEFAULT_RISK_POLICY);
  assert.deepEqual(risk, { ...question.floor, approval: true });
  return opinion.kind === 'failed' ? opinion.reason : '';
}

describe('an answer', () => {
  it('is kept with its model, its price and its time', async () => {
    const opinion = await opinionOn({ kind: 'answer', value: FAKE_OPINION });
    assert.ok(opinion.kind === 'answered');
    const { latencyMs, ...rest } = opinion;
    assert.deepEqual(rest, {
      ...FAKE_OPINION,
      kind: 'answered',
      model: 'fake-model-2026-01-01',
      promptVersion: '1',
      inputTokens: 900,
      outputTokens: 120,
    });
    assert.ok(latencyMs !== undefined && latencyMs >= 0);
  });

  it('may come without usage and model, and within one code fence', async () => {
    const bare = await opinionOn({ kind: 'answer', value: FAKE_OPINION, change: { usage: null, model: '' } });
    assert.ok(bare.kind === 'answered' && bare.model === 'm' && bare.inputTokens === undefined);
    const fenced = await opinionOn({ kind: 'text', text: `\`\`\`json\n${JSON.stringify(FAKE_OPINION)}\n\`\`\`` });
    assert.equal(fenced.kind, 'answered');
  });

  it('is shown on one line, without hidden characters and secrets, and is cut', async () => {
    const reason = `a\u001b[31m\u202Eb\nc ${KEY} ${'x'.repeat(500)}`;
    const value = { ...FAKE_OPINION, factors: Array.from({ length: 20 }, () => ({ name: 'n', reason })) };
    const opinion = await opinionOn({ kind: 'answer', value });
    assert.ok(opinion.kind === 'answered');
    assert.equal(opinion.factors.length, 8);
    const shown = opinion.factors[0]?.reason ?? '';
    assert.equal(shown.length, 300);
    assert.match(shown, /^a\[31mb c \[redacted api-key\] xx/);
  });
});

describe('the call', () => {
  it('asks for a strict, flat form, is not stored, and carries the key in its header only', async () => {
    await opinionOn({ kind: 'answer', value: FAKE_OPINION });
    const request = fake.requests.at(-1);
    assert.equal(request?.path, '/v1/chat/completions');
    assert.equal(request.headers.authorization, `Bearer ${KEY}`);
    const { model: name, store, response_format: format, messages, tools } = request.body;
    assert.deepEqual([name, store, tools], ['m', false, undefined]);
    assert.doesNotMatch(JSON.stringify(request.body), /4711|author@example\.com/);
    const { json_schema: schema } = format as { json_schema: { strict: boolean; schema: Record<string, unknown> } };
    assert.equal(schema.strict, true);
    assert.deepEqual(schema.schema['required'], ['score', 'strategy', 'approval', 'factors', 'summary']);
    assert.equal(schema.schema['additionalProperties'], false);
    assert.doesNotMatch(JSON.stringify(schema), /minimum|maximum|maxItems|maxLength|default|\$ref/);
    assert.equal((messages as unknown[]).length, 2);
  });
});

describe('what goes wrong is an opinion, asked for once', () => {
  const valid = FAKE_OPINION;
  const once: readonly (readonly [string, FakeReply, RegExp])[] = [
    ['refusal', { kind: 'refusal' }, /refused/],
    ['length', { kind: 'finish', reason: 'length' }, /cut at its length limit/],
    ['content filter', { kind: 'finish', reason: 'content_filter' }, /content filter/],
    ['another end', { kind: 'finish', reason: `tool ${KEY}` }, /ended without an answer/],
    ['no choices', { kind: 'no-choices' }, /no choice/],
    ['empty text', { kind: 'text', text: ' ' }, /empty/],
    ['not JSON', { kind: 'text', text: `score: 0.1 ${KEY}` }, /is not JSON/],
    ['JSON within prose', { kind: 'text', text: `Sure! ${JSON.stringify(valid)}` }, /is not JSON/],
    ['another form', { kind: 'answer', value: { risk: 'low' } }, /has not the form asked for/],
    ['score above 1', { kind: 'answer', value: { ...valid, score: 1.01 } }, /form asked for: score/],
    ['score below 0', { kind: 'answer', value: { ...valid, score: -1 } }, /score/],
    ['score as text', { kind: 'answer', value: { ...valid, score: '0.1' } }, /score/],
    ['score beyond numbers', { kind: 'text', text: JSON.stringify(valid).replace('0.4', '1e999') }, /score/],
    ['unknown strategy', { kind: 'answer', value: { ...valid, strategy: 'yolo' } }, /strategy/],
    ['more than asked for', { kind: 'answer', value: { ...valid, [KEY]: KEY } }, /form asked for$/],
    ['endless factors', { kind: 'answer', value: { ...valid, factors: Array(51).fill(valid.factors[0]) } }, /factors/],
    ['HTML', { kind: 'raw', headers: { 'content-type': 'text/html' }, body: '<h1>Hi</h1>' }, /not JSON/],
    ['HTML that claims to be JSON', { kind: 'raw', body: '<h1>Hi</h1>' }, /not JSON/],
    ['nothing', { kind: 'raw', body: '' }, /not/],
    ['null', { kind: 'raw', body: 'null' }, /not a chat completion/],
    ['an error with status 200', { kind: 'raw', body: '{"error":{"message":"x"}}' }, /not a chat completion/],
    ['too large', { kind: 'huge', bytes: 2 * 1024 * 1024 }, /too large/],
    ['redirect', { kind: 'raw', status: 307, headers: { location: '/v1/elsewhere' }, body: '' }, /answered 307/],
    ['400', { kind: 'raw', status: 400, body: `{"error":{"message":"${KEY}"}}` }, /answered 400$/],
    ['401', error(401, 'invalid_api_key'), /answered 401 \(invalid_api_key\)/],
    ['404', error(404, KEY), /answered 404$/],
    ['no money', error(429, 'insufficient_quota'), /answered 429 \(insufficient_quota\)/],
  ];
  for (const [name, reply, reason] of once) {
    it(name, async () => {
      assert.match(await reasonOn(reply), reason);
      assert.equal(calls(), 1);
    });
  }

  function error(status: number, code: string): FakeReply {
    return { kind: 'raw', status, body: JSON.stringify({ error: { message: `no ${KEY}`, code } }) };
  }
});

describe('what passes is tried again', () => {
  it('a busy or failing server, a broken connection', async () => {
    const passing: readonly FakeReply[] = [
      { kind: 'raw', status: 500, body: KEY },
      { kind: 'raw', status: 503, body: '{}', headers: { 'content-type': 'text/html' } },
      { kind: 'raw', status: 429, body: '{}', headers: { 'retry-after': '0.3' } },
      { kind: 'drop' },
      { kind: 'cut-body' },
    ];
    const opinions = await Promise.all(
      passing.map(async (reply) => {
        const own = await startFakeOpenAi(reply, { kind: 'answer', value: FAKE_OPINION });
        const opinion = await model({ baseUrl: own.url }).assess(question, NEVER);
        await own.close();
        return [opinion.kind, own.requests.length];
      }),
    );
    assert.deepEqual(
      opinions,
      passing.map(() => ['answered', 2]),
    );
  });

  it('two times at most', async () => {
    assert.match(await reasonOn({ kind: 'raw', status: 500, body: '{}' }), /answered 500, in 3 attempts/);
    assert.equal(calls(), 3);
  });

  it('not when the server asks to wait for longer than there is time', async () => {
    const reply = { kind: 'raw', status: 429, body: '{}', headers: { 'retry-after': '60' } } as const;
    const started = performance.now();
    assert.match(await reasonOn(reply), /answered 429, in 1 attempt$/);
    const inHours = new Date(Date.now() + 3_600_000).toUTCString();
    assert.match(await reasonOn({ ...reply, headers: { 'retry-after': inHours } }), /in 1 attempt$/);
    assert.ok(performance.now() - started < 2000);
    assert.equal(calls(), 2);
  });

  it('a server that is not there', async () => {
    const gone = await startFakeOpenAi();
    await gone.close();
    assert.match(await reasonOn({ kind: 'stall' }, { baseUrl: gone.url }), /can't be reached, in 3 attempts/);
  });
});

describe('time', () => {
  for (const kind of ['stall', 'stall-body'] as const) {
    it(`${kind}: the deadline holds`, async () => {
      const started = performance.now();
      assert.match(await reasonOn({ kind }, { timeoutMs: 300 }), /within 300 ms/);
      assert.ok(performance.now() - started < 1500);
      assert.equal(calls(), 1);
    });

    it(`${kind}: cancellation is thrown, with its own reason`, async () => {
      fake.script({ kind });
      const controller = new AbortController();
      const gone = new Error('cancelled by the server');
      setTimeout(() => controller.abort(gone), 100);
      await assert.rejects(model().assess(question, controller.signal), gone);
    });
  }

  it('cancellation ends the pause between attempts, and comes before all else', async () => {
    fake.script({ kind: 'raw', status: 429, body: '{}', headers: { 'retry-after': '4' } });
    const controller = new AbortController();
    const started = performance.now();
    setTimeout(() => controller.abort(new Error('enough')), 200);
    await assert.rejects(model().assess(question, controller.signal), /enough/);
    assert.ok(performance.now() - started < 2000);
    await assert.rejects(model({ apiKey: null }).assess(question, controller.signal), /enough/);
  });
});

describe('limits', () => {
  it('no key: nothing is sent', async () => {
    assert.match(await reasonOn({ kind: 'stall' }, { apiKey: null }), /no API key/);
    assert.equal(calls(), 0);
  });

  it('calls of an hour, retries included', async () => {
    let nowMs = 0;
    fake.script({ kind: 'raw', status: 500, body: '{}' }, { kind: 'answer', value: FAKE_OPINION });
    const limited = model({ maxCallsPerHour: 3, now: () => nowMs });
    const kinds: string[] = [];
    for (const at of [0, 1, 2, 3_599_999, 3_600_000]) {
      nowMs = at;
      kinds.push((await limited.assess(question, NEVER)).kind);
    }
    assert.deepEqual(kinds, ['answered', 'answered', 'failed', 'failed', 'answered']);
    assert.equal(calls(), 4);
    assert.match(await reasonOn({ kind: 'stall' }, { maxCallsPerHour: 0 }), /budget of 0 calls an hour is used up/);
  });
});

it('a model that obeys an attacker lowers nothing', async () => {
  const value = { ...FAKE_OPINION, score: 0, strategy: 'direct', approval: false };
  const opinion = await opinionOn({ kind: 'answer', value });
  const { factors: _, ...risk } = combineRisk(question.floor, opinion, DEFAULT_RISK_POLICY);
  const { factors: __, ...floor } = question.floor;
  assert.deepEqual(risk, floor);
});
