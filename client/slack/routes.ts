/** Slack's three ways in, over HTTP. What is not signed by Slack is refused before it is parsed. */
import { Hono } from 'hono';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { z } from 'zod';
import { Command, Event, Interaction } from '../../formats/slack.js';
import { signatureProblem } from './signature.js';
import { createTalk } from './talk.js';
import type { Answer, TalkOptions } from './talk.js';

export type SlackOptions = TalkOptions;

/** A view has 250 kB at most, and comes with a message and its channel. */
const MAX_BODY = 1024 * 1024;
/** A signature is good for 5 min on both sides of our clock. */
const SEEN_MS = 10 * 60_000;
const SEEN_SIZE = 10_000;

/** What a body says: an answer, or null where it makes no sense. */
type Read = (body: string) => Promise<{ readonly answer: Answer } | null>;

/** `/slack/interactions`, `/slack/commands` and `/slack/events`; what fails in them is the caller's to tell. */
export function slackRoutes(options: SlackOptions): Hono {
  const { signingSecrets, log, nowMs = Date.now } = options;
  const talk = createTalk(options);
  const seen = new Map<string, { readonly untilMs: number; readonly answer: ReturnType<Read> }>();

  /** The same request again gets the same answer, and does nothing. */
  function once(signature: string, work: () => ReturnType<Read>): ReturnType<Read> {
    const now = nowMs();
    for (const [key, { untilMs }] of seen) {
      if (untilMs > now && seen.size < SEEN_SIZE) break;
      seen.delete(key);
    }
    const known = seen.get(signature);
    if (known !== undefined) return known.answer;
    const answer = work();
    seen.set(signature, { untilMs: now + SEEN_MS, answer });
    return answer;
  }

  const receive = (read: Read) => async (c: Context) => {
    const body = new Uint8Array(await c.req.arrayBuffer());
    const signature = c.req.header('x-slack-signature');
    const signed = { signature, timestamp: c.req.header('x-slack-request-timestamp'), body };
    const problem = signatureProblem(signed, signingSecrets, nowMs());
    if (problem !== null || signature === undefined) {
      log.warn({ problem }, 'a request in the name of Slack was refused');
      return c.text('not signed by Slack', 401);
    }
    const result = await once(signature, () => read(new TextDecoder().decode(body)));
    if (result === null) return c.text('not understood', 400);
    return result.answer === null ? c.body(null, 200) : c.json(result.answer);
  };

  const app = new Hono();
  app.onError((error) => {
    throw error;
  });
  app.use(bodyLimit({ maxSize: MAX_BODY, onError: (c) => c.text('too large', 413) }));
  app.post(
    '/slack/interactions',
    receive(async (body) => {
      const payload = parsed(Interaction, json(new URLSearchParams(body).get('payload')));
      if (payload === null) return null;
      if ('actions' in payload) return { answer: talk.clicked(payload) };
      return { answer: 'view' in payload ? await talk.submitted(payload) : null };
    }),
  );
  app.post(
    '/slack/commands',
    receive(async (body) => {
      const fields = Object.fromEntries(new URLSearchParams(body));
      // Slack looks whether the address answers.
      if (fields['ssl_check'] === '1') return { answer: null };
      const command = parsed(Command, fields);
      return command === null ? null : { answer: await talk.commanded(command) };
    }),
  );
  app.post(
    '/slack/events',
    receive(async (body) => {
      const event = parsed(Event, json(body));
      if (event === null) return null;
      // No event is asked for: this is how Slack makes sure that the address is ours.
      return { answer: 'challenge' in event ? { challenge: event.challenge } : null };
    }),
  );
  return app;
}

function parsed<Schema extends z.ZodType>(schema: Schema, value: unknown): z.infer<Schema> | null {
  const result = schema.safeParse(value);
  return result.success ? result.data : null;
}

function json(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
