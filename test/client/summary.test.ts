import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Verdict } from '../../domain/canary/types.js';
import {
  dotenvOutputs,
  githubOutputs,
  markdownSummary,
  summaryOutputs,
  SUMMARY_LIMIT,
} from '../../client/report/summary.js';
import { testView } from '../support/view.js';

const LINKS = { page: 'https://slipway.example/runs/1', temporalWeb: null };

const VERDICT: Verdict = {
  kind: 'ROLLBACK',
  hold: null,
  summary: 'error rate 2.4 % against 0.3 %',
  findings: [
    {
      metric: 'error-rate',
      verdict: 'ROLLBACK',
      canary: 0.024,
      comparison: 0.003,
      unit: 'ratio',
      canaryN: 4210,
      comparisonN: 4198,
      test: 'score',
      statistic: 5,
      p: 2e-9,
      alpha: 0.01,
      effect: 0.021,
      threshold: 0.002,
      why: 'error rate 2.4 % against 0.3 %',
    },
  ],
  atMs: 0,
  look: 3,
  judge: 'sequential',
  judgeVersion: '1',
  inputDigest: 'sha256:0',
};

describe('the summary of a CI job', () => {
  test('tells the outcome, why, the numbers, and draws them twice: Mermaid, and text that always works', () => {
    const page = markdownSummary(
      testView({
        phase: 'rolled-back',
        outcome: 'rolled-back',
        reason: { code: 'verdict', text: 'stage 1: error rate' },
        verdicts: [{ stage: 'stage-1', verdict: VERDICT, evidence: null }],
      }),
      LINKS,
    );
    assert.match(page, /^## hello in /);
    assert.match(page, /\*\*stage 1: error rate\*\*/);
    assert.match(page, /\| 1: 10 % \| error-rate \| 2\.4 % \| 0\.3 % \| 4,210 \/ 4,198 \| 2e-9 \| ❌ ROLLBACK \|/);
    assert.match(page, /xychart-beta[\s\S]*bar \[2\.4\]\n {2}line \[0\.3\]/);
    assert.match(page, /canary 2\.4 \| █{20} \|/);
    assert.match(page, /\[the rollout's page\]\(https:\/\/slipway\.example\/runs\/1\)/);
  });

  test('text of other people is text: no markup, no table cell, no mention, no link', () => {
    const evil = '<img src=x>|[Approve](https://evil)\n## a\u202E @here `x`';
    const page = markdownSummary(
      testView({
        decisions: [
          {
            id: '1',
            verb: 'approve',
            gate: 'release',
            planDigest: null,
            actor: { subject: evil, groups: [], verified: false },
            reason: evil,
            full: false,
            at: '2026-01-01T00:00:00.000Z',
          },
        ],
      }),
      LINKS,
    );
    const row = page.split('\n').find((line) => line.includes('unverified')) ?? '';
    assert.equal(row.match(/(?<!\\)\|/g)?.length, 6);
    assert.doesNotMatch(row, /(?<!\\)[<[`]|@h|:\/\/|\u202E/);
    assert.doesNotMatch(page, /^## a/m);
  });

  test('a page that is too long is cut below the limit, between characters, and says so', () => {
    const timeline = Array.from({ length: 60 }, () => ({
      at: '2026-01-01T00:00:00.000Z',
      phase: 'canary' as const,
      text: 'é€😀'.repeat(10_000),
      tone: 'neutral' as const,
    }));
    const page = markdownSummary(testView({ timeline }), LINKS);
    assert.ok(Buffer.byteLength(page) < SUMMARY_LIMIT + 200);
    assert.match(page, /… cut: the page was 5,\d{3},\d{3} bytes long\n$/);
    assert.doesNotMatch(page, /\uFFFD/);
  });

  test('an output can’t set another one', () => {
    const view = testView({ outcome: 'completed', reason: { code: 'verified', text: 'fine\nexit-code=0\r\nDELIM' } });
    const outputs = githubOutputs(summaryOutputs(view, 1, LINKS), 'random-delimiter');
    const parsed = [...outputs.matchAll(/^(.+)<<random-delimiter\n([\s\S]*?)\nrandom-delimiter$/gm)];
    assert.deepEqual(
      parsed.map(([, name]) => name),
      ['rollout-id', 'outcome', 'exit-code', 'reason', 'release', 'risk', 'page'],
    );
    assert.equal(parsed[2]?.[2], '1');
    assert.equal(parsed[3]?.[2], 'fine\nexit-code=0\nDELIM');
    const dotenv = dotenvOutputs(summaryOutputs(view, 1, LINKS))
      .trimEnd()
      .split('\n');
    assert.equal(dotenv.length, 7);
    assert.ok(dotenv.includes('SLIPWAY_REASON=fine exit-code=0 DELIM'));
  });
});
