/**
 * What the judge is given and what it says. All of it is plain JSON, so that a decision record can be judged again
 * offline (`slipway judge`) and a verdict can travel through a workflow's history.
 */

/** The arms that a judge compares: the new version, and what it is compared with. */
export type JudgedArm = 'canary' | 'comparison';

/**
 * Raw cumulative counters of one process (pod) of an arm, as scraped: they only grow, except when the process restarts
 * (a reset). `null` is a scrape that is missing. All arrays are as long as `ArmSamples.timesMs`.
 */
export interface CounterSeries {
  /** Pod, process or instance: what resets on its own. */
  readonly instance: string;
  /** Requests answered so far. */
  readonly requests: readonly (number | null)[];
  /** Of these, the failed ones. */
  readonly errors: readonly (number | null)[];
  /**
   * Cumulative latency histogram: `buckets[i][k]` requests took at most `leSeconds[k]` by scrape i. The last bound may
   * be `null`: +Inf. `null` in place of a row is a missing scrape. Empty where the service has no histogram.
   */
  readonly buckets: readonly (readonly number[] | null)[];
}

/** All that is known of one arm over a window. */
export interface ArmSamples {
  /** Instants of the scrapes, ms since the epoch, ascending. */
  readonly timesMs: readonly number[];
  /** Upper bounds of the latency buckets in seconds, ascending; the last is `null` for +Inf. */
  readonly leSeconds: readonly (number | null)[];
  readonly series: readonly CounterSeries[];
}

/** Limits that one arm must keep by itself; they are checked at every sample. */
export interface HardLimits {
  /** Share of failed requests (0 to 1) above which the canary is stopped if the comparison is not above it too. */
  readonly maxErrorRate: number | null;
  /** p99 latency in seconds above which the canary is stopped if the comparison is not above it too. */
  readonly maxP99Seconds: number | null;
  /** Share of failed requests at which the canary is stopped whatever the comparison does. @default 0.5 */
  readonly catastrophicErrorRate: number;
  /** Requests of the canary that a hard limit needs before it may speak. @default 20 */
  readonly minRequests: number;
  /** Window that hard limits look at, ms. @default 2 scrape intervals, 5 s at least */
  readonly windowMs: number;
}

/**
 * What tells apart two arms of the same version of a service: other nodes, other pods, other users. Learned from what was
 * seen, see `learnNoiseFloor`.
 */
export interface NoiseFloor {
  /** Pairs of equal arms that it was learned from. */
  readonly pairs: number;
  /** Standard deviation of ln(p99 of one / p99 of the other), whole stages. */
  readonly latencyLogSd: number;
  /** Standard deviation of ln(error rate of one / error rate of the other), beyond what chance explains. */
  readonly errorLogSd: number;
}

/**
 * How a canary is judged. All times are in ms; `formats` derives their defaults from the scrape interval.
 */
export interface AnalysisPolicy {
  /** `sequential`: the default. `mann-whitney`: the rule that many people know, see semantics.md. */
  readonly judge: JudgeName;
  /** Interval of the scrapes that the samples come from, ms. @default 15000 */
  readonly scrapeIntervalMs: number;
  /** Samples of the first moments after an arm became ready are left out (caches, JIT). @default 4 scrapes; 8 if compared with stable */
  readonly warmUpMs: number;
  /** The grid on which statistical error is spent: one look every so often. @default 4 scrapes */
  readonly lookEveryMs: number;
  /** Probability, over the whole rollout, of rolling back a release that is as good as stable. @default 0.01 */
  readonly errorBudget: number;
  /** Smallest rise of the error rate that matters, absolute share. @default 0.002 */
  readonly minErrorIncrease: number;
  /** Smallest ratio of error rates that matters. @default 1.4 */
  readonly minErrorRatio: number;
  /** Smallest ratio of p99 latencies that matters. @default 1.18 */
  readonly minLatencyRatio: number;
  /** Rise of the error rate that may remain undetected in a PROMOTE, absolute share. @default 0.004 */
  readonly errorMargin: number;
  /** Ratio of p99 latencies that may remain undetected in a PROMOTE. @default 1.2 */
  readonly latencyMargin: number;
  /** Requests that each arm must have served in the stage before a PROMOTE. @default 100 */
  readonly minRequests: number;
  /** How far apart arms of one version are at this service; widens tolerances and guards of `sequential`. @default null */
  readonly noiseFloor: NoiseFloor | null;
  readonly limits: HardLimits;
  /** Constants of the `mann-whitney` rule. */
  readonly mannWhitney: {
    /** Length of a window, ms. @default 900000 */
    readonly windowMs: number;
    /** Time from one check to the next, ms. @default 300000 */
    readonly checkEveryMs: number;
    /** Number of checks; undecided after the last is a HOLD. @default 3 */
    readonly checks: number;
    /** ROLLBACK below this p on either metric. @default 0.05 */
    readonly rollbackP: number;
    /** PROMOTE above this p on both metrics. @default 0.3 */
    readonly promoteP: number;
    /** Absolute rise of the error rate that is too much by itself. @default 0.05 */
    readonly maxErrorIncrease: number;
    /** Ratio of p99 that is too much by itself. @default 1.3 */
    readonly maxLatencyRatio: number;
    /** Success rate that the canary must reach. @default 0.995 */
    readonly minSuccessRate: number;
  };
}

export const JUDGES = ['sequential', 'mann-whitney'] as const;
export type JudgeName = (typeof JUDGES)[number];

/** One question to the judge: "what do these samples say, as of `atMs`?" */
export interface JudgeInput {
  readonly policy: AnalysisPolicy;
  /** When both arms were ready and the weight was set: nothing earlier counts, ms since the epoch. */
  readonly startMs: number;
  /** Now, ms since the epoch; samples after it are ignored. */
  readonly atMs: number;
  /** The planned length of this stage, ms. A PROMOTE is not given before it is up. */
  readonly durationMs: number;
  /** Share of the rollout's error budget that this stage may spend, 0 to 1 (the plan divides it over the stages). */
  readonly budgetShare: number;
  /** The canary's intended share of the requests of both arms, 0 to 1; `null` where the arms are not fed by one split. */
  readonly expectedShare: number | null;
  readonly canary: ArmSamples;
  /** Baseline or stable. `null`: nothing to compare with (canary at 100 %): hard limits alone speak. */
  readonly comparison: ArmSamples | null;
}

export type VerdictKind = 'PROMOTE' | 'HOLD' | 'ROLLBACK';

/** Why a HOLD is held; the workflow treats each otherwise. */
export type HoldReason =
  /** The stage is not over yet and nothing is wrong: keep looking. */
  | 'watching'
  /** Too few requests to say anything. */
  | 'insufficient-data'
  /** No sample of the canary in the recent window: it can't be seen. */
  | 'no-data'
  /** The stage is over and the evidence suffices neither for a rollback nor for a promotion. */
  | 'inconclusive'
  /** Both arms are hurt alike: a shared incident is not the canary's fault. */
  | 'shared-incident'
  /** Requests are not split as the weights say. */
  | 'split-mismatch';

/** What one metric said. Numbers are `null` where they can't be had. */
export interface MetricFinding {
  /** `error-rate`, `latency-p99`, `hard-limit`, `traffic-split`. */
  readonly metric: string;
  readonly verdict: VerdictKind;
  /** The metric's value on each arm, in its own unit. */
  readonly canary: number | null;
  readonly comparison: number | null;
  /** `ratio`, `seconds`, `share`. */
  readonly unit: string;
  /** Requests (or blocks, for rank tests) that the finding rests on. */
  readonly canaryN: number;
  readonly comparisonN: number;
  /** Name of the test: `mann-whitney`, `fisher-exact`, `score`, `limit`, `binomial`. */
  readonly test: string;
  /** U or z, by the test. */
  readonly statistic: number | null;
  readonly p: number | null;
  /** The p below which the metric speaks for ROLLBACK at this look. */
  readonly alpha: number | null;
  /** Effect size: difference of rates, or ratio of quantiles. */
  readonly effect: number | null;
  /** The limit that the effect is held against. */
  readonly threshold: number | null;
  /** One sentence with the arithmetic, for a tired person. */
  readonly why: string;
}

/** What the judge says, and why: never bare. */
export interface Verdict {
  readonly kind: VerdictKind;
  /** Only on HOLD. */
  readonly hold: HoldReason | null;
  /** One sentence: what tipped it, with the numbers. */
  readonly summary: string;
  readonly findings: readonly MetricFinding[];
  /** Instant of the data that it rests on, ms since the epoch. */
  readonly atMs: number;
  /** Number of the statistical look on the grid (0: none yet). */
  readonly look: number;
  readonly judge: JudgeName;
  readonly judgeVersion: string;
  /** Digest of the `JudgeInput`, so that a record names exactly what was judged. */
  readonly inputDigest: string;
}
