import { shareWithin } from './latency.js';
import type { LatencyShape, Slowing } from './latency.js';
import { binomial, normal, poisson } from './random.js';
import type { Random } from './random.js';

/** Raw counters of one arm as Prometheus stored them, one value a scrape; `null` is a scrape that is missing. */
export interface StoredArm {
  readonly requests_total: readonly (number | null)[];
  readonly errors_total: readonly (number | null)[];
  readonly latency_bucket_total: readonly (readonly number[] | null)[];
}

/** A canary of one stage, as a line for `slipway judge --jsonl`. */
export interface StoredScenario {
  readonly id: string;
  readonly scrape_interval_s: number;
  readonly horizon_s: number;
  readonly baseline_kind: 'fresh' | 'primary';
  readonly le_ms: readonly (number | '+Inf')[];
  readonly t_s: readonly number[];
  readonly canary: StoredArm;
  readonly baseline: StoredArm;
}

export type SimulatedArm = 'canary' | 'baseline';

/** A burst, a blip or an incident: it comes, and passes. */
export interface Episode {
  readonly arms: readonly SimulatedArm[];
  readonly fromS: number;
  readonly toS: number;
  /** What is added to the share of failed requests. */
  readonly errorIncrease: number;
  readonly latencyFactor: number;
}

/** What the release changed. */
export interface Change {
  /** When it begins, s after the canary was ready. */
  readonly onsetS: number;
  /** How long it takes to be all there, s; 0 at once. */
  readonly rampS: number;
  /** It comes and goes: there for the first part of each period. `null`: it stays. */
  readonly flapping: { readonly onS: number; readonly offS: number } | null;
  /** What is added to the share of failed requests (0 to 1), when it is all there. */
  readonly errorIncrease: number;
  /** What the baseline's own share of failed requests is multiplied by. */
  readonly errorFactor: number;
  /** So many times as long takes each request. */
  readonly latencyFactor: number;
  /** Besides, a part of the requests is slower by itself: one pod of several, one endpoint, a cache that is cold. */
  readonly slowPart: Slowing | null;
}

export const NO_CHANGE: Change = {
  onsetS: 0,
  rampS: 0,
  flapping: null,
  errorIncrease: 0,
  errorFactor: 1,
  latencyFactor: 1,
  slowPart: null,
};

/** A service, its traffic, how it is scraped, and all that happens to it in the half hour. */
export interface World {
  readonly scrapeIntervalS: number;
  readonly horizonS: number;
  readonly baselineKind: 'fresh' | 'primary';
  /** Upper bounds of the latency buckets, ms, ascending, without +Inf. */
  readonly boundsMs: readonly number[];
  readonly canaryRps: number;
  readonly baselineRps: number;
  readonly latency: LatencyShape;
  /** Share of failed requests of a healthy arm. */
  readonly errorRate: number;
  /** Errors come in runs of this mean length (retries, a lost connection): 1 is each by itself. */
  readonly errorRun: number;
  /** Log standard deviation of what tells apart two arms of one version, in latency and error rate, for as long as they live. */
  readonly podNoise: number;
  /** Log standard deviations of load that both arms share, and of each arm by itself; they come and go within `…ForS`. */
  readonly sharedNoise: number;
  readonly sharedNoiseForS: number;
  readonly armNoise: number;
  readonly armNoiseForS: number;
  /** The same of the error rate: scatter beyond chance. */
  readonly errorNoise: number;
  /** Young pods are slow at first: by this factor at 0 s, falling by e within `tauS`. Long-running primaries are not. */
  readonly coldStart: { readonly factor: number; readonly tauS: number } | null;
  /** Requests and latency change by these factors over the horizon, on both arms: a part of the day's curve. */
  readonly drift: { readonly requests: number; readonly latency: number };
  readonly episodes: readonly Episode[];
  /** Scrapes that are missing: probability of each by itself, and stretches. */
  readonly missing: number;
  readonly gaps: readonly { readonly arms: readonly SimulatedArm[]; readonly fromS: number; readonly toS: number }[];
  /** Instants at which an arm's process restarts and its counters begin at 0. */
  readonly resets: readonly { readonly arm: SimulatedArm; readonly atS: number }[];
  readonly change: Change;
}

/** Up to so many requests are drawn one by one. */
const ONE_BY_ONE_UP_TO = 24;
/** What a long-running primary has counted before. */
const PRIMARY_AGE_S = 50_000;

/** Plays a world once. The same world and stream of random numbers give the same bytes. */
export function simulate(id: string, world: World, random: Random): StoredScenario {
  const { scrapeIntervalS, horizonS, boundsMs } = world;
  const scrapes = Math.floor(horizonS / scrapeIntervalS);
  const shared = {
    latency: wander(scrapes, world.sharedNoise, world.sharedNoiseForS / scrapeIntervalS, random),
    errors: wander(scrapes, world.errorNoise, world.sharedNoiseForS / scrapeIntervalS, random),
    requests: wander(scrapes, world.sharedNoise / 2, world.sharedNoiseForS / scrapeIntervalS, random),
  };
  return {
    id,
    scrape_interval_s: scrapeIntervalS,
    horizon_s: horizonS,
    baseline_kind: world.baselineKind,
    le_ms: [...boundsMs, '+Inf'],
    t_s: Array.from({ length: scrapes + 1 }, (_, i) => i * scrapeIntervalS),
    canary: simulateArm('canary', world, shared, random),
    baseline: simulateArm('baseline', world, shared, random),
  };
}

type SharedCourse = Readonly<Record<'latency' | 'errors' | 'requests', Float64Array>>;

function simulateArm(arm: SimulatedArm, world: World, shared: SharedCourse, random: Random): StoredArm {
  const { scrapeIntervalS: everyS, change } = world;
  const scrapes = shared.latency.length;
  const old = arm === 'baseline' && world.baselineKind === 'primary';
  const rps = arm === 'canary' ? world.canaryRps : world.baselineRps;
  const own = {
    latency: Math.exp(world.podNoise * normal(random)),
    errors: Math.exp(world.podNoise * normal(random)),
  };
  const armNoise = wander(scrapes, world.armNoise, world.armNoiseForS / everyS, random);
  const errorNoise = wander(scrapes, world.errorNoise / 2, world.armNoiseForS / everyS, random);
  const logBounds = world.boundsMs.map(Math.log);
  const within = new Float64Array(logBounds.length);
  const row = new Float64Array(logBounds.length + 1);
  let errors = 0;
  if (old) {
    row.fill(Math.round(rps * PRIMARY_AGE_S));
    errors = Math.round(rps * PRIMARY_AGE_S * world.errorRate);
  }
  const requestsTotal: (number | null)[] = [row.at(-1)!];
  const errorsTotal: (number | null)[] = [errors];
  const bucketTotal: (readonly number[] | null)[] = [[...row]];
  for (let i = 0; i < scrapes; i++) {
    const [fromS, toS] = [i * everyS, (i + 1) * everyS];
    const middleS = (fromS + toS) / 2;
    const day = middleS / world.horizonS;
    const there = arm === 'canary' ? intensity(change, fromS, toS) : 0;
    const requests = poisson(rps * everyS * world.drift.requests ** day * Math.exp(shared.requests[i]!), random);
    let increase = there * change.errorIncrease;
    let slowings = arm === 'canary' ? slowingsOf(change, there) : [{ share: 1, factor: 1 }];
    for (const episode of world.episodes) {
      const part = overlap(episode.fromS, episode.toS, fromS, toS) / everyS;
      if (part === 0 || !episode.arms.includes(arm)) continue;
      increase += part * episode.errorIncrease;
      slowings = slowings.flatMap(({ share, factor }) => [
        { share: share * (1 - part), factor },
        { share: share * part, factor: factor * episode.latencyFactor },
      ]);
    }
    const cold =
      old || world.coldStart === null ? 0 : (world.coldStart.factor - 1) * decay(middleS, world.coldStart.tauS);
    const level = own.latency * Math.exp(shared.latency[i]! + armNoise[i]!) * world.drift.latency ** day * (1 + cold);
    const errorLevel =
      own.errors * Math.exp(shared.errors[i]! + errorNoise[i]!) * (1 + there * (change.errorFactor - 1));
    const failed = failures(requests, world.errorRate * errorLevel + increase, world.errorRun, random);
    const kept = keptSince(world, arm, fromS, toS);
    if (kept < 1) {
      row.fill(0);
      errors = 0;
    }
    shareWithin(
      logBounds,
      world.latency,
      slowings.map(({ share, factor }) => ({ share, factor: factor * level })),
      within,
    );
    const counted = Math.round(requests * kept);
    addRequests(counted, within, row, random);
    errors += Math.min(counted, Math.round(failed * kept));
    const seen = !isMissing(world, arm, toS) && random() >= world.missing;
    requestsTotal.push(seen ? row.at(-1)! : null);
    errorsTotal.push(seen ? errors : null);
    bucketTotal.push(seen ? [...row] : null);
  }
  return { requests_total: requestsTotal, errors_total: errorsTotal, latency_bucket_total: bucketTotal };
}

/** A course that wanders about 0 (autoregressive of order 1): so many values, of this deviation, that forget within `memory` steps. */
function wander(length: number, deviation: number, memory: number, random: Random): Float64Array {
  const kept = Math.exp(-1 / memory);
  const fresh = deviation * Math.sqrt(1 - kept * kept);
  let value = deviation * normal(random);
  return Float64Array.from({ length }, () => {
    const now = value;
    value = kept * value + fresh * normal(random);
    return now;
  });
}

/** How much of the change is there between two instants, 0 to 1. */
function intensity({ onsetS, rampS, flapping }: Change, fromS: number, toS: number): number {
  const length = toS - fromS;
  if (flapping !== null) {
    const period = flapping.onS + flapping.offS;
    let on = 0;
    for (let start = onsetS + Math.floor(Math.max(0, fromS - onsetS) / period) * period; start < toS; start += period)
      on += overlap(start, start + flapping.onS, fromS, toS);
    return on / length;
  }
  if (rampS === 0) return overlap(onsetS, Infinity, fromS, toS) / length;
  return Math.min(1, Math.max(0, ((fromS + toS) / 2 - onsetS) / rampS));
}

function slowingsOf({ rampS, latencyFactor, slowPart }: Change, there: number): readonly Slowing[] {
  // What ramps gets slower by and by; what steps is there for a part of the interval.
  const all =
    rampS > 0
      ? [{ share: 1, factor: latencyFactor ** there }]
      : [
          { share: 1 - there, factor: 1 },
          { share: there, factor: latencyFactor },
        ];
  if (slowPart === null) return all.filter(({ share }) => share > 0);
  const slow = slowPart.share * there;
  return all
    .flatMap(({ share, factor }) => [
      { share: share * (1 - slow), factor },
      { share: share * slow, factor: factor * slowPart.factor },
    ])
    .filter(({ share }) => share > 0);
}

function failures(requests: number, rate: number, run: number, random: Random): number {
  if (run <= 1) return binomial(requests, Math.min(1, rate), random);
  const runs = binomial(requests, Math.min(1, rate / run), random);
  let failed = 0;
  // The length of a run is geometric, at least 1.
  for (let i = 0; i < runs; i++) failed += 1 + Math.floor(Math.log(1 - random()) / Math.log(1 - 1 / run));
  return Math.min(requests, failed);
}

/** Adds requests to cumulative buckets (the last is +Inf), by their shares within each bound. */
function addRequests(requests: number, within: Float64Array, row: Float64Array, random: Random): void {
  const last = row.length - 1;
  if (requests <= ONE_BY_ONE_UP_TO) {
    for (let n = 0; n < requests; n++) {
      const drawn = random();
      for (let k = last; k >= 0 && (k === last || drawn <= within[k]!); k--) row[k]!++;
    }
    return;
  }
  // A multinomial, as binomials of what is left.
  let left = requests;
  let before = 0;
  let counted = 0;
  for (let k = 0; k < last; k++) {
    const share = before < 1 ? (within[k]! - before) / (1 - before) : 0;
    const here = binomial(left, share, random);
    left -= here;
    counted += here;
    before = within[k]!;
    row[k]! += counted;
  }
  row[last]! += requests;
}

/** The part of an interval that the counters still know: less than 1 where the process restarted in it. */
function keptSince(world: World, arm: SimulatedArm, fromS: number, toS: number): number {
  const reset = world.resets.findLast((one) => one.arm === arm && one.atS > fromS && one.atS <= toS);
  return reset === undefined ? 1 : (toS - reset.atS) / (toS - fromS);
}

function isMissing({ gaps }: World, arm: SimulatedArm, atS: number): boolean {
  return gaps.some((gap) => gap.arms.includes(arm) && atS >= gap.fromS && atS <= gap.toS);
}

function overlap(fromA: number, toA: number, fromB: number, toB: number): number {
  return Math.max(0, Math.min(toA, toB) - Math.max(fromA, fromB));
}

function decay(timeS: number, tauS: number): number {
  return Math.exp(-timeS / tauS);
}
