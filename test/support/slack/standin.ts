/**
 * Slack, as far as Slipway sees it: the Web API over HTTP with its limits, and people who click, type and wait 3 s for an
 * answer. It keeps what it is told in memory, tells of each misuse, and misbehaves when it is told to.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { misuseOf, totalLength } from './block-kit.js';

export interface StandinUser {
  readonly id: string;
  readonly team: string;
  readonly email: string | null;
  readonly name: string;
  readonly deleted?: boolean;
  readonly bot?: boolean;
  readonly restricted?: boolean;
  readonly stranger?: boolean;
}

export interface StandinMessage {
  readonly ts: string;
  readonly thread: string | null;
  readonly botId: string;
  readonly metadata: { readonly event_type: string; readonly event_payload: Record<string, unknown> } | null;
  readonly visibleFromMs: number;
  text: string;
  blocks: readonly StandinBlock[];
  edits: number;
}

export interface StandinBlock {
  readonly type: string;
  readonly block_id?: string;
  readonly elements?: readonly { readonly type: string; readonly action_id?: string; readonly value?: string }[];
  readonly text?: { readonly text: string };
}

export interface StandinView {
  readonly id: string;
  readonly user: string;
  readonly callback_id: string;
  readonly private_metadata: string;
  readonly blocks: readonly StandinBlock[];
}

/** `before`: nothing is done; `after`: it is done, and the caller does not learn it. */
export type Trouble =
  | 'error before'
  | 'error after'
  | 'internal_error after'
  /** Answers with an error at once, and does it 3 s later all the same. */
  | 'error, done late'
  | 'reset before'
  | 'reset after'
  | 'hang before'
  | 'hang after'
  | 'html after'
  | 'slow'
  | 'limited'
  | 'limited without header';

/** When a hook is called: the request has come, what it asks for is done, the answer has been sent. */
export type Moment = 'arrived' | 'stored' | 'answered';

export interface StandinCall {
  readonly method: string;
  readonly args: Readonly<Record<string, string>>;
  readonly atMs: number;
  error: string | null;
}

/** What a person's client got for a request. */
export interface Acknowledged {
  readonly status: number;
  readonly ms: number;
  readonly body: string;
}

const SCOPES = [
  'chat:write',
  'metadata.message:read',
  'channels:history',
  'groups:history',
  'users:read',
  'users:read.email',
  'commands',
];
const SCOPE_OF: Readonly<Record<string, string>> = {
  'chat.postMessage': 'chat:write',
  'chat.update': 'chat:write',
  'chat.delete': 'chat:write',
  'chat.postEphemeral': 'chat:write',
  'conversations.history': 'channels:history',
  'conversations.replies': 'channels:history',
  'users.info': 'users:read',
};
/** Calls a minute, and how many may come at once: docs.slack.dev/apis/web-api/rate-limits. */
const RATES: Readonly<Record<string, { readonly perMinute: number; readonly burst: number }>> = {
  'chat.postMessage': { perMinute: 60, burst: 10 },
  'chat.update': { perMinute: 50, burst: 20 },
  'chat.delete': { perMinute: 50, burst: 20 },
  'conversations.history': { perMinute: 50, burst: 20 },
  'conversations.replies': { perMinute: 50, burst: 20 },
  'chat.postEphemeral': { perMinute: 100, burst: 40 },
  'users.info': { perMinute: 100, burst: 40 },
  'views.open': { perMinute: 100, burst: 40 },
};

export const HOME = 'T0HOME';
export const APP = 'A0SLIPWAY';
export const TOKEN = 'xoxb-test-4711-secret';
export const SIGNING_SECRET = 'signing-secret-4711';
const BOT = 'B0SLIPWAY';
const LOST_MS = 3000;
const TRIGGER_MS = 3000;
const HANG_MS = 20_000;

export class SlackStandin {
  readonly calls: StandinCall[] = [];
  /** Everything that Slack would not have taken, or that is unwise: none, if all is well. */
  readonly misuse: string[] = [];
  /** Clicks, dialogs and commands that were not acknowledged within 3 s. */
  readonly lost: string[] = [];
  readonly ephemerals: { readonly user: string; readonly text: string }[] = [];
  readonly views: StandinView[] = [];
  readonly users = new Map<string, StandinUser>();
  readonly scopes = new Set(SCOPES);
  /** Whether calls are counted against Slack's limits. */
  limited = true;
  /** How long what was posted is not shown yet, ms, by channel. */
  readonly hiddenIn = new Map<string, number>();
  /** Channels for which Slack is away: each call about them ends without an answer. */
  readonly awayIn = new Set<string>();
  /** Called at each moment of each call; the call waits for it. */
  onMoment: (call: StandinCall, moment: Moment) => Promise<void> | void = () => undefined;
  private readonly channels = new Map<string, { readonly messages: StandinMessage[]; member: boolean }>();
  private readonly troubles: { readonly method: string; readonly channel: string | null; readonly trouble: Trouble }[] =
    [];
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>();
  private readonly triggers = new Map<string, { readonly user: string; readonly untilMs: number; used: boolean }>();
  private readonly responses = new Map<string, { readonly user: string; readonly untilMs: number; uses: number }>();
  private lastTs = 0;
  private port = 0;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<SlackStandin> {
    const server = createServer();
    const standin = new SlackStandin(server);
    server.on('request', (request, response) => {
      standin.serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    // A test that fails before it stops anything must end all the same.
    server.unref();
    standin.port = (server.address() as AddressInfo).port;
    return standin;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  get apiUrl(): string {
    return `http://127.0.0.1:${this.port}/api`;
  }

  addChannel(id: string, member = true): string {
    this.channels.set(id, { messages: [], member });
    return id;
  }

  addUser(id: string, change: Partial<StandinUser> = {}): string {
    const user = { id, team: HOME, email: `${id.toLowerCase()}@example.com`, name: id, ...change };
    this.users.set(id, user);
    return id;
  }

  /** The next so many calls of a method go wrong like this. */
  trouble(method: string, ...troubles: readonly Trouble[]): void {
    this.troubles.push(...troubles.map((trouble) => ({ method, channel: null, trouble })));
  }

  /** The same for calls that are about one channel. */
  troubleIn(channel: string, method: string, ...troubles: readonly Trouble[]): void {
    this.troubles.push(...troubles.map((trouble) => ({ method, channel, trouble })));
  }

  /** Whether all that was to go wrong in a channel has. */
  isCalmIn(channel: string): boolean {
    return this.troubles.every((one) => one.channel !== channel);
  }

  /** What stands in a channel, threads left out. */
  parents(channel: string): readonly StandinMessage[] {
    return this.messagesIn(channel).filter(({ thread }) => thread === null);
  }

  replies(channel: string, ts: string): readonly StandinMessage[] {
    return this.messagesIn(channel).filter(({ thread }) => thread === ts);
  }

  /** Somebody deletes a message by hand. */
  deleteByHand(channel: string, ts: string): void {
    const messages = this.messagesIn(channel);
    messages.splice(
      messages.findIndex((message) => message.ts === ts),
      1,
    );
  }

  /** A message that another app has posted, with whatever metadata it likes. */
  postAsOther(channel: string, metadata: NonNullable<StandinMessage['metadata']>): string {
    const message = this.store(channel, { botId: 'B0OTHER', text: 'x', thread: null, metadata, blocks: [] });
    return message.ts;
  }

  countOf(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  // People ------------------------------------------------------------------------------------------------------------

  /** What Slack sends when somebody presses a button of a message. */
  clickBody(channel: string, ts: string, user: string, action: string, change: Record<string, unknown> = {}): string {
    const message = this.messagesIn(channel).find((one) => one.ts === ts);
    if (message === undefined) throw new Error(`there is no message ${ts}`);
    const element = message.blocks.flatMap(({ elements }) => elements ?? []).find((one) => one.action_id === action);
    if (element === undefined) throw new Error(`the message has no button ${action}`);
    const payload = {
      type: 'block_actions',
      token: 'old-shared-token',
      api_app_id: APP,
      team: { id: HOME, domain: 'home' },
      user: { id: user, username: 'whatever', name: this.users.get(user)?.name, team_id: this.users.get(user)?.team },
      trigger_id: this.newTrigger(user),
      response_url: this.newResponse(user),
      channel: { id: channel, name: 'deploys' },
      message: { ts, text: message.text, blocks: message.blocks },
      container: { type: 'message', message_ts: ts, channel_id: channel },
      actions: [{ ...element, block_id: 'actions', action_ts: this.newTs() }],
      ...change,
    };
    return `payload=${encodeURIComponent(JSON.stringify(payload))}`;
  }

  submitBody(view: StandinView, reason: string, change: Record<string, unknown> = {}, metadata?: string): string {
    const payload = {
      type: 'view_submission',
      token: 'old-shared-token',
      api_app_id: APP,
      team: { id: HOME, domain: 'home' },
      user: { id: view.user, username: 'whatever', team_id: this.users.get(view.user)?.team },
      trigger_id: this.newTrigger(view.user),
      view: {
        id: view.id,
        callback_id: view.callback_id,
        private_metadata: metadata ?? view.private_metadata,
        state: { values: { reason: { reason: { type: 'plain_text_input', value: reason === '' ? null : reason } } } },
      },
      ...change,
    };
    return `payload=${encodeURIComponent(JSON.stringify(payload))}`;
  }

  commandBody(channel: string, user: string, text: string, change: Record<string, string> = {}): string {
    return new URLSearchParams({
      token: 'old-shared-token',
      team_id: HOME,
      api_app_id: APP,
      channel_id: channel,
      user_id: user,
      user_name: 'whatever',
      command: '/slipway',
      text,
      trigger_id: this.newTrigger(user),
      response_url: this.newResponse(user),
      ...change,
    }).toString();
  }

  /** Sends a body as Slack does, signed, and gives up after 3 s. */
  async send(url: string, body: string, options: { secret?: string; atMs?: number } = {}): Promise<Acknowledged> {
    const begunMs = Date.now();
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...signed(body, options) },
        body,
        signal: AbortSignal.timeout(LOST_MS),
      });
      const text = await response.text();
      if (text !== '' && response.ok && body.includes('block_actions'))
        this.misuse.push('an answer to a click has a body: it would replace the message');
      return { status: response.status, ms: Date.now() - begunMs, body: text };
    } catch {
      this.lost.push(body.slice(0, 60));
      return { status: 0, ms: Date.now() - begunMs, body: '' };
    }
  }

  /** The dialog that a person sees, once it is there. @param about what it carries, where one person sees several */
  async dialogOf(user: string, after = 0, limitMs = 5000, about = ''): Promise<StandinView> {
    for (const untilMs = Date.now() + limitMs; ;) {
      const view = this.views.slice(after).findLast((one) => one.user === user && one.private_metadata.includes(about));
      if (view !== undefined) return view;
      if (Date.now() > untilMs) throw new Error(`${user} sees no dialog; told: ${JSON.stringify(this.ephemerals)}`);
      await sleep(20);
    }
  }

  /** What a person was told alone, once there is something like it. */
  async toldTo(user: string, pattern: RegExp, limitMs = 8000): Promise<string> {
    for (const untilMs = Date.now() + limitMs; ;) {
      const found = this.ephemerals.find((one) => one.user === user && pattern.test(one.text));
      if (found !== undefined) return found.text;
      if (Date.now() > untilMs) throw new Error(`${user} was not told ${pattern}: ${JSON.stringify(this.ephemerals)}`);
      await sleep(20);
    }
  }

  // The Web API -------------------------------------------------------------------------------------------------------

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const path = request.url ?? '';
    if (path.startsWith('/respond/')) {
      this.respond(path.slice('/respond/'.length), body, response);
      return;
    }
    const method = path.replace(/^\/api\//, '');
    const args = Object.fromEntries(new URLSearchParams(body));
    const call: StandinCall = { method, args, atMs: Date.now(), error: null };
    this.calls.push(call);
    await this.onMoment(call, 'arrived');
    const index = this.troubles.findIndex(
      (one) => one.method === method && (one.channel === null || one.channel === args['channel']),
    );
    const trouble = index < 0 ? null : (this.troubles.splice(index, 1)[0]?.trouble ?? null);
    if (this.awayIn.has(args['channel'] ?? '')) return void request.socket.destroy();
    if (trouble === 'error before') return void response.writeHead(503).end('upstream');
    if (trouble === 'reset before') return void request.socket.destroy();
    if (trouble === 'hang before') return sleep(HANG_MS, undefined, { ref: false });
    if (trouble === 'limited without header')
      return void response.writeHead(429).end('{"ok":false,"error":"ratelimited"}');
    const waitSeconds = trouble === 'limited' ? 1 : this.wait(method, args['channel'] ?? '');
    if (waitSeconds > 0)
      return void response
        .writeHead(429, { 'retry-after': String(waitSeconds) })
        .end('{"ok":false,"error":"ratelimited"}');
    if (trouble === 'error, done late') {
      setTimeout(() => this.answer(method, args, request.headers.authorization ?? ''), 3000).unref();
      return void response.writeHead(502).end('upstream');
    }
    const answer = this.answer(method, args, request.headers.authorization ?? '');
    call.error = answer['ok'] === true ? null : String(answer['error']);
    await this.onMoment(call, 'stored');
    if (trouble === 'error after') return void response.writeHead(500).end('oops');
    if (trouble === 'internal_error after') return void response.end('{"ok":false,"error":"internal_error"}');
    if (trouble === 'reset after') return void request.socket.destroy();
    if (trouble === 'hang after') return sleep(HANG_MS, undefined, { ref: false });
    if (trouble === 'html after') return void response.end('<html>maintenance</html>');
    if (trouble === 'slow') await sleep(3000);
    response.setHeader('content-type', 'application/json; charset=utf-8');
    response.end(JSON.stringify(answer));
    await this.onMoment(call, 'answered');
  }

  /** Seconds to wait, or 0. */
  private wait(method: string, channel: string): number {
    const rate = RATES[method];
    if (rate === undefined || !this.limited) return 0;
    const key = method === 'chat.postMessage' ? `${method} ${channel}` : method;
    const now = Date.now();
    const bucket = this.buckets.get(key) ?? { tokens: rate.burst, atMs: now };
    const tokens = Math.min(rate.burst, bucket.tokens + ((now - bucket.atMs) / 60_000) * rate.perMinute);
    this.buckets.set(key, { tokens: tokens < 1 ? tokens : tokens - 1, atMs: now });
    return tokens < 1 ? Math.ceil(((1 - tokens) / rate.perMinute) * 60) : 0;
  }

  private answer(
    method: string,
    args: Readonly<Record<string, string>>,
    authorization: string,
  ): Record<string, unknown> {
    if (authorization !== `Bearer ${TOKEN}`) return no('invalid_auth');
    const scope = SCOPE_OF[method];
    if (scope !== undefined && !this.scopes.has(scope)) return no('missing_scope');
    switch (method) {
      case 'auth.test':
        return { ok: true, bot_id: BOT, team_id: HOME, user_id: 'U0BOT' };
      case 'chat.postMessage':
        return this.postOne(args);
      case 'chat.update':
        return this.updateMessage(args);
      case 'chat.delete':
        return this.deleteMessage(args);
      case 'chat.postEphemeral':
        this.ephemerals.push({ user: args['user'] ?? '', text: args['text'] ?? '' });
        return { ok: true };
      case 'conversations.history':
        return this.history(args, (message) => message.thread === null);
      case 'conversations.replies':
        return this.history(args, ({ ts, thread }) => ts === args['ts'] || thread === args['ts']);
      case 'users.info':
        return this.userInfo(args['user'] ?? '');
      case 'views.open':
        return this.openView(args);
      default:
        return this.refuse(`unknown_method ${method}`);
    }
  }

  private postOne(args: Readonly<Record<string, string>>): Record<string, unknown> {
    const channel = this.channels.get(args['channel'] ?? '');
    if (channel === undefined) return no('channel_not_found');
    if (!channel.member) return no('not_in_channel');
    const problem = this.contentProblem(args);
    if (problem !== null) return this.refuse(problem);
    const metadata = args['metadata'] === undefined ? null : JSON.parse(args['metadata']);
    const { ts } = this.store(args['channel'] ?? '', {
      botId: BOT,
      thread: args['thread_ts'] ?? null,
      metadata,
      text: args['text'] ?? '',
      blocks: JSON.parse(args['blocks'] ?? '[]'),
    });
    return { ok: true, channel: args['channel'], ts, message: { bot_id: BOT } };
  }

  private updateMessage(args: Readonly<Record<string, string>>): Record<string, unknown> {
    const channel = this.channels.get(args['channel'] ?? '');
    if (channel === undefined) return this.refuse('channel_not_found');
    const problem = this.contentProblem(args);
    if (problem !== null) return this.refuse(problem);
    // As text: what was a number once has lost digits, and is another message or none.
    const message = channel.messages.find(({ ts }) => ts === args['ts']);
    if (message === undefined) return no('message_not_found');
    if (message.botId !== BOT) return this.refuse('cant_update_message');
    message.text = args['text'] ?? '';
    message.blocks = JSON.parse(args['blocks'] ?? '[]');
    message.edits += 1;
    return { ok: true, channel: args['channel'], ts: message.ts };
  }

  private deleteMessage(args: Readonly<Record<string, string>>): Record<string, unknown> {
    const messages = this.messagesIn(args['channel'] ?? '');
    const index = messages.findIndex(({ ts }) => ts === args['ts']);
    if (index < 0) return no('message_not_found');
    if (messages[index]?.botId !== BOT) return this.refuse('cant_delete_message');
    messages.splice(index, 1);
    return { ok: true };
  }

  private history(
    args: Readonly<Record<string, string>>,
    wanted: (message: StandinMessage) => boolean,
  ): Record<string, unknown> {
    const channel = this.channels.get(args['channel'] ?? '');
    if (channel === undefined) return no('channel_not_found');
    if (!channel.member) return no('not_in_channel');
    const oldest = Number(args['oldest'] ?? 0);
    const latest = Number(args['latest'] ?? Infinity);
    const from = Number(args['cursor'] ?? 0);
    const limit = Number(args['limit'] ?? 100);
    const all = channel.messages
      .filter(wanted)
      .filter(({ ts, visibleFromMs }) => Number(ts) >= oldest && Number(ts) <= latest && visibleFromMs <= Date.now())
      .toReversed();
    const page = all.slice(from, from + limit).map(({ ts, botId, metadata, text }) => ({
      type: 'message',
      ts,
      text,
      bot_id: botId,
      ...(args['include_all_metadata'] === 'true' && this.scopes.has('metadata.message:read') && metadata !== null
        ? { metadata }
        : {}),
    }));
    const next = from + limit < all.length ? String(from + limit) : '';
    return { ok: true, messages: page, has_more: next !== '', response_metadata: { next_cursor: next } };
  }

  private userInfo(id: string): Record<string, unknown> {
    const user = this.users.get(id);
    if (user === undefined) return no('user_not_found');
    const { team, deleted, bot, restricted, stranger, email, name } = user;
    return {
      ok: true,
      user: {
        id,
        team_id: team,
        name,
        deleted: deleted ?? false,
        is_bot: bot ?? false,
        is_restricted: restricted ?? false,
        is_ultra_restricted: false,
        is_stranger: stranger ?? false,
        profile: { display_name: name, ...(email !== null && this.scopes.has('users:read.email') ? { email } : {}) },
      },
    };
  }

  private openView(args: Readonly<Record<string, string>>): Record<string, unknown> {
    const trigger = this.triggers.get(args['trigger_id'] ?? '');
    if (trigger === undefined) return no('invalid_trigger_id');
    if (trigger.used) return no('exchanged_trigger_id');
    if (Date.now() > trigger.untilMs) return no('expired_trigger_id');
    trigger.used = true;
    const view = JSON.parse(args['view'] ?? '{}') as Omit<StandinView, 'id' | 'user'>;
    const problem = misuseOf(view.blocks, 100) ?? (view.private_metadata.length > 3000 ? 'private_metadata' : null);
    if (problem !== null) return this.refuse(`invalid_arguments: ${problem}`);
    const opened = { ...view, id: `V${this.views.length}`, user: trigger.user };
    this.views.push(opened);
    return { ok: true, view: { id: opened.id } };
  }

  private respond(id: string, body: string, response: ServerResponse): void {
    const one = this.responses.get(id);
    if (one === undefined || Date.now() > one.untilMs || one.uses >= 5) {
      response.writeHead(404).end('{"ok":false,"error":"used_url"}');
      return;
    }
    one.uses += 1;
    const message = JSON.parse(body) as { text: string; replace_original?: boolean; response_type?: string };
    if (message.replace_original !== false) this.misuse.push('a response would replace the message');
    if (message.response_type !== 'ephemeral') this.misuse.push('a response that everybody sees');
    this.ephemerals.push({ user: one.user, text: message.text });
    response.end('ok');
  }

  private contentProblem(args: Readonly<Record<string, string>>): string | null {
    const blocks = JSON.parse(args['blocks'] ?? '[]') as StandinBlock[];
    if ((args['text'] ?? '') === '') return 'no_text';
    if ((args['text'] ?? '').length > 4000) return 'msg_too_long';
    if (totalLength(blocks) > 13_200) return 'msg_blocks_too_long';
    const problem = misuseOf(blocks, 50);
    return problem === null ? null : `invalid_blocks: ${problem}`;
  }

  private refuse(error: string): Record<string, unknown> {
    this.misuse.push(error);
    return no(error);
  }

  private store(
    channel: string,
    message: Pick<StandinMessage, 'botId' | 'thread' | 'metadata' | 'text' | 'blocks'>,
  ): StandinMessage {
    const stored = {
      ...message,
      ts: this.newTs(),
      visibleFromMs: Date.now() + (this.hiddenIn.get(channel) ?? 0),
      edits: 0,
    };
    this.messagesIn(channel).push(stored);
    return stored;
  }

  private messagesIn(channel: string): StandinMessage[] {
    const found = this.channels.get(channel);
    if (found === undefined) throw new Error(`there is no channel ${channel}`);
    return found.messages;
  }

  /** Times with six decimals that grow; as a number one in two of them is another. */
  private newTs(): string {
    this.lastTs = Math.max(Date.now() * 1000 + 1, this.lastTs + 1);
    const text = String(this.lastTs);
    return `${text.slice(0, -6)}.${text.slice(-6)}`;
  }

  private newTrigger(user: string): string {
    const id = `trigger.${randomUUID()}`;
    this.triggers.set(id, { user, untilMs: Date.now() + TRIGGER_MS, used: false });
    return id;
  }

  private newResponse(user: string): string {
    const id = randomUUID();
    this.responses.set(id, { user, untilMs: Date.now() + 30 * 60_000, uses: 0 });
    return `http://127.0.0.1:${this.port}/respond/${id}`;
  }
}

function no(error: string): Record<string, unknown> {
  return { ok: false, error };
}

/** The two headers of a signed request. */
export function signed(
  body: string,
  { secret = SIGNING_SECRET, atMs = Date.now() }: { secret?: string; atMs?: number } = {},
): Record<string, string> {
  const timestamp = String(Math.floor(atMs / 1000));
  const signature = createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex');
  return { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${signature}` };
}
