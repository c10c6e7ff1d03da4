import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultAnalysis } from '../../../domain/canary/defaults.js';
import { foresightMs, timeToSee } from '../../../domain/canary/foresight.js';

describe('the time that a rise of the error rate needs to be seen', () => {
  const minutes = (perSecond: number, rise: number, errorRate = 0.001, stageMinutes = 60) => {
    const stage = { policy: defaultAnalysis(15_000), durationMs: stageMinutes * 60_000, budgetShare: 1 };
    const traffic = { canaryPerSecond: perSecond, comparisonPerSecond: perSecond, errorRate };
    const ms = timeToSee(stage, traffic, rise);
    return ms === null ? null : ms / 60_000;
  };

  it('is longer with less traffic, smaller rises and more errors to begin with', () => {
    assert.ok((minutes(100, 0.5) ?? 99) <= 0.75, 'a gross failure is seen at once');
    const at = [minutes(50, 0.02), minutes(5, 0.02), minutes(0.5, 0.02)];
    assert.ok((at[0] ?? 99) < (at[1] ?? 99) && (at[1] ?? 99) < (at[2] ?? 99), at.join());
    assert.ok((minutes(5, 0.1) ?? 99) < (minutes(5, 0.01) ?? 0));
    assert.ok((minutes(5, 0.02, 0.001) ?? 99) < (minutes(5, 0.02, 0.03) ?? 0));
  });

  it('is about 40 minutes for 2 points at 0.2 requests/s', () => {
    const needed = minutes(0.2, 0.02, 0);
    assert.ok(needed !== null && needed > 25 && needed < 75, `${needed} min`);
  });

  it('is nothing where the rise is too small to matter, or the traffic too little', () => {
    assert.equal(minutes(50, 0.001), null);
    assert.equal(minutes(0.01, 0.02), null);
  });

  it('looks no further than some hundred scrapes', () => {
    const stage = { policy: defaultAnalysis(1000), durationMs: 3_600_000, budgetShare: 1 };
    assert.equal(foresightMs(stage), 600_000);
  });
});
