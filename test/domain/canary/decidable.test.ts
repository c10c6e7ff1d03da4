import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { obstaclesOf } from '../../../domain/canary/decidable.js';
import { ARMS, recordedInput } from '../../support/recorded.js';

describe('what keeps a policy from deciding', () => {
  it('names keys of its own judge only', () => {
    const fieldsOf = (judge: 'mann-whitney' | 'threshold' | 'kayenta') => {
      const input = recordedInput({ ...ARMS.good, policy: { judge } });
      return obstaclesOf({ ...input, durationMs: 120_000, atMs: input.startMs + 120_000 }).map(({ field }) => field);
    };
    assert.ok(fieldsOf('mann-whitney').includes('mannWhitney.checkEveryMs'));
    for (const judge of ['threshold', 'kayenta'] as const)
      assert.deepEqual(
        fieldsOf(judge).filter((field) => field.startsWith('mannWhitney')),
        [],
      );
  });
});
