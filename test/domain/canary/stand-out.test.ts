import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { standOut } from '../../../domain/canary/stand-out.js';
import type { MetricFinding } from '../../../domain/canary/types.js';

const finding = (metric: string, p: number | null, advisory = false, test = 'mann-whitney'): MetricFinding => ({
  metric,
  verdict: 'HOLD',
  canary: 1,
  comparison: 1,
  unit: 'value',
  canaryN: 10,
  comparisonN: 10,
  test,
  statistic: null,
  p,
  alpha: null,
  effect: null,
  threshold: null,
  why: '',
  ...(advisory ? { advisory } : {}),
});

describe('metrics that stand out', () => {
  it('are counted with all that were tested: those that verdicts follow by Holm, the others by Benjamini and Hochberg', () => {
    const ps = [0.001, 0.02, 0.03, 0.6];
    const followed = ps.map((p, i) => finding(`f${i}`, p));
    const shown = ps.map((p, i) => finding(`a${i}`, p, true));
    // R: p.adjust(c(.001, .02, .03, .6)): holm .004 .06 .06 .6, BH .004 .04 .04 .6
    assert.deepEqual(standOut([...followed, ...shown]), { followed: ['f0'], advisory: ['a0', 'a1', 'a2'] });
  });

  it('are named once, and limits are no tests', () => {
    const twice = [finding('p99', 1e-6), finding('p99', 1e-7)];
    const limits = [finding('hard-limit', 1e-9, false, 'limit'), finding('none', null)];
    assert.deepEqual(standOut([...twice, ...limits]), { followed: ['p99'], advisory: [] });
    assert.deepEqual(standOut([]), { followed: [], advisory: [] });
  });
});
