import { z } from 'zod';
import { defaultAnalysis, metricPolicy } from '../domain/canary/defaults.js';
import { BUILT_IN_METRICS } from '../domain/canary/types.js';
import type { KayentaMetric, KayentaPolicy, MetricPolicy } from '../domain/canary/types.js';
import { kayentaMetricOf } from './metric-policies.js';
import { objectionOf, shown } from './slipway-schema.js';

/**
 * Reads a canary config of Spinnaker's Kayenta (the JSON that its API and `spin canary canary-config get` give) as the
 * policy of the judge `kayenta`. Where a metric comes from is not read: queries are written anew in `analysis.metrics`.
 */

/** Kayenta judges with other judges too; this is the one that is known here. */
const JUDGE = 'NetflixACAJudge-v1.0';

function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, { error: ({ input }) => `${shown(input)} is not known\nwrite one of ${words.join(', ')}` });
}

function number(min: number, max = Infinity) {
  const range = max === Infinity ? `of ${min} or more` : `from ${min} to ${max}`;
  const error = ({ input }: { readonly input?: unknown }): string =>
    `${shown(input)} is not accepted\nwrite a number ${range}`;
  return z.number({ error }).min(min, { error }).max(max, { error });
}

function yesOrNo() {
  return z.boolean({
    error: ({ input }) => `${shown(input)} is neither true nor false\nwrite true or false, without quotes`,
  });
}

function name() {
  return z
    .string({ error: ({ input }) => `${shown(input)} is no name\nwrite a text` })
    .min(1, 'it is empty\nwrite a name');
}

const Classification = z.object({
  direction: oneOf(['increase', 'decrease', 'either']).optional(),
  critical: yesOrNo().optional(),
  mustHaveData: yesOrNo().optional(),
  muted: yesOrNo().optional(),
  nanStrategy: oneOf(['remove', 'replace']).optional(),
  outliers: z
    .object({ strategy: oneOf(['keep', 'remove']).optional(), outlierFactor: number(0).optional() })
    .optional(),
  effectSize: z
    .object({
      measure: oneOf(['meanRatio', 'cles']).optional(),
      allowedIncrease: number(0).optional(),
      allowedDecrease: number(0).optional(),
      criticalIncrease: number(0).optional(),
      criticalDecrease: number(0).optional(),
    })
    .optional(),
});

const Metric = z.object({
  name: name(),
  groups: z.array(name(), 'it is no list\nwrite the names of groups: ["latency"]').nullish(),
  analysisConfigurations: z.object({ canary: Classification.optional() }).nullish(),
});

const Config = z.object({
  judge: z.object({ name: z.string() }).nullish(),
  metrics: z
    .array(Metric, 'there is no list of metrics\nis it the right file? Give a canary config of Kayenta')
    .min(1, 'the list is empty\nname a metric'),
  classifier: z
    .object({
      groupWeights: z.record(z.string(), number(0, 100)).nullish(),
      scoreThresholds: z.object({ pass: number(0, 100).optional(), marginal: number(0, 100).optional() }).nullish(),
    })
    .nullish(),
});

/** One thing in a canary config that is wrong. */
export interface KayentaProblem {
  /** Such as `metrics[2].analysisConfigurations.canary.direction`; empty for the config as a whole. */
  readonly path: string;
  /** The path and what is wrong there, with the value. */
  readonly message: string;
  /** What to write instead. */
  readonly remedy: string;
}

export type KayentaImport =
  | {
      readonly ok: true;
      /** For `AnalysisPolicy.kayenta`. */
      readonly kayenta: KayentaPolicy;
      /** For `AnalysisPolicy.metrics`: what the config names beyond error-rate and latency-p99. */
      readonly metrics: readonly MetricPolicy[];
      /** What was left out, or has to be done yet. */
      readonly warnings: readonly string[];
    }
  | { readonly ok: false; readonly problems: readonly KayentaProblem[] };

/** Whether a document is meant as a canary config: it has metrics in a list, and what Kayenta classifies by. */
export function isKayentaConfig(document: unknown): boolean {
  return z.looseObject({ metrics: z.array(z.unknown()), classifier: z.looseObject({}) }).safeParse(document).success;
}

/** Reads a canary config, parsed from JSON, or says all that is wrong with it. Never throws for any document. */
export function importKayentaConfig(document: unknown): KayentaImport {
  const read = Config.safeParse(document);
  if (!read.success) return { ok: false, problems: read.error.issues.map(problemOf) };
  const config = read.data;
  const usual = defaultAnalysis().kayenta;
  const weights = config.classifier?.groupWeights ?? {};
  const passScore = config.classifier?.scoreThresholds?.pass ?? usual.passScore;
  const marginalScore = config.classifier?.scoreThresholds?.marginal ?? Math.min(usual.marginalScore, passScore);
  const problems = contradictions(config, weights, passScore, marginalScore);
  if (problems.length > 0) return { ok: false, problems };

  const muted = config.metrics.filter((metric) => metric.analysisConfigurations?.canary?.muted === true);
  const metrics = config.metrics.filter((metric) => !muted.includes(metric)).map(metricOf);
  const further = metrics.filter(({ name }) => !(BUILT_IN_METRICS as readonly string[]).includes(name));
  const judge = config.judge?.name ?? JUDGE;
  const warnings = [
    ...(judge === JUDGE ? [] : [`judge.name is ${shown(judge)}: judged as ${JUDGE} instead`]),
    ...muted.map(({ name }) => `metric ${name} is muted, and was left out`),
    ...further.map(({ name }) => `metric ${name} needs a query: write it in analysis.metrics`),
  ];
  return {
    ok: true,
    kayenta: { ...usual, passScore, marginalScore, metrics, groupWeights: weights },
    metrics: further.map(({ name, direction, critical }) => ({ ...metricPolicy(name), direction, critical })),
    warnings,
  };
}

function metricOf({ name, groups, analysisConfigurations }: z.infer<typeof Metric>): KayentaMetric {
  const { outliers, effectSize, ...said } = analysisConfigurations?.canary ?? {};
  return kayentaMetricOf({
    ...said,
    name,
    // Kayenta counts a metric without a group in none, so that it never matters but by being critical: nobody means that.
    groups: groups == null || groups.length === 0 ? undefined : [...new Set(groups)],
    outliers: { strategy: outliers?.strategy, factor: outliers?.outlierFactor },
    effect: effectSize,
  });
}

/** What is wrong with the parts of a config together. */
function contradictions(
  { metrics }: z.infer<typeof Config>,
  weights: Readonly<Record<string, number>>,
  pass: number,
  marginal: number,
): readonly KayentaProblem[] {
  const problems: KayentaProblem[] = [];
  const add = (path: string, what: string, remedy: string): void => {
    problems.push({ path, message: `${path}: ${what}`, remedy });
  };
  const seen = new Set<string>();
  for (const [index, { name }] of metrics.entries()) {
    if (seen.has(name))
      add(`metrics[${index}].name`, `there is another metric ${shown(name)}`, 'give each metric a name of its own');
    seen.add(name);
  }
  if (metrics.every((metric) => metric.analysisConfigurations?.canary?.muted === true))
    add('metrics', 'all of them are muted', 'let one metric count');
  const sum = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  if (sum > 100) add('classifier.groupWeights', `they add up to ${sum} %`, 'let them add up to 100');
  const groups = new Set(metrics.flatMap((metric) => metric.groups ?? []));
  for (const group of Object.keys(weights)) {
    if (groups.has(group)) continue;
    const remedy = groups.size === 0 ? 'remove it' : `write one of ${[...groups].join(', ')}`;
    add(`classifier.groupWeights.${group}`, 'no metric is in this group', remedy);
  }
  if (marginal > pass)
    add('classifier.scoreThresholds.marginal', `${marginal} is above pass, ${pass}`, `write ${pass} or less`);
  return problems;
}

function problemOf(issue: z.core.$ZodIssue): KayentaProblem {
  const path = issue.path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`))
    .join('')
    .replace(/^\./, '');
  const said = objectionOf(issue.message) ?? {
    what: issue.message,
    remedy: 'see the canary config reference of Kayenta',
  };
  return { path, message: path === '' ? said.what : `${path}: ${said.what}`, remedy: said.remedy };
}
