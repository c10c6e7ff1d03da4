import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KINDS, ordinary } from '../../bench/canary/kinds.js';
import { p99Of } from '../../bench/canary/latency.js';
import { measureNoise } from '../../bench/canary/noise.js';
import { intervalOf } from '../../bench/canary/outcomes.js';
import { binomial, poisson, seededRandom } from '../../bench/canary/random.js';
import { ownSample, ownSet } from '../../bench/canary/sets.js';
import { NO_CHANGE, simulate } from '../../bench/canary/simulator.js';
import type { StoredArm, World } from '../../bench/canary/simulator.js';
import { JUDGES } from '../../domain/canary/types.js';
import { parseScenario } from '../../formats/scenario.js';

const COMMAND = fileURLToPath(new URL('../../bench/canary/judges.js', import.meta.url));

/** Steady, and without anything that happens. */
const plain: World = {
  ...ordinary(seededRandom(1)),
  baselineKind: 'fresh',
  canaryRps: 200,
  baselineRps: 200,
  errorRate: 0.01,
  podNoise: 0,
  sharedNoise: 0,
  armNoise: 0,
  errorNoise: 0,
  coldStart: null,
};

function errorShare(arm: StoredArm): number {
  return (arm.errors_total.at(-1) ?? 0) / (arm.requests_total.at(-1) ?? 0);
}

describe('what is drawn', () => {
  for (const [n, share] of [
    [20, 0.3],
    [1000, 0.02],
    [5000, 0.4],
    [300, 0.95],
  ] as const) {
    it(`a binomial of ${n} at ${share} has its mean and variance`, () => {
      const random = seededRandom(5);
      const drawn = Array.from({ length: 20_000 }, () => binomial(n, share, random));
      const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
      const variance = drawn.reduce((sum, value) => sum + (value - mean) ** 2, 0) / drawn.length;
      const expected = n * share * (1 - share);
      assert.ok(Math.abs(mean - n * share) < 5 * Math.sqrt(expected / drawn.length), `mean ${mean}`);
      assert.ok(Math.abs(variance / expected - 1) < 0.05, `variance ${variance} for ${expected}`);
      assert.ok(drawn.every((value) => Number.isInteger(value) && value >= 0 && value <= n));
    });
  }

  it('a Poisson has its mean on both sides of the approximation', () => {
    for (const mean of [0.2, 29, 31, 400]) {
      const random = seededRandom(6);
      const drawn = Array.from({ length: 20_000 }, () => poisson(mean, random));
      const found = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
      assert.ok(Math.abs(found - mean) < 5 * Math.sqrt(mean / drawn.length), `${found} for ${mean}`);
    }
  });
});

describe('the simulator', () => {
  it('gives the same bytes for the same seed, whichever kinds are made besides, and others for another', () => {
    const bytes = (seed: number) => JSON.stringify([...ownSet(seed, 1)]);
    assert.equal(bytes(3), bytes(3));
    assert.notEqual(bytes(3), bytes(4));
    const last = KINDS.at(-1)!;
    assert.deepEqual([...ownSet(3, 1)].at(-1), ownSample(3, last, 0));
  });

  it('makes scenarios that are read, with a truth of the same id, and more than 5,000 in the full set', () => {
    assert.ok(60 * KINDS.length >= 5000);
    assert.equal(new Set(KINDS.map(({ name }) => name)).size, KINDS.length);
    for (const { truth, document } of ownSet(8, 1)) {
      const { id } = document as { readonly id: string };
      assert.equal(id, truth.id);
      const parsed = parseScenario(document, 'sequential');
      assert.ok(!('problem' in parsed), `${id}: ${JSON.stringify(parsed)}`);
      for (const { series } of [parsed.recording.canary, parsed.recording.comparison!]) {
        for (const [i, row] of series[0]!.buckets.entries()) {
          const requests = series[0]!.requests[i];
          assert.equal(row?.at(-1) ?? null, requests, `${id}: +Inf counts all requests`);
          assert.ok((series[0]!.errors[i] ?? 0) <= (requests ?? 0), `${id}: errors at scrape ${i}`);
          assert.ok(row?.every((count, k) => k === 0 || count >= row[k - 1]!) ?? true, `${id}: buckets are cumulative`);
        }
      }
    }
  });

  it('does to the canary what the change says, and nothing to the baseline', () => {
    const change = { ...NO_CHANGE, errorIncrease: 0.05, latencyFactor: 2 };
    const { canary, baseline } = simulate('x', { ...plain, change }, seededRandom(2));
    assert.ok(Math.abs(errorShare(canary) - 0.06) < 0.003);
    assert.ok(Math.abs(errorShare(baseline) - 0.01) < 0.002);
    const doubled = p99Of(
      plain.latency.map((part) => ('sigma' in part ? { ...part, medianMs: 2 * part.medianMs } : part)),
    );
    assert.ok(Math.abs(doubled / p99Of(plain.latency) - 2) < 1e-4);
    const within = (arm: StoredArm, bound: number) => {
      const row = arm.latency_bucket_total.at(-1)!;
      return row[plain.boundsMs.indexOf(bound)]! / row.at(-1)!;
    };
    assert.ok(Math.abs(within(canary, 100) - within(baseline, 50)) < 0.01);
    assert.ok(Math.abs(within(canary, 500) - within(baseline, 250)) < 0.01);
  });

  it('loses scrapes and restarts as it is told', () => {
    const gaps = [{ arms: ['canary'] as const, fromS: 60, toS: 120 }];
    const resets = [{ arm: 'baseline' as const, atS: 900 }];
    const { t_s, canary, baseline } = simulate('x', { ...plain, gaps, resets }, seededRandom(2));
    assert.deepEqual(
      t_s.filter((_, i) => canary.requests_total[i] === null),
      [60, 75, 90, 105, 120],
    );
    const falls = t_s.filter((_, i) => i > 0 && baseline.requests_total[i]! < baseline.requests_total[i - 1]!);
    assert.deepEqual(falls, [900]);
  });
});

describe('what comes of the judges', () => {
  it("has Wilson's intervals", () => {
    // Newcombe, Statistics in Medicine 17 (1998), table I.
    const near = (share: { hits: number; of: number }, lower: number, upper: number) => {
      const interval = intervalOf(share);
      assert.ok(Math.abs(interval.lower - lower) < 5e-5 && Math.abs(interval.upper - upper) < 5e-5);
    };
    near({ hits: 81, of: 263 }, 0.2553, 0.3662);
    near({ hits: 0, of: 20 }, 0, 0.1611);
  });

  it('is measured without and with a noise floor, on the same rollouts, the past left out', () => {
    const pasts: number[] = [];
    const learn = (past: readonly unknown[]) => {
      pasts.push(past.length);
      return { pairs: past.length, latencyLogSd: 0.1, errorLogSd: 0.1 };
    };
    const { same, faults } = measureNoise({ seed: 2, rollouts: 1, learn, progress: () => {} });
    assert.deepEqual(pasts, [20, 20, 20, 20]);
    for (const { without, with: withFloor } of [faults, ...same.map(({ outcomes }) => outcomes)]) {
      assert.deepEqual(
        withFloor?.map(({ truth }) => truth),
        without.map(({ truth }) => truth),
      );
    }
  });

  it('is written by one command: a table of all judges, plots, and sequential within generous limits', async () => {
    const out = await mkdtemp(join(tmpdir(), 'slipway-judges-'));
    try {
      const args = [COMMAND, '--quick', '--dev', join(out, 'nowhere'), '--out', out];
      const { stderr } = await promisify(execFile)(process.execPath, args);
      assert.match(stderr, /the development set is not in .*nowhere: it is left out/);
      const report = await readFile(join(out, 'judges.md'), 'utf8');
      for (const judge of JUDGES) assert.match(report, new RegExp(`^\\| \`${judge}\` \\|`, 'm'));
      const [, falseRollback, , , falsePromote, rolledBack] = /^\| `sequential` \|(.*)$/m
        .exec(report)![0]
        .split('|')
        .slice(1)
        .map((cell) => Number.parseFloat(cell));
      assert.ok(falseRollback! < 3, `false rollback ${falseRollback} %`);
      assert.ok(falsePromote! < 5, `false promote ${falsePromote} %`);
      assert.ok(rolledBack! > 90, `bad rolled back ${rolledBack} %`);
      for (const plot of await readdir(join(out, 'judges'))) {
        const svg = await readFile(join(out, 'judges', plot), 'utf8');
        assert.match(svg, /^<svg [^>]*>[\s\S]*<\/svg>\n$/);
        assert.doesNotMatch(svg, /NaN|Infinity|undefined/, plot);
        assert.ok(report.includes(`judges/${plot}`), `${plot} is shown`);
      }
    } finally {
      await rm(out, { recursive: true });
    }
  });
});
