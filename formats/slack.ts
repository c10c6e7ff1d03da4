/** What Slack sends to the server (docs.slack.dev: interactivity, slash commands, events). Unknown keys are left out. */
import { z } from 'zod';
import { MAX_REASON } from '../domain/slack/dialog.js';

const Id = z.string().regex(/^[A-Z0-9]{1,40}$/);
const Team = z.object({ id: Id, enterprise_id: Id.nullish() });
const Enterprise = z.object({ id: Id });
const Person = z.object({ id: Id, team_id: Id.nullish() });
const Url = z.url({ protocol: /^https?$/ }).max(2000);
/** As the workflow names rollouts and gates. */
const Name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const Ts = z.string().regex(/^\d{1,12}\.\d{1,9}$/);

/** The `value` of Approve and Reject. */
export const ButtonValue = z.strictObject({
  rolloutId: Name,
  gate: Name,
  planDigest: Digest,
  label: z.string().max(400),
});

/** The `private_metadata` of the reason dialog, once its seal has been checked. */
export const DialogMetadata = z.strictObject({
  /** Of the decision: the same for each try. */
  id: z.string().regex(/^[0-9a-f]{64}$/),
  verb: z.enum(['approve', 'reject']),
  rolloutId: Name,
  gate: Name,
  planDigest: Digest,
  team: Id,
  user: Id,
  /** Where to tell the person something; null for a command outside of a channel. */
  channel: Id.nullable(),
});
export type DialogMetadata = z.infer<typeof DialogMetadata>;

const Common = { api_app_id: Id, team: Team.nullish(), enterprise: Enterprise.nullish(), user: Person };

const BlockActions = z.object({
  ...Common,
  type: z.literal('block_actions'),
  trigger_id: z.string().max(300),
  response_url: Url.optional(),
  channel: z.object({ id: Id }).optional(),
  message: z.object({ ts: Ts }).optional(),
  actions: z
    .array(z.object({ action_id: z.string().max(255), action_ts: Ts, value: z.string().max(2000).optional() }))
    .min(1)
    .max(25),
});
export type BlockActions = z.infer<typeof BlockActions>;

const ViewSubmission = z.object({
  ...Common,
  type: z.literal('view_submission'),
  view: z.object({
    callback_id: z.string().max(255),
    private_metadata: z.string().max(3000),
    state: z.object({
      values: z.record(z.string(), z.record(z.string(), z.object({ value: z.string().max(MAX_REASON).nullish() }))),
    }),
  }),
});
export type ViewSubmission = z.infer<typeof ViewSubmission>;

/** An interaction of a kind that is known to be Slack's and of no use here: shortcuts, closed views. */
const Other = z.object({ type: z.string().refine((type) => type !== 'block_actions' && type !== 'view_submission') });

export const Interaction = z.union([BlockActions, ViewSubmission, Other]);
export type Interaction = z.infer<typeof Interaction>;

export const Command = z.object({
  api_app_id: Id,
  team_id: Id,
  enterprise_id: Id.optional(),
  user_id: Id,
  channel_id: Id,
  command: z.string().max(40),
  text: z.string().max(4000).default(''),
  trigger_id: z.string().max(300),
  response_url: Url,
});
export type Command = z.infer<typeof Command>;

export const Event = z.union([
  z.object({ type: z.literal('url_verification'), challenge: z.string().max(1000) }),
  z.object({ type: z.string() }),
]);
