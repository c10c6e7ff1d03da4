import { Context } from '@temporalio/activity';
import type { TimelineEntry } from '../../domain/rollout.js';
import type { SlackCard } from '../../domain/slack/card.js';
import { slackMessage, slackReply } from '../../domain/slack/message.js';
import type { SlackMessage } from '../../domain/slack/message.js';
import { History, MESSAGE_EVENT, Nothing, Posted, Who } from '../../formats/slack-api.js';
import type { SlackAnswer, SlackApi } from '../../formats/slack-api.js';
import { asFailure, Refused, Unavailable } from '../failures.js';
import { beating, pause } from '../waiting.js';

/** The message of a rollout as it shall be, and what its thread has not been told yet. */
export interface SlackCall {
  /** Id of the channel. */
  readonly channel: string;
  readonly card: SlackCard;
  /** The rollout's run, whose story it is: also where another workflow tells the end of it. */
  readonly run: string;
  /** Lines of the story from number `from` on. */
  readonly lines: readonly TimelineEntry[];
  readonly from: number;
  /** The message, once it is known; null: there may be none. */
  readonly ts: string | null;
  /** It is not known what became of an earlier attempt: whatever there is twice goes. */
  readonly doubtful: boolean;
}

export interface SlackPosted {
  readonly ts: string;
  /** Lines of the story that the thread has now. */
  readonly told: number;
  readonly doubtful: boolean;
}

export interface SlackDeps {
  readonly slack: {
    /** Null: this worker has no token. */
    readonly api: SlackApi | null;
    /** Where people find the server's pages, without a slash at its end; null where there is none. */
    readonly publicUrl: string | null;
    /** Time between two changes of one message, ms. @default 2000 */
    readonly everyMs?: number;
    /** How long Slack may take to show what it has taken, ms. @default 2000 */
    readonly settleMs?: number;
  };
}

const EVERY_MS = 2000;
const SETTLE_MS = 2000;
/** An attempt that nobody waits for any more can hardly be under way for longer. */
const LATEST_MS = 10 * 60_000;
const CLOCKS_MS = 60_000;
const PAGE = 200;
const MAX_PAGES = 20;

/** What helps, by Slack's name of the error. */
const REMEDIES: Readonly<Record<string, string>> = {
  not_in_channel: 'invite the app into the channel: /invite @slipway',
  channel_not_found: 'check the channel’s id in slipway.yaml, and invite the app into it: /invite @slipway',
  is_archived: 'the channel is archived: name another one in slipway.yaml',
  invalid_auth: 'SLIPWAY_SLACK_BOT_TOKEN is not valid: take it from the app’s page “OAuth & Permissions”',
  not_authed: 'set SLIPWAY_SLACK_BOT_TOKEN on the worker',
  account_inactive: 'the app was taken out of the workspace: install it again',
  token_revoked: 'install the app again, and set its new token as SLIPWAY_SLACK_BOT_TOKEN',
  missing_scope: 'install the app again from deploy/slack/manifest.yaml: a permission is missing',
};

type Found = readonly { readonly ts: string; readonly key: string; readonly told: number }[];

/**
 * Keeps exactly one message per rollout, and its thread. Slack knows no idempotency keys, so an attempt that may not be
 * the first looks up what there is by the key in the messages' metadata before it posts, and takes away what is there
 * twice; an end that is not known is an error here, so that the next attempt does that.
 */
export function createSlackMessage({ slack }: SlackDeps): (call: SlackCall) => Promise<SlackPosted> {
  let botId: string | null = null;

  async function askBotId(api: SlackApi, signal: AbortSignal): Promise<string> {
    botId ??= settled('auth.test', await api('auth.test', {}, Who, signal)).bot_id;
    return botId;
  }

  return async (call) => {
    const { api, publicUrl, everyMs = EVERY_MS, settleMs = SETTLE_MS } = slack;
    const { info, cancellationSignal: signal } = Context.current();
    try {
      if (api === null)
        throw new Refused('this worker has no Slack: set SLIPWAY_SLACK_BOT_TOKEN, or take `slack` out of slipway.yaml');
      const writer = new Writer({
        api,
        signal,
        settleMs,
        call: { ...call, doubtful: call.doubtful || info.attempt > 1 },
        botId: await askBotId(api, signal),
      });
      const page = publicUrl === null ? null : `${publicUrl}/rollouts/${call.card.rolloutId}`;
      return await beating(async () => {
        const posted = await writer.write(slackMessage(call.card, page));
        // The next change waits for this one: so no more than one in `everyMs` is sent, and it is the latest. What is
        // new, and what is over, is to be known at once.
        if (call.ts !== null && call.card.outcome === null) await atMost(everyMs, signal);
        return posted;
      });
    } catch (error) {
      throw asFailure(error);
    }
  };
}

/** Sleeps until it is cancelled: what was sent is known, so that is no failure. */
async function atMost(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await pause(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

interface WriterOptions {
  readonly api: SlackApi;
  readonly signal: AbortSignal;
  readonly settleMs: number;
  readonly call: SlackCall;
  readonly botId: string;
}

/** One attempt. */
class Writer {
  constructor(private readonly options: WriterOptions) {}

  async write(message: SlackMessage): Promise<SlackPosted> {
    const { call } = this.options;
    let ts = await this.updated(await this.standing(call.ts), message);
    // Somebody has deleted it, and people must see what is asked of them: it may be back already.
    if (ts === null && call.ts !== null) ts = await this.updated(await this.standing(null), message);
    ts ??= await this.post({ ...message, key: call.card.rolloutId });
    const told = await this.tell(ts);
    return { ts, told, doubtful: call.doubtful };
  }

  /** The rollout's message, if there is one: the one that is known, else the oldest. Others like it go. */
  private async standing(known: string | null): Promise<string | null> {
    const { doubtful } = this.options.call;
    if (known !== null && !doubtful) return known;
    let found = await this.messages(known);
    if (found.length === 0 && known === null && doubtful) {
      // What was sent a moment ago may not be shown yet.
      await pause(this.options.settleMs, this.options.signal);
      found = await this.messages(known);
    }
    const kept = known ?? found[0]?.ts ?? null;
    await this.deleteAll(found.filter(({ ts }) => ts !== kept));
    return kept;
  }

  /** Brings the thread up to date; gives the number of lines that it has. */
  private async tell(ts: string): Promise<number> {
    const { lines, from, doubtful, run } = this.options.call;
    let told = from;
    if (doubtful) {
      const replies = (await this.replies(ts)).filter(({ key }) => key.startsWith(`${run}/`));
      const first = new Map<string, string>();
      for (const reply of replies) if (!first.has(reply.key)) first.set(reply.key, reply.ts);
      await this.deleteAll(replies.filter((reply) => first.get(reply.key) !== reply.ts));
      told = Math.max(from, ...replies.map((reply) => reply.told));
    }
    const news = lines.slice(told - from);
    const all = from + lines.length;
    if (news.length > 0) {
      await this.post({ ...slackReply(news), key: `${run}/${told}`, thread: ts, told: all });
    }
    return Math.max(told, all);
  }

  private async post(message: {
    readonly text: string;
    readonly blocks: SlackMessage['blocks'];
    readonly key: string;
    readonly thread?: string;
    readonly told?: number;
  }): Promise<string> {
    const { call, api, signal } = this.options;
    const { text, blocks, key, thread, told } = message;
    const payload = { rollout_id: call.card.rolloutId, key, ...(told === undefined ? {} : { told }) };
    const answer = await api(
      'chat.postMessage',
      {
        channel: call.channel,
        text,
        blocks,
        thread_ts: thread,
        metadata: { event_type: MESSAGE_EVENT, event_payload: payload },
        unfurl_links: false,
        unfurl_media: false,
      },
      Posted,
      signal,
    );
    return settled('chat.postMessage', answer).ts;
  }

  /** The message's own number; null: there is none, or somebody has deleted it. */
  private async updated(ts: string | null, { text, blocks }: SlackMessage): Promise<string | null> {
    if (ts === null) return null;
    const { call, api, signal } = this.options;
    const answer = await api('chat.update', { channel: call.channel, ts, text, blocks }, Nothing, signal);
    if (answer.kind === 'refused' && answer.error === 'message_not_found') return null;
    settled('chat.update', answer);
    return ts;
  }

  private async deleteAll(messages: Found): Promise<void> {
    const { call, api, signal } = this.options;
    for (const { ts } of messages) {
      const answer = await api('chat.delete', { channel: call.channel, ts }, Nothing, signal);
      if (answer.kind === 'refused' && answer.error === 'message_not_found') continue;
      settled('chat.delete', answer);
    }
  }

  /** The messages of the rollout, oldest first; where one is known, none but those of the time when it was posted. */
  private async messages(known: string | null): Promise<Found> {
    const { card } = this.options.call;
    const found = await this.pages('conversations.history', {
      oldest: String((Date.parse(card.startedAt) - CLOCKS_MS) / 1000),
      ...(known === null ? {} : { latest: String(Number(known) + LATEST_MS / 1000) }),
    });
    return found.filter(({ key }) => key === card.rolloutId);
  }

  private async replies(ts: string): Promise<Found> {
    return this.pages('conversations.replies', { ts });
  }

  private async pages(method: string, args: Readonly<Record<string, unknown>>): Promise<Found> {
    const { call, api, signal, botId } = this.options;
    const found: Found[number][] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const given = { channel: call.channel, include_all_metadata: true, limit: PAGE, cursor, ...args };
      const answer = settled(method, await api(method, given, History, signal));
      for (const { ts, botId: by, ours } of answer.messages) {
        if (by === botId && ours?.rollout_id === call.card.rolloutId)
          found.push({ ts, key: ours.key, told: ours.told ?? 0 });
      }
      cursor = answer.response_metadata?.next_cursor;
      if (cursor === undefined || cursor === '') return found.toSorted((one, other) => byTime(one.ts, other.ts));
    }
    throw new Refused(
      `the channel has more than ${MAX_PAGES * PAGE} messages since the rollout began: whether its own is among them can’t be told`,
    );
  }
}

/** A message's number is a time with six decimals: whole seconds first, for all of its digits don't fit into a number. */
function byTime(one: string, other: string): number {
  const [seconds = '', part = ''] = one.split('.');
  const [otherSeconds = '', otherPart = ''] = other.split('.');
  return Number(seconds) - Number(otherSeconds) || Number(part) - Number(otherPart);
}

/** @throws Unavailable, Refused */
function settled<T>(method: string, answer: SlackAnswer<T>): T {
  switch (answer.kind) {
    case 'ok':
      return answer.value;
    case 'limited':
      throw new Unavailable(`Slack wants fewer calls of ${method}`, answer.retryAfterMs);
    case 'unknown':
      throw new Unavailable(`Slack did not say what became of ${method}: ${answer.why}`);
    case 'refused':
      throw new Refused(`Slack refused ${method}: ${answer.error}${remedy(answer.error)}`);
  }
}

function remedy(error: string): string {
  const text = REMEDIES[error];
  return text === undefined ? '' : ` (${text})`;
}
