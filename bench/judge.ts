import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { defaultAnalysis } from '../domain/canary/defaults.js';
import { assess } from '../domain/canary/judge.js';
import { mannWhitney, rankTest } from '../domain/canary/mann-whitney.js';
import type { MannWhitneyInput } from '../domain/canary/mann-whitney.js';
import type { ArmSamples, JudgeInput } from '../domain/canary/types.js';
import { median } from './numbers.js';
import { normalSample, scrape } from '../test/domain/canary/simulate.js';
import { seededRandom } from './canary/random.js';

/** What the judge costs. */
export interface JudgeCost {
  /** One look at 30 minutes of samples, 15 s apart, with so many metrics, ms. */
  readonly metrics: number;
  readonly lookMs: number;
  /** Growth of the heap over so many looks, after a collection, MiB. */
  readonly looks: number;
  readonly growthMiB: number;
  /** Mann-Whitney of 5,000 against 5,000 values, ms: U and p; and with effect sizes and shift. SciPy's null where it is not installed. */
  readonly rankTestMs: number;
  readonly withEffectsMs: number;
  readonly scipyMs: number | null;
  readonly scipyVersion: string | null;
}

const SCRAPES = 120;
const METRICS = 20;
const RUNS = 200;
const LOOKS = 10_000;
const VALUES = 5000;
const RANK_RUNS = 21;

/** Measures it, on a warm machine: each is done often enough to be compiled before it counts. */
export async function measureJudge(): Promise<JudgeCost> {
  const input = look();
  const times: number[] = [];
  for (let run = 0; run < 2 * RUNS; run++) {
    const begun = performance.now();
    assess(input);
    if (run >= RUNS) times.push(performance.now() - begun);
  }
  const beforeMiB = heapMiB();
  for (let done = 0; done < LOOKS; done++) assess(input);
  const growthMiB = heapMiB() - beforeMiB;
  const scipy = await scipyMs();
  return {
    metrics: METRICS,
    lookMs: median(times),
    looks: LOOKS,
    growthMiB,
    rankTestMs: testMs(rankTest),
    withEffectsMs: testMs(mannWhitney),
    scipyMs: scipy?.ms ?? null,
    scipyVersion: scipy?.version ?? null,
  };
}

/** The end of a stage of 30 minutes: 18 metrics beside error rate and p99. */
function look(): JudgeInput {
  const random = seededRandom(1);
  const times = { startMs: 0, scrapes: SCRAPES, intervalMs: 15_000 };
  const names = Array.from({ length: METRICS - 2 }, (_, i) => `metric-${i}`);
  const arm = (): ArmSamples => ({
    ...scrape({ requestsPerSecond: 20, errorRate: 0.005 }, times, random),
    values: Object.fromEntries(
      names.map((name) => [name, normalSample(SCRAPES + 1, random).map((value) => 100 + 10 * value)]),
    ),
  });
  const policy = defaultAnalysis(15_000);
  const tolerance = { kind: 'ratio', ratio: 1.2 } as const;
  const common = { direction: 'increase', critical: true, weight: 1, tolerance, min: null, max: null } as const;
  return {
    policy: { ...policy, metrics: names.map((name) => ({ name, ...common })) },
    startMs: 0,
    atMs: SCRAPES * 15_000,
    durationMs: SCRAPES * 15_000,
    budgetShare: 1,
    expectedShare: 0.5,
    canary: arm(),
    comparison: arm(),
  };
}

/** @throws Error where node was not started with --expose-gc */
function heapMiB(): number {
  if (globalThis.gc === undefined) throw new Error('the memory of the judge needs node --expose-gc');
  globalThis.gc();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

function testMs(test: (input: MannWhitneyInput) => unknown): number {
  const random = seededRandom(2);
  const [x, y] = [normalSample(VALUES, random), normalSample(VALUES, random)];
  const times = Array.from({ length: RANK_RUNS }, () => {
    const begun = performance.now();
    test({ x, y, alternative: 'greater' });
    return performance.now() - begun;
  });
  return median(times.slice(RANK_RUNS >> 1));
}

const SCIPY = `
import time, scipy, numpy
from scipy.stats import mannwhitneyu
random = numpy.random.default_rng(2)
x, y = random.normal(size=${VALUES}), random.normal(size=${VALUES})
times = []
for _ in range(${RANK_RUNS}):
    begun = time.perf_counter()
    mannwhitneyu(x, y, alternative='greater')
    times.append(time.perf_counter() - begun)
print(scipy.__version__, sorted(times[${RANK_RUNS >> 1}:])[${(RANK_RUNS - (RANK_RUNS >> 1)) >> 1}] * 1000)
`;

/** The same by SciPy, where `python3` has it. */
async function scipyMs(): Promise<{ readonly version: string; readonly ms: number } | null> {
  try {
    const { stdout } = await promisify(execFile)('python3', ['-c', SCIPY]);
    const [version = '', ms] = stdout.trim().split(' ');
    return { version, ms: Number(ms) };
  } catch {
    return null;
  }
}

process.stdout.write(`${JSON.stringify(await measureJudge())}\n`);
