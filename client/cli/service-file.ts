import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Policy } from '../../domain/policy.js';
import { formatProblems, parseSlipwayYaml, policyFor } from '../../formats/slipway-yaml.js';
import type { Problem, SlipwayConfig } from '../../formats/slipway-yaml.js';
import type { CliContext, FileOptions } from './context.js';
import { usage } from './context.js';

export const DEFAULT_FILE = 'slipway.yaml';

export interface ServiceFile {
  readonly fileName: string;
  readonly config: SlipwayConfig;
  readonly text: string;
  readonly warnings: readonly Problem[];
}

/** Reads a service's file; all its problems are said at once, each with its place. */
export async function readServiceFile(context: CliContext, options: FileOptions): Promise<ServiceFile> {
  const fileName = options.file ?? DEFAULT_FILE;
  const text = await readText(path.resolve(context.cwd, fileName), fileName);
  const parsed = parseSlipwayYaml(text, fileName);
  if (!parsed.ok)
    throw usage(
      `${fileName} is not valid:\n${formatProblems(parsed.problems, fileName, text)}`,
      'docs/slipway-yaml.md tells what may stand there',
    );
  return { fileName, config: parsed.config, text, warnings: parsed.warnings };
}

/** The policy of a service in an environment, with the images that it names. */
export async function readPolicy(
  context: CliContext,
  options: FileOptions & { readonly service?: string },
): Promise<{ readonly policy: Policy; readonly images: Readonly<Record<string, string>>; readonly text: string }> {
  const { fileName, config, text } = await readServiceFile(context, options);
  if (options.service !== undefined && options.service !== config.service) {
    throw usage(
      `${fileName} is about service "${config.service}", not "${options.service}"`,
      'name another file with --file',
    );
  }
  const environments = Object.keys(config.environments);
  const environment = options.env ?? (environments.length === 1 ? environments[0] : undefined);
  if (environment === undefined)
    throw usage(`${fileName} has several environments: ${environments.join(', ')}`, 'name one with --env');
  const baseDir = path.dirname(path.resolve(context.cwd, fileName));
  const found = policyFor(config, environment, baseDir);
  if (!found.ok) throw usage(formatProblems(found.problems, fileName, text));
  return { policy: found.policy, images: found.images, text };
}

async function readText(file: string, shown: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw usage(
      missing
        ? `there is no file ${shown}`
        : `${shown} can't be read: ${error instanceof Error ? error.message : String(error)}`,
      'go to the folder of the service, or name its file with --file',
    );
  }
}
