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
  /**
   * Further metrics of the arm as a whole, by name: one value a scrape, as `timesMs`; `null` where there was none. A gauge,
   * a mean, or a quantile that a query computed; which of them count, and how, says `AnalysisPolicy.metrics`.
   */
  readonly values?: Readonly<Record<string, readonly (number | null)[]>>;
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
  /** Of further metrics, by name; those that are not here have no noise but chance. @default {} */
  readonly metrics?: Readonly<Record<string, MetricNoise>>;
}

/** How far apart a further metric of equal arms is, beyond what chance explains. */
export interface MetricNoise {
  /** Pairs of equal arms that had values of it. */
  readonly pairs: number;
  /** What was learned, as `Tolerance.kind`; a metric whose tolerance is of the other kind is judged without it. */
  readonly kind: Tolerance['kind'];
  /** Standard deviation of the logarithm of the ratio, or of the difference in the metric's own unit. */
  readonly sd: number;
}

/** Which change of a metric is for the worse. */
export const DIRECTIONS = ['increase', 'decrease', 'either'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** The smallest change of a metric that matters. */
export type Tolerance =
  /** Times (or, downwards, a part) of the comparison's value: 1.2 for 20 % more. Above 1; for values that are not below 0. */
  | { readonly kind: 'ratio'; readonly ratio: number }
  /** In the metric's own unit, 0 or more: for values that may be 0. */
  | { readonly kind: 'difference'; readonly difference: number };

/** A metric beyond errors and latency, judged by the `values` of both arms. */
export interface MetricPolicy {
  /** As in `ArmSamples.values`. */
  readonly name: string;
  /** The change that is for the worse. @default 'increase' */
  readonly direction: Direction;
  /**
   * May roll back by itself, and must be known before a PROMOTE. A metric that is not critical is advisory: `sequential`
   * and `mann-whitney` show what it says and don't follow it. In `kayenta` a failed critical metric makes the score 0.
   * @default true
   */
  readonly critical: boolean;
  /** Its part in its group's score; `kayenta` only. @default 1 */
  readonly weight: number;
  /** What `sequential` holds a change against. @default { kind: 'ratio', ratio: 1.2 } */
  readonly tolerance: Tolerance;
  /** What the canary's value must not be below or above, in the metric's own unit; `threshold` only. @default null */
  readonly min: number | null;
  readonly max: number | null;
}

/** When a stage may be promoted before its duration is up, if the canary has been shown to be no worse by then. */
export interface EarlyPromotion {
  /** The stage's least time, ms: nothing is promoted before. */
  readonly afterMs: number;
}

/** The metrics that every service has, counted or read from its counters. */
export const BUILT_IN_METRICS = ['error-rate', 'latency-p99'] as const;

/** Constants of the `threshold` judge. */
export interface ThresholdPolicy {
  /**
   * `flagger`: a check fails if any limit is broken or the data is missing; failed checks add up and are never reset; the
   * canary has failed when there are `failureLimit`. `argo`: each limit counts for itself; it has failed when more than
   * `failureLimit` of its measurements broke it, or more than `consecutiveErrorLimit` in a row had no data.
   * @default 'flagger'
   */
  readonly counting: 'flagger' | 'argo';
  /** Time before the first measurement's window begins, ms. @default 0 */
  readonly initialDelayMs: number;
  /** Time from one measurement to the next, ms. @default 60000 */
  readonly intervalMs: number;
  /** What a measurement looks back on, ms. @default 60000 */
  readonly windowMs: number;
  /** @default 5 */
  readonly failureLimit: number;
  /** `argo` only. @default 4 */
  readonly consecutiveErrorLimit: number;
  /** Measurements after which it is enough; a PROMOTE waits for them. `null`: as many as the stage has room for. @default null */
  readonly count: number | null;
  /** Share of successful requests, 0 to 1, that the canary must reach; `null` for no limit. @default 0.99 */
  readonly minSuccessRate: number | null;
  /** p99 in seconds that the canary must not exceed; `null` for no limit. @default 0.5 */
  readonly maxP99Seconds: number | null;
}

/** How `kayenta` classifies one metric. */
export interface KayentaMetric {
  /** One of `BUILT_IN_METRICS`, or the name of one of `AnalysisPolicy.metrics`. */
  readonly name: string;
  /** Groups that it counts in. @default ['all'] */
  readonly groups: readonly string[];
  /** Its part in each group's score. Kayenta itself knows only 1. @default 1 */
  readonly weight: number;
  /** @default 'either' */
  readonly direction: Direction;
  /** Failed beyond `criticalIncrease` or `criticalDecrease`, or without data, it makes the whole score 0. @default false */
  readonly critical: boolean;
  /** Without data it counts as failed instead of not at all. @default false */
  readonly mustHaveData: boolean;
  /** What stands for a value that is missing: nothing, or 0. @default 'remove' */
  readonly nanStrategy: 'remove' | 'replace';
  readonly outliers: {
    /** @default 'keep' */
    readonly strategy: 'keep' | 'remove';
    /** Interquartile ranges beyond the quartiles from which a value is an outlier. @default 3 */
    readonly factor: number;
  };
  /** Classified as High or Low only if the effect reaches these. */
  readonly effect: {
    /** `meanRatio`: mean of the canary / mean of the comparison. `cles`: P(canary's > comparison's), ties half. @default 'meanRatio' */
    readonly measure: 'meanRatio' | 'cles';
    /** Defaults: 1 for `meanRatio`, 0.5 for `cles`, which is no guard at all. */
    readonly allowedIncrease: number;
    readonly allowedDecrease: number;
    readonly criticalIncrease: number;
    readonly criticalDecrease: number;
  };
}

/** Constants of the `kayenta` judge. */
export interface KayentaPolicy {
  /** Confidence of the interval of the shift, 0 to 1. @default 0.98 */
  readonly confidenceLevel: number;
  /** Part of the estimated shift that its interval must stay clear of 0 by. @default 0.25 */
  readonly tolerance: number;
  /** Time before the first value counts, ms. @default 0 */
  readonly delayMs: number;
  /** Time from one run to the next, ms; the stage's end is a run too. @default 300000 */
  readonly intervalMs: number;
  /** Time that one value stands for, ms; `null`: one scrape interval. Spinnaker's own default is 60000. @default null */
  readonly stepMs: number | null;
  /** What a run looks back on, ms; `null`: all since the start. @default null */
  readonly lookbackMs: number | null;
  /** Score, 0 to 100, that the last run must reach. @default 95 */
  readonly passScore: number;
  /** Score below which any run fails. @default 75 */
  readonly marginalScore: number;
  /** The metrics that are scored; of `AnalysisPolicy.metrics` those that are not here have the defaults. */
  readonly metrics: readonly KayentaMetric[];
  /** Percent of the summary score by group; groups without share the rest evenly. @default {} */
  readonly groupWeights: Readonly<Record<string, number>>;
}

/**
 * How a canary is judged. All times are in ms; `formats` derives their defaults from the scrape interval.
 */
export interface AnalysisPolicy {
  /**
   * `sequential`: the default. `mann-whitney`: the rule that many people know, see semantics.md. `threshold`: limits
   * alone, as Argo Rollouts and Flagger have them. `kayenta`: classes and scores as Spinnaker's NetflixACAJudge has them.
   */
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
  /**
   * `sequential` may promote a stage before its duration is up; left out: it may not. A release whose fault begins later
   * than that is then not seen in this stage.
   */
  readonly earlyPromotion?: EarlyPromotion;
  /** How far apart arms of one version are at this service; widens tolerances and guards of `sequential`. @default null */
  readonly noiseFloor: NoiseFloor | null;
  readonly limits: HardLimits;
  /** Further metrics. @default [] */
  readonly metrics: readonly MetricPolicy[];
  readonly threshold: ThresholdPolicy;
  readonly kayenta: KayentaPolicy;
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

export const JUDGES = ['sequential', 'mann-whitney', 'threshold', 'kayenta'] as const;
export type JudgeName = (typeof JUDGES)[number];

/** One question to the judge: "what do these samples say, as of `atMs`?" */
export interface JudgeInput {
  readonly policy: AnalysisPolicy;
  /** When both arms were ready and the weight was set: nothing earlier counts, ms since the epoch. */
  readonly startMs: number;
  /** Now, ms since the epoch; samples after it are ignored. */
  readonly atMs: number;
  /** The planned length of this stage, ms. A PROMOTE is not given before it is up, but for `policy.earlyPromotion`. */
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
  /** `error-rate`, `latency-p99`, `hard-limit`, `traffic-split`, `score`, or the name of a further metric. */
  readonly metric: string;
  readonly verdict: VerdictKind;
  /** The metric's value on each arm, in its own unit. */
  readonly canary: number | null;
  readonly comparison: number | null;
  /** `ratio`, `seconds`, `share`, `score`; `value` for further metrics, in their own unit. */
  readonly unit: string;
  /** Requests (or blocks, for rank tests) that the finding rests on. */
  readonly canaryN: number;
  readonly comparisonN: number;
  /** Name of the test: `mann-whitney`, `fisher-exact`, `score`, `limit`, `binomial`, `shift-interval`, `none`. */
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
  /** The verdict is shown but not followed: the metric is not critical. Left out where it is. */
  readonly advisory?: true;
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
