import { digestOf, shortDigest } from '../canonical.js';
import type { TimelineEntry } from '../rollout.js';
import { LIMITS, mrkdwn, plainText } from './blocks.js';
import type { Block, Button, Mrkdwn } from './blocks.js';
import type { SlackCard, Some } from './card.js';
import { clip, clippedLines, escaped, oneLine } from './text.js';

/** Names of the buttons, as they come back with a click. */
export const ACTIONS = { approve: 'slipway-approve', reject: 'slipway-reject', details: 'slipway-details' } as const;

/** What a button carries, as JSON in its `value`: enough to ask for a reason without looking anything up. */
export interface ButtonValue {
  readonly rolloutId: string;
  readonly gate: string;
  /** Digest of the plan that the message showed. */
  readonly planDigest: string;
  /** "hello:v2 for shop in prod", for the dialog. */
  readonly label: string;
}

export interface SlackMessage {
  /** For notifications and screen readers. */
  readonly text: string;
  readonly blocks: readonly Block[];
}

/**
 * The standing message of a rollout. Where all of it is longer than Slack takes, every part is cut alike and says how
 * much is left out.
 *
 * @param page address of the rollout's page; null where no server is known
 */
export function slackMessage(card: SlackCard, page: string | null): SlackMessage {
  let share = 1;
  let blocks = blocksOf(card, page, share);
  // Ten halvings leave less of each part than any card of a few blocks can fill the limit with.
  for (let n = 0; n < 10 && JSON.stringify(blocks).length > LIMITS.total; n += 1) {
    share /= 2;
    blocks = blocksOf(card, page, share);
  }
  const { service, environment, release, status } = card;
  return { text: clip(`${release} for ${service} in ${environment}: ${status}`, LIMITS.text, escaped), blocks };
}

/** New lines of a rollout's story, as one reply in its thread. */
export function slackReply(entries: readonly TimelineEntry[]): SlackMessage {
  const lines = entries.map(({ text, tone }) => `${SIGNS[tone]} ${clip(oneLine(text), 1000, escaped)}`);
  const text = clippedLines(lines, LIMITS.section);
  return { text, blocks: [{ type: 'section', text: mrkdwn(text) }] };
}

const SIGNS: Readonly<Record<TimelineEntry['tone'], string>> = { neutral: '·', good: '✓', bad: '✗', person: '→' };

function blocksOf(card: SlackCard, page: string | null, share: number): readonly Block[] {
  const sections = [
    stateText(card),
    riskText(card),
    planText(card),
    evidenceText(card),
    gateText(card),
    saidText(card),
  ];
  const limit = Math.floor(LIMITS.section * share);
  const buttons = buttonsOf(card, page);
  return [
    {
      type: 'header',
      block_id: `slipway/${clip(card.rolloutId, 200)}`,
      text: plainText(clip(oneLine(`${card.release} for ${card.service} in ${card.environment}`), LIMITS.header)),
    },
    ...sections.flatMap((lines): readonly Block[] =>
      lines.length === 0 ? [] : [{ type: 'section', text: mrkdwn(clippedLines(lines, limit)) }],
    ),
    { type: 'section', fields: fieldsOf(card, Math.floor(LIMITS.field * share)) },
    ...(buttons.length === 0 ? [] : [{ type: 'actions' as const, block_id: actionsId(card), elements: buttons }]),
    {
      type: 'context',
      elements: [mrkdwn(`rollout ${escaped(card.rolloutId)} · slipway status ${escaped(card.rolloutId)}`)],
    },
  ];
}

/** Another one for each change: a client may submit what it knows of a block by its id. */
function actionsId(card: SlackCard): string {
  return `actions/${shortDigest(digestOf(card))}`;
}

function buttonsOf({ gate, rolloutId, release, service, environment }: SlackCard, page: string | null): Button[] {
  const buttons: Button[] = [];
  if (gate?.open === true) {
    const label = clip(oneLine(`${release} for ${service} in ${environment}`), 300);
    const carried: ButtonValue = { rolloutId, gate: gate.name, planDigest: gate.planDigest, label };
    const value = JSON.stringify(carried);
    buttons.push(
      { type: 'button', text: plainText('Approve'), action_id: ACTIONS.approve, value, style: 'primary' },
      { type: 'button', text: plainText('Reject'), action_id: ACTIONS.reject, value, style: 'danger' },
    );
  }
  if (page !== null && page.length <= LIMITS.url)
    buttons.push({ type: 'button', text: plainText('Details'), action_id: ACTIONS.details, url: page });
  return buttons;
}

function stateText({ status, outcome, reason, wait }: SlackCard): readonly string[] {
  const lines = [`*${escaped(outcome ?? status)}*`];
  if (reason !== null) lines.push(line(reason));
  if (wait !== null) {
    lines.push(line(wait.reason));
    if (wait.deadline !== null)
      lines.push(`Until ${date(wait.deadline)}, then ${escaped(wait.atDeadline ?? 'it goes on')}.`);
    if (wait.who !== '') lines.push(`Who can act: ${line(wait.who)}`);
  }
  return lines;
}

function riskText({ risk }: SlackCard): readonly string[] {
  if (risk === null) return [];
  const factors = risk.factors.items.length === 0 ? ['• no factor'] : bullets(risk.factors);
  return [`*Risk ${risk.score} (${escaped(risk.level)})*`, ...factors];
}

function planText({ plan }: SlackCard): readonly string[] {
  if (plan === null) return [];
  return [
    `*Plan* ${line(plan.text)}`,
    `digest ${escaped(plan.digest)}`,
    ...bullets(plan.images),
    ...bullets({ ...plan.warnings, items: plan.warnings.items.map((text) => `warning: ${text}`) }),
  ];
}

function evidenceText({ evidence, verdict }: SlackCard): readonly string[] {
  const lines: string[] = [];
  if (evidence !== null) lines.push(`*Evidence* ${line(evidence)}`);
  if (verdict !== null)
    lines.push(`*Verdict so far* ${line(verdict.stage)}: *${line(verdict.kind)}* ${line(verdict.summary)}`);
  return lines;
}

function gateText({ gate }: SlackCard): readonly string[] {
  if (gate === null) return [];
  const { approvedBy, quorum, rejectedBy, changed } = gate;
  const n = approvedBy.items.length + approvedBy.more;
  const dots = quorum <= 20 ? `${'●'.repeat(Math.min(n, quorum))}${'○'.repeat(Math.max(0, quorum - n))} ` : '';
  const lines = [`*Approvals of gate ${line(gate.name)}* ${dots}${n} of ${quorum}`];
  if (n > 0) lines.push(`approved by ${list(approvedBy)}`);
  if (rejectedBy !== null) lines.push(`rejected by ${line(rejectedBy)}`);
  if (changed !== undefined) lines.push('*Asked again, since this is not as it was:*', ...bullets(changed));
  return lines;
}

function saidText({ decisions }: SlackCard): readonly string[] {
  if (decisions.items.length === 0) return [];
  const earlier = decisions.more === 0 ? [] : [`… ${decisions.more} earlier, see page`];
  return ['*Said by people*', ...earlier, ...bullets({ ...decisions, more: 0 })];
}

function fieldsOf({ traffic, change, startedBy, startedAt }: SlackCard, limit: number): readonly Mrkdwn[] {
  const field = (name: string, text: string): Mrkdwn => mrkdwn(`*${name}*\n${clip(text, limit - 20, escaped)}`);
  const { commit, author, message } = change;
  return [
    field('Traffic', traffic ?? 'not touched'),
    field('Change', [commit?.slice(0, 12), message].filter((part) => part != null).join(' ') || 'not told'),
    field('Author', author ?? 'not known'),
    mrkdwn(`*Started*\n${date(startedAt)} by ${clip(startedBy, limit - 100, escaped)}`),
  ];
}

function bullets({ items, more }: Some): readonly string[] {
  const lines = items.map((text) => `• ${line(text)}`);
  return more === 0 ? lines : [...lines, `… ${more} more, see page`];
}

function list({ items, more }: Some): string {
  return `${items.map(line).join(', ')}${more === 0 ? '' : ` and ${more} more`}`;
}

/** One piece of foreign text, never longer than what leaves room for others. */
function line(text: string): string {
  return clip(oneLine(text), 1000, escaped);
}

/** An instant in the reader's own time zone; where a client can't do that, as it is written. */
function date(at: string): string {
  const seconds = Math.floor(Date.parse(at) / 1000);
  return Number.isFinite(seconds) ? `<!date^${seconds}^{date_short_pretty} {time}|${escaped(at)}>` : escaped(at);
}
