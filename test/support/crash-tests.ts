/** The tests of the crash matrix, for any platform. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../../bench/canary/random.js';
import { allPoints, MOMENTS, pointText, Runner, scenariosOn, tryPoints } from './crash-matrix.js';
import type { Point, PointResult } from './crash-matrix.js';
import type { CrashSite } from './crash-site.js';
import { CrashTrack } from './crash-track.js';

export interface MatrixTestOptions {
  readonly platform: CrashSite['platform'];
  readonly start: () => Promise<CrashSite>;
  /** Why it can't run here, or false. */
  readonly skip: string | false;
  /** Points that are tried side by side, each with two workers. */
  readonly tracks: number;
}

const SEED = Number(process.env['SLIPWAY_SEED'] ?? Date.now() % 1_000_000);
/** Only points whose text contains this. */
const ONLY = process.env['SLIPWAY_CRASH_ONLY'] ?? '';
/** Points of different scenarios, and of each of the three moments in turn. */
function sample(platform: CrashSite['platform'], count: number): readonly Point[] {
  const random = seededRandom(SEED);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const shift = Math.floor(random() * MOMENTS.length);
  const all = Object.keys(scenariosOn(platform));
  const first = Math.floor(random() * all.length);
  const scenarios = [...all.slice(first), ...all.slice(0, first)];
  return Array.from({ length: count }, (_, index) => {
    const scenario = scenarios[index % scenarios.length];
    const moment = MOMENTS[(index + shift) % MOMENTS.length];
    return pick(allPoints(platform).filter((point) => point.scenario === scenario && point.moment === moment));
  });
}

/** Registers a test of so many points, other ones each time unless a seed is given. */
export function sampleTest({
  platform,
  start,
  skip,
  tracks,
  count,
}: MatrixTestOptions & { readonly count: number }): void {
  const name = `a worker killed at any write of a rollout (${platform}) costs nothing but time (sample)`;
  test(name, { timeout: 240_000, skip }, async (t) => {
    const begunMs = Date.now();
    t.diagnostic(`seed ${SEED} (SLIPWAY_SEED=${SEED} tries the same points again)`);
    const site = await start();
    t.after(() => site.stop());
    const results = await tryPoints({
      site,
      points: sample(platform, count),
      tracks,
      say: (text) => t.diagnostic(text),
    });
    assertAllWell(results, count);
    const seconds = Math.round((Date.now() - begunMs) / 1000);
    t.diagnostic(`crash matrix: ${count} of ${allPoints(platform).length} points tried, in ${seconds} s`);
  });
}

/** Registers the tests of all points, and of the scenarios without a crash. */
export function fullMatrixTest({ platform, start, skip, tracks }: MatrixTestOptions): void {
  const dry = `without a crash every scenario (${platform}) writes what the matrix says that it writes`;
  test(dry, { timeout: 300_000, skip }, async (t) => {
    const site = await start();
    t.after(() => site.stop());
    const track = await CrashTrack.start({ site, name: 'dry' });
    const runner = new Runner(track, site);
    try {
      for (const scenario of Object.keys(scenariosOn(platform))) {
        const error = await runner.run(scenario, null);
        assert.ok(error === null, `${scenario}: ${error}`);
      }
    } finally {
      await track.close();
    }
  });

  const all = `a worker killed at any write of a rollout (${platform}) costs nothing but time`;
  test(all, { timeout: 45 * 60_000, skip }, async (t) => {
    const begunMs = Date.now();
    const random = seededRandom(SEED);
    const points = allPoints(platform)
      .filter((point) => pointText(point).includes(ONLY))
      .map((point) => ({ point, place: random() }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ point }) => point);
    t.diagnostic(`seed ${SEED} (SLIPWAY_SEED=${SEED} tries the points in the same order)`);
    const site = await start();
    t.after(() => site.stop());
    const results = await tryPoints({ site, points, tracks, say: (text) => process.stdout.write(`${text}\n`) });
    const failed = results.filter(({ error }) => error !== null);
    t.diagnostic(
      `crash matrix: ${results.length} points tried, ${failed.length} failed, in ${Math.round((Date.now() - begunMs) / 60_000)} min`,
    );
    assertAllWell(results, points.length);
  });
}

function assertAllWell(results: readonly PointResult[], tried: number): void {
  assert.deepEqual(
    results.filter(({ error }) => error !== null),
    [],
  );
  assert.equal(results.length, tried);
}
