/** How times, states and foreign text are shown. Everything here is text: markup is made of it by nobody. */
import type { RunSummary } from '../../server/contract.js';
import { statusLine } from '../../../domain/details.js';
import type { RolloutView, Wait } from '../../../domain/rollout.js';

/** Text of other people without characters that turn its direction or have no glyph. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g, '\uFFFD');
}

/** `12:03:11`, in this machine's time zone. */
export function clockText(ms: number): string {
  const date = new Date(ms);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

/** `12:03`, or with the day where that is not today: `Mon 16 Nov, 12:03`. */
export function momentText(ms: number, nowMs: number): string {
  const time = clockText(ms).slice(0, 5);
  if (new Date(ms).toDateString() === new Date(nowMs).toDateString()) return time;
  const day = new Date(ms).toLocaleDateString('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });
  return `${day}, ${time}`;
}

/** `4 min 05 s`, `2 h 10 min`, `2 days 23 h`: for what ticks, so it keeps its width. */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/** `sha256:1f2e3d…` as `1f2e3d4c5b6a`, which is as much as people compare. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}

/** How a state is coloured: what is done well, what went wrong, what needs a person, what goes on, what is over. */
export type Tone = 'good' | 'bad' | 'wait' | 'going' | 'over';

const STATUS_WORDS: Readonly<Record<RolloutView['status'], string>> = {
  queued: 'queued',
  accepted: 'accepted',
  assessing: 'assessing the risk',
  gating: 'at the gates',
  'awaiting-approval': 'waits for approval',
  preflight: 'preflight',
  canary: 'canary',
  promoting: 'promoting',
  verifying: 'verifying',
  settling: 'settling',
  held: 'held',
  completed: 'completed',
  'rolling-back': 'rolling back',
  'rolled-back': 'rolled back',
  rejected: 'rejected',
  aborted: 'aborted',
  superseded: 'superseded',
  'rollback-failed': 'rollback failed',
};

export function statusWord(status: string): string {
  return STATUS_WORDS[status as RolloutView['status']] ?? plain(status);
}

export function toneOf(status: string): Tone {
  switch (status) {
    case 'completed':
      return 'good';
    case 'rolling-back':
    case 'rolled-back':
    case 'rollback-failed':
      return 'bad';
    case 'held':
    case 'awaiting-approval':
      return 'wait';
    case 'rejected':
    case 'aborted':
    case 'superseded':
      return 'over';
    default:
      return 'going';
  }
}

const WAIT_WORDS: Readonly<Record<Wait['kind'], string>> = {
  approval: 'approval',
  evidence: 'evidence',
  blind: 'metrics that can’t be seen',
  inconclusive: 'a decision: the evidence is inconclusive',
  paused: 'resume: it is paused',
  gate: 'approval of the next stage',
  drift: 'a decision: somebody else changed the target',
  platform: 'the platform',
  'not-ready': 'the new version to be ready',
};

export function waitWord(kind: string): string {
  return WAIT_WORDS[kind as Wait['kind']] ?? plain(kind);
}

/** What a rollout does now, in a line that is read out: never numbers that tick. */
export function announcement(view: RolloutView): string {
  return `${view.releaseName} in ${view.lane.environment}: ${statusLine(view)}`;
}

/** The title of a tab: what needs somebody comes first, since tabs are narrow. */
export function rolloutTitle(summary: RunSummary): string {
  const mark = summary.waitsForMe ? '● ' : '';
  return `${mark}${plain(summary.release)} ${statusWord(summary.status)} · Slipway`;
}
