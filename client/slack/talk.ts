/** What comes of a click, a submitted dialog and a command, once it is known that Slack sent it. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { gateState } from '../../domain/approval/gate.js';
import { planLine, statusLine } from '../../domain/details.js';
import { DIALOG, reasonDialog } from '../../domain/slack/dialog.js';
import type { DialogOptions } from '../../domain/slack/dialog.js';
import { ACTIONS } from '../../domain/slack/message.js';
import { clip, escaped, oneLine } from '../../domain/slack/text.js';
import { ButtonValue, DialogMetadata } from '../../formats/slack.js';
import type { BlockActions, Command, ViewSubmission } from '../../formats/slack.js';
import { Nothing, ViewOpened } from '../../formats/slack-api.js';
import type { SlackApi } from '../../formats/slack-api.js';
import type { RunDocument } from '../server/contract.js';
import { createPeople } from './people.js';
import type { SlackDirectory } from './people.js';
import type { Decided, Deciding } from './port.js';
import { seal, unsealed } from './signature.js';

export interface TalkOptions {
  /** Signing secrets of the app, the one in use first. */
  readonly signingSecrets: readonly string[];
  /** The app, the workspace and the organisation (null: none) that may speak here. */
  readonly appId: string;
  readonly teamId: string;
  readonly enterpriseId: string | null;
  readonly api: SlackApi;
  /** As the API client has it: `response_url`s may point there too. */
  readonly apiUrl: string;
  readonly deciding: Deciding;
  readonly directory: SlackDirectory;
  /** Address of the server's pages, without a slash at its end. */
  readonly publicUrl: string;
  readonly log: { warn(fields: object, message: string): void };
  /** How long an answer may take, ms: Slack waits for 3 s. @default 900 */
  readonly ackMs?: number;
  /** @default Date.now */
  readonly nowMs?: () => number;
}

/** What Slack is answered at once: nothing, or JSON. */
export type Answer = object | null;

const ACK_MS = 900;
const RESPONSE_MS = 5000;
const MAX_TEXT = 3000;
const SLACK_HOOKS = 'https://hooks.slack.com';

const HELP = [
  '`/slipway status <id>` – how a rollout stands',
  '`/slipway approve <id>` or `reject <id>` – decide at its open gate, with a reason',
  '`/slipway pause <id> [reason]`, `resume <id>`, `abort <id> [reason]`',
].join('\n');

/** Where to tell one person something that nobody else sees. */
interface Ear {
  readonly user: string;
  readonly channel: string | null;
  readonly responseUrl: string | null;
}

interface Speaker {
  readonly appId: string;
  readonly team: string | null;
  readonly enterprise: string | null;
  /** The workspace that the person belongs to, where Slack tells it. */
  readonly home: string | null;
}

export type Talk = ReturnType<typeof createTalk>;

export function createTalk(options: TalkOptions) {
  const { signingSecrets, api, deciding, publicUrl, log, ackMs = ACK_MS, nowMs = Date.now } = options;
  const people = createPeople({ api, directory: options.directory, publicUrl, nowMs });
  const hooks = [SLACK_HOOKS, new URL(options.apiUrl).origin];

  /** Why this is not from the workspace that this server belongs to, or null. In a shared channel strangers see the buttons too. */
  function stranger({ appId, team, enterprise, home }: Speaker): string | null {
    if (appId !== options.appId) return 'this button belongs to another app';
    if (team !== options.teamId) return 'this workspace does not belong to this Slipway';
    if (options.enterpriseId !== null && enterprise !== options.enterpriseId)
      return 'this organisation does not belong to this Slipway';
    if (home !== null && home !== options.teamId)
      return 'you belong to another workspace: only people of this one can decide';
    return null;
  }

  async function tell({ user, channel, responseUrl }: Ear, text: string): Promise<void> {
    const said = clip(text, MAX_TEXT);
    if (responseUrl !== null && (await respond(responseUrl, said))) return;
    if (channel === null) return;
    const answer = await api('chat.postEphemeral', { channel, user, text: said }, Nothing);
    if (answer.kind !== 'ok') log.warn({ slack: answer }, 'a person could not be told something in Slack');
  }

  /** False: that address is not Slack's, has been used up, or can't be reached. */
  async function respond(url: string, text: string): Promise<boolean> {
    if (!hooks.includes(new URL(url).origin)) return false;
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json; charset=utf-8' },
        body: JSON.stringify({ response_type: 'ephemeral', replace_original: false, text }),
        redirect: 'error',
        signal: AbortSignal.timeout(RESPONSE_MS),
      });
      await response.body?.cancel();
      return response.ok;
    } catch {
      // There is a second way, and the address is a secret: nothing of the error can be said.
      return false;
    }
  }

  /** Work that Slack does not wait for. What goes wrong is logged: the person sees no change, and can ask again. */
  function later(what: string, work: Promise<void>): void {
    work.catch((error: unknown) => log.warn({ error: nameOf(error) }, `Slack: ${what}`));
  }

  /** The work's answer where it comes in time; else `late`, and the answer goes to `whenLate`. */
  async function inTime<T>(work: Promise<T>, late: T, whenLate: (value: T) => Promise<void>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    let isLate = false;
    const limit = new Promise<T>((resolve) => {
      timer = setTimeout(() => {
        isLate = true;
        resolve(late);
      }, ackMs);
    });
    later(
      'a late answer was not told',
      work.then((value) => (isLate ? whenLate(value) : undefined)),
    );
    try {
      return await Promise.race([work, limit]);
    } finally {
      clearTimeout(timer);
    }
  }

  async function openDialog(
    trigger: string,
    ear: Ear,
    metadata: DialogMetadata,
    shown: Pick<DialogOptions, 'label' | 'lines'>,
  ) {
    const { verb, gate, planDigest } = metadata;
    const privateMetadata = seal(JSON.stringify(metadata), signingSecrets);
    const view = reasonDialog({ verb, gate, planDigest, privateMetadata, ...shown });
    const answer = await api('views.open', { trigger_id: trigger, view }, ViewOpened);
    if (answer.kind === 'ok') return;
    const why = answer.kind === 'refused' ? answer.error : answer.kind === 'unknown' ? answer.why : 'too many calls';
    await tell(
      ear,
      `The dialog could not be opened (${escaped(why)}): press again, or decide on the page: ${page(metadata.rolloutId)}`,
    );
  }

  async function decide(metadata: DialogMetadata, reason: string | null): Promise<Decided> {
    const { id, verb, rolloutId, gate, planDigest, team, user } = metadata;
    return said(id, async () => {
      const person = await people.find(team, user);
      if (person.kind === 'unknown') return { kind: 'refused', text: person.text, next: '' };
      const decision = { id, verb, gate, planDigest, ...(reason === null ? {} : { reason }) };
      return deciding.decide(person.identity, rolloutId, decision);
    });
  }

  async function said(id: string, work: () => Promise<Decided>): Promise<Decided> {
    try {
      return await work();
    } catch (error) {
      log.warn({ error: nameOf(error), decision: id }, 'Slack: a decision got no answer');
      return {
        kind: 'refused',
        text: 'it can’t be told whether this was recorded',
        next: 'say it again: it counts once',
      };
    }
  }

  function page(rolloutId: string): string {
    return `${publicUrl}/rollouts/${rolloutId}`;
  }

  /** A click: asks for the reason with what the button carries, for its `trigger_id` lives for 3 s. */
  function clicked(payload: BlockActions): Answer {
    const { user, channel, response_url: responseUrl, message } = payload;
    const ear = { user: user.id, channel: channel?.id ?? null, responseUrl: responseUrl ?? null };
    for (const { action_id: action, action_ts: at, value } of payload.actions) {
      const verb = action === ACTIONS.approve ? 'approve' : action === ACTIONS.reject ? 'reject' : null;
      if (verb === null) continue;
      const why = stranger(speakerOf(payload));
      const carried = ButtonValue.safeParse(json(value));
      if (why !== null || !carried.success) {
        later(
          'a refusal was not told',
          tell(ear, `Refused: ${escaped(why ?? 'this button is not one of Slipway’s')}.`),
        );
        continue;
      }
      const { label, ...bound } = carried.data;
      const team = options.teamId;
      const id = keyOf([team, user.id, message?.ts ?? '', action, at]);
      const metadata = { ...bound, id, verb, team, user: user.id, channel: ear.channel } as const;
      later('no dialog was opened', openDialog(payload.trigger_id, ear, metadata, { label }));
    }
    return null;
  }

  /** The reason dialog comes back: the decision is made here, and a refusal keeps the dialog open. */
  async function submitted(payload: ViewSubmission): Promise<Answer> {
    const { view, user } = payload;
    if (view.callback_id !== DIALOG.callback) return null;
    const text = unsealed(view.private_metadata, signingSecrets);
    const metadata = DialogMetadata.safeParse(json(text ?? undefined));
    const why = stranger(speakerOf(payload));
    if (why !== null) return refusal(why);
    if (!metadata.success) return refusal('this dialog is not as Slipway gave it: close it and press the button again');
    if (metadata.data.user !== user.id) return refusal('somebody else opened this dialog');
    const { data } = metadata;
    const reason = view.state.values[DIALOG.block]?.[DIALOG.action]?.value?.trim() ?? '';
    if (data.verb === 'reject' && reason === '') return refusal('say why: the author reads it next');
    const ear = { user: user.id, channel: data.channel, responseUrl: null };
    // Closed before the decision is safe, the dialog would be the last that anybody hears of it.
    const late: Decided = {
      kind: 'refused',
      text: 'no answer yet',
      next: 'wait for a message, or press again: it counts once',
    };
    const decided = await inTime(decide(data, reason === '' ? null : reason), late, (answer) =>
      tell(ear, saidText(answer)),
    );
    if (decided.kind === 'refused') return refusal(refusedText(decided));
    if (decided.kind === 'recorded') later('a receipt was not told', tell(ear, saidText(decided)));
    return null;
  }

  async function commanded(command: Command): Promise<Answer> {
    const { user_id: user, channel_id: channel, response_url: responseUrl } = command;
    const ear = { user, channel, responseUrl };
    const late = { text: 'Asked; the answer follows.' };
    const work = commandAnswer(command, ear).catch((error: unknown) => {
      log.warn({ error: nameOf(error) }, 'Slack: a command got no answer');
      return { text: `Slipway can’t answer just now: try again, or look at the page: ${publicUrl}` };
    });
    const answer = await inTime<{ readonly text: string } | null>(work, late, async (value) => {
      if (value !== null) await tell(ear, value.text);
    });
    return answer === null ? null : { response_type: 'ephemeral', text: clip(answer.text, MAX_TEXT) };
  }

  /** Null: the person is answered by a dialog. */
  async function commandAnswer(command: Command, ear: Ear): Promise<{ readonly text: string } | null> {
    const { api_app_id: appId, team_id: team, enterprise_id: enterprise, user_id: user } = command;
    const why = stranger({ appId, team, enterprise: enterprise ?? null, home: null });
    if (why !== null) return { text: `Refused: ${why}.` };
    const [verb = 'help', rolloutId = '', ...words] = command.text.trim().split(/\s+/);
    if (verb === 'break-glass') return { text: `Break-glass is not for Slack: log in on the page: ${publicUrl}` };
    const known = Verb.safeParse(verb);
    if (!known.success) return { text: HELP };
    if (!RolloutId.safeParse(rolloutId).success)
      return { text: `Which rollout? \`/slipway ${known.data} <id>\`, with the id that its message shows.` };
    const person = await people.find(team, user);
    if (person.kind === 'unknown') return { text: `Refused: ${escaped(person.text)}` };
    const { identity } = person;
    const id = keyOf([team, user, command.trigger_id, known.data, rolloutId]);
    if (known.data === 'status' || known.data === 'approve' || known.data === 'reject') {
      const run = await deciding.status(identity, rolloutId);
      if (run === null) return { text: `There is no rollout ${rolloutId} that you may see.` };
      if (known.data === 'status') return { text: statusText(run) };
      const { approvals } = run.view;
      if (approvals === null || gateState(approvals) !== 'open')
        return { text: `Refused: no gate of ${rolloutId} is open. It is ${escaped(statusLine(run.view))}.` };
      const { gate, planDigest } = approvals;
      const metadata = { id, verb: known.data, rolloutId, gate, planDigest, team, user, channel: ear.channel } as const;
      const { service, environment, release } = run.summary;
      const lines = [planLine(run.view), statusLine(run.view), ...riskLines(run)];
      await openDialog(command.trigger_id, ear, metadata, {
        label: `${release} for ${service} in ${environment}`,
        lines,
      });
      return null;
    }
    const reason = words.join(' ');
    const decision = { id, verb: known.data, ...(reason === '' ? {} : { reason }) };
    return { text: saidText(await said(id, () => deciding.decide(identity, rolloutId, decision))) };
  }

  function statusText({ view, links }: RunDocument): string {
    const { wait, approvals, reason } = view;
    const lines = [`*${escaped(oneLine(view.releaseName))}* ${escaped(statusLine(view))}`];
    if (reason !== null) lines.push(escaped(oneLine(reason.text)));
    if (wait !== null) lines.push(escaped(oneLine(wait.reason)));
    if (approvals !== null)
      lines.push(`gate ${escaped(approvals.gate)}: ${approvals.approvedBy.length} of ${approvals.quorum} approvals`);
    return [...lines, links.page].join('\n');
  }

  return { clicked, submitted, commanded };
}

const Verb = z.enum(['status', 'approve', 'reject', 'pause', 'resume', 'abort']);
const RolloutId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);

function speakerOf({ api_app_id: appId, team, enterprise, user }: BlockActions | ViewSubmission): Speaker {
  return {
    appId,
    team: team?.id ?? null,
    enterprise: enterprise?.id ?? team?.enterprise_id ?? null,
    home: user.team_id ?? null,
  };
}

function riskLines({ view: { assessment } }: RunDocument): readonly string[] {
  if (assessment === null) return [];
  const { score, level, factors } = assessment.risk;
  return [`risk ${score} (${level}): ${factors.map(({ reason }) => reason).join('; ') || 'no factor'}`];
}

/** The same for one click however often it comes: the id of the decision, so that Temporal counts it once. */
function keyOf(parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('|')).digest('hex');
}

function refusal(text: string): Answer {
  return { response_action: 'errors', errors: { [DIALOG.block]: clip(text, 1000) } };
}

function refusedText({ text, next }: Extract<Decided, { kind: 'refused' }>): string {
  return next === '' ? text : `${text}. ${next}`;
}

/** For a message: with markup taken out. */
function saidText(decided: Decided): string {
  if (decided.kind === 'refused') return `Refused: ${escaped(refusedText(decided))}`;
  const text = escaped(oneLine(decided.text));
  return decided.kind === 'recorded' ? `${text}. Nothing more is needed: close the dialog` : text;
}

/** Never an error's text: it may hold what was sent. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}

function json(text: string | undefined): unknown {
  try {
    return text === undefined ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
