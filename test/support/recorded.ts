import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson, digestOfText } from '../../domain/canonical.js';
import { defaultAnalysis } from '../../domain/canary/defaults.js';
import { judge } from '../../domain/canary/judge.js';
import { replay } from '../../domain/canary/replay.js';
import type { AnalysisPolicy, JudgeInput, Verdict } from '../../domain/canary/types.js';
import { evidencePath } from '../../formats/evidence.js';
import { scrape, startMs } from '../domain/canary/simulate.js';
import { seededRandom } from '../../bench/canary/random.js';
import type { Service } from '../domain/canary/simulate.js';

const INTERVAL_MS = 15_000;

export interface Recorded {
  readonly canary: Service;
  readonly comparison: Service;
  readonly minutes?: number;
  readonly policy?: Partial<AnalysisPolicy>;
  readonly budgetShare?: number;
  readonly seed?: number;
}

/** What a watch would have stored of a stage of 15 minutes: the question at which its verdict fell, or the last one. */
export function recordedInput(recorded: Recorded): JudgeInput {
  const { minutes = 15, policy = {}, budgetShare = 1, seed = 7 } = recorded;
  const random = seededRandom(seed);
  const times = { startMs, scrapes: minutes * 4, intervalMs: INTERVAL_MS };
  const recording = {
    policy: { ...defaultAnalysis(INTERVAL_MS), ...policy },
    startMs,
    durationMs: 900_000,
    budgetShare,
    expectedShare: null,
    canary: scrape(recorded.canary, times, random),
    comparison: scrape(recorded.comparison, times, random),
  };
  const untilMs = startMs + minutes * 60_000;
  const { atMs } = replay(recording, untilMs);
  return { ...recording, atMs };
}

export const ARMS = {
  good: {
    canary: { requestsPerSecond: 20, errorRate: 0.002 },
    comparison: { requestsPerSecond: 20, errorRate: 0.002 },
  },
  bad: { canary: { requestsPerSecond: 20, errorRate: 0.05 }, comparison: { requestsPerSecond: 20, errorRate: 0.002 } },
  slow: {
    canary: { requestsPerSecond: 20, errorRate: 0.002, latencyFactor: 1.5 },
    comparison: { requestsPerSecond: 20, errorRate: 0.002 },
  },
  held: { canary: { requestsPerSecond: 8, errorRate: 0.006 }, comparison: { requestsPerSecond: 8, errorRate: 0.002 } },
  quiet: {
    canary: { requestsPerSecond: 0.05, errorRate: 0 },
    comparison: { requestsPerSecond: 0.05, errorRate: 0 },
  },
} as const satisfies Record<string, Pick<Recorded, 'canary' | 'comparison'>>;

/** An evidence folder with a decision record in it, as workers leave them. */
export async function recordFolder(
  folder: string,
  stages: Readonly<Record<string, JudgeInput>>,
  change: (verdict: Verdict) => Verdict = (verdict) => verdict,
  names: { readonly service?: string; readonly releaseName?: string } = {},
): Promise<{ readonly record: string; readonly evidence: Readonly<Record<string, string>> }> {
  const evidence: Record<string, string> = {};
  const verdicts = [];
  for (const [stage, input] of Object.entries(stages)) {
    evidence[stage] = await put(folder, input);
    verdicts.push({ stage, verdict: change(judge(input)), evidence: evidence[stage] });
  }
  const { service = 'hello', releaseName = 'v2' } = names;
  const lane = { environment: 'local', service };
  const view = { rolloutId: '3f2a9c1e5b7d8f00', lane, releaseName, outcome: 'completed', verdicts };
  const digest = await put(folder, { version: 1, view, decisions: [], slipway: { version: '0.0.1' } });
  return { record: path.join(folder, evidencePath(digest) ?? ''), evidence };
}

async function put(folder: string, value: unknown): Promise<string> {
  const text = canonicalJson(value);
  const digest = digestOfText(text);
  const file = path.join(folder, evidencePath(digest) ?? '');
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, text);
  return digest;
}
