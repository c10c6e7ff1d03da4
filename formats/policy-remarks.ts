import { approvalRemarks } from './approval-policy.js';
import { earliestEndMs } from '../domain/canary/early-promotion.js';
import { BUILT_IN_METRICS } from '../domain/canary/types.js';
import type { AnalysisPolicy, MetricPolicy, ThresholdPolicy } from '../domain/canary/types.js';
import type { MetricsPolicy, Policy } from '../domain/policy.js';
import type { Target } from '../domain/target.js';
import { formatDuration } from './duration.js';
import { DEFAULT_VERIFY_MS } from './slipway-schema.js';
import { pathText } from './yaml-problems.js';
import type { Problem } from './yaml-problems.js';
import type { YamlPath, YamlSource } from './yaml-source.js';

const SHORT_ROLLOUT_MS = 5 * 60_000;

/** Something about the keys of an environment together. */
export interface Remark {
  /** Below the environment. */
  readonly path: YamlPath;
  readonly what: string;
  readonly remedy: string;
}

/** Shows a remark where its key is written: in the environment, else under `defaults`, else at the environment. */
export function placed({ path, what, remedy }: Remark, policy: Policy, source: YamlSource): Problem {
  const own: YamlPath = ['environments', policy.lane.environment, ...path];
  const shared: YamlPath = ['defaults', ...path];
  const at = !source.has(own) && source.has(shared) ? shared : own;
  const name = pathText(own);
  return { path: name, ...source.locate(at, 'key'), message: `${name}: ${what}`, remedy };
}

/** Keys that contradict each other. */
export function conflictsOf(policy: Policy): readonly Remark[] {
  const { analysis, risk, metrics, target } = policy;
  const remarks: Remark[] = [...approvalRemarks(policy, 'conflict')];
  if (target.platform !== 'local' && metrics.source === 'gateway') {
    const what = "gateway is the local gateway's own metrics, and there is none here";
    const remedy = 'write { prometheus: https://prometheus.example.com, queries: traefik }';
    remarks.push({ path: ['metrics'], what, remedy });
  }
  const indistinct = metrics.source === 'prometheus' && metrics.queries === 'opentelemetry-http';
  if (indistinct && target.platform !== 'kubernetes' && policy.compareWith === 'baseline') {
    const what = 'opentelemetry-http tells arms apart by their version here, and a baseline has that of stable';
    const remedy = 'write compareWith: stable, or queries of your own with {{arm}} in them';
    remarks.push({ path: ['metrics', 'queries'], what, remedy });
  }
  const { scrapeIntervalMs: scrape, mannWhitney } = analysis;
  const tooShort = (path: YamlPath, ms: number): void => {
    if (ms >= scrape) return;
    const what = `${formatDuration(ms)} is shorter than the scrape interval of ${formatDuration(scrape)}`;
    remarks.push({ path: ['analysis', ...path], what, remedy: `write ${formatDuration(scrape)} or more` });
  };
  tooShort(['lookEvery'], analysis.lookEveryMs);
  tooShort(['limits', 'window'], analysis.limits.windowMs);
  tooShort(['mannWhitney', 'checkEvery'], mannWhitney.checkEveryMs);
  tooShort(['mannWhitney', 'window'], mannWhitney.windowMs);
  if (analysis.judge === 'threshold') {
    tooShort(['threshold', 'interval'], analysis.threshold.intervalMs);
    tooShort(['threshold', 'window'], analysis.threshold.windowMs);
  }
  if (mannWhitney.rollbackP >= mannWhitney.promoteP) {
    const what = `${mannWhitney.rollbackP} is not below promoteP, ${mannWhitney.promoteP}`;
    remarks.push({ path: ['analysis', 'mannWhitney', 'rollbackP'], what, remedy: 'write a p below promoteP' });
  }
  remarks.push(...metricConflicts(analysis, metrics));
  const rising = [
    ['canary25From', risk.canary25From],
    ['canary10From', risk.canary10From],
    ['canary5From', risk.canary5From],
  ] as const;
  for (const [index, [key, from]] of rising.entries()) {
    const before = rising[index - 1];
    if (before === undefined || from >= before[1]) continue;
    const remedy = 'let canary25From, canary10From and canary5From rise in this order: more risk, more care';
    remarks.push({ path: ['risk', key], what: `${from} is below ${before[0]}, ${before[1]}`, remedy });
  }
  return remarks;
}

/** Metrics that can't be had, or are not told apart, and keys of judges that contradict each other. */
function metricConflicts(
  { metrics: further, threshold, kayenta, judge }: AnalysisPolicy,
  source: MetricsPolicy,
): readonly Remark[] {
  const remarks: Remark[] = [];
  const remark = (path: YamlPath, what: string, remedy: string): void => {
    remarks.push({ path: ['analysis', ...path], what, remedy });
  };
  if (further.length > 0 && source.source === 'gateway') {
    const what = 'their queries are for a Prometheus server, and metrics come from the local gateway';
    remark(['metrics'], what, 'write metrics: { prometheus: http://127.0.0.1:9090 }, or remove the list');
  }
  const known = new Set<string>(BUILT_IN_METRICS);
  for (const [index, { name, min, max }] of further.entries()) {
    if (known.has(name)) remark(['metrics', index, 'name'], `there is another metric ${name}`, 'write another name');
    known.add(name);
    if (min !== null && max !== null && min > max)
      remark(['metrics', index, 'min'], `${min} is above max, ${max}: no value keeps both`, `write ${max} or less`);
  }
  for (const [index, { name }] of kayenta.metrics.entries()) {
    if (known.has(name)) continue;
    remark(
      ['kayenta', 'metrics', index, 'name'],
      `there is no metric ${name}`,
      `write one of ${[...known].join(', ')}`,
    );
  }
  if (kayenta.marginalScore > kayenta.passScore) {
    const what = `${kayenta.marginalScore} is above pass, ${kayenta.passScore}`;
    remark(['kayenta', 'marginal'], what, `write ${kayenta.passScore} or less`);
  }
  if (!(kayenta.confidenceLevel > 0 && kayenta.confidenceLevel < 1))
    remark(['kayenta', 'confidenceLevel'], `${kayenta.confidenceLevel} leaves no interval`, 'write 0.98');
  const weights = Object.values(kayenta.groupWeights).reduce((sum, weight) => sum + weight, 0);
  if (weights > 100)
    remark(['kayenta', 'groupWeights'], `they add up to ${weights} %`, 'let them add up to 100 at most');
  if (judge === 'threshold' && limitless(threshold, further)) {
    const what = 'minSuccessRate and maxP99 are off, and no metric has min or max: the judge can never decide';
    remark(['threshold'], what, 'write a limit, or another judge');
  }
  return remarks;
}

function limitless({ minSuccessRate, maxP99Seconds }: ThresholdPolicy, further: readonly MetricPolicy[]): boolean {
  const limited = further.some(({ min, max }) => min !== null || max !== null);
  return minSuccessRate === null && maxP99Seconds === null && !limited;
}

/** What is allowed, but seldom meant. */
export function warningsOf(policy: Policy): readonly Remark[] {
  const { approval, analysis, tier, stages, strategy, verifyMs, promote } = policy;
  const elsewhere = !isThisMachine(policy.target);
  const remarks: Remark[] = [...approvalRemarks(policy, 'warning')];
  if (approval.allowUnverified && elsewhere) {
    const what = 'true lets anyone who reaches Temporal approve, under any name, on a machine that is not this one';
    remarks.push({
      path: ['approval', 'allowUnverified'],
      what,
      remedy: 'remove it: decisions then need the server’s signature',
    });
  }
  if (!approval.excludeAuthor && elsewhere) {
    const what = 'false lets authors approve their own changes';
    remarks.push({
      path: ['approval', 'excludeAuthor'],
      what,
      remedy: 'remove it, if there is a second person to ask',
    });
  }
  if (approval.required === 'never' && tier === 0) {
    const what = 'never, for a service of tier 0: no change of the most critical services is seen by a second person';
    remarks.push({ path: ['approval', 'required'], what, remedy: 'write risk or always' });
  }
  if (strategy === 'direct' && tier === 0) {
    const what =
      'direct, for a service of tier 0: a change meets all traffic at once, unless its risk is seen beforehand';
    remarks.push({ path: ['strategy'], what, remedy: 'write auto, or a canary strategy' });
  }
  if (verifyMs === 0 && promote === 'verified') {
    const what = '0s: stable is replaced as soon as the canary has all traffic, when going back takes longest';
    remarks.push({ path: ['verify'], what, remedy: `write ${formatDuration(DEFAULT_VERIFY_MS)}, or a few minutes` });
  }
  remarks.push(
    ...stageWarnings(stages, analysis, elsewhere),
    ...earlyWarnings(stages, analysis),
    ...noiseWarnings(analysis),
  );
  return remarks;
}

/** Keys by which stages were to end early, and don't. */
function earlyWarnings(stages: Policy['stages'], analysis: AnalysisPolicy): readonly Remark[] {
  const { earlyPromotion, judge } = analysis;
  if (earlyPromotion === undefined) return [];
  const path = ['analysis', 'earlyPromotion'];
  if (judge !== 'sequential') {
    const what = `only the judge sequential promotes early, and this is ${judge}`;
    return [{ path, what, remedy: 'remove it, or write judge: sequential' }];
  }
  const longest = Math.max(0, ...Object.values(stages).flatMap((list) => list.map(({ durationMs }) => durationMs)));
  if (earliestEndMs(analysis, longest) !== null) return [];
  const what = `no stage can end early: the longest lasts ${formatDuration(longest)}, and no look lies between ${formatDuration(earlyPromotion.afterMs)} and its end (warm-up ${formatDuration(analysis.warmUpMs)}, a look every ${formatDuration(analysis.lookEveryMs)})`;
  return [{ path, what, remedy: 'write a shorter time, or let stages last longer' }];
}

/** Noise of further metrics that was learned, and is not used. */
function noiseWarnings({ noiseFloor, metrics }: AnalysisPolicy): readonly Remark[] {
  return Object.entries(noiseFloor?.metrics ?? {}).flatMap(([name, { kind }]): readonly Remark[] => {
    const path = ['analysis', 'noiseFloor', 'metrics', name];
    const metric = metrics.find((one) => one.name === name);
    if (metric === undefined) {
      const known = metrics.map((one) => one.name).join(', ') || 'none';
      return [{ path, what: `analysis.metrics has no metric ${name}`, remedy: `remove it; there are: ${known}` }];
    }
    if (metric.tolerance.kind === kind) return [];
    const what = `it is the noise of a ${kind}, and the metric's tolerance is a ${metric.tolerance.kind}: it is not used`;
    return [{ path, what, remedy: 'learn it again: slipway noise' }];
  });
}

function stageWarnings(
  stages: Policy['stages'],
  { warmUpMs, lookEveryMs }: AnalysisPolicy,
  elsewhere: boolean,
): readonly Remark[] {
  const remarks: Remark[] = [];
  const lists = Object.values(stages).filter((list) => list.length > 0);
  const shortest = Math.min(...lists.flatMap((list) => list.map(({ durationMs }) => durationMs)));
  const needed = warmUpMs + lookEveryMs;
  if (shortest < needed) {
    const what = `a stage of ${formatDuration(shortest)} is over before the judge's first look, ${formatDuration(needed)} after its start (analysis.warmUp + analysis.lookEvery)`;
    remarks.push({ path: ['stages'], what, remedy: 'let stages last longer, or shorten analysis.scrapeInterval' });
  }
  const total = Math.min(...lists.map((list) => list.reduce((sum, { durationMs }) => sum + durationMs, 0)));
  if (total < SHORT_ROLLOUT_MS && elsewhere) {
    const what = `${formatDuration(total)} in all: only faults that show at once are seen`;
    remarks.push({
      path: ['stages'],
      what,
      remedy: `let the stages last ${formatDuration(SHORT_ROLLOUT_MS)} or more together`,
    });
  }
  return remarks;
}

/** Whether a target can only be this machine, so that whoever decides is whoever sits at it. */
export function isThisMachine(target: Target): boolean {
  if (target.platform !== 'local') return false;
  return ['localhost', '127.0.0.1', '[::1]'].includes(new URL(target.gateway).hostname);
}
