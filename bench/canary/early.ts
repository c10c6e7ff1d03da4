/**
 * `node dist/bench/canary/early.js`: the development set judged with early promotion, as the tables of docs/judge.md.
 * `--dev DIR` says where the set is.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { replay } from '../../domain/canary/replay.js';
import { durationText } from '../../domain/words.js';
import { median } from '../numbers.js';
import { byKind, recordingOf, scoreOf } from './outcomes.js';
import type { Outcome, Share } from './outcomes.js';
import { devSet } from './sets.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MINUTE_MS = 60_000;

/** Planned length of the stage, and its least time; `null`: no early promotion. */
const STAGES = [
  { durationMs: 15 * MINUTE_MS, afterMs: null },
  { durationMs: 15 * MINUTE_MS, afterMs: 10 * MINUTE_MS },
  { durationMs: 15 * MINUTE_MS, afterMs: 5 * MINUTE_MS },
  { durationMs: 15 * MINUTE_MS, afterMs: 2 * MINUTE_MS },
  { durationMs: 5 * MINUTE_MS, afterMs: null },
  { durationMs: 5 * MINUTE_MS, afterMs: 2 * MINUTE_MS },
] as const;

function percentOf({ hits, of }: Share): string {
  return ((100 * hits) / of).toFixed(1);
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function stageText({ durationMs, afterMs }: (typeof STAGES)[number]): string {
  const early = afterMs === null ? 'off' : `after ${durationText(afterMs)}`;
  return `${durationText(durationMs)}, ${early}`;
}

/** Median and range of the time from the stage's start to the PROMOTE of good releases. */
function timeToPromote(outcomes: readonly Outcome[]): string {
  const times = outcomes
    .filter(({ verdict, truth }) => verdict === 'PROMOTE' && truth.label === 'good')
    .map(({ decidedAtS }) => 1000 * decidedAtS);
  return `${durationText(median(times))} (${durationText(Math.min(...times))} to ${durationText(Math.max(...times))})`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { dev: { type: 'string', default: join(ROOT, '../shared/canary') } } });
  const samples = devSet(values.dev);
  if (samples === null) throw new Error(`the development set is not in ${values.dev}: say where it is with --dev DIR`);
  const outcomes = STAGES.map((): Outcome[] => []);
  for await (const sample of samples) {
    const { recording, horizonMs } = recordingOf(sample);
    for (const [i, { durationMs, afterMs }] of STAGES.entries()) {
      const early = afterMs === null ? {} : { earlyPromotion: { afterMs } };
      const policy = { ...recording.policy, ...early };
      const { kind, atMs, hold, summary } = replay({ ...recording, policy, durationMs }, horizonMs);
      const decidedAtS = (atMs - recording.startMs) / 1000;
      outcomes[i]?.push({ truth: sample.truth, verdict: kind, decidedAtS, hold, summary });
    }
  }
  const faults = [...byKind(outcomes.flat())].flatMap(([kind, list]) =>
    list.some(({ verdict, truth }) => truth.label === 'bad' && verdict === 'PROMOTE') ? [kind] : [],
  );
  const head = ['stage, early promotion', 'false rollback', 'good promoted', 'false promote', 'bad rolled back'];
  const lines = [
    row([...head, 'time to promote', ...faults.map((kind) => `\`${kind}\` promoted`)]),
    `|${'---|'.repeat(head.length + 1 + faults.length)}`,
    ...STAGES.map((stage, i) => {
      const list = outcomes[i] ?? [];
      const { good, bad } = scoreOf(list);
      const shares = [good.rollback, good.promote, bad.promote, bad.rollback].map(percentOf);
      const promoted = faults.map((kind) => {
        const of = list.filter(({ truth }) => truth.kind === kind);
        return `${of.filter(({ verdict }) => verdict === 'PROMOTE').length} of ${of.length}`;
      });
      return row([stageText(stage), ...shares, timeToPromote(list), ...promoted]);
    }),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

await main();
