/** `npm run bench`: measures, and writes what came of it to docs/benchmarks.md. `npm run bench -- detection` runs one part. */
import { execFile, execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { measureBlindness } from './blind.js';
import { measureCommand } from './command.js';
import { measureDetection } from './detection.js';
import { measureFleet } from './fleet.js';
import { measureHistory } from './history.js';
import type { JudgeCost } from './judge.js';
import type { KubernetesBench } from './kubernetes.js';
import { median, seconds } from './numbers.js';
import { measureServer, p } from './server.js';

interface Row {
  readonly what: string;
  readonly measured: string;
  readonly target: string;
  readonly met: boolean | null;
}

/** A smaller load, to see whether a part runs: `npm run bench -- server --quick`. Only the server's part knows it. */
const quick = process.argv.includes('--quick');

const PARTS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  detection,
  blindness,
  history,
  soak,
  mass,
  command,
  judge,
  kubernetes,
  server,
};

async function detection(): Promise<readonly Row[]> {
  const results = await measureDetection(3);
  return results.flatMap((result) => [
    {
      what: `${result.title}: from the first failed answer to weight 0`,
      measured: `median ${seconds(median(result.toZeroWeight))}, worst of ${result.toZeroWeight.length} ${seconds(Math.max(...result.toZeroWeight))}`,
      target: result.target,
      met: result.met,
    },
    {
      what: `${result.title}: to the last request that the canary answered`,
      measured: `median ${seconds(median(result.toLastRequest))}, worst ${seconds(Math.max(...result.toLastRequest))}`,
      target: '',
      met: null,
    },
  ]);
}

async function blindness(): Promise<readonly Row[]> {
  const gaps = await measureBlindness(2);
  const worst = Math.max(...gaps);
  return [
    {
      what: 'time without a look after a kill -9 of the watching one of two workers',
      measured: `median ${seconds(median(gaps))}, worst of ${gaps.length} ${seconds(worst)}`,
      target: '15 s',
      met: worst <= 15,
    },
  ];
}

async function history(): Promise<readonly Row[]> {
  const cost = await measureHistory();
  return [
    {
      what: 'history events of a rollout of four stages of 30 minutes',
      measured: `${cost.events} (${(cost.bytes / 1024).toFixed(0)} KiB as JSON)`,
      target: '400',
      met: cost.events <= 400,
    },
    {
      what: 'one replay of it, by a warm worker',
      measured: `${cost.replayMs.toFixed(0)} ms`,
      target: '100 ms',
      met: cost.replayMs <= 100,
    },
    {
      what: `the same of a workflow that does nothing but ${cost.activities} activities, one after the other`,
      measured: `${cost.bareReplayMs.toFixed(0)} ms: the rollout takes ${(cost.replayMs / cost.bareReplayMs).toFixed(1)} times as long`,
      target: '',
      met: null,
    },
  ];
}

async function soak(): Promise<readonly Row[]> {
  const { soaking, secondsToStart, workerMiB, workerCpuPercent, lookDelayP95 } = await measureFleet({
    count: 500,
    soakSeconds: 30,
    bad: 0,
  });
  return [
    {
      what: `${soaking} rollouts soaking on one worker: its memory`,
      measured: `${workerMiB.toFixed(0)} MiB, ${workerCpuPercent.toFixed(0)} % of a core`,
      target: '500 in 1,024 MiB',
      met: workerMiB <= 1024,
    },
    {
      what: 'p95 of how late a look is (one every 5 s each)',
      measured: `at most ${seconds(lookDelayP95)}`,
      target: '',
      met: null,
    },
    {
      what: 'time until all of them had their canary under traffic',
      measured: seconds(secondsToStart),
      target: '',
      met: null,
    },
  ];
}

async function mass(): Promise<readonly Row[]> {
  const { rollback } = await measureFleet({ count: 200, soakSeconds: 10, bad: 200 });
  if (rollback === null) throw new Error('nothing was rolled back');
  const { count, p50, p95, max, workerMiB } = rollback;
  return [
    {
      what: `${count} canaries fail in the same moment (scrapes and looks every 5 s): to weight 0`,
      measured: `p50 ${seconds(p50)}, p95 ${seconds(p95)}, max ${seconds(max)}; worker ${workerMiB.toFixed(0)} MiB`,
      target: '',
      met: null,
    },
  ];
}

async function command(): Promise<readonly Row[]> {
  const { helpMs, nodeMs } = await measureCommand(15);
  return [
    {
      what: '`slipway --help`, cold start',
      measured: `${helpMs.toFixed(0)} ms (Node alone: ${nodeMs.toFixed(0)} ms)`,
      target: '300 ms',
      met: helpMs <= 300,
    },
  ];
}

/** In a process of its own, whose memory can be collected. */
async function judge(): Promise<readonly Row[]> {
  const script = fileURLToPath(new URL('judge.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', script], { timeout: 600_000 });
  const cost = JSON.parse(stdout) as JudgeCost;
  const { scipyMs, scipyVersion } = cost;
  return [
    {
      what: `one look of the judge at 30 minutes of 15 s samples with ${cost.metrics} metrics`,
      measured: `median ${cost.lookMs.toFixed(1)} ms`,
      target: '5 ms',
      met: cost.lookMs <= 5,
    },
    {
      what: `the heap after ${cost.looks.toLocaleString('en')} looks`,
      measured: `${cost.growthMiB.toFixed(1)} MiB more`,
      target: 'flat: 2 MiB',
      met: cost.growthMiB <= 2,
    },
    {
      what: 'Mann-Whitney of 5,000 against 5,000 values: U and p',
      measured: `median ${cost.rankTestMs.toFixed(2)} ms (${cost.withEffectsMs.toFixed(2)} ms with effect sizes and shift)${scipyMs === null ? '' : `; SciPy ${scipyVersion} in the same run: ${scipyMs.toFixed(2)} ms`}`,
      target: 'no slower than SciPy',
      met: scipyMs === null ? null : cost.rankTestMs <= scipyMs,
    },
  ];
}

/** In a process of its own: it enters a network namespace, and what runs there is seen from nowhere else. */
async function kubernetes(): Promise<readonly Row[]> {
  const script = fileURLToPath(new URL('kubernetes.js', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script], { timeout: 1_500_000 });
  const { toZeroWeight, requests, outage, mass } = Object.assign(
    {},
    ...stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Partial<KubernetesBench>),
  ) as KubernetesBench;
  const { half, five } = toZeroWeight;
  const row = (times: readonly number[]): string =>
    `median ${seconds(median(times))}, worst of ${times.length} ${seconds(Math.max(...times))}`;
  return [
    {
      what: 'Kubernetes: 50 % errors at 20 requests/s on the canary, from the first failed answer to weight 0 (looks every second)',
      measured: row(half),
      target:
        'one look + 2 s = 3 s. Argo Rollouts, looking every 10 s: 6.3 s with failureLimit 0, 32.7 s with 3; Flagger: 18.0 and 34.4 s',
      met: median(half) <= 3,
    },
    {
      what: 'Kubernetes: 5 % errors at 100 requests/s on the canary, to weight 0',
      measured: row(five),
      target: '60 s',
      met: median(five) <= 60,
    },
    {
      what: 'Kubernetes: a healthy release while Prometheus stands still for 45 s',
      measured: `${outage.held ? 'held with its weight' : '**not held**'}, then ${outage.outcome}`,
      target: 'HOLD. Argo Rollouts aborts after 42.7 s, Flagger rolls back after 35.4 s',
      met: outage.held && outage.outcome === 'completed',
    },
    {
      what: `Kubernetes: ${mass.count} canaries fail in the same moment (looks every 5 s): to weight 0`,
      measured: `p50 ${seconds(mass.p50)}, p95 ${seconds(mass.p95)}, max ${seconds(mass.max)}; worker ${mass.workerMiB.toFixed(0)} MiB`,
      target:
        'p95 one look + 3 s = 8 s, within 256 MiB. Argo Rollouts, every 10 s: p50 11.7, p95 16.7, max 20.2 s, 191 MB',
      met: mass.p95 <= 8 && mass.workerMiB <= 256,
    },
    {
      what: 'calls to the API server of a whole rollout of one stage; of one minute of soak',
      measured: `${requests.perRollout}; ${requests.perMinuteOfSoak}`,
      target: '',
      met: null,
    },
  ];
}

async function server(): Promise<readonly Row[]> {
  const load = quick
    ? { streams: 60, inFlight: 12, postSeconds: 3, postsPerSecond: 10, decisions: 24 }
    : { streams: 1000, inFlight: 200, postSeconds: 20, postsPerSecond: 50, decisions: 400 };
  const { streams, inFlight, toClient, untold, posts, postsPerSecond, bare, stolen, decisions, serverMiB } =
    await measureServer(load);
  const under = `${streams} event streams, ${inFlight} rollouts in flight`;
  const ms = (value: number): string => `${(1000 * value).toFixed(0)} ms`;
  return [
    {
      what: `server with ${under}: from a change in the workflow to the client`,
      measured: `p50 ${ms(p(toClient, 0.5))}, p95 ${ms(p(toClient, 0.95))}, max ${ms(p(toClient, 1))} of ${toClient.length}${untold > 0 ? `; **${untold} never told**` : ''}`,
      target: 'p95 1 s',
      met: p(toClient, 0.95) <= 1 && untold === 0,
    },
    {
      what: `the same: POST /runs at ${postsPerSecond} a second`,
      measured: `p50 ${ms(p(posts, 0.5))}, p99 ${ms(p(posts, 0.99))} of ${posts.length}; bare updates of the same workflows without the server, right after: p50 ${ms(p(bare, 0.5))}, p99 ${ms(p(bare, 0.99))} (the host gave ${Math.round(stolen * 100)} % of the time to others)`,
      target: 'p99 150 ms',
      met: p(posts, 0.99) <= 0.15,
    },
    {
      what: 'the same: a decision until the workflow has taken it',
      measured: `p50 ${ms(p(decisions, 0.5))}, p95 ${ms(p(decisions, 0.95))} of ${decisions.length}`,
      target: 'p95 200 ms',
      met: p(decisions, 0.95) <= 0.2,
    },
    {
      what: 'the same: memory of the server',
      measured: `${serverMiB.toFixed(0)} MiB`,
      target: '300 MiB',
      met: serverMiB <= 300,
    },
  ];
}

function report(rows: readonly Row[]): string {
  const [cpu] = cpus();
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const machine = `${cpus().length} × ${cpu?.model ?? 'unknown CPU'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, Node ${process.version}`;
  return [
    '# Benchmarks',
    '',
    `Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}, commit ${commit}. Machine: ${machine}.`,
    'Everything runs on this one machine: Temporal (SQLite), the gateway, the worker, the traffic and the clock.',
    '',
    '| what | measured | target | met |',
    '|---|---|---|---|',
    ...rows.map(
      (row) =>
        `| ${row.what} | ${row.measured} | ${row.target} | ${row.met === null ? '' : row.met ? 'yes' : '**no**'} |`,
    ),
    '',
    '## How it is measured',
    '',
    '- **Detection** (`bench/detection.ts`): the real stack, 25 % of 80 (400) requests a second on the canary, scrapes every',
    '  second: hard limits are looked at every second, statistical looks come every 4 s. The time runs from the first failed',
    '  answer of the canary that the client saw to the write of weight 0 in the gateway’s journal.',
    '- **Blindness** (`bench/blind.ts`): two workers, `kill -9` of the one that watches; the time until the gateway’s',
    '  `/metrics` is asked again.',
    '- **History** (`bench/history.ts`): a rollout on a real server with the platform in memory. Replayed 120 times by',
    '  one replayer; the median of the later 60 is given, as of a worker that has been running. The host’s other tenants',
    '  slow it down by up to a half at times: the bare workflow, replayed in the same run, says what Temporal itself costs.',
    '- **Soak and mass rollback** (`bench/fleet.ts`): Temporal, one worker and the gateway’s API are real; replicas are servers',
    '  inside the benchmark’s process, and a stand-in for Prometheus makes the counters up. From the moment in which all',
    '  canaries fail, the scrape that holds it is half good: the next one decides.',
    '- **Judge** (`bench/judge.ts`): one process, warm; SciPy by `python3`, where it is installed.',
    '- **Kubernetes** (`bench/kubernetes.ts`): a real API server with etcd and controllers, Traefik and Prometheus in a network',
    '  namespace, pods that are processes; the times are those of the API server’s audit log. In the mass test pods are only',
    '  told of, and a stand-in for Prometheus makes the counters up. The figures of Argo Rollouts and Flagger were measured',
    '  on a machine of the same kind, and not in the same run.',
    '- **Server** (`bench/server.ts`): Temporal, a worker and `slipway server` are processes of their own; the rollouts wait for',
    '  approval, and clients are in the benchmark’s process, each stream a connection. Releases are asked for at a fixed rate',
    '  (they queue behind the rollouts in flight), then rollouts are paused and resumed one by one. A change’s time is the',
    '  workflow’s own, as its story tells it, to the moment in which a client has read it.',
    '',
  ].join('\n');
}

const wanted = process.argv.slice(2).filter((word) => word !== '--quick');
const unknown = wanted.filter((name) => PARTS[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`bench: ${unknown.join(', ')} is not known; known: ${Object.keys(PARTS).join(', ')}\n`);
  process.exit(2);
}
const rows: Row[] = [];
for (const [name, measure] of Object.entries(PARTS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  process.stderr.write(`bench: ${name} …\n`);
  const found = await measure();
  for (const row of found)
    process.stdout.write(
      `${row.what}: ${row.measured}${row.target === '' ? '' : ` (target ${row.target}${row.met === false ? ', NOT met' : ''})`}\n`,
    );
  rows.push(...found);
}
if (wanted.length === 0) await writeFile('docs/benchmarks.md', report(rows));
process.exit(0);
