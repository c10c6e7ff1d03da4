import { createReadStream, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { KINDS, worldOf } from './kinds.js';
import type { Kind, Label } from './kinds.js';
import { seededRandom, seedFor } from './random.js';
import { simulate } from './simulator.js';
import type { World } from './simulator.js';

/** What a rollout truly is. A judge never sees it. */
export interface Truth {
  readonly id: string;
  readonly label: Label;
  readonly kind: string;
  /** When what is wrong with it began, s after the canary was ready. */
  readonly onset_s: number;
}

/** A scenario (a document that `parseScenario` reads) and its truth. */
export interface Sample {
  readonly truth: Truth;
  readonly document: unknown;
}

/** Our own set: so many rollouts of every kind. Each depends on seed, kind and number only. */
export function* ownSet(seed: number, perKind: number, kinds: readonly Kind[] = KINDS): Generator<Sample> {
  for (let number = 0; number < perKind; number++) for (const kind of kinds) yield ownSample(seed, kind, number);
}

/** One rollout of a kind, in a world that is as the kind says but for `forced`. */
export function ownSample(seed: number, kind: Kind, number: number, forced: Partial<World> = {}): Sample {
  const id = `${kind.name} ${seed}-${number}`;
  const random = seededRandom(seedFor(seed, kind.name, number));
  const world = { ...worldOf(kind, random), ...forced };
  const truth = { id, label: kind.label, kind: kind.name, onset_s: world.change.onsetS };
  return { truth, document: simulate(id, world, random) };
}

/** The development set in a folder, or `null` where it is not there. */
export function devSet(folder: string): AsyncGenerator<Sample> | null {
  const scenarios = join(folder, 'dev_scenarios.jsonl.gz');
  const truths = join(folder, 'dev_truth.jsonl');
  return existsSync(scenarios) && existsSync(truths) ? readDevSet(scenarios, truths) : null;
}

async function* readDevSet(scenariosFile: string, truthsFile: string): AsyncGenerator<Sample> {
  const lines = (await readFile(truthsFile, 'utf8')).split('\n').filter((line) => line !== '');
  const truths = new Map(lines.map((line) => JSON.parse(line) as Truth).map((truth) => [truth.id, truth]));
  const unzipped = createReadStream(scenariosFile).pipe(createGunzip());
  for await (const line of createInterface({ input: unzipped })) {
    const document = JSON.parse(line) as { readonly id: string };
    const truth = truths.get(document.id);
    if (truth === undefined) throw new Error(`${scenariosFile}: nothing is said of ${document.id} in ${truthsFile}`);
    yield { truth, document };
  }
}
