/** Deciding at a terminal: what a key does. Pure: the same keys give the same decisions. */
import type { Verb } from './approval/decision.js';
import type { Offer } from './offers.js';

/** Where a person is in saying something. */
export type Typing =
  | {
      readonly kind: 'idle';
      /** What came of the last decision, or why a key did nothing. */ readonly said: string | null;
    }
  | { readonly kind: 'reason'; readonly offer: Offer; readonly text: string; readonly complaint: string | null }
  | { readonly kind: 'sending'; readonly offer: Offer };

export const IDLE: Typing = { kind: 'idle', said: null };

export type Pressed =
  | { readonly kind: 'stay'; readonly typing: Typing }
  | { readonly kind: 'send'; readonly typing: Typing; readonly verb: Verb; readonly reason: string | null }
  /** Stop looking; the rollout goes on. */
  | { readonly kind: 'leave' };

/** A key of its own for each verb; both sides of a pause share theirs, because only one of them is ever offered. */
const KEY_OF: Readonly<Partial<Record<Offer['verb'], string>>> = {
  approve: 'a',
  reject: 'r',
  pause: 'p',
  resume: 'p',
  promote: 'n',
  abort: 'x',
  'break-glass': 'b',
};

/** Longer reasons are for a file, not for a line at a terminal. */
const MAX_REASON = 500;

const ESCAPE = '\u001B';
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const BACKSPACE = ['\u007F', '\b'];
const ENTER = ['\r', '\n'];

/** What one key (or a pasted text) does. */
export function press(typing: Typing, key: string, offers: readonly Offer[]): Pressed {
  if (key === CTRL_C || key === CTRL_D) return { kind: 'leave' };
  switch (typing.kind) {
    case 'sending':
      return { kind: 'stay', typing };
    case 'idle':
      return key === 'q' ? { kind: 'leave' } : choose(typing, key, offers);
    case 'reason':
      return type(typing, key);
  }
}

function choose(typing: Typing, key: string, offers: readonly Offer[]): Pressed {
  const offer = offers.find(({ verb }) => KEY_OF[verb] === key);
  if (offer === undefined) return { kind: 'stay', typing };
  if (!offer.allowed)
    return { kind: 'stay', typing: { kind: 'idle', said: `you can't ${offer.verb}: ${offer.why ?? 'not now'}` } };
  return { kind: 'stay', typing: { kind: 'reason', offer, text: '', complaint: null } };
}

function type(typing: Extract<Typing, { kind: 'reason' }>, key: string): Pressed {
  const { offer, text } = typing;
  if (key === ESCAPE) return { kind: 'stay', typing: { kind: 'idle', said: `nothing was said: no ${offer.verb}` } };
  if (BACKSPACE.includes(key))
    return { kind: 'stay', typing: { ...typing, text: Array.from(text).slice(0, -1).join(''), complaint: null } };
  if (ENTER.includes(key)) {
    const reason = text.trim();
    if (offer.needsReason && reason === '')
      return { kind: 'stay', typing: { ...typing, complaint: `${offer.verb} needs a reason` } };
    const verb = offer.verb as Verb;
    return { kind: 'send', typing: { kind: 'sending', offer }, verb, reason: reason === '' ? null : reason };
  }
  // Arrows and other keys that are no text begin with an escape.
  if (key.startsWith(ESCAPE)) return { kind: 'stay', typing };
  const printable = key.replaceAll(/[\u0000-\u001F\u007F-\u009F]/g, ' ');
  return { kind: 'stay', typing: { ...typing, text: `${text}${printable}`.slice(0, MAX_REASON), complaint: null } };
}

/** What stands below the rollout: the keys, or the line that is being typed. */
export function keyLines(typing: Typing, offers: readonly Offer[]): readonly string[] {
  switch (typing.kind) {
    case 'idle': {
      const keys = offers.flatMap(({ verb, allowed }) =>
        allowed && KEY_OF[verb] !== undefined ? [`[${KEY_OF[verb]}] ${verb}`] : [],
      );
      return [...(typing.said === null ? [] : [typing.said]), [...keys, '[q] leave, it goes on'].join('   ')];
    }
    case 'reason':
      return [
        `${typing.offer.verb}: ${typing.offer.does}`,
        ...(typing.complaint === null ? [] : [typing.complaint]),
        `why${typing.offer.needsReason ? '' : ' (may be left out)'}, then Enter; Esc to leave it: ${typing.text}▏`,
      ];
    case 'sending':
      return [`${typing.offer.verb}: saying it …`];
  }
}
