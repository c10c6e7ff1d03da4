import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { placeText } from '../../domain/queued.js';
import { isFinal, needsPerson } from '../../domain/rollout.js';
import type { RolloutView, Wait } from '../../domain/rollout.js';
import { durationText } from '../../domain/words.js';
import { CliError, EXIT, exitCodeFor } from '../exit-codes.js';
import type { Rollouts } from '../rollouts.js';
import { newDecision } from '../slipway.js';
import type { Found, RolloutRef } from '../slipway.js';
import { actorFrom } from './actor.js';
import type { CliContext, CommandResult, TerminalSize } from './context.js';
import type { Waiting } from './options.js';
import { Keys } from './keys.js';
import { painter, plain, timelineLine, viewTree } from './render.js';
import { writeReports } from './reports.js';

const POLL_MS = 500;
/** A server or worker that is restarted is waited for so long before the watch gives up. */
const OUTAGE_MS = 60_000;

export type FollowOptions = Omit<Waiting, 'wait'>;

/** What following came to: the exit code, and the last that was seen of the rollout. */
interface Followed {
  readonly exitCode: number;
  readonly found: Found | null;
}

/** Follows a rollout to its end, and writes the reports that were asked for, whatever the end. */
export async function follow(
  context: CliContext,
  rollouts: Rollouts,
  ref: RolloutRef,
  options: FollowOptions,
): Promise<CommandResult> {
  const keys = await Keys.open(context, rollouts, ref);
  const { exitCode, found } = await followToEnd(context, rollouts, ref, options, keys).finally(() => keys?.close());
  await writeReports(context, options.reports, { found, exitCode, links: rollouts.links(ref) });
  return { exitCode, document: found && documentOf(found) };
}

/** A live tree on a terminal, a line for each thing that happens elsewhere. */
async function followToEnd(
  context: CliContext,
  rollouts: Rollouts,
  ref: RolloutRef,
  options: FollowOptions,
  keys: Keys | null,
): Promise<Followed> {
  const screen = context.terminal && !context.json ? treeScreen(context, keys) : lineScreen(context);
  const begunMs = Date.now();
  let outSinceMs: number | null = null;
  let latest: Found | null = null;
  for (;;) {
    try {
      latest = await rollouts.find(ref);
      outSinceMs = null;
    } catch (error) {
      if (!(error instanceof CliError) || error.exitCode !== EXIT.unavailable) throw error;
      outSinceMs ??= Date.now();
      if (Date.now() - outSinceMs > OUTAGE_MS) throw error;
      screen.trouble(error.message);
    }
    if (latest !== null && outSinceMs === null) {
      screen.show(latest);
      const ended = ending(latest, options);
      if (ended !== null) {
        sayNext(context, latest, ended.exitCode);
        return ended;
      }
    }
    if (options.timeoutMs !== null && Date.now() - begunMs > options.timeoutMs) {
      context.note(`slipway: not over after ${durationText(options.timeoutMs)}; the rollout goes on`);
      context.note(`  → slipway watch ${ref.rolloutId}`);
      sayWait(context, latest);
      return { exitCode: EXIT.held, found: latest };
    }
    if (context.signal.aborted) {
      if (options.onCancel === 'abort') return abortCancelled(context, rollouts, ref, latest);
      context.note(`slipway: stopped watching; the rollout goes on`);
      context.note(`  → slipway watch ${ref.rolloutId}`);
      return { exitCode: EXIT.held, found: latest };
    }
    await sleep(POLL_MS, undefined, { signal: context.signal }).catch(() => undefined);
  }
}

/** A cancelled job that takes its rollout with it. */
async function abortCancelled(
  context: CliContext,
  rollouts: Rollouts,
  ref: RolloutRef,
  found: Found | null,
): Promise<Followed> {
  const decision = newDecision('abort', await actorFrom(context, {}), {
    reason: 'the job that started it was cancelled',
  });
  const { text } = await rollouts.decide(ref, decision);
  context.note(`slipway: cancelled: ${plain(text)}`);
  context.note(`  → slipway watch ${ref.rolloutId}`);
  return { exitCode: EXIT.notShipped, found };
}

/** What `--json` shows of a rollout, in every command: its view, or what its lane knows. */
export function documentOf(found: Found): unknown {
  return found.kind === 'running' ? found.view : found;
}

function ending(found: Found, options: FollowOptions): Followed | null {
  switch (found.kind) {
    case 'queued':
      return null;
    case 'never-ran': {
      // Also a rollout whose history is no longer kept: the lane still knows how it ended.
      const { outcome } = found.entry;
      return { exitCode: outcome === null ? EXIT.internal : exitCodeFor(outcome, null), found };
    }
    case 'running': {
      const { view } = found;
      if (isFinal(view.phase)) return { exitCode: exitCodeFor(view.phase, view.reason), found };
      return options.untilHeld && needsPerson(view.wait) ? { exitCode: EXIT.held, found } : null;
    }
  }
}

/** On standard error, whatever standard output shows: what it came to, and what to do next. */
function sayNext(context: CliContext, found: Found, exitCode: number): void {
  if (exitCode === EXIT.completed) return;
  if (found.kind === 'never-ran') {
    const { rolloutId, outcome, reason } = found.entry;
    context.note(`slipway: ${outcome ?? 'ended'}: ${plain(reason ?? 'no reason was recorded')}`);
    context.note(`  → slipway status ${rolloutId}; to try again, deploy with a new key`);
  }
  if (found.kind !== 'running') return;
  const { rolloutId, phase, outcome, reason } = found.view;
  if (outcome === null) return sayWait(context, found);
  context.note(`slipway: ${phase}: ${plain(reason?.text ?? 'no reason was recorded')}`);
  context.note(
    outcome === 'rollback-failed'
      ? `  → slipway status ${rolloutId}; put right what it names, then: slipway lane unblock …`
      : `  → slipway status ${rolloutId}; to try again: slipway retry ${rolloutId}`,
  );
}

/** What it waits for, and the commands that end the wait. */
function sayWait(context: CliContext, found: Found | null): void {
  if (found?.kind !== 'running' || found.view.wait === null) return;
  const [first = '', ...rest] = waitLines(found.view.wait);
  context.note(`slipway: ${first}`);
  for (const line of [...rest, ...remarkLines(found)]) context.note(line);
}

function remarkLines({ remarks = [] }: Extract<Found, { kind: 'running' }>): readonly string[] {
  return remarks.map((remark) => `  remark: ${plain(remark)}`);
}

function waitLines({ kind, reason, who, commands }: Wait): readonly string[] {
  return [
    `waits (${kind}): ${plain(reason)}${who === '' ? '' : `; who can act: ${plain(who)}`}`,
    ...commands.map((command) => `  → ${command}`),
  ];
}

interface Screen {
  show(found: Found): void;
  trouble(text: string): void;
}

function lineScreen(context: CliContext): Screen {
  const paint = painter(context.color);
  const say = context.json ? (): void => undefined : (text: string): void => context.out(text);
  let shown = 0;
  let lastTrouble = '';
  let queued = '';
  let waited = '';
  return {
    show(found) {
      lastTrouble = '';
      if (found.kind === 'queued') {
        const text = queuedText(found);
        if (text !== queued) say(text);
        queued = text;
      }
      if (found.kind === 'never-ran') say(neverRanText(found));
      if (found.kind !== 'running') return;
      for (const entry of found.view.timeline.slice(shown)) say(timelineLine(entry, paint));
      shown = found.view.timeline.length;
      const { wait } = found.view;
      const waits = wait === null ? '' : `${wait.kind} ${wait.since}`;
      if (wait !== null && waits !== waited) for (const line of [...waitLines(wait), ...remarkLines(found)]) say(line);
      waited = waits;
    },
    trouble(text) {
      if (text !== lastTrouble) context.note(`slipway: ${text}: trying again`);
      lastTrouble = text;
    },
  };
}

/** How many rows of a terminal some lines take: long ones are broken by it. */
export function heightOf(lines: readonly string[], columns: number): number {
  return lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns)), 0);
}

/** What has room in a terminal: what has scrolled out of it can't be drawn over. The last lines stay in any case. */
export function fitting(
  above: readonly string[],
  below: readonly string[],
  { columns, rows }: TerminalSize,
): readonly string[] {
  // One row is the cursor's.
  if (heightOf([...above, ...below], columns) < rows) return [...above, ...below];
  const rest = ['… (`slipway status` shows all of it)', ...below];
  const kept = above.slice();
  while (kept.length > 0 && heightOf([...kept, ...rest], columns) >= rows) kept.pop();
  return [...kept, ...rest];
}

function treeScreen(context: CliContext, keys: Keys | null): Screen {
  const paint = painter(context.color);
  let drawn: readonly string[] = [];
  const draw = (lines: readonly string[]): void => {
    const height = heightOf(drawn, context.size().columns);
    const up = height > 0 ? `\u001B[${height}A\u001B[J` : '';
    context.out(`${up}${lines.join('\n')}`);
    drawn = lines;
  };
  const recent = (view: RolloutView): readonly string[] =>
    view.timeline.slice(-5).map((entry) => `  ${timelineLine(entry, paint)}`);
  const show = (found: Found): void => {
    if (found.kind === 'running') {
      const all = [...viewTree(found, Date.now(), paint), '', ...recent(found.view)];
      if (isFinal(found.view.phase)) draw(all);
      else draw(fitting(all, keys === null ? [] : ['', ...keys.lines()], context.size()));
    } else if (found.kind === 'queued') draw([queuedText(found)]);
    else draw([neverRanText(found)]);
  };
  return {
    show(found) {
      if (keys !== null && found.kind === 'running') {
        keys.see(found.view);
        keys.onChange = () => show(found);
      }
      show(found);
    },
    trouble(text) {
      draw([paint('yellow', `${text}: trying again`)]);
    },
  };
}

/** What the lane remembers of a rollout that has no run. */
export function neverRanText({ entry }: Extract<Found, { kind: 'never-ran' }>): string {
  return `${entry.outcome ?? 'ended'}: ${plain(entry.reason ?? '')}`;
}

/** What the lane says of a rollout that waits in it. */
export function queuedText(found: Extract<Found, { kind: 'queued' }>): string {
  return plain(placeText(found));
}
