import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { runTestFile, type FileResult } from '../../tools/test-file.js';
import { closingLine, describe as describeResult, markdownReport, totalsOf } from '../../tools/test-report.js';

const MIXED = `
  import { describe, it, test } from 'node:test';
  test('flat', (t) => t.diagnostic('17 per second'));
  describe('suite', () => {
    it('passes', () => {});
    it('fails', () => { throw new Error('two is not one'); });
    it('waits', { skip: 'needs Prometheus' }, () => {});
  });
  test('parent', async (t) => { await t.test('child', () => {}); });
`;

describe('the test runner', () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-runner-'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  async function runScript(name: string, script: string, timeoutMs = 20_000): Promise<FileResult> {
    const file = join(folder, `${name}.mjs`);
    await writeFile(file, script);
    return runTestFile(file, name, { cwd: folder, env: {}, timeoutMs });
  }

  test('leaves are counted, and suites and parents are not', async () => {
    const result = await runScript('mixed', MIXED);
    assert.equal(result.passed, 3);
    assert.deepEqual(
      result.failures.map(({ name }) => name),
      ['suite › fails'],
    );
    assert.match(result.failures[0]?.error ?? '', /two is not one/);
    assert.deepEqual(
      result.skips.map(({ name, reason }) => `${name}: ${reason}`),
      ['suite › waits: needs Prometheus'],
    );
    assert.deepEqual(result.diagnostics, ['17 per second']);

    assert.match(describeResult(result), /^FAIL {2}mixed \(5 tests, [\d.]+ s\)\n {6}17 per second/);
    assert.equal(closingLine(totalsOf([result])), '3 passed, 1 failed, 1 skipped');
  });

  test('the page of full runs keeps the last result of each file that is still there', async () => {
    const mixed = await runScript('mixed', MIXED);
    const first = markdownReport([mixed, { ...mixed, name: 'gone' }], { commit: 'abc1', at: new Date(0) });
    assert.match(first, /^\| mixed \| 3 \| 1 \| 1 \| [\d.]+ \| abc1 \| 1970-01-01 \|$/m);
    assert.match(
      first,
      /^### mixed\n\n- 17 per second\n- skipped: suite › waits: needs Prometheus\n- failed: suite › fails/m,
    );

    const isThere = (name: string): boolean => name !== 'gone';
    const other = { ...mixed, name: 'other', passed: 5, failures: [], skips: [], diagnostics: [] };
    const second = markdownReport([other], { commit: 'abc2', at: new Date(86_400_000) }, { page: first, isThere });
    assert.match(second, /^- Result: 8 passed, 1 failed, 1 skipped$/m);
    assert.deepEqual(
      second.match(/^\| \w+ \| \d.*abc\d/gm)?.map((row) => row.replace(/\| [\d.]+ \| abc/, '| s | abc')),
      ['| mixed | 3 | 1 | 1 | s | abc1', '| other | 5 | 0 | 0 | s | abc2'],
    );
    assert.equal(second.split('### mixed')[1], first.split('### mixed')[1]);

    const third = markdownReport(
      [{ ...other, name: 'mixed' }],
      { commit: 'abc3', at: new Date(0) },
      { page: second, isThere },
    );
    assert.match(third, /^- Result: 10 passed, 0 failed$/m);
    assert.doesNotMatch(third, /### /);
  });

  test('a file that breaks, hangs or tests nothing has failed', async () => {
    const broken = await runScript('broken', 'throw new Error("no such table");');
    assert.match(broken.failures[0]?.error ?? '', /ended with code 1/);
    assert.match(broken.output, /no such table/);

    const hanging = await runScript('hanging', `setInterval(() => {}, 1000);`, 600);
    assert.match(hanging.failures[0]?.error ?? '', /still running after 0.01 minutes/);

    const empty = await runScript('empty', '');
    assert.match(empty.failures[0]?.error ?? '', /ran no test/);
  });

  test('without skips the closing line has two numbers', () => {
    assert.equal(closingLine({ passed: 2, failed: 0, skipped: 0 }), '2 passed, 0 failed');
  });
});
