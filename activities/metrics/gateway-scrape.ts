import path from 'node:path';
import type { ArmSamples } from '../../domain/canary/types.js';
import type { Arm, LaneRef } from '../../domain/target.js';
import { reasonOf } from './metrics-source.js';
import type { MetricsQuery, MetricsSource } from './metrics-source.js';
import { parsePrometheusText } from './prometheus-text.js';
import type { TextSample } from './prometheus-text.js';
import { ScrapeFile } from './scrape-file.js';
import type { ScrapeRow } from './scrape-file.js';

const REQUESTS = 'slipway_gateway_requests_total';
const BUCKETS = 'slipway_gateway_request_duration_seconds_bucket';

export interface GatewaySourceOptions {
  /** Folder of the scrapes, shared by all workers. */
  readonly scrapeDir: string;
  /** Limit for one scrape, body included, ms. @default 2500 */
  readonly timeoutMs?: number;
}

/** Where no Prometheus is: reads the local gateway's own `/metrics`, and keeps what it has read. */
export function createGatewaySource({ scrapeDir, timeoutMs = 2500 }: GatewaySourceOptions): MetricsSource {
  const files = new Map<string, ScrapeFile>();
  /** Under way, by gateway and by file: many watches that ask at once share one scrape, and one row of it. */
  const scrape = shared((gateway: string) => fetchMetrics(gateway, timeoutMs));
  const topUp = shared(
    async (name: string, file: ScrapeFile, gateway: string, { lane, toMs, stepMs }: MetricsQuery) => {
      const last = (await file.read(toMs)).at(-1)?.t ?? -Infinity;
      if (toMs - last >= stepMs * 0.9) await file.append(rowOf(lane, await scrape(gateway), Date.now()));
    },
  );

  return {
    async samples(query, signal) {
      const { lane, target, arms, fromMs, stepMs } = query;
      if (target.platform !== 'local')
        return {
          kind: 'unreachable',
          reason: `${target.platform} has no gateway with metrics: set metrics.prometheus`,
        };
      const name = `${lane.environment}~${lane.service}.jsonl`;
      const file = files.get(name) ?? new ScrapeFile(path.join(scrapeDir, name));
      files.set(name, file);
      try {
        await topUp(name, file, target.gateway, query);
      } catch (error) {
        if (signal.aborted && !(signal.reason instanceof Error && signal.reason.name === 'TimeoutError')) throw error;
        return { kind: 'unreachable', reason: `${new URL(target.gateway).origin}/metrics: ${reasonOf(error)}` };
      }
      const now = Date.now();
      const rows = spaced(await file.read(now), stepMs).filter((row) => row.t >= fromMs && row.t <= now);
      if (rows.length === 0) return { kind: 'value', arms: {} };
      const found = arms.flatMap(({ arm, version }) => {
        const samples = armSamples(rows, arm, version);
        return samples === null ? [] : [[arm, samples] as const];
      });
      if (found.length > 0)
        return { kind: 'value', arms: Object.fromEntries(found) as Partial<Record<Arm, ArmSamples>> };
      return {
        kind: 'no-data',
        detail: `the gateway has counted no request yet of ${arms.map(({ arm, version }) => `${arm} (${version})`).join(' and ')}`,
      };
    },
  };
}

/** `work`, run once at a time for each key: who asks while it runs gets the same result. */
function shared<Rest extends readonly unknown[], Result>(
  work: (key: string, ...rest: Rest) => Promise<Result>,
): (key: string, ...rest: Rest) => Promise<Result> {
  const running = new Map<string, Promise<Result>>();
  return (key, ...rest) => {
    const begun = running.get(key) ?? work(key, ...rest).finally(() => running.delete(key));
    running.set(key, begun);
    return begun;
  };
}

async function fetchMetrics(gateway: string, timeoutMs: number): Promise<readonly TextSample[]> {
  const response = await fetch(new URL('/metrics', gateway), {
    signal: AbortSignal.timeout(timeoutMs),
    redirect: 'error',
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`answered ${response.status}`);
  return parsePrometheusText(text, (name) => name === REQUESTS || name === BUCKETS);
}

/** The counters of one lane, summed over status codes. */
function rowOf({ environment, service }: LaneRef, samples: readonly TextSample[], t: number): ScrapeRow {
  const mine = samples.filter(({ labels }) => labels['environment'] === environment && labels['service'] === service);
  const arms = new Map<string, ScrapeRow['arms'][number]>();
  for (const { name, labels, value } of mine) {
    const { arm, version = '', code = '', le = '' } = labels;
    if (arm !== 'stable' && arm !== 'canary' && arm !== 'baseline') continue;
    const key = `${arm} ${version}`;
    const entry = arms.get(key) ?? { arm, version, requests: 0, errors: 0, le: [], buckets: [] };
    arms.set(key, entry);
    if (name === REQUESTS) {
      entry.requests += value;
      if (code.startsWith('5')) entry.errors += value;
    } else {
      entry.le.push(le === '+Inf' ? null : Number(le));
      entry.buckets.push(value);
    }
  }
  return { t, arms: [...arms.values()] };
}

/** Twins may scrape at once: of two rows closer than half a step the first one stays. */
function spaced(rows: readonly ScrapeRow[], stepMs: number): readonly ScrapeRow[] {
  const kept: ScrapeRow[] = [];
  for (const row of rows) {
    const last = kept.at(-1);
    if (last === undefined || row.t - last.t >= stepMs / 2) kept.push(row);
  }
  return kept;
}

function armSamples(rows: readonly ScrapeRow[], arm: Arm, version: string): ArmSamples | null {
  const found = rows.map((row) => row.arms.find((each) => each.arm === arm && each.version === version) ?? null);
  const withBuckets = found.find((each) => each !== null && each.le.length > 0) ?? null;
  if (found.every((each) => each === null)) return null;
  return {
    timesMs: rows.map((row) => row.t),
    leSeconds: withBuckets?.le ?? [],
    series: [
      {
        instance: 'gateway',
        requests: found.map((each) => each?.requests ?? null),
        errors: found.map((each) => each?.errors ?? null),
        buckets:
          withBuckets === null
            ? []
            : found.map((each) =>
                each !== null && each.buckets.length === withBuckets.le.length ? each.buckets : null,
              ),
      },
    ],
  };
}
