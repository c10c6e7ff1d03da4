import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { answerLines } from '../../client/cli/jsonl.js';
import { statsMannWhitney } from '../../client/cli/stats.js';
import { SLIPWAY } from '../../tools/stack.js';
import { assertRefused, runCommand } from '../support/cli.js';
import { jsonlContext } from '../support/jsonl.js';
import { scenarioLine } from '../support/scenario.js';

/** What a command writes for this input, line by line. */
async function answers(input: string | readonly string[]): Promise<readonly unknown[]> {
  const context = jsonlContext(Readable.from(typeof input === 'string' ? [input] : input));
  const { exitCode } = await statsMannWhitney(context);
  assert.equal(exitCode, 0);
  return context.written.map((text) => JSON.parse(text) as unknown);
}

/** Runs the compiled command with this on its standard input. */
async function fed(input: string, ...args: readonly string[]) {
  const child = spawn(process.execPath, [SLIPWAY, ...args], { stdio: 'pipe' });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, err, lines: out.split('\n').filter((line) => line !== '') };
}

describe('stats mann-whitney --jsonl', () => {
  const line = '{"id":"a","x":[3,4],"y":[1,2],"alternative":"greater"}';
  const result = {
    id: 'a',
    u1: 4,
    u2: 0,
    p: 1 / 6,
    method: 'exact',
    cles: 1,
    cliffsDelta: 1,
    hodgesLehmann: 2,
  };

  it('answers each line in order, and hands the id back, whatever it is', async () => {
    const { code, err, lines } = await fed(
      `${line}\n{"id":7,"x":[1],"y":[1]}\n{"x":[1],"y":[2]}`,
      'stats',
      'mann-whitney',
      '--jsonl',
    );
    assert.deepEqual({ code, err }, { code: 0, err: '' });
    const documents = lines.map((text) => JSON.parse(text) as Record<string, unknown>);
    assert.deepEqual(documents[0], result);
    assert.deepEqual([documents[1]?.['id'], documents[1]?.['p'], documents[1]?.['u1']], [7, 1, 0.5]);
    assert.ok(!('id' in documents[2]!));
  });

  it('answers the vectors of R and SciPy, errors where errors are due', async () => {
    const vectors = JSON.parse(readFileSync('test/domain/canary/mwu_vectors.json', 'utf8')) as readonly {
      readonly id: string;
      readonly expected: { readonly error?: string; readonly U1?: number };
    }[];
    const said = (await answers(vectors.map((vector) => `${JSON.stringify(vector)}\n`))) as readonly {
      readonly id: string;
      readonly error?: string;
      readonly u1?: number;
    }[];
    assert.deepEqual(
      said.map(({ id, error, u1 }) => [id, error !== undefined, u1]),
      vectors.map(({ id, expected }) => [id, expected.error !== undefined, expected.U1]),
    );
  });

  it('says of a bad line which it is and what is wrong, and goes on', async () => {
    const bad: readonly (readonly [string, RegExp])[] = [
      ['nonsense', /^line 1: not JSON: /],
      ['{"id":"n","x":[1,NaN],"y":[2]}', /^line 2: sample x has NaN at index 1/],
      ['{"id":"n","x":[1],"y":[-Infinity]}', /^line 3: sample y has -Infinity at index 0/],
      ['[1]', /^line 4: not an object/],
      ['{"x":[],"y":[1]}', /^line 5: sample x is empty/],
      ['{"x":["a"],"y":[1]}', /^line 6: x\[0\]: not a finite number/],
      ['{"x":[1e999],"y":[1]}', /^line 7: x\[0\]: not a finite number/],
      ['{"x":[1],"y":[1],"alternative":"up"}', /^line 8: alternative: .*two-sided/],
      ['{"x":[1]}', /^line 9: y: /],
      ['{"x":[1,null],"y":[1]}', /^line 10: x\[1\]: not a finite number/],
    ];
    const said = (await answers(`${bad.map(([text]) => text).join('\n')}\n${line}\n`)) as readonly {
      readonly error: string;
    }[];
    for (const [i, [, expected]] of bad.entries()) assert.match(said[i]!.error, expected);
    assert.deepEqual(said.at(-1), result);
  });

  it('reads lines that are cut anywhere, end in CR LF, are empty, or begin with a byte order mark', async () => {
    const text = `\uFEFF${line}\r\n\r\n  \n${line}`;
    assert.deepEqual(await answers(text), [result, result]);
    assert.deepEqual(await answers(Array.from(text)), [result, result]);
    const said = (await answers('\n\noops')) as readonly { readonly error: string }[];
    assert.match(said[0]!.error, /^line 3: /);
  });

  it('refuses wrong usage', async () => {
    assertRefused(await runCommand(['stats', 'mann-whitney'], '.'), 2, /add --jsonl/);
    assertRefused(await runCommand(['stats', 'student', '--jsonl'], '.'), 2, /no test "student"/);
    assertRefused(await runCommand(['stats'], '.'), 2, /missing required argument/);
    assertRefused(await runCommand(['stats', 'mann-whitney', '--jsonl', '--json'], '.'), 2, /cannot be used with/);
  });

  it('ends quietly when nobody reads its answers any more', async () => {
    const child = spawn(process.execPath, [SLIPWAY, 'stats', 'mann-whitney', '--jsonl'], { stdio: 'pipe' });
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
    // It may stop reading before all is written.
    child.stdin.on('error', () => undefined);
    child.stdin.write(`${line}\n`.repeat(50_000));
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [code] = (await once(child, 'close')) as [number | null];
    assert.deepEqual({ code, err }, { code: 0, err: '' });
  });

  it('ends with Ctrl-C while it waits for a line', async () => {
    const stop = new AbortController();
    const context = jsonlContext(new Readable({ read: () => undefined }), stop.signal);
    const ended = statsMannWhitney(context);
    stop.abort();
    assert.equal((await ended).exitCode, 130);
  });
});

describe('answering lines', () => {
  it('asks for no more input than was answered: memory stays flat over 100,000 lines', async () => {
    let given = 0;
    let most = 0;
    const input = Readable.from(
      (function* () {
        for (; given < 100_000; given++) yield '{"n":1}\n';
      })(),
    );
    const context = jsonlContext(input);
    let answered = 0;
    const write = async () => {
      answered++;
      most = Math.max(most, given - answered);
      return true;
    };
    await answerLines({ ...context, input, write }, (document) => ({ answer: document as object }));
    assert.equal(answered, 100_000);
    // What streams read ahead: some tens of chunks, never a growing part of the input.
    assert.ok(most < 100, `${most} lines were read ahead`);
  });

  it('stops when the answers can’t be written', async () => {
    let asked = 0;
    const input = Readable.from(['{}\n', '{}\n', '{}\n']);
    const context = { ...jsonlContext(input), input, write: async () => false };
    await answerLines(context, () => ({ answer: { asked: ++asked } }));
    assert.equal(asked, 1);
    assert.ok(input.destroyed);
  });
});

describe('judge --jsonl', () => {
  it('gives the verdict of the live watch, and the instant at which it fell', async () => {
    const input = [scenarioLine('bad', 0.2), scenarioLine('good', 0.002), '{"id":"odd","t_s":[0]}'].join('\n');
    const { code, err, lines } = await fed(input, 'judge', '--jsonl');
    assert.deepEqual({ code, err }, { code: 0, err: '' });
    const [bad, good, odd] = lines.map((text) => JSON.parse(text) as Record<string, unknown>);
    assert.equal(bad?.['verdict'], 'ROLLBACK');
    assert.ok(Number(bad?.['decided_at_s']) <= 180, lines[0]);
    assert.deepEqual([good?.['id'], good?.['verdict']], ['good', 'PROMOTE']);
    assert.deepEqual([odd?.['id'], String(odd?.['error']).slice(0, 7)], ['odd', 'line 3:']);
  });

  it('judges further metrics of the arms, by default or as the line says, and names what is wrong with them', async () => {
    const plain = JSON.parse(scenarioLine('depth', 0.002)) as { t_s: number[]; canary: object; baseline: object };
    const values = (level: number) => plain.t_s.map((_, i) => (i % 9 === 4 ? null : level + ((i * 7) % 5)));
    const line = (own: unknown, other: unknown, rest: object = {}) =>
      JSON.stringify({
        ...plain,
        canary: { ...plain.canary, metrics: own },
        baseline: { ...plain.baseline, metrics: other },
        ...rest,
      });
    const [high, low] = [{ depth: values(80) }, { depth: values(50) }];
    const asked = [
      line(high, low),
      line(low, low),
      line(low, high),
      line(low, high, { metrics: [{ name: 'depth', direction: 'decrease' }] }),
      line(high, low, { metrics: [{ name: 'depth', critical: false }] }),
      line(high, low, { metrics: [{ name: 'depth', tolerance: { difference: 60 } }] }),
      line({}, low),
    ];
    const { code, lines } = await fed(asked.join('\n'), 'judge', '--jsonl');
    const said = lines.map((text) => JSON.parse(text) as { verdict: string; summary: string });
    assert.deepEqual(
      [code, ...said.map(({ verdict }) => verdict)],
      [0, 'ROLLBACK', 'PROMOTE', 'PROMOTE', 'ROLLBACK', 'PROMOTE', 'PROMOTE', 'HOLD'],
      JSON.stringify(said),
    );
    assert.match(said[0]?.summary ?? '', /^Metric depth: 8\d(\.\d)? against 5\d/);
    assert.match(said[6]?.summary ?? '', /Metric depth: no values on the canary/);

    const odd: readonly (readonly [string, RegExp])[] = [
      [
        line({ depth: values(1).slice(1) }, low),
        /canary\.metrics\.depth: has 120 values where t_s has 121; give one value/,
      ],
      [line(low, { depth: plain.t_s.map(() => 'x') }), /baseline\.metrics\.depth\[0\]: must be a number, or null/],
      [line(low, low).replace('[50,', '[NaN,'), /metrics\.depth\[0\]: must be a number, or null/],
      [
        line({ 'error-rate': values(1) }, low),
        /canary\.metrics\.error-rate: error-rate is read from the counters; give it another name/,
      ],
      [line({ 'a\nb': values(1) }, low), /metrics: "a\\nb" is no name; write 1 to 100 characters/],
      [
        line(low, low, { metrics: [{ name: 'dpeth' }] }),
        /metrics\[0\]\.name: no arm has values of "dpeth"; there are depth/,
      ],
      [
        line(low, low, { metrics: [{ name: 'depth' }, { name: 'depth' }] }),
        /metrics\[1\]\.name: "depth" is there twice/,
      ],
      [
        line(low, low, { metrics: [{ name: 'depth', tolerance: { ratio: 1 } }] }),
        /metrics\[0\]\.tolerance\.ratio: must be above 1/,
      ],
      [
        line(low, low, { metrics: [{ name: 'depth', tolerance: 5 }] }),
        /metrics\[0\]\.tolerance: write \{ "ratio": 1\.2 \}/,
      ],
      [line(low, low, { metrics: [{ name: 'depth', query: 'up' }] }), /metrics\[0\]: .*"query"/],
    ];
    const refused = await fed(odd.map(([text]) => text).join('\n'), 'judge', '--jsonl');
    for (const [i, [, expected]] of odd.entries())
      assert.match((JSON.parse(refused.lines[i] ?? '{}') as { error?: string }).error ?? '', expected);
  });

  it('knows its judges by name', async () => {
    const { lines } = await fed(scenarioLine('bad', 0.2), 'judge', '--jsonl', '--judge', 'mann-whitney');
    const bad = JSON.parse(lines[0]!) as Record<string, unknown>;
    assert.deepEqual([bad['verdict'], bad['decided_at_s']], ['ROLLBACK', 300]);
    assertRefused(await runCommand(['judge', '--jsonl', '--judge', 'solomon'], '.'), 2, /sequential, mann-whitney/);
    assertRefused(await runCommand(['judge'], '.'), 2, /add --jsonl/);
  });
});
