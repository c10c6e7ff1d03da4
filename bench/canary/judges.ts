/**
 * `npm run judges`: every judge on the development set and on our own sets, and the A/A test; writes docs/judges.md and
 * its plots. `--quick` takes a few of each kind, and writes only where `--out DIR` says.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { JUDGES } from '../../domain/canary/types.js';
import { KINDS } from './kinds.js';
import { LEARN_FLOOR, measureNoise } from './noise.js';
import { judgeBy } from './outcomes.js';
import type { Outcome } from './outcomes.js';
import { svgOf } from './plots.js';
import { plotsOf, reportOf } from './report.js';
import type { Judged } from './report.js';
import { devSet, ownSet } from './sets.js';
import type { Sample } from './sets.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SIZES = {
  full: { perKind: 60, dev: Infinity, same: 2000 },
  quick: { perKind: 4, dev: 40, same: 60 },
} as const;
const PROGRESS_EVERY_MS = 10_000;

async function judgeAll(
  name: string,
  samples: AsyncIterable<Sample> | Iterable<Sample>,
  most: number,
): Promise<Judged> {
  const outcomes = new Map<string, Outcome[]>(JUDGES.map((judge) => [judge, []]));
  const begun = performance.now();
  let told = begun;
  let done = 0;
  for await (const sample of samples) {
    for (const [judge, outcome] of judgeBy(JUDGES, sample)) outcomes.get(judge)?.push(outcome);
    done++;
    if (done >= most) break;
    if (performance.now() - told < PROGRESS_EVERY_MS) continue;
    told = performance.now();
    say(`${name}: ${done} rollouts judged by ${JUDGES.length} judges`);
  }
  say(
    `${name}: ${done} rollouts judged by ${JUDGES.length} judges in ${((performance.now() - begun) / 1000).toFixed(0)} s`,
  );
  return outcomes;
}

function say(text: string): void {
  process.stderr.write(`judges: ${text}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dev: { type: 'string', default: join(ROOT, '../shared/canary') },
      out: { type: 'string' },
      quick: { type: 'boolean', default: false },
      seed: { type: 'string', default: '1' },
    },
  });
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`--seed must be a whole number, not ${values.seed}`);
  const size = values.quick ? SIZES.quick : SIZES.full;
  const out = values.out ?? (values.quick ? null : join(ROOT, 'docs'));

  const dev = devSet(values.dev);
  if (dev === null) say(`the development set is not in ${values.dev}: it is left out (--dev DIR says where it is)`);
  say(`our own set has ${size.perKind} rollouts of each of ${KINDS.length} kinds`);
  const results = {
    seed,
    perKind: size.perKind,
    dev: dev === null ? null : await judgeAll('development set', dev, size.dev),
    own: await judgeAll('own set', ownSet(seed, size.perKind), Infinity),
    noise: measureNoise({ seed, rollouts: size.same, learn: LEARN_FLOOR, progress: say }),
  };
  const report = reportOf(results);
  if (out === null) {
    process.stdout.write(report);
    return;
  }
  await mkdir(join(out, 'judges'), { recursive: true });
  for (const [name, plot] of Object.entries(plotsOf(results))) await writeFile(join(out, 'judges', name), svgOf(plot));
  await writeFile(join(out, 'judges.md'), report);
  say(`written: ${join(out, 'judges.md')}`);
}

await main();
