import path from 'node:path';
import { replay } from '../../domain/canary/replay.js';
import type { Verdict, VerdictKind } from '../../domain/canary/types.js';
import { count } from '../../domain/words.js';
import { casesBelow, folderOf } from '../judging/folder.js';
import { kindText, underPolicy, verdictOf } from '../judging/judgement.js';
import type { Candidate, Case } from '../judging/judgement.js';
import { momentText } from '../report/words.js';
import { done, usage } from './context.js';
import type { CliContext, CommandResult } from './context.js';
import { painter, plain } from './render.js';

const KINDS = ['PROMOTE', 'HOLD', 'ROLLBACK'] as const satisfies readonly VerdictKind[];
/** More than anyone reads; what is beyond is counted. */
const MOST_LISTED = 1000;

interface Change {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Seconds after the start of the stage. */
  readonly fromS: number;
  readonly toS: number;
  readonly why: string;
}

/** What a backtest has counted so far. It holds counts and a bounded list, never samples. */
class Tally {
  readonly table: Record<string, Record<string, number>> = {};
  readonly changes: Change[] = [];
  readonly unread: { file: string; problem: string }[] = [];
  judged = 0;
  changed = 0;
  unreadable = 0;
  /** Documents of other kinds: an evidence folder holds more than samples. */
  others = 0;
  earlier = 0;
  later = 0;
  sameTime = 0;

  add(name: string, from: Verdict, to: Verdict, startMs: number): Change | null {
    this.judged++;
    const row = (this.table[from.kind] ??= {});
    row[to.kind] = (row[to.kind] ?? 0) + 1;
    if (to.atMs < from.atMs) this.earlier++;
    else if (to.atMs > from.atMs) this.later++;
    else this.sameTime++;
    if (kindText(from) === kindText(to)) return null;
    const change = {
      name,
      from: kindText(from),
      to: kindText(to),
      fromS: (from.atMs - startMs) / 1000,
      toS: (to.atMs - startMs) / 1000,
      why: to.summary,
    };
    this.changed++;
    if (this.changes.length < MOST_LISTED) this.changes.push(change);
    return change;
  }

  refuse(file: string, problem: string): void {
    this.unreadable++;
    if (this.unread.length < MOST_LISTED) this.unread.push({ file, problem });
  }
}

/** `slipway judge --backtest DIR`: every record below the folder under another policy, and what would have changed. */
export async function backtest(
  context: CliContext,
  dir: string,
  options: { readonly candidate: Candidate | null; readonly evidence: string | undefined },
): Promise<CommandResult> {
  const root = await folderOf(context, dir);
  const tally = new Tally();
  const paint = painter(context.color);
  const evidence = options.evidence === undefined ? [] : [path.resolve(context.cwd, options.evidence)];
  for await (const found of casesBelow(root, evidence)) {
    if (context.signal.aborted) return done(null, 130);
    if (found.kind === 'case') judgeBoth(found.subject);
    else if (found.kind === 'problem') tally.refuse(found.name, found.problem);
    else tally.others++;
  }

  function judgeBoth(subject: Case): void {
    try {
      const from = subject.recorded ?? verdictOf(subject);
      const { candidate } = options;
      const to = candidate === null ? verdictOf(subject) : replay(underPolicy(subject, candidate), subject.untilMs);
      const change = tally.add(subject.name, from, to, subject.recording.startMs);
      if (change !== null && !context.json && tally.changed <= MOST_LISTED)
        for (const line of changeLines(change)) context.out(line);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      tally.refuse(subject.name, error.message);
    }
  }

  if (tally.judged === 0 && tally.unreadable === 0) {
    throw usage(
      `there is nothing to judge in ${dir}`,
      'it needs decision records, stored evidence or scenarios (.json, .jsonl, .jsonl.gz)',
    );
  }
  if (!context.json) for (const line of summaryLines(tally, options.candidate !== null)) context.out(line);
  return done(documentOf(tally));

  function changeLines({ name, from, to, fromS, toS, why }: Change): readonly string[] {
    const head = `${plain(name)}: ${from} at ${momentText(1000 * fromS)} → ${paint('bold', to)} at ${momentText(1000 * toS)}`;
    return [head, `  ${plain(why)}`];
  }
}

function summaryLines(tally: Tally, hasCandidate: boolean): readonly string[] {
  const cell = (text: string) => text.padStart(10);
  const under = hasCandidate ? 'the candidate policy' : 'this version of the judge';
  const lines = tally.changed === 0 ? [] : [''];
  if (tally.changed > MOST_LISTED) lines.push(`… and ${count(tally.changed - MOST_LISTED)} more`);
  lines.push(`${count(tally.judged)} judged; ${count(tally.changed)} would have another verdict under ${under}`, '');
  lines.push(`${'old \\ new'.padEnd(10)}${KINDS.map(cell).join('')}`);
  for (const from of KINDS) {
    lines.push(`${from.padEnd(10)}${KINDS.map((to) => cell(count(tally.table[from]?.[to] ?? 0))).join('')}`);
  }
  lines.push(
    '',
    `earlier: ${count(tally.earlier)}, later: ${count(tally.later)}, at the same time: ${count(tally.sameTime)}`,
  );
  if (tally.others > 0) lines.push(`passed over, as they are of other kinds: ${count(tally.others)}`);
  if (tally.unreadable > 0) {
    lines.push(`could not be judged: ${count(tally.unreadable)}`);
    for (const { file, problem } of tally.unread.slice(0, 50)) lines.push(`  ${plain(file)}: ${plain(problem)}`);
    if (tally.unreadable > 50) lines.push(`  … and ${count(tally.unreadable - 50)} more; --json names them`);
  }
  return lines;
}

function documentOf(tally: Tally): object {
  const { judged, changed, earlier, later, sameTime, changes, others, unreadable, unread } = tally;
  const table = Object.fromEntries(
    KINDS.map((from) => [from, Object.fromEntries(KINDS.map((to) => [to, tally.table[from]?.[to] ?? 0]))]),
  );
  return { judged, changed, table, earlier, later, sameTime, changes, others, unreadable, unread };
}
