import type { Policy } from '../../domain/policy.js';
import { parseImageReference } from '../../domain/image-reference.js';
import { OBJECT_NAME, renamedConfig, withTag } from '../../domain/release.js';
import type { Change, Release } from '../../domain/release.js';
import type { Target } from '../../domain/target.js';
import { readGitChange } from '../git.js';
import { redactSecrets } from '../../domain/redact.js';
import { usage } from './context.js';
import type { CliContext, FileOptions } from './context.js';
import { readPolicy } from './service-file.js';

/** The options that say what to ship. */
export interface ReleaseOptions extends FileOptions {
  readonly tag?: string;
  readonly image?: readonly string[];
  readonly set?: readonly string[];
  readonly useConfigMap?: readonly string[];
  readonly useSecret?: readonly string[];
  readonly base?: string;
  readonly git?: boolean;
  readonly author?: string;
  readonly message?: string;
}

/** What would be shipped and under which policy: from the file, the flags and Git. */
export async function describeRelease(
  context: CliContext,
  service: string | undefined,
  options: ReleaseOptions,
): Promise<{ readonly policy: Policy; readonly release: Release; /** The file's. */ readonly text: string }> {
  const { policy, images, text } = await readPolicy(context, {
    ...options,
    ...(service === undefined ? {} : { service }),
  });
  const wanted = releaseImages(images, options);
  if (policy.target.platform === 'kubernetes') checkReferences(wanted);
  const release: Release = {
    images: wanted,
    env: variables(options.set ?? []),
    ...configNames(policy.target, options),
    change: await readChange(context, options),
  };
  return { policy, release, text };
}

/** The images of the release: the file's, with `--tag` or `--image`. */
export function releaseImages(
  images: Readonly<Record<string, string>>,
  options: Pick<ReleaseOptions, 'tag' | 'image'>,
): Readonly<Record<string, string>> {
  const given = assignments(options.image ?? [], '--image');
  const unknown = Object.keys(given).filter((container) => !Object.hasOwn(images, container));
  if (unknown.length > 0)
    throw usage(
      `--image names no container of the service: ${unknown.join(', ')}`,
      `known: ${Object.keys(images).join(', ')}`,
    );
  for (const [container, image] of Object.entries(given)) {
    if (!/^\S{1,255}$/.test(image))
      throw usage(
        `--image ${container}=${image} is no image reference`,
        'write it without blanks, 255 characters at most, as in registry/hello:v2',
      );
  }
  const { tag } = options;
  if (tag === undefined && Object.keys(given).length === 0)
    throw usage(
      'nothing to deploy: neither --tag nor --image is given',
      'say what: --tag v2, or --image app=registry/hello:v2',
    );
  if (tag !== undefined && !/^[\w][\w.-]{0,127}$/.test(tag))
    throw usage(`--tag "${tag}" is no image tag`, 'write letters, digits, _ . and -, 128 characters at most');
  return Object.fromEntries(
    Object.entries(images).map(([container, image]) => [
      container,
      given[container] ?? (tag === undefined ? image : withTag(image, tag)),
    ]),
  );
}

/** What no container runtime could read is said before anybody is asked. */
function checkReferences(images: Readonly<Record<string, string>>): void {
  for (const [container, image] of Object.entries(images)) {
    const parsed = parseImageReference(image);
    if (!parsed.ok)
      throw usage(
        `image ${image} of container ${container}: its ${parsed.field} is ${JSON.stringify(parsed.value)}`,
        parsed.remedy,
      );
  }
}

function assignments(list: readonly string[], flag: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    list.map((item) => {
      const at = item.indexOf('=');
      if (at <= 0 || at === item.length - 1)
        throw usage(
          `${flag} "${item}" has no ${at < 0 ? '=' : at === 0 ? 'name' : 'value'}`,
          `write ${flag} NAME=VALUE`,
        );
      return [item.slice(0, at), item.slice(at + 1)];
    }),
  );
}

/** Environment variables of the release. */
function variables(list: readonly string[]): Readonly<Record<string, string>> {
  const given = assignments(list, '--set');
  for (const name of Object.keys(given)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw usage(`--set: "${name}" is no name of a variable`, 'letters, digits and _, not beginning with a digit');
  }
  return given;
}

/** Other ConfigMaps and Secrets for the template to refer to. */
function configNames(target: Target, { useConfigMap = [], useSecret = [] }: ReleaseOptions): Pick<Release, 'config'> {
  const names = (list: readonly string[], flag: string): Readonly<Record<string, string>> => {
    const given = assignments(list, flag);
    const wrong = Object.entries(given)
      .flat()
      .find((name) => !OBJECT_NAME.test(name));
    if (wrong !== undefined)
      throw usage(
        `${flag}: ${JSON.stringify(wrong)} is no name of a Kubernetes object`,
        'write lower-case letters, digits, - and ., 253 characters at most, as in app-config=app-config-9e1b',
      );
    return given;
  };
  const chosen = renamedConfig({
    configMaps: names(useConfigMap, '--use-config-map'),
    secrets: names(useSecret, '--use-secret'),
  });
  if (chosen.config !== undefined && target.platform !== 'kubernetes')
    throw usage(
      `${useConfigMap.length > 0 ? '--use-config-map' : '--use-secret'}: the platform ${target.platform} has no such objects`,
      'set variables with --set, or in slipway.yaml (run.env)',
    );
  return chosen;
}

/** The change, from Git where there is a checkout; what is said by flags wins. */
async function readChange(context: CliContext, options: ReleaseOptions): Promise<Change> {
  const unknown: Change = { commit: null, author: null, message: null, files: null, truncated: false };
  let change = unknown;
  if (options.git !== false) {
    const read = await readGitChange({
      cwd: context.cwd,
      timeoutMs: 15_000,
      ...(options.base === undefined ? {} : { base: options.base }),
    });
    if (read.ok) {
      change = read.change;
      for (const warning of read.warnings) context.note(`slipway: ${warning}`);
    } else if (options.base !== undefined) {
      throw usage(`--base ${options.base}: ${read.reason}`, 'name a commit of this checkout, or leave --base out');
    } else {
      context.note(
        `slipway: what changed is not known (${read.reason}): the risk floor says "unknown", and a person must approve unless the policy asks for nobody`,
      );
    }
  }
  const message = options.message ?? change.message;
  return {
    ...change,
    author: options.author ?? change.author,
    message: message === null ? null : redactSecrets(message),
  };
}
