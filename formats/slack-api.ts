/**
 * One call of Slack's Web API, as worker and server make it: what is sent, how long it may take, and what the answer
 * says about whether anything was done (docs.slack.dev/apis/web-api).
 */
import { z } from 'zod';

export interface SlackApiOptions {
  /** Without a slash at its end. @default 'https://slack.com/api' */
  readonly apiUrl: string;
  /** Bot token; never logged. */
  readonly token: string;
  /** Limit for a whole call, ms. @default 5000 */
  readonly timeoutMs?: number;
}

export type SlackAnswer<T> =
  | { readonly kind: 'ok'; readonly value: T }
  /** Slack says no, by the name of its error: nothing was done. */
  | { readonly kind: 'refused'; readonly error: string }
  /** Too many calls: nothing was done. */
  | { readonly kind: 'limited'; readonly retryAfterMs: number }
  /** No answer, or none that can be trusted: it may have been done. */
  | { readonly kind: 'unknown'; readonly why: string };

export type SlackApi = <Schema extends z.ZodType>(
  method: string,
  args: Readonly<Record<string, unknown>>,
  answer: Schema,
  signal?: AbortSignal,
) => Promise<SlackAnswer<z.infer<Schema>>>;

export const SLACK_API_URL = 'https://slack.com/api';
const TIMEOUT_MS = 5000;
/** Where a 429 does not say. */
const RETRY_AFTER_MS = 5000;

/** Errors of which Slack says that some of the work may have been done, or that its own machines made. */
const UNSURE = ['internal_error', 'fatal_error', 'service_unavailable', 'request_timeout'];

const Envelope = z.union([
  z.looseObject({ ok: z.literal(true) }),
  z.looseObject({ ok: z.literal(false), error: z.string().max(200) }),
]);

/** Never throws but for an aborted `signal`, and never tries twice: only the caller knows what that would do. */
export function createSlackApi({ apiUrl, token, timeoutMs = TIMEOUT_MS }: SlackApiOptions): SlackApi {
  return async (method, args, answer, signal) => {
    const limit = AbortSignal.timeout(timeoutMs);
    try {
      const response = await fetch(`${apiUrl}/${method}`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${token}`,
          // All methods take forms; not all take JSON.
          'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
        },
        body: form(args),
        signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
        redirect: 'error',
      });
      return readAnswer(answer, response.status, response.headers.get('retry-after'), await response.text());
    } catch (error) {
      signal?.throwIfAborted();
      const timedOut = error instanceof Error && error.name === 'TimeoutError';
      return { kind: 'unknown', why: timedOut ? `no answer within ${timeoutMs} ms` : 'no connection' };
    }
  };
}

function form(args: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(args).filter(([, value]) => value !== undefined && value !== null);
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return new URLSearchParams(given.map(([name, value]): [string, string] => [name, text(value)])).toString();
}

/** What an HTTP answer says. */
export function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  status: number,
  retryAfter: string | null,
  text: string,
): SlackAnswer<z.infer<Schema>> {
  if (status === 429) return { kind: 'limited', retryAfterMs: waitMs(retryAfter) };
  if (status !== 200) return { kind: 'unknown', why: `status ${status}` };
  const envelope = Envelope.safeParse(json(text));
  if (!envelope.success) return { kind: 'unknown', why: 'an answer that is not Slack’s' };
  if (!envelope.data.ok) {
    const { error } = envelope.data;
    if (error === 'ratelimited') return { kind: 'limited', retryAfterMs: waitMs(retryAfter) };
    return UNSURE.includes(error) ? { kind: 'unknown', why: error } : { kind: 'refused', error };
  }
  const value = schema.safeParse(envelope.data);
  return value.success
    ? { kind: 'ok', value: value.data }
    : {
        kind: 'unknown',
        why: `an answer without ${z.prettifyError(value.error).split('\n').at(-1)?.trim() ?? 'a part'}`,
      };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A page of a proxy, or half an answer.
    return null;
  }
}

function waitMs(seconds: string | null): number {
  const value = Number(seconds ?? Number.NaN);
  return Number.isFinite(value) && value > 0 ? value * 1000 : RETRY_AFTER_MS;
}

/** A message's own number: a text, for as a number it loses digits. */
export const Ts = z.string().regex(/^\d{1,12}\.\d{1,9}$/);

export const Posted = z.object({ ts: Ts, channel: z.string() });
export const Nothing = z.object({});
export const Who = z.object({ bot_id: z.string().min(1), team_id: z.string() });

/** What a message of ours says of itself. */
export const MESSAGE_EVENT = 'slipway_rollout';
export const Metadata = z.object({
  event_type: z.literal(MESSAGE_EVENT),
  event_payload: z.object({
    rollout_id: z.string(),
    key: z.string(),
    /** Of a reply: lines of the story that are told up to here. */
    told: z.number().int().optional(),
  }),
});
export const History = z.object({
  messages: z.array(
    z.looseObject({ ts: Ts, bot_id: z.string().optional(), metadata: z.unknown().optional() }).transform((message) => {
      const metadata = Metadata.safeParse(message.metadata);
      return {
        ts: message.ts,
        botId: message.bot_id ?? null,
        ours: metadata.success ? metadata.data.event_payload : null,
      };
    }),
  ),
  response_metadata: z.object({ next_cursor: z.string().optional() }).nullish(),
});

export const UserInfo = z.object({
  user: z.object({
    id: z.string(),
    team_id: z.string().optional(),
    deleted: z.boolean().optional(),
    is_bot: z.boolean().optional(),
    is_restricted: z.boolean().optional(),
    is_ultra_restricted: z.boolean().optional(),
    is_stranger: z.boolean().optional(),
    profile: z.object({ email: z.string().optional() }).optional(),
  }),
});
export type SlackUser = z.infer<typeof UserInfo>['user'];

export const ViewOpened = z.object({ view: z.object({ id: z.string() }) });
