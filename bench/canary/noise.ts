import { learnNoiseFloor } from '../../domain/canary/learn-noise.js';
import type { Recording } from '../../domain/canary/replay.js';
import type { NoiseFloor } from '../../domain/canary/types.js';
import { ordinary } from './kinds.js';
import type { Label } from './kinds.js';
import { judgeBy, recordingOf } from './outcomes.js';
import type { Outcome } from './outcomes.js';
import { seededRandom, seedFor } from './random.js';
import type { Sample } from './sets.js';
import { NO_CHANGE, simulate } from './simulator.js';
import type { Change, World } from './simulator.js';

/** Learns from past pairs of equal arms how far apart they are. */
export type FloorLearner = (past: readonly Recording[]) => NoiseFloor | null;

/** What `npm run judges` learns noise floors with; `null` would leave the columns "with a floor" out. */
export const LEARN_FLOOR: FloorLearner | null = learnNoiseFloor;

/** Log standard deviations of the pods of one version: none, what the own sets have, and a noisy neighbourhood. */
export const POD_NOISES: readonly number[] = [0, 0.03, 0.06];

/** Rollouts of each service; and good ones before, that its floor is learned from. */
const ROLLOUTS_PER_SERVICE = 40;
const PAST_ROLLOUTS = 20;
const FAULTS_PER_SERVICE = 4;

/** The noise at which the loss of detection is measured, and what is to be detected. */
const STRESS_NOISE = 0.06;
const FAULTS: readonly { readonly name: string; readonly change: Partial<Change> }[] = [
  { name: 'p99 x1.3', change: { latencyFactor: 1.3 } },
  { name: 'p99 x1.5', change: { latencyFactor: 1.5 } },
  { name: 'p99 x2', change: { latencyFactor: 2 } },
  { name: 'errors +0.5 points', change: { errorIncrease: 0.005 } },
  { name: 'errors +1 point', change: { errorIncrease: 0.01 } },
  { name: 'errors +2 points', change: { errorIncrease: 0.02 } },
  { name: 'p99 x2 after 10 min', change: { latencyFactor: 2, onsetS: 600 } },
];

/** Outcomes by `sequential` of the same rollouts without and with a learned floor; `with` is `null` without a learner. */
export interface FloorOutcomes {
  readonly without: readonly Outcome[];
  readonly with: readonly Outcome[] | null;
}

export interface NoiseResult {
  /** Releases against themselves, by pod noise. */
  readonly same: readonly { readonly podNoise: number; readonly outcomes: FloorOutcomes }[];
  /** Faults at 6 % pod noise. */
  readonly faults: FloorOutcomes;
}

export interface NoiseOptions {
  readonly seed: number;
  /** Rollouts of a release against itself, at each noise. */
  readonly rollouts: number;
  readonly learn: FloorLearner | null;
  readonly progress: (done: string) => void;
}

/**
 * The A/A test: services release what they already run. Each service has its own traffic, latencies and errors, and a
 * past of good rollouts; only what tells its pods apart is set. Then, in the noisiest case, releases with a fault.
 */
export function measureNoise({ seed, rollouts, learn, progress }: NoiseOptions): NoiseResult {
  const each = Math.min(rollouts, ROLLOUTS_PER_SERVICE);
  const services = Math.ceil(rollouts / each);
  const numbers = Array.from({ length: services }, (_, i) => i);
  const same = POD_NOISES.map((podNoise) => {
    const outcomes = collect(numbers, (number) => {
      const world = { ...serviceOf(seed, number), podNoise };
      const samples = times(each, (i) => sample('same', 'good', world, seed, `${number}.${i}`));
      return { floor: floorOf(learn, world, seed, number), samples };
    });
    progress(`A/A test at ${100 * podNoise} % pod noise: ${services * each} rollouts`);
    return { podNoise, outcomes };
  });
  const faults = collect(numbers, (number) => {
    const world = { ...serviceOf(seed, number), podNoise: STRESS_NOISE };
    const samples = FAULTS.flatMap(({ name, change }) =>
      times(FAULTS_PER_SERVICE, (i) =>
        sample(name, 'bad', { ...world, change: { ...NO_CHANGE, ...change } }, seed, `${number}.${i}`),
      ),
    );
    return { floor: floorOf(learn, world, seed, number), samples };
  });
  progress(`faults at ${100 * STRESS_NOISE} % pod noise: ${faults.without.length} rollouts`);
  return { same, faults };

  function collect(
    of: readonly number[],
    service: (number: number) => { readonly floor: NoiseFloor | null; readonly samples: readonly Sample[] },
  ): FloorOutcomes {
    const without: Outcome[] = [];
    const withFloor: Outcome[] = [];
    for (const number of of) {
      const { floor, samples } = service(number);
      for (const one of samples) {
        without.push(judged(one, null));
        // A service that nothing could be learned of is judged without.
        if (learn !== null) withFloor.push(floor === null ? without.at(-1)! : judged(one, floor));
      }
    }
    return { without, with: learn === null ? null : withFloor };
  }
}

function judged(one: Sample, floor: NoiseFloor | null): Outcome {
  return judgeBy(['sequential'], one, floor).get('sequential')!;
}

function serviceOf(seed: number, number: number): World {
  return ordinary(seededRandom(seedFor(seed, 'service', number)));
}

function floorOf(learn: FloorLearner | null, world: World, seed: number, number: number): NoiseFloor | null {
  if (learn === null) return null;
  const past = times(PAST_ROLLOUTS, (i) => sample('past', 'good', world, seed, `${number}.${i}`));
  return learn(past.map((one) => recordingOf(one).recording));
}

function sample(kind: string, label: Label, world: World, seed: number, name: string): Sample {
  const id = `${kind} ${world.podNoise} ${name}`;
  const document = simulate(id, world, seededRandom(seedFor(seed, id, 0)));
  return { truth: { id, label, kind, onset_s: world.change.onsetS }, document };
}

function times<T>(count: number, make: (i: number) => T): readonly T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}
