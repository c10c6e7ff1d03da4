import { moreCareful, STRATEGIES } from './policy.js';
import type { RiskPolicy, Strategy } from './policy.js';
import type { ChangedFile } from './release.js';
import type { ModelOpinion, Risk, RiskFactor } from './risk.js';

/**
 * Version of the rules and weights below, kept with every assessment. The weights are ordered as the literature ranks
 * its predictors (Kamei et al. 2013: size and spread; Google SRE: configuration is as dangerous as code; Meta's Diff
 * Risk Score 2024: cheap features carry most of it); their size fits a change-failure rate of 15 % (DORA).
 */
export const RISK_RULES_VERSION = '2';

/** What a service gets whose `slipway.yaml` says nothing about risk. */
export const DEFAULT_RISK_POLICY: RiskPolicy = {
  model: 'on',
  approvalFrom: 0.55,
  canary25From: 0.15,
  canary10From: 0.35,
  canary5From: 0.55,
  timeZone: 'UTC',
};

export interface RiskInput {
  /** Null where the caller could not tell. */
  readonly files: readonly ChangedFile[] | null;
  /** Whether `files` was cut at a limit. */
  readonly truncated: boolean;
  readonly message: string | null;
  /** What the release itself sets, by name (`settingsOf`): configuration, whatever files changed. */
  readonly settings: readonly string[];
  /** 0 is the most critical tier. */
  readonly tier: number;
  /** Days since this service last rolled back; null: never, or not known. */
  readonly recentRollbackDays: number | null;
  /** 0 to 23, where the service's people are. */
  readonly localHour: number;
  /** 0 is Sunday. */
  readonly localWeekday: number;
  readonly policy: RiskPolicy;
}

interface PathRule {
  readonly id: string;
  readonly weight: number;
  /** What such a file is: of one, of several. */
  readonly what: readonly [string, string];
  /**
   * A topic is told by words in the path: a test of logins isn't the login. The other rules go by what a tool does with
   * a file of this name in this place, so that "test" in the path excuses nothing.
   */
  readonly topic: boolean;
  /** Matched against the folded path: lower case, `/`, no accents, no look-alikes. Hostile paths must not take long. */
  readonly patterns: readonly RegExp[];
}

/** One weight for configuration, whether a file holds it or the release brings it. */
const CONFIG = { id: 'config', weight: 0.2 } as const;

/** Rules on paths: several may hit the same file. A rule counts once, at its weight, however many files it hits. */
const PATH_RULES: readonly PathRule[] = [
  {
    id: 'ai',
    weight: 0.25,
    what: ['is a model, prompt, tool or policy', 'are models, prompts, tools or policies'],
    topic: true,
    patterns: [/(^|\/)(prompts|evals|tools|policies|models)\//, /\.prompt[^/]{0,255}$/],
  },
  {
    id: 'api',
    weight: 0.25,
    what: ['is an API contract', 'are API contracts'],
    topic: false,
    patterns: [
      /\.(proto|avsc|graphqls?|gql|thrift|wsdl|xsd)$/,
      /(^|\/)(openapi|swagger|asyncapi)[^/]*\.(json|ya?ml)$/,
      /(^|\/)buf\.[^/]+$/,
    ],
  },
  {
    ...CONFIG,
    what: ['is configuration or a flag', 'are configuration or flags'],
    topic: true,
    patterns: [
      /(^|\/)(config|configs|conf|settings|environments?|flags|feature[-_]?(flags?|toggles?))\//,
      /(config|settings|values|environment|flags?|toggles?)[^/]{0,255}\.(ya?ml|json5?|toml|ini|xml|env)$/,
      /(^|\/)(application|appsettings)[^/]*\.(ya?ml|json)$/,
      /(^|\/)\.env[^/]*$/,
      /\.(env|properties|ini|cfg|conf)$/,
    ],
  },
  {
    id: 'dependency',
    weight: 0.15,
    what: ['declares dependencies', 'declare dependencies'],
    topic: false,
    patterns: [
      /(^|\/)(package\.json|pnpm-workspace\.yaml|deno\.jsonc?|pyproject\.toml|setup\.(py|cfg)|pipfile|go\.(mod|work))$/,
      /(requirements|constraints)[^/]{0,255}\.(txt|in)$/,
      /(^|\/)(cargo\.toml|pom\.xml|build\.gradle(\.kts)?|libs\.versions\.toml|gemfile|composer\.json|cmakelists\.txt)$/,
      /\.gemspec$|\.(cs|fs|vb)proj$|(^|\/)(packages\.config|directory\.packages\.props)$/,
    ],
  },
  {
    // The table of the notes says .25 for a lockfile *without* its manifest. Then touching the manifest as well would
    // lower the risk; a lockfile decides which foreign code runs either way, so it weighs the same in both cases.
    id: 'dependency',
    weight: 0.25,
    what: ['pins or holds foreign code', 'pin or hold foreign code'],
    topic: false,
    patterns: [
      /(^|\/)(package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|yarn\.lock|bun\.lockb?|deno\.lock)$/,
      /(^|\/)(poetry\.lock|uv\.lock|pipfile\.lock|go\.sum|cargo\.lock|gradle\.lockfile|gemfile\.lock)$/,
      /(^|\/)(composer\.lock|packages\.lock\.json)$/,
      /(^|\/)vendor\//,
    ],
  },
  {
    id: 'infrastructure',
    weight: 0.3,
    what: ['is infrastructure', 'are infrastructure'],
    topic: false,
    patterns: [
      /\.(tf|tfvars|hcl|bicep|dockerfile)$/,
      /(^|\/)(terraform|pulumi|ansible|k8s|kubernetes|deploy|charts|helm|manifests|infra|\.github|\.circleci)\//,
      /(^|\/)(dockerfile|containerfile)[^/]*$/,
      /(^|\/)(docker-)?compose[^/]*\.ya?ml$/,
      /(^|\/)(kustomization|slipway|\.gitlab-ci|azure-pipelines|bitbucket-pipelines|\.travis|serverless)\.ya?ml$/,
      /(^|\/)(jenkinsfile|procfile)$/,
    ],
  },
  {
    id: 'migration',
    weight: 0.3,
    what: ['is a migration', 'are migrations'],
    topic: false,
    patterns: [
      /(^|\/)(migrations?|migrate|alembic|flyway|liquibase|prisma|db\/changelog)\//,
      /\.sql$/,
      /(^|\/)schema\.(rb|prisma)$/,
    ],
  },
  {
    id: 'opaque',
    weight: 0.1,
    what: ['is binary or generated: nobody reads its diff', 'are binary or generated: nobody reads their diff'],
    topic: false,
    patterns: [
      /\.(bin|exe|dll|so|dylib|a|o|jar|war|class|wasm|node|pyc|zip|tar|t?gz|bz2|xz|7z|onnx|pt|pkl|parquet|db|sqlite)$/,
      /\.(pdf|docx|xlsx|mp3|mp4|mov|jks|p12|keystore)$/,
      /\.min\.(js|css)$|\.pb\.go$|_pb2\.pyi?$|\.g\.dart$/,
      /(^|\/)(dist|generated|__generated__)\//,
      /(^|\/)\.gitmodules$/,
    ],
  },
  {
    id: 'sensitive',
    weight: 0.3,
    what: [
      'touches sign-in, permissions, cryptography or payments',
      'touch sign-in, permissions, cryptography or payments',
    ],
    topic: true,
    patterns: [
      // Neither authors nor oracles are meant; `authorization` is.
      /auth(?!or(?!i))|login|session|saml|permission|rbac|crypto|password|credential/,
      /(?<![a-z])(jwt|acls?|m?tls|sso|mfa)(?![a-z])/,
      /payment|billing|invoice|checkout|ledger|refund/,
    ],
  },
];

/** Documentation and what only changes looks: an allow-list. SVG is not on it, as it can carry scripts. */
const DOCS: readonly RegExp[] = [
  /\.(md|markdown|rst|adoc|asciidoc)$/,
  /\.(png|jpe?g|gif|webp|avif|ico|css|scss|sass|less|woff2?|ttf)$/,
  /^(?=.*\.txt$)(.*\/)?docs?\//,
  /(^|\/)(license|licence|notice|authors|contributors|changelog|readme)(\.txt)?$/,
];

const TESTS: readonly RegExp[] = [
  /(^|\/)(tests?|__tests__|__snapshots__|specs?|e2e|testdata)\//,
  /[._](test|spec)\.[a-z0-9]+$/,
  /(^|\/)(test_[^/]*|conftest)\.py$/,
];

/**
 * Words by which a migration destroys or rewrites. There is no patch to read, only paths, counts and the message: a
 * migration counts as destructive where its path or the message says so, and as plain migration otherwise.
 */
const DESTRUCTIVE_PATH =
  /(?<![a-z])(drop|truncate|rename|remove|delete|purge|destroy|not[_-]?null|(alter|change)[_-]?(column|type)|retype)(s|d|p?ed|p?ing)?(?![a-z])/;
const DESTRUCTIVE_MESSAGE =
  /\b(drop|truncat|renam)\w*|\bnot[ -]null\b|\b(remov|delet|destroy|purg|chang|alter)\w*\b.{0,40}\b(columns?|tables?|index(es)?|constraints?|schema|types?|fields?)\b/i;

/** `Revert "Revert "…""` and git's newer `Reapply "…"`: what failed once is tried again. */
const REAPPLY = /^\s*(revert "revert|reapply\b)/i;

const FRIDAY = 5;
/** Of file systems' own limits the usual one. */
const MAX_PATH = 4096;

/** Each with the least that it applies from, the heaviest first. */
const CHURN: readonly (readonly [number, number])[] = [
  [1000, 0.25],
  [200, 0.12],
  [50, 0.05],
];

interface Looked {
  readonly file: ChangedFile;
  readonly kind: 'docs' | 'tests' | 'code';
  readonly rules: readonly PathRule[];
  /** Why the file can't be judged. */
  readonly odd: string | null;
  readonly paths: readonly string[];
}

/**
 * The risk of a change by fixed rules: score = 1 − Π(1 − weight) over distinct factors. It is bounded, every factor
 * explains itself, the order of files does not matter, and nothing that is added to a change can lower it. A model may
 * raise what it says and never lower it.
 *
 * Documentation alone is .02 and gets no other factor; with configuration that the release sets it is not alone. Authors'
 * history and how often files changed lately are not known here; what is not known never lowers.
 */
export function riskFloor(input: RiskInput): Risk {
  const { files, truncated, message, settings, tier, recentRollbackDays, localHour, localWeekday, policy } = input;
  const looked = (files ?? []).map(look);
  const blind = unknownBecause(files, truncated, looked);
  const runs = blind !== null || settings.length > 0 || looked.some((file) => file.kind === 'code');
  const kind = runs ? 'code' : testsOrDocs(looked);
  const factors: RiskFactor[] = [baseFactor(kind)];
  const add = (id: string, weight: number, reason: string): void => void factors.push({ id, weight, reason });

  if (blind !== null) add('unknown', 0.5, blind);
  const set = settings.length === 0 ? null : `the release sets ${names(settings)}`;
  for (const rule of heaviest(looked)) {
    const hit = looked.filter(({ rules }) => rules.includes(rule)).map(({ file }) => file.path);
    const reason = `${names(hit)} ${rule.what[new Set(hit).size === 1 ? 0 : 1]}`;
    add(rule.id, rule.weight, rule.id === CONFIG.id && set !== null ? `${reason}; ${set}` : reason);
  }
  if (set !== null && !factors.some(({ id }) => id === CONFIG.id)) add(CONFIG.id, CONFIG.weight, set);
  if (factors.some(({ id }) => id === 'migration')) {
    const migrations = looked.filter(({ rules }) => rules.some(({ id }) => id === 'migration'));
    const named = migrations.filter(({ paths }) => paths.some((path) => DESTRUCTIVE_PATH.test(fold(splitWords(path)))));
    if (named.length > 0) {
      add('migration.destructive', 0.45, `${names(named.map(({ file }) => file.path))} by name drops or rewrites data`);
    } else if (message !== null && DESTRUCTIVE_MESSAGE.test(message)) {
      add('migration.destructive', 0.45, 'the message says that the migration drops or rewrites data');
    }
  }

  // Tests and documentation don't run in production: only what does has a size.
  const code = looked.filter((file) => file.kind === 'code');
  const lines = code.reduce((sum, { file }) => sum + counted(file.added) + counted(file.deleted), 0);
  const churn = CHURN.find(([from]) => lines >= from);
  if (churn !== undefined) add('churn', churn[1], `${lines} lines changed`);
  const tops = new Set(code.flatMap(({ paths }) => paths.flatMap(topDirectory)));
  if (code.length > 20 || tops.size > 3) {
    add('spread', 0.18, `${code.length} files in ${Math.max(1, tops.size)} top directories`);
  } else if (code.length > 5) {
    add('spread', 0.08, `${code.length} files`);
  }

  if (kind !== 'docs') {
    if (message !== null && REAPPLY.test(message)) add('reapply', 0.1, 'brings back what was reverted before');
    if (tier <= 1) add('tier', tier <= 0 ? 0.15 : 0.08, `the service is of tier ${tier}`);
    if (recentRollbackDays !== null && recentRollbackDays <= 30) {
      const days = Math.max(0, Math.floor(recentRollbackDays));
      const ago = days === 0 ? 'less than a day ago' : days === 1 ? '1 day ago' : `${days} days ago`;
      add('rollback.recent', recentRollbackDays <= 7 ? 0.2 : 0.1, `the service was rolled back ${ago}`);
    }
    const time = badTime(localHour, localWeekday);
    if (time !== null) add('time', 0.08, time);
  }

  return riskOf(factors, tier, policy);
}

/** The assessment of record: a model may ask for more care than the floor, never for less. */
export function combineRisk(floor: Risk, opinion: ModelOpinion, policy: RiskPolicy): Risk {
  if (opinion.kind === 'off') return floor;
  if (opinion.kind === 'failed' || !isSane(opinion)) return { ...floor, approval: true };
  const score = round(Math.max(floor.score, opinion.score));
  return {
    score,
    level: levelOf(score),
    factors: [
      ...floor.factors,
      ...opinion.factors.map(({ name, reason }) => ({ id: `model.${slug(name)}`, weight: 0, reason })),
    ],
    strategy: moreCareful(moreCareful(floor.strategy, opinion.strategy), strategyFor(score, policy)),
    approval: floor.approval || opinion.approval || score >= policy.approvalFrom,
  };
}

export function levelOf(score: number): Risk['level'] {
  return score < 0.25 ? 'low' : score < 0.5 ? 'medium' : score < 0.75 ? 'high' : 'critical';
}

/** How careful a score makes us, by the team's thresholds. */
export function strategyFor(score: number, policy: RiskPolicy): Strategy {
  if (score >= policy.canary5From) return 'canary_5';
  if (score >= policy.canary10From) return 'canary_10';
  return score >= policy.canary25From ? 'canary_25' : 'direct';
}

/** The weight of what one file alone is, without its size: for putting the files that matter first. */
export function weightOf(file: ChangedFile): number {
  const { odd, rules } = look(file);
  return Math.max(odd === null ? 0 : 0.5, ...rules.map(({ weight }) => weight));
}

function riskOf(given: readonly RiskFactor[], tier: number, policy: RiskPolicy): Risk {
  // Multiplied in one order, so that the last bit of the score does not depend on the order of the rules.
  const factors = given.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const score = round(1 - factors.reduce((rest, { weight }) => rest * (1 - weight), 1));
  const has = (id: string): boolean => factors.some((factor) => factor.id === id);
  const always = has('unknown') || has('migration.destructive') || (has('sensitive') && tier <= 1);
  return {
    score,
    level: levelOf(score),
    factors,
    strategy: strategyFor(score, policy),
    approval: always || score >= policy.approvalFrom,
  };
}

function baseFactor(kind: Looked['kind']): RiskFactor {
  if (kind === 'docs') return { id: 'base.docs', weight: 0.02, reason: 'only documentation or looks' };
  if (kind === 'tests') return { id: 'base.tests', weight: 0.05, reason: 'only tests' };
  return { id: 'base.code', weight: 0.15, reason: 'any change may fail' };
}

function testsOrDocs(looked: readonly Looked[]): 'docs' | 'tests' {
  return looked.every(({ kind }) => kind === 'docs') ? 'docs' : 'tests';
}

/** The rules that hit any file; where two share an id, the heavier. */
function heaviest(looked: readonly Looked[]): readonly PathRule[] {
  const hit = PATH_RULES.filter((rule) => looked.some(({ rules }) => rules.includes(rule)));
  return hit.filter((rule) => !hit.some((other) => other.id === rule.id && other.weight > rule.weight));
}

function unknownBecause(
  files: readonly ChangedFile[] | null,
  truncated: boolean,
  looked: readonly Looked[],
): string | null {
  if (files === null) return 'it is not known which files changed';
  if (files.length === 0) return 'the list of changed files is empty';
  const reasons = truncated ? ['the list of changed files was cut at a limit'] : [];
  for (const reason of new Set(looked.flatMap(({ odd }) => odd ?? []).sort())) {
    reasons.push(`${names(looked.filter(({ odd }) => odd === reason).map(({ file }) => file.path))}: ${reason}`);
  }
  return reasons.length === 0 ? null : reasons.join('; ');
}

/** Judges one file by its path; of a rename, by the old path too. */
function look(file: ChangedFile): Looked {
  const paths = (file.oldPath === undefined ? [file.path] : [file.path, file.oldPath]).map(withSlashes);
  const judged = paths.map((path): Pick<Looked, 'rules' | 'kind'> => {
    // Nothing that long is a path, and matching it would take long.
    if (path.length > MAX_PATH) return { rules: [], kind: 'code' };
    const plain = path.toLowerCase();
    const isTest = TESTS.some((pattern) => pattern.test(plain));
    const folded = [fold(path), fold(splitWords(path))];
    const rules = PATH_RULES.filter(
      ({ topic, patterns }) =>
        !(topic && isTest) && patterns.some((pattern) => folded.some((text) => pattern.test(text))),
    );
    // Allow-lists are matched against the path as it is: no folding may make a file look harmless.
    const isDocs = DOCS.some((pattern) => pattern.test(plain));
    return { rules, kind: rules.length > 0 ? 'code' : isDocs ? 'docs' : isTest ? 'tests' : 'code' };
  });
  const rules = PATH_RULES.filter((rule) => judged.some((path) => path.rules.includes(rule)));
  const strange = paths.map(oddPath).find((reason) => reason !== null) ?? null;
  const kinds = judged.map(({ kind }) => kind);
  const kind = strange !== null || kinds.includes('code') ? 'code' : kinds.includes('tests') ? 'tests' : 'docs';
  // A binary file has no lines to count. Any other without counts is one whose size was not told.
  const sized = isCount(file.added) && isCount(file.deleted);
  const uncounted = kind === 'code' && !sized && !rules.some(({ id }) => id === 'opaque');
  return { file, kind, rules, odd: strange ?? (uncounted ? 'lines changed are not known' : null), paths };
}

function isCount(lines: number | null): boolean {
  return lines !== null && Number.isInteger(lines) && lines >= 0;
}

function counted(lines: number | null): number {
  return lines !== null && isCount(lines) ? lines : 0;
}

function withSlashes(path: string): string {
  return path.normalize('NFC').replaceAll('\\', '/').replace(/^\.\//, '');
}

/** Control, format and unassigned characters, lone surrogates, and variation selectors, which are not of class Cf. */
const HIDDEN = /[\p{C}\u{FE00}-\u{FE0F}\u{E0100}-\u{E01EF}]/u;
/** CJK is written together with Latin letters in honest names; Cyrillic or Greek within a word is a disguise. */
const LATIN = /\p{Script=Latin}/u;
const OTHER_ALPHABET =
  /(?![\p{Script=Latin}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Common}\p{Script=Inherited}])\p{L}/u;

function oddPath(path: string): string | null {
  if (path === '' || path.length > MAX_PATH) return 'no usable path';
  if (HIDDEN.test(path)) return 'hidden characters in the path';
  if (path.startsWith('/') || /^[a-z]:/i.test(path)) return 'the path is absolute';
  if (path.split('/').some((part) => part === '.' || part === '..')) return 'the path leaves its folder';
  const words = path.split(/[^\p{L}\p{M}]+/u);
  return words.some((word) => LATIN.test(word) && OTHER_ALPHABET.test(word)) ? 'the path mixes alphabets' : null;
}

/** Cyrillic and Greek letters that look like Latin ones; Unicode's own normal forms keep them apart. */
const LOOK_ALIKES: Readonly<Record<string, string>> = Object.fromEntries(
  ['аa', 'вb', 'сc', 'ԁd', 'еe', 'һh', 'іi', 'јj', 'кk', 'ӏl', 'мm', 'нh', 'оo', 'рp', 'ԛq', 'ѕs', 'тt', 'уy', 'ԝw']
    .concat(['хx', 'αa', 'βb', 'εe', 'ιi', 'κk', 'νv', 'οo', 'ρp', 'τt', 'υu', 'χx', 'ωw', 'ıi'])
    .map((pair) => [pair.slice(0, 1), pair.slice(1)]),
);

/** A path as the rules read it. Folding can only make more rules hit. */
function fold(path: string): string {
  const bare = path.normalize('NFKD').replace(/[\p{M}\p{Cf}]/gu, '');
  return bare.toLowerCase().replace(/[^\0-\x7f]/g, (letter) => LOOK_ALIKES[letter] ?? letter);
}

/** `DropUsers` as `Drop_Users`. */
function splitWords(path: string): string {
  return path.replace(/([a-z0-9])([A-Z])/g, '$1_$2');
}

function topDirectory(path: string): readonly string[] {
  const slash = path.indexOf('/');
  return slash > 0 ? [path.slice(0, slash)] : [];
}

function badTime(hour: number, weekday: number): string | null {
  if (weekday === 0 || weekday === 6) return 'it is the weekend';
  if (weekday === FRIDAY && hour >= 15) return 'it is Friday afternoon';
  return hour >= 22 || hour < 6 ? 'it is night' : null;
}

/** `db/migrations/7.sql and 3 more`. Paths are others' text: what does not print is not shown, and they are cut. */
function names(given: readonly string[]): string {
  const sorted = [...new Set(given)].sort();
  const first = (sorted[0] ?? '').replace(new RegExp(HIDDEN, 'gu'), '\u{FFFD}') || '(no name)';
  const shown = first.length > 120 ? `…${first.slice(-119)}` : first;
  return sorted.length > 1 ? `${shown} and ${sorted.length - 1} more` : shown;
}

function isSane({ score, strategy }: { readonly score: number; readonly strategy: Strategy }): boolean {
  return Number.isFinite(score) && score >= 0 && score <= 1 && STRATEGIES.includes(strategy);
}

function slug(name: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replace(/^-+|-+$/g, '');
  return plain === '' ? 'other' : plain;
}

function round(score: number): number {
  return Math.round(score * 1000) / 1000;
}
