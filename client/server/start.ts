import { randomBytes } from 'node:crypto';
import { parseImageReference } from '../../domain/image-reference.js';
import { actorOf } from '../../domain/offers.js';
import type { Identity } from '../../domain/people.js';
import { redactSecrets } from '../../domain/redact.js';
import { releaseName, renamedConfig, rolloutIdFor, withTag } from '../../domain/release.js';
import type { Release } from '../../domain/release.js';
import { isFinal } from '../../domain/rollout.js';
import type { RolloutRequest, RolloutView } from '../../domain/rollout.js';
import type { Slipway } from '../slipway.js';
import type { StartedRun, StartRun } from './contract.js';
import type { Policies } from './policies.js';
import { ApiProblem } from './problems.js';
import type { Runs } from './runs.js';

type Wanted = StartRun & { readonly tenant: string };

/** The key of this request, from header or body. @throws ApiProblem `key-missing`, `keys-differ`, `invalid-request` */
export function idempotencyKey(header: string | null, body: string | undefined): string {
  // The draft's header is a structured string, in quotes; most clients send it bare.
  const given = header === null ? undefined : (/^"(.*)"$/.exec(header)?.[1] ?? header);
  if (given !== undefined && !/^[\x21-\x7e]{1,255}$/.test(given))
    throw new ApiProblem('invalid-request', 'the header Idempotency-Key is no key', {
      errors: [
        { pointer: '/headers/Idempotency-Key', detail: '1 to 255 printable characters without blanks are wanted' },
      ],
    });
  if (given !== undefined && body !== undefined && given !== body)
    throw new ApiProblem('keys-differ', 'the header Idempotency-Key and idempotencyKey in the body are not the same');
  const key = given ?? body;
  if (key === undefined)
    throw new ApiProblem('key-missing', 'neither the header Idempotency-Key nor idempotencyKey is given');
  return key;
}

/** The trace that a `traceparent` names (W3C Trace Context), or a new one. */
export function traceIdOf(traceparent: string | undefined): string {
  const given = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/.exec(traceparent ?? '')?.[1];
  return given === undefined || /^0+$/.test(given) ? randomBytes(16).toString('hex') : given;
}

/** What a caller asks for, with nothing done yet, and what there is to say of it. */
export interface Asked {
  readonly request: RolloutRequest;
  readonly remarks: readonly string[];
}

/** @throws ApiProblem where it can't be asked for */
export async function requestOf(
  identity: Identity,
  { actor, tenant, payload }: Wanted,
  key: string,
  policies: Policies,
): Promise<Asked> {
  const { service, environment } = payload;
  const { policy, images, remark } = await policies.find(service, environment, payload.slipwayYaml ?? null);
  const release = releaseOf(images, payload, policy.target.platform === 'kubernetes');
  const who = actorOf(identity, policy.lane);
  const request: RolloutRequest = {
    rolloutId: rolloutIdFor({ ...policy.lane, tenant, key }),
    tenant,
    actor: actor === undefined || actor === identity.subject ? who : { ...who, onBehalfOf: actor },
    release,
    policy,
    priority: payload.hotfix === true ? 'hotfix' : 'normal',
    retryOf: null,
    requestedAt: new Date().toISOString(),
  };
  return { request, remarks: remark === undefined ? [] : [remark] };
}

/** A retry names no tenant. */
const TENANT = 'default';

/**
 * The same release again: under the same policy, or under today's where the server keeps policies, for what was allowed
 * once need not be allowed now. @throws ApiProblem `not-over`, `refused`, `no-policy`
 */
export async function retryOf(
  identity: Identity,
  view: RolloutView,
  key: string,
  policies: Policies,
): Promise<RolloutRequest> {
  if (!isFinal(view.phase)) throw new ApiProblem('not-over', `rollout ${view.rolloutId} is not over: ${view.status}`);
  if (view.outcome === 'completed')
    throw new ApiProblem('refused', `rollout ${view.rolloutId} was shipped: there is nothing to try again`, {
      next: 'deploy the release by a request of its own',
    });
  const policy = (await policies.kept(view.lane)) ?? view.policy;
  return {
    rolloutId: rolloutIdFor({ ...view.lane, tenant: TENANT, key }),
    tenant: TENANT,
    actor: actorOf(identity, view.lane),
    release: view.release,
    policy,
    priority: 'normal',
    retryOf: view.rolloutId,
    requestedAt: new Date().toISOString(),
  };
}

/** Asks the lane. @throws ApiProblem `key-reused`, `lane-busy` */
export async function startRun(
  slipway: Slipway,
  runs: Runs,
  { request, remarks: known }: Asked,
  traceId: string,
): Promise<{ readonly status: 200 | 202; readonly body: StartedRun }> {
  const receipt = await slipway.enqueue(request);
  const { rolloutId } = request;
  const ref = { lane: request.policy.lane, rolloutId };
  const page = runs.pageOf(rolloutId);
  const said = [...known, ...runs.foreseen(request)];
  const remarks = said.length === 0 ? {} : { remarks: said };
  const named = `${releaseName(request.release.images)} → ${ref.lane.service} in ${ref.lane.environment}`;
  switch (receipt.kind) {
    case 'conflict':
      throw new ApiProblem('key-reused', receipt.text);
    case 'busy':
      throw new ApiProblem('lane-busy', receipt.text);
    case 'duplicate': {
      runs.remember(ref);
      const found = receipt.outcome === null ? await slipway.find(ref) : null;
      const status = receipt.outcome ?? (found?.kind === 'running' ? found.view.status : 'queued');
      return {
        status: 200,
        body: {
          run_id: rolloutId,
          trace_id: traceId,
          status,
          response: { text: `asked for before, the same rollout: ${named}`, page },
          ...(receipt.outcome === null ? remarks : {}),
        },
      };
    }
    case 'accepted': {
      runs.remember(ref);
      const base = { run_id: rolloutId, trace_id: traceId, ...remarks } as const;
      if (receipt.blocked !== null)
        return {
          status: 202,
          body: {
            ...base,
            status: 'queued',
            escalation: { gate: null, reason: `the lane is blocked: ${receipt.blocked}`, page },
          },
        };
      const place = receipt.ahead === 0 ? '' : `, ${receipt.ahead} ahead of it in the lane`;
      return {
        status: 202,
        body: {
          ...base,
          status: receipt.ahead === 0 ? 'accepted' : 'queued',
          response: { text: `${named}${place}`, page },
        },
      };
    }
  }
}

function releaseOf(known: Readonly<Record<string, string>>, payload: StartRun['payload'], strict: boolean): Release {
  const { tag, images = {}, env = {}, config, change } = payload;
  const wrong = (pointer: string, detail: string): ApiProblem =>
    new ApiProblem('invalid-request', detail, { errors: [{ pointer: `/payload${pointer}`, detail }] });
  for (const container of Object.keys(images)) {
    if (!Object.hasOwn(known, container))
      throw wrong(
        `/images/${container}`,
        `the service has no container ${container}; known: ${Object.keys(known).join(', ')}`,
      );
  }
  if (tag === undefined && Object.keys(images).length === 0)
    throw wrong('', 'there is nothing to deploy: neither tag nor images is given');
  const wanted = Object.fromEntries(
    Object.entries(known).map(([container, image]) => [
      container,
      images[container] ?? (tag === undefined ? image : withTag(image, tag)),
    ]),
  );
  for (const [container, image] of strict ? Object.entries(wanted) : []) {
    const parsed = parseImageReference(image);
    if (!parsed.ok)
      throw wrong(
        `/images/${container}`,
        `${image} is no image reference: its ${parsed.field} is not accepted; ${parsed.remedy}`,
      );
  }
  if (config !== undefined && !strict) throw wrong('/config', "the service's platform has no ConfigMaps and Secrets");
  const { message = null } = change ?? {};
  return {
    images: wanted,
    env,
    ...renamedConfig({ configMaps: config?.configMaps ?? {}, secrets: config?.secrets ?? {} }),
    change: {
      commit: change?.commit ?? null,
      author: change?.author ?? null,
      message: message === null ? null : redactSecrets(message),
      files: change?.files ?? null,
      truncated: change?.truncated ?? false,
    },
  };
}
