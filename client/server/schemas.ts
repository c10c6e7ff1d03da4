/** The shapes of the API for reading and for the OpenAPI document: contract.ts has the same as types. */
import { z } from '@hono/zod-openapi';
import { VERBS } from '../../domain/approval/decision.js';
import { OBJECT_NAME } from '../../domain/release.js';
import { PHASES } from '../../domain/rollout.js';
import { RIGHTS, ROLES } from '../../domain/people.js';
import { LiveStageShape } from './follow/live.js';

/** Before a text of the caller's gets into a path, a workflow's id or a query. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const Id = z
  .string()
  .regex(ID_PATTERN, 'write letters, digits and . _ -, beginning with a letter or digit, 128 at most');
/** Printable, on one line. */
const line = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\u0000-\u001f\u007f]*$/, 'write one line without control characters');
const text = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$/, 'leave out control characters');
const Instant = z.iso.datetime({ offset: true });

export const RunId = z
  .string()
  .regex(/^[0-9a-f]{16}$/)
  .openapi({ example: '3f2a9c1e5b7d8f00' });
export const DigestText = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'write sha256: and 64 hex digits, as it was shown');
const Key = z.string().regex(/^[\x21-\x7e]{1,255}$/, 'write 1 to 255 printable characters without blanks');

/** As Git tells it: any bytes but NUL may stand in a path. */
const GitPath = z.string().min(1).max(4096);
const LineCount = z
  .int()
  .min(0)
  .max(1_000_000_000)
  .nullable()
  .openapi({ description: 'Lines; null for binary files, or where it is not known.' });
const ObjectName = z.string().regex(OBJECT_NAME);
const ObjectNames = z.record(ObjectName, ObjectName).default({});
const ChangedFile = z.strictObject({
  path: GitPath,
  oldPath: GitPath.optional().openapi({ description: 'Former path of a rename.' }),
  added: LineCount,
  deleted: LineCount,
});

export const StartRunBody = z
  .strictObject({
    actor: line(200)
      .min(1)
      .optional()
      .openapi({ description: 'The authenticated subject; another name is kept as onBehalfOf.' }),
    tenant: Id.default('default'),
    task: z.literal('deploy'),
    payload: z.strictObject({
      service: Id,
      environment: Id,
      tag: z
        .string()
        .regex(/^\w[\w.-]{0,127}$/)
        .optional(),
      images: z.record(Id, z.string().regex(/^\S{1,255}$/)).optional(),
      env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/), text(8192)).optional(),
      config: z.strictObject({ configMaps: ObjectNames, secrets: ObjectNames }).optional().openapi({
        description:
          'Other ConfigMaps and Secrets for the Deployment to refer to: new name by the old one, or by what both begin with.',
      }),
      change: z
        .strictObject({
          commit: z
            .string()
            .regex(/^[0-9a-f]{7,64}$/)
            .optional(),
          author: line(200).min(1).optional(),
          message: text(65_536).optional(),
          files: z.array(ChangedFile).max(3000).optional(),
          truncated: z.boolean().optional().openapi({ description: 'Whether `files` was cut at a limit.' }),
        })
        .optional(),
      hotfix: z.boolean().optional(),
      slipwayYaml: z.string().max(200_000).optional(),
    }),
    idempotencyKey: Key.optional(),
  })
  .openapi('StartRun');

export const DecideBody = z
  .strictObject({
    id: Id,
    verb: z.enum(VERBS),
    gate: Id.optional(),
    planDigest: DigestText.optional(),
    reason: text(2000).optional(),
    full: z.boolean().optional(),
  })
  .openapi('Decision');

export const RetryBody = z.strictObject({ idempotencyKey: Key.optional() }).openapi('Retry');

export const TokenBody = z.strictObject({ token: z.string().min(1).max(200) }).openapi('TokenLogin');

/** Alertmanager's webhook, version 4; what is not read here may be anything. */
export const AlertsBody = z
  .looseObject({
    version: z.string().optional(),
    alerts: z
      .array(
        z.looseObject({
          status: z.enum(['firing', 'resolved']),
          labels: z.record(z.string(), z.string()),
          annotations: z.record(z.string(), z.string()).default({}),
          startsAt: Instant,
          fingerprint: z.string().regex(/^[0-9a-zA-Z]{1,64}$/),
        }),
      )
      .max(1000),
  })
  .openapi('AlertmanagerWebhook');

export const ListQuery = z.strictObject({
  state: z.enum(['open', 'waiting-for-me', 'ended']).optional(),
  service: Id.optional(),
  environment: Id.optional(),
  limit: z
    .string()
    .regex(/^([1-9]\d?|100)$/, 'write a whole number from 1 to 100')
    .transform(Number)
    .default(50),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,2000}$/, 'write `next` of the page before, or leave it out')
    .optional(),
});

export const LoginQuery = z.looseObject({ return: z.string().optional(), fresh: z.string().optional() });

const Status = z.enum([...PHASES, 'held', 'queued']);
const StartedRun = z
  .object({
    run_id: RunId,
    trace_id: z.string().regex(/^[0-9a-f]{32}$/),
    status: Status,
    response: z.object({ text: z.string(), page: z.string() }).optional(),
    remarks: z.array(z.string()).optional(),
    escalation: z.object({ gate: z.string().nullable(), reason: z.string(), page: z.string() }).optional(),
  })
  .openapi('StartedRun');

const RunSummary = z
  .object({
    rolloutId: z.string(),
    service: z.string(),
    environment: z.string(),
    release: z.string(),
    status: Status,
    waitsFor: z.string().nullable(),
    outcome: z.string().nullable(),
    risk: z.number().nullable(),
    weightPercent: z.number().nullable(),
    startedAt: z.string(),
    endedAt: z.string().nullable(),
    waitsForMe: z.boolean(),
    queue: z.object({ ahead: z.number(), behind: z.string().nullable(), blocked: z.string().nullable() }).nullable(),
  })
  .openapi('RunSummary');
const RunList = z
  .object({ runs: z.array(RunSummary), next: z.string().nullable(), asOf: z.string() })
  .openapi('RunList');
const Offer = z
  .object({
    verb: z.enum([...VERBS, 'retry']),
    allowed: z.boolean(),
    why: z.string().nullable(),
    does: z.string(),
    command: z.string(),
    needsReason: z.boolean(),
  })
  .openapi('Offer');
const RunDocument = z
  .object({
    summary: RunSummary,
    view: z.looseObject({
      version: z.literal(1),
      rolloutId: z.string(),
      lane: z.object({ environment: z.string(), service: z.string() }),
      releaseName: z.string(),
      phase: z.enum(PHASES),
      status: Status,
      outcome: z.string().nullable(),
      startedAt: z.string(),
      endedAt: z.string().nullable(),
      wait: z.looseObject({ kind: z.string(), reason: z.string(), gate: z.string().nullable() }).nullable(),
      approvals: z.looseObject({ gate: z.string(), planDigest: z.string(), quorum: z.number() }).nullable(),
    }),
    offers: z.array(Offer),
    remarks: z.array(z.string()),
    live: LiveStageShape.nullable(),
    links: z.object({ page: z.string(), temporalWeb: z.string(), record: z.string().nullable() }),
    asOf: z.string(),
  })
  .openapi('RunDocument');
const DecisionAnswer = z
  .object({ kind: z.enum(['accepted', 'duplicate', 'recorded']), text: z.string() })
  .openapi('DecisionAnswer');
const Me = z
  .object({
    identity: z.object({
      subject: z.string(),
      name: z.string(),
      kind: z.enum(['person', 'machine']),
      via: z.enum(['oidc', 'ci', 'token', 'slack', 'local']),
      groups: z.array(z.string()),
      aliases: z.array(z.string()),
      grants: z.array(
        z.object({ role: z.enum(ROLES), services: z.array(z.string()), environments: z.array(z.string()) }),
      ),
      authenticatedAtMs: z.number(),
    }),
    csrf: z.string().nullable(),
    local: z.boolean(),
    until: z.string().nullable(),
    rights: z.array(z.enum(Object.keys(RIGHTS) as [keyof typeof RIGHTS, ...(keyof typeof RIGHTS)[]])),
  })
  .openapi('Me');
const Trail = z
  .object({
    entries: z.array(
      z.looseObject({
        seq: z.number(),
        at: z.string(),
        type: z.string(),
        text: z.string(),
        prev: z.string(),
        hash: z.string(),
      }),
    ),
  })
  .openapi('Trail');
const Alerted = z
  .object({
    alerts: z.array(
      z.object({
        fingerprint: z.string(),
        did: z.enum(['rolled-back', 'held', 'ignored', 'recorded']),
        rolloutId: z.string().nullable(),
        text: z.string(),
      }),
    ),
  })
  .openapi('Alerted');
export const ProblemShape = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    instance: z.string(),
    next: z.string(),
    errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
    refusal: z.string().optional(),
  })
  .openapi('Problem');

const CommandToken = z.object({ token: z.string(), until: z.string() }).openapi('CommandToken');

/** What Slack sends, as far as it is for us to say: its own documentation has the rest. */
const SlackInteraction = z
  .object({ payload: z.string().openapi({ description: 'JSON: block_actions, or view_submission.' }) })
  .openapi('SlackInteraction');
const SlackCommand = z
  .looseObject({ team_id: z.string(), user_id: z.string(), command: z.string(), text: z.string() })
  .openapi('SlackCommand');
const SlackEvent = z.looseObject({ type: z.string(), challenge: z.string().optional() }).openapi('SlackEvent');
export const SLACK_BODIES = { SlackInteraction, SlackCommand, SlackEvent } as const;

export const ANSWERS = { CommandToken, StartedRun, RunList, RunDocument, DecisionAnswer, Me, Trail, Alerted } as const;
