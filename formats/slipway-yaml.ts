import { z } from 'zod';
import { defaultAnalysis, kayentaEffect, kayentaMetric, metricPolicy } from '../domain/canary/defaults.js';
import { DEFAULT_RISK_POLICY } from '../domain/risk-floor.js';
import { BUILT_IN_METRICS } from '../domain/canary/types.js';
import type {
  AnalysisPolicy,
  KayentaMetric,
  KayentaPolicy,
  MetricPolicy,
  ThresholdPolicy,
} from '../domain/canary/types.js';
import type { MetricsPolicy, Policy, StagePolicy, Strategy } from '../domain/policy.js';
import { trafficSplitOf } from '../domain/target.js';
import type { KubernetesTarget, LocalTarget, Target } from '../domain/target.js';
import { formatDuration } from './duration.js';
import {
  DEFAULT_APPROVAL,
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
  Environment,
  objectionOf,
  shown,
  SlipwayFile,
} from './slipway-schema.js';
import { Analysis } from './slipway-schema.js';
import type { KayentaMetric as WrittenKayentaMetric, Stage } from './slipway-schema.js';
import { readYaml } from './yaml-source.js';
import type { YamlPath, YamlSource } from './yaml-source.js';

/** One thing in a file that is wrong, or that deserves a second look. */
export interface Problem {
  /** Such as `environments.local.stages[1].weight`; empty for the file as a whole. */
  readonly path: string;
  /** 1-based; 0 where the problem has no place in the file. */
  readonly line: number;
  /** 1-based; 0 where the problem has no place in the file. */
  readonly column: number;
  /** The path and what is wrong there, with the value. */
  readonly message: string;
  /** What to write instead. */
  readonly remedy: string;
}

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

/** Larger files are refused unread. */
export const MAX_FILE_BYTES = 256 * 1024;
const ENOUGH_PROBLEMS = 100;
const SHORT_ROLLOUT_MS = 5 * 60_000;

/**
 * Reads a `slipway.yaml`: all its problems at once, each with its place, or what it says, with warnings about what is
 * allowed but seldom meant. Never throws for any text.
 */
export function parseSlipwayYaml(text: string, fileName: string): SlipwayYaml {
  if (text.length > MAX_FILE_BYTES || new TextEncoder().encode(text).length > MAX_FILE_BYTES) {
    const message = `${fileName} has more than ${MAX_FILE_BYTES / 1024} KB`;
    return { ok: false, problems: [fileProblem(message, 'is it the right file? A policy needs a few KB')] };
  }
  const yaml = readYaml(text);
  if (!yaml.ok) return { ok: false, problems: inOrder(yaml.faults.map((fault) => ({ path: '', ...fault }))) };
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

/** Reads another YAML file by its schema, with problems of the same kind: each with its place, value and remedy. */
export function parseYamlAs<Schema extends z.ZodType>(
  text: string,
  fileName: string,
  schema: Schema,
):
  | { readonly ok: true; readonly value: z.infer<Schema>; readonly source: YamlSource }
  | { readonly ok: false; readonly problems: readonly Problem[] } {
  if (new TextEncoder().encode(text).length > MAX_FILE_BYTES) {
    const message = `${fileName} has more than ${MAX_FILE_BYTES / 1024} KB`;
    return { ok: false, problems: [fileProblem(message, 'is it the right file?')] };
  }
  const yaml = readYaml(text);
  if (!yaml.ok) return { ok: false, problems: inOrder(yaml.faults.map((fault) => ({ path: '', ...fault }))) };
  const { source } = yaml;
  const written: unknown = source.value ?? {};
  const read = schema.safeParse(written);
  if (read.success) return { ok: true, value: read.data, source };
  const issues = read.error.issues.slice(0, ENOUGH_PROBLEMS);
  return { ok: false, problems: inOrder(issues.flatMap((issue) => problemsOf(issue, written, source, schema))) };
}

/**
 * Problems for a terminal: `slipway.yaml:12:5: …`, the line with a caret under the place, and what to do.
 *
 * @param text the file's text, as it was parsed
 */
export function formatProblems(problems: readonly Problem[], fileName: string, text: string): string {
  const lines = text.split(/\r\n|\n|\r/);
  return problems.map((problem) => formatProblem(problem, fileName, lines[problem.line - 1])).join('\n');
}

function formatProblem(
  { line, column, message, remedy }: Problem,
  fileName: string,
  source: string | undefined,
): string {
  const place = line === 0 ? fileName : `${fileName}:${line}:${column}`;
  const said = [`${place}: ${message}`];
  if (source !== undefined && source.trim() !== '') {
    const from = Math.max(0, column - 1 - 60);
    const part = printable(source.slice(from, from + 110));
    const before = printable(source.slice(from, column - 1)).replace(/[^\t]/g, ' ');
    said.push(`    ${part}`, `    ${before}^`);
  }
  said.push(`  → ${remedy}`);
  return said.join('\n');
}

/** A file can't send commands to the terminal that shows its problems. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '\ufffd');
}

function fileProblem(message: string, remedy: string): Problem {
  return { path: '', line: 1, column: 1, message, remedy };
}

/** In the order of the file, once each, no more than anyone reads, and harmless to show. */
function inOrder(problems: readonly Problem[]): readonly Problem[] {
  const once = new Map(problems.map((problem) => [`${problem.line}:${problem.column}:${problem.message}`, problem]));
  return [...once.values()]
    .sort((one, other) => one.line - other.line || one.column - other.column)
    .slice(0, ENOUGH_PROBLEMS)
    .map((problem) => ({
      ...problem,
      path: printable(problem.path),
      message: printable(problem.message),
      remedy: printable(problem.remedy),
    }));
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Top-level keys that begin with `x-` are the owner's own. */
function withoutExtensions(value: unknown): unknown {
  if (!isMapping(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => !key.startsWith('x-')));
}

// ---------------------------------------------------------------------------------------------------------------------
// From zod's issues to problems

function problemsOf(
  issue: z.core.$ZodIssue,
  file: unknown,
  source: YamlSource,
  root: z.core.$ZodType = SlipwayFile,
): readonly Problem[] {
  const path = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
  const value = valueAt(file, path);
  const problem = (what: string, remedy: string, part: 'key' | 'value' = 'value', at: YamlPath = path): Problem => {
    const name = pathText(at);
    return { path: name, ...source.locate(at, part), message: `${name === '' ? 'the file' : name}: ${what}`, remedy };
  };
  if (issue.code === 'unrecognized_keys') {
    return issue.keys
      .slice(0, ENOUGH_PROBLEMS)
      .map((key) => problem('is not a known key', unknownKeyRemedy(key, path, root), 'key', [...path, key]));
  }
  if (issue.code === 'invalid_key') {
    const remedy = `use ${issue.issues[0]?.message ?? 'other characters'}`;
    return [problem(`${shown(String(path.at(-1)))} is not accepted as a name`, remedy, 'key')];
  }
  if (value === undefined) return [problem('is missing', missingRemedy(path), 'key')];
  if (value === null)
    return [problem('has no value', 'give it one ({} for an empty mapping), or remove the line', 'key')];
  const own = objectionOf(issue.message);
  if (own !== null) return [problem(own.what, own.remedy)];
  if (issue.code === 'invalid_union') {
    return chosenBranch(issue.errors).flatMap((inner) =>
      problemsOf({ ...inner, path: [...issue.path, ...inner.path] }, file, source),
    );
  }
  if (issue.code === 'invalid_type') {
    return [problem(`${shown(value)} is not ${wanted(issue.expected)}`, typeRemedy(issue.expected, path, source))];
  }
  if (issue.code === 'invalid_value') {
    return [problem(`${shown(value)} is not known`, choiceRemedy(String(value), issue.values.map(String)))];
  }
  if (issue.code === 'too_big') return [problem(`${shown(value)} is too long`, `make it ${issue.maximum} at most`)];
  if (issue.code === 'too_small')
    return [problem('the text is empty', 'write what the key is for, or remove the line')];
  return [problem(`${shown(value)} is not accepted`, `use ${issue.message}`)];
}

function choiceRemedy(value: string, known: readonly string[]): string {
  if (known.length === 1) return `write ${known.join()}`;
  const near = nearest(value, known);
  return `${near === null ? 'write' : `did you mean ${near}? Write`} one of: ${known.join(', ')}`;
}

/** Of the shapes that a value may have, the one that was meant: whose kind is right, or which can explain itself. */
function chosenBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] {
  const rightKind = branches.find((issues) =>
    issues.every(({ path, code }) => path.length > 0 || (code !== 'invalid_type' && code !== 'invalid_value')),
  );
  return (
    rightKind ?? branches.find((issues) => issues.some(({ message }) => objectionOf(message))) ?? branches[0] ?? []
  );
}

function wanted(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    object: 'a mapping',
    record: 'a mapping',
    array: 'a list',
    string: 'text',
    number: 'a number',
    boolean: 'true or false',
  };
  return words[expected] ?? expected;
}

function typeRemedy(expected: string, path: YamlPath, source: YamlSource): string {
  const written = source.written(path);
  if (expected === 'string' && written !== null) return `put it in quotes: '${written}'`;
  if (expected === 'array') return written === null ? 'write a list: [a, b]' : `write a list: [${written}]`;
  if (expected === 'object' || expected === 'record') return 'write keys and values, one to a line, indented';
  if (expected === 'boolean') return 'write true or false, without quotes';
  return `write ${wanted(expected)}`;
}

function missingRemedy(path: YamlPath): string {
  const key = String(path.at(-1));
  const examples: Readonly<Record<string, string>> = {
    service: 'service: hello',
    environments: 'environments: { local: { platform: local, run: { command: [node, server.mjs] } } }',
    weight: 'weight: 10%',
    prometheus: 'prometheus: http://prometheus:9090',
  };
  return `add it${examples[key] === undefined ? '' : `, for example ${examples[key]}`}`;
}

function unknownKeyRemedy(key: string, parent: YamlPath, root: z.core.$ZodType): string {
  const here = schemasAt(parent, root).flatMap(keysOf);
  const near = nearest(key, here);
  if (near !== null) return `did you mean ${near}?`;
  const elsewhere = root === SlipwayFile ? placesOf(key, Environment) : [];
  if (elsewhere.length > 0) return `${key} belongs under ${elsewhere.slice(0, 3).join(' or ')}`;
  return here.length === 0 ? 'remove it' : `known keys here: ${here.join(', ')}`;
}

/** The schemas that a value at this path may have. */
function schemasAt(path: YamlPath, root: z.core.$ZodType): readonly z.core.$ZodType[] {
  let schemas: readonly z.core.$ZodType[] = [root];
  for (const segment of path) {
    schemas = schemas.flatMap(shapes).flatMap((schema): readonly z.core.$ZodType[] => {
      if (schema instanceof z.ZodObject) {
        const next = (schema.shape as Readonly<Record<string, z.core.$ZodType>>)[segment];
        return next === undefined ? [] : [next];
      }
      if (schema instanceof z.ZodRecord) return [schema.valueType];
      return schema instanceof z.ZodArray ? [schema.element] : [];
    });
  }
  return schemas.flatMap(shapes);
}

/** What is left of a schema without `optional`, transforms and alternatives. */
function shapes(schema: z.core.$ZodType): readonly z.core.$ZodType[] {
  if (schema instanceof z.ZodOptional) return shapes(schema.unwrap());
  if (schema instanceof z.ZodPipe) return shapes(schema.in);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap(shapes);
  return [schema];
}

function keysOf(schema: z.core.$ZodType): readonly string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The mappings under this schema in which a key is known, as paths. */
function placesOf(key: string, schema: z.core.$ZodType, prefix: readonly string[] = []): readonly string[] {
  return shapes(schema).flatMap((shape) => {
    if (!(shape instanceof z.ZodObject)) return [];
    const here = prefix.length > 0 && Object.hasOwn(shape.shape, key) ? [prefix.join('.')] : [];
    const below = Object.entries(shape.shape).flatMap(([name, inner]) =>
      placesOf(key, inner as z.core.$ZodType, [...prefix, name]),
    );
    return [...here, ...below];
  });
}

function valueAt(value: unknown, path: YamlPath): unknown {
  let found = value;
  for (const segment of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, segment)) return undefined;
    found = (found as Readonly<Record<string, unknown>>)[segment];
  }
  return found;
}

function pathText(path: YamlPath): string {
  return path.reduce<string>((text, segment) => {
    if (typeof segment === 'number') return `${text}[${segment}]`;
    return text === '' ? segment : `${text}.${segment}`;
  }, '');
}

/** The word that was probably meant; null when none is near. `when_busy` is near to `whenBusy`. */
function nearest(word: string, known: readonly string[]): string | null {
  const plain = (text: string): string => text.replace(/[-_\s]/g, '').toLowerCase();
  let best: { readonly word: string; readonly distance: number } | null = null;
  for (const candidate of known) {
    const distance = editDistance(plain(word).slice(0, 40), plain(candidate));
    const limit = Math.floor(candidate.length / 3);
    if (distance <= limit && distance < (best?.distance ?? Infinity)) best = { word: candidate, distance };
  }
  return best?.word ?? null;
}

/** Letters to add, remove or replace to make one text of another. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, letter] of one.split('').entries()) {
    const next = [i + 1];
    for (const [j, wantedLetter] of other.split('').entries()) {
      const replaced = (row[j] ?? 0) + (letter === wantedLetter ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// From the file to a policy

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

/** What is known of samples that were taken already, where a policy to judge them by leaves it open. */
export interface Sampled {
  readonly scrapeIntervalMs: number;
  readonly compareWith: Policy['compareWith'];
  readonly noiseFloor: AnalysisPolicy['noiseFloor'];
}

/** A way to judge that somebody wrote down, for any samples. */
export type AnalysisFor = (sampled: Sampled) => AnalysisPolicy;

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
  const yaml = readYaml(text.slice(0, MAX_FILE_BYTES));
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

/**
 * The interval of samples that were taken is a fact, whatever the file says: times that are not written scale with it.
 * What was learned of the service holds too, unless the file says otherwise.
 */
function sampledAnalysis(written: Analysis, { scrapeIntervalMs, compareWith, noiseFloor }: Sampled): AnalysisPolicy {
  const analysis = analysisOf({ ...written, scrapeInterval: scrapeIntervalMs }, compareWith);
  return written.noiseFloor === undefined ? { ...analysis, noiseFloor } : analysis;
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
    approval: {
      required: settings.approval?.required ?? DEFAULT_APPROVAL.required,
      quorum: settings.approval?.quorum ?? DEFAULT_APPROVAL.quorum,
      groups: settings.approval?.groups ?? DEFAULT_APPROVAL.groups,
      excludeAuthor: settings.approval?.excludeAuthor ?? DEFAULT_APPROVAL.excludeAuthor,
      allowUnverified: settings.approval?.allowUnverified ?? isThisMachine(target),
    },
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

function analysisOf(written: Analysis, compareWith: Policy['compareWith']): AnalysisPolicy {
  const usual = defaultAnalysis(written.scrapeInterval, compareWith);
  const { limits = {}, mannWhitney = {} } = written;
  return {
    judge: written.judge ?? usual.judge,
    scrapeIntervalMs: usual.scrapeIntervalMs,
    warmUpMs: written.warmUp ?? usual.warmUpMs,
    lookEveryMs: written.lookEvery ?? usual.lookEveryMs,
    errorBudget: written.errorBudget ?? usual.errorBudget,
    minErrorIncrease: written.minErrorIncrease ?? usual.minErrorIncrease,
    minErrorRatio: written.minErrorRatio ?? usual.minErrorRatio,
    minLatencyRatio: written.minLatencyRatio ?? usual.minLatencyRatio,
    errorMargin: written.errorMargin ?? usual.errorMargin,
    latencyMargin: written.latencyMargin ?? usual.latencyMargin,
    minRequests: written.minRequests ?? usual.minRequests,
    noiseFloor:
      written.noiseFloor === undefined
        ? usual.noiseFloor
        : {
            pairs: written.noiseFloor.pairs,
            latencyLogSd: written.noiseFloor.p99,
            errorLogSd: written.noiseFloor.errorRate,
          },
    limits: {
      // Null says "no limit"; only what is not written has a default.
      maxErrorRate: limits.maxErrorRate === undefined ? usual.limits.maxErrorRate : limits.maxErrorRate,
      maxP99Seconds: limits.maxP99 === undefined ? usual.limits.maxP99Seconds : inSeconds(limits.maxP99),
      catastrophicErrorRate: limits.catastrophicErrorRate ?? usual.limits.catastrophicErrorRate,
      minRequests: limits.minRequests ?? usual.limits.minRequests,
      windowMs: limits.window ?? usual.limits.windowMs,
    },
    metrics: (written.metrics ?? []).map(metricOf),
    threshold: thresholdOf(written.threshold ?? {}, usual.threshold),
    kayenta: kayentaOf(written.kayenta ?? {}, usual.kayenta),
    mannWhitney: {
      windowMs: mannWhitney.window ?? usual.mannWhitney.windowMs,
      checkEveryMs: mannWhitney.checkEvery ?? usual.mannWhitney.checkEveryMs,
      checks: mannWhitney.checks ?? usual.mannWhitney.checks,
      rollbackP: mannWhitney.rollbackP ?? usual.mannWhitney.rollbackP,
      promoteP: mannWhitney.promoteP ?? usual.mannWhitney.promoteP,
      maxErrorIncrease: mannWhitney.maxErrorIncrease ?? usual.mannWhitney.maxErrorIncrease,
      maxLatencyRatio: mannWhitney.maxLatencyRatio ?? usual.mannWhitney.maxLatencyRatio,
      minSuccessRate: mannWhitney.minSuccessRate ?? usual.mannWhitney.minSuccessRate,
    },
  };
}

function metricOf(written: NonNullable<Analysis['metrics']>[number]): MetricPolicy {
  const usual = metricPolicy(written.name);
  const { ratio, difference } = written.tolerance ?? {};
  return {
    name: written.name,
    direction: written.direction ?? usual.direction,
    critical: written.critical ?? usual.critical,
    weight: written.weight ?? usual.weight,
    tolerance:
      ratio !== undefined
        ? { kind: 'ratio', ratio }
        : difference !== undefined
          ? { kind: 'difference', difference }
          : usual.tolerance,
    min: written.min ?? usual.min,
    max: written.max ?? usual.max,
  };
}

function thresholdOf(written: NonNullable<Analysis['threshold']>, usual: ThresholdPolicy): ThresholdPolicy {
  return {
    counting: written.counting ?? usual.counting,
    initialDelayMs: written.initialDelay ?? usual.initialDelayMs,
    intervalMs: written.interval ?? usual.intervalMs,
    windowMs: written.window ?? usual.windowMs,
    failureLimit: written.failureLimit ?? usual.failureLimit,
    consecutiveErrorLimit: written.consecutiveErrorLimit ?? usual.consecutiveErrorLimit,
    count: written.count ?? usual.count,
    // Null says "no limit"; only what is not written has a default.
    minSuccessRate: written.minSuccessRate === undefined ? usual.minSuccessRate : written.minSuccessRate,
    maxP99Seconds: written.maxP99 === undefined ? usual.maxP99Seconds : inSeconds(written.maxP99),
  };
}

function kayentaOf(written: NonNullable<Analysis['kayenta']>, usual: KayentaPolicy): KayentaPolicy {
  return {
    confidenceLevel: written.confidenceLevel ?? usual.confidenceLevel,
    tolerance: written.tolerance ?? usual.tolerance,
    delayMs: written.delay ?? usual.delayMs,
    intervalMs: written.interval ?? usual.intervalMs,
    stepMs: written.step ?? usual.stepMs,
    lookbackMs: written.lookback ?? usual.lookbackMs,
    passScore: written.pass ?? usual.passScore,
    marginalScore: written.marginal ?? Math.min(usual.marginalScore, written.pass ?? usual.passScore),
    metrics: written.metrics?.map(kayentaMetricOf) ?? usual.metrics,
    groupWeights: written.groupWeights ?? usual.groupWeights,
  };
}

function kayentaMetricOf(written: WrittenKayentaMetric): KayentaMetric {
  const usual = kayentaMetric(written.name);
  const effect = kayentaEffect(written.effect?.measure);
  return {
    name: written.name,
    groups: written.groups ?? usual.groups,
    weight: written.weight ?? usual.weight,
    direction: written.direction ?? usual.direction,
    critical: written.critical ?? usual.critical,
    mustHaveData: written.mustHaveData ?? usual.mustHaveData,
    nanStrategy: written.nanStrategy ?? usual.nanStrategy,
    outliers: {
      strategy: written.outliers?.strategy ?? usual.outliers.strategy,
      factor: written.outliers?.factor ?? usual.outliers.factor,
    },
    effect: {
      measure: effect.measure,
      allowedIncrease: written.effect?.allowedIncrease ?? effect.allowedIncrease,
      allowedDecrease: written.effect?.allowedDecrease ?? effect.allowedDecrease,
      criticalIncrease: written.effect?.criticalIncrease ?? effect.criticalIncrease,
      criticalDecrease: written.effect?.criticalDecrease ?? effect.criticalDecrease,
    },
  };
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
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

/** Whether a target can only be this machine, so that whoever decides is whoever sits at it. */
function isThisMachine(target: Target): boolean {
  if (target.platform !== 'local') return false;
  return ['localhost', '127.0.0.1', '[::1]'].includes(new URL(target.gateway).hostname);
}

// ---------------------------------------------------------------------------------------------------------------------
// What a policy as a whole says

/** Something about the keys of an environment together. */
interface Remark {
  /** Below the environment. */
  readonly path: YamlPath;
  readonly what: string;
  readonly remedy: string;
}

/** Shows a remark where its key is written: in the environment, else under `defaults`, else at the environment. */
function placed({ path, what, remedy }: Remark, policy: Policy, source: YamlSource): Problem {
  const own: YamlPath = ['environments', policy.lane.environment, ...path];
  const shared: YamlPath = ['defaults', ...path];
  const at = !source.has(own) && source.has(shared) ? shared : own;
  const name = pathText(own);
  return { path: name, ...source.locate(at, 'key'), message: `${name}: ${what}`, remedy };
}

/** Keys that contradict each other. */
function conflictsOf({ analysis, risk, metrics, target }: Policy): readonly Remark[] {
  const remarks: Remark[] = [];
  if (target.platform !== 'local' && metrics.source === 'gateway') {
    const what = "gateway is the local gateway's own metrics, and there is none here";
    const remedy = 'write { prometheus: https://prometheus.example.com, queries: traefik }';
    remarks.push({ path: ['metrics'], what, remedy });
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
function warningsOf(policy: Policy): readonly Remark[] {
  const { approval, analysis, tier, stages, strategy, verifyMs, promote } = policy;
  const elsewhere = !isThisMachine(policy.target);
  const remarks: Remark[] = [];
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
  remarks.push(...stageWarnings(stages, analysis, elsewhere));
  return remarks;
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
