import { replay } from './replay.js';
import type { AnalysisPolicy, ArmSamples } from './types.js';

/** Traffic that an arm is expected to have. */
export interface ExpectedTraffic {
  /** Requests a second of the canary, and of what it is compared with. */
  readonly canaryPerSecond: number;
  readonly comparisonPerSecond: number;
  /** Share of requests that fail today, 0 to 1. */
  readonly errorRate: number;
}

/** The stage that is foreseen, as the judge will be asked about it. */
export interface ForeseenStage {
  readonly policy: AnalysisPolicy;
  readonly durationMs: number;
  readonly budgetShare: number;
}

/** Further than this nobody waits; in scrapes, as each costs a look. */
const MAX_SCRAPES = 600;

/**
 * How long a stage needs until the judge rolls back a release whose error rate is higher by `rise` (absolute share), ms
 * from its start; `null`: not within `foresightMs`. It is asked itself, about counts that are exactly as expected: about
 * half of the real rollouts take longer.
 */
export function timeToSee(stage: ForeseenStage, traffic: ExpectedTraffic, rise: number): number | null {
  const { policy } = stage;
  const untilMs = foresightMs(stage);
  const scrapes = Math.floor(untilMs / policy.scrapeIntervalMs);
  const { canaryPerSecond, comparisonPerSecond, errorRate } = traffic;
  const arm = (perSecond: number, failing: number): ArmSamples => {
    const requests = Array.from({ length: scrapes + 1 }, (_, i) =>
      Math.round((perSecond * i * policy.scrapeIntervalMs) / 1000),
    );
    return {
      timesMs: requests.map((_, i) => i * policy.scrapeIntervalMs),
      leSeconds: [],
      series: [
        {
          instance: 'expected',
          requests,
          errors: requests.map((count) => Math.round(count * Math.min(1, failing))),
          buckets: [],
        },
      ],
    };
  };
  const { kind, atMs } = replay(
    {
      ...stage,
      startMs: 0,
      expectedShare: null,
      canary: arm(canaryPerSecond, errorRate + rise),
      comparison: arm(comparisonPerSecond, errorRate),
    },
    untilMs,
  );
  return kind === 'ROLLBACK' ? atMs : null;
}

/** How far `timeToSee` looks, ms: the stage, and as long again if it is held; less where scrapes are frequent. */
export function foresightMs({ policy, durationMs }: ForeseenStage): number {
  return Math.min(2 * durationMs, MAX_SCRAPES * policy.scrapeIntervalMs);
}
