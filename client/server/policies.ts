import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { canonicalJson } from '../../domain/canonical.js';
import type { Policy } from '../../domain/policy.js';
import type { LaneRef } from '../../domain/target.js';
import { formatProblems, parseSlipwayYaml, policyFor } from '../../formats/slipway-yaml.js';
import type { SlipwayConfig } from '../../formats/slipway-yaml.js';
import { CliError, EXIT } from '../exit-codes.js';
import { ApiProblem } from './problems.js';

const LOOK_EVERY_MS = 10_000;
const MAX_FILES = 2000;

export interface FoundPolicy {
  readonly policy: Policy;
  readonly images: Readonly<Record<string, string>>;
  /** What the caller should know of it. */
  readonly remark?: string;
}

/** What a service's `slipway.yaml` says of an environment, wherever that file comes from. */
export interface Policies {
  /** @throws ApiProblem `no-policy`, `invalid-policy` */
  find(service: string, environment: string, sent: string | null): Promise<FoundPolicy>;
  /** The server's own policy of today; null: it keeps none. @throws ApiProblem `no-policy` */
  kept(lane: LaneRef): Promise<Policy | null>;
}

/** Callers send theirs: for a server without a folder of its own. */
export function sentPolicies(): Policies {
  return {
    kept: async () => null,
    async find(service, environment, sent) {
      if (sent === null)
        throw new ApiProblem(
          'no-policy',
          `this server keeps no policies of its own, and payload.slipwayYaml is not given for ${service}`,
        );
      const parsed = parseSlipwayYaml(sent, 'slipwayYaml');
      if (!parsed.ok) throw new ApiProblem('invalid-policy', formatProblems(parsed.problems, 'slipwayYaml', ''));
      return pick(parsed.config, service, environment, undefined);
    },
  };
}

interface Loaded {
  readonly file: string;
  readonly config: SlipwayConfig;
}

/**
 * The policies of a folder: all `slipway.yaml` and `*.slipway.yaml` below it. Read again when files change; a file that
 * has become invalid stops nothing: what it said before holds, and the log says why.
 * @throws CliError (2) where a file is invalid at the start
 */
export async function folderPolicies(
  folder: string,
  warn: (text: string) => void,
  now: () => number = Date.now,
): Promise<Policies> {
  const first = await load(folder);
  if (first.problems.length > 0)
    throw new CliError(
      EXIT.usage,
      `the policies in ${folder} can't be used:\n${first.problems.join('\n')}`,
      'correct them, then start the server again',
    );
  let { byService } = first;
  let { signature } = first;
  let lookedMs = now();
  return {
    kept: async ({ service, environment }) => (await find(service, environment, null)).policy,
    find,
  };

  async function find(service: string, environment: string, sent: string | null): Promise<FoundPolicy> {
    if (now() - lookedMs > LOOK_EVERY_MS) {
      lookedMs = now();
      try {
        if ((await signatureOf(await filesOf(folder))) !== signature) {
          const again = await load(folder);
          for (const problem of again.problems)
            warn(`a policy has become invalid, what it said before holds: ${problem}`);
          byService = new Map([...(again.problems.length > 0 ? byService : []), ...again.byService]);
          signature = again.signature;
        }
      } catch (error) {
        warn(
          `the policies in ${folder} can't be read again: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
    const found = byService.get(service);
    if (found === undefined)
      throw new ApiProblem('no-policy', `no slipway.yaml of this server is about the service ${service}`);
    const own = pick(found.config, service, environment, path.dirname(found.file));
    if (sent === null || saysTheSame(sent, found.config, environment)) return own;
    return {
      ...own,
      remark: `this server keeps its own policies: the slipway.yaml that was sent says something else of ${service} in ${environment}, and does not count`,
    };
  }
}

/** Commands send the file that they read, whatever the server does: only where it differs is there something to say. */
function saysTheSame(sent: string, config: SlipwayConfig, environment: string): boolean {
  const parsed = parseSlipwayYaml(sent, 'slipwayYaml');
  if (!parsed.ok) return false;
  const [theirs, own] = [parsed.config, config].map((each) => policyFor(each, environment));
  return (
    theirs?.ok === true &&
    own?.ok === true &&
    canonicalJson([theirs.policy, theirs.images]) === canonicalJson([own.policy, own.images])
  );
}

function pick(config: SlipwayConfig, service: string, environment: string, baseDir: string | undefined): FoundPolicy {
  if (config.service !== service)
    throw new ApiProblem('invalid-policy', `slipwayYaml is about the service ${config.service}, not ${service}`);
  const found = policyFor(config, environment, baseDir);
  if (found.ok) return found;
  throw new ApiProblem('no-policy', found.problems.map(({ message, remedy }) => `${message}: ${remedy}`).join('; '));
}

async function load(folder: string): Promise<{
  readonly byService: Map<string, Loaded>;
  readonly problems: readonly string[];
  readonly signature: string;
}> {
  const files = await filesOf(folder);
  const byService = new Map<string, Loaded>();
  const problems: string[] = [];
  for (const file of files) {
    const shown = path.relative(folder, file);
    const text = await readFile(file, 'utf8');
    const parsed = parseSlipwayYaml(text, shown);
    if (!parsed.ok) {
      problems.push(formatProblems(parsed.problems, shown, text));
      continue;
    }
    const before = byService.get(parsed.config.service);
    if (before !== undefined)
      problems.push(
        `${shown}: the service ${parsed.config.service} has a policy in ${path.relative(folder, before.file)} already`,
      );
    else byService.set(parsed.config.service, { file, config: parsed.config });
  }
  return { byService, problems, signature: await signatureOf(files) };
}

async function filesOf(folder: string): Promise<readonly string[]> {
  let entries;
  try {
    entries = await readdir(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    throw new CliError(
      EXIT.usage,
      `the folder of policies ${folder} can't be read: ${error instanceof Error ? error.message : String(error)}`,
      'correct `policies` in the server’s file',
    );
  }
  return entries
    .filter((entry) => entry.isFile() && /(^|\.)slipway\.ya?ml$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
    .slice(0, MAX_FILES);
}

async function signatureOf(files: readonly string[]): Promise<string> {
  const stats = await Promise.all(files.map((file) => stat(file)));
  return files.map((file, at) => `${file} ${stats[at]?.mtimeMs} ${stats[at]?.size}`).join('\n');
}
