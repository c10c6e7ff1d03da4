import { z } from 'zod';
import { DEFAULT_RISK_POLICY } from '../domain/risk-floor.js';
import type { MetricsPolicy, Policy, StagePolicy, Strategy } from '../domain/policy.js';
import { trafficSplitOf } from '../domain/target.js';
import type { KubernetesTarget, LocalTarget, Target } from '../domain/target.js';
import { analysisOf, sampledAnalysis } from './analysis-policy.js';
import type { AnalysisFor } from './analysis-policy.js';
import { approvalPolicyOf } from './approval-policy.js';
import { conflictsOf, isThisMachine, placed, warningsOf } from './policy-remarks.js';
import {
  Analysis,
  DEFAULT_GATEWAY,
  DEFAULT_HEALTH_PATH,
  DEFAULT_MAX_EXCESS_POINTS,
  DEFAULT_REPLICAS,
  DEFAULT_RESOLVE_TAGS,
  DEFAULT_STAGE_MS,
  DEFAULT_TIER,
  DEFAULT_VERIFY_MS,
  DEFAULT_WAITS,
  DEFAULT_WEIGHTS,
  shown,
  SlipwayFile,
} from './slipway-schema.js';
import type { Environment, Stage } from './slipway-schema.js';
import {
  ENOUGH_PROBLEMS,
  fileProblem,
  inOrder,
  isMapping,
  nearest,
  pathText,
  problemsOf,
  valueAt,
} from './yaml-problems.js';
import type { Problem } from './yaml-problems.js';
import { readYamlFile } from './yaml-file.js';
import type { YamlSource } from './yaml-source.js';

export { formatProblems } from './yaml-problems.js';
export type { Problem } from './yaml-problems.js';

/** A valid `slipway.yaml`: `defaults` are merged into each environment, durations are ms, shares 0 to 1. */
export interface SlipwayConfig {
  readonly service: string;
  readonly owner: string | null;
  readonly tier: Policy['tier'];
  /** Image of each container, without a tag. */
  readonly images: Readonly<Record<string, string>>;
  /** What the file says of each environment; `policyFor` adds the product's defaults. */
  readonly environments: Readonly<Record<string, ReadyEnvironment>>;
}

/** An environment after merging: what every environment needs is there. */
type ReadyEnvironment = Environment & (ReadyLocal | ReadyKubernetes);

interface ReadyLocal {
  readonly platform: 'local';
  readonly run: { readonly command: readonly string[] };
}

interface ReadyKubernetes {
  readonly platform: 'kubernetes';
  readonly kubernetes: { readonly namespace: string };
}

export type SlipwayYaml =
  | { readonly ok: true; readonly config: SlipwayConfig; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Reads a `slipway.yaml`: all its problems at once, each with its place, or what it says, with warnings about what is
 * allowed but seldom meant. Never throws for any text.
 */
export function parseSlipwayYaml(text: string, fileName: string): SlipwayYaml {
  const yaml = readYamlFile(text, fileName);
  if (!yaml.ok) return yaml;
  const { source } = yaml;
  if (source.value === null || source.value === undefined) {
    return { ok: false, problems: [fileProblem(`${fileName} is empty`, 'begin with: service: NAME')] };
  }
  const written = withoutExtensions(source.value);
  const read = SlipwayFile.safeParse(written);
  const issues = read.success ? [] : read.error.issues.slice(0, ENOUGH_PROBLEMS);
  const schemaProblems = issues.flatMap((issue) => problemsOf(issue, written, source));
  const problems = [...schemaProblems, ...missingProblems(written, source)];
  if (!read.success || problems.length > 0) return { ok: false, problems: inOrder(problems) };

  const config = configOf(read.data);
  const policies = Object.entries(config.environments).map(([name, environment]) =>
    policyOf(config, name, environment),
  );
  const conflicts = policies.flatMap((policy) => conflictsOf(policy).map((remark) => placed(remark, policy, source)));
  if (conflicts.length > 0) return { ok: false, problems: inOrder(conflicts) };
  const warnings = policies.flatMap((policy) => warningsOf(policy).map((remark) => placed(remark, policy, source)));
  return {
    ok: true,
    config,
    warnings: inOrder([...source.warnings.map((fault) => ({ path: '', ...fault })), ...warnings]),
  };
}

/**
 * The policy of one environment, with every default filled in, and the images that its releases have.
 *
 * @param baseDir absolute folder of the file: a relative `run.cwd` begins there; without it, it stays as it is written
 */
export function policyFor(
  config: SlipwayConfig,
  environment: string,
  baseDir?: string,
):
  | { readonly ok: true; readonly policy: Policy; readonly images: Readonly<Record<string, string>> }
  | { readonly ok: false; readonly problems: readonly Problem[] } {
  const known = Object.keys(config.environments);
  const settings = Object.hasOwn(config.environments, environment) ? config.environments[environment] : undefined;
  if (settings === undefined) {
    const message = `there is no environment ${shown(environment)} for the service ${config.service}`;
    const near = nearest(environment, known);
    const remedy =
      near === null ? `choose one of: ${known.join(', ')}` : `did you mean ${near}? Known: ${known.join(', ')}`;
    return { ok: false, problems: [{ path: 'environments', line: 0, column: 0, message, remedy }] };
  }
  return { ok: true, policy: policyOf(config, environment, settings, baseDir), images: config.images };
}

/** Top-level keys that begin with `x-` are the owner's own. */
function withoutExtensions(value: unknown): unknown {
  if (!isMapping(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith('x-')));
}

/** Keys that an environment needs, written by itself or under `defaults`. Asked of the raw file, so that no other problem hides them. */
const NEEDED: Readonly<
  Record<Target['platform'] | 'any', readonly (readonly [path: readonly string[], remedy: string])[]>
> = {
  any: [[['platform'], 'add platform: local, or platform: kubernetes']],
  local: [[['run', 'command'], 'add run: { command: [node, server.mjs] } with the program that serves one replica']],
  kubernetes: [
    [['kubernetes', 'namespace'], 'add kubernetes: { namespace: shop } with the namespace of the Deployment'],
    [['metrics', 'prometheus'], 'add metrics: { prometheus: https://prometheus.example.com, queries: traefik }'],
  ],
};

function missingProblems(file: unknown, source: YamlSource): readonly Problem[] {
  const environments = valueAt(file, ['environments']);
  if (!isMapping(environments)) return [];
  const names = Object.keys(environments)
    .filter((name) => isMapping(environments[name]))
    .slice(0, ENOUGH_PROBLEMS);
  return names.flatMap((name) => {
    const platform: unknown =
      valueAt(file, ['environments', name, 'platform']) ?? valueAt(file, ['defaults', 'platform']);
    // Where the platform is not said, or not understood, what most environments need is asked for.
    const needed = [...NEEDED.any, ...NEEDED[platform === 'kubernetes' ? 'kubernetes' : 'local']];
    return needed
      .filter(([path]) => !source.has(['environments', name, ...path]) && !source.has(['defaults', ...path]))
      .map(([path, remedy]): Problem => {
        const at = ['environments', name, ...path];
        return { path: pathText(at), ...source.locate(at, 'key'), message: `${pathText(at)}: is missing`, remedy };
      });
  });
}

function configOf(file: SlipwayFile): SlipwayConfig {
  const environments = Object.entries(file.environments).map(([name, own]) => {
    // `missingProblems` has found nothing: what every environment needs is there.
    return [name, merged(file.defaults ?? {}, own) as ReadyEnvironment] as const;
  });
  return {
    service: file.service,
    owner: file.owner ?? null,
    tier: file.tier ?? DEFAULT_TIER,
    images: file.images ?? { app: file.service },
    environments: Object.fromEntries(environments),
  };
}

/**
 * Reads how a canary is judged: from the `analysis` of a `slipway.yaml`, or from a file (YAML or JSON) that holds that
 * part alone, with or without the key `analysis`.
 *
 * @param environment of a `slipway.yaml`; without it, the only one that it has
 */
export function parseAnalysis(
  text: string,
  fileName: string,
  environment?: string,
):
  | { readonly ok: true; readonly analysisFor: AnalysisFor }
  | { readonly ok: false; readonly problems: readonly Problem[] } {
  const yaml = readYamlFile(text, fileName);
  if (
    yaml.ok &&
    isMapping(yaml.source.value) &&
    !('service' in yaml.source.value) &&
    !('environments' in yaml.source.value)
  ) {
    return parseAnalysisPart(yaml.source);
  }
  const file = parseSlipwayYaml(text, fileName);
  if (!file.ok) return file;
  const { environments } = file.config;
  const names = Object.keys(environments);
  const name = environment ?? (names.length === 1 ? names[0] : undefined);
  if (name === undefined) {
    const message = `${fileName} has several environments: ${names.join(', ')}`;
    return { ok: false, problems: [fileProblem(message, 'name one with --env')] };
  }
  const found = policyFor(file.config, name);
  if (!found.ok) return found;
  const written = environments[name]?.analysis ?? {};
  const { compareWith } = found.policy;
  return { ok: true, analysisFor: (sampled) => sampledAnalysis(written, { ...sampled, compareWith }) };
}

function parseAnalysisPart(source: YamlSource): ReturnType<typeof parseAnalysis> {
  const written = source.value;
  const isNested = isMapping(written) && 'analysis' in written;
  const root = isNested ? z.strictObject({ analysis: Analysis }) : Analysis;
  const read = root.safeParse(written);
  if (!read.success) {
    const issues = read.error.issues.slice(0, ENOUGH_PROBLEMS);
    return { ok: false, problems: inOrder(issues.flatMap((issue) => problemsOf(issue, written, source, root))) };
  }
  const analysis: Analysis = 'analysis' in read.data ? read.data.analysis : read.data;
  return { ok: true, analysisFor: (sampled) => sampledAnalysis(analysis, sampled) };
}

/** Mappings are merged key by key; lists and single values are replaced. */
function merged(base: unknown, over: unknown): unknown {
  if (!isMapping(base) || !isMapping(over)) return over;
  const both = Object.entries(over).map(([key, value]) => [
    key,
    Object.hasOwn(base, key) ? merged(base[key], value) : value,
  ]);
  return { ...base, ...Object.fromEntries(both) };
}

function policyOf(config: SlipwayConfig, environment: string, settings: ReadyEnvironment, baseDir?: string): Policy {
  const target = targetOf(config, settings, baseDir);
  // Where there can be no baseline, what is asked for can't be had.
  const compareWith = trafficSplitOf(target).baseline ? (settings.compareWith ?? 'baseline') : 'stable';
  return {
    lane: { environment, service: config.service },
    target,
    tier: config.tier,
    owner: config.owner,
    whenBusy: settings.whenBusy ?? 'queue',
    onAlert: settings.onAlert ?? 'rollback',
    resolveTags: settings.resolveTags ?? DEFAULT_RESOLVE_TAGS,
    strategy: settings.strategy ?? 'auto',
    stages: stagesOf(settings.stages),
    compareWith,
    promote: settings.promote ?? 'verified',
    verifyMs: settings.verify ?? DEFAULT_VERIFY_MS,
    approval: approvalPolicyOf(settings.approval, isThisMachine(target)),
    analysis: analysisOf(settings.analysis ?? {}, compareWith),
    metrics: metricsOf(settings.metrics, settings.analysis?.metrics ?? []),
    waits: {
      approvalMs: settings.waits?.approval ?? DEFAULT_WAITS.approvalMs,
      evidenceMs: settings.waits?.evidence ?? DEFAULT_WAITS.evidenceMs,
      queueMs: settings.waits?.queue ?? DEFAULT_WAITS.queueMs,
      blindMs: settings.waits?.blind ?? DEFAULT_WAITS.blindMs,
      heldMs: settings.waits?.held ?? DEFAULT_WAITS.heldMs,
      progressMs: settings.waits?.progress ?? DEFAULT_WAITS.progressMs,
    },
    risk: {
      model: settings.risk?.model ?? DEFAULT_RISK_POLICY.model,
      approvalFrom: settings.risk?.approvalFrom ?? DEFAULT_RISK_POLICY.approvalFrom,
      canary25From: settings.risk?.canary25From ?? DEFAULT_RISK_POLICY.canary25From,
      canary10From: settings.risk?.canary10From ?? DEFAULT_RISK_POLICY.canary10From,
      canary5From: settings.risk?.canary5From ?? DEFAULT_RISK_POLICY.canary5From,
      timeZone: settings.risk?.timeZone ?? DEFAULT_RISK_POLICY.timeZone,
    },
    notify: settings.notify ?? [],
    ...(settings.slack === undefined ? {} : { slack: settings.slack }),
  };
}

function targetOf({ service }: SlipwayConfig, settings: ReadyEnvironment, baseDir: string | undefined): Target {
  return settings.platform === 'local'
    ? localTargetOf(settings, baseDir)
    : kubernetesTargetOf(service, settings.kubernetes);
}

function kubernetesTargetOf(
  service: string,
  settings: NonNullable<Environment['kubernetes']> & { readonly namespace: string },
): KubernetesTarget {
  return {
    platform: 'kubernetes',
    context: settings.context ?? null,
    namespace: settings.namespace,
    deployment: settings.deployment ?? service,
    service: settings.service ?? service,
    route:
      settings.route === 'none'
        ? { kind: 'none', maxExcessPoints: settings.maxExcessPoints ?? DEFAULT_MAX_EXCESS_POINTS }
        : {
            kind: settings.route?.kind ?? 'HTTPRoute',
            name: settings.route?.name ?? service,
            ...(settings.route?.multiRoute === 'allow' ? { multiRoute: 'allow' } : {}),
            ...(settings.route?.drain === undefined ? {} : { drainMs: settings.route.drain }),
          },
  };
}

function localTargetOf({ gateway, run }: Environment & ReadyLocal, baseDir: string | undefined): LocalTarget {
  const cwd = run.cwd ?? '.';
  return {
    platform: 'local',
    gateway: gateway ?? DEFAULT_GATEWAY,
    run: {
      command: run.command,
      cwd: baseDir === undefined ? cwd : resolvePath(baseDir, cwd),
      env: run.env ?? {},
      healthPath: run.health ?? DEFAULT_HEALTH_PATH,
      replicas: run.replicas ?? DEFAULT_REPLICAS,
    },
  };
}

function stagesOf(written: Environment['stages']): Policy['stages'] {
  const lists = Array.isArray(written) ? { canary_5: written, canary_10: written, canary_25: written } : written;
  const stages = (strategy: Exclude<Strategy, 'direct'>): readonly StagePolicy[] => {
    const list: readonly Stage[] = lists?.[strategy] ?? DEFAULT_WEIGHTS[strategy].map((weight) => ({ weight }));
    return list.map((stage) => ({
      weightPercent: stage.weight,
      durationMs: stage.for ?? DEFAULT_STAGE_MS,
      approval: stage.approval ?? false,
    }));
  };
  return { direct: [], canary_25: stages('canary_25'), canary_10: stages('canary_10'), canary_5: stages('canary_5') };
}

function metricsOf(written: Environment['metrics'], further: NonNullable<Analysis['metrics']>): MetricsPolicy {
  if (written === undefined || written === 'gateway') return { source: 'gateway' };
  const queries = written.queries ?? 'slipway-gateway';
  return {
    source: 'prometheus',
    url: written.prometheus,
    queries: typeof queries === 'string' ? queries : { ...queries, latencyBuckets: queries.latencyBuckets ?? null },
    authorization: written.authorization ?? null,
    ...(further.length === 0 ? {} : { values: Object.fromEntries(further.map(({ name, query }) => [name, query])) }),
  };
}

/** Joins POSIX paths; `formats` has no `node:path`. */
function resolvePath(base: string, path: string): string {
  const parts: string[] = [];
  for (const part of (path.startsWith('/') ? path : `${base}/${path}`).split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}
