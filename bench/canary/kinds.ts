import { p99Of } from './latency.js';
import type { LatencyShape } from './latency.js';
import { logUniform, oneOf, uniform } from './random.js';
import type { Random } from './random.js';
import { NO_CHANGE } from './simulator.js';
import type { Change, Episode, SimulatedArm, World } from './simulator.js';

/**
 * What ought to become of a rollout: `good` is to be promoted, `bad` to be rolled back. `grey` is what honest people
 * would disagree on, or nobody could see in the time: shown, but in no total.
 */
export type Label = 'good' | 'bad' | 'grey';

/** A kind of rollout, of which any number can be made. */
export interface Kind {
  readonly name: string;
  readonly label: Label;
  /** Its place on a curve of detection against effect: points of errors, or p99 as a multiple. */
  readonly effect?: { readonly on: 'errors' | 'p99'; readonly size: number };
  /** What sets it apart from an ordinary rollout of a good release. */
  readonly differs: (world: World, random: Random) => Partial<World>;
}

/** Bucket bounds in ms: fine, those of the Prometheus client libraries, and few. */
const FINE = [5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1500, 2500, 5000] as const;
const COMMON = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000] as const;
const COARSE = [100, 300, 1000, 3000] as const;

const HORIZON_S = 1800;

/** Requests per second of the canary. */
const TRAFFIC = {
  faint: (random: Random) => logUniform(0.1, 0.2, random),
  low: (random: Random) => logUniform(0.2, 1, random),
  modest: (random: Random) => logUniform(1, 5, random),
  mid: (random: Random) => logUniform(8, 60, random),
  high: (random: Random) => logUniform(100, 600, random),
} as const;

function logNormal(medianMs: number, sigma: number): LatencyShape {
  return [{ weight: 1, medianMs, sigma }];
}

/** An ordinary rollout: a good release against a fresh baseline, or, one in five, against the long-running primary. */
export function ordinary(random: Random): World {
  const canaryRps = TRAFFIC[oneOf(['mid', 'high'], random)](random);
  const primary = random() < 0.2;
  return {
    scrapeIntervalS: 15,
    horizonS: HORIZON_S,
    baselineKind: primary ? 'primary' : 'fresh',
    boundsMs: random() < 0.7 ? FINE : COMMON,
    canaryRps,
    baselineRps: canaryRps * (primary ? logUniform(3, 15, random) : 1),
    latency: logNormal(logUniform(20, 100, random), uniform(0.4, 0.8, random)),
    errorRate: oneOf([0.0005, 0.001, 0.001, 0.002, 0.004], random),
    errorRun: 1,
    podNoise: 0.03,
    sharedNoise: 0.08,
    sharedNoiseForS: 90,
    armNoise: uniform(0.04, 0.09, random),
    armNoiseForS: uniform(8, 20, random),
    errorNoise: 0.2,
    coldStart: random() < 0.5 ? cold(random) : null,
    drift: { requests: 1, latency: 1 },
    episodes: [],
    missing: 0,
    gaps: [],
    resets: [],
    change: NO_CHANGE,
  };
}

function cold(random: Random): World['coldStart'] {
  return { factor: uniform(1.5, 3, random), tauS: uniform(12, 35, random) };
}

/** A world of a kind. */
export function worldOf(kind: Kind, random: Random): World {
  const world = ordinary(random);
  return { ...world, ...kind.differs(world, random) };
}

function change(part: Partial<Change>): Pick<World, 'change'> {
  return { change: { ...NO_CHANGE, ...part } };
}

function traffic(level: keyof typeof TRAFFIC, random: Random, baselineTimes = 1): Partial<World> {
  const canaryRps = TRAFFIC[level](random);
  return {
    canaryRps,
    baselineRps: canaryRps * baselineTimes,
    baselineKind: baselineTimes > 1 ? 'primary' : 'fresh',
    errorRate: 0.001,
  };
}

/** Errors or latency, in turn: most faults come as one or the other. */
function errorsOrLatency(random: Random, errorIncrease: number, latencyFactor: number): Partial<Change> {
  return random() < 0.5 ? { errorIncrease } : { latencyFactor };
}

function episode(arms: readonly SimulatedArm[], random: Random, lengthS: number, strength = 1): Episode {
  const fromS = uniform(120, 840, random);
  const errors = random() < 0.5;
  return {
    arms,
    fromS,
    toS: fromS + lengthS,
    errorIncrease: errors ? strength * uniform(0.01, 0.06, random) : 0,
    latencyFactor: errors ? 1 : 1 + strength * uniform(0.4, 1.2, random),
  };
}

const BOTH: readonly SimulatedArm[] = ['canary', 'baseline'];

/** Latencies of two modes: a cache that hits, and one that misses. */
function bimodal(missShare: number, random: Random): LatencyShape {
  const medianMs = logUniform(5, 30, random);
  return [
    { weight: 1 - missShare, medianMs, sigma: 0.4 },
    { weight: missShare, medianMs: medianMs * 10, sigma: 0.4 },
  ];
}

function withTail(alpha: number, random: Random): LatencyShape {
  const medianMs = logUniform(20, 60, random);
  return [
    { weight: 0.9, medianMs, sigma: 0.5 },
    { weight: 0.1, minMs: medianMs * 1.5, alpha },
  ];
}

/** Bounds of which the largest lies below the p99 of a healthy arm. */
function saturating({ latency }: World): Pick<World, 'boundsMs'> {
  const p99 = p99Of(latency);
  return { boundsMs: [0.05, 0.1, 0.2, 0.35, 0.5, 0.7].map((part) => Math.round(part * p99 * 10) / 10) };
}

function restarts(arm: SimulatedArm, everyS: number, random: Random): World['resets'] {
  const resets: { arm: SimulatedArm; atS: number }[] = [];
  for (let atS = uniform(0, everyS, random); atS < HORIZON_S; atS += uniform(0.7, 1.3, random) * everyS)
    resets.push({ arm, atS });
  return resets;
}

function gap(random: Random): World['gaps'][number] {
  const fromS = uniform(60, 1200, random);
  const arms: readonly SimulatedArm[] = oneOf([BOTH, ['canary'], ['baseline']], random);
  return { arms, fromS, toS: fromS + uniform(60, 180, random) };
}

const good: readonly Kind[] = [
  { name: 'same', label: 'good', effect: { on: 'p99', size: 1 }, differs: () => ({}) },
  { name: 'same, no pod noise', label: 'good', differs: () => ({ podNoise: 0 }) },
  { name: 'same, 6 % pod noise', label: 'good', differs: () => ({ podNoise: 0.06 }) },
  { name: 'better', label: 'good', differs: () => change({ latencyFactor: 0.85, errorFactor: 0.5 }) },
  { name: 'p99 x1.1', label: 'good', effect: { on: 'p99', size: 1.1 }, differs: () => change({ latencyFactor: 1.1 }) },
  {
    name: 'narrow latencies',
    label: 'good',
    differs: (_, random) => ({ latency: logNormal(logUniform(20, 200, random), 0.3) }),
  },
  {
    name: 'wide latencies',
    label: 'good',
    differs: (_, random) => ({ latency: logNormal(logUniform(10, 60, random), uniform(0.9, 1.2, random)) }),
  },
  {
    name: 'two modes',
    label: 'good',
    differs: (_, random) => ({ latency: bimodal(uniform(0.02, 0.2, random), random) }),
  },
  // The p99 lies where the density is least: between the modes.
  { name: 'two modes, 1 % slow', label: 'good', differs: (_, random) => ({ latency: bimodal(0.01, random) }) },
  {
    name: 'heavy tail',
    label: 'good',
    differs: (_, random) => ({ latency: withTail(uniform(1.2, 2.5, random), random) }),
  },
  { name: 'errors in runs', label: 'good', differs: (_, random) => ({ errorRun: uniform(2, 8, random) }) },
  { name: 'many errors', label: 'good', differs: (_, random) => ({ errorRate: uniform(0.01, 0.08, random) }) },
  { name: 'no errors', label: 'good', differs: () => ({ errorRate: 0 }) },
  {
    name: 'slow start of both',
    label: 'good',
    differs: (_, random) => ({ baselineKind: 'fresh', coldStart: cold(random) }),
  },
  {
    name: 'slow start against primary',
    label: 'good',
    differs: ({ canaryRps }, random) => ({
      baselineKind: 'primary',
      baselineRps: canaryRps * logUniform(3, 15, random),
      coldStart: cold(random),
    }),
  },
  {
    name: 'split 1:10',
    label: 'good',
    differs: (_, random) => traffic(oneOf(['modest', 'mid', 'high'], random), random, 10),
  },
  {
    name: 'daily drift',
    label: 'good',
    differs: (_, random) => ({
      drift: { requests: logUniform(0.4, 2.5, random), latency: logUniform(0.7, 1.5, random) },
    }),
  },
  {
    name: 'bursts on both',
    label: 'good',
    differs: (_, random) => ({ episodes: [1, 2, 3].map(() => episode(BOTH, random, uniform(10, 40, random))) }),
  },
  {
    name: 'burst on canary',
    label: 'good',
    differs: (_, random) => ({ episodes: [episode(['canary'], random, uniform(10, 40, random))] }),
  },
  {
    name: 'two bursts on canary',
    label: 'good',
    differs: (_, random) => ({ episodes: [1, 2].map(() => episode(['canary'], random, uniform(10, 30, random))) }),
  },
  {
    name: 'burst on baseline',
    label: 'good',
    differs: (_, random) => ({ episodes: [episode(['baseline'], random, uniform(10, 40, random))] }),
  },
  {
    name: 'shared incident',
    label: 'good',
    differs: (_, random) => ({ episodes: [episode(BOTH, random, uniform(90, 300, random), 2)] }),
  },
  ...[5, 10, 30, 60].map((scrapeIntervalS): Kind => ({
    name: `scrapes every ${scrapeIntervalS} s`,
    label: 'good',
    differs: () => ({ scrapeIntervalS }),
  })),
  { name: 'coarse buckets', label: 'good', differs: () => ({ boundsMs: COARSE }) },
  { name: 'p99 above the buckets', label: 'good', differs: saturating },
  {
    name: 'missing scrapes',
    label: 'good',
    differs: (_, random) => ({ missing: uniform(0.02, 0.15, random), gaps: [gap(random)] }),
  },
  {
    name: 'restarts',
    label: 'good',
    differs: (_, random) => ({ resets: [...restarts('canary', 600, random), ...restarts('baseline', 600, random)] }),
  },
  { name: 'modest traffic', label: 'good', differs: (_, random) => traffic('modest', random) },
  { name: 'low traffic', label: 'good', differs: (_, random) => traffic('low', random) },
  { name: 'faint traffic', label: 'good', differs: (_, random) => traffic('faint', random) },
  { name: 'low traffic 1:10', label: 'good', differs: (_, random) => traffic('low', random, 10) },
];

const grey: readonly Kind[] = [
  {
    name: 'errors +0.1 points',
    label: 'grey',
    effect: { on: 'errors', size: 0.1 },
    differs: () => change({ errorIncrease: 0.001 }),
  },
  {
    name: 'errors +0.2 points',
    label: 'grey',
    effect: { on: 'errors', size: 0.2 },
    differs: () => change({ errorIncrease: 0.002 }),
  },
  { name: 'p99 x1.2', label: 'grey', effect: { on: 'p99', size: 1.2 }, differs: () => change({ latencyFactor: 1.2 }) },
  // A stage of 15 minutes is promoted before it begins.
  { name: 'late, 20 min', label: 'grey', differs: () => change({ onsetS: 1200, errorIncrease: 0.03 }) },
  {
    name: 'errors 5 % to 5.5 %',
    label: 'grey',
    differs: () => ({ errorRate: 0.05, ...change({ errorIncrease: 0.005 }) }),
  },
  // Two more failures in a quarter of an hour: nobody sees them.
  {
    name: 'low traffic, errors +2 points',
    label: 'grey',
    differs: (_, random) => ({ ...traffic('low', random), ...change({ errorIncrease: 0.02 }) }),
  },
];

const bad: readonly Kind[] = [
  ...[0.5, 1, 2, 5, 10, 20, 50].map((size): Kind => ({
    name: `errors +${size} points`,
    label: 'bad',
    effect: { on: 'errors', size },
    // Half a point is a rise that matters where there are few errors; two points still are at a base of 2 %.
    differs: (_, random) => ({
      errorRate: size < 1 ? oneOf([0, 0.0005, 0.001, 0.002], random) : oneOf([0, 0.001, 0.005, 0.01], random),
      ...change({ errorIncrease: size / 100 }),
    }),
  })),
  {
    name: 'errors 2 % to 4 %',
    label: 'bad',
    differs: () => ({ errorRate: 0.02, ...change({ errorFactor: 2 }) }),
  },
  ...[1.3, 1.5, 2, 5].map((size): Kind => ({
    name: `p99 x${size}`,
    label: 'bad',
    effect: { on: 'p99', size },
    differs: () => change({ latencyFactor: size }),
  })),
  {
    name: '6 % pod noise, p99 x1.3',
    label: 'bad',
    differs: () => ({ podNoise: 0.06, ...change({ latencyFactor: 1.3 }) }),
  },
  {
    name: '6 % pod noise, p99 x1.5',
    label: 'bad',
    differs: () => ({ podNoise: 0.06, ...change({ latencyFactor: 1.5 }) }),
  },
  {
    name: '6 % pod noise, errors +0.5 points',
    label: 'bad',
    differs: () => ({ podNoise: 0.06, errorRate: 0.001, ...change({ errorIncrease: 0.005 }) }),
  },
  {
    name: 'wide latencies, p99 x1.5',
    label: 'bad',
    differs: (_, random) => ({
      latency: logNormal(logUniform(10, 60, random), uniform(0.9, 1.2, random)),
      ...change({ latencyFactor: 1.5 }),
    }),
  },
  {
    name: 'heavy tail, p99 x2',
    label: 'bad',
    differs: (_, random) => ({ latency: withTail(uniform(1.5, 2.5, random), random), ...change({ latencyFactor: 2 }) }),
  },
  {
    // Of log-normal latencies this makes the p99 1.5 to 2.8 times as long; the median hardly moves.
    name: 'only the tail, 5 % x5',
    label: 'bad',
    differs: () => change({ slowPart: { share: 0.05, factor: 5 } }),
  },
  {
    name: 'stalls, 2 % take 20 times as long',
    label: 'bad',
    differs: () => change({ slowPart: { share: 0.02, factor: 20 } }),
  },
  {
    name: 'cache misses, 1 % to 15 %',
    label: 'bad',
    differs: (_, random) => ({ latency: bimodal(0.005, random), ...change({ slowPart: { share: 0.15, factor: 10 } }) }),
  },
  {
    name: 'a pod of several fails',
    label: 'bad',
    differs: (_, random) =>
      change({
        errorIncrease: uniform(0.3, 1, random) / oneOf([2, 3, 4, 5, 8], random),
        onsetS: uniform(0, 500, random),
      }),
  },
  {
    name: 'a pod of several is slow',
    label: 'bad',
    differs: (_, random) =>
      change({
        slowPart: { share: 1 / oneOf([2, 3, 4, 5], random), factor: uniform(3, 6, random) },
        onsetS: uniform(0, 500, random),
      }),
  },
  {
    name: 'a pod fails, recovers, fails',
    label: 'bad',
    differs: (_, random) =>
      change({
        errorIncrease: 0.5 / oneOf([2, 3, 4], random),
        flapping: { onS: uniform(30, 60, random), offS: uniform(60, 120, random) },
      }),
  },
  {
    name: 'short bursts of errors, again and again',
    label: 'bad',
    differs: (_, random) => change({ errorIncrease: 0.2, flapping: { onS: 10, offS: uniform(40, 80, random) } }),
  },
  {
    name: 'crash loop',
    label: 'bad',
    differs: (_, random) => ({
      resets: restarts('canary', uniform(60, 150, random), random),
      ...change({ errorIncrease: uniform(0.03, 0.1, random) }),
    }),
  },
  ...[5, 10].map((minutes): Kind => ({
    name: `late, ${minutes} min`,
    label: 'bad',
    differs: (_, random) => change({ onsetS: 60 * minutes, ...errorsOrLatency(random, 0.03, 2) }),
  })),
  {
    name: 'ramp of errors',
    label: 'bad',
    differs: (_, random) => change({ rampS: uniform(600, 1200, random), errorIncrease: uniform(0.02, 0.05, random) }),
  },
  {
    name: 'ramp of latency',
    label: 'bad',
    differs: (_, random) => change({ rampS: uniform(600, 1200, random), latencyFactor: uniform(2, 3, random) }),
  },
  {
    name: 'errors in runs, +2 points',
    label: 'bad',
    differs: (_, random) => ({ errorRun: uniform(2, 8, random), ...change({ errorIncrease: 0.02 }) }),
  },
  {
    name: 'split 1:10, errors +2 points',
    label: 'bad',
    differs: (_, random) => ({
      ...traffic(oneOf(['mid', 'high'], random), random, 10),
      ...change({ errorIncrease: 0.02 }),
    }),
  },
  {
    name: 'split 1:10, p99 x1.5',
    label: 'bad',
    differs: (_, random) => ({
      ...traffic(oneOf(['mid', 'high'], random), random, 10),
      ...change({ latencyFactor: 1.5 }),
    }),
  },
  ...[5, 10, 30, 60].map((scrapeIntervalS): Kind => ({
    name: `scrapes every ${scrapeIntervalS} s, errors +2 points or p99 x2`,
    label: 'bad',
    differs: (_, random) => ({ scrapeIntervalS, ...change(errorsOrLatency(random, 0.02, 2)) }),
  })),
  {
    name: 'coarse buckets, p99 x2',
    label: 'bad',
    differs: () => ({ boundsMs: COARSE, ...change({ latencyFactor: 2 }) }),
  },
  {
    name: 'p99 above the buckets, x2',
    label: 'bad',
    differs: (world) => ({ ...saturating(world), ...change({ latencyFactor: 2 }) }),
  },
  {
    name: 'missing scrapes, errors +2 points or p99 x2',
    label: 'bad',
    differs: (_, random) => ({
      missing: uniform(0.02, 0.15, random),
      gaps: [gap(random)],
      ...change(errorsOrLatency(random, 0.02, 2)),
    }),
  },
  {
    name: 'shared incident, errors +2 points or p99 x2',
    label: 'bad',
    differs: (_, random) => ({
      episodes: [episode(BOTH, random, uniform(90, 300, random), 2)],
      ...change(errorsOrLatency(random, 0.02, 2)),
    }),
  },
  {
    name: 'daily drift, p99 x1.5',
    label: 'bad',
    differs: (_, random) => ({
      drift: { requests: logUniform(0.4, 2.5, random), latency: logUniform(0.7, 1.5, random) },
      ...change({ latencyFactor: 1.5 }),
    }),
  },
  {
    name: 'modest traffic, errors +2 points',
    label: 'bad',
    differs: (_, random) => ({ ...traffic('modest', random), ...change({ errorIncrease: 0.02 }) }),
  },
  {
    name: 'modest traffic, p99 x2',
    label: 'bad',
    differs: (_, random) => ({ ...traffic('modest', random), ...change({ latencyFactor: 2 }) }),
  },
  ...[5, 10, 20].map((size): Kind => ({
    name: `low traffic, errors +${size} points`,
    label: 'bad',
    differs: (_, random) => ({ ...traffic('low', random), ...change({ errorIncrease: size / 100 }) }),
  })),
  {
    name: 'faint traffic, errors +20 points',
    label: 'bad',
    differs: (_, random) => ({ ...traffic('faint', random), ...change({ errorIncrease: 0.2 }) }),
  },
  ...[2, 5].map((size): Kind => ({
    name: `low traffic, p99 x${size}`,
    label: 'bad',
    differs: (_, random) => ({ ...traffic('low', random), ...change({ latencyFactor: size }) }),
  })),
];

export const KINDS: readonly Kind[] = [...good, ...grey, ...bad];
