import { KINDS } from './kinds.js';
import type { FloorOutcomes, NoiseResult } from './noise.js';
import { byKind, intervalOf, scoreOf, secondsToRollback, tally } from './outcomes.js';
import type { Outcome, Share } from './outcomes.js';
import type { Plot } from './plots.js';

/** The outcomes of one set, by judge. */
export type Judged = ReadonlyMap<string, readonly Outcome[]>;

/** All that was measured. */
export interface Results {
  readonly seed: number;
  readonly perKind: number;
  /** `null` where the development set is not there. */
  readonly dev: Judged | null;
  readonly own: Judged;
  readonly noise: NoiseResult;
}

/** Plots by the name of their file. */
export type Plots = Readonly<Record<string, Plot>>;

const DEFAULT_JUDGE = 'sequential';
/** Kinds of which more than this share was judged wrong are told of. */
const HARD = 0.05;

/** Why kinds are hard, as far as it was found out by looking into single rollouts. Told of those that are. */
const REASONS: readonly { readonly kinds: readonly string[]; readonly why: string }[] = [
  {
    kinds: ['p99 x1.3', '6 % pod noise, p99 x1.3', 'p99 x1.5'],
    why:
      'With 3 % noise on each arm, one in ninety canaries of x1.3 truly answers less than x1.18 as long as its baseline, and with ' +
      '6 % one in eight; what a bucket hides of the tail comes on top.',
  },
  {
    kinds: ['p99 x1.1', 'same, 6 % pod noise'],
    why:
      'Pods of one version differ. With 3 % noise on each arm one in twenty canaries of x1.1 truly answers more than x1.18 ' +
      'as long for its life, which is where a rollback begins; with 6 % so does one in forty that changed nothing.',
  },
  {
    kinds: ['narrow latencies', 'missing scrapes', 'scrapes every 5 s'],
    why:
      'While there are too few blocks for ranks, the share of slow requests stands in for the p99. How much more of them a ' +
      'ratio of latencies makes is read from one bucket of the comparison: of few requests, or a wide bucket, that is rough.',
  },
  {
    kinds: ['errors in runs'],
    why: 'Errors that come together are so many fewer witnesses; with a few runs in all that can’t be seen from the counts.',
  },
  {
    kinds: ['burst on canary', 'two bursts on canary'],
    why: 'A burst of half a minute with 5 points of errors is what a gross failure looks like; two early ones fill a short stage.',
  },
];

/** `docs/judges.md`, which shows the plots of `plotsOf` from `judges/`. */
export function reportOf(results: Results): string {
  const { seed, perKind, dev, own, noise } = results;
  const total = own.get(DEFAULT_JUDGE)?.length ?? [...own.values()][0]?.length ?? 0;
  return [
    '# The judges, side by side',
    '',
    `Written by \`npm run judges\` (seed ${seed}). Each judge sees simulated canaries of half an hour as Prometheus would`,
    'have stored them, and at any moment nothing later; its first PROMOTE or ROLLBACK counts, and a stage is over after 15',
    'minutes. In parentheses: 95 % intervals (Wilson). A promotion of a good release and a rollback of a bad one are right;',
    'a HOLD asks a person. Seconds run from the onset of what is wrong to the verdict.',
    '',
    '## The development set',
    '',
    ...(dev === null ? ['It was not there when this was written (`--dev DIR` says where it is).'] : scoreTable(dev)),
    '',
    '## Our own set',
    '',
    `${total} rollouts, ${perKind} of each of ${KINDS.length} kinds (\`bench/canary/kinds.ts\`), made as they are judged. Other seeds of`,
    'them have shown faults of the judge, which were mended; of the judge’s numbers one (in how many parts a window tells of',
    'scatter) was chosen with a look at some kinds of seed 2 as well, the others were not. Kinds that honest people',
    'would disagree on, or that nobody could see in the time, are grey: they are in no total.',
    '',
    ...scoreTable(own),
    '',
    '![Share of rollouts that were rolled back, by rise of the error rate](judges/detection-errors.svg)',
    '',
    '![Share of rollouts that were rolled back, by ratio of p99](judges/detection-p99.svg)',
    '',
    '![Share of bad rollouts that were rolled back within a time](judges/time-to-rollback.svg)',
    '',
    `## \`${DEFAULT_JUDGE}\` by kind, own set`,
    '',
    ...kindTable(own.get(DEFAULT_JUDGE) ?? []),
    '',
    ...(dev?.has(DEFAULT_JUDGE)
      ? [`## \`${DEFAULT_JUDGE}\` by kind, development set`, '', ...kindTable(dev.get(DEFAULT_JUDGE)!), '']
      : []),
    '## What was hard',
    '',
    ...hard(own.get(DEFAULT_JUDGE) ?? []),
    '',
    '## A release against itself',
    '',
    ...noiseReport(noise),
    '',
  ].join('\n');
}

function scoreTable(judged: Judged): readonly string[] {
  const rows = [...judged].map(([judge, outcomes]) => {
    const { good, bad } = scoreOf(outcomes);
    const cells = [good.rollback, good.promote, good.hold, bad.promote, bad.rollback, bad.hold].map(withInterval);
    return `| \`${judge}\` | ${cells.join(' | ')} | ${whole(bad.medianSecondsToRollback)} |`;
  });
  const [first] = judged.values();
  const { good, bad } = scoreOf(first ?? []);
  return [
    `${good.rollback.of} good rollouts, ${bad.rollback.of} bad ones; percent.`,
    '',
    '| judge | false rollback | good promoted | good held | false promote | bad rolled back | bad held | median s to rollback |',
    '|---|---|---|---|---|---|---|---|',
    ...rows,
  ];
}

function kindTable(outcomes: readonly Outcome[]): readonly string[] {
  const order = ['good', 'bad', 'grey'];
  const kinds = [...byKind(outcomes)].map(([kind, of]) => ({ kind, label: of[0]!.truth.label, of }));
  const sorted = kinds.toSorted((a, b) => order.indexOf(a.label) - order.indexOf(b.label));
  return [
    '| kind | label | n | rolled back | promoted | held | median s to rollback |',
    '|---|---|---|---|---|---|---|',
    ...sorted.map(({ kind, label, of }) => {
      const { rollback, promote, hold, medianSecondsToRollback } = tally(of);
      const cells = [withInterval(rollback), percent(promote), percent(hold)];
      return `| ${kind} | ${label} | ${of.length} | ${cells.join(' | ')} | ${whole(medianSecondsToRollback)} |`;
    }),
  ];
}

function hard(outcomes: readonly Outcome[]): readonly string[] {
  const right = { good: 'PROMOTE', bad: 'ROLLBACK', grey: null } as const;
  const found = [...byKind(outcomes)].flatMap(([kind, of]) => {
    const { label } = of[0]!.truth;
    const wrong = of.filter(({ verdict }) => verdict !== right[label]);
    if (label === 'grey' || wrong.length <= HARD * of.length) return [];
    return [{ kind, label, of, wrong }];
  });
  if (found.length === 0) return [`No kind of which more than ${100 * HARD} % was judged wrong.`];
  const worst = found.toSorted((a, b) => b.wrong.length / b.of.length - a.wrong.length / a.of.length);
  return [
    `Kinds of which \`${DEFAULT_JUDGE}\` did not promote (good) or roll back (bad) more than ${100 * HARD} %, and what it said of the first:`,
    '',
    '| kind | label | judged wrong | promoted, held, rolled back | for example |',
    '|---|---|---|---|---|',
    ...worst.map(({ kind, label, of, wrong }) => {
      const { promote, hold, rollback } = tally(of);
      const share = percent({ hits: wrong.length, of: of.length });
      const [example] = wrong;
      const said = `${example!.verdict} at ${example!.decidedAtS} s: ${example!.summary.replaceAll('|', '\\|')}`;
      return `| ${kind} | ${label} | ${share} | ${promote.hits}, ${hold.hits}, ${rollback.hits} | ${said} |`;
    }),
    '',
    ...REASONS.flatMap(({ kinds, why }) => {
      const told = worst.filter(({ kind }) => kinds.includes(kind)).map(({ kind }) => kind);
      return told.length === 0 ? [] : [`- **${told.join('; ')}.** ${why}`];
    }),
  ];
}

function noiseReport({ same, faults }: NoiseResult): readonly string[] {
  const withFloor = faults.with !== null;
  const pods = same.map(({ podNoise, outcomes }) => {
    const cells = [outcomes.without, ...(outcomes.with === null ? [] : [outcomes.with])].flatMap((of) => {
      const { rollback, promote } = tally(of);
      return [withInterval(rollback), percent(promote)];
    });
    return `| ${100 * podNoise} % | ${outcomes.without.length} | ${cells.join(' | ')} |`;
  });
  const floorHeads = withFloor ? ' false rollback with a learned floor | promoted with it |' : '';
  return [
    'The A/A test: services roll out what they already run. Pod noise is the log standard deviation of a factor that each',
    `arm keeps for its life, on latency and error rate. Judged by \`${DEFAULT_JUDGE}\`, without${withFloor ? ' and with' : ''} a noise floor${withFloor ? ' that was learned from 20 past rollouts of the same service' : ''}.`,
    '',
    `| pod noise | rollouts | false rollback | promoted |${floorHeads}`,
    `|---|---|---|---|${withFloor ? '---|---|' : ''}`,
    ...pods,
    '',
    'What is still detected at 6 % pod noise:',
    '',
    ...faultTable(faults),
  ];
}

function faultTable(faults: FloorOutcomes): readonly string[] {
  const withFloor = faults.with === null ? null : byKind(faults.with);
  const rows = [...byKind(faults.without), ['all', faults.without] as const].map(([kind, of]) => {
    const others = kind === 'all' ? faults.with : withFloor?.get(kind);
    const cells = [of, ...(others == null ? [] : [others])].flatMap((outcomes) => {
      const { rollback, promote } = tally(outcomes);
      return [withInterval(rollback), percent(promote)];
    });
    return `| ${kind} | ${of.length} | ${cells.join(' | ')} |`;
  });
  return [
    `| fault | rollouts | rolled back | promoted |${withFloor === null ? '' : ' rolled back with a learned floor | promoted with it |'}`,
    `|---|---|---|---|${withFloor === null ? '' : '---|---|'}`,
    ...rows,
  ];
}

export function plotsOf({ own }: Results): Plots {
  return {
    'detection-errors.svg': detection(
      own,
      'errors',
      'What the error rate rose by, percentage points',
      (size) => `${size}`,
    ),
    'detection-p99.svg': detection(own, 'p99', 'p99 of the canary against the baseline', (size) => `x${size}`),
    'time-to-rollback.svg': timeToRollback(own),
  };
}

function detection(own: Judged, on: 'errors' | 'p99', xLabel: string, label: (size: number) => string): Plot {
  const kinds = KINDS.flatMap(({ name, effect }) => (effect?.on === on ? [{ name, size: effect.size }] : []));
  const sizes = kinds.toSorted((a, b) => a.size - b.size);
  return {
    title: `Rolled back, by ${on === 'errors' ? 'rise of the error rate' : 'ratio of p99'} (8 requests/s and more)`,
    xLabel,
    yLabel: 'rolled back',
    xTicks: sizes.map(({ size }) => ({ at: size, label: label(size) })),
    logarithmic: true,
    yMax: 1,
    series: [...own].map(([name, outcomes]) => {
      const found = byKind(outcomes);
      const points = sizes.flatMap((kind) => {
        const of = found.get(kind.name);
        if (of === undefined) return [];
        const { rollback } = tally(of);
        return [{ x: kind.size, y: rollback.hits / rollback.of, interval: intervalOf(rollback) }];
      });
      return { name, points };
    }),
  };
}

/** The longest time that is shown, s. */
const SHOWN_S = 1200;

function timeToRollback(own: Judged): Plot {
  const minutes = [0, 1, 2, 3, 5, 7.5, 10, 15, 20];
  return {
    title: 'Bad rollouts that were rolled back within a time of their onset',
    xLabel: 'minutes since the onset',
    yLabel: 'of all bad rollouts',
    xTicks: minutes.map((at) => ({ at: 60 * at, label: `${at}` })),
    logarithmic: false,
    yMax: 1,
    series: [...own].map(([name, outcomes]) => {
      const bad = outcomes.filter(({ truth }) => truth.label === 'bad');
      const times = secondsToRollback(bad);
      const points = Array.from({ length: SHOWN_S / 15 + 1 }, (_, i) => {
        const within = times.filter((time) => time <= 15 * i).length;
        return { x: 15 * i, y: within / Math.max(1, bad.length) };
      });
      return { name, points };
    }),
  };
}

function withInterval(share: Share): string {
  const { lower, upper } = intervalOf(share);
  return `${percent(share)} (${(100 * lower).toFixed(1)}–${(100 * upper).toFixed(1)})`;
}

function percent({ hits, of }: Share): string {
  return of === 0 ? '–' : ((100 * hits) / of).toFixed(1);
}

function whole(value: number | null): string {
  return value === null ? '–' : value.toFixed(0);
}
