import { randomUUID } from 'node:crypto';
import type { Policy } from '../../domain/policy.js';
import { releaseName, rolloutIdFor, withTag } from '../../domain/release.js';
import type { Change, Release } from '../../domain/release.js';
import type { RolloutRequest } from '../../domain/rollout.js';
import { readGitChange } from '../git.js';
import { CliError, EXIT } from '../exit-codes.js';
import { redactSecrets } from '../redact.js';
import { Slipway } from '../slipway.js';
import type { RolloutRef } from '../slipway.js';
import { rolloutWorkflowId } from '../../workflows/messages.js';
import { actorFrom } from './actor.js';
import type { ActorOptions } from './actor.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult, FileOptions } from './context.js';
import { follow } from './follow.js';
import { parseDurationOption } from './options.js';
import { readPolicy } from './service-file.js';

export interface DeployOptions extends FileOptions, ActorOptions {
  readonly tag?: string;
  readonly image?: readonly string[];
  readonly set?: readonly string[];
  readonly key?: string;
  readonly base?: string;
  readonly git?: boolean;
  readonly author?: string;
  readonly message?: string;
  readonly hotfix?: boolean;
  /** `--wait`, or `--wait=held`. */
  readonly wait?: boolean | string;
  readonly waitTimeout?: string;
}

/** `slipway deploy`: asks for a rollout, and with `--wait` stays until its end. */
export async function deploy(
  context: CliContext,
  service: string | undefined,
  options: DeployOptions,
): Promise<CommandResult> {
  const waiting = waitOptions(options);
  const { policy, release } = await describeRelease(context, service, options);
  const actor = await actorFrom(context, options);
  const tenant = context.env['SLIPWAY_TENANT'] || 'default';
  const key = options.key ?? randomUUID();
  const request: RolloutRequest = {
    rolloutId: rolloutIdFor({ ...policy.lane, tenant, key }),
    tenant,
    actor,
    release,
    policy,
    priority: options.hotfix === true ? 'hotfix' : 'normal',
    retryOf: null,
    requestedAt: new Date().toISOString(),
  };
  return start(context, request, waiting);
}

/** What would be shipped and under which policy: from the file, the flags and Git. */
export async function describeRelease(
  context: CliContext,
  service: string | undefined,
  options: DeployOptions,
): Promise<{ readonly policy: Policy; readonly release: Release }> {
  const { policy, images } = await readPolicy(context, { ...options, ...(service === undefined ? {} : { service }) });
  const release: Release = {
    images: releaseImages(images, options),
    env: variables(options.set ?? []),
    change: await readChange(context, options),
  };
  return { policy, release };
}

export interface Waiting {
  readonly wait: boolean;
  readonly untilHeld: boolean;
  readonly timeoutMs: number | null;
}

export function waitOptions(options: Pick<DeployOptions, 'wait' | 'waitTimeout'>): Waiting {
  const { wait } = options;
  if (typeof wait === 'string' && wait !== 'held')
    throw usage(`--wait=${wait} is not known`, 'use --wait, or --wait=held to return as soon as a person is needed');
  if (options.waitTimeout !== undefined && wait === undefined)
    throw usage('--wait-timeout needs --wait', 'add --wait, or leave --wait-timeout out');
  return {
    wait: wait !== undefined && wait !== false,
    untilHeld: wait === 'held',
    timeoutMs: options.waitTimeout === undefined ? null : parseDurationOption('--wait-timeout', options.waitTimeout),
  };
}

/** Sends a request to its lane, says what came of it, and follows it if asked to. */
export async function start(context: CliContext, request: RolloutRequest, waiting: Waiting): Promise<CommandResult> {
  const slipway = await Slipway.connect(context.env);
  try {
    const { lane } = request.policy;
    const receipt = await slipway.enqueue(request);
    const ref: RolloutRef = { lane, rolloutId: request.rolloutId };
    if (receipt.kind === 'conflict')
      throw new CliError(EXIT.usage, receipt.text, `see what it was used for: slipway status ${receipt.rolloutId}`);
    if (receipt.kind === 'busy')
      throw new CliError(EXIT.laneBusy, receipt.text, `wait for it: slipway watch ${receipt.running}`);
    const again = receipt.kind === 'duplicate' ? ' (asked for before: the same rollout)' : '';
    const place = receipt.kind === 'accepted' && receipt.ahead > 0 ? `, ${receipt.ahead} ahead of it in the lane` : '';
    context.note(
      `rollout ${request.rolloutId}${again}: ${releaseName(request.release.images)} → ${lane.service} in ${lane.environment}${place}`,
    );
    if (receipt.kind === 'accepted' && receipt.blocked !== null)
      context.note(
        `the lane is blocked: ${receipt.blocked}\n  → slipway lane unblock ${lane.service} --env ${lane.environment} --reason "…"`,
      );
    if (!waiting.wait) {
      if (!context.json) {
        context.out(request.rolloutId);
        context.note(`  watch it:   slipway watch ${request.rolloutId}`);
        context.note(`  Temporal:   ${webLink(context, slipway, ref)}`);
      }
      return done({
        rolloutId: request.rolloutId,
        workflowId: rolloutWorkflowId(lane, request.rolloutId),
        lane,
        receipt,
        temporalWeb: webLink(context, slipway, ref),
      });
    }
    context.note(`Temporal Web: ${webLink(context, slipway, ref)}`);
    return await follow(context, slipway, ref, waiting);
  } finally {
    await slipway.close();
  }
}

/** Where Temporal Web shows a rollout: `SLIPWAY_TEMPORAL_WEB`, else the dev server's usual port. */
export function webLink(context: CliContext, slipway: Slipway, ref: RolloutRef): string {
  const base = (context.env['SLIPWAY_TEMPORAL_WEB'] || 'http://localhost:8233').replace(/\/$/, '');
  const id = encodeURIComponent(rolloutWorkflowId(ref.lane, ref.rolloutId));
  return `${base}/namespaces/${slipway.client.options.namespace}/workflows/${id}`;
}

/** The images of the release: the file's, with `--tag` or `--image`. */
export function releaseImages(
  images: Readonly<Record<string, string>>,
  options: Pick<DeployOptions, 'tag' | 'image'>,
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

/** The change, from Git where there is a checkout; what is said by flags wins. */
async function readChange(context: CliContext, options: DeployOptions): Promise<Change> {
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
        `slipway: what changed is not known (${read.reason}): the risk floor says "unknown" and a person must approve`,
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
