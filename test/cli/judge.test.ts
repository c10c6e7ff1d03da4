import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { JUDGE_VERSION } from '../../domain/canary/judge.js';
import { evidencePath } from '../../formats/evidence.js';
import { SLIPWAY } from '../../tools/stack.js';
import { assertHarmless, assertRefused, documentOf, runCommand, story } from '../support/cli.js';
import type { Said } from '../support/cli.js';
import { ARMS, recordedInput, recordFolder } from '../support/recorded.js';
import { scenarioLine } from '../support/scenario.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'slipway-judge-'));
});
after(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, content: unknown): Promise<string> {
  const place = path.join(folder, name);
  await mkdir(path.dirname(place), { recursive: true });
  await writeFile(place, typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content));
  return place;
}

const judged = (...args: readonly string[]) => runCommand(['judge', ...args], folder);

async function expectJudged(...args: readonly string[]): Promise<Said> {
  const said = await judged(...args);
  assert.equal(said.code, 0, story(said));
  assertHarmless(said);
  return said;
}

interface JudgedDocument {
  readonly kind: string;
  readonly judgements: readonly {
    readonly name: string;
    readonly verdict: { readonly kind: string; readonly hold: string | null };
    readonly decided_at_s: number;
    readonly findings: readonly { readonly interval: { readonly lower: number } | null; readonly tipped: boolean }[];
    readonly wouldChange: readonly string[];
    readonly obstacles: readonly { readonly field: string }[];
    readonly recorded: { readonly kind: string; readonly text: string; readonly sameVerdict?: boolean } | null;
    readonly candidate: { readonly verdict: { readonly kind: string }; readonly changed: boolean } | null;
  }[];
  readonly notJudged: readonly string[];
}

const bad = recordedInput({ ...ARMS.slow, budgetShare: 0.333333333333 });
const good = recordedInput(ARMS.good);

describe('judge FILE --policy with a canary config of Kayenta', () => {
  const config = {
    name: 'checkout',
    metrics: [
      { name: 'error-rate', groups: ['all'], analysisConfigurations: { canary: { direction: 'increase' } } },
      { name: 'queue-depth', groups: ['all'], analysisConfigurations: { canary: { direction: 'increase' } } },
    ],
    classifier: { groupWeights: { all: 100 }, scoreThresholds: { pass: 95, marginal: 75 } },
  };

  it('judges as Kayenta would, and says what it could not take over', async () => {
    const policy = await file('kayenta.json', config);
    const said = await expectJudged(await file('kayenta-bad.json', scenarioLine('bad', 0.05)), '--policy', policy);
    assert.match(said.err, /metric queue-depth needs a query: write it in analysis\.metrics/);
    assert.match(said.out, /kayenta/);
  });

  it('tells of what a judge of limits or scores counts by its sentence, and by no effect that it has not', async () => {
    const scenario = await file('counted.json', scenarioLine('bad', 0.05));
    for (const name of ['threshold', 'kayenta']) {
      const said = await expectJudged(scenario, '--judge', name);
      assert.match(said.out, /^Error rate .*ROLLBACK/m, story(said));
      assert.match(said.out, /^ {2}canary [\d.]+ %/m, story(said));
      assert.doesNotMatch(said.out, /effect|interval not|What would change/, story(said));
    }
  });

  it('refuses one that contradicts itself, with place, value and remedy', async () => {
    const wrong = { ...config, classifier: { ...config.classifier, scoreThresholds: { pass: 'high' } } };
    const policy = await file('wrong-kayenta.json', wrong);
    const said = await judged(await file('kayenta-bad.json', scenarioLine('bad', 0.05)), '--policy', policy);
    assertRefused(said, 2, /is no canary config of Kayenta:[^]*classifier\.scoreThresholds\.pass[^]*high/);
  });
});

describe('judge FILE', () => {
  it('tells of a scenario, on one line or many, in a file or on standard input, what tipped the verdict and what would change it', async () => {
    const line = scenarioLine('bad', 0.05);
    const said = await expectJudged(await file('bad.json', line));
    assert.match(said.out, /^ROLLBACK, 2 min after the start, look 2\n/);
    assert.match(said.out, /Error rate since the warm-up {2}ROLLBACK {2}← tipped it/);
    assert.match(said.out, /Fisher's exact test, p = \S+; speaks for ROLLBACK below p = /);
    assert.match(said.out, /effect \+5\.2 points, 95 % interval \+4 to \+6\.7 points; limit 0\.2 points/);
    assert.match(said.out, /A rise below 0\.2 points .* would not\s+have been a rollback by the error rate/);
    const pretty = await expectJudged(await file('pretty.json', JSON.stringify(JSON.parse(line), null, 2)));
    assert.equal(pretty.out, said.out);
    const child = spawn(process.execPath, [SLIPWAY, 'judge', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
    child.stdin.end(line);
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.deepEqual({ code, out }, { code: 0, out: said.out });
  });

  it('gives one document with --json', async () => {
    const { judgements, kind } = documentOf<JudgedDocument>(
      await expectJudged(await file('good.json', scenarioLine('good', 0.002)), '--json'),
    );
    const [only] = judgements;
    assert.deepEqual([kind, only?.name, only?.verdict.kind, only?.decided_at_s], ['scenario', 'good', 'PROMOTE', 900]);
    assert.ok(only!.findings.every(({ interval }) => interval !== null) && only!.wouldChange.length === 2);
  });

  it('judges stored evidence, and each stage of a record whose evidence lies where the record does', async () => {
    const { record, evidence } = await recordFolder(path.join(folder, 'store'), { 'stage-1': good, 'stage-2': bad });
    const said = await expectJudged(record);
    assert.match(said.out, /^PROMOTE, 15 min .*\n[^]*stage-1 of hello in local: v2, rollout 3f2a9c1e5b7d8f00\n/);
    assert.equal(said.out.match(/Judges to the same bytes as recorded \(judge version \S+\)\./g)?.length, 2, said.out);
    const one = documentOf<JudgedDocument>(await expectJudged(record, '--stage', 'stage-2', '--json'));
    assert.deepEqual(
      one.judgements.map(({ name, recorded }) => [name, recorded?.kind]),
      [['stage-2', 'same-bytes']],
    );
    const alone = path.join(folder, 'store', evidencePath(evidence['stage-2'] ?? '') ?? '');
    assert.match((await expectJudged(alone)).out, /^ROLLBACK/);
    const byDigest = await expectJudged(evidence['stage-2'] ?? '', '--evidence', 'store');
    assert.match(byDigest.out, /^ROLLBACK/);
    assertRefused(await judged(record, '--stage', 'stage-9'), 2, /no verdict of "stage-9"/, /stage-1, stage-2/);
    assertRefused(await judged(evidence['stage-2'] ?? ''), 2, /is a digest/, /--evidence DIR/);
  });

  it('judges again what it has judged before, though a person’s recording would be asked about', async () => {
    // Restarts at every other scrape: a process that crashes on and on.
    const restarting = (values: readonly (number | null)[]) => values.map((value, i) => (i % 2 === 0 ? value : 1));
    const series = good.canary.series.map((one) => ({ ...one, requests: restarting(one.requests), buckets: [] }));
    const input = { ...good, canary: { ...good.canary, leSeconds: [], series } };
    const { record } = await recordFolder(path.join(folder, 'odd'), { 'stage-1': input });
    assert.match((await expectJudged(record)).out, /Judges to the same bytes as recorded/);
  });

  it('finds a record’s evidence with --evidence, and says what it could not find', async () => {
    const { record } = await recordFolder(path.join(folder, 'elsewhere'), { 'stage-1': good });
    const copy = await file('copied/record.json', await readFile(record));
    assertRefused(
      await judged(copy),
      2,
      /no verdict of the record can be judged again/,
      /is not in .*copied/,
      /--evidence DIR/,
    );
    assert.match((await expectJudged(copy, '--evidence', 'elsewhere')).out, /^PROMOTE/);
  });

  it('names a difference of the judge’s version, and compares', async () => {
    const { record } = await recordFolder(path.join(folder, 'older'), { 'stage-1': good }, (verdict) => ({
      ...verdict,
      judgeVersion: '0.9.0',
    }));
    const { judgements } = documentOf<JudgedDocument>(await expectJudged(record, '--json'));
    assert.equal(judgements[0]?.recorded?.kind, 'other-version');
    assert.equal(
      judgements[0]?.recorded?.text,
      `Recorded by version 0.9.0 of the judge, judged again by ${JUDGE_VERSION}: the verdict is the same.`,
    );
    const other = await recordFolder(path.join(folder, 'other'), { 'stage-1': good }, (verdict) => ({
      ...verdict,
      judgeVersion: '0.9.0',
      kind: 'ROLLBACK',
    }));
    assert.match((await expectJudged(other.record)).out, /it was ROLLBACK and is now PROMOTE/);
  });

  it('tells when a verdict or its evidence was changed', async () => {
    const { record } = await recordFolder(path.join(folder, 'changed'), { 'stage-1': bad }, (verdict) => ({
      ...verdict,
      kind: 'PROMOTE',
    }));
    assert.match(
      (await expectJudged(record)).out,
      /NOT as recorded, [^]*was PROMOTE and is ROLLBACK: the\s+recorded verdict was changed/,
    );
    const damaged = await recordFolder(path.join(folder, 'damaged'), { 'stage-1': bad });
    const place = path.join(folder, 'damaged', evidencePath(damaged.evidence['stage-1'] ?? '') ?? '');
    await writeFile(
      place,
      (await readFile(place, 'utf8')).replace('"budgetShare":0.333333333333', '"budgetShare":0.4'),
    );
    assertRefused(await judged(damaged.record), 2, /was changed: its bytes have another digest/);
  });

  it('shows nothing of a name that could command a terminal', async () => {
    const names = { service: '\u001b[2Jevil', releaseName: 'v2\u202E\nROLLBACK' };
    const { record } = await recordFolder(path.join(folder, 'evil'), { 'stage-1': good }, undefined, names);
    await expectJudged(record);
    await expectJudged(record, '--json');
  });
});

describe('judge --policy', () => {
  it('judges under the analysis of a slipway.yaml, or of a file with that part alone', async () => {
    const line = await file('bad.json', scenarioLine('bad', 0.05));
    const yaml =
      'service: hello\nenvironments:\n' +
      ['one', 'two']
        .map(
          (name) =>
            `  ${name}: { platform: local, run: { command: [node, a.mjs] }, analysis: { judge: mann-whitney } }\n`,
        )
        .join('');
    const whole = await file('slipway.yaml', yaml);
    const said = await expectJudged(line, '--policy', whole, '--env', 'two');
    assert.match(said.out, /Under the other policy \(judge mann-whitney\):\nROLLBACK, 5 min/);
    assert.match(said.out, /The verdict stays ROLLBACK, 3 min later\./);
    assertRefused(await judged(line, '--policy', whole), 2, /several environments: one, two/, /--env/);
    assertRefused(await judged(line, '--policy', whole, '--env', 'three'), 2, /no environment "?three/);
    assertRefused(await judged(line, '--env', 'two'), 2, /--env needs --policy/);

    const nested = await file('nested.yaml', 'analysis: { minErrorIncrease: 8%, errorMargin: 9% }\n');
    const bare = await file('bare.json', { minErrorIncrease: '8%', errorMargin: '9%' });
    const mild = await file('mild.json', scenarioLine('mild', 0.03));
    const of = async (policy: string) => {
      const document = documentOf<JudgedDocument>(await expectJudged(mild, '--policy', policy, '--json'));
      return document.judgements[0]?.candidate;
    };
    assert.deepEqual(await of(nested), await of(bare));
    const candidate = await of(nested);
    assert.equal(candidate?.changed, true);
    assert.equal(candidate?.verdict.kind, 'PROMOTE');
  });

  it('says where a policy is wrong', async () => {
    const line = await file('bad.json', scenarioLine('bad', 0.05));
    const wrong = await file('wrong.yaml', 'minErrorIncrese: 8%\n');
    assertRefused(
      await judged(line, '--policy', wrong),
      2,
      /wrong\.yaml.*:1:1: minErrorIncrese: is not a known key/,
      /did you mean minErrorIncrease/,
    );
    const budget = await file('budget.yaml', 'analysis:\n  errorBudget: 0\n  lookEvery: 0s\n');
    assertRefused(await judged(line, '--policy', budget), 2, /:3:\d+: analysis\.lookEvery: /);
    assertRefused(await judged(line, '--policy', 'no-such.yaml'), 2, /no file no-such\.yaml/);
    assertRefused(await judged(line, '--policy', await file('list.yaml', '- 1\n')), 2, /list\.yaml/);
  });

  it('says of a policy that can never decide what is in the way', async () => {
    const line = await file('bad.json', scenarioLine('bad', 0.03));
    const never = await file('never.json', {
      minRequests: 5_000_000,
      errorBudget: '0.0000000000001%',
      minErrorIncrease: '100%',
      limits: { catastrophicErrorRate: '100%' },
    });
    const said = await expectJudged(line, '--policy', never);
    assert.match(said.out, /minRequests is 5,000,000: at this traffic the quieter arm has about/);
    const warm = await file('warm.json', { warmUp: '30m' });
    assert.match(
      (await expectJudged(line, '--policy', warm)).out,
      /warmUpMs is 30 min: the stage of 15 min is over before/,
    );
  });
});

describe('judge FILE that is no good', () => {
  const scenario = JSON.parse(scenarioLine('x', 0.002)) as {
    readonly t_s: readonly number[];
    readonly canary: { readonly requests_total: readonly number[]; readonly errors_total: readonly number[] };
    readonly baseline: object;
  };
  const nothing = scenario.t_s.map(() => null);
  const canary = (change: object) => ({ ...scenario, canary: { ...scenario.canary, ...change } });

  const refused: readonly (readonly [string, unknown, RegExp])[] = [
    [
      'unequal length',
      canary({ requests_total: [1, 2, 3] }),
      /canary\.requests_total: has 3 values where t_s has 121; give one value for each/,
    ],
    [
      'a negative counter',
      canary({ errors_total: scenario.t_s.map((_, i) => (i === 4 ? -1 : i)) }),
      /canary\.errors_total\[4\]: -1 is no counter value/,
    ],
    [
      'rates in place of counters',
      canary({ requests_total: scenario.t_s.map((_, i) => 300 + (i % 2)) }),
      /canary\.requests_total: goes down at 60 of 120 steps.*look like rates.*raw cumulative counter/,
    ],
    ['times that go back', { ...scenario, t_s: scenario.t_s.toReversed() }, /t_s\[1\]: .* does not come after/],
    ['no time', { ...scenario, horizon_s: 0 }, /horizon_s: must be more than 0 seconds/],
    ['no interval', { ...scenario, scrape_interval_s: 0 }, /scrape_interval_s: must be more than 0 seconds/],
    ['a stage of no length', { ...bad, durationMs: 0 }, /durationMs must be a positive number of ms, not 0/],
    [
      'no look',
      { ...bad, policy: { ...bad.policy, lookEveryMs: 0 } },
      /lookEveryMs must be a positive number of ms, not 0/,
    ],
    [
      'evidence cut short',
      { ...bad, canary: { ...bad.canary, timesMs: bad.canary.timesMs.slice(1) } },
      /canary\.series\[0\]\.requests: has 61 values where canary\.timesMs has 60/,
    ],
    ['another document', { hello: 1 }, /neither a decision record .* its keys: hello/],
    ['a list', [1], /not an object/],
    ['no JSON', '{"a": ', /is not JSON/],
    ['nothing', '', /is empty/],
    ['many lines', `${scenarioLine('a', 0.01)}\n${scenarioLine('b', 0.01)}\n`, /holds 2 documents.*\n.*--jsonl/],
  ];
  for (const [name, content, expected] of refused) {
    it(`refuses ${name}`, async () => assertRefused(await judged(await file('odd.json', content)), 2, expected));
  }

  const held: readonly (readonly [string, unknown, RegExp])[] = [
    [
      'a canary that is silent',
      canary({ requests_total: nothing, errors_total: nothing, latency_bucket_total: [] }),
      /^HOLD: no data.*\n {2}The canary can't be seen/,
    ],
    [
      'a baseline that is silent',
      { ...scenario, baseline: { requests_total: nothing, errors_total: nothing } },
      /^HOLD: no data.*\n {2}The comparison can't be seen/,
    ],
    [
      'an arm without requests',
      canary({ requests_total: nothing.map(() => 7), errors_total: nothing.map(() => 0), latency_bucket_total: [] }),
      /^HOLD: too little data.*\n {2}Too few requests to judge .*: the canary had 0 and needs 100 more/,
    ],
  ];
  for (const [name, content, expected] of held) {
    it(`holds on ${name}, and says what is missing`, async () => {
      assert.match((await expectJudged(await file('silent.json', content))).out, expected);
    });
  }

  it('takes a baseline without errors, and arms that are alike in every value', async () => {
    const errors = { errors_total: nothing.map(() => 0) };
    const alike = {
      ...scenario,
      canary: { ...scenario.canary, ...errors },
      baseline: { ...scenario.canary, ...errors },
    };
    assert.match((await expectJudged(await file('alike.json', alike))).out, /^PROMOTE/);
    const failing = {
      ...alike,
      canary: { ...scenario.canary, errors_total: scenario.canary.requests_total.map((n) => Math.round(n / 50)) },
    };
    const said = await expectJudged(await file('failing.json', failing));
    assert.match(said.out, /^ROLLBACK/);
    assert.match(said.out, /canary 2 %, comparison 0 %/);
  });

  it('refuses wrong usage, and files that are not there', async () => {
    assertRefused(await judged('no-such.json'), 2, /no file no-such\.json/);
    assertRefused(await judged('.'), 2, /can't be read/);
    assertRefused(await judged('a.json', '--jsonl'), 2, /FILE and --jsonl can't go together/);
    assertRefused(await judged('--jsonl', '--html', 'x.html'), 2, /--html does not go with --jsonl/);
    assertRefused(await judged('--backtest', '.', '--stage', 'x'), 2, /--stage does not go with --backtest/);
    assertRefused(await judged('--backtest', 'no-such'), 2, /no folder no-such/);
    const line = await file('bad.json', scenarioLine('bad', 0.05));
    assertRefused(await judged(line, '--html', 'no/such/folder.html'), 2, /can't be written/);
  });
});

describe('judge --backtest', () => {
  it('counts how verdicts would have changed, names each that did, and what it could not read', async () => {
    const { record } = await recordFolder(path.join(folder, 'history', 'store'), { 'stage-1': good, 'stage-2': bad });
    await file('history/a.jsonl', `${scenarioLine('one', 0.002)}\nnonsense\n\n${scenarioLine('two', 0.03)}\n`);
    await file('history/deep/b.jsonl.gz', gzipSync(`${scenarioLine('three', 0.2)}\n`));
    await file('history/broken.json', '{');
    await file('history/cut.jsonl.gz', gzipSync('x'.repeat(1000)).subarray(0, 20));
    await file('history/else.json', { report: 1 });
    await file('history/notes.txt', 'not read');
    assert.ok(record.includes('store'));
    const policy = await file('loose.yaml', 'minErrorIncrease: 8%\nerrorMargin: 9%\n');
    const said = await expectJudged('--backtest', 'history', '--policy', policy);
    assert.match(said.out, /^two: ROLLBACK at \d+ min → PROMOTE at 15 min\n {2}Not worse than/m);
    assert.match(said.out, /5 judged; 1 would have another verdict under the candidate policy/);
    assert.match(said.out, /could not be judged: 3\n/);
    assert.match(said.out, /a\.jsonl:2: not JSON/);
    assert.match(said.out, /broken\.json: not JSON/);
    assert.match(said.out, /cut\.jsonl\.gz: /);
    const document = documentOf<Record<string, unknown>>(
      await expectJudged('--backtest', 'history', '--policy', policy, '--json'),
    );
    assert.deepEqual(document['table'], {
      PROMOTE: { PROMOTE: 2, HOLD: 0, ROLLBACK: 0 },
      HOLD: { PROMOTE: 0, HOLD: 0, ROLLBACK: 0 },
      ROLLBACK: { PROMOTE: 1, HOLD: 0, ROLLBACK: 2 },
    });
    assert.deepEqual(
      { ...document, table: null, changes: null, unread: null },
      {
        judged: 5,
        changed: 1,
        table: null,
        earlier: 0,
        later: 1,
        sameTime: 4,
        changes: null,
        others: 1,
        unreadable: 3,
        unread: null,
      },
    );
  });

  it('finds no change under the same policy', async () => {
    const said = await expectJudged('--backtest', 'history/store');
    assert.match(said.out, /2 judged; 0 would have another verdict under this version of the judge/);
  });

  it('says when there is nothing to judge', async () => {
    await mkdir(path.join(folder, 'empty'), { recursive: true });
    assertRefused(await judged('--backtest', 'empty'), 2, /nothing to judge in empty/);
  });
});
